"""Every kind of step and every key of it: what it becomes for the core."""

import json

import pytest

from coordinator.core.backoff import FORWARD
from coordinator.core.definition import (
    BranchKind,
    Constant,
    ForEach,
    Interpolation,
    Reference,
    TemplateMap,
)
from coordinator.saga_yaml import normal_form, parse
from tests.saga_yaml.sagas import Published, codes, compiled, found, saga

CALL = "id: a, call: bank.debit"


def only_step(*steps, children=()):
    """The last of the steps, compiled."""
    return compiled(saga(*steps, rest="timeout: 365d\n"), *children).steps[-1]


def test_a_call_is_an_action():
    """One call of kind CALL that compensates itself."""
    step = only_step(CALL)

    assert step.kind is BranchKind.CALL
    (call,) = step.calls
    assert (call.kind, call.operation) == (BranchKind.CALL, "bank.debit")
    assert call.compensation is not None
    assert (call.expires_ms, call.pending_timeout_ms, step.timeout_ms) == (0, 0, 0)


def test_a_reservation_is_cancelled_not_compensated():
    """A tcc step holds for as long as ``expiresIn`` says, and brings its own undo."""
    step = only_step("id: a, tcc: bank.hold, expiresIn: 1h, pendingTimeout: 2h")

    assert step.kind is BranchKind.TCC
    (call,) = step.calls
    assert (call.kind, call.operation) == (BranchKind.TCC, "bank.hold")
    assert (call.expires_ms, call.pending_timeout_ms) == (3_600_000, 7_200_000)
    assert call.compensation is None
    assert call.retry == FORWARD


CHILD = saga("id: debit, call: bank.debit", name="child", rest="output: {x: 1}\n")


def test_a_child_saga_is_the_published_one():
    """Name and version name it; its digest is part of the parent's."""
    step = only_step(
        "id: a, saga: child@1.0.0, input: {n: '${input.n}'}, timeout: 30d",
        children=[CHILD],
    )

    assert step.kind is BranchKind.SAGA
    assert step.child == parse(CHILD)
    assert step.calls == ()
    assert step.input == TemplateMap((("n", Reference(("input", "n"), "input.n")),))
    assert step.timeout_ms == 30 * 86_400_000


def test_s7_the_digest_of_a_parent_includes_that_of_its_child():
    """Two publications that differ in the child alone are not the same saga."""
    parent = saga("id: a, saga: child@1.0.0")
    first = compiled(parent, CHILD)
    other = compiled(parent, CHILD.replace("x: 1", "x: 2"))

    assert first.digest != other.digest
    assert compiled(parent, CHILD).digest == first.digest


@pytest.mark.parametrize(
    ("written", "expected"),
    [
        ("30s", Constant(30_000)),
        ("PT0.5S", Constant(500)),
        ("'${input.pause}'", Reference(("input", "pause"), "input.pause")),
        (
            "'${input.n}s'",
            Interpolation((Reference(("input", "n"), "input.n"), "s")),
        ),
    ],
)
def test_a_timer_waits_as_long_as_it_says(written, expected):
    """A duration, or an expression that yields one as text."""
    step = only_step(f"id: a, wait: {written}")

    assert (step.kind, step.wait, step.calls) == (BranchKind.WAIT, expected, ())


def test_a_signal_is_awaited_by_name():
    """For as long as its timeout says, or else as the saga may."""
    step = only_step("id: a, await: loan.approved, timeout: 7d")

    assert (step.kind, step.signal) == (BranchKind.AWAIT, "loan.approved")
    assert step.timeout_ms == 7 * 86_400_000
    assert only_step("id: a, await: approved").timeout_ms == 0


def test_a_condition_is_one_expression():
    """``true`` is no condition at all."""
    step = only_step(f"{CALL}, if: '${{input.fast}}'")

    assert step.condition == Reference(("input", "fast"), "input.fast")
    assert only_step(f"{CALL}, if: true") == only_step(CALL)


