"""The tables. The migrations build them; a test proves that both agree.

Instants are milliseconds since the epoch, payloads are bytes beside their content
type, identifiers compare byte by byte on every database. What never changes of a
row stands before what does; :mod:`.rows` and :mod:`.write` follow that order.

SQLite keeps the rows in order of arrival beside an index of the keys. Clustered by
key (``WITHOUT ROWID``) the same commits wrote twice the log and, with gids in random
order, took twice the time: measured at 120,000 transactions.
"""

from typing import Any, Final

from sqlalchemy import (
    BigInteger,
    Boolean,
    Column,
    Dialect,
    Index,
    Integer,
    LargeBinary,
    MetaData,
    String,
    Table,
    Text,
    UniqueConstraint,
    false,
)

import coordinator.storage.sql.mysql  # noqa: F401 - declares how MySQL keeps them

METADATA = MetaData()

PREPENDED: Final = {"is_prepended": True}
"""Of a column: an update puts its value before what stands there."""

_IDENTIFIER_SIZE_MAX = 128
_HASH_SIZE = 64


def _binary(size: int) -> String:
    """Text that compares byte by byte: SQLite does so of itself."""
    return (
        String(size)
        .with_variant(String(size, collation="C"), "postgresql")
        .with_variant(String(size, collation="ascii_bin"), "mysql", "mariadb")
    )


def _identifier(name: str, *, primary_key: bool = False) -> Column[str]:
    return Column(
        name, _binary(_IDENTIFIER_SIZE_MAX), primary_key=primary_key, nullable=False
    )


def _word(name: str) -> Column[str]:
    """A status, a mode, a phase."""
    return Column(name, String(16), nullable=False)


def _text(name: str) -> Column[str]:
    return Column(name, Text, nullable=False)


def _payload(name: str) -> tuple[Column[bytes], Column[str]]:
    return Column(name, LargeBinary, nullable=False), _text(f"{name}_type")


def _instant(name: str, *, nullable: bool = False) -> Column[int]:
    return Column(name, BigInteger, nullable=nullable)


def _count(name: str) -> Column[int]:
    return Column(name, BigInteger, nullable=False)


def _knows_indexes_over_some_rows(
    *_: object, dialect: Dialect, **_others: object
) -> bool:
    return dialect.name in ("sqlite", "postgresql")


def _knows_no_indexes_over_some_rows(*arguments: object, **others: Any) -> bool:
    return not _knows_indexes_over_some_rows(*arguments, **others)


global_transactions = Table(
    "global_transactions",
    METADATA,
    _identifier("namespace", primary_key=True),
    _identifier("gid", primary_key=True),
    _word("mode"),
    _identifier("name"),
    Column("digest", _binary(_IDENTIFIER_SIZE_MAX), nullable=False),
    Column("declared", Boolean, nullable=False),
    Column("definition_digest", _binary(_IDENTIFIER_SIZE_MAX), nullable=False),
    _identifier("definition_version"),
    Column("check_back", _binary(_IDENTIFIER_SIZE_MAX * 2), nullable=False),
    _count("depth"),
    _text("labels"),
    *_payload("input"),
    _instant("created_at"),
    _instant("deadline_at"),
    # From here on, what moves.
    _word("status"),
    _word("decision"),
    _count("revision"),
    _count("journal_seq"),
    _identifier("owner"),
    _instant("due_at", nullable=True),
    *_payload("output"),
    _text("reason_code"),
    _text("reason_text"),
    _instant("paused_at", nullable=True),
    _instant("attention_since", nullable=True),
    _text("attention_reason"),
    _instant("updated_at"),
    _instant("finished_at", nullable=True),
    # With a default, because nodes of before do not name it.
    Column("takeovers", BigInteger, nullable=False, server_default="0"),
    # All of them as JSON; empty where they have rows of their own.
    Column("branches", Text, nullable=False, server_default=""),
    # Those of the journal that have no row of their own, a line each. The newest comes
    # first, because PostgreSQL leaves out of its log what the old and the new version
    # of a row end with.
    Column("entries", Text, nullable=False, server_default="", info=PREPENDED),
)

