"""The faults' commands and their page; the faults themselves take minutes."""

import re

import pytest

from examples.fleet import ROOT
from tests.faults import __main__ as command
from tests.faults.verdict import STORES

PAGE = (ROOT / "docs" / "faults.md").read_text()
ROWS = dict(re.findall(r"^\| (F\d+) \| (.*) \|$", PAGE, re.MULTILINE))


def test_every_fault_has_a_row() -> None:
    """F1 to F36, each once, in their order."""
    assert [f"F{n}" for n in range(1, 37)] == re.findall(
        r"^\| (F\d+) ", PAGE, re.MULTILINE
    )


@pytest.mark.parametrize("number", command.MODULES)
def test_a_command_is_named_on_the_page(number: str) -> None:
    """What can be injected says so, with the command, and names real databases."""
    fault = command.load(number)

    assert fault.number == number
    assert f"make faults ONLY={number}`" in ROWS[number]
    assert set(fault.stores) <= set(STORES)


def test_the_list_names_all(capsys: pytest.CaptureFixture[str]) -> None:
    """``--list`` says what can be injected, and on what."""
    assert command.main(["--list"]) == 0

    listed = [line.split()[0] for line in capsys.readouterr().out.splitlines()]
    assert sorted(command.MODULES) == listed


def test_an_unknown_fault_is_wrong_usage(capsys: pytest.CaptureFixture[str]) -> None:
    """Nothing is set up for a number that is none."""
    with pytest.raises(SystemExit) as ended:
        command.main(["F99"])

    assert ended.value.code == 2
    assert "F19" in capsys.readouterr().err
