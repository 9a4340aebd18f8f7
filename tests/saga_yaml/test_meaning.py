"""What a saga may not be although every key of it is right: pivots, times, children."""

import pytest

from coordinator.saga_yaml import check, parse
from coordinator.saga_yaml.times import spoken
from tests.saga_yaml.sagas import Published, codes, found, header, saga

PIVOT = "id: pay, pivot: true, call: bank.debit"


@pytest.mark.parametrize(
    "steps",
    [
        ["id: a, call: bank.debit", PIVOT, "id: b, call: mail.send"],
        ["id: a, tcc: bank.hold", PIVOT, "id: b, wait: 1s", "id: c, await: it"],
        [PIVOT, "id: b, call: mail.send, compensate: none"],
        [PIVOT, "id: b, call: mail.send, retry: {maxInterval: 1m, jitter: 0}"],
        [PIVOT, "id: b, optional: true, call: mail.send, retry: {maxAttempts: 2}"],
        [PIVOT, "id: b, optional: true, call: mail.send, fallback: {call: post.send}"],
        [PIVOT, "id: b, needs: [], optional: true, call: bank.debit"],
        [f"{PIVOT}, fallback: {{call: mail.send}}", "id: b, saga: forward@1.0.0"],
        [f"{PIVOT}, compensate: none, optional: false"],
        ["id: a, needs: [], call: bank.debit", "id: b, saga: decided@1.0.0"],
        ["id: a, forEach: [1], call: bank.debit", PIVOT],
        [PIVOT, "id: b, forEach: '${input.x}', call: mail.send"],
    ],
)
def test_s5_sagas_with_a_pivot(steps):
    """Before it anything, after it what only goes forward."""
    assert codes(saga(*steps), *CHILDREN) == [], found(saga(*steps), *CHILDREN)


CHILDREN = (
    saga("id: m, call: mail.send, compensate: none", name="forward"),
    saga("id: d, call: bank.debit", name="back"),
    saga("id: h, tcc: bank.hold", name="reserving"),
    saga("id: d, call: bank.debit", PIVOT, name="decided"),
    saga("id: inner, saga: back@1.0.0", name="deeper"),
)


@pytest.mark.parametrize(
    ("steps", "expected"),
    [
        ([PIVOT, "id: b, pivot: true, call: mail.send"], ["SAGA050"]),
        ([PIVOT, "id: b, needs: [], pivot: true, call: mail.send"], ["SAGA050"]),
        ([PIVOT, "id: b, saga: decided@1.0.0"], ["SAGA050"]),
        (["id: b, saga: decided@1.0.0", PIVOT], ["SAGA050"]),
        ([PIVOT, "id: b, needs: [], call: bank.debit"], ["SAGA051"]),
        ([PIVOT, "id: b, needs: [], wait: 1s"], ["SAGA051"]),
        (["id: p, saga: decided@1.0.0", "id: b, needs: [], wait: 1s"], ["SAGA051"]),
        ([f"{PIVOT}, optional: true"], ["SAGA052"]),
        ([f"{PIVOT}, forEach: [1]"], ["SAGA052"]),
        ([f"{PIVOT}, if: '${{input.x}}'"], ["SAGA052"]),
        ([f"{PIVOT}, compensate: {{call: bank.refund}}"], ["SAGA052"]),
        ([f"{PIVOT}, fallback: {{tcc: bank.hold}}"], ["SAGA052"]),
        ([f"{PIVOT}, fallback: {{call: bank.debit, compensate: {{}}}}"], ["SAGA052"]),
        (["id: p, saga: decided@1.0.0, optional: true"], ["SAGA052"]),
        (["id: p, saga: decided@1.0.0, forEach: [1]"], ["SAGA052"]),
        (["id: p, saga: decided@1.0.0, if: '${input.x}'"], ["SAGA052"]),
        (["id: p, tcc: bank.hold, pivot: true"], ["SAGA018"]),
        ([PIVOT, "id: b, tcc: bank.hold"], ["SAGA053"]),
        ([PIVOT, "id: b, call: bank.debit, compensate: {timeout: 1s}"], ["SAGA053"]),
        (
            [
                PIVOT,
                "id: b, optional: true, call: mail.send, fallback: {tcc: bank.hold}",
            ],
            ["SAGA053"],
        ),
        ([PIVOT, "id: b, saga: back@1.0.0"], ["SAGA053"]),
        ([PIVOT, "id: b, saga: reserving@1.0.0"], ["SAGA053"]),
        ([PIVOT, "id: b, saga: deeper@1.0.0"], ["SAGA053"]),
        (["id: p, saga: decided@1.0.0", "id: b, tcc: bank.hold"], ["SAGA053"]),
        ([f"{PIVOT}, retry: {{maxAttempts: 3}}"], ["SAGA054"]),
        ([f"{PIVOT}, retry: {{nonRetryable: [GONE]}}"], ["SAGA054"]),
        ([PIVOT, "id: b, call: mail.send, retry: {maxAttempts: 3}"], ["SAGA054"]),
        ([PIVOT, "id: b, call: mail.send, fallback: {call: post.send}"], ["SAGA054"]),
    ],
)
def test_s5_what_a_pivot_forbids(steps, expected):
    """Never is it open whether a saga can still turn back."""
    assert codes(saga(*steps), *CHILDREN) == expected, found(saga(*steps), *CHILDREN)


