"""What is unfinished, line by line, in place of by time.

Nodes of the version before go on: their sweep reads all that is unfinished by the new
index, where it read all that was due by the old one.
"""

import sqlalchemy as sa
from alembic import op

revision = "0005"
down_revision = "0004"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """The new index comes before the old one goes."""
    line = ["owner", "namespace", "takeovers", "due_at", "gid"]
    if op.get_context().dialect.name in ("mysql", "mariadb"):
        # No index over some rows there; what has finished stands behind by its time.
        op.create_index(
            "ix_global_transactions_open_lines",
            "global_transactions",
            ["finished_at", *line],
        )
    else:
        unfinished = sa.text("finished_at IS NULL")
        op.create_index(
            "ix_global_transactions_lines",
            "global_transactions",
            line,
            sqlite_where=unfinished,
            postgresql_where=unfinished,
        )
    op.drop_index("ix_global_transactions_unfinished", table_name="global_transactions")
