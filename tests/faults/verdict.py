"""What a fault comes to."""

import shutil
import sys
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

STORES = ("sqlite", "postgresql", "mariadb")


class Failed(Exception):
    """A promise was broken; the text says which, and what was seen."""


class Missing(Exception):
    """This machine cannot inject it; the text says what would be needed."""


Figures = Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class Trial:
    """What a fault is tried on.

    Attributes:
        directory: for files; kept when the trial fails.
    """

    store: str
    directory: Path


@dataclass(frozen=True, slots=True)
class Fault:
    """One row of the table.

    Attributes:
        stores: what it can be tried on; the first one unless said otherwise.
        run: injects and judges; returns figures, raises ``Failed`` or ``Missing``.
        namespaces: of the kernel that it needs for itself: ``net``, ``mount``.
    """

    number: str
    title: str
    stores: tuple[str, ...]
    run: Callable[[Trial], Awaitable[Figures]]
    namespaces: tuple[str, ...] = ()


def promise(holds: object, text: str) -> None:
    """Raise ``Failed`` unless it holds."""
    if not holds:
        raise Failed(text)


def say(text: str) -> None:
    """Tell how it goes; the verdict alone goes to stdout."""
    sys.stderr.write(f"  {text}\n")
    sys.stderr.flush()


def need(program: str) -> str:
    """Where a program is. Raises ``Missing``."""
    found = shutil.which(program)
    if found is None:
        raise Missing(
            f"{program} is not here; run `python -m tests.servers install faults`, as"
            " root"
        )
    return found