def test_s5_a_child_that_undoes_its_work_is_named_with_its_step():
    """The author of the parent has to find it in another text."""
    (finding,) = found(saga(PIVOT, "id: b, saga: deeper@1.0.0"), *CHILDREN)

    assert "the saga deeper undoes its step 'inner:d'" in finding.message


# ---- Times -------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("steps", "longest"),
    [
        (["id: a, wait: 30s", "id: b, call: bank.debit, timeout: 5s"], 35_000),
        (["id: a, await: it, timeout: 1m"], 60_000),
        (["id: a, await: it", "id: b, wait: '${input.x}'", "id: c, wait: 1s"], 1_000),
        (["id: a, tcc: bank.hold, timeout: 7s"], 7_000),
        (["id: a, saga: back@1.0.0"], 10_000),
        (["id: a, saga: back@1.0.0, timeout: 1m"], 60_000),
        (["id: a, saga: deeper@1.0.0", "id: b, wait: 2s"], 12_000),
        (["id: a, forEach: [1, 2, 3], maxParallel: 2, call: bank.debit"], 20_000),
        (["id: a, forEach: '${input.x}', call: bank.debit"], 10_000),
        ([PIVOT, "id: b, wait: 1h"], 10_000),
        (["id: a, saga: decided@1.0.0", "id: b, wait: 1h"], 20_000),
        (["id: s, needs: [], optional: true, wait: 1h", PIVOT + ", needs: []"], 10_000),
        (["id: a, call: bank.debit, fallback: {call: bank.debit}"], 10_000),
    ],
)
def test_the_longest_path_until_the_saga_is_decided(steps, longest):
    """Waits, signals, children and rounds count; not what comes after the pivot."""
    text = saga(*steps, rest=f"timeout: {longest}ms\n")
    assert codes(text, *CHILDREN) == [], found(text, *CHILDREN)

    text = saga(*steps, rest=f"timeout: {longest - 1}ms\n")
    assert codes(text, *CHILDREN) == ["SAGA032"]


def test_a_child_needs_the_time_that_its_steps_need():
    """A timeout of the step that its saga cannot keep is a finding there."""
    assert codes(saga("id: a, saga: back@1.0.0, timeout: 10s"), *CHILDREN) == []
    text = saga("id: a, saga: back@1.0.0, timeout: 9999ms")
    (finding,) = found(text, *CHILDREN)

    line = text.splitlines()[finding.line - 1]
    assert (finding.code, line[finding.column - 1 :]) == ("SAGA032", "9999ms}")


RESERVE = "tcc: bank.hold, timeout: 2s"
HOLD = "id: h, tcc: bank.hold, timeout: 1s"


@pytest.mark.parametrize(
    ("steps", "needed"),
    [
        ([f"{HOLD}, expiresIn: %s"], 1_000),
        ([f"{HOLD}, expiresIn: %s", "id: w, wait: 9s"], 10_000),
        ([f"{HOLD}, expiresIn: %s", "id: w, wait: 9s, needs: []"], 1_000),
        ([f"{HOLD}, expiresIn: %s", PIVOT, "id: w, wait: 9s"], 11_000),
        (
            [
                f"{HOLD}, expiresIn: %s",
                "id: w, wait: 9s",
                "id: x, wait: 3s, needs: [h]",
                "id: y, wait: 7s",
            ],
            11_000,
        ),
        (
            [
                f"id: c, call: bank.debit, fallback: {{{RESERVE}, expiresIn: %s}}",
                "id: w, wait: 9s",
            ],
            11_000,
        ),
        ([f"{HOLD}, expiresIn: %s, forEach: [1, 2], maxParallel: 1"], 2_000),
        ([f"{HOLD}, expiresIn: %s", "id: s, saga: back@1.0.0"], 11_000),
    ],
)
def test_a_reservation_holds_until_the_saga_is_decided(steps, needed):
    """From its start, over the longest path of what comes after it."""
    first, *others = steps
    enough = saga(first % f"{needed}ms", *others)
    assert codes(enough, *CHILDREN) == [], found(enough, *CHILDREN)

    short = saga(first % f"{needed - 1}ms", *others)
    (finding,) = found(short, *CHILDREN)
    assert finding.code == "SAGA034"
    line = short.splitlines()[finding.line - 1]
    assert line[finding.column - 1 :].startswith(f"{needed - 1}ms")


