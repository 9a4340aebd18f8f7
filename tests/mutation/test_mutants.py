"""Mutation testing itself: what is changed, what is left alone, and what is noticed."""

import ast
import subprocess
import sys

import pytest

from tests.core.coverage_check import ROOT
from tests.mutation.equivalent import EQUIVALENT
from tests.mutation.mutants import mutants


def changes(source: str) -> list[str]:
    return [str(mutant) for mutant in mutants(ast.parse(source))]


@pytest.mark.parametrize(
    ("source", "expected"),
    [
        ("x = a < b", ["a < b  ->  a <= b"]),
        ("x = a is None", ["a is None  ->  a is not None"]),
        (
            "x = a < b == c",
            ["a < b == c  ->  a <= b == c", "a < b == c  ->  a < b != c"],
        ),
        ("x = a and b", ["a and b  ->  a or b"]),
        ("x = a + b", ["a + b  ->  a - b"]),
        ("x = not a", ["not a  ->  a"]),
        ("x = 7", ["7  ->  8", "7  ->  6"]),
        ("x = True", ["True  ->  False"]),
        ("x = min(a)", ["min  ->  max"]),
        ("x = a if b else c", ["b  ->  not b"]),
        ("x = [a for a in b if c(a)]", ["c(a)  ->  not c(a)"]),
        ("x = a if b == c else d", ["b == c  ->  b != c"]),
        ("def f():\n return g()", ["f: return g()  ->  return"]),
        (
            "def f():\n return 0",
            ["f: return 0  ->  return", "f: 0  ->  1", "f: 0  ->  -1"],
        ),
        ("def f():\n return False", ["f: False  ->  True"]),
        ("def f():\n g()", ["f: g()  ->  pass"]),
        ("def f():\n x = g()", ["f: x = g()  ->  pass"]),
        ("def f():\n raise E", ["f: raise E  ->  pass"]),
        (
            "match x:\n case _ if a:\n  pass",
            ["a  ->  not a", "a  ->  nothing"],
        ),
    ],
)
def test_mistakes_that_a_person_makes(source: str, expected: list[str]) -> None:
    """One change each, said as it reads in the source."""
    assert changes(source) == expected


@pytest.mark.parametrize(
    "source",
    [
        '"""A docstring."""',
        "x: Literal[1]",
        "def f(a: Literal[1]) -> Literal[2]:\n '''Doc.'''",
        "@dataclass(frozen=True)\nclass A:\n pass",
        "if TYPE_CHECKING:\n x = 1",
        "def f():\n assert_never(x)",
        "x = f'{a:>{3}}'",
        "__all__ = ['a', 1]",
        "x = None",
        "def f():\n return None",
        "import a",
    ],
)
def test_what_is_left_alone(source: str) -> None:
    """Nothing that a test cannot or need not notice."""
    assert changes(source) == []


def test_applied_mutant_is_the_only_change() -> None:
    """The rest of the module stays as it is."""
    source = "def f(a):\n    b = 1\n    return a < b"
    tree = ast.parse(source)
    swap = next(m for m in mutants(tree) if m.after == "a <= b")
    swap.apply(tree)

    assert ast.unparse(tree) == source.replace("<", "<=")
    compile(tree, "f.py", "exec")


def test_good_tests_kill_and_nothing_is_written() -> None:
    """A whole run over a small module of the core; the file stays as it was."""
    path = ROOT / "coordinator" / "core" / "draft.py"
    before = path.read_bytes()
    run = subprocess.run(
        [sys.executable, "-m", "tests.mutation.run", "draft"],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
    )

    assert run.returncode == 0, run.stderr
    assert "MUTATION module=coordinator/core/draft.py killed=" in run.stdout
    assert run.stdout.endswith("score=1.000\n")
    assert path.read_bytes() == before


def test_explained_survivors_are_still_there() -> None:
    """An explanation goes when the line that it explains does."""
    for module, explained in EQUIVALENT.items():
        found = set(changes((ROOT / module).read_text()))
        assert explained.keys() <= found, module
        assert all(explained.values())
