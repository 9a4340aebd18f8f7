"""What the person at the keyboard wants."""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Options:
    """One run.

    Attributes:
        store: ``sqlite``, ``postgresql`` or ``mariadb``.
        seconds: of faults; starting, settling and judging come on top.
    """

    store: str
    seconds: float
    seed: int
