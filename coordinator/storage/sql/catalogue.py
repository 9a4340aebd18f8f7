"""The catalogue of operations in SQL, and who still needs what is in it."""

from collections.abc import Mapping, Sequence

from sqlalchemy import (
    ColumnElement,
    Connection,
    and_,
    bindparam,
    delete,
    exists,
    func,
    insert,
    or_,
    select,
    update,
)

from coordinator.core.model import (
    GlobalTransaction,
    Key,
    Operation,
)
from coordinator.core.words import OperationKind
from coordinator.ports import AuditEntry
from coordinator.storage.audit import append_record
from coordinator.storage.sql import rows, tables
from coordinator.storage.sql.read import HEADER_COLUMNS, latest_audit_record

_TABLE = tables.operations.c


def save(
    connection: Connection,
    namespace: str,
    operations: Mapping[str, Operation],
    audit: AuditEntry | None,
) -> None:
    """Add or renew, with the audit of it."""
    if not operations:
        return
    known = set(
        connection.scalars(select(_TABLE.name).where(_TABLE.namespace == namespace))
    )
    values = {name: _values(operation) for name, operation in operations.items()}
    renewed = [
        {"of_namespace": namespace, "of_name": name, **value}
        for name, value in values.items()
        if name in known
    ]
    added = [
        {"namespace": namespace, "name": name, **value}
        for name, value in values.items()
        if name not in known
    ]
    if renewed:
        connection.execute(
            update(tables.operations).where(
                and_(
                    _TABLE.namespace == bindparam("of_namespace"),
                    _TABLE.name == bindparam("of_name"),
                )
            ),
            renewed,
        )
    if added:
        connection.execute(insert(tables.operations), added)
    if audit is not None:
        _append_audit(connection, namespace, audit)


def remove(
    connection: Connection, namespace: str, name: str, audit: AuditEntry
) -> bool:
    """Take out what is there, with the audit of it."""
    removed = connection.execute(
        delete(tables.operations).where(
            _TABLE.namespace == namespace, _TABLE.name == name
        )
    )
    if not removed.rowcount:
        return False
    _append_audit(connection, namespace, audit)
    return True


def list_all(connection: Connection, namespace: str) -> list[Operation]:
    """By name."""
    statement = (
        select(
            _TABLE.name,
            _TABLE.kind,
            _TABLE.participant,
            _TABLE.compensable,
            _TABLE.input_schema,
            _TABLE.output_schema,
            _TABLE.description,
            _TABLE.owner,
            _TABLE.compensation,
            _TABLE.is_registered,
        )
        .where(_TABLE.namespace == namespace)
        .order_by(_TABLE.name)
    )
    return [
        Operation(name, OperationKind(kind), *others)
        for name, kind, *others in connection.execute(statement)
    ]


def unfinished_with(
    connection: Connection,
    namespace: str,
    operations: Sequence[str],
    digests: Sequence[str],
    limit: int,
) -> list[GlobalTransaction]:
    """Unfinished transactions that name an operation or run a definition."""
    header, branch = tables.global_transactions.c, tables.branches.c
    names_one = exists().where(
        branch.namespace == header.namespace,
        branch.gid == header.gid,
        branch.operation.in_(operations),
    )
    # As expressions these columns cannot lead the planner to the index of the newest,
    # where it would walk past every finished row there is. What is unfinished is few.
    at_namespace, newest = header.namespace.concat(""), (header.created_at + 0).desc()
    statement = (
        select(*HEADER_COLUMNS)
        .where(
            at_namespace == namespace,
            header.finished_at.is_(None),
            or_(
                header.definition_digest.in_(digests),
                names_one,
                *(_is_named(operation) for operation in operations),
            ),
        )
        .order_by(newest, header.gid.desc())
        .limit(limit)
    )
    return [rows.read_header(row, {}) for row in connection.execute(statement)]


def _is_named(operation: str) -> ColumnElement[bool]:
    """Whether a branch in its transaction's row is of this operation.

    Texts and payloads of an application cannot look like that: in JSON their quotes
    are escaped. ``replace`` tells capital letters apart on every database.
    """
    together = tables.global_transactions.c.branches
    named = f'"operation":"{operation}"'
    return func.replace(together, named, "") != together


def _values(operation: Operation) -> dict[str, object]:
    return {
        "kind": operation.kind.value,
        "participant": operation.participant,
        "compensable": operation.compensable,
        "input_schema": operation.input_schema,
        "output_schema": operation.output_schema,
        "description": operation.description,
        "owner": operation.owner,
        "compensation": operation.compensation,
        "is_registered": operation.is_registered,
    }


def _append_audit(connection: Connection, namespace: str, entry: AuditEntry) -> None:
    # The catalogue belongs to no transaction: the record's gid is empty.
    key = Key(namespace, "")
    record = append_record(latest_audit_record(connection), key, entry)
    connection.execute(
        insert(tables.audit).values(
            number=record.number,
            namespace=namespace,
            gid=key.gid,
            actor=record.actor,
            action=record.action,
            reason=record.reason,
            at=record.at,
            previous_hash=record.previous_hash,
            hash=record.hash,
        )
    )
