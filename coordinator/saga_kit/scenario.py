"""What may go wrong while a saga runs: at which point, and how."""

from dataclasses import dataclass
from enum import StrEnum
from typing import NamedTuple


class Moment(StrEnum):
    """What happens at a branch: a call of one phase, a signal, a timer."""

    TRY = "try"
    ACTION = "action"
    CONFIRM = "confirm"
    CANCEL = "cancel"
    COMPENSATION = "compensation"
    SIGNAL = "signal"
    TIMER = "timer"


class Point(NamedTuple):
    """Where something may go wrong."""

    branch_id: str
    moment: Moment


class FaultKind(StrEnum):
    """How something goes wrong; a crash, or nobody, is about the coordinator."""

    REFUSED = "is refused"
    REQUEST_LOST = "is lost"
    REPLY_LOST = "is done, its answer lost"
    PENDING = "is pending, then done"
    LATE = "is pending for too long"
    CRASH_BEFORE = "is answered, crash before that is stored"
    CRASH_AFTER = "is answered, crash after that is stored"
    DOWN = "is sent, then nobody until the saga's time is up"
    CANCEL = "is under way, the initiator cancels"
    NEVER = "never comes"
    EARLY = "comes early"


_CRASHES = (FaultKind.CRASH_BEFORE, FaultKind.CRASH_AFTER)
_FORWARD = (
    FaultKind.REFUSED,
    FaultKind.REQUEST_LOST,
    FaultKind.REPLY_LOST,
    FaultKind.PENDING,
    FaultKind.LATE,
    *_CRASHES,
    FaultKind.DOWN,
    FaultKind.CANCEL,
)
_PHASE_TWO = (
    FaultKind.REFUSED,
    FaultKind.REQUEST_LOST,
    FaultKind.REPLY_LOST,
    FaultKind.PENDING,
    *_CRASHES,
)
KINDS_AT = {
    Moment.TRY: _FORWARD,
    Moment.ACTION: _FORWARD,
    Moment.CONFIRM: _PHASE_TWO,
    Moment.CANCEL: _PHASE_TWO,
    Moment.COMPENSATION: _PHASE_TWO,
    Moment.SIGNAL: (
        FaultKind.NEVER,
        FaultKind.EARLY,
        *_CRASHES,
        FaultKind.DOWN,
        FaultKind.CANCEL,
    ),
    Moment.TIMER: (*_CRASHES, FaultKind.DOWN, FaultKind.CANCEL),
}
"""What can go wrong at each moment."""


_OF_WAITING = (
    ("is answered", "comes"),
    ("is sent", "is awaited"),
    ("is under way", "is awaited"),
)
"""Nobody is called about a signal or a timer."""


@dataclass(frozen=True, slots=True)
class Fault:
    """One thing that goes wrong."""

    point: Point
    kind: FaultKind

    def __str__(self) -> str:
        what = str(self.kind)
        if self.point.moment in (Moment.SIGNAL, Moment.TIMER):
            for word, instead in _OF_WAITING:
                what = what.replace(word, instead)
        return f"{self.point.branch_id}: {self.point.moment} {what}"


@dataclass(frozen=True, slots=True)
class Scenario:
    """All that goes wrong in one run; nothing, when there is no fault."""

    faults: tuple[Fault, ...] = ()

    def kind_at(self, point: Point) -> FaultKind | None:
        """How it goes wrong at a point; ``None`` when it does not."""
        for fault in self.faults:
            if fault.point == point:
                return fault.kind
        return None

    def with_fault(self, fault: Fault) -> "Scenario":
        """The same, and one thing more goes wrong."""
        return Scenario((*self.faults, fault))

    def __str__(self) -> str:
        return "; ".join(map(str, self.faults)) or "nothing goes wrong"
