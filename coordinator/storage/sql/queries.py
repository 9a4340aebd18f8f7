"""What people and tools ask of the database: the port ``Queries``."""

from collections.abc import Callable, Collection, Sequence
from functools import partial
from typing import TypeVar

from sqlalchemy import (
    Connection,
    Executable,
    and_,
    func,
    insert,
    or_,
    select,
)
from sqlalchemy.exc import IntegrityError

from coordinator.core.errors import StoreUnavailable
from coordinator.core.model import (
    GlobalTransaction,
    Key,
    Operation,
)
from coordinator.ports import (
    AuditEntry,
    JournalEntry,
    Queries,
    StoredDefinition,
    TransactionFilter,
)
from coordinator.storage.audit import AuditRecord
from coordinator.storage.sql import catalogue, read, rows, tables
from coordinator.storage.sql.database import Database, Lane
from coordinator.storage.sql.durable import durably, leave_trace
from coordinator.storage.sql.flavour import Flavour
from coordinator.storage.sql.read import HEADER_COLUMNS, audit_records

T = TypeVar("T")

LIST_MAX = 1_000
"""Rows of one listing, whoever asks."""

_ATTEMPT_MAX = 10
"""Attempts of a small write that met another node's."""

_DEFINITION_COLUMNS = (
    tables.definitions.c.namespace,
    tables.definitions.c.name,
    tables.definitions.c.version,
    tables.definitions.c.digest,
    tables.definitions.c.text,
    tables.definitions.c.published_at,
)


class SqlQueries(Queries):
    """See the port for what each method promises."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def list_transactions(
        self, what: TransactionFilter
    ) -> list[GlobalTransaction]:
        """Newest first; without branches and definition."""
        return await self._ask_durably(partial(_list_transactions, what=what))

    async def journal(self, key: Key) -> list[JournalEntry]:
        """The journal of one transaction, in order of ``seq``."""
        return await self._ask_durably(partial(_journal, key=key))

    async def publish(self, definition: StoredDefinition) -> StoredDefinition:
        """Store a definition unless its name and version are taken."""
        flavour = self._database.flavour
        return await self._tell(
            partial(_publish, definition=definition, flavour=flavour)
        )

    async def find_definition(
        self, namespace: str, name: str, version: str
    ) -> StoredDefinition | None:
        """One version, or the one published last."""
        return await self._ask(
            partial(_find_definition, namespace=namespace, name=name, version=version)
        )

    async def find_definition_by_digest(
        self, namespace: str, digest: str
    ) -> StoredDefinition | None:
        """What a running saga is pinned to."""
        return await self._ask(
            partial(_find_by_digest, namespace=namespace, digest=digest)
        )

    async def list_definitions(
        self,
        namespace: str,
        *,
        name: str = "",
        after: tuple[str, str] | None = None,
        limit: int = LIST_MAX,
    ) -> list[StoredDefinition]:
        """Names and versions, newest first within a name."""
        return await self._ask(
            partial(
                _list_definitions,
                namespace=namespace,
                name=name,
                after=after,
                limit=max(1, min(limit, LIST_MAX)),
            )
        )

    async def unfinished_with(
        self,
        namespace: str,
        *,
        operations: Collection[str],
        digests: Collection[str],
        limit: int,
    ) -> list[GlobalTransaction]:
        """Unfinished transactions that name an operation or run a definition."""
        return await self._ask(
            partial(
                catalogue.unfinished_with,
                namespace=namespace,
                operations=sorted(operations),
                digests=sorted(digests),
                limit=max(1, min(limit, LIST_MAX)),
            )
        )

    async def save_operations(
        self,
        namespace: str,
        operations: Sequence[Operation],
        audit: AuditEntry | None = None,
    ) -> None:
        """Add to the catalogue, or renew what is there."""
        by_name = {operation.name: operation for operation in operations}
        save = partial(
            catalogue.save, namespace=namespace, operations=by_name, audit=audit
        )
        await self._tell(save)

    async def remove_operation(
        self, namespace: str, name: str, audit: AuditEntry
    ) -> bool:
        """Take an operation out of the catalogue; whether it was there."""
        remove = partial(catalogue.remove, namespace=namespace, name=name, audit=audit)
        return await self._tell(remove)

    async def list_operations(self, namespace: str) -> list[Operation]:
        """The catalogue, by name."""
        return await self._ask(partial(catalogue.list_all, namespace=namespace))

    async def audit_trail(
        self, *, after: int = 0, limit: int = LIST_MAX
    ) -> list[AuditRecord]:
        """Operators' actions of all namespaces, from the one after number ``after``."""
        return await self._ask(partial(audit_records, after=after, limit=limit))

    async def _ask(self, question: Callable[[Connection], T]) -> T:
        return await self._database.read(question, Lane.PEOPLE)

    async def _ask_durably(self, question: Callable[[Connection], list[T]]) -> list[T]:
        return await self._ask(durably(question, self._database.flavour))

    async def _tell(self, work: Callable[[Connection], T]) -> T:
        return await self._database.write(retrying(work), Lane.PEOPLE)


