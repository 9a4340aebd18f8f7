"""What a branch stands for, and how long its reservation holds."""

import sqlalchemy as sa
from alembic import op

revision = "0004"
down_revision = "0003"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Branches of before are what their transaction's mode made them."""
    with op.batch_alter_table("branches") as branches:
        branches.add_column(
            sa.Column("kind", sa.String(16), nullable=False, server_default="TCC")
        )
        branches.add_column(
            sa.Column("expires_ms", sa.BigInteger, nullable=False, server_default="0")
        )
    op.execute(
        "UPDATE branches SET kind = 'CALL' WHERE branch_id = 'tercet:check-back'"
        " OR EXISTS (SELECT 1 FROM global_transactions AS t WHERE"
        " t.namespace = branches.namespace AND t.gid = branches.gid"
        " AND t.mode = 'SAGA')"
    )
