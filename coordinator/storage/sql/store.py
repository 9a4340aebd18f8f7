"""The store that banks run on: the ports ``Store`` and ``Queries`` over SQL."""

import asyncio
from collections.abc import Sequence
from functools import partial

from sqlalchemy import Connection, delete, insert, select, update

from coordinator.core.errors import PreconditionFailed
from coordinator.core.model import (
    GlobalTransaction,
    Instant,
    Key,
)
from coordinator.core.retention import OldRow
from coordinator.core.sweep import Ask, Gap, Line
from coordinator.ports import Change, History, NodeRow, Retention, Store, SweepRow
from coordinator.storage.sql import lines, probe, read, retention, tables, write
from coordinator.storage.sql.commits import CommitsAtOnce
from coordinator.storage.sql.database import Database, Lane
from coordinator.storage.sql.durable import durably
from coordinator.storage.sql.failure import explain, is_database_error
from coordinator.storage.sql.flavour import Flavour, named_by
from coordinator.storage.sql.migrate import state
from coordinator.storage.sql.probe import Finding
from coordinator.storage.sql.queries import SqlQueries, retrying
from coordinator.storage.sql.schema import SchemaState, state_of, stored_revision
from coordinator.storage.sql.server import (
    CALL_SECONDS_MAX,
    ServerDatabase,
    create_server_engine,
)
from coordinator.storage.sql.sqlite import BUSY_TIMEOUT_MS, SqliteDatabase
from coordinator.storage.sql.url import DatabaseUrl, Kind, parse_url

_ADVICE = {
    SchemaState.EMPTY: "the database has no tables yet; run `tercet db upgrade`",
    SchemaState.BEHIND: "the tables are older than this version of Tercet; run"
    " `tercet db upgrade`",
    SchemaState.AHEAD: "the tables are newer than this version of Tercet; install the"
    " version that upgraded them, or a later one",
}


async def open_store(
    url: str,
    *,
    busy_timeout_ms: int = BUSY_TIMEOUT_MS,
    accepts_unsafe_settings: bool = False,
) -> "SqlStore":
    """The store behind a database URL such as ``sqlite:////var/lib/tercet/tercet.db``.

    Args:
        busy_timeout_ms: how long a write waits while another process holds SQLite's
            file.
        accepts_unsafe_settings: settings with which acknowledged transactions can be
            lost are no reason to refuse; ``SqlStore.unsafe_settings`` names them.

    Raises:
        InvalidRequest: the URL names nothing that is supported.
        PreconditionFailed: the tables are not those of this version, or the database
            or its settings are not fit for it.
        StoreUnavailable: the database does not answer.
    """
    where = parse_url(url)
    if where.kind is Kind.SQLITE:
        if advice := _ADVICE.get(state(url, busy_timeout_ms=busy_timeout_ms)):
            raise PreconditionFailed(advice, field="database_url", reason="SCHEMA")
        store = SqlStore(SqliteDatabase(where.path, busy_timeout_ms=busy_timeout_ms))
        await store.check()
        return store
    flavour, findings = await _fit_server(where)
    if findings and not accepts_unsafe_settings:
        raise probe.refuse(findings)
    database = ServerDatabase(where, flavour=flavour)
    return SqlStore(database, unsafe_settings=findings)


async def _fit_server(where: DatabaseUrl) -> tuple[Flavour, tuple[Finding, ...]]:
    """Who answers, and what is unsafe about it; raises what makes it unfit."""
    engine = create_server_engine(where, size=1, isolation="READ COMMITTED")
    try:
        async with asyncio.timeout(CALL_SECONDS_MAX), engine.connect() as connection:
            return await connection.run_sync(partial(_judge, kind=where.kind))
    except Exception as error:
        if not is_database_error(error):
            raise
        failure = explain(error, where.place)
    finally:
        await engine.dispose()
    # Outside of the handler: a driver's error may carry values in its context.
    raise failure


def _judge(connection: Connection, kind: Kind) -> tuple[Flavour, tuple[Finding, ...]]:
    settings = probe.read_settings(connection, kind)
    flavour = named_by(kind, settings["version"])
    probe.check_server(flavour, settings)
    if advice := _ADVICE.get(state_of(stored_revision(connection))):
        raise PreconditionFailed(advice, field="database_url", reason="SCHEMA")
    probe.check_rights(connection)
    return flavour, probe.unsafe_settings(flavour, settings)


