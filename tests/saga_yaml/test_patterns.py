"""Patterns mean the same with every Python 3.11 and later."""

import re
from pathlib import Path

import coordinator
import participant_sdk

REPEATED = re.compile(r"(?<!\\)\)(?:[*+?]|\{[0-9,]+\})\+")


def test_no_pattern_repeats_a_group_possessively() -> None:
    """Before Python 3.11.5 it may stop in the middle of the group: what an atomic group
    says instead, ``(?>(?:ab)*)``, works everywhere.
    """
    found = [
        f"{path.name}: {line.strip()}"
        for package in (coordinator, participant_sdk)
        for path in Path(package.__path__[0]).rglob("*.py")
        for line in path.read_text(encoding="utf-8").splitlines()
        if "``" not in line and REPEATED.search(line)
    ]
    assert not found
