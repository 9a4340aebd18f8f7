"""The tables of one bank.

``effects`` is written by triggers on ``holds`` alone: whoever checks the books
need not believe the handlers.
"""

from sqlalchemy import (
    Boolean,
    CheckConstraint,
    Column,
    Connection,
    Engine,
    Index,
    Integer,
    MetaData,
    String,
    Table,
    event,
    insert,
    select,
    text,
)

ACCOUNT_COUNT = 100
OPENING_CENTS = 1_000_000
CLOSED_COUNT = 2

metadata = MetaData()

accounts = Table(
    "accounts",
    metadata,
    Column("account", String, primary_key=True),
    Column("is_open", Boolean, nullable=False),
    Column("opening", Integer, nullable=False),
    Column("available", Integer, CheckConstraint("available >= 0"), nullable=False),
    Column("frozen", Integer, CheckConstraint("frozen >= 0"), nullable=False),
)

# The same branch twice is possible here on purpose: that it never happens is the
# barrier's promise, and the audit looks whether it is kept.
holds = Table(
    "holds",
    metadata,
    Column("hold_id", Integer, primary_key=True),
    Column("gid", String, nullable=False),
    Column("branch_id", String, nullable=False),
    Column("account", String, nullable=False),
    Column("direction", String, nullable=False),
    Column("amount", Integer, CheckConstraint("amount > 0"), nullable=False),
    Column("phase", String, nullable=False),
)

effects = Table(
    "effects",
    metadata,
    Column("effect_id", Integer, primary_key=True),
    Column("gid", String, nullable=False),
    Column("branch_id", String, nullable=False),
    Column("phase", String, nullable=False),
    Column("account", String, nullable=False),
    Column("direction", String, nullable=False),
    Column("amount", Integer, nullable=False),
)
Index("effects_by_branch", effects.c.gid, effects.c.branch_id)

_TRAIL = """
CREATE TRIGGER IF NOT EXISTS holds_{moment} AFTER {moment} ON holds BEGIN
  INSERT INTO effects (gid, branch_id, phase, account, direction, amount)
  VALUES (new.gid, new.branch_id, new.phase, new.account, new.direction, new.amount);
END
"""


@event.listens_for(metadata, "after_create")
def _leave_a_trail(_: MetaData, connection: Connection, **_options: object) -> None:
    for moment in ("INSERT", "UPDATE"):
        connection.execute(text(_TRAIL.format(moment=moment)))


def account_name(number: int) -> str:
    """``acc-0007``."""
    return f"acc-{number:04d}"


def closed_accounts(account_count: int) -> list[str]:
    """The accounts that every bank opens closed: the last ones."""
    return [account_name(n) for n in range(account_count)[-CLOSED_COUNT:]]


def create_bank(engine: Engine, *, account_count: int, opening_cents: int) -> None:
    """Make the tables and the accounts, unless they are there already."""
    metadata.create_all(engine)
    closed = set(closed_accounts(account_count))
    with engine.begin() as connection:
        if connection.execute(select(accounts.c.account).limit(1)).first():
            return
        connection.execute(
            insert(accounts),
            [
                {
                    "account": name,
                    "is_open": name not in closed,
                    "opening": opening_cents,
                    "available": opening_cents,
                    "frozen": 0,
                }
                for name in map(account_name, range(account_count))
            ],
        )
