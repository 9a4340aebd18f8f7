"""What the catalogue tells people, and who has the say about an entry."""

import sqlalchemy as sa
from alembic import op

revision = "0002"
down_revision = "0001"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """What was announced before stays so."""
    for name in ("description", "owner", "compensation"):
        text = sa.Column(name, sa.Text, nullable=False, server_default="")
        op.add_column("operations", text)
    op.add_column(
        "operations",
        sa.Column(
            "is_registered", sa.Boolean, nullable=False, server_default=sa.false()
        ),
    )
