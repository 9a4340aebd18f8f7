"""PostgreSQL, MariaDB, MySQL and their like: several connections, each for one purpose.

Writes run at READ COMMITTED, because one-row compare-and-set and unique keys are all
that correctness leans on; reads run at REPEATABLE READ, so that a header and its
branches are of one revision. Every lane has a pool of its own: a heartbeat never
waits for a request, nor a request for the sweeper.

Three things can end a function before its COMMIT is sent: others' transactions were
preferred (deadlock, serialization), the connection was gone (the server came back
since it was last used), or its time is up. The first two run it again as a whole, a
bounded number of times with jitter; nothing of it was kept. From the moment COMMIT is
sent nobody here can know, and the caller is told so (L6).
"""

import asyncio
import logging
from collections.abc import Callable, Collection, Mapping, Sequence
from typing import TYPE_CHECKING, Any, Final, TypeVar

from sqlalchemy import Connection, Engine, event

from coordinator.core.errors import StoreUnavailable
from coordinator.storage.sql.database import Database, Lane
from coordinator.storage.sql.failure import Failure, answered, classify, code_of
from coordinator.storage.sql.flavour import Flavour, original
from coordinator.storage.sql.lineage import Lineage
from coordinator.storage.sql.spare import Spare
from coordinator.storage.sql.url import DatabaseUrl, Kind

if TYPE_CHECKING:
    from sqlalchemy.ext.asyncio import AsyncEngine

T = TypeVar("T")

WRITER_MAX: Final = 4
"""Commits under way at once; each carries what waited, so more would carry less."""

_SHARE_MIN: Final = 64
"""With 256 two-step sagas in flight the throughput was 0.171 of the bare limit's with
one commit for all, 0.229 with shares of 128, 0.228 of 64, 0.160 of 32 (two windows
each)."""

_READER_MAX: Final = 4
_PEOPLE_MAX: Final = 2
_SWEEPER_MAX: Final = 2

_POOL_SECONDS_MAX: Final = 2.0
"""How long a caller waits for a connection before it is told to come back."""

CALL_SECONDS_MAX: Final = 5.0
"""One function, connecting included. It ends a wait that nobody else would end, such
as for a server that hangs or a link that swallows everything."""

_CONNECT_SECONDS_MAX: Final = 2
_STATEMENT_MS_MAX: Final = 4_000
_LOCK_MS_MAX: Final = 2_000
_IDLE_MS_MAX: Final = 15_000
"""A transaction of ours that stands still for so long has lost its process."""

_COMMITTING: Final = "tercet_committing"
_PATIENCE: Final = "tercet_patience"

_PLANS: Final = {"jit": "off"}
_PINNED_PLANS: Final = {
    **_PLANS,
    # A batch is joined to its rows by the key's index, however large the tables are
    # and whatever the statistics say. Other plans win on paper and lose by far.
    "enable_seqscan": "off",
    "enable_bitmapscan": "off",
    "enable_hashjoin": "off",
    "enable_mergejoin": "off",
    "enable_memoize": "off",
    # A plan made while the tables were empty would be kept, whichever index it took.
    "plan_cache_mode": "force_custom_plan",
}
_KEPT_PLANS: Final = {
    **_PINNED_PLANS,
    # Whatever is written is looked up by its key, for which there is one index. To plan
    # a commit anew takes the server longer than to run a small one.
    "plan_cache_mode": "force_generic_plan",
}
_WALKING_PLANS: Final = {
    **_PINNED_PLANS,
    # No statistics lead away from the index that has the order of the walk.
    "enable_sort": "off",
    "enable_incremental_sort": "off",
}
_TIME_LIMITS: Final = {
    "statement_timeout": str(_STATEMENT_MS_MAX),
    "lock_timeout": str(_LOCK_MS_MAX),
    "idle_in_transaction_session_timeout": str(_IDLE_MS_MAX),
}
_MYSQL_MODE: Final = "SET SESSION sql_mode = 'STRICT_ALL_TABLES,NO_ENGINE_SUBSTITUTION'"
_MYSQL_LIMITS: Final = (
    f", innodb_lock_wait_timeout = {_LOCK_MS_MAX // 1_000},"
    f" lock_wait_timeout = {_STATEMENT_MS_MAX // 1_000}"
)
_TIDB_LOCKS: Final = " /*T! , tidb_txn_mode = 'pessimistic' */"
"""A remark, but to TiDB: that who comes second waits, as with MySQL, and that the
number of changed rows is true."""


