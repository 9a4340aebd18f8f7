"""What a node does in which order when it starts."""

from pathlib import Path

import grpc
import pytest
from sqlalchemy import NullPool, create_engine, text

from coordinator.api.server import ApiServer
from coordinator.bootstrap import running
from coordinator.config import PushTarget, ServeConfig
from coordinator.storage.sql import migrate
from protos.v1 import admin_pb2, admin_pb2_grpc


async def test_node_is_listed_before_it_serves(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """L1: who has no row has left, so peers take what it drives."""
    url = f"sqlite:///{tmp_path}/tercet.db"
    migrate.upgrade(url)
    listed: list[str] = []
    start = ApiServer.start

    async def noted(server: ApiServer) -> None:
        # Python 3.13 warns of a connection that a pool would keep open.
        with create_engine(url, poolclass=NullPool).connect() as connection:
            listed.extend(connection.scalars(text("SELECT address FROM nodes")))
        await start(server)

    monkeypatch.setattr(ApiServer, "start", noted)
    config = ServeConfig(database_url=url, listen="127.0.0.1:0", drain_seconds=1)
    async with running(config) as address:
        assert listed == [address]


async def test_unguarded_push_targets_are_told(tmp_path: Path) -> None:
    """Whoever asks for the nodes sees what was accepted at their start."""
    url = f"sqlite:///{tmp_path}/tercet.db"
    migrate.upgrade(url)
    guarded = PushTarget(participant="stock", address="127.0.0.1:1")
    unguarded = PushTarget(participant="accounts", address="a.invalid:1")
    config = ServeConfig(
        database_url=url,
        listen="127.0.0.1:0",
        drain_seconds=1,
        push=(guarded, unguarded),
    )
    async with (
        running(config) as address,
        grpc.aio.insecure_channel(address) as channel,
    ):
        admin = admin_pb2_grpc.AdminStub(channel)
        (node,) = (await admin.ListNodes(admin_pb2.ListNodesRequest())).nodes

    (warning,) = node.warnings
    assert warning.startswith("push.accounts: calls to a.invalid:1")
