"""Requests that wait for a connection: so many, and no more."""

import asyncio

import grpc
import pytest

from participant_sdk import Overloaded, Unavailable, connect, waiting
from participant_sdk.waiting import Sized, Waiting
from protos.v1.coordinator_pb2 import (
    BeginRequest,
    ConfirmRequest,
    Request,
    SubmitSagaRequest,
)
from protos.v1.types_pb2 import Error
from tests.sdk.test_client import accepting

BEGIN = Request(begin=BeginRequest(gid="g"))
SUBMIT = Request(submit_saga=SubmitSagaRequest(gid="g"))
CONFIRM = Request(confirm=ConfirmRequest(gid="g"))


@pytest.mark.parametrize("request_", [BEGIN, SUBMIT])
def test_what_would_begin_is_refused_when_so_many_wait(
    monkeypatch: pytest.MonkeyPatch, request_: Request
) -> None:
    """Early, with a time to come back; what has begun goes on."""
    monkeypatch.setattr(waiting, "WAITING_MAX", 2)
    queue = Waiting()
    queue.add(BEGIN)
    queue.add(BEGIN)
    with pytest.raises(Overloaded, match="2 requests") as refusal:
        queue.add(request_)
    assert refusal.value.retry_after_seconds == waiting.RETRY_SECONDS
    queue.add(CONFIRM)


def test_payloads_are_counted_too(monkeypatch: pytest.MonkeyPatch) -> None:
    """Few large ones take the memory of many small ones."""
    monkeypatch.setattr(waiting, "WAITING_BYTES_MAX", BEGIN.ByteSize() + 1)
    queue = Waiting()
    queue.add(BEGIN)
    queue.add(BEGIN)
    with pytest.raises(Overloaded):
        queue.add(BEGIN)
    queue.take()
    queue.add(BEGIN)


def test_what_comes_back_from_a_connection_is_first_and_not_refused(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """It was admitted before."""
    monkeypatch.setattr(waiting, "WAITING_MAX", 1)
    queue = Waiting()
    queue.add(CONFIRM)
    queue.put_back([Sized(BEGIN, BEGIN.ByteSize()), Sized(SUBMIT, SUBMIT.ByteSize())])
    assert [queue.take().request for _ in range(3)] == [BEGIN, SUBMIT, CONFIRM]
    assert not queue
    queue.add(BEGIN)


def test_nothing_is_left_of_what_is_forgotten(monkeypatch: pytest.MonkeyPatch) -> None:
    """Neither its number nor its bytes."""
    monkeypatch.setattr(waiting, "WAITING_BYTES_MAX", BEGIN.ByteSize())
    queue = Waiting()
    queue.add(BEGIN)
    queue.clear()
    assert not queue
    queue.add(BEGIN)


async def test_a_client_waits_for_room(
    coordinator, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Who has more to do than waits at a time needs to do nothing about it."""
    monkeypatch.setattr(waiting, "WAITING_MAX", 1)
    monkeypatch.setattr(waiting, "RETRY_SECONDS", 0.01)
    coordinator.answer = accepting
    async with connect(coordinator.target) as client:
        await coordinator.stop()

        async def move() -> None:
            async with client.tcc("transfer"):
                pass

        moves = asyncio.gather(*(move() for _ in range(5)))
        await asyncio.sleep(0)
        assert len(client._session._waiting) == 1
        await coordinator.start()
        await moves


async def test_who_finds_no_room_in_time_is_told_that_nothing_was_sent(
    coordinator, monkeypatch: pytest.MonkeyPatch
) -> None:
    """So it need not find out what became of it, and begins again when it likes."""
    monkeypatch.setattr(waiting, "WAITING_MAX", 0)
    monkeypatch.setattr(waiting, "RETRY_SECONDS", 0.01)
    async with connect(coordinator.target, timeout=0.05) as client:
        for beginning in (
            client.tcc("transfer").__aenter__(),
            client.submit_tcc("transfer", [], wait=False),
            client.saga("transfer").submit(),
        ):
            with pytest.raises(Overloaded, match=r"nothing was sent.* safe") as told:
                await beginning
            assert told.value.retry_after_seconds == waiting.RETRY_SECONDS
    assert not coordinator.requests


async def test_what_found_room_in_the_end_may_have_arrived(
    coordinator, monkeypatch: pytest.MonkeyPatch
) -> None:
    """However often there was none before."""
    monkeypatch.setattr(waiting, "WAITING_MAX", 0)
    monkeypatch.setattr(waiting, "RETRY_SECONDS", 0.01)
    async with connect(coordinator.target, timeout=1.0) as client:
        beginning = asyncio.create_task(client.saga("transfer").submit())
        await asyncio.sleep(0)
        monkeypatch.setattr(waiting, "WAITING_MAX", 1)
        await coordinator.asked.get()
        with pytest.raises(Unavailable, match="outcome is unknown"):
            await beginning


async def test_what_was_sent_before_there_was_no_room_may_have_arrived(
    coordinator, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A node that answers that it cannot answer now may have begun it all the same."""
    monkeypatch.setattr(waiting, "RETRY_SECONDS", 0.01)

    def busy(_: Request):
        monkeypatch.setattr(waiting, "WAITING_MAX", 0)
        yield Error(status=grpc.StatusCode.UNAVAILABLE.value[0], reason="STORE")

    coordinator.answer = busy
    async with connect(coordinator.target, timeout=0.5) as client:
        with pytest.raises(Unavailable, match="outcome is unknown"):
            await client.saga("transfer").submit()
    assert len(coordinator.requests) == 1