class ServerDatabase(Database):
    """See the protocol."""

    def __init__(
        self,
        url: DatabaseUrl,
        *,
        flavour: Flavour | None = None,
        isolation: str = "READ COMMITTED",
    ) -> None:
        self._url = url
        self.flavour = flavour or original(url.kind)
        self._lineage = Lineage(self._release_spares)
        snapshot = "REPEATABLE READ"
        self._writing = {
            Lane.FOREGROUND: self._engine(WRITER_MAX, isolation, _KEPT_PLANS),
            Lane.SWEEPER: self._engine(_SWEEPER_MAX, isolation, _KEPT_PLANS),
            Lane.HEARTBEAT: self._engine(1, isolation),
            Lane.PEOPLE: self._engine(1, isolation, _PLANS),
            Lane.RETENTION: self._engine(1, isolation),
        }
        self._reading = {
            Lane.FOREGROUND: self._engine(_READER_MAX, snapshot),
            Lane.SWEEPER: self._engine(1, snapshot, _WALKING_PLANS),
            Lane.HEARTBEAT: self._engine(1, snapshot),
            Lane.PEOPLE: self._engine(_PEOPLE_MAX, snapshot, _PLANS),
            Lane.RETENTION: self._engine(1, snapshot, _WALKING_PLANS),
        }
        self._spares = {
            engine: Spare(engine, seconds_max=CALL_SECONDS_MAX)
            for engine in self._writing.values()
        }
        self._closed = False
        self.dialect = self._writing[Lane.FOREGROUND].dialect
        self.writer_max = WRITER_MAX
        self.share_min = _SHARE_MIN

    async def write(
        self, work: Callable[[Connection], T], lane: Lane = Lane.FOREGROUND
    ) -> T:
        """Run; ``work`` begins and ends its own transactions."""
        engine = self._writing[lane]
        with self._spares[engine].released():
            return await self._run(engine, work)

    async def write_alone(
        self,
        text: str,
        parameters: Sequence[object],
        *,
        lane: Lane,
        refusals: Collection[str],
    ) -> bool:
        """Whether this statement, a transaction of its own, has become durable.

        Only PostgreSQL's driver can. Nothing stands between it and the statement: where
        one change is committed at a time, what SQLAlchemy does for a statement and a
        transaction took the node longer than what the driver does.

        Args:
            refusals: the database's codes that mean no, and nothing was kept.
        """
        if self._closed:
            raise StoreUnavailable("the store was closed")
        engine = self._writing[lane]
        return await answered(
            lambda: self._alone(engine, text, parameters, refusals), may_run_again
        )

    async def _alone(
        self,
        engine: "AsyncEngine",
        text: str,
        parameters: Sequence[object],
        refusals: Collection[str],
    ) -> bool:
        connection = await self._spares[engine].take()
        driver: Any = connection.driver_connection
        # It may wait for a standby: see _Patience.
        drop = asyncio.get_running_loop().call_later(CALL_SECONDS_MAX, driver.terminate)
        is_sent = not driver.is_closed()
        is_answered = False
        try:
            await self._send(driver, text, parameters)
            is_answered = True
        except Exception as error:
            if not is_sent:  # it was lost while it was idle
                raise ConnectionResetError from None
            if code_of(error) in refusals:
                is_answered = True
                return False
            if drop.when() <= asyncio.get_running_loop().time():
                raise TimeoutError from None
            error.add_note(_COMMITTING)
            raise
        else:
            return True
        finally:
            drop.cancel()
            if driver.is_closed():
                connection.invalidate()
            is_kept = is_answered and self._lineage.is_current(connection.info)
            self._spares[engine].put(connection, is_kept=is_kept)

    async def _send(self, driver: Any, text: str, parameters: Sequence[object]) -> None:
        await driver.fetch(text, *parameters)

    async def read(
        self, work: Callable[[Connection], T], lane: Lane = Lane.FOREGROUND
    ) -> T:
        """Run in one read transaction: one view of the data, however much is read."""
        return await self._run(self._reading[lane], work)

    async def close(self) -> None:
        """Release all connections."""
        self._closed = True
        for spare in self._spares.values():
            spare.close()
        for engine in (*self._writing.values(), *self._reading.values()):
            await engine.dispose()

    def _release_spares(self) -> None:
        for spare in self._spares.values():
            spare.release()

    def _engine(
        self, size: int, isolation: str, plans: Mapping[str, str] = _PINNED_PLANS
    ) -> "AsyncEngine":
        engine = create_server_engine(
            self._url,
            size=size,
            isolation=isolation,
            flavour=self.flavour,
            plans=plans,
        )
        if self.flavour is Flavour.POSTGRESQL:
            self._lineage.watch(engine.sync_engine)
        return engine

    async def _run(self, engine: "AsyncEngine", work: Callable[[Connection], T]) -> T:
        if self._closed:
            raise StoreUnavailable("the store was closed")
        return await answered(lambda: _attempt(engine, work), may_run_again)


async def _attempt(engine: "AsyncEngine", work: Callable[[Connection], T]) -> T:
    async with (
        asyncio.timeout(CALL_SECONDS_MAX) as limit,
        engine.connect() as connection,
    ):
        info = connection.sync_connection.info  # type: ignore[union-attr] # it is open
        info[_COMMITTING] = False
        patience = info[_PATIENCE] = _Patience(limit)
        try:
            return await connection.run_sync(work)
        except Exception as error:
            if patience.is_over:
                raise TimeoutError from None
            if info[_COMMITTING]:
                error.add_note(_COMMITTING)
            raise
        finally:
            patience.end()