# The sweeper's: what is unfinished, line by line, the longest due first. Finished rows
# leave it, so it stays as small as what is under way; on MySQL, which knows no index
# over some rows, they go behind all others by their time and are not met there.
_UNFINISHED = global_transactions.c.finished_at.is_(None)
_LINES = [
    global_transactions.c[name]
    for name in ("owner", "namespace", "takeovers", "due_at", "gid")
]
Index(
    "ix_global_transactions_lines",
    *_LINES,
    sqlite_where=_UNFINISHED,
    postgresql_where=_UNFINISHED,
).ddl_if(callable_=_knows_indexes_over_some_rows)
Index(
    "ix_global_transactions_open_lines",
    global_transactions.c.finished_at,
    *_LINES,
).ddl_if(callable_=_knows_no_indexes_over_some_rows)

# People's: the newest first, and those that need somebody. PostgreSQL may use the first
# only where a statement says what is always true; else its planner would take it for
# the key's as long as its statistics are of empty tables.
BEGAN_AT_ANY_TIME = global_transactions.c.created_at > 0
Index(
    "ix_global_transactions_newest",
    global_transactions.c.namespace,
    global_transactions.c.created_at,
    global_transactions.c.gid,
    postgresql_where=BEGAN_AT_ANY_TIME,
)
_ATTENTION = global_transactions.c.attention_since.is_not(None)
Index(
    "ix_global_transactions_attention",
    global_transactions.c.namespace,
    global_transactions.c.created_at,
    global_transactions.c.gid,
    sqlite_where=_ATTENTION,
    postgresql_where=_ATTENTION,
    # MySQL knows no index over some rows; there it would be the one before again.
).ddl_if(callable_=_knows_indexes_over_some_rows)

branches = Table(
    "branches",
    METADATA,
    _identifier("namespace", primary_key=True),
    _identifier("gid", primary_key=True),
    _identifier("branch_id", primary_key=True),
    Column("position", Integer, nullable=False),
    Column("operation", _binary(_IDENTIFIER_SIZE_MAX * 2), nullable=False),
    *_payload("input"),
    _count("timeout_ms"),
    _count("attempt_max"),
    _count("pending_timeout_ms"),
    _identifier("parent_branch_id"),
    # From here on, what moves.
    _word("status"),
    _count("attempts"),
    _instant("due_at", nullable=True),
    _instant("pending_since", nullable=True),
    *_payload("output"),
    *_payload("compensation_input"),
    _text("error_code"),
    _text("error_text"),
    _instant("started_at"),
    _instant("finished_at", nullable=True),
    # Written once; with defaults, because nodes of before do not name them.
    Column("kind", String(16), nullable=False, server_default="TCC"),
    Column("expires_ms", BigInteger, nullable=False, server_default="0"),
)

journal = Table(
    "journal",
    METADATA,
    _identifier("namespace", primary_key=True),
    _identifier("gid", primary_key=True),
    Column("seq", BigInteger, primary_key=True, autoincrement=False),
    _instant("at"),
    _text("events"),
)

definitions = Table(
    "definitions",
    METADATA,
    _identifier("namespace", primary_key=True),
    _identifier("name", primary_key=True),
    _identifier("version", primary_key=True),
    Column("digest", _binary(_IDENTIFIER_SIZE_MAX), nullable=False),
    _text("text"),
    _instant("published_at"),
    # The order of publication within a name, which no clock can confuse.
    Column("ordinal", BigInteger, nullable=False),
    UniqueConstraint("namespace", "name", "ordinal", name="uq_definitions_ordinal"),
    Index("ix_definitions_digest", "namespace", "digest"),
)

nodes = Table(
    "nodes",
    METADATA,
    _identifier("node_id", primary_key=True),
    _text("address"),
    _count("heartbeat"),
)

operations = Table(
    "operations",
    METADATA,
    _identifier("namespace", primary_key=True),
    Column("name", _binary(_IDENTIFIER_SIZE_MAX * 2), primary_key=True),
    _word("kind"),
    _identifier("participant"),
    Column("compensable", Boolean, nullable=False),
    _text("input_schema"),
    _text("output_schema"),
    # With defaults, because nodes of before do not name them.
    Column("description", Text, nullable=False, server_default=""),
    Column("owner", Text, nullable=False, server_default=""),
    Column("compensation", Text, nullable=False, server_default=""),
    Column("is_registered", Boolean, nullable=False, server_default=false()),
)

audit = Table(
    "audit",
    METADATA,
    Column("number", BigInteger, primary_key=True, autoincrement=False),
    _identifier("namespace"),
    _identifier("gid"),
    _text("actor"),
    _text("action"),
    _text("reason"),
    _instant("at"),
    Column("previous_hash", _binary(_HASH_SIZE), nullable=False),
    Column("hash", _binary(_HASH_SIZE), nullable=False),
)
