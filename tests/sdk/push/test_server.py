"""Calls that a node makes at a participant's address, over a real socket."""

import asyncio
import time

import grpc
import grpc.aio
import pytest
from structlog.testing import capture_logs

from examples.ports import find_free_port
from participant_sdk import Context, Participant, PreconditionFailed
from participant_sdk.push import Listener, server
from participant_sdk.push.server import PushServer
from protos import call_token
from protos.v1 import types_pb2
from protos.v1.participant_pb2 import (
    BranchCall,
    BranchReply,
    DescribeReply,
    DescribeRequest,
)
from protos.v1.participant_pb2_grpc import ParticipantStub
from tests.kept import kept_after
from tests.sdk.bank import CONFIRM, TRY, call, told
from tests.sdk.push.test_listener import CERTIFIED

SECRET = b"s" * call_token.SECRET_BYTES_MIN
CALL = BranchCall(
    gid="g-1", branch_id="b1", operation="accounts.debit", phase=TRY, attempt=1
)


class Calls:
    """What came in, and how it is answered."""

    def __init__(self) -> None:
        self.open: asyncio.Queue[BranchCall] = asyncio.Queue()
        self.deliver = []
        self.answers_at_once = True

    def take(self, calls, deliver) -> None:
        (one,) = calls
        self.open.put_nowait(one)
        self.deliver.append(deliver)
        if self.answers_at_once:
            self.answer()

    def answer(self) -> None:
        self.deliver.pop(0)([BranchReply(succeeded={})])


class Served:
    """A server, and a way to it."""

    def __init__(self, listener: Listener) -> None:
        self.calls = Calls()
        self.server = PushServer(
            listener,
            lambda: DescribeReply(participant="accounts"),
            on_calls=self.calls.take,
        )

    async def start(self) -> None:
        self.address = await self.server.start()
        self.channel = grpc.aio.insecure_channel(self.address)
        self.stub = ParticipantStub(self.channel)

    async def execute(self, token: bytes | None, sent: BranchCall = CALL):
        """The status of an RPC; OK when it was carried out."""
        metadata = ((call_token.METADATA_KEY, token),) if token is not None else None
        try:
            await self.stub.Execute(sent, metadata=metadata)
        except grpc.aio.AioRpcError as error:
            return error.code()
        return grpc.StatusCode.OK


@pytest.fixture
async def served(tmp_path):
    """Serves whoever has the secret."""
    path = tmp_path / "secret"
    path.write_bytes(SECRET)
    made = Served(Listener("127.0.0.1:0", secret_file=path))
    await made.start()
    yield made
    await made.channel.close()
    await made.server.stop(0)


def token_for(sent=CALL, *, secret=SECRET, expires_in_ms=5_000, participant="accounts"):
    return call_token.sign(
        secret,
        call_token.to_execute(participant, sent),
        sent.SerializeToString(),
        expires_at_ms=time.time_ns() // 1_000_000 + expires_in_ms,
    )


UNAUTHENTICATED = grpc.StatusCode.UNAUTHENTICATED


async def test_a_signed_call_is_carried_out(served):
    """B10: it is the coordinator's."""
    assert await served.execute(token_for()) is grpc.StatusCode.OK
    assert served.calls.open.get_nowait() == CALL


@pytest.mark.parametrize(
    "token",
    [
        None,
        b"",
        token_for(secret=b"x" * 64),
        token_for(participant="stock"),
        token_for(BranchCall(gid="g-2", operation="accounts.debit")),
        token_for(expires_in_ms=-call_token.SKEW_MS - 5_000),
    ],
    ids=["none", "empty", "secret", "participant", "call", "expired"],
)
async def test_a_call_without_a_valid_token_changes_nothing(served, token):
    """B10: nobody but the coordinator moves anything; why not, stands in the log."""
    with capture_logs() as logs:
        assert await served.execute(token) is UNAUTHENTICATED
    assert served.calls.open.empty()
    assert [line["event"] for line in logs] == ["push_call_refused"]
    assert SECRET.decode() not in str(logs)


async def test_who_tries_tokens_does_not_fill_the_log(served):
    """Once in a while is enough."""
    with capture_logs() as logs:
        for _ in range(5):
            await served.execute(None)
    assert len(logs) == 1


async def test_only_the_coordinator_is_told_what_there_is(served):
    """Names and schemas are nobody else's business."""
    request = DescribeRequest(participant="accounts")
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await served.stub.Describe(request)
    assert caught.value.code() is UNAUTHENTICATED
    token = call_token.sign(
        SECRET,
        call_token.to_describe("accounts"),
        request.SerializeToString(),
        expires_at_ms=time.time_ns() // 1_000_000,
    )
    metadata = ((call_token.METADATA_KEY, token),)
    reply = await served.stub.Describe(request, metadata=metadata)
    assert reply.participant == "accounts"


async def test_rubbish_is_refused(served):
    """It is no call, so nobody can have signed it."""
    execute = served.channel.unary_unary("/tercet.v1.Participant/Execute")
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await execute(b"\xff")
    assert caught.value.code() is grpc.StatusCode.INVALID_ARGUMENT


