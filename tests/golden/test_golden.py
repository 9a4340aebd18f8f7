"""Every transcript tells what the code does today.

``python -m tests.golden --rewrite`` takes a changed trace over; commit it only when
the change is meant and understood.
"""

import asyncio
import difflib
from pathlib import Path

import pytest

from tests.golden.cluster import Cluster
from tests.golden.run import HERE, play, scripts
from tests.golden.script import Command, ScriptError, parse, render, replay


def name_of(path: Path) -> str:
    return str(path.relative_to(HERE))


@pytest.mark.parametrize("path", scripts(), ids=name_of)
def test_transcript_is_what_happens(path: Path, tmp_path: Path) -> None:
    """The committed trace below each command is the one that the code leaves."""
    expected, actual = path.read_text(), play(path, tmp_path)
    difference = difflib.unified_diff(
        expected.splitlines(), actual.splitlines(), name_of(path), "today", lineterm=""
    )

    assert expected == actual, (
        "\n" + "\n".join(difference) + "\n\nmeant? python -m tests.golden --rewrite"
    )


@pytest.mark.parametrize("path", scripts(), ids=name_of)
def test_transcript_says_what_it_shows(path: Path) -> None:
    """A script opens with a sentence for the reader."""
    first = parse(path.read_text())[0]

    assert isinstance(first, str)
    assert first.startswith("# ")


def test_every_barrier_scenario_is_told() -> None:
    """F-1 to F-15 each have a transcript that opens with their number."""
    heads = [path.read_text() for path in scripts() if path.parent.name == "barrier"]
    told = {text[2:].split(":")[0] for text in heads if text.startswith("# F-")}

    assert told == {f"F-{number}" for number in range(1, 16)}


def test_every_saga_file_is_told() -> None:
    """A definition beside the transcripts is published by one of them."""
    folder = HERE / "sagas"
    told = "".join(path.read_text() for path in folder.glob("*.txt"))
    silent = [p.name for p in folder.glob("*.yaml") if f"> saga {p.name}" not in told]

    assert silent == []


def test_changed_trace_is_noticed() -> None:
    """Whatever stands below a command is replaced by what happens."""
    told = "# One.\n\n> begin\n  stored #1 nothing\n"

    actual = asyncio.run(replay(told, Cluster()))

    assert "stored #1 Began TCC" in actual
    assert "nothing" not in actual


def test_unknown_command_names_itself() -> None:
    """A misspelt command stops the script and is named."""
    with pytest.raises(ScriptError, match="confrim"):
        asyncio.run(replay("> begin\n> confrim\n", Cluster()))


def test_text_is_kept_but_for_traces() -> None:
    """Comments, blank lines, commands and bodies are written back as they were."""
    text = "# Why.\n\n> saga\n| steps:\n|\n| - id: a\n  seen\n\n> state\n  seen\n"
    parts = parse(text)

    assert text == render(parts)
    commands = [part for part in parts if isinstance(part, Command)]
    assert commands == [
        Command("saga", ["steps:", "", "- id: a"], ["seen"]),
        Command("state", [], ["seen"]),
    ]