class _Patience:
    """How long a call is waited for, and how a wait for a COMMIT ends.

    asyncpg asks the server to cancel what is given up. PostgreSQL ends a COMMIT that
    waits for its synchronous standby, and is cancelled, by keeping it on the primary
    alone: others read it, and a failover loses it. So such a wait ends by dropping the
    connection, which PostgreSQL takes no notice of until the standby has answered.
    """

    def __init__(self, limit: asyncio.Timeout) -> None:
        self._limit = limit
        self._until = limit.when()
        self._cut: asyncio.TimerHandle | None = None
        self.is_over = False

    def commits(self, drop: Callable[[], None]) -> None:
        """From here on only dropping the connection ends it."""
        if self._until is not None:
            self._limit.reschedule(None)
            loop = asyncio.get_running_loop()
            self._cut = loop.call_at(self._until, self._give_up, drop)

    def _give_up(self, drop: Callable[[], None]) -> None:
        self.is_over = True
        drop()

    def begins(self) -> None:
        """One more transaction of the same call."""
        if self._cut is not None:
            self._cut.cancel()
            self._cut = None
            self._limit.reschedule(self._until)

    def end(self) -> None:
        """It was answered, or has failed."""
        if self._cut is not None:
            self._cut.cancel()


def may_run_again(error: Exception) -> bool:
    """Whether nothing of it was kept, and asking again at once makes sense."""
    match classify(error):
        case Failure.ROLLED_BACK:
            return True
        case Failure.GONE:
            return _COMMITTING not in getattr(error, "__notes__", ())
        case Failure.OTHER:
            return False


def create_server_engine(
    url: DatabaseUrl,
    *,
    size: int,
    isolation: str,
    flavour: Flavour | None = None,
    plans: Mapping[str, str] = _PLANS,
    has_patience: bool = False,
) -> "AsyncEngine":
    """An engine whose connections are set up alike, none of them opened yet.

    Args:
        flavour: who answers, if that is known.
        plans: how PostgreSQL itself plans statements; no other database is sent them.
        has_patience: no statement is too long; for changing tables.
    """
    # Both need greenlet, which an embedded database does not.
    from sqlalchemy.ext.asyncio import create_async_engine  # noqa: PLC0415

    from coordinator.storage.sql.postgresql import DRIVER  # noqa: PLC0415

    is_mysql = url.kind is Kind.MYSQL
    settings = {} if has_patience else _TIME_LIMITS
    if flavour is Flavour.POSTGRESQL:
        settings = {**settings, **plans}
        if isolation != "AUTOCOMMIT":  # for statements that are alone in theirs
            settings["default_transaction_isolation"] = isolation.lower()
    engine = create_async_engine(
        url.server if is_mysql else url.server.set(drivername=DRIVER),
        isolation_level=isolation,
        pool_size=size,
        max_overflow=0,
        pool_timeout=_POOL_SECONDS_MAX,
        pool_reset_on_return="rollback",
        hide_parameters=True,
        connect_args=_connect_args(url, settings),
    )
    sync = engine.sync_engine
    if is_mysql:
        _set_up_mysql(sync, has_patience=has_patience)

    @event.listens_for(sync, "begin")
    def begin(connection: Connection) -> None:
        connection.info[_COMMITTING] = False
        if patience := connection.info.get(_PATIENCE):
            patience.begins()

    @event.listens_for(sync, "commit")
    def commit(connection: Connection) -> None:
        connection.info[_COMMITTING] = True
        patience = connection.info.get(_PATIENCE)
        driver_connection = connection.connection.driver_connection
        if patience and url.kind is Kind.POSTGRESQL and driver_connection:
            patience.commits(driver_connection.terminate)

    return engine


def _set_up_mysql(engine: Engine, *, has_patience: bool) -> None:
    # The driver's warnings quote values.
    logging.getLogger("asyncmy").setLevel(logging.CRITICAL)
    limits = "" if has_patience else _MYSQL_LIMITS
    statement = f"{_MYSQL_MODE}{limits}{_TIDB_LOCKS}"

    @event.listens_for(engine, "connect")
    def set_up(connection: Any, _entry: object) -> None:
        cursor = connection.cursor()
        cursor.execute(statement)
        cursor.close()


async def _connect_mysql(**options: Any) -> Any:
    """The driver bounds the first packet alone, but a server that hangs sends none."""
    import asyncmy  # noqa: PLC0415 - heavy, and an extra

    try:
        async with asyncio.timeout(_CONNECT_SECONDS_MAX):
            return await asyncmy.connect(**options)
    except RuntimeError as error:
        # The driver's word for a connection that ended while it was made.
        raise ConnectionResetError(str(error)) from None


def _connect_args(url: DatabaseUrl, settings: Mapping[str, str]) -> dict[str, Any]:
    if url.kind is Kind.POSTGRESQL:
        return {
            "timeout": _CONNECT_SECONDS_MAX,
            "ssl": url.tls or False,
            # However long: to prepare a commit's again takes as long as to run it.
            "max_cacheable_statement_size": 0,
            "server_settings": {"application_name": "tercet", **settings},
        }
    return {
        "async_creator_fn": _connect_mysql,
        "charset": "utf8mb4",
        **({"ssl": url.tls} if url.tls else {}),
    }