def retrying(work: Callable[[Connection], T]) -> Callable[[Connection], T]:
    """Run in a transaction, and again when another node took a key meanwhile."""

    def run(connection: Connection) -> T:
        for _ in range(_ATTEMPT_MAX):
            try:
                with connection.begin():
                    return work(connection)
            except IntegrityError:
                continue
        raise StoreUnavailable("other nodes keep writing what this one wants to write")

    return run


def _list_transactions(
    connection: Connection, what: TransactionFilter
) -> list[GlobalTransaction]:
    table = tables.global_transactions.c
    statement = (
        select(*HEADER_COLUMNS)
        .where(table.namespace == what.namespace, tables.BEGAN_AT_ANY_TIME)
        .order_by(table.created_at.desc(), table.gid.desc())
        .limit(max(1, min(what.limit, LIST_MAX)))
    )
    if what.statuses:
        statuses = sorted(status.value for status in what.statuses)
        statement = statement.where(table.status.in_(statuses))
    if what.name:
        statement = statement.where(table.name == what.name)
    if what.attention:
        statement = statement.where(table.attention_since.is_not(None))
    if what.before is not None:
        created_at, gid = what.before
        statement = statement.where(
            table.created_at <= created_at,
            or_(table.created_at < created_at, table.gid < gid),
        )
    return [rows.read_header(row, {}) for row in connection.execute(statement)]


def _journal(connection: Connection, key: Key) -> list[JournalEntry]:
    return read.journals(connection, [key]).get(key, [])


def _publish(
    connection: Connection, definition: StoredDefinition, flavour: Flavour
) -> StoredDefinition:
    table = tables.definitions.c
    taken = _find_definition(
        connection, definition.namespace, definition.name, definition.version
    )
    if taken is not None:
        if flavour is Flavour.MYSQL:
            leave_trace(connection)  # it may have been published just now
        return taken
    ordinal = connection.scalar(
        select(func.coalesce(func.max(table.ordinal), 0) + 1).where(
            table.namespace == definition.namespace, table.name == definition.name
        )
    )
    connection.execute(
        insert(tables.definitions).values(
            namespace=definition.namespace,
            name=definition.name,
            version=definition.version,
            digest=definition.digest,
            text=definition.text,
            published_at=definition.published_at,
            ordinal=ordinal,
        )
    )
    return definition


def _find_definition(
    connection: Connection, namespace: str, name: str, version: str
) -> StoredDefinition | None:
    table = tables.definitions.c
    statement = select(*_DEFINITION_COLUMNS).where(
        table.namespace == namespace, table.name == name
    )
    if version == "latest":
        statement = statement.order_by(table.ordinal.desc()).limit(1)
    else:
        statement = statement.where(table.version == version)
    return _first(connection, statement)


def _find_by_digest(
    connection: Connection, namespace: str, digest: str
) -> StoredDefinition | None:
    table = tables.definitions.c
    statement = (
        select(*_DEFINITION_COLUMNS)
        .where(table.namespace == namespace, table.digest == digest)
        .order_by(table.name, table.ordinal)
        .limit(1)
    )
    return _first(connection, statement)


def _list_definitions(
    connection: Connection,
    namespace: str,
    name: str,
    after: tuple[str, str] | None,
    limit: int,
) -> list[StoredDefinition]:
    table = tables.definitions.c
    statement = (
        select(*_DEFINITION_COLUMNS)
        .where(table.namespace == namespace)
        .order_by(table.name, table.ordinal.desc())
        .limit(limit)
    )
    if name:
        statement = statement.where(table.name == name)
    if after is not None:
        last_name, last_version = after
        last = tables.definitions.alias()
        ordinal = (
            select(last.c.ordinal)
            .where(
                last.c.namespace == namespace,
                last.c.name == last_name,
                last.c.version == last_version,
            )
            .scalar_subquery()
        )
        statement = statement.where(
            or_(
                table.name > last_name,
                and_(table.name == last_name, table.ordinal < ordinal),
            )
        )
    return _definitions(connection, statement)


def _first(connection: Connection, statement: Executable) -> StoredDefinition | None:
    found = _definitions(connection, statement)
    return found[0] if found else None


def _definitions(
    connection: Connection, statement: Executable
) -> list[StoredDefinition]:
    return [StoredDefinition(*tuple(row)) for row in connection.execute(statement)]
