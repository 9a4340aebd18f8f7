"""The tables of the four services; each service creates its own only.

Whatever a service does it writes as a row with ``gid``, ``branch_id``, ``amount`` and
``phase``. ``effects`` is written by triggers on these rows alone: whoever checks the
books need not believe the handlers.
"""

from sqlalchemy import (
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

OPENING_CENTS = 1_000_000_000

risk = MetaData()
treasury = MetaData()
ledger = MetaData()
payout = MetaData()


_TRAIL = """
CREATE TRIGGER IF NOT EXISTS {table}_{moment} AFTER {moment} ON {table} BEGIN
  INSERT INTO effects (gid, branch_id, phase, amount)
  VALUES (new.gid, new.branch_id, new.phase, new.amount);
END
"""


def _deeds(metadata: MetaData, name: str, key: str) -> Table:
    """What one service did for whom, with the trail that triggers leave of it."""
    table = Table(
        name,
        metadata,
        Column(key, Integer, primary_key=True),
        Column("gid", String, nullable=False),
        Column("branch_id", String, nullable=False),
        Column("loan_id", String, nullable=False),
        Column("amount", Integer, nullable=False),
        Column("phase", String, nullable=False),
    )
    effects = Table(
        "effects",
        metadata,
        Column("effect_id", Integer, primary_key=True),
        Column("gid", String, nullable=False),
        Column("branch_id", String, nullable=False),
        Column("phase", String, nullable=False),
        Column("amount", Integer, nullable=False),
    )
    for found in (table, effects):
        Index(f"{found.name}_by_branch", found.c.gid, found.c.branch_id)

    @event.listens_for(metadata, "after_create")
    def leave_a_trail(_: MetaData, connection: Connection, **_options: object) -> None:
        for moment in ("INSERT", "UPDATE"):
            connection.execute(text(_TRAIL.format(table=name, moment=moment)))

    return table


assessments = _deeds(risk, "assessments", "assessment_id")
reservations = _deeds(treasury, "reservations", "reservation_id")
entries = _deeds(ledger, "entries", "entry_id")
transfers = _deeds(payout, "transfers", "transfer_id")

funds = Table(
    "funds",
    treasury,
    Column("fund", String, primary_key=True),
    Column("opening", Integer, nullable=False),
    Column("available", Integer, CheckConstraint("available >= 0"), nullable=False),
    Column("reserved", Integer, CheckConstraint("reserved >= 0"), nullable=False),
)

SERVICES = {
    "risk": risk,
    "treasury": treasury,
    "ledger": ledger,
    "payout": payout,
}


def create_service(name: str, engine: Engine) -> None:
    """Make the tables of one service, unless they are there already."""
    SERVICES[name].create_all(engine)
    if name != "treasury":
        return
    with engine.begin() as connection:
        if connection.execute(select(funds.c.fund)).first() is None:
            row = {"fund": "lending", "opening": OPENING_CENTS, "reserved": 0}
            connection.execute(insert(funds), {**row, "available": OPENING_CENTS})
