"""That a rule was broken."""

from typing import ClassVar

from tests.simulation.loop import SimLoop


class Violation(AssertionError):
    """A rule was broken; ``rule`` is its id.

    Attributes:
        first: of this run. The code under test may catch what is raised through it.
        seen_by: the loop of this run.
    """

    first: ClassVar["Violation | None"] = None
    seen_by: ClassVar[SimLoop | None] = None

    def __init__(self, rule: str, gid: str, text: str) -> None:
        self.rule = rule
        if Violation.first is None:
            Violation.first = self
            if Violation.seen_by is not None:
                Violation.seen_by.look = True
        super().__init__(f"{rule} {gid}: {text}")
