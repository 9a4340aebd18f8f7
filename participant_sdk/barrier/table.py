"""The barrier's table, in the participant's own database."""

from sqlalchemy import (
    BigInteger,
    Column,
    Connection,
    Engine,
    LargeBinary,
    MetaData,
    SmallInteger,
    String,
    Table,
    inspect,
    literal_column,
)
from sqlalchemy.dialects.mysql import MEDIUMBLOB, VARCHAR

from participant_sdk.barrier.rules import IDENTIFIER_LENGTH_MAX

TABLE_NAME = "tercet_barrier"


def _identifier() -> String:
    """Text that every store compares byte by byte (B7)."""
    text: String = String(IDENTIFIER_LENGTH_MAX)
    return text.with_variant(
        String(IDENTIFIER_LENGTH_MAX, collation="C"), "postgresql"
    ).with_variant(
        VARCHAR(IDENTIFIER_LENGTH_MAX, charset="ascii", collation="ascii_bin"),
        "mysql",
        "mariadb",
    )


def barrier_table(metadata: MetaData) -> Table:
    """The table, joined to your metadata, so that Alembic's autogenerate sees it.

    In a migration: ``barrier_table(MetaData()).create(op.get_bind())``.
    """
    blob = LargeBinary().with_variant(MEDIUMBLOB(), "mysql", "mariadb")
    return Table(
        TABLE_NAME,
        metadata,
        Column("gid", _identifier(), primary_key=True),
        Column("branch_id", _identifier(), primary_key=True),
        Column("slot", SmallInteger, primary_key=True, autoincrement=False),
        Column("operation", _identifier(), nullable=False),
        Column("phase", String(16), nullable=False),
        Column("outcome", String(16), nullable=False),
        Column("output", blob, nullable=False),
        Column("content_type", String(128), nullable=False),
        Column("code", String(128), nullable=False),
        Column("message", String(2000), nullable=False),
        Column("created_at_ms", BigInteger, nullable=False),
        sqlite_with_rowid=False,
        # Whatever the database's own defaults are: rows that can be rolled back, any
        # text, comparison byte by byte.
        mysql_engine="InnoDB",
        mysql_default_charset="utf8mb4",
        mysql_collate="utf8mb4_bin",
        mariadb_engine="InnoDB",
        mariadb_default_charset="utf8mb4",
        mariadb_collate="utf8mb4_bin",
    )


TABLE = barrier_table(MetaData())

HORIZON_KEY = {"gid": "*", "branch_id": "*", "slot": 0}
"""Of the row whose ``created_at_ms`` is the horizon; no branch can have this key."""
IS_HORIZON = (
    (TABLE.c.gid == literal_column("'*'"))
    & (TABLE.c.branch_id == literal_column("'*'"))
    & (TABLE.c.slot == literal_column("0"))
)


def create_barrier_table(engine: Engine) -> None:
    """Create the table unless it is there. For production use your migrations."""
    TABLE.metadata.create_all(engine)


def has_barrier_table(database: Engine | Connection) -> bool:
    """Whether the table is there."""
    return inspect(database).has_table(TABLE_NAME)