@pytest.mark.parametrize("kind", ["call: bank.debit", "tcc: bank.hold"])
def test_a_step_is_run_for_each_item_of_a_list(kind):
    """Of an expression or of a list in the text; ten at a time unless it says."""
    items = Reference(("input", "items"), "input.items")

    step = only_step(f"id: a, {kind}, forEach: '${{input.items}}'")
    assert step.for_each == ForEach(items, 10)
    step = only_step(f"id: a, {kind}, forEach: [1, 2], maxParallel: 1000")
    assert step.for_each == ForEach(Constant([1, 2]), 1000)


def test_a_child_saga_is_run_for_each_item_too():
    """Calls, reservations and child sagas may be; timers and signals not."""
    step = only_step(
        "id: a, saga: child@1.0.0, forEach: '${input.items}'", children=[CHILD]
    )

    assert step.for_each is not None
    for kind in ("wait: 1s", "await: it"):
        assert codes(saga(f"id: a, {kind}, forEach: [1]")) == ["SAGA018"]


def test_optional_and_pivot_are_marks():
    """``false`` is as good as nothing."""
    step = only_step(f"{CALL}, optional: true")
    assert (step.optional, step.pivot) == (True, False)
    step = only_step(f"{CALL}, pivot: true")
    assert (step.optional, step.pivot) == (False, True)
    assert only_step(f"{CALL}, pivot: false, optional: false") == only_step(CALL)


def test_fallbacks_are_further_calls_in_their_order():
    """Each brings its own retry, timeout and undo, and the input unless it says."""
    step = only_step(
        f"{CALL}, input: {{n: 1}}, timeout: 1s, retry: {{maxAttempts: 2}}, "
        "compensate: none, fallback: {tcc: bank.hold, expiresIn: 1h, input: {m: 2}, "
        "fallback: {call: mail.send, compensate: none, timeout: 2s}}"
    )

    first, second, third = step.calls
    assert [call.operation for call in step.calls] == [
        "bank.debit",
        "bank.hold",
        "mail.send",
    ]
    assert [call.kind for call in step.calls] == [
        BranchKind.CALL,
        BranchKind.TCC,
        BranchKind.CALL,
    ]
    assert [call.input for call in step.calls] == [
        Constant({"n": 1}),
        Constant({"m": 2}),
        Constant({"n": 1}),
    ]
    assert (first.retry.attempt_max, second.retry, third.retry) == (2, FORWARD, FORWARD)
    assert [call.timeout_ms for call in step.calls] == [1_000, 10_000, 2_000]
    assert second.expires_ms == 3_600_000
    assert third.compensation is None


def test_the_pivot_and_what_follows_is_asked_without_end_and_never_undone():
    """S5: ``defaults`` bound the steps before it, and optional ones behind it."""
    text = saga(
        "id: before, call: bank.debit",
        "id: pivot, pivot: true, call: bank.debit, fallback: {call: mail.send}",
        "id: after, call: mail.send",
        "id: thanks, optional: true, call: mail.send",
        rest="defaults: {retry: {maxAttempts: 3, nonRetryable: [GONE]}}\n",
    )
    before, pivot, after, thanks = (step.calls for step in compiled(text).steps)

    assert before[0].compensation is not None
    assert (before[0].retry.attempt_max, thanks[0].retry.attempt_max) == (3, 3)
    for call in (*pivot, *after):
        assert call.retry.attempt_max == 0
        assert not call.retry.non_retryable
        assert call.retry.jitter == before[0].retry.jitter
    assert all(call.compensation is None for call in (*pivot, *after, *thanks))


EVERYTHING = saga(
    "id: reserve, tcc: bank.hold, expiresIn: 1h, pendingTimeout: 5m",
    "id: each, forEach: '${input.items}', maxParallel: 3, call: bank.debit",
    "id: ask, if: '${input.big}', await: approved, timeout: 5m, optional: true",
    "id: rest, wait: 5s",
    "id: child, saga: child@1.0.0",
    "id: pay, pivot: true, call: bank.debit, fallback: {call: bank.refund}",
    rest="timeout: 1h\n",
)


