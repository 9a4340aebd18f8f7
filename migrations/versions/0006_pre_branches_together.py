"""Branches as a part of their transaction's row, where they are few and small.

A transaction of before has its branches in rows of their own and goes on so. Nodes of
the version before would not find the branches of new ones: all of them have to leave
first.
"""

import sqlalchemy as sa
from alembic import op

revision = "0006"
down_revision = "0005"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """An empty text says that the branches have rows of their own."""
    op.add_column(
        "global_transactions",
        sa.Column("branches", sa.Text, nullable=False, server_default=""),
    )
