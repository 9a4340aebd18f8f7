"""A participant with money, and a way to call it without a coordinator."""

import asyncio
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import msgspec
from sqlalchemy import Engine, create_engine, text

from participant_sdk import (
    Context,
    Participant,
    Pending,
    Refused,
    Retry,
    create_barrier_table,
)
from participant_sdk.executor.executor import Executor
from protos.v1 import types_pb2
from protos.v1.participant_pb2 import BranchCall, BranchReply
from protos.v1.types_pb2 import Payload

TRY = types_pb2.PHASE_TRY
CONFIRM = types_pb2.PHASE_CONFIRM
CANCEL = types_pb2.PHASE_CANCEL
ACTION = types_pb2.PHASE_ACTION
COMPENSATION = types_pb2.PHASE_COMPENSATION

OPENING = 100

ACCOUNT = """CREATE TABLE IF NOT EXISTS account (
    id INTEGER PRIMARY KEY,
    available INTEGER CHECK (available >= 0),
    frozen INTEGER
)"""
EFFECT = "CREATE TABLE IF NOT EXISTS effect (gid TEXT, phase TEXT)"
SCHEMA = (ACCOUNT, EFFECT, f"INSERT OR IGNORE INTO account VALUES (1, {OPENING}, 0)")


@dataclass
class Debit:
    amount: int


@dataclass
class Hold:
    frozen: int


class Bank:
    """One account with available and frozen money, and a log of effects.

    ``before`` is called by every handler first: a test makes it raise or wait.
    """

    def __init__(self, engine: Engine) -> None:
        self.engine = engine
        self.called: Counter[str] = Counter()
        self.before: Callable[[Context], None] = lambda _: None
        create_barrier_table(engine)
        with engine.begin() as connection:
            for statement in SCHEMA:
                connection.execute(text(statement))
        self.participant = Participant("bank", database=engine)
        self._declare()
        self._declare_actions()
        self._declare_async()
        self._declare_waiting()

    def executor(self) -> Executor:
        """A new one, as after a restart."""
        return Executor(self.participant._registry, self.engine)

    def money(self) -> tuple[int, int]:
        """Available and frozen."""
        with self.engine.connect() as connection:
            row = connection.execute(text("SELECT available, frozen FROM account"))
            return tuple(row.one())

    def effects(self, gid: str) -> list[str]:
        """The phases that took effect for a branch, in order."""
        with self.engine.connect() as connection:
            rows = connection.execute(
                text("SELECT phase FROM effect WHERE gid = :g ORDER BY rowid"),
                {"g": gid},
            )
            return list(rows.scalars())

    def rows(self, gid: str) -> list[tuple[int, str, str]]:
        """What the barrier recorded for a branch."""
        with self.engine.connect() as connection:
            rows = connection.execute(
                text(
                    "SELECT slot, phase, outcome FROM tercet_barrier "
                    "WHERE gid = :g ORDER BY slot"
                ),
                {"g": gid},
            )
            return [tuple(row) for row in rows]

    def _effect(self, ctx: Context, available: int, frozen: int) -> None:
        self.called[ctx.phase] += 1
        ctx.connection.execute(
            text("UPDATE account SET available = available + :a, frozen = frozen + :f"),
            {"a": available, "f": frozen},
        )
        ctx.connection.execute(
            text("INSERT INTO effect VALUES (:g, :p)"),
            {"g": ctx.gid, "p": ctx.phase.value},
        )
        self.before(ctx)

    def _declare(self) -> None:
        bank = self.participant

        @bank.tcc("debit")
        def debit(ctx: Context, request: Debit) -> Hold:
            self._effect(ctx, -request.amount, request.amount)
            if request.amount > 50:
                raise Refused("TOO_MUCH", "more than 50")
            return Hold(request.amount)

        @debit.confirm
        def _(ctx: Context, request: Debit, hold: Hold) -> None:
            self._effect(ctx, 0, -hold.frozen)

        @debit.cancel
        def _(ctx: Context, request: Debit, hold: Hold) -> None:
            self._effect(ctx, hold.frozen, -hold.frozen)

    def _declare_actions(self) -> None:
        bank = self.participant

        @bank.action("post")
        def post(ctx: Context, request: Debit) -> Hold:
            self._effect(ctx, -request.amount, 0)
            return Hold(request.amount)

        @post.compensate
        def _(ctx: Context, request: Debit, hold: Hold) -> None:
            self._effect(ctx, hold.frozen, 0)

        @bank.action("reverse")
        def reverse(ctx: Context, request: Debit) -> None:
            self._effect(ctx, request.amount, 0)

    def _declare_async(self) -> None:
        bank = self.participant

        @bank.tcc("slow")
        async def slow(ctx: Context, request: Debit) -> Hold:
            self._effect(ctx, -request.amount, request.amount)
            await self.gate(ctx)
            return Hold(request.amount)

        @slow.confirm
        async def _(ctx: Context, request: Debit, hold: Hold) -> None:
            self._effect(ctx, 0, -hold.frozen)

        @slow.cancel
        async def _(ctx: Context, request: Debit, hold: Hold) -> None:
            self._effect(ctx, hold.frozen, -hold.frozen)

    def _declare_waiting(self) -> None:
        bank = self.participant

        @bank.action("wait")
        def wait(ctx: Context, request: dict[str, Any]) -> None:
            self._effect(ctx, -1, 0)
            if "retry" in request:
                raise Retry(after=request["retry"])
            raise Pending(request.get("after"))

        @wait.compensate
        def _(ctx: Context, request: dict[str, Any], output: Any) -> None:
            self._effect(ctx, 1, 0)

    async def gate(self, ctx: Context) -> None:
        """What the async try awaits; a test replaces it."""