class SqlStore(SqlQueries, Store, Retention):
    """See the ports for what each method promises; one object serves both.

    Attributes:
        writer_max: how many commits it is worth handing over at once.
        share_min: changes for which one more of them is.
        flavour: which database it is.
        unsafe_settings: of the database, with which what was acknowledged can be lost.
    """

    def __init__(
        self, database: Database, *, unsafe_settings: tuple[Finding, ...] = ()
    ) -> None:
        super().__init__(database)
        self.writer_max = database.writer_max
        self.share_min = database.share_min
        self.unsafe_settings = unsafe_settings
        self.flavour = database.flavour
        self._statements = write.Statements(database.dialect, database.flavour)
        self._at_once: CommitsAtOnce | None = None
        if isinstance(database, ServerDatabase):
            is_original = database.flavour is Flavour.POSTGRESQL
            self._at_once = CommitsAtOnce(database) if is_original else None
        self._removals = retention.Removals(database.dialect, database.flavour)

    async def check(self) -> None:
        """The database can be written and read. Raises ``StoreUnavailable``."""
        try:
            await self._database.write(_touch)
            await self._database.read(_touch)
        except BaseException:
            await self.close()
            raise

    async def load(self, keys: Sequence[Key]) -> list[GlobalTransaction]:
        """The stored states of those that exist."""
        if not keys:
            return []
        question = durably(partial(read.load, keys=keys), self.flavour)
        return await self._database.read(question)

    async def commit(self, changes: Sequence[Change]) -> list[Key]:
        """Make all changes whose guard holds durable; return the others' keys."""
        if not changes:
            return []
        if self._at_once and await self._at_once.write(changes):
            return []
        return await self._database.write(
            partial(write.write, statements=self._statements, changes=changes)
        )

    async def lines(self, gaps: Sequence[Gap], *, limit: int) -> list[Line]:
        """The lines in these gaps that have anything unfinished, in order."""
        return await self._database.read(
            partial(lines.in_gaps, gaps=gaps, limit=limit), Lane.SWEEPER
        )

    async def unfinished(
        self, asks: Sequence[Ask], *, due_before: Instant
    ) -> list[SweepRow]:
        """Unfinished rows that are due, line by line, the longest due first."""
        return await self._database.read(
            partial(lines.unfinished, asks=asks, due_before=due_before), Lane.SWEEPER
        )

    async def claim(self, rows: Sequence[SweepRow], *, owner: str) -> list[Key]:
        """Become the owner of each row whose revision still holds."""
        if not rows:
            return []
        if self._at_once and await self._at_once.claim(rows, owner):
            return list({row.key: None for row in rows})
        return await self._database.write(
            partial(write.claim, statements=self._statements, listed=rows, owner=owner),
            Lane.SWEEPER,
        )

    async def beat(self, node: NodeRow) -> list[NodeRow]:
        """Store this node's heartbeat and return all nodes' rows."""
        return await self._database.write(
            retrying(partial(_beat, node=node)), Lane.HEARTBEAT
        )

    async def forget_node(self, node_id: str) -> None:
        """Remove a node's row."""
        await self._database.write(
            retrying(partial(_forget, node_id=node_id)), Lane.HEARTBEAT
        )

    async def old(
        self, *, created_before: Instant, after: OldRow | None, limit: int
    ) -> list[OldRow]:
        """Transactions that began before an instant, the oldest first."""
        return await self._database.read(
            partial(
                retention.old, created_before=created_before, after=after, limit=limit
            ),
            Lane.RETENTION,
        )

    async def histories(self, keys: Sequence[Key]) -> list[History]:
        """All of those that exist."""
        if not keys:
            return []
        return await self._database.read(
            partial(retention.histories, keys=keys), Lane.RETENTION
        )

    async def remove(self, rows: Sequence[OldRow]) -> list[Key]:
        """Remove what has finished; return the keys of what is not as it was."""
        if not rows:
            return []
        return await self._database.write(
            partial(retention.remove, removals=self._removals, rows=rows),
            Lane.RETENTION,
        )

    async def close(self) -> None:
        """Release connections and threads."""
        await self._database.close()


def _touch(connection: Connection) -> None:
    connection.exec_driver_sql("SELECT 1")
    connection.rollback()


def _beat(connection: Connection, node: NodeRow) -> list[NodeRow]:
    table = tables.nodes
    values = {"address": node.address, "heartbeat": node.heartbeat}
    renewed = connection.execute(
        update(table).where(table.c.node_id == node.node_id).values(values)
    )
    if not renewed.rowcount:
        connection.execute(insert(table).values(node_id=node.node_id, **values))
    found = connection.execute(select(table).order_by(table.c.node_id))
    return [NodeRow(*row) for row in found]


def _forget(connection: Connection, node_id: str) -> None:
    connection.execute(delete(tables.nodes).where(tables.nodes.c.node_id == node_id))
