"""Participants that nodes call at an address: to the end, and through restarts."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager, suppress
from pathlib import Path

import grpc
import grpc.aio
import pytest
from sqlalchemy import Engine, create_engine, text

from coordinator.bootstrap import running
from coordinator.config import ServeConfig, load_serve
from coordinator.storage.sql import migrate
from examples.ports import find_free_port
from participant_sdk import (
    Call,
    Client,
    Context,
    Participant,
    Refused,
    connect,
    create_barrier_table,
)
from participant_sdk.push import Listener
from protos.v1 import admin_pb2, admin_pb2_grpc, types_pb2
from tests.api.push.service import Service

CERTIFICATES = Path(__file__).parents[1] / "sdk" / "push" / "certificate"
SAGA = """
apiVersion: tercet/v1
kind: Saga
metadata: {name: gift, version: 1.0.0}
steps:
- id: book
  call: bank.post
  input: {cents: "${input.cents}"}
- id: tell
  call: bank.notify
  compensate: none
  input: {to: "${input.to}"}
output: {booked: "${steps.book.output.posted}"}
"""


def a_bank(engine: Engine) -> Participant:
    """Money that is there, and money that is held."""
    bank = Participant("bank", database=engine)

    def change(ctx: Context, available: int, frozen: int = 0) -> None:
        ctx.connection.execute(
            text("UPDATE money SET available = available + :a, frozen = frozen + :f"),
            {"a": available, "f": frozen},
        )

    @bank.tcc("debit")
    def debit(ctx: Context, request: dict[str, int]) -> None:
        if request["cents"] > 100:
            raise Refused("TOO_MUCH", "nobody has so much")
        change(ctx, -request["cents"], request["cents"])

    @debit.confirm
    def _(ctx: Context, request: dict[str, int], _: None) -> None:
        change(ctx, 0, -request["cents"])

    @debit.cancel
    def _(ctx: Context, request: dict[str, int], _: None) -> None:
        change(ctx, request["cents"], -request["cents"])

    @bank.action("post")
    def post(ctx: Context, request: dict[str, int]) -> dict[str, int]:
        change(ctx, request["cents"])
        return {"posted": request["cents"]}

    @post.compensate
    def _(ctx: Context, request: dict[str, int], posted: dict[str, int]) -> None:
        change(ctx, -posted["posted"])

    @bank.action("notify")
    def notify(ctx: Context, request: dict[str, str]) -> None:
        if not request["to"]:
            raise Refused("NO_ADDRESS", "nobody to write to")

    return bank


class Town:
    """A bank that is called with TLS and signed calls, and the nodes that call it."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.address = f"localhost:{find_free_port()}"
        (folder / "secret").write_text("s" * 64)
        (folder / "tercet.toml").write_text(
            f"database_url = 'sqlite:///{folder}/tercet.db'\n"
            "listen = '127.0.0.1:0'\n"
            "drain_seconds = 5\n"
            "[push.bank]\n"
            f"address = '{self.address}'\n"
            f"secret_file = '{folder}/secret'\n"
            f"ca_file = '{CERTIFICATES}/certificate.pem'\n"
        )
        migrate.upgrade(f"sqlite:///{folder}/tercet.db")
        self.engine = create_engine(f"sqlite:///{folder}/bank.db")
        create_barrier_table(self.engine)
        with self.engine.begin() as connection:
            connection.execute(text("CREATE TABLE money (available INT, frozen INT)"))
            connection.execute(text("INSERT INTO money VALUES (1000, 0)"))

    @property
    def config(self) -> ServeConfig:
        return load_serve({"config": str(self.folder / "tercet.toml")}, {})

    def money(self) -> tuple[int, int]:
        with self.engine.connect() as connection:
            return tuple(connection.execute(text("SELECT * FROM money")).one())

    @asynccontextmanager
    async def bank(self) -> AsyncIterator[None]:
        """It serves; leaving stops it like a program that is asked to."""
        bank = a_bank(self.engine)
        listener = Listener(
            self.address,
            secret_file=self.folder / "secret",
            certificate_file=CERTIFICATES / "certificate.pem",
            key_file=CERTIFICATES / "key.pem",
        )
        serving = asyncio.create_task(bank.serve(listen=listener))
        try:
            yield
        finally:
            bank.stop()
            await serving