def open_bank(path: Any) -> Bank:
    """A bank in a file."""
    return Bank(create_engine(f"sqlite:///{path}"))


def call(
    phase: types_pb2.Phase,
    gid: str = "g1",
    *,
    operation: str = "bank.debit",
    body: Any = None,
    data: bytes | None = None,
    call_id: int = 1,
    branch_id: str = "1",
    timeout_ms: int = 0,
    output: Any = None,
    began_at_ms: int = 0,
    reconsider: bool = False,
) -> BranchCall:
    """A call as it comes over the wire."""
    if data is None:
        data = msgspec.json.encode({"amount": 10} if body is None else body)
    made = BranchCall(
        call_id=call_id,
        gid=gid,
        branch_id=branch_id,
        operation=operation,
        phase=phase,
        attempt=1,
        timeout_ms=timeout_ms,
        began_at_ms=began_at_ms,
        reconsider=reconsider,
        input=Payload(data=data, content_type="application/json"),
    )
    if output is not None:
        made.output.data = msgspec.json.encode(output)
        made.output.content_type = "application/json"
    return made


async def ask(executor: Executor, *calls: BranchCall) -> list[BranchReply]:
    """The replies to ``calls``, submitted together, in the order of the calls."""
    replies: dict[int, BranchReply] = {}
    everything = asyncio.Event()
    for number, one in enumerate(calls):
        one.call_id = number

    def deliver(batch: list[BranchReply]) -> None:
        replies.update((reply.call_id, reply) for reply in batch)
        if len(replies) == len(calls):
            everything.set()

    executor.submit(calls, deliver)
    await everything.wait()
    return [replies[number] for number in range(len(calls))]


def told(reply: BranchReply) -> tuple[str, str]:
    """The outcome's kind, and its code if it has one."""
    kind = reply.WhichOneof("outcome")
    assert kind is not None
    return kind, getattr(getattr(reply, kind), "code", "")


def tell(phases: list[types_pb2.Phase], results: list[list[BranchReply]]) -> str:
    """What every racer was told, round by round, for whoever reads a failure."""
    return "\n".join(
        f"{types_pb2.Phase.Name(phase)}: {[str(reply).split() for reply in replies]}"
        for phase, replies in zip(phases, results, strict=True)
    )


OK = ("succeeded", "")
