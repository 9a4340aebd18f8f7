"""A bank's tables. Triggers alone write the ledger: no handler is believed."""

from collections.abc import Iterator
from typing import NamedTuple

from sqlalchemy import (
    BigInteger,
    Column,
    Connection,
    Integer,
    MetaData,
    String,
    Table,
    create_engine,
    insert,
    select,
    text,
)

from participant_sdk.barrier import barrier_table
from tests.chaos.transfer import ACCOUNTS_PER_BANK, OPENING, account_name

METADATA = MetaData()
BARRIER = barrier_table(METADATA)

# The last change says in the row itself whose it is, so that a trigger can tell.
ACCOUNT = Table(
    "account",
    METADATA,
    Column("name", String(16), primary_key=True),
    Column("available", BigInteger, nullable=False),
    Column("frozen", BigInteger, nullable=False),
    Column("incoming", BigInteger, nullable=False),
    Column("gid", String(128), nullable=False),
    Column("branch_id", String(128), nullable=False),
    Column("phase", String(16), nullable=False),
)
LEDGER = Table(
    "ledger",
    METADATA,
    Column("number", Integer, primary_key=True),
    Column("gid", String(128), nullable=False),
    Column("branch_id", String(128), nullable=False),
    Column("phase", String(16), nullable=False),
    Column("account", String(16), nullable=False),
    Column("available", BigInteger, nullable=False),
    Column("frozen", BigInteger, nullable=False),
    Column("incoming", BigInteger, nullable=False),
)

_WRITE = """
INSERT INTO ledger (gid, branch_id, phase, account, available, frozen, incoming)
VALUES (NEW.gid, NEW.branch_id, NEW.phase, NEW.name, NEW.available - OLD.available,
        NEW.frozen - OLD.frozen, NEW.incoming - OLD.incoming);
"""
_TRIGGERS = {
    "sqlite": (f"CREATE TRIGGER trail AFTER UPDATE ON account BEGIN {_WRITE} END",),
    "postgresql": (
        f"""CREATE FUNCTION trail() RETURNS trigger LANGUAGE plpgsql AS
        $$ BEGIN {_WRITE} RETURN NULL; END $$""",
        """CREATE TRIGGER trail AFTER UPDATE ON account
        FOR EACH ROW EXECUTE FUNCTION trail()""",
    ),
    "mysql": (f"CREATE TRIGGER trail AFTER UPDATE ON account FOR EACH ROW {_WRITE}",),
}


class Effect(NamedTuple):
    """One change of an account, as the trigger saw it."""

    bank: str
    gid: str
    branch_id: str
    phase: str
    account: str
    available: int
    frozen: int
    incoming: int


class Account(NamedTuple):
    """An account as it stands."""

    bank: str
    name: str
    available: int
    frozen: int
    incoming: int


def create_bank(url: str) -> None:
    """Make tables, accounts and triggers, in this order."""
    engine = create_engine(url)
    METADATA.create_all(engine)
    with engine.begin() as connection:
        connection.execute(
            insert(ACCOUNT),
            [
                {
                    "name": account_name(number),
                    "available": OPENING,
                    **dict.fromkeys(("frozen", "incoming"), 0),
                    **dict.fromkeys(("gid", "branch_id", "phase"), ""),
                }
                for number in range(ACCOUNTS_PER_BANK)
            ],
        )
        for statement in _TRIGGERS[engine.dialect.name]:
            connection.execute(text(statement))
    engine.dispose()


def read_effects(connection: Connection, bank: str) -> Iterator[Effect]:
    """All of the ledger, in the order in which it was written."""
    columns = [LEDGER.c[name] for name in Effect._fields if name != "bank"]
    for row in connection.execute(select(*columns).order_by(LEDGER.c.number)):
        yield Effect(bank, *row)


def read_accounts(connection: Connection, bank: str) -> Iterator[Account]:
    """All accounts."""
    columns = [ACCOUNT.c[name] for name in Account._fields if name != "bank"]
    for row in connection.execute(select(*columns).order_by(ACCOUNT.c.name)):
        yield Account(bank, *row)
