"""The rules of the house, checked like any other promise."""

import ast
import filecmp
import subprocess
import sys
from pathlib import Path

import pytest

from protos import generate

ROOT = Path(__file__).resolve().parents[2]
LINES_PER_FILE_MAX = 600
LINES_PER_FUNCTION_MAX = 70
OURS = ("coordinator", "participant_sdk", "protos", "migrations", "examples", "bench")

SOURCES = sorted(
    path
    for folder in (*OURS, "tests")
    for path in (ROOT / folder).rglob("*.py")
    if not path.stem.endswith(("_pb2", "_pb2_grpc"))
)
CORE = sorted((ROOT / "coordinator" / "core").glob("*.py"))
PURE = frozenset(
    {
        "collections",
        "collections.abc",
        "dataclasses",
        "datetime",
        "enum",
        "functools",
        "json",
        "operator",
        "re",
        "typing",
        "msgspec",
        "msgspec.structs",
        "zlib",
    }
)
"""What the core may import beside itself: data types and pure functions."""


def relative(path: Path) -> str:
    return str(path.relative_to(ROOT))


def imported(tree: ast.AST) -> set[str]:
    names = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            names.add(node.module or ".")
    return names


def test_layers_are_kept() -> None:
    """Who may import whom stands in pyproject.toml and holds."""
    run = subprocess.run(
        [str(Path(sys.executable).with_name("lint-imports")), "--no-cache"],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
    )

    assert run.returncode == 0, run.stdout + run.stderr


@pytest.mark.parametrize("path", CORE, ids=relative)
def test_core_is_pure(path: Path) -> None:
    """The core imports data types and itself: no clock, random, I/O or event loop."""
    foreign = {
        name
        for name in imported(ast.parse(path.read_text()))
        if name not in PURE and not name.startswith("coordinator.core")
    }

    assert foreign == set()


@pytest.mark.parametrize("path", CORE, ids=relative)
def test_core_asks_no_clock(path: Path) -> None:
    """A date is a data type; which one it is today, the core is told."""
    asked = {
        node.attr
        for node in ast.walk(ast.parse(path.read_text()))
        if isinstance(node, ast.Attribute) and isinstance(node.value, ast.Name)
        if node.value.id in ("date", "datetime")
    }

    assert not asked & {"now", "today", "utcnow"}


KIT = sorted((ROOT / "coordinator" / "saga_kit").rglob("*.py"))
KIT_MAY_IMPORT = PURE | {
    "bisect",
    "heapq",
    "itertools",
    "statistics",
    "unicodedata",
    "xml.sax.saxutils",
}


@pytest.mark.parametrize("path", KIT, ids=relative)
def test_saga_kit_is_pure(path: Path) -> None:
    """A rehearsal has no clock, random, I/O or event loop, so it never differs."""
    foreign = {
        name
        for name in imported(ast.parse(path.read_text()))
        if name not in KIT_MAY_IMPORT
        and not name.startswith(("coordinator.core", "coordinator.saga_kit"))
    }

    assert foreign == set()


def test_barrier_rules_are_pure() -> None:
    """The participant's admission rules import data types only."""
    path = ROOT / "participant_sdk" / "barrier" / "rules.py"
    foreign = imported(ast.parse(path.read_text())) - PURE

    assert foreign == set()


@pytest.mark.parametrize("path", SOURCES, ids=relative)
def test_files_and_functions_are_small(path: Path) -> None:
    """A file has at most 600 lines, a function at most 70."""
    text = path.read_text()
    long_functions = [
        f"{node.name} ({node.end_lineno - node.lineno + 1} lines)"
        for node in ast.walk(ast.parse(text))
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)
        and node.end_lineno is not None
        and node.end_lineno - node.lineno >= LINES_PER_FUNCTION_MAX
    ]

    assert long_functions == []
    assert text.count("\n") <= LINES_PER_FILE_MAX


def test_no_drawer_for_everything() -> None:
    """No module is called utils, helpers or common."""
    drawers = {"utils.py", "util.py", "helpers.py", "common.py", "misc.py"}

    assert [relative(p) for p in SOURCES if p.name in drawers] == []


def test_generated_code_is_fresh(tmp_path: Path) -> None:
    """The committed code in protos/v1 is what the .proto files generate today."""
    generate.generate(tmp_path)
    fresh = sorted((tmp_path / "protos" / "v1").iterdir())

    assert fresh
    for path in fresh:
        committed = ROOT / "protos" / "v1" / path.name
        assert filecmp.cmp(path, committed, shallow=False), f"run make protos: {path}"


@pytest.mark.parametrize("name", ["run.txt", "dev.txt", "bench.txt"])
def test_lock_files_pin_hashes_and_name_no_index(name: str) -> None:
    """Every dependency has a hash, and no address says where it comes from."""
    text = (ROOT / "requirements" / name).read_text()
    requirements = [line for line in text.splitlines() if "==" in line]

    assert "://" not in text
    assert "--index" not in text
    assert requirements
    assert text.count("--hash=sha256:") >= len(requirements)
