"""A pushed call ends with an outcome; what is no reply is never a refusal."""

import asyncio

import grpc
import pytest

from coordinator.api.push.link import LAPSE_MS
from coordinator.core.inputs import Refused, Succeeded
from coordinator.core.model import Payload
from tests.api.push.service import TIMEOUT_MS, NodeSide


async def test_a_call_travels_as_on_a_stream(node, service):
    """Namespace, gid, branch, operation, phase, attempt and time."""
    node.call(7)
    opened = await service.open.get()
    opened.answer(succeeded={"output": {"data": b"{}"}})

    call = opened.call
    assert (call.namespace, call.gid, call.branch_id) == ("default", "g-7", "b1")
    assert (call.operation, call.attempt) == ("accounts.debit", 1)
    assert call.timeout_ms == TIMEOUT_MS
    assert await node.heard() == [Succeeded(Payload(b"{}", ""))]


async def test_the_participants_no_is_a_refusal(node, service):
    """It comes by a reply alone."""
    node.call()
    (await service.open.get()).answer(refused={"code": "NO_MONEY", "message": "poor"})

    assert await node.heard() == [Refused("NO_MONEY", "poor")]


@pytest.mark.parametrize(
    "code",
    [
        code
        for code in grpc.StatusCode
        if code not in (grpc.StatusCode.OK, grpc.StatusCode.DEADLINE_EXCEEDED)
    ],
)
async def test_an_rpc_that_fails_is_an_unknown_outcome(node, service, code):
    """Whatever its status: whoever fails it may have done the work."""
    node.call()
    (await service.open.get()).fail(code, "broken\x1b")
    (outcome,) = await node.heard()

    assert outcome.code == f"GRPC_{code.name}"
    assert outcome.text == "broken\\u001b"


async def test_rubbish_is_an_unknown_outcome(node, service):
    """A reply without an outcome in it."""
    node.call()
    (await service.open.get()).answer(succeeded=None)

    assert await node.codes() == ["BAD_REPLY"]


async def test_a_reply_that_is_too_large_is_an_unknown_outcome(node, service):
    """It is not read, and the connection stays."""
    node.call()
    large = {"output": {"data": bytes(2_000_000)}}
    (await service.open.get()).answer(succeeded=large)

    assert await node.codes() == ["GRPC_RESOURCE_EXHAUSTED"]
    assert node.is_attached


async def test_an_output_that_is_too_large_is_an_unknown_outcome(node, service):
    """The same rule as on a stream."""
    node.call()
    large = {"output": {"data": bytes(300_000)}}
    (await service.open.get()).answer(succeeded=large)

    assert await node.codes() == ["BAD_REPLY"]


async def test_the_time_of_an_rpc_is_that_of_its_call(node, service):
    """And a little more, so that the dispatcher is never told too early."""
    node.call(timeout_ms=20_000)
    opened = await service.open.get()

    # gRPC rounds it up; a slow machine takes from it.
    assert 10 < opened.seconds_left < (20_000 + LAPSE_MS) / 1000 + 1


async def test_an_rpc_whose_time_is_up_gives_its_credit_back(service):
    """The dispatcher's time-out is the outcome; nothing more can come."""
    node = NodeSide(service.address, in_flight=1)
    node.connection.start()
    await node.attached()
    node.call(1, timeout_ms=50)
    node.call(2)
    await service.open.get()
    assert await node.codes() == ["TIMEOUT"]
    (await service.open.get()).answer()
    assert await node.codes(2) == ["TIMEOUT", "OK"]
    await node.connection.leave(0)


async def test_answers_that_come_together_are_heard_together(node, service):
    """What moves by them shares a commit."""
    for number in range(8):
        node.call(number)
    opened = [await service.open.get() for _ in range(8)]
    for each in opened:
        each.answer()

    assert await node.codes(8) == ["OK"] * 8
    assert len(node.batches) < 8


async def test_a_connection_that_breaks_is_no_failure_of_its_participant(node, service):
    """Its calls are DISCONNECTED, like those of a session; none is lost."""
    for number in range(8):
        node.call(number)
        await service.open.get()
    await service.stop()

    assert await node.codes(8) == ["DISCONNECTED"] * 8
    await node.detached()


async def test_a_participant_that_stops_in_peace_still_answers(node, service):
    """A restart loses no answer, and its successor is called meanwhile."""
    node.call(1)
    old = await service.open.get()
    server = service._server
    stopping = asyncio.create_task(server.stop(60))
    service._server = None
    while service.described == 1:  # until its successor has the port
        try:
            await service.start()
        except RuntimeError:
            await asyncio.sleep(0)
            continue
        await node.dispatcher.until(lambda: service.described == 2)
    node.call(2)
    (await service.open.get()).answer()
    assert await node.codes() == ["OK"]
    old.answer()
    assert await node.codes(2) == ["OK", "OK"]
    await stopping
