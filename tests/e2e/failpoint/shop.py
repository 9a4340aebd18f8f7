"""Participants that do as each call's input says, and note every effect.

The shop does the work. The agency's try tries at the shop in turn (nesting).
"""

import asyncio
import weakref
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

from sqlalchemy import Engine, create_engine, text

from participant_sdk import (
    Client,
    Context,
    Participant,
    Pending,
    Refused,
    Retry,
    connect,
    create_barrier_table,
)
from participant_sdk.barrier.sql import BranchKey
from participant_sdk.executor.local import CallScope, LocalTransaction
from participant_sdk.session import Session
from tests.e2e.failpoint.points import Armed, Moment
from tests.e2e.failpoint.trigger import Ready, Step, Trigger, replace, write_to

NAME = "shop"
SOON_SECONDS = 0.01
CONNECT_SECONDS_MAX = 60
SESSIONS = 3
"""Of the shop, of the agency, and of the client that the agency begins with."""

ATTEMPT_MAX = 20
"""A try is asked again until it is answered, however often a process dies."""

EFFECTS = "CREATE TABLE IF NOT EXISTS effects (gid TEXT, branch_id TEXT, phase TEXT)"
NOTE = text("INSERT INTO effects VALUES (:gid, :branch_id, :phase)")


@dataclass(frozen=True, slots=True)
class Script:
    """How the calls of one branch go.

    Attributes:
        refused: the try or action is refused.
        failures: by phase, how many calls fail first.
        pendings: by phase, how many calls are then pending.
        lost: by phase, how many commits happen though they seem to fail.
        note: means nothing.
    """

    refused: bool = False
    failures: Mapping[str, int] = field(default_factory=dict)
    pendings: Mapping[str, int] = field(default_factory=dict)
    lost: Mapping[str, int] = field(default_factory=dict)
    note: str = ""


@dataclass(frozen=True, slots=True)
class Receipt:
    """What a try or action answers."""

    branch: str


class CommitLost(Exception):
    """The commit happened, and nobody here knows."""


class Shop:
    """The participant, and what it remembers of its calls."""

    def __init__(self, engine: Engine) -> None:
        self.participant = Participant(NAME, database=engine)
        self.to_lose: Counter[BranchKey] = Counter()
        self._calls: Counter[tuple[str, str, str]] = Counter()
        for name in ("reserve", "charge"):
            self._declare_tcc(name)
        for name in ("pack", "ship", "bill"):
            self._declare_action(name)

    def _declare_tcc(self, name: str) -> None:
        @self.participant.tcc(name)
        def reserve(ctx: Context, script: Script) -> Receipt:
            return self._perform(ctx, script)

        @reserve.confirm
        def confirm(ctx: Context, script: Script, _: Receipt | None) -> None:
            self._perform(ctx, script)

        @reserve.cancel
        def cancel(ctx: Context, script: Script, _: Receipt | None) -> None:
            self._perform(ctx, script)

    def _declare_action(self, name: str) -> None:
        @self.participant.action(name)
        def act(ctx: Context, script: Script) -> Receipt:
            return self._perform(ctx, script)

        @act.compensate
        def compensate(ctx: Context, script: Script, _: Receipt | None) -> None:
            self._perform(ctx, script)

    def _perform(self, ctx: Context, script: Script) -> Receipt:
        call = (ctx.gid, ctx.branch_id, ctx.phase)
        self._calls[call] += 1
        count = self._calls[call] - script.failures.get(ctx.phase, 0)
        if count <= 0:
            raise Retry(after=SOON_SECONDS)
        if count <= script.pendings.get(ctx.phase, 0):
            raise Pending(retry_after=SOON_SECONDS)
        if script.refused and ctx.phase.is_forward:
            raise Refused("SOLD_OUT")
        if count <= script.lost.get(ctx.phase, 0):
            key = BranchKey(ctx.gid, ctx.branch_id, ctx.operation, ctx.phase)
            self.to_lose[key] += 1
        note(ctx)
        return Receipt(ctx.branch_id)


class Agency:
    """A participant whose try has a nested try at the shop."""

    def __init__(self, engine: Engine, client: Client) -> None:
        self.participant = Participant("agency", database=engine)

        @self.participant.tcc("trip")
        async def trip(ctx: Context, script: Script) -> None:
            async with client.tcc("stay") as stay:
                await stay.call("shop.reserve", script, attempt_max=ATTEMPT_MAX)
            note(ctx)

        @trip.confirm
        def confirm(ctx: Context, _: Script, __: None) -> None:
            note(ctx)

        @trip.cancel
        def cancel(ctx: Context, _: Script, __: None) -> None:
            note(ctx)


def note(ctx: Context) -> None:
    """The effect of a call."""
    row = {"gid": ctx.gid, "branch_id": ctx.branch_id, "phase": ctx.phase}
    ctx.connection.execute(NOTE, row)


def run(
    control: Connection, armed: Armed | None, database: Path, target: str, log: Path
) -> None:
    """Serve until killed, or until the armed point is reached."""
    write_to(log)
    trigger = Trigger(control, armed)
    shop = Shop(_open(database))
    _observe(trigger, shop)
    asyncio.run(_serve(shop, _open(agency_database(database)), target))


def agency_database(database: Path) -> Path:
    """Beside the shop's own."""
    return database.with_stem("agency")


def _open(database: Path) -> Engine:
    engine = create_engine(f"sqlite:///{database}")
    create_barrier_table(engine)
    with engine.begin() as connection:
        connection.execute(text(EFFECTS))
    return engine


async def _serve(shop: Shop, engine: Engine, target: str) -> None:
    async with connect(target, connect_timeout=CONNECT_SECONDS_MAX) as client:
        agency = Agency(engine, client)
        await asyncio.gather(
            shop.participant.serve(target), agency.participant.serve(target)
        )


def _observe(trigger: Trigger, shop: Shop) -> None:
    """Put both sides of a point around every local commit; tell of the welcome."""
    enter, commit = CallScope.enter, LocalTransaction.commit
    welcomed = Session._welcomed
    sessions: set[Session] = set()
    calls: weakref.WeakKeyDictionary[LocalTransaction, list[BranchKey]] = (
        weakref.WeakKeyDictionary()
    )

    def observed_enter(scope: CallScope) -> None:
        calls.setdefault(scope._transaction, []).append(scope._job.key)
        enter(scope)

    def observed_commit(transaction: LocalTransaction) -> None:
        keys = calls.pop(transaction, [])
        points = frozenset(f"participant.{key.phase.lower()}" for key in keys)
        step = Step(points, {key.gid: 0 for key in keys})
        trigger.reach(step, Moment.BEFORE)
        commit(transaction)
        trigger.reach(step, Moment.AFTER)
        for key in keys:
            if shop.to_lose.pop(key, 0):
                raise CommitLost

    def observed_welcome(session: Session, stream: Any, welcome: Any) -> None:
        welcomed(session, stream, welcome)
        sessions.add(session)
        if len(sessions) == SESSIONS:
            trigger.say(Ready())

    replace(CallScope, "enter", observed_enter)
    replace(LocalTransaction, "commit", observed_commit)
    replace(Session, "_welcomed", observed_welcome)
