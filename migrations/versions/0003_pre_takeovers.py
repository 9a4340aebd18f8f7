"""How often a transaction was taken over from a dead node since it last moved."""

import sqlalchemy as sa
from alembic import op

revision = "0003"
down_revision = "0002"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Nobody knows of before, so it counts from now."""
    op.add_column(
        "global_transactions",
        sa.Column("takeovers", sa.BigInteger, nullable=False, server_default="0"),
    )
