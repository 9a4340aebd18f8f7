"""docs/saga-tools.md: what it shows is what the commands print."""

import re
import shlex
from pathlib import Path

import pytest

from coordinator.saga_kit.graph import mermaid, picture_of, svg
from coordinator.saga_yaml import parse

ROOT = Path(__file__).parents[2]
PAGE = (ROOT / "docs" / "saga-tools.md").read_text()
BLOCKS = re.findall(r"```console\n\$ tercet (.*?)\n(.*?)```", PAGE, re.DOTALL)
LOAN = parse((ROOT / "examples" / "loan_approval" / "loan.yaml").read_text())


@pytest.mark.parametrize(("command", "shown"), BLOCKS, ids=[c for c, _ in BLOCKS])
def test_the_page_shows_what_the_command_prints(run, monkeypatch, command, shown):
    """Line by line; ``...`` stands for lines that are left out."""
    monkeypatch.chdir(ROOT)

    result = run(*shlex.split(command))

    printed = iter(line.rstrip() for line in result.stdout.splitlines())
    missing = [
        line for line in shown.splitlines() if line != "..." and line not in printed
    ]
    assert missing == []


def test_the_pictures_are_those_of_the_example():
    """The image beside the page, and the Mermaid text in it."""
    picture = picture_of(LOAN)

    assert (ROOT / "docs" / "approved-loan.svg").read_text() == svg(picture)
    assert f"```mermaid\n{mermaid(picture)}```" in PAGE


def test_the_page_names_every_command(run):
    """A command that nobody is told of is not there."""
    listed = run("saga", "--help").stdout.partition("Commands:")[2]
    names = re.findall(r"^  (\w+) ", listed, re.MULTILINE)

    assert len(names) == 11
    for name in names:
        assert f"saga {name}" in PAGE
