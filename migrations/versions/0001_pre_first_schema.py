"""The first tables.

Written out in full and not taken from the code's tables: what has run in a bank
must never change its meaning.
"""

import sqlalchemy as sa
from alembic import op

revision = "0001"
down_revision = None
branch_labels = None
depends_on = None


def _binary(size: int) -> sa.String:
    return (
        sa.String(size)
        .with_variant(sa.String(size, collation="C"), "postgresql")
        .with_variant(sa.String(size, collation="ascii_bin"), "mysql", "mariadb")
    )


def _identifier(name: str, size: int = 128) -> sa.Column[str]:
    return sa.Column(name, _binary(size), nullable=False)


def _word(name: str) -> sa.Column[str]:
    return sa.Column(name, sa.String(16), nullable=False)


def _text(name: str) -> sa.Column[str]:
    return sa.Column(name, sa.Text, nullable=False)


def _bytes(name: str) -> sa.Column[bytes]:
    return sa.Column(name, sa.LargeBinary, nullable=False)


def _number(name: str, *, nullable: bool = False) -> sa.Column[int]:
    return sa.Column(name, sa.BigInteger, nullable=nullable, autoincrement=False)


def _flag(name: str) -> sa.Column[bool]:
    return sa.Column(name, sa.Boolean, nullable=False)


def upgrade() -> None:
    _create_transactions()
    _create_branches()
    op.create_table(
        "journal",
        _identifier("namespace"),
        _identifier("gid"),
        _number("seq"),
        _number("at"),
        _text("events"),
        sa.PrimaryKeyConstraint("namespace", "gid", "seq"),
    )
    _create_catalogue()
    op.create_table(
        "nodes",
        _identifier("node_id"),
        _text("address"),
        _number("heartbeat"),
        sa.PrimaryKeyConstraint("node_id"),
    )
    op.create_table(
        "audit",
        _number("number"),
        _identifier("namespace"),
        _identifier("gid"),
        _text("actor"),
        _text("action"),
        _text("reason"),
        _number("at"),
        _identifier("previous_hash", 64),
        _identifier("hash", 64),
        sa.PrimaryKeyConstraint("number"),
    )


def _create_transactions() -> None:
    op.create_table(
        "global_transactions",
        _identifier("namespace"),
        _identifier("gid"),
        _word("mode"),
        _identifier("name"),
        _identifier("digest"),
        _flag("declared"),
        _identifier("definition_digest"),
        _identifier("definition_version"),
        _identifier("check_back", 256),
        _number("depth"),
        _text("labels"),
        _bytes("input"),
        _text("input_type"),
        _number("created_at"),
        _number("deadline_at"),
        _word("status"),
        _word("decision"),
        _number("revision"),
        _number("journal_seq"),
        _identifier("owner"),
        _number("due_at", nullable=True),
        _bytes("output"),
        _text("output_type"),
        _text("reason_code"),
        _text("reason_text"),
        _number("paused_at", nullable=True),
        _number("attention_since", nullable=True),
        _text("attention_reason"),
        _number("updated_at"),
        _number("finished_at", nullable=True),
        sa.PrimaryKeyConstraint("namespace", "gid"),
    )
    unfinished = sa.text("finished_at IS NULL")
    op.create_index(
        "ix_global_transactions_unfinished",
        "global_transactions",
        ["due_at", "namespace", "gid"],
        sqlite_where=unfinished,
        postgresql_where=unfinished,
    )
    newest = ["namespace", "created_at", "gid"]
    op.create_index(
        "ix_global_transactions_newest",
        "global_transactions",
        newest,
        postgresql_where=sa.text("created_at > 0"),
    )
    if op.get_context().dialect.name in ("mysql", "mariadb"):
        return  # No index over some rows there; it would be the one before again.
    attention = sa.text("attention_since IS NOT NULL")
    op.create_index(
        "ix_global_transactions_attention",
        "global_transactions",
        newest,
        sqlite_where=attention,
        postgresql_where=attention,
    )


def _create_branches() -> None:
    op.create_table(
        "branches",
        _identifier("namespace"),
        _identifier("gid"),
        _identifier("branch_id"),
        sa.Column("position", sa.Integer, nullable=False),
        _identifier("operation", 256),
        _bytes("input"),
        _text("input_type"),
        _number("timeout_ms"),
        _number("attempt_max"),
        _number("pending_timeout_ms"),
        _identifier("parent_branch_id"),
        _word("status"),
        _number("attempts"),
        _number("due_at", nullable=True),
        _number("pending_since", nullable=True),
        _bytes("output"),
        _text("output_type"),
        _bytes("compensation_input"),
        _text("compensation_input_type"),
        _text("error_code"),
        _text("error_text"),
        _number("started_at"),
        _number("finished_at", nullable=True),
        sa.PrimaryKeyConstraint("namespace", "gid", "branch_id"),
    )


def _create_catalogue() -> None:
    op.create_table(
        "definitions",
        _identifier("namespace"),
        _identifier("name"),
        _identifier("version"),
        _identifier("digest"),
        _text("text"),
        _number("published_at"),
        _number("ordinal"),
        sa.PrimaryKeyConstraint("namespace", "name", "version"),
        sa.UniqueConstraint(
            "namespace", "name", "ordinal", name="uq_definitions_ordinal"
        ),
    )
    op.create_index("ix_definitions_digest", "definitions", ["namespace", "digest"])
    op.create_table(
        "operations",
        _identifier("namespace"),
        _identifier("name", 256),
        _word("kind"),
        _identifier("participant"),
        _flag("compensable"),
        _text("input_schema"),
        _text("output_schema"),
        sa.PrimaryKeyConstraint("namespace", "name"),
    )