def test_a_reservation_in_a_child_holds_over_the_steps_of_its_parent():
    """What was enough for the child alone may be too short for the parent."""
    children = (
        saga(f"{HOLD}, expiresIn: 10s", name="holds"),
        saga("id: in, saga: holds@1.0.0", name="around"),
        saga(f"{HOLD}, expiresIn: 11s", PIVOT, name="decides"),
    )

    for name in ("holds", "around"):
        step = f"id: a, saga: {name}@1.0.0"
        assert codes(saga(step, "id: w, wait: 9s"), *children) == []
        (finding,) = found(saga(step, "id: w, wait: 10s"), *children)
        assert finding.code == "SAGA034"
    assert "'a:in:h'" in finding.message
    step = "id: a, saga: decides@1.0.0"
    assert codes(saga(step, "id: w, wait: 10s"), *children) == []


@pytest.mark.parametrize(
    ("milliseconds", "expected"),
    [
        (0, "0ms"),
        (250, "250ms"),
        (604_830_000, "7d 30s"),
        (90_061_001, "1d 1h 1m 1s 1ms"),
    ],
)
def test_messages_tell_spans_as_people_say_them(milliseconds, expected):
    """Nobody divides 604830 seconds in the head."""
    assert spoken(milliseconds) == expected


# ---- Child sagas -------------------------------------------------------------------


def test_a_child_must_be_known():
    """Nothing is compiled around a hole; one finding for each place."""
    text = saga("id: a, saga: nobody@1.0.0")
    (finding,) = check(text, sagas=Published())[1]
    assert (finding.code, finding.line, finding.column) == ("SAGA024", 5, 17)

    (finding,) = check(text)[1]
    assert finding.code == "SAGA024"
    assert "check its file together with this one" in finding.message


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        ("{n: 1, to: '${input.x}'}", []),
        ("{n: '${input.n}', to: 'at ${input.x}', tags: [b, '${input.t}']}", []),
        ("'${input.all}'", []),
        ("{n: 1}", ["input.to is missing"]),
        ("{n: 0, to: x}", ["input.n must be at least 1"]),
        ("{n: one, to: x}", ["input.n must be integer, not string"]),
        ("{n: 1, to: x, tags: [1, '${input.t}']}", ["input.tags[0] must be string"]),
        ("{n: 1, to: x, more: '${input.x}'}", ["input has no field 'more'"]),
        ("{n: 1, to: x, pair: ['${input.x}', 2]}", []),
        ("{n: 1, to: x, pair: ['${input.x}', 3]}", ["input.pair must be '[1, 2]'"]),
        ("", ["input.n is missing", "input.to is missing"]),
    ],
)
def test_what_a_child_is_given_fits_its_schema(given, expected):
    """As far as it is known before anything runs."""
    schema = (
        "input: {schema: {required: [n, to], additionalProperties: false, properties: "
        "{n: {type: integer, minimum: 1}, to: {type: string}, "
        "tags: {items: {type: string}}, pair: {const: [1, 2]}}}}\n"
    )
    child = saga("id: a, call: bank.debit", name="strict", rest=schema)
    given = f", input: {given}" if given else ""
    findings = found(saga(f"id: a, saga: strict@1.0.0{given}"), child)

    assert [finding.code for finding in findings] == ["SAGA026"] * len(expected)
    for finding, problem in zip(findings, expected, strict=True):
        assert problem in finding.message


def test_each_child_is_asked_for_once():
    """However many steps run it."""
    asked = []
    text = saga("id: a, saga: x@1.0.0", "id: b, saga: x@1.0.0", "id: c, saga: y@1")
    check(text, sagas=lambda name, version: asked.append((name, version)))

    assert asked == [("x", "1.0.0"), ("y", "1")]


def test_a_saga_never_reaches_its_own_name():
    """Neither by itself nor through others, in no version."""
    inner = saga("id: a, call: bank.debit", name="loan")
    around = saga("id: a, saga: loan@1.0.0", name="around")
    outer = saga("id: a, saga: around@1.0.0", name="outer")

    assert codes(saga("id: a, saga: loan@0.9.0")) == ["SAGA025"]
    for name in ("around", "outer"):
        text = saga(f"id: a, saga: {name}@1.0.0")
        text = text.replace("version: 1.0.0", "version: 2.0.0")
        assert codes(text, inner, around, outer) == ["SAGA025"]


