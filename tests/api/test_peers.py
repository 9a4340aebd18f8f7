"""Nodes tell sessions and operators which nodes live."""

import pytest

from coordinator.api.peers import PEERS_MAX
from coordinator.engine.leases import (
    BEAT_EVERY_MS,
    FORGET_AFTER_MS,
    TTL_MS,
    Leases,
    SeenNode,
)
from coordinator.ports import NodeRow
from coordinator.storage.memory import MemoryStore
from protos.v1 import admin_pb2
from tests.api.fakes import FakeClock
from tests.api.node import Node


def seen(node_id: str, address: str, *, is_alive: bool = True) -> SeenNode:
    return SeenNode(NodeRow(node_id, address, 7), 400, is_alive)


OWN = seen("node-1", "h:1")


@pytest.fixture
async def node():
    """One that knows its address."""
    async with Node(MemoryStore(), FakeClock()) as serving:
        serving.peers.told_as("h:1")
        yield serving


async def test_the_welcome_names_this_node_and_the_other_live_ones(node):
    """Dead ones, an earlier process of this node and what cannot be reached are not
    among them.
    """
    node.peers.seen(
        [
            OWN,
            seen("node-0", "h:1"),
            seen("node-2", "h:2"),
            seen("node-3", "h:3", is_alive=False),
            seen("node-4", "0.0.0.0:4"),
            seen("node-5", "[::]:5"),
        ]
    )
    welcome = await node.peer().hello()
    assert (welcome.address, welcome.peers) == ("h:1", ["h:2"])


async def test_a_node_that_is_reached_by_no_single_address_names_none(node):
    """Who attaches knows how; nobody else is sent there."""
    assert node.peers.told_as("0.0.0.0:1") == "0.0.0.0:1"
    assert (await node.peer().hello()).address == ""


async def test_sessions_are_told_when_nodes_come_and_go(node):
    """And only then; a session that has ended is told nothing."""
    peer, gone = node.peer(), node.peer()
    await peer.hello()
    await gone.hello()
    await gone.call.done_writing()
    await gone.ended()
    node.peers.seen([OWN, seen("node-2", "h:2")])
    node.peers.seen([OWN, seen("node-2", "h:2")])
    node.peers.seen([OWN])
    await peer.until(lambda: len(peer.told_peers) == 2)
    assert peer.told_peers == [["h:2"], []]


async def test_no_more_peers_are_told_than_a_session_is_for(node):
    """A table of nodes that nobody cleaned costs no participant its memory."""
    node.peers.seen([seen(f"n-{n}", f"h:{n + 2}") for n in range(PEERS_MAX + 9)])
    assert len((await node.peer().hello()).peers) == PEERS_MAX


async def test_operators_see_all_nodes(node):
    """By address; only of itself does the one that answers know the version."""
    node.peers.seen([OWN, seen("node-0", "h:0", is_alive=False)])
    reply = await node.admin.ListNodes(admin_pb2.ListNodesRequest())
    assert list(reply.nodes) == [
        admin_pb2.Node(node_id="node-0", address="h:0", heartbeat=7, silent_ms=400),
        admin_pb2.Node(
            node_id="node-1",
            address="h:1",
            heartbeat=7,
            alive=True,
            answers=True,
            version="1.2.3",
        ),
    ]


async def test_each_heartbeat_looks_at_all_nodes():
    """L2: alive while the counter moves by our own clock; silent; forgotten."""
    store, clock = MemoryStore(), FakeClock()
    dead_ms = TTL_MS + BEAT_EVERY_MS
    looks: list[list[SeenNode]] = []
    own = Leases(store, clock, node_id="a", address="h:1", on_seen=looks.append)
    peer = Leases(store, clock, node_id="b", address="h:2")
    await peer.beat()
    for ms in (0, dead_ms, FORGET_AFTER_MS):
        clock.move(ms)
        await own.beat()
    told = [
        [(n.row.address, n.silent_ms, n.is_alive) for n in nodes] for nodes in looks
    ]
    assert told == [
        [("h:1", 0, True), ("h:2", 0, True)],
        [("h:1", 0, True), ("h:2", dead_ms, False)],
        [("h:1", 0, True)],
    ]
