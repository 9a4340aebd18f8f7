"""Several files at once: child sagas among them, in any order."""

import pytest

from coordinator.saga_yaml import check_files, children_first, find_children
from coordinator.saga_yaml.language import STEPS_MAX
from tests.saga_yaml.sagas import header, saga

LEAF = saga("id: a, call: bank.debit", name="leaf")
MIDDLE = saga("id: a, saga: leaf@1.0.0", name="middle")
ROOT = saga("id: a, saga: middle@1.0.0", "id: b, saga: leaf@1.0.0", name="root")


@pytest.mark.parametrize(
    "texts",
    [[LEAF, MIDDLE, ROOT], [ROOT, MIDDLE, LEAF], [MIDDLE, ROOT, LEAF]],
)
def test_files_are_checked_in_any_order(texts):
    """Each finds its children; results and places are those of the files given."""
    results = check_files([(f"{n}.yaml", text) for n, text in enumerate(texts)])

    assert [findings for _, findings in results] == [(), (), ()]
    names = [definition.name for definition, _ in results]
    assert [f"name: {name}" in text for name, text in zip(names, texts, strict=True)]
    ordered = [names[at] for at in children_first(texts)]
    assert ordered == ["leaf", "middle", "root"]


def test_sagas_that_run_each_other_are_refused():
    """Wherever one begins, there is a finding and an end."""
    one = saga("id: a, saga: two@1.0.0", name="one")
    two = saga("id: a, saga: one@1.0.0", name="two")
    results = check_files([("one", one), ("two", two)])

    codes = [[finding.code for finding in findings] for _, findings in results]
    assert codes == [["SAGA024"], ["SAGA025"]]
    assert sorted(children_first([one, two])) == [0, 1]


def test_a_child_with_findings_is_not_called_unknown():
    """The message leads to the file that has to be mended."""
    broken = LEAF.replace("call", "cal")
    (_, (finding,)), _ = check_files([("m", MIDDLE), ("l", broken)])

    assert finding.message == "the saga leaf 1.0.0 has findings of its own; see there"


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        (ROOT, (("middle", "1.0.0"), ("leaf", "1.0.0"))),
        (saga("id: a, saga: x@1", "id: b, saga: x@1"), (("x", "1"),)),
        (saga("id: a, saga: x", "id: b, saga: [1]"), ()),
        (header() + "steps: [1, {saga: y@2}]\n", (("y", "2"),)),
        ("a: [", ()),
        ("", ()),
        ("#" * 300_000, ()),
    ],
)
def test_the_children_of_a_text_are_found_without_a_check(text, expected):
    """So that whoever keeps the published ones can fetch them first."""
    assert find_children(text) == expected


def test_no_text_makes_anybody_look_for_more_children_than_a_saga_may_have():
    """Each may cost whoever looks a query."""
    text = saga(*(f"id: s{n}, saga: c{n}@1" for n in range(2_000)))

    assert len(find_children(text)) == STEPS_MAX
