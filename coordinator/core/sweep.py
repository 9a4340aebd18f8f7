"""Which unfinished transactions a node should take up, and why, row by row.

The sweeper lists what is due in the database; most of it is being driven by this
node or by a living peer. The plan is computed from values alone, so that the
simulator and an operator's question get the same answer as production.
"""

from collections.abc import Collection, Iterable
from dataclasses import dataclass
from enum import StrEnum
from typing import Protocol

from coordinator.core.model import Instant, Key


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


class Reason(StrEnum):
    """Why a row is taken or left."""

    DRIVEN_HERE = "DRIVEN_HERE"
    OWNED_BY_LIVING_PEER = "OWNED_BY_LIVING_PEER"
    NOT_DUE = "NOT_DUE"
    FORGOTTEN_HERE = "FORGOTTEN_HERE"
    """This node wrote it last and let go of it."""
    OWNER_DEAD = "OWNER_DEAD"


@dataclass(frozen=True, slots=True)
class Verdict:
    """One row's part of the plan."""

    row: Row
    take: bool
    reason: Reason


def plan(
    rows: Iterable[Row],
    *,
    me: str,
    driven: Collection[Key],
    living: Collection[str],
    now: Instant,
) -> tuple[Verdict, ...]:
    """What to do with each row.

    Args:
        me: this node's id.
        driven: what this node drives.
        living: ids of nodes not known to be dead, this one included.
    """
    return tuple(_judge(row, me, driven, living, now) for row in rows)


def _judge(
    row: Row, me: str, driven: Collection[Key], living: Collection[str], now: Instant
) -> Verdict:
    if row.key in driven:
        return Verdict(row, take=False, reason=Reason.DRIVEN_HERE)
    if row.due_at is None or row.due_at > now:
        return Verdict(row, take=False, reason=Reason.NOT_DUE)
    if row.owner == me:
        return Verdict(row, take=True, reason=Reason.FORGOTTEN_HERE)
    if row.owner in living:
        return Verdict(row, take=False, reason=Reason.OWNED_BY_LIVING_PEER)
    return Verdict(row, take=True, reason=Reason.OWNER_DEAD)
