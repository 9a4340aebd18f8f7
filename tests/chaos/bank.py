"""One bank, as a process: ``python -m tests.chaos.bank NAME``.

``CHAOS_DATABASE`` is its database, ``CHAOS_NODES`` where nodes are to which it
attaches, or ``CHAOS_LISTEN`` where they call it, signed with ``CHAOS_SECRET``. Each
side of an operation is one change of one account; no handler asks whether it was
called before. The bank on an async engine relays: its debit begins the credit at
another bank inside its own try, joined to the transaction around it.
"""

import asyncio
import os
import signal
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import uvloop
from sqlalchemy import bindparam, create_engine, update
from sqlalchemy.ext.asyncio import AsyncEngine, create_async_engine

from participant_sdk import Client, Context, Participant, Refused, connect
from participant_sdk.aio import AsyncContext
from participant_sdk.push import Listener
from tests.chaos.cast import log_to_stderr
from tests.chaos.ledger import ACCOUNT

CONNECT_SECONDS = 600.0
"""A bank may be started while no node lives."""


@dataclass
class Move:
    """Cents of an account; the relay also says whose account is credited."""

    account: str
    amount: int
    target: str = ""
    payee: str = ""
    is_signed: bool = True


Deltas = tuple[int, int, int]
"""Available, frozen and incoming, in units of the amount."""

TCC: Mapping[str, Mapping[str, Deltas]] = {
    "debit": {"TRY": (-1, 1, 0), "CONFIRM": (0, -1, 0), "CANCEL": (1, -1, 0)},
    "credit": {"TRY": (0, 0, 1), "CONFIRM": (1, 0, -1), "CANCEL": (0, 0, -1)},
    "relay": {"TRY": (-1, 1, 0), "CONFIRM": (0, -1, 0), "CANCEL": (1, -1, 0)},
}
ACTIONS: Mapping[str, Mapping[str, Deltas]] = {
    "withdraw": {"ACTION": (-1, 0, 0), "COMPENSATION": (1, 0, 0)},
    "deposit": {"ACTION": (1, 0, 0), "COMPENSATION": (-1, 0, 0)},
    "sign": {"ACTION": (0, 0, 0), "COMPENSATION": (0, 0, 0)},
}
_FORWARD = ("TRY", "ACTION")

CHANGE = (
    update(ACCOUNT)
    .where(
        ACCOUNT.c.name == bindparam("account"),
        ACCOUNT.c.available + bindparam("to_available") >= bindparam("least"),
    )
    .values(
        available=ACCOUNT.c.available + bindparam("to_available"),
        frozen=ACCOUNT.c.frozen + bindparam("to_frozen"),
        incoming=ACCOUNT.c.incoming + bindparam("to_incoming"),
        gid=bindparam("of_gid"),
        branch_id=bindparam("of_branch"),
        phase=bindparam("of_phase"),
    )
)
NEVER_TOO_LITTLE = -(10**15)


def values_of(ctx: Context[Any, Any], move: Move) -> dict[str, object]:
    """What ``CHANGE`` is given; only the first side of an operation can be refused."""
    phase = str(ctx.phase)
    name = ctx.operation.rpartition(".")[2]
    available, frozen, incoming = {**TCC, **ACTIONS}[name][phase]
    return {
        "account": move.account,
        "to_available": available * move.amount,
        "to_frozen": frozen * move.amount,
        "to_incoming": incoming * move.amount,
        "least": 0 if phase in _FORWARD else NEVER_TOO_LITTLE,
        "of_gid": ctx.gid,
        "of_branch": ctx.branch_id,
        "of_phase": phase,
    }


def check_changed(ctx: Context[Any, Any], count: int) -> None:
    """Refuse, or fail loudly where nobody may refuse any more."""
    if count == 1:
        return
    if str(ctx.phase) in _FORWARD:
        raise Refused("NO_SUCH_MONEY", "no such account, or too little on it")
    raise AssertionError(f"{ctx.operation} {ctx.phase} changed {count} accounts")


def check_signed(move: Move) -> None:
    """The saga's last step may be refused, when all the others are done."""
    if not move.is_signed:
        raise Refused("NOT_SIGNED")


def declare(bank: Participant) -> None:
    """The operations of a bank whose engine is a plain one."""

    def side() -> Any:
        def change(ctx: Context, move: Move) -> None:
            check_signed(move)
            check_changed(
                ctx, ctx.connection.execute(CHANGE, values_of(ctx, move)).rowcount
            )

        return change

    def other_side() -> Any:
        def change(ctx: Context, move: Move, _: None) -> None:
            check_changed(
                ctx, ctx.connection.execute(CHANGE, values_of(ctx, move)).rowcount
            )

        return change

    for name in ("debit", "credit"):
        tried = bank.tcc(name)(side())
        tried.confirm(other_side())
        tried.cancel(other_side())
    for name in ACTIONS:
        bank.action(name)(side()).compensate(other_side())


def declare_async(bank: Participant, client: Client) -> None:
    """The operations of a bank whose engine is an async one; one of them relays."""

    def side(*, relays: bool = False) -> Any:
        async def change(ctx: AsyncContext, move: Move) -> None:
            check_signed(move)
            if relays:
                async with client.tcc("credit") as nested:
                    await nested.call(
                        f"{move.target}.credit", Move(move.payee, move.amount)
                    )
            done = await ctx.connection.execute(CHANGE, values_of(ctx, move))
            check_changed(ctx, done.rowcount)

        return change

    def other_side() -> Any:
        async def change(ctx: AsyncContext, move: Move, _: None) -> None:
            done = await ctx.connection.execute(CHANGE, values_of(ctx, move))
            check_changed(ctx, done.rowcount)

        return change

    for name in TCC:
        tried = bank.tcc(name)(side(relays=name == "relay"))
        tried.confirm(other_side())
        tried.cancel(other_side())
    for name in ACTIONS:
        bank.action(name)(side()).compensate(other_side())


async def serve(name: str, url: str, where: str | Listener) -> None:
    """Serve until SIGTERM."""
    if "+asyncpg" not in url:
        engine = create_engine(url, pool_pre_ping=True)
        bank = Participant(name, database=engine)
        declare(bank)
        await until_told(bank, where)
        return
    assert isinstance(where, str), "a bank that relays attaches"
    async_engine: AsyncEngine = create_async_engine(url, pool_pre_ping=True)
    bank = Participant(name, database=async_engine)
    async with connect(where, name=name, connect_timeout=CONNECT_SECONDS) as client:
        declare_async(bank, client)
        await until_told(bank, where)


async def until_told(bank: Participant, where: str | Listener) -> None:
    """Attach, or be called; leave in order at SIGTERM."""
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, bank.stop)
    if isinstance(where, Listener):
        await bank.serve(listen=where)
    else:
        await bank.serve(where)


def where_from(environ: Mapping[str, str]) -> str | Listener:
    """Where nodes are, or where they call."""
    if "CHAOS_LISTEN" not in environ:
        return environ["CHAOS_NODES"]
    return Listener(environ["CHAOS_LISTEN"], secret_file=environ["CHAOS_SECRET"])


def main(name: str) -> None:
    """Serve the bank ``name``."""
    log_to_stderr()
    work = serve(name, os.environ["CHAOS_DATABASE"], where_from(os.environ))
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        runner.run(work)


if __name__ == "__main__":
    main(sys.argv[1])
