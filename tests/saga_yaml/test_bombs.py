"""Hostile sagas: small texts that would cost much if a check were careless."""

import tracemalloc

import pytest

from coordinator.saga_yaml import check
from coordinator.saga_yaml.findings import FINDINGS_MAX
from tests.pace import seconds_here
from tests.saga_yaml.sagas import Published, saga
from tests.saga_yaml.test_meaning import nested

CPU_SECONDS_MAX = 0.2
"""Promised are 100 ms; what runs beside a test may double it."""


def wide_needs() -> str:
    """Two layers, each step of the second needs all of the first."""
    first = [f"id: a{n}, needs: [], call: x.y" for n in range(130)]
    ids = ", ".join(f"a{n}" for n in range(130))
    return saga(*first, *(f"id: b{n}, needs: [{ids}], call: x.y" for n in range(120)))


def fallbacks(depth: int) -> str:
    inner = "{call: x.y}"
    for _ in range(depth):
        inner = f"{{call: x.y, fallback: {inner}}}"
    return inner


def expressions() -> str:
    """As many expressions as are read, in as many lists."""
    reads = ", ".join("'${item.a.b} ${index}'" for _ in range(14))
    return saga(
        *(
            f"id: s{n}, needs: [], forEach: '${{input.x}}', call: x.y, "
            f"input: {{a: [{reads}]}}"
            for n in range(160)
        )
    )


TIMES = "timeout: 365d\n"
BOMBS = {
    "wide needs": wide_needs(),
    "a chain": saga(*(f"id: s{n}, call: x.y" for n in range(500)), rest=TIMES),
    "reservations": saga(
        *(f"id: s{n}, tcc: x.y, expiresIn: 1s" for n in range(500)), rest=TIMES
    ),
    "every step a pivot": saga(
        *(f"id: s{n}, pivot: true, call: x.y" for n in range(500)), rest=TIMES
    ),
    "all beside the pivot": saga(
        "id: p, pivot: true, call: x.y",
        *(f"id: s{n}, needs: [], call: x.y" for n in range(499)),
    ),
    "deep fallbacks": saga(f"id: s, call: x.y, fallback: {fallbacks(27)}"),
    "deeper fallbacks": saga(f"id: s, call: x.y, fallback: {fallbacks(4_000)}"),
    "fallbacks everywhere": saga(
        *(
            f"id: s{n}, needs: [], call: x.y, fallback: {fallbacks(4)}"
            for n in range(400)
        )
    ),
    "misfits": saga(
        *(f"id: s{n}, wait: 1s, retry: 1, pivot: 1, fallback: 1" for n in range(500))
    ),
    "kinds": saga(*(f"id: s{n}, wait: 1s, call: 1, tcc: 1" for n in range(500))),
    "unknown children": saga(*(f"id: s{n}, saga: c{n}@1" for n in range(500))),
    "long list": saga(f"id: s, call: x.y, forEach: [{'1,' * 19_000}]"),
    "long conditions": saga(f"id: s, call: x.y, if: '${{{'a.' * 100_000}b}}'"),
    "expressions": expressions(),
    "circle": saga(
        *(f"id: s{n}, needs: [s{(n + 1) % 500}], wait: 1s" for n in range(500))
    ),
    "unknown needs": saga(*(f"id: s{n}, needs: [t{n}], wait: 1s" for n in range(500))),
}


@pytest.mark.parametrize("name", BOMBS)
def test_no_saga_takes_long(name):
    """A hostile saga of any size is answered within its time."""
    text = BOMBS[name]

    assert seconds_here(lambda: check(text)) < CPU_SECONDS_MAX
    assert len(check(text)[1]) <= FINDINGS_MAX


@pytest.mark.parametrize("name", BOMBS)
def test_no_saga_takes_much_memory(name):
    """64 MB are enough for a hostile saga of any size."""
    text = BOMBS[name]
    tracemalloc.start()
    try:
        check(text)
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()

    assert peak < 64 * 1024 * 1024


def test_a_hundred_steps_are_checked_at_once():
    """All kinds of steps, 140 expressions: promised are 50 ms, measured 20."""
    both = "{{a: '${{input.a}}', b: 'x ${{input.b}}'}}"
    undo = "{{call: x.z, input: {{c: '${{steps.a{n}.output.c}}'}}}}"
    items = "forEach: '${{input.items}}'"
    item = "{{i: '${{item.a}}'}}"
    five = (
        f"id: a{{n}}, call: x.y, input: {both}, compensate: {undo}",
        "id: b{n}, tcc: x.y, expiresIn: 1d, input: {{c: '${{steps.a{n}.output.c}}'}}",
        "id: c{n}, wait: 3s, if: '${{input.slow && input.a > {n}}}'",
        "id: d{n}, await: approval, timeout: 1m, optional: true",
        f"id: e{{n}}, {items}, call: x.y, input: {item}, fallback: {{{{call: x.z}}}}",
    )
    lines = [step.format(n=n) for n in range(20) for step in five]
    text = saga(*lines, rest="timeout: 12h\n")
    assert check(text)[1] == ()

    assert seconds_here(lambda: check(text)) < CPU_SECONDS_MAX / 2


def test_a_tree_of_children_is_looked_at_once():
    """Two steps run each level twice: 128 runs of the lowest, and one look at it."""
    *sagas, _ = nested(8)
    doubled = [
        text.replace("- {id: a, saga", "- {id: b, needs: [], saga", 1)
        + text[text.index("- {") :]
        if "saga: l" in text
        else text
        for text in sagas
    ]
    published = Published(*doubled)
    text = saga("id: a, saga: level-7@1.0.0", name="top")
    definition, findings = check(text, sagas=published)

    assert findings == ()
    assert definition is not None
    assert seconds_here(lambda: check(text, sagas=published)) < CPU_SECONDS_MAX
