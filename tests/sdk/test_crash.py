"""Participants that are killed in the middle of a handler, and started again."""

import asyncio
import signal
import sys
from pathlib import Path

import pytest

from tests.sdk.async_bank import open_async_bank
from tests.sdk.bank import CANCEL, OK, OPENING, TRY, ask, call, open_bank, told

BANK = """
import asyncio, sys
from pathlib import Path
from tests.sdk.{module} import {open_bank}
from tests.sdk.bank import TRY, ask, call

async def main():
    bank = {awaited} {open_bank}(Path(sys.argv[1]))
    {before}
    await ask(bank.executor(), call(TRY))

asyncio.run(main())
"""

SYNC = BANK.format(
    module="bank",
    open_bank="open_bank",
    awaited="",
    before="bank.before = lambda ctx: (print('in', flush=True), sys.stdin.read())",
)
ASYNC = BANK.format(
    module="async_bank",
    open_bank="open_async_bank",
    awaited="await",
    before="""
    async def hang(ctx):
        await ctx.session.flush()
        print("in", flush=True)
        await asyncio.Event().wait()
    bank.before = hang""",
)

OUTSIDE = """
import asyncio, sys
from pathlib import Path
from sqlalchemy import create_engine
from participant_sdk import Participant, create_barrier_table
from participant_sdk.executor.executor import Executor
from tests.sdk.bank import TRY, ask, call

path = Path(sys.argv[1])
engine = create_engine(f"sqlite:///{path}")
create_barrier_table(engine)
hotel = Participant("bank", database=engine)
keys = path.with_suffix(".keys")
room = path.with_suffix(".room")

@hotel.tcc("debit", transactional=False)
def hold(ctx, request):
    with keys.open("a") as file:
        file.write(ctx.idempotency_key + "\\n")
    room.touch()
    if len(sys.argv) == 2:
        print("in", flush=True)
        sys.stdin.read()

hold.confirm(lambda ctx, request, output: None)
hold.cancel(lambda ctx, request, output: room.unlink())

async def main():
    executor = Executor(hotel._registry, engine)
    for phase in sys.argv[2:] or [TRY]:
        replies = await ask(executor, call(int(phase)))
        print(replies[0].WhichOneof("outcome"), flush=True)
    await executor.close()

asyncio.run(main())
"""


async def start(program, *arguments):
    """``program``, as a process of its own."""
    return await asyncio.create_subprocess_exec(
        sys.executable,
        "-c",
        program,
        *(str(argument) for argument in arguments),
        stdin=asyncio.subprocess.PIPE,
        stdout=asyncio.subprocess.PIPE,
        cwd=Path(__file__).parents[2],
    )


async def kill_in_handler(program, path):
    """Run ``program`` until its handler has had its effect, and kill it there."""
    process = await start(program, path)
    assert await process.stdout.readline() == b"in\n"
    process.send_signal(signal.SIGKILL)
    await process.communicate()
    assert process.returncode == -signal.SIGKILL


@pytest.mark.parametrize("program", [SYNC, ASYNC], ids=["Engine", "AsyncEngine"])
@pytest.mark.parametrize("asked", [TRY, CANCEL], ids=["try", "cancel"])
async def test_a_killed_try_left_nothing(tmp_path, program, asked):
    """F-12, B1, B2: asked again it takes effect once; its cancel is empty."""
    path = tmp_path / "bank.db"
    await kill_in_handler(program, path)
    if program is ASYNC:
        bank = await open_async_bank(path)
        executor = bank.executor()
        replies = await ask(executor, call(asked))
        money, effects = await bank.money(), await bank.effects("g1")
        await executor.close()
        await bank.engine.dispose()
    else:
        bank = open_bank(path)
        executor = bank.executor()
        replies = await ask(executor, call(asked))
        money, effects = bank.money(), bank.effects("g1")
        await executor.close()
        bank.engine.dispose()
    assert [told(reply) for reply in replies] == [OK]
    if asked == TRY:
        assert (money, effects) == ((OPENING - 10, 10), ["TRY"])
    else:
        assert (money, effects) == ((OPENING, 0), [])


@pytest.mark.parametrize(
    ("asked", "answers", "attempts", "is_held"),
    [
        ([TRY, TRY], b"succeeded\nsucceeded\n", 2, True),
        ([CANCEL, CANCEL], b"succeeded\nsucceeded\n", 1, False),
        ([CANCEL, TRY], b"succeeded\nrefused\n", 1, False),
    ],
    ids=["try again", "cancel", "late try"],
)
async def test_a_killed_try_outside_left_its_intent(
    tmp_path, asked, answers, attempts, is_held
):
    """F-15, B9, P10: it runs again with the same key, and its cancel runs."""
    path = tmp_path / "hotel.db"
    await kill_in_handler(OUTSIDE, path)
    assert path.with_suffix(".room").exists()
    again = await start(OUTSIDE, path, *asked)
    out, _ = await again.communicate()
    assert answers == out
    assert path.with_suffix(".room").exists() is is_held
    keys = path.with_suffix(".keys").read_text().splitlines()
    assert ["g1/1/TRY"] * attempts == keys
