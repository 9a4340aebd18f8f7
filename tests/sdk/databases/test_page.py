"""The page on participants' databases says what is so, and its program runs."""

import re
from pathlib import Path

import pytest
from sqlalchemy import create_engine, text
from sqlalchemy.dialects import mysql, postgresql, sqlite
from sqlalchemy.schema import CreateTable

from participant_sdk.executor.executor import Executor
from tests.sdk.bank import CANCEL, CONFIRM, OK, TRY, ask, call, told
from tests.sdk.databases.ledger import BARRIER, Ledger

ROOT = Path(__file__).parents[3]
PAGE = (ROOT / "docs" / "participant-databases.md").read_text()


@pytest.mark.parametrize("driver", ["asyncpg", "asyncmy"], indirect=True)
async def test_the_pages_program_works(open_engine, driver, monkeypatch):
    """On each server: what it reserves is confirmed, cancelled or refused."""
    url = open_engine().url.render_as_string(hide_password=False)
    monkeypatch.setenv("SHOP_DATABASE_URL", url)
    (program,) = re.findall(r"```python\n(.*?)```", PAGE, re.DOTALL)
    names = {"__name__": "page"}
    exec(compile(program, "participant-databases.md", "exec"), names)
    engine = names["engine"]
    executor = Executor(names["shop"]._registry, engine)
    await names["create_tables"]()
    async with engine.begin() as connection:
        await connection.execute(text("DELETE FROM stock"))
        await connection.execute(text("DELETE FROM tercet_barrier"))
        await connection.execute(text("INSERT INTO stock VALUES ('tea', 10, 0)"))
    asked = [(TRY, "a", 3), (CONFIRM, "a", 3), (TRY, "b", 4), (CANCEL, "b", 4)]
    for phase, gid, count in asked:
        body = {"item": "tea", "count": count}
        (reply,) = await ask(
            executor, call(phase, gid, operation="shop.reserve", body=body)
        )
        assert told(reply) == OK
    body = {"item": "tea", "count": 8}
    (reply,) = await ask(executor, call(TRY, "c", operation="shop.reserve", body=body))
    assert told(reply) == ("refused", "OUT_OF_STOCK")
    await executor.close()
    async with engine.connect() as connection:
        stock = await connection.execute(text("SELECT free, held FROM stock"))
        assert tuple(stock.one()) == (7, 0)
    await engine.dispose()


@pytest.mark.parametrize("module", [sqlite, postgresql, mysql])
def test_the_tables_that_it_shows_are_the_ones_that_are_made(module):
    """Word by word, for whoever makes them by hand."""
    made = str(CreateTable(BARRIER).compile(dialect=module.dialect()))
    shown = re.findall(r"```sql\n(.*?)```", PAGE, re.DOTALL)
    assert words(made) in [words(block) for block in shown]


def words(statement):
    return re.findall(r"\w+|[^\w\s]", statement)


@pytest.mark.parametrize("driver", ["psycopg", "pymysql"], indirect=True)
async def test_serving_needs_no_right_to_make_tables(ledger):
    """An account that may only read and write rows answers calls."""
    rights = "GRANT SELECT, INSERT, UPDATE, DELETE ON {} TO {}"
    tables = ("tercet_barrier", "account", "effect")
    if ledger.dialect == "postgresql":
        role, host = "clerk", ""
        create = "CREATE ROLE clerk LOGIN PASSWORD 'clerk'"
        extra = ["GRANT USAGE ON ALL SEQUENCES IN SCHEMA public TO clerk"]
        drop = ["DROP OWNED BY clerk", "DROP ROLE clerk"]
    else:
        role, host = "clerk", "@'127.0.0.1'"
        create = "CREATE USER clerk@'127.0.0.1' IDENTIFIED BY 'clerk'"
        extra, drop = [], ["DROP USER clerk@'127.0.0.1'"]
    grants = [rights.format(table, role + host) for table in tables]
    for statement in (create, *grants, *extra):
        await ledger.run(lambda c, s=statement: c.exec_driver_sql(s))
    try:
        url = ledger.engine.url.set(username="clerk", password="clerk")
        clerk = Ledger(create_engine(url))
        executor = clerk.executor()
        for phase in (TRY, CONFIRM):
            (reply,) = await ask(executor, call(phase))
            assert told(reply) == OK
        with pytest.raises(Exception, match="denied"):
            await clerk.run(lambda c: c.exec_driver_sql("CREATE TABLE more (n INT)"))
        await executor.close()
        await clerk.close()
    finally:
        for statement in drop:
            await ledger.run(lambda c, s=statement: c.exec_driver_sql(s))