def test_s7_the_normal_form_holds_every_element():
    """What a saga does stands in it whole, and as JSON."""
    definition = compiled(EVERYTHING, CHILD)
    reserve, each, ask, rest, child, pay = normal_form(definition)["steps"]

    assert (reserve["tcc"], reserve["expiresIn"]) == ("bank.hold", 3_600_000)
    assert reserve["pendingTimeout"] == 300_000
    assert each["forEach"] == {
        "items": {"path": ["input", "items"]},
        "maxParallel": 3,
    }
    assert ask == {
        "id": "ask",
        "needs": ["each"],
        "await": "approved",
        "timeout": 300_000,
        "if": {"path": ["input", "big"]},
        "optional": True,
    }
    assert rest == {"id": "rest", "needs": ["ask"], "wait": {"value": 5_000}}
    assert child["saga"] == {
        "name": "child",
        "version": "1.0.0",
        "digest": parse(CHILD).digest,
    }
    assert pay["pivot"] is True
    assert [call["call"] for call in pay["fallbacks"]] == ["bank.refund"]
    assert json.loads(json.dumps(normal_form(definition))) == normal_form(definition)


@pytest.mark.parametrize(
    ("written", "other"),
    [
        ("tcc: bank.hold", "call: bank.debit"),
        ("expiresIn: 1h", "expiresIn: 2h"),
        ("pendingTimeout: 5m", "pendingTimeout: 6m"),
        ("input.items", "input.parts"),
        ("maxParallel: 3", "maxParallel: 4"),
        ("input.big", "input.small"),
        ("await: approved", "await: checked"),
        ("timeout: 5m", "timeout: 6m"),
        (", optional: true", ""),
        ("wait: 5s", "wait: 6s"),
        ("pivot: true, ", ""),
        ("call: bank.refund", "call: bank.debit"),
        (", fallback: {call: bank.refund}", ""),
    ],
)
def test_s7_every_element_is_in_the_digest(written, other):
    """Two definitions that do different things never share a digest."""
    assert written in EVERYTHING
    changed = EVERYTHING.replace(written, other)
    changed = changed.replace("expiresIn: 1h, ", "") if "call: b" in other else changed

    sagas = Published(CHILD)
    assert parse(EVERYTHING, sagas=sagas).digest != parse(changed, sagas=sagas).digest


KINDS = {
    "call": "call: bank.debit",
    "tcc": "tcc: bank.hold",
    "saga": "saga: child@1.0.0",
    "wait": "wait: 1s",
    "await": "await: it",
}
FITS = {
    "if: '${input.x}'": "call tcc saga wait await",
    "needs: []": "call tcc saga wait await",
    "optional: true": "call tcc saga wait await",
    "input: {x: 1}": "call tcc saga",
    "timeout: 1m": "call tcc saga await",
    "forEach: [1]": "call tcc saga",
    "retry: {maxAttempts: 2}": "call tcc",
    "pendingTimeout: 1m": "call tcc",
    "fallback: {call: bank.debit}": "call tcc",
    "expiresIn: 1m": "tcc",
    "compensate: none": "call",
    "pivot: true": "call",
}


@pytest.mark.parametrize("key", FITS)
@pytest.mark.parametrize("kind", KINDS)
def test_a_key_that_does_not_fit_the_kind_is_a_finding(kind, key):
    """With the reason, at the key, and with nothing else beside it."""
    text = saga(f"id: a, {KINDS[kind]}, {key}")
    findings = found(text, CHILD)

    fits = kind in FITS[key].split()
    assert [f.code for f in findings] == ([] if fits else ["SAGA018"])
    for finding in findings:
        line = text.splitlines()[finding.line - 1]
        assert line[finding.column - 1 :].startswith(key.partition(":")[0])
        assert "does not fit here: " in finding.message


