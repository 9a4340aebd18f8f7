"""The guide for participants says what is so, and its program runs."""

import ast
import re
from pathlib import Path

import pytest
from sqlalchemy import text

import participant_sdk
from participant_sdk.executor.executor import Executor
from tests.sdk.bank import ACTION, CANCEL, CONFIRM, OK, TRY, ask, call, told

ROOT = Path(__file__).parents[2]
GUIDE = (ROOT / "docs" / "participant-sdk.md").read_text()


@pytest.fixture
def program(tmp_path, monkeypatch):
    """All Python of the guide, run in a directory of its own."""
    monkeypatch.chdir(tmp_path)
    names = {"__name__": "guide"}
    for block in re.findall(r"```python\n(.*?)```", GUIDE, re.DOTALL):
        exec(compile(block, "participant-sdk.md", "exec"), names)
    monkeypatch.setattr(names["accounts"], "run", lambda target: None)
    names["main"]()
    yield names
    names["engine"].dispose()


async def one(executor, phase, operation, gid, cents):
    body = {"account": "ada", "cents": cents}
    (reply,) = await ask(executor, call(phase, gid, operation=operation, body=body))
    return told(reply)


async def test_the_guides_program_works(program, capsys):
    """Every operation that it declares does what the guide says of it."""
    engine = program["engine"]
    with engine.begin() as connection:
        connection.execute(text("INSERT INTO account VALUES ('ada', 100, 0)"))
    executor = Executor(program["accounts"]._registry, engine)
    refused = ("refused", "INSUFFICIENT_FUNDS")
    assert await one(executor, TRY, "accounts.debit", "a", 101) == refused
    assert await one(executor, TRY, "accounts.debit", "b", 30) == OK
    assert await one(executor, CONFIRM, "accounts.debit", "b", 30) == OK
    assert await one(executor, TRY, "accounts.debit", "c", 30) == OK
    assert await one(executor, CANCEL, "accounts.debit", "c", 30) == OK
    assert await one(executor, ACTION, "accounts.post", "d", 20) == OK
    for phase in (TRY, CONFIRM):
        assert await one(executor, phase, "accounts.card", "e", 1) == OK
    await executor.close()
    with engine.connect() as connection:
        money = connection.execute(text("SELECT available, frozen FROM account"))
        assert tuple(money.one()) == (50, 0)
    program["clean"]()
    assert capsys.readouterr().out == "removed 0\n"


def test_every_code_that_can_be_answered_is_explained():
    """In the table, by the name that operators see."""
    explained = set(re.findall(r"^\| `([A-Z_]+)` \|", GUIDE, re.MULTILINE))
    answered = set()
    for path in (ROOT / "participant_sdk").rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text())):
            if (
                isinstance(node, ast.Call)
                and isinstance(node.func, ast.Name)
                and node.func.id in {"Failed", "No", "Reject"}
                and node.args
                and isinstance(node.args[0], ast.Constant)
            ):
                answered.add(node.args[0].value)
    raised = {"HANDLER_MISUSE", "RETRY", "INVALID_INPUT", "INVALID_OUTPUT"}
    assert explained == answered | raised


def test_every_public_error_is_explained():
    """In the second table; the tree has no branch that the guide leaves out."""
    for name in participant_sdk.__all__:
        public = getattr(participant_sdk, name)
        if isinstance(public, type) and issubclass(public, Exception):
            assert f"`{name}`" in GUIDE, name
