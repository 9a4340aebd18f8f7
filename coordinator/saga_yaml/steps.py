"""A step as it is written, with what was found out about it so far."""

from collections.abc import Iterator
from dataclasses import dataclass

from coordinator.core.definition import SagaDefinition
from coordinator.saga_yaml.shape import Fields
from coordinator.saga_yaml.tree import Scalar


@dataclass(frozen=True, slots=True)
class Written:
    """One step of the text.

    Attributes:
        fields: what of it is right.
        step_id: as written, right or wrong; empty when there is none.
        child: the saga that it runs, when that is known.
    """

    fields: Fields
    step_id: str
    child: SagaDefinition | None

    @property
    def kind(self) -> str:
        """Which of ``call``, ``tcc``, ``saga``, ``wait`` and ``await`` it has."""
        return self.fields.kind

    @property
    def operation(self) -> str:
        """The one operation whose output the step has; empty when it is not one."""
        if self.is_list or "fallback" in self.fields.node.entries:
            return ""
        return self.fields.get("call", str, self.fields.get("tcc", str, ""))

    @property
    def is_pivot(self) -> bool:
        """It is the pivot of this saga, or runs the saga that has it."""
        return self.fields.get("pivot", bool, default=False) or (
            self.child is not None and self.child.has_pivot
        )

    @property
    def is_optional(self) -> bool:
        """Its failure is no failure of the saga."""
        return self.fields.get("optional", bool, default=False)

    @property
    def is_list(self) -> bool:
        """It is run for each item of a list."""
        return "forEach" in self.fields.node.entries

    @property
    def may_be_absent(self) -> bool:
        """It can end without an output, and the saga goes on: skipped by its condition,
        or optional and failed; of a list, when there is none to run it for.
        """
        condition = self.fields.tree("if")
        if isinstance(condition, Scalar) and isinstance(condition.value, str):
            return True
        return self.is_optional

    @property
    def silence(self) -> str:
        """Why the step never has an output; empty when it may have one."""
        if self.kind == "wait":
            return "it is a timer"
        if self.child is not None and self.child.output is None:
            return f"the saga {self.child.name} has no 'output'"
        return ""

    def calls(self) -> Iterator[Fields]:
        """What it calls first, then its fallbacks, each inside the one before."""
        fields: Fields | None = self.fields
        while fields is not None:
            yield fields
            inner = fields.values.get("fallback")
            fields = inner if isinstance(inner, Fields) else None