def nested(depth):
    """Sagas each of which runs the one before it; the first one runs none."""
    return [
        saga("id: a, call: bank.debit", name="level-1"),
        *(
            saga(f"id: a, saga: level-{level - 1}@1.0.0", name=f"level-{level}")
            for level in range(2, depth + 1)
        ),
    ]


def test_s9_sagas_nest_eight_deep():
    """The ninth level is a finding."""
    *children, eighth = nested(8)
    assert codes(eighth, *children) == []

    *children, ninth = nested(9)
    (finding,) = found(ninth, *children)
    assert (finding.code, finding.message[:16]) == ("SAGA004", "sagas nested mor")


def test_s9_the_steps_of_all_children_count():
    """500 in all; the finding stands at the child that is too much."""
    wide = saga(
        *(f"id: s{n}, call: bank.debit, needs: []" for n in range(249)), name="w"
    )
    two = ["id: a, saga: w@1.0.0", "id: b, saga: w@1.0.0"]

    assert codes(saga(*two), wide) == []
    (finding,) = found(saga(*two, "id: c, wait: 1s"), wide)
    assert (finding.code, finding.line) == ("SAGA004", 6)


def test_s9_the_id_of_a_branch_fits():
    """Ids of steps, items and fallbacks are joined, to at most 128 characters."""
    inside = "i" * 52
    child = saga(
        f"id: {inside}, forEach: [1], call: bank.debit, fallback: {{call: bank.debit}}",
        name="child",
    )
    length = len(f":{inside}:999:fallback-1")

    for id_length, expected in ((128 - length, []), (129 - length, ["SAGA004"])):
        assert (
            codes(saga(f"id: {'x' * id_length}, saga: child@1.0.0"), child) == expected
        )
    each = "saga: child@1.0.0, forEach: [1]"
    assert codes(saga(f"id: {'x' * (124 - length)}, {each}"), child) == []
    assert codes(saga(f"id: {'x' * (125 - length)}, {each}"), child) == ["SAGA004"]


def test_all_findings_of_all_elements_come_at_once():
    """One run shows everything that is wrong."""
    text = header() + (
        "steps:\n"
        "- {id: a, wait: 5, retry: {}}\n"
        "- {id: a, tcc: bank.hold, compensate: none, expiresIn: 1s}\n"
        "- {id: b, saga: nobody@1, pivot: true}\n"
        "- {id: c, pivot: true, call: mail.send, optional: true}\n"
        "- {id: d, call: bank.debit, wait: 1s, retry: {maxAttempts: 1}}\n"
        "- {id: e, needs: [f], await: it, if: false}\n"
    )
    findings = found(text)

    assert [(f.line, f.code) for f in findings] == [
        (5, "SAGA014"),
        (5, "SAGA018"),
        (6, "SAGA016"),
        (6, "SAGA018"),
        (7, "SAGA024"),
        (7, "SAGA018"),
        (8, "SAGA052"),
        (9, "SAGA017"),
        (9, "SAGA054"),
        (10, "SAGA051"),
        (10, "SAGA030"),
        (10, "SAGA033"),
    ]


def test_item_and_index_are_there_in_what_a_list_is_run_with():
    """In input, fallback and compensate of a forEach step, and nowhere else."""
    item = "{x: '${item.id}', n: '${index}'}"
    right = (
        f"id: a, forEach: '${{input.x}}', call: bank.debit, input: {item}, "
        f"fallback: {{call: bank.debit, input: {item}}}, "
        f"compensate: {{input: {item}}}"
    )
    assert codes(saga(right)) == []
    for wrong in (
        "id: a, call: bank.debit, input: {x: '${item}'}",
        "id: a, forEach: '${item.x}', call: bank.debit",
        "id: a, forEach: [1], if: '${item.x}', call: bank.debit",
        "id: a, wait: '${index}'",
    ):
        assert codes(saga(wrong)) == ["SAGA041"]
    assert codes(saga(right, rest="output: '${item}'\n")) == ["SAGA041"]


def test_children_are_not_changed_by_being_run():
    """The same child, alone and as a step, has one digest."""
    text = CHILDREN[0]
    sagas = Published(text)
    parent = parse(saga("id: a, saga: forward@1.0.0"), sagas=sagas)

    assert parent.steps[0].child == parse(text)