@pytest.fixture
def town(tmp_path: Path):
    """Nothing runs yet."""
    made = Town(tmp_path)
    yield made
    made.engine.dispose()


async def until_attached(address: str, *, is_attached: bool = True) -> None:
    """Return when a node says so of all operations that it knows."""
    async with grpc.aio.insecure_channel(address) as channel:
        catalogue = admin_pb2_grpc.CatalogueStub(channel)
        while True:
            reply = await catalogue.ListOperations(admin_pb2.ListOperationsRequest())
            if {o.attached for o in reply.operations} == {is_attached}:
                return


async def transfer(client: Client, cents: int) -> str:
    """How a transfer ends."""
    transaction = client.tcc("transfer")
    with suppress(Refused):
        async with transaction as tx:
            await tx.call_all([Call("bank.debit", {"cents": cents})])
    return (await client.get(transaction.gid, wait=True)).status


async def gift(client: Client, cents: int, to: str) -> str:
    """How a saga ends."""
    saga = await client.saga("gift", {"cents": cents, "to": to}).wait()
    return saga.status


async def test_to_the_end_and_through_a_restart(town: Town) -> None:
    """TCC and saga, yes and no; what was decided meanwhile is confirmed afterwards."""
    async with AsyncExitStack() as stack:
        address = await stack.enter_async_context(running(town.config))
        client = await stack.enter_async_context(connect(address))
        async with town.bank():
            await until_attached(address)
            await client.publish_saga(SAGA)
            assert await transfer(client, 100) == "CONFIRMED"
            assert await transfer(client, 101) == "CANCELLED"
            assert await gift(client, 5, "ada") == "COMPLETED"
            assert await gift(client, 7, "") == "COMPENSATED"
            open_one = client.tcc("transfer")
            await open_one.__aenter__()
            await open_one.call("bank.debit", {"cents": 40})
            assert town.money() == (865, 40)
        await until_attached(address, is_attached=False)
        await open_one.__aexit__(None, None, None)
        async with town.bank():
            ended = await client.get(open_one.gid, wait=True)
            assert ended.status == "CONFIRMED"
            await until_attached(address)
            assert await transfer(client, 60) == "CONFIRMED"
            assert await gift(client, 5, "") == "COMPENSATED"
    assert town.money() == (805, 0)


async def test_each_node_calls(town: Town) -> None:
    """None needs another one to reach the bank."""
    async with AsyncExitStack() as stack:
        await stack.enter_async_context(town.bank())
        for _ in range(2):
            address = await stack.enter_async_context(running(town.config))
            client = await stack.enter_async_context(connect(address))
            await until_attached(address)
            assert await transfer(client, 10) == "CONFIRMED"
    assert town.money() == (980, 0)


async def test_a_node_with_another_secret_is_not_attached(town: Town) -> None:
    """Neither does it move anything, nor does it wait at its start."""
    config = town.config
    (town.folder / "secret").write_text("t" * 64)
    async with AsyncExitStack() as stack:
        await stack.enter_async_context(town.bank())
        good = await stack.enter_async_context(running(town.config))
        await until_attached(good)
        bad = await stack.enter_async_context(running(config))
        await until_attached(bad, is_attached=False)


async def test_what_fails_is_asked_again(tmp_path: Path) -> None:
    """An RPC that failed is an unknown outcome: the same branch, the next attempt."""
    service = Service()
    await service.start()
    url = f"sqlite:///{tmp_path}/tercet.db"
    migrate.upgrade(url)
    flags = {"database_url": url, "listen": "127.0.0.1:0"}
    config = load_serve({**flags, "push": f"accounts={service.address}"}, {})
    async with running(config) as address, connect(address) as client:
        await until_attached(address)
        transfer = asyncio.create_task(_debit(client))
        first = await service.open.get()
        first.fail(grpc.StatusCode.INTERNAL)
        second = await service.open.get()
        second.answer()
        confirm = await service.open.get()
        confirm.answer()
        await transfer
    await service.stop()

    assert second.call.branch_id == first.call.branch_id
    assert (first.call.attempt, second.call.attempt) == (1, 2)
    assert confirm.call.phase == types_pb2.PHASE_CONFIRM


async def _debit(client: Client) -> None:
    async with client.tcc("transfer") as tx:
        await tx.call("accounts.debit", {"cents": 5})
