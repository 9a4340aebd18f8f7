"""Transactions begun inside a try: joined and independent; and the check-back."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path

import grpc
import pytest
from sqlalchemy import create_engine

from coordinator.bootstrap import running
from coordinator.config import ServeConfig
from coordinator.storage.sql import migrate
from participant_sdk import (
    Client,
    Context,
    Participant,
    Refused,
    TransactionCancelled,
    connect,
    create_barrier_table,
)
from protos.v1 import admin_pb2, admin_pb2_grpc


@dataclass
class Town:
    """A travel agency whose try books at a hotel, and what took effect where."""

    client: Client
    effects: list[tuple[str, str]] = field(default_factory=list)
    inner_gids: list[str] = field(default_factory=list)
    pays: bool = True

    def of(self, operation: str) -> list[str]:
        return [phase for name, phase in self.effects if name == operation]

    def note(self, ctx: Context) -> None:
        self.effects.append((ctx.operation, ctx.phase.value))


def hotel(town: Town, directory: Path) -> Participant:
    engine = create_engine(f"sqlite:///{directory}/hotel.db")
    create_barrier_table(engine)
    made = Participant("hotel", database=engine)

    @made.tcc("room")
    def room(ctx: Context, request: dict) -> None:
        if request.get("full"):
            raise Refused("HOTEL_FULL", "no room")
        town.note(ctx)

    @room.confirm
    def _(ctx: Context, request: dict, _: None) -> None:
        town.note(ctx)

    @room.cancel
    def _(ctx: Context, request: dict, _: None) -> None:
        town.note(ctx)

    return made


def agency(town: Town, directory: Path) -> Participant:
    engine = create_engine(f"sqlite:///{directory}/agency.db")
    create_barrier_table(engine)
    made = Participant("agency", database=engine)

    @made.tcc("trip")
    async def trip(ctx: Context, request: dict) -> None:
        try:
            async with town.client.tcc("stay", propagation=request["how"]) as stay:
                town.inner_gids.append(stay.gid)
                await stay.call("hotel.room", {"full": request.get("full", False)})
        except Refused:
            if request["how"] == "required":
                raise
        town.note(ctx)

    @trip.confirm
    async def _(ctx: Context, request: dict, _: None) -> None:
        town.note(ctx)

    @trip.cancel
    async def _(ctx: Context, request: dict, _: None) -> None:
        town.note(ctx)

    @made.action("was_paid")
    def was_paid(ctx: Context, request: dict) -> None:
        if not request["paid"]:
            raise Refused("NOT_PAID", "the customer left")

    return made


@asynccontextmanager
async def a_town(directory: Path) -> AsyncIterator[Town]:
    url = f"sqlite:///{directory}/coordinator.db"
    migrate.upgrade(url)
    async with AsyncExitStack() as stack:
        config = ServeConfig(database_url=url, listen="127.0.0.1:0", drain_seconds=1)
        address = await stack.enter_async_context(running(config))
        town = Town(await stack.enter_async_context(connect(address)))
        serving = []
        for participant in (hotel(town, directory), agency(town, directory)):
            serving.append(asyncio.create_task(participant.serve(address)))
            stack.callback(participant.stop)
        await until_attached(address)
        yield town
    await asyncio.gather(*serving)


async def until_attached(address: str) -> None:
    """Return when all operations have a participant at the coordinator."""
    missing = {"hotel.room", "agency.trip", "agency.was_paid"}
    async with grpc.aio.insecure_channel(address) as channel:
        catalogue = admin_pb2_grpc.CatalogueStub(channel)
        while missing:
            reply = await catalogue.ListOperations(admin_pb2.ListOperationsRequest())
            missing -= {o.name for o in reply.operations if o.attached}


async def book(town: Town, *, outer_ok: bool = True, **request: object) -> str:
    """A trip; its end."""
    transaction = town.client.tcc("trip")
    with suppress(Refused, TransactionCancelled):
        async with transaction as tx:
            await tx.call("agency.trip", request)
            if not outer_ok:
                await tx.cancel("CHANGED_MY_MIND")
    return (await town.client.get(transaction.gid, wait=True)).status


async def test_joined_branch_follows_the_commit(tmp_path: Path) -> None:
    """REQUIRED: the inner branch is confirmed with the outer transaction (T12)."""
    async with a_town(tmp_path) as town:
        town.effects.clear()
        assert await book(town, how="required") == "CONFIRMED"

        assert town.of("hotel.room") == ["TRY", "CONFIRM"]
        assert town.of("agency.trip") == ["TRY", "CONFIRM"]


async def test_joined_branch_follows_the_abort(tmp_path: Path) -> None:
    """REQUIRED: the outer abort cancels the inner branch (T12)."""
    async with a_town(tmp_path) as town:
        town.effects.clear()
        assert await book(town, how="required", outer_ok=False) == "CANCELLED"

        assert town.of("hotel.room") == ["TRY", "CANCEL"]
        assert town.of("agency.trip") == ["TRY", "CANCEL"]


async def test_refused_inner_try_cancels_the_whole(tmp_path: Path) -> None:
    """REQUIRED: a refusal inside is a refusal of the whole (T12)."""
    async with a_town(tmp_path) as town:
        town.effects.clear()
        assert await book(town, how="required", full=True) == "CANCELLED"

        assert "CONFIRM" not in town.of("agency.trip")
        assert town.of("hotel.room") == []


@pytest.mark.parametrize("inner_ok", [True, False])
@pytest.mark.parametrize("outer_ok", [True, False])
async def test_independent_transaction_has_its_own_end(
    tmp_path: Path, *, inner_ok: bool, outer_ok: bool
) -> None:
    """REQUIRES_NEW in all four combinations: neither end decides the other."""
    async with a_town(tmp_path) as town:
        town.effects.clear()
        outer = await book(
            town, how="requires_new", full=not inner_ok, outer_ok=outer_ok
        )
        inner = await town.client.get(town.inner_gids[0], wait=True)

        assert outer == ("CONFIRMED" if outer_ok else "CANCELLED")
        assert inner.status == ("CONFIRMED" if inner_ok else "CANCELLED")


@pytest.mark.parametrize("paid", [True, False])
async def test_check_back_decides_when_the_initiator_died(
    tmp_path: Path, *, paid: bool
) -> None:
    """Undecided at the deadline: the initiator's own operation says commit or not."""
    async with a_town(tmp_path) as town:
        transaction = town.client.tcc(
            "trip",
            deadline=0.2,
            check_back="agency.was_paid",
            check_back_input={"paid": paid},
        )
        await transaction.__aenter__()
        await transaction.call("hotel.room", {})
        end = await town.client.get(transaction.gid, wait=True)

        assert end.status == ("CONFIRMED" if paid else "CANCELLED")
        assert end.reason_code == ("" if paid else "NOT_PAID")
