"""A coordinator as ``tercet serve`` runs it, with its store under observation."""

from collections.abc import Awaitable, Callable, Sequence
from contextvars import ContextVar
from multiprocessing.connection import Connection
from pathlib import Path
from typing import TypeVar

from sqlalchemy import Connection as Database

from coordinator.cli import node, output
from coordinator.core import quarantine
from coordinator.core.model import Key, Operation
from coordinator.engine import engine, leases, sweeper
from coordinator.ports import AuditEntry, Change, NodeRow, StoredDefinition, SweepRow
from coordinator.storage.sql import migrate, store
from coordinator.storage.sql.database import Lane
from coordinator.storage.sql.sqlite import SqliteDatabase
from tests.e2e.failpoint.points import (
    SCHEMA_POINT,
    STORE_POINTS,
    Armed,
    Moment,
    Unnamed,
    points_of,
)
from tests.e2e.failpoint.trigger import (
    Ready,
    Step,
    Trigger,
    joined,
    replace,
    write_to,
)

T = TypeVar("T")

BEAT_EVERY_MS = 60
TTL_MS = 120
"""A node that died is noticed soon. Nobody else lives here who could be misjudged."""

QUARANTINE_MS = 100

FOREIGN_POLL_MS = 20

_has_point: ContextVar[bool] = ContextVar("has_point", default=False)


def run(
    control: Connection, armed: Armed | None, database: Path, listen: str, log: Path
) -> None:
    """Serve until told to stop, or until the armed point is reached."""
    write_to(log)
    trigger = Trigger(control, armed)
    _hurry()
    observe(trigger)
    node.serve(db=f"sqlite:///{database}", listen=listen)


def _hurry() -> None:
    replace(leases, "TTL_MS", TTL_MS)
    replace(leases, "BEAT_EVERY_MS", BEAT_EVERY_MS)
    replace(sweeper, "SWEEP_EVERY_MS", BEAT_EVERY_MS)
    replace(quarantine, "QUARANTINE_MS", QUARANTINE_MS)
    replace(engine, "FOREIGN_POLL_MS", FOREIGN_POLL_MS)


def observe(trigger: Trigger) -> None:
    """Put both sides of a point around every write of this process."""

    class ObservedStore(_ObservedStore):
        _trigger = trigger

    upgrade, write = migrate.upgrade, SqliteDatabase.write

    def observed_upgrade(url: str) -> list[str]:
        step = Step(frozenset({SCHEMA_POINT}), {})
        trigger.reach(step, Moment.BEFORE)
        applied = upgrade(url)
        trigger.reach(step, Moment.AFTER)
        return applied

    async def observed_write(
        database: SqliteDatabase,
        work: Callable[[Database], T],
        lane: Lane = Lane.FOREGROUND,
    ) -> T:
        if work is not store._touch and not _has_point.get():
            trigger.refuse(f"a write of {work!r}")
        return await write(database, work, lane)

    def observed_line(text: str) -> None:
        trigger.say(Ready())

    replace(store, "SqlStore", ObservedStore)
    replace(migrate, "upgrade", observed_upgrade)
    replace(SqliteDatabase, "write", observed_write)
    replace(output, "line", observed_line)


class _ObservedStore(store.SqlStore):
    """The store, every write between two sides of a point."""

    _trigger: Trigger

    async def commit(self, changes: Sequence[Change]) -> list[Key]:
        steps = {change.key: self._step(change) for change in changes}
        self._trigger.reach(joined(steps.values()), Moment.BEFORE)
        conflicts = await _with_point(super().commit(changes))
        won = [step for key, step in steps.items() if key not in conflicts]
        self._trigger.reach(joined(won), Moment.AFTER)
        return conflicts

    async def claim(self, rows: Sequence[SweepRow], *, owner: str) -> list[Key]:
        points = frozenset({STORE_POINTS["claim"]})
        steps = {row.key: Step(points, {row.key.gid: row.revision + 1}) for row in rows}
        self._trigger.reach(joined(steps.values()), Moment.BEFORE)
        claimed = await _with_point(super().claim(rows, owner=owner))
        self._trigger.reach(joined(steps[key] for key in claimed), Moment.AFTER)
        return claimed

    async def beat(self, node: NodeRow) -> list[NodeRow]:
        return await self._at("beat", super().beat(node))

    async def forget_node(self, node_id: str) -> None:
        await self._at("forget_node", super().forget_node(node_id))

    async def publish(self, definition: StoredDefinition) -> StoredDefinition:
        return await self._at("publish", super().publish(definition))

    async def save_operations(
        self,
        namespace: str,
        operations: Sequence[Operation],
        audit: AuditEntry | None = None,
    ) -> None:
        work = super().save_operations(namespace, operations, audit)
        await self._at("save_operations", work)

    async def remove_operation(
        self, namespace: str, name: str, audit: AuditEntry
    ) -> bool:
        work = super().remove_operation(namespace, name, audit)
        return await self._at("remove_operation", work)

    async def _at(self, method: str, work: Awaitable[T]) -> T:
        step = Step(frozenset({STORE_POINTS[method]}), {})
        self._trigger.reach(step, Moment.BEFORE)
        result = await _with_point(work)
        self._trigger.reach(step, Moment.AFTER)
        return result

    def _step(self, change: Change) -> Step:
        try:
            return Step(points_of(change), {change.key.gid: change.after.revision})
        except Unnamed as unnamed:
            self._trigger.refuse(str(unnamed))
            raise


async def _with_point(work: Awaitable[T]) -> T:
    token = _has_point.set(True)
    try:
        return await work
    finally:
        _has_point.reset(token)