@pytest.mark.parametrize(
    ("step", "expected"),
    [
        ("id: a", "SAGA012"),
        ("id: a, call: bank.debit, wait: 1s", "SAGA017"),
        ("id: a, tcc: bank.hold, call: bank.debit", "SAGA017"),
        ("id: a, cal: bank.debit", "SAGA010"),
        ("id: a, call: bank.debit, maxParallel: 3", "SAGA018"),
        ("id: a, call: bank.debit, forEach: [1], maxParallel: 0", "SAGA013"),
        ("id: a, call: bank.debit, forEach: [1], maxParallel: 1001", "SAGA013"),
        ("id: a, call: bank.debit, forEach: 3", "SAGA011"),
        ("id: a, call: bank.debit, forEach: {a: b}", "SAGA011"),
        ("id: a, call: bank.debit, forEach: 'x ${input.a}'", "SAGA011"),
        ("id: a, call: bank.debit, forEach: '${input.a}${input.b}'", "SAGA011"),
        ("id: a, call: bank.debit, forEach: []", "SAGA033"),
        (f"id: a, call: bank.debit, forEach: {[0] * 1001}", "SAGA004"),
        ("id: a, call: bank.debit, if: false", "SAGA033"),
        ("id: a, call: bank.debit, if: yes", "SAGA011"),
        ("id: a, call: bank.debit, if: 1", "SAGA011"),
        ("id: a, call: bank.debit, if: '${input.a} '", "SAGA011"),
        ("id: a, call: bank.debit, if: '${steps.a.output.x}'", "SAGA042"),
        ("id: a, call: bank.debit, pivot: yes", "SAGA011"),
        ("id: a, call: bank.debit, optional: 1", "SAGA011"),
        ("id: a, call: bank.debit, timeout: 2d", "SAGA014"),
        ("id: a, wait: 30", "SAGA014"),
        ("id: a, wait: 0s", "SAGA014"),
        ("id: a, wait: soon", "SAGA014"),
        ("id: a, wait: 366d", "SAGA014"),
        ("id: a, wait: {n: 1}", "SAGA011"),
        ("id: a, await: ''", "SAGA013"),
        ("id: a, await: '${input.name}'", "SAGA013"),
        (f"id: a, await: {'s' * 65}", "SAGA013"),
        ("id: a, saga: child", "SAGA013"),
        ("id: a, saga: child@latest", "SAGA013"),
        ("id: a, saga: child@1@2", "SAGA013"),
        ("id: a, call: bank.debit, fallback: {}", "SAGA012"),
        ("id: a, call: bank.debit, fallback: {saga: child@1}", "SAGA010"),
        ("id: a, call: bank.debit, fallback: {call: bank.debti}", "SAGA020"),
        ("id: a, call: bank.debit, fallback: {call: bank.hold}", "SAGA021"),
        ("id: a, call: bank.debit, fallback: {call: mail.send}", "SAGA022"),
        ("id: a, tcc: bank.debit", "SAGA021"),
        ("id: a, call: bank.debit, fallback: {call: bank.debit, id: b}", "SAGA010"),
        (
            "id: a, call: bank.debit, fallback: {tcc: bank.hold, compensate: none}",
            "SAGA018",
        ),
        (
            "id: a, call: bank.debit, fallback: {call: bank.debit, expiresIn: 1h}",
            "SAGA018",
        ),
        ("id: a, call: bank.debit, dependsOn: [b]", "SAGA010"),
    ],
)
def test_wrong_steps_are_findings(step, expected):
    """Each mistake has one finding with its code."""
    text = saga(step, rest="timeout: 365d\n")

    assert codes(text, CHILD) == [expected], found(text, CHILD)


@pytest.mark.parametrize(
    ("step", "suggestion"),
    [
        ("if: input.amount > 10", "${input.amount > 10}"),
        ("forEach: input.items", "${input.items}"),
        ("input: steps.a.output", "${steps.a.output}"),
        ("if: yes", ""),
        ("if: x + 1", ""),
        ("if: 'true'", ""),
        ("if: ')'", ""),
    ],
)
def test_an_expression_without_its_braces_is_recognized(step, suggestion):
    """When it reads something that there is."""
    (finding,) = found(saga(f"{CALL}, {step}"))

    assert (finding.code, finding.suggestion) == ("SAGA011", suggestion)


def test_the_sixth_fallback_is_a_finding():
    """Five alternatives are enough for anybody."""
    inner = "{call: bank.debit}"
    for _ in range(4):
        inner = f"{{call: bank.debit, fallback: {inner}}}"

    assert codes(saga(f"{CALL}, fallback: {inner}")) == []
    inner = f"{{call: bank.debit, fallback: {inner}}}"
    assert codes(saga(f"{CALL}, fallback: {inner}")) == ["SAGA004"]


def test_a_compensation_in_a_list_reads_the_output_of_its_item():
    """The step's own output, as everywhere (S10)."""
    undo = "{call: bank.refund, input: {x: '${steps.a.output.x}'}}"

    assert codes(saga(f"{CALL}, forEach: [1], compensate: {undo}")) == []