async def test_calls_that_run_are_bounded(served, monkeypatch):
    """Also when their callers have stopped waiting: it is handlers that cost."""
    monkeypatch.setattr(server, "CALLS_MAX", 2)
    served.calls.answers_at_once = False
    waiting = [asyncio.create_task(served.execute(token_for())) for _ in range(2)]
    for _ in waiting:
        await served.calls.open.get()
    exhausted = grpc.StatusCode.RESOURCE_EXHAUSTED
    assert await served.execute(token_for()) is exhausted
    for task in waiting:
        task.cancel()
    await asyncio.wait(waiting)
    assert await served.execute(token_for()) is exhausted
    served.calls.answer()
    served.calls.answers_at_once = True
    served.calls.deliver.clear()
    assert await served.execute(token_for()) is grpc.StatusCode.OK


async def test_stopping_waits_for_replies_and_takes_no_call(served):
    """What runs is answered; the next one is for another process."""
    served.calls.answers_at_once = False
    running = asyncio.create_task(served.execute(token_for()))
    await served.calls.open.get()
    stopping = asyncio.create_task(served.server.stop(60))
    refused = asyncio.create_task(served.execute(token_for()))
    assert await refused in (grpc.StatusCode.UNAVAILABLE, grpc.StatusCode.CANCELLED)
    served.calls.answer()
    assert await running is grpc.StatusCode.OK
    await stopping


async def test_an_address_in_use_is_refused(served):
    """Two processes would share its calls without knowing it."""
    other = Served(Listener(served.address))
    with pytest.raises(PreconditionFailed, match="cannot listen on") as caught:
        await other.server.start()
    assert caught.value.field == "listen"


async def test_tls_is_served_to_who_knows_the_authority():
    """And plaintext is not."""
    made = Served(Listener("127.0.0.1:0", **CERTIFIED))
    await made.start()
    assert await made.execute(None) is grpc.StatusCode.UNAVAILABLE
    roots = CERTIFIED["certificate_file"].read_bytes()
    credentials = grpc.ssl_channel_credentials(root_certificates=roots)
    async with grpc.aio.secure_channel(made.address, credentials) as channel:
        await ParticipantStub(channel).Execute(CALL)
    await made.channel.close()
    await made.server.stop(0)


# ---- As a participant ---------------------------------------------------------------


async def test_handlers_behind_the_barrier_are_called(bank, coordinator):
    """The same ones as over a session, which may be open as well."""
    address = f"127.0.0.1:{find_free_port()}"
    serving = asyncio.create_task(
        bank.participant.serve(coordinator.target, listen=address)
    )
    attachment = await coordinator.attached.get()
    async with grpc.aio.insecure_channel(address) as channel:
        stub = ParticipantStub(channel)
        described = await stub.Describe(
            DescribeRequest(participant="bank"), wait_for_ready=True
        )
        tried = await stub.Execute(call(TRY, "g-1"))
        (again,) = (await attachment.ask(call(TRY, "g-1"))).values()
        confirmed = await stub.Execute(call(CONFIRM, "g-1"))
    bank.participant.stop()
    await serving

    assert list(described.operations) == list(attachment.hello.operations)
    assert described.participant == bank.participant.name
    assert described.call_credits == attachment.hello.call_credits
    assert told(tried) == told(again)
    assert told(confirmed)[0] == "succeeded"


async def test_a_participant_that_stops_answers_what_runs():
    """The node hears it; nothing has to be asked again."""
    began, may_end = asyncio.Event(), asyncio.Event()
    accounts = Participant("accounts")

    @accounts.action("post")
    async def post(ctx: Context, request: dict) -> dict:
        began.set()
        await may_end.wait()
        return {"posted": True}

    @post.compensate
    async def _(ctx: Context, request: dict, output: dict) -> None: ...

    address = f"127.0.0.1:{find_free_port()}"
    serving = asyncio.create_task(accounts.serve(listen=address))
    sent = BranchCall(
        gid="g-1",
        branch_id="b1",
        operation="accounts.post",
        phase=types_pb2.PHASE_ACTION,
        input={"data": b"{}"},
    )
    async with grpc.aio.insecure_channel(address) as channel:
        execute = ParticipantStub(channel).Execute
        running = asyncio.ensure_future(_awaited(execute(sent, wait_for_ready=True)))
        await began.wait()
        accounts.stop()
        may_end.set()
        reply = await running
    await serving

    assert reply.succeeded.output.data == b'{"posted":true}'


async def _awaited(rpc):
    return await rpc


async def test_a_call_that_was_refused_is_not_kept_until_the_collector_comes(served):
    """Else who has no secret could fill a participant's memory with large calls."""
    sent = BranchCall(gid="g-1", branch_id="b1", operation="accounts.debit", phase=TRY)
    sent.input.data = bytes(100_000)

    code, kept = await kept_after(served.execute(b"rubbish", sent), server)

    assert code is UNAUTHENTICATED
    assert kept == []
