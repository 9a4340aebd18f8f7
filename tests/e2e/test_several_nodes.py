"""Several nodes over one database, restarted one by one while calls go on."""

import asyncio
import json
from collections import Counter
from pathlib import Path
from typing import Any

import grpc
import pytest
from grpc_health.v1 import health_pb2, health_pb2_grpc
from sqlalchemy import create_engine, text

from coordinator.storage.sql import migrate
from examples.fleet import Fleet
from examples.ports import find_free_port
from participant_sdk import (
    Context,
    Participant,
    Retry,
    connect,
    create_barrier_table,
)
from participant_sdk.client import Client

NODES = ("n1", "n2")
WORKERS = 2
OPENING = 1_000_000
SAGA = json.dumps(
    {
        "apiVersion": "tercet/v1",
        "kind": "Saga",
        "metadata": {"name": "post-twice", "version": "1"},
        "steps": [
            {"id": step, "call": "bank.post", "input": {}, "compensate": "none"}
            for step in ("first", "second")
        ],
    }
)


class Bank:
    """Two accounts; money in flight is in neither."""

    def __init__(self, path: Path) -> None:
        self.engine = create_engine(f"sqlite:///{path}")
        create_barrier_table(self.engine)
        with self.engine.begin() as connection:
            connection.execute(text("CREATE TABLE account (name TEXT, money INTEGER)"))
            for name, money in (("here", OPENING), ("there", 0), ("posted", 0)):
                row = {"name": name, "money": money}
                connection.execute(
                    text("INSERT INTO account VALUES (:name, :money)"), row
                )
        self.participant = Participant("bank", database=self.engine)

        @self.participant.tcc("debit")
        def debit(ctx: Context, request: dict[str, Any]) -> None:
            take_time(ctx)
            move(ctx, "here", -1)

        @debit.confirm
        def _(ctx: Context, request: dict[str, Any], output: None) -> None:
            pass

        @debit.cancel
        def _(ctx: Context, request: dict[str, Any], output: None) -> None:
            move(ctx, "here", 1)

        @self.participant.tcc("credit")
        def credit(ctx: Context, request: dict[str, Any]) -> None:
            pass

        @credit.confirm
        def _(ctx: Context, request: dict[str, Any], output: None) -> None:
            move(ctx, "there", 1)

        @credit.cancel
        def _(ctx: Context, request: dict[str, Any], output: None) -> None:
            pass

        @self.participant.action("post")
        def post(ctx: Context, request: dict[str, Any]) -> None:
            take_time(ctx)
            move(ctx, "posted", 1)

    def money(self) -> dict[str, int]:
        with self.engine.connect() as connection:
            rows = connection.execute(text("SELECT name, money FROM account"))
            return {row.name: row.money for row in rows}


def take_time(ctx: Context) -> None:
    """So that transactions are open when their node is stopped, and CPU is left."""
    if ctx.attempt == 1:
        raise Retry(after=0.1)


def move(ctx: Context, account: str, amount: int) -> None:
    ctx.session.execute(
        text("UPDATE account SET money = money + :amount WHERE name = :name"),
        {"amount": amount, "name": account},
    )


class Work:
    """Workers that call without a pause, each until it is told to stop."""

    def __init__(self, client: Client) -> None:
        self._client = client
        self._is_over = False
        self._moved = asyncio.Event()
        self.done: Counter[int] = Counter()
        self.gids: list[str] = []
        self.sagas = 0

    async def run(self, worker: int) -> None:
        while not self._is_over:
            if worker % 2:
                async with self._client.tcc("transfer") as tx:
                    await tx.call("bank.debit", {})
                    await tx.call("bank.credit", {})
                self.gids.append(tx.gid)
            else:
                result = await self._client.saga("post-twice", {}).wait()
                assert result.status == "COMPLETED", result
                self.sagas += 1
            self.done[worker] += 1
            self._moved.set()

    async def goes_on(self) -> None:
        """Every worker ends what it is at, and one more."""
        goal = {worker: self.done[worker] + 2 for worker in range(WORKERS)}
        while any(self.done[worker] < times for worker, times in goal.items()):
            self._moved.clear()
            await self._moved.wait()

    def stop(self) -> None:
        self._is_over = True


async def serves(target: str) -> None:
    """Return when the node answers that it serves."""
    options = [("grpc.initial_reconnect_backoff_ms", 100)]
    async with grpc.aio.insecure_channel(target, options=options) as channel:
        health = health_pb2_grpc.HealthStub(channel)
        await health.Check(
            health_pb2.HealthCheckRequest(), wait_for_ready=True, timeout=30
        )


def serving_node(client: Client, targets: dict[str, str]) -> str:
    """Whom the client is connected with: the one whose death it feels."""
    view = client._session.view
    assert view is not None
    return next(name for name, target in targets.items() if target == view.address)


@pytest.mark.timeout(120)
async def test_no_call_is_lost_while_nodes_are_restarted(tmp_path: Path) -> None:
    """V7, F6: each node in turn is told to stop and started again, then one is killed.
    Not one call fails, and what was promised is done, once.
    """
    targets = {name: f"127.0.0.1:{find_free_port()}" for name in NODES}
    bank = Bank(tmp_path / "bank.sqlite")
    with Fleet(tmp_path) as fleet:
        database = f"sqlite:///{fleet.database('coordinator')}"
        migrate.upgrade(database)
        for name, target in targets.items():
            fleet.start(
                name,
                *("coordinator", "serve", "--listen", target),
                *("--db", database),
            )
        await asyncio.gather(*map(serves, targets.values()))
        # One address is enough: the others are learned.
        first = targets[NODES[0]]
        serving = asyncio.create_task(bank.participant.serve(first))
        fleet.target = first
        await fleet.ready(["bank.debit"])
        async with connect(first) as client, asyncio.TaskGroup() as group:
            await client.publish_saga(SAGA)
            work = Work(client)
            for worker in range(WORKERS):
                group.create_task(work.run(worker))
            for name in NODES:
                await work.goes_on()
                await fleet.restart(name)
                await serves(targets[name])
            await work.goes_on()
            fleet.kill(serving_node(client, targets))
            await work.goes_on()
            work.stop()
        async with connect(first) as client:
            ends = [await client.get(gid, wait=True) for gid in work.gids]
        bank.participant.stop()
        await serving
        fleet.check()
    assert {end.status for end in ends} == {"CONFIRMED"}
    assert bank.money() == {
        "here": OPENING - len(work.gids),
        "there": len(work.gids),
        "posted": 2 * work.sagas,
    }
