"""Which unfinished transactions a node should take up, and why, row by row.

The sweeper lists what is due in the database; most of it is being driven by this
node or by a living peer. The plan is computed from values alone, so that the
simulator and an operator's question get the same answer as production.

Poison (V6). A transaction may be what kills the nodes that drive it. So a claim from a
dead node counts *before* any work is done, in the statement that claims; whatever that
node then commits of it sets the count back to nought, for it has survived driving it.
A node that left in good order does not count: it took its row among the nodes with it,
while a crash leaves the row there, its heart standing still. Where ``OWNERS_LOST_MAX``
owners in a row died with it, nobody takes it over any more: it is *quarantined*, which
is a kind of attention that holds its calls and deadlines until an operator retries.

Whatever else a node drives dies with it, and is innocent. So what was claimed once and
did not move before its owner died is a *suspect*, and is claimed by itself: when the
node dies again, it died with that one.
"""

from collections.abc import Collection, Iterable
from dataclasses import dataclass
from enum import StrEnum
from typing import Protocol

from coordinator.core.events import AttentionRaised
from coordinator.core.model import GlobalTransaction, Instant, Key

OWNERS_LOST_MAX = 3
"""Distinct nodes that may die with a transaction. Two can be bad luck: a machine that
fails, and its successor that is restarted at that moment."""

_QUARANTINED = "QUARANTINED: "


class Row(Protocol):
    """What the plan reads of an unfinished transaction."""

    @property
    def key(self) -> Key:
        """Which transaction."""

    @property
    def owner(self) -> str:
        """The node that wrote it last."""

    @property
    def due_at(self) -> Instant | None:
        """When somebody should do something about it."""

    @property
    def takeovers(self) -> int:
        """Claims from dead nodes since anything was committed of it."""


class Reason(StrEnum):
    """Why a row is taken or left."""

    DRIVEN_HERE = "DRIVEN_HERE"
    OWNED_BY_LIVING_PEER = "OWNED_BY_LIVING_PEER"
    NOT_DUE = "NOT_DUE"
    FORGOTTEN_HERE = "FORGOTTEN_HERE"
    """This node wrote it last and let go of it."""
    OWNER_DEAD = "OWNER_DEAD"
    OWNER_GONE = "OWNER_GONE"
    """It left in good order, or died so long ago that it is forgotten."""
    QUARANTINED = "QUARANTINED"
    """Too many owners died with it."""


@dataclass(frozen=True, slots=True)
class Verdict:
    """One row's part of the plan.

    Attributes:
        takeovers: what the claim stores, where the row is to be claimed.
    """

    row: Row
    take: bool
    reason: Reason
    takeovers: int = 0

    @property
    def is_suspect(self) -> bool:
        """It is to be claimed by itself, because its last owner may have died of it."""
        return self.reason is Reason.OWNER_DEAD and self.takeovers > 1


def plan(
    rows: Iterable[Row],
    *,
    me: str,
    driven: Collection[Key],
    living: Collection[str],
    known: Collection[str],
    now: Instant,
) -> tuple[Verdict, ...]:
    """What to do with each row.

    Args:
        me: this node's id.
        driven: what this node drives.
        living: ids of nodes not known to be dead, this one included.
        known: ids of all nodes that have a row, dead or alive.
    """
    return tuple(_judge(row, me, driven, living, known, now) for row in rows)


def _judge(
    row: Row,
    me: str,
    driven: Collection[Key],
    living: Collection[str],
    known: Collection[str],
    now: Instant,
) -> Verdict:
    if row.key in driven:
        return Verdict(row, take=False, reason=Reason.DRIVEN_HERE)
    if row.due_at is None or row.due_at > now:
        return Verdict(row, take=False, reason=Reason.NOT_DUE)
    if row.owner == me:
        return Verdict(row, take=True, reason=Reason.FORGOTTEN_HERE)
    if row.owner in living:
        return Verdict(row, take=False, reason=Reason.OWNED_BY_LIVING_PEER)
    if row.owner not in known:
        return Verdict(row, True, Reason.OWNER_GONE, row.takeovers)
    lost = row.takeovers + 1
    if lost >= OWNERS_LOST_MAX:
        return Verdict(row, take=False, reason=Reason.QUARANTINED)
    return Verdict(row, True, Reason.OWNER_DEAD, lost)


def quarantine(now: Instant) -> AttentionRaised:
    """The fact that holds a transaction, with what a person should do."""
    return AttentionRaised(
        f"{_QUARANTINED}{OWNERS_LOST_MAX} nodes in a row died while they drove this"
        " transaction, so none takes it over any more; look for its gid in their logs,"
        " remove the cause, then let it go on: tercet tx retry GID --reason WHY",
        now,
    )


def is_quarantined(tx: GlobalTransaction) -> bool:
    """Whether it is held until an operator asks for a retry."""
    return tx.attention_since is not None and tx.attention_reason.startswith(
        _QUARANTINED
    )
