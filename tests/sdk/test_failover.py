"""An initiator goes to the next live node; a participant is attached to all."""

import asyncio
from collections.abc import AsyncIterator

import pytest

from participant_sdk import InvalidRequest, Participant, Unavailable, connect, session
from participant_sdk.targets import TARGETS_MAX, Targets, targets_of
from protos.v1.types_pb2 import Error
from tests.sdk.fake_coordinator import FakeCoordinator, transaction


@pytest.fixture
async def other() -> AsyncIterator[FakeCoordinator]:
    """A second node."""
    fake = FakeCoordinator()
    await fake.start()
    yield fake
    await fake.stop()


def knowing(request):
    """A node that knows every transaction."""
    yield transaction(request.get.gid)


# ---- Whom to try ---------------------------------------------------------------------


def test_targets_are_written_with_commas_or_as_a_sequence():
    """Each once, in their order."""
    assert targets_of("a:1, b:1,a:1") == ("a:1", "b:1")
    assert targets_of(["a:1", "b:1"]) == ("a:1", "b:1")


@pytest.mark.parametrize(
    "target", ["", "a:1,,b:1", [], [f"a:{n}" for n in range(TARGETS_MAX + 1)]]
)
def test_targets_that_name_nobody_are_refused(target):
    """The error names the field."""
    with pytest.raises(InvalidRequest) as caught:
        targets_of(target)
    assert caught.value.field == "target"


def test_everybody_gets_a_turn():
    """Nodes that live come before those of whom nothing is known; nobody is tried
    again before all others were.
    """
    targets = Targets(["a:1", "b:1"])
    assert targets.next() == "a:1"
    targets.told(["c:1", "d:1"])
    assert {targets.next(), targets.next()} == {"c:1", "d:1"}
    assert [targets.next(), targets.next()] == ["b:1", "a:1"]


# ---- The initiator -------------------------------------------------------------------


async def test_a_request_without_an_answer_is_asked_at_the_next_node(
    coordinator, other
):
    """V7, T10: the node dies with it; the same request goes to one that it told of."""
    coordinator.peers = [other.target]
    other.answer = knowing
    async with connect(coordinator.target) as client:
        asked = asyncio.create_task(client.get("g1"))
        first = await coordinator.asked.get()
        await coordinator.stop()
        assert (await asked).gid == "g1"
    assert other.requests == [first]


async def test_a_node_that_came_later_is_known(coordinator, other):
    """Not only the welcome tells of nodes."""
    other.answer = coordinator.answer = knowing
    async with connect(coordinator.target) as client:
        attached = await coordinator.attached.get()
        attached.tell_peers("127.0.0.1:1")
        attached.tell_peers(other.target)
        await client.get("g1")  # answered after what was told
        await coordinator.stop()
        assert (await client.get("g2")).gid == "g2"


async def test_a_draining_node_does_not_hold_up_what_comes(coordinator, other):
    """V7: it owes an answer that takes long; the rest is asked elsewhere at once, and
    so is what it owes.
    """
    coordinator.peers = [other.target]
    other.answer = knowing
    async with connect(coordinator.target) as client:
        attached = await coordinator.attached.get()
        long = asyncio.create_task(client.get("long", wait=True))
        await coordinator.asked.get()
        attached.leave()
        assert (await client.get("g2")).gid == "g2"
        assert (await long).gid == "long"


async def test_a_drain_without_end_is_given_up_and_the_session_goes_on(
    coordinator, monkeypatch
):
    """No other node takes it in meanwhile; when one does, it is asked again there."""
    monkeypatch.setattr(session, "DRAIN_SECONDS_MAX", 0.01)
    async with connect(coordinator.target) as client:
        attached = await coordinator.attached.get()
        asked = asyncio.create_task(client.get("g1"))
        first = await coordinator.asked.get()
        coordinator.hello_error = Error(message="not now")
        attached.leave()
        await attached.gone.wait()
        await coordinator.refused.get()
        coordinator.hello_error = None
        coordinator.answer = knowing
        assert (await asked).gid == "g1"
    assert coordinator.requests == [first, first]


async def test_targets_that_nobody_serves_are_passed_over(coordinator):
    """The first that answers will do."""
    coordinator.answer = knowing
    async with connect(f"127.0.0.1:1,{coordinator.target}") as client:
        assert (await client.get("g1")).gid == "g1"


async def test_an_answer_that_nobody_gives_stays_unknown(coordinator, other):
    """In time, and with what to do: the caller may ask again with the same gid."""
    coordinator.peers = [other.target]
    async with connect(coordinator.target, timeout=0.2) as client:
        asked = asyncio.create_task(client.get("g1"))
        await coordinator.asked.get()
        await coordinator.stop()
        await other.stop()
        with pytest.raises(Unavailable, match="outcome is unknown"):
            await asked


async def test_a_saga_is_published_at_a_node_that_lives(coordinator, other):
    """The one that was asked first is gone; the same text again changes nothing."""
    coordinator.peers = [other.target]
    async with connect(coordinator.target) as client:
        await coordinator.stop()
        assert (await client.publish_saga("text")).text == "text"
    assert [request.text for request in other.published] == ["text"]


# ---- The participant -----------------------------------------------------------------


async def test_a_participant_attaches_to_nodes_that_it_is_told_of(coordinator, other):
    """With all its operations; so any node that drives a transaction reaches it."""
    participant = Participant("plain")
    participant.action("send")(lambda ctx, request: None)
    serving = asyncio.create_task(participant.serve(coordinator.target))
    first = await coordinator.attached.get()
    first.tell_peers(other.target)
    second = await other.attached.get()
    assert second.hello == first.hello
    participant.stop()
    await serving
    assert first.told_draining.is_set()
    assert second.told_draining.is_set()
