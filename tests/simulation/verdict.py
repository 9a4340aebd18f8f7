"""That a rule was broken."""

from typing import ClassVar


class Violation(AssertionError):
    """A rule was broken; ``rule`` is its id.

    Attributes:
        first: of this run. The code under test may catch what is raised through it.
    """

    first: ClassVar["Violation | None"] = None

    def __init__(self, rule: str, gid: str, text: str) -> None:
        self.rule = rule
        if Violation.first is None:
            Violation.first = self
        super().__init__(f"{rule} {gid}: {text}")
