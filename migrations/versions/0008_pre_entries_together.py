"""The first entries of a journal as a part of their transaction's row.

A transaction of before keeps the entries that it has, and its next ones may stand in
its row. Nodes of the version before count on from there without a gap, but show and
archive only what has rows of its own: all of them have to leave first.

PostgreSQL compresses a row of more than 2 KiB each time that it is written, unless it
is told that a page may be full of one. And with longer rows a third of a page would be
one new row, where two or three and their next versions have room.
"""

import sqlalchemy as sa
from alembic import op

revision = "0008"
down_revision = "0007"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """An empty text says that all entries have rows of their own."""
    op.add_column(
        "global_transactions",
        sa.Column("entries", sa.Text, nullable=False, server_default=""),
    )
    if op.get_context().dialect.name == "postgresql":
        op.execute(
            "ALTER TABLE global_transactions"
            " SET (toast_tuple_target = 8160, fillfactor = 45)"
        )
