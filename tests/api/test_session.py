"""The session stream over a real connection."""

import asyncio
from dataclasses import replace

import grpc
import pytest

from coordinator.api.session import Outbox
from coordinator.core.errors import AlreadyExists, Overloaded
from coordinator.core.inputs import Observe, Succeeded, Unknown
from coordinator.core.model import Payload
from protos.v1 import coordinator_pb2, coordinator_pb2_grpc, participant_pb2, types_pb2
from tests.api.client import Client

BEGIN = coordinator_pb2.BeginRequest(name="transfer")


# ---- Requests ----------------------------------------------------------------------


async def test_a_frame_of_requests_is_answered_item_by_item(client):
    """The first frame may carry hello and requests; each id has its answer."""
    requests = [
        coordinator_pb2.Request(id=i, get=coordinator_pb2.GetRequest(gid=f"g{i}"))
        for i in range(1, 101)
    ]
    await client.send(hello=coordinator_pb2.Hello(), requests=requests)

    await client.until(lambda: len(client.responses) == 100)

    assert {i: r.transaction.gid for i, r in client.responses.items()} == {
        i: f"g{i}" for i in range(1, 101)
    }
    assert client.frames < 50


@pytest.mark.parametrize(
    "request_",
    [
        {"begin": coordinator_pb2.BeginRequest(gid="g1")},
        {
            "try": coordinator_pb2.TryRequest(
                gid="g1",
                tries=[
                    coordinator_pb2.BranchSpec(
                        branch_id="b", operation="accounts.debit"
                    )
                ],
            )
        },
        {
            "register": coordinator_pb2.RegisterRequest(
                gid="g1",
                branches=[
                    coordinator_pb2.BranchSpec(
                        branch_id="b", operation="accounts.debit"
                    )
                ],
            )
        },
        {"confirm": coordinator_pb2.ConfirmRequest(gid="g1")},
        {"cancel": coordinator_pb2.CancelRequest(gid="g1")},
        {"get": coordinator_pb2.GetRequest(gid="g1")},
        {
            "complete_branch": coordinator_pb2.CompleteBranchRequest(
                gid="g1",
                branch_id="b",
                phase=types_pb2.PHASE_TRY,
                succeeded=participant_pb2.Succeeded(),
            )
        },
    ],
)
async def test_the_session_answers_what_the_unary_call_answers(serve, world, request_):
    """Both entrances end in the same handlers: same input, same answer."""
    channel = await serve()
    client = Client(channel)
    await client.hello()
    ((kind, message),) = request_.items()
    name = "".join(part.capitalize() for part in kind.split("_"))
    unary = getattr(coordinator_pb2_grpc.CoordinatorStub(channel), name)

    in_session = await client.ask(1, **request_)
    alone = await unary(message)

    assert in_session.transaction == alone.transaction
    assert alone.transaction.gid == "g1"
    first, second = world.engine.submitted
    assert (first.key, first.what) == (second.key, second.what)


async def test_a_listing_comes_over_the_session(client, world):
    """List is answered by its own kind of result."""
    world.queries.transactions = [world.make_tx("g1")]
    await client.hello()

    response = await client.ask(1, list=coordinator_pb2.ListRequest())

    assert [t.gid for t in response.list.transactions] == ["g1"]


async def test_bad_items_harm_nobody_else(client):
    """An empty request, a wrong one and a refused one are answered each for itself."""
    await client.hello()
    bad_gid = coordinator_pb2.GetRequest(gid="no spaces")
    good = coordinator_pb2.GetRequest(gid="g1")

    await client.send(
        requests=[
            coordinator_pb2.Request(id=1),
            coordinator_pb2.Request(id=2, get=bad_gid),
            coordinator_pb2.Request(id=3, get=good),
        ]
    )
    await client.until(lambda: len(client.responses) == 3)

    assert client.responses[1].error.field == "request"
    assert client.responses[2].error.field == "gid"
    assert client.responses[3].transaction.gid == "g1"


async def test_an_engines_refusal_is_an_error_response(client, world):
    """A refusal travels in the frame, and the session goes on."""
    world.engine.script = lambda _: AlreadyExists("other body", field="gid")
    await client.hello()

    response = await client.ask(1, begin=BEGIN)

    assert response.error.status == grpc.StatusCode.ALREADY_EXISTS.value[0]
    assert response.error.reason == "ALREADY_EXISTS"


async def test_requests_above_the_credits_are_refused(serve, world, signal):
    """Unanswered requests are bounded; an answer gives its credit back."""
    world.limits = replace(world.limits, request_credits=2)
    world.engine.script = None
    client = Client(await serve())
    await client.hello()
    get = coordinator_pb2.GetRequest(gid="g1", wait=True)

    await client.send(
        requests=[coordinator_pb2.Request(id=i, get=get) for i in (1, 2, 3)]
    )
    await client.until(lambda: 3 in client.responses)
    world.engine.submitted[0].reply(world.make_tx())
    await client.until(lambda: 1 in client.responses)
    await client.send(requests=[coordinator_pb2.Request(id=4, get=get)])
    await signal.until(lambda: len(world.engine.submitted) == 3)

    error = client.responses[3].error
    assert error.status == grpc.StatusCode.RESOURCE_EXHAUSTED.value[0]
    assert error.reason == "REQUEST_CREDITS_EXCEEDED"


async def test_an_id_that_still_waits_is_refused(client, world):
    """The second request with an open id is told so and not submitted."""
    world.engine.script = None
    await client.hello()
    get = coordinator_pb2.GetRequest(gid="g1", wait=True)

    await client.send(requests=[coordinator_pb2.Request(id=5, get=get)] * 2)
    await client.until(lambda: 5 in client.responses)

    assert client.responses[5].error.field == "id"
    assert len(world.engine.submitted) == 1


async def test_a_broken_session_drops_its_tickets(client, world, signal):
    """Requests go on; only their answers are dropped, and the link is detached."""
    world.engine.script = None
    await client.hello(participant="bank")
    await client.send(requests=[coordinator_pb2.Request(id=1, begin=BEGIN)])
    await signal.until(lambda: world.engine.submitted)
    (entry,) = world.engine.submitted
    dropped = asyncio.Event()
    entry.ticket.cancel = dropped.set

    client.call.cancel()
    await dropped.wait()

    assert world.dispatcher.log[-1] == ("detach", None)
    entry.reply(world.make_tx())


async def test_a_client_that_half_closes_gets_its_answers(client, world, signal):
    """The end of the client's side detaches it and ends with all answers given."""
    world.engine.script = None
    await client.hello(participant="bank")
    await client.send(requests=[coordinator_pb2.Request(id=1, begin=BEGIN)])
    await client.call.done_writing()
    await signal.until(lambda: ("detach", None) in world.dispatcher.log)

    world.engine.submitted[0].reply(world.make_tx())
    await client.until(lambda: 1 in client.responses)

    assert await client.call.read() is grpc.aio.EOF
    assert await client.call.code() is grpc.StatusCode.OK


async def test_a_client_that_ends_before_hello_is_no_error(client):
    """A port probe leaves no trace."""
    await client.call.done_writing()

    assert await client.call.read() is grpc.aio.EOF
    assert await client.call.code() is grpc.StatusCode.OK


async def test_rubbish_instead_of_a_frame_ends_the_session(serve):
    """Bytes that do not parse leave nothing to answer item by item."""
    channel = await serve()
    call = channel.stream_stream("/tercet.v1.Coordinator/Session")()
    await call.write(b"\xff\xff\xff")

    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await call.read()

    assert caught.value.code() is grpc.StatusCode.INVALID_ARGUMENT


# ---- Calls -------------------------------------------------------------------------


async def test_calls_and_replies_travel_in_batches(client, world, signal):
    """Calls go out with their ids; replies come back as outcomes of those ids."""
    await client.hello(participant="accounts")
    link = world.dispatcher.links["accounts"]

    link.send([(i, world.make_call(f"b{i}")) for i in range(1, 51)])
    await client.until(lambda: len(client.calls) == 50)
    ok = participant_pb2.Succeeded(output=types_pb2.Payload(data=b"1"))
    await client.send(
        replies=[
            participant_pb2.BranchReply(call_id=1, succeeded=ok),
            participant_pb2.BranchReply(call_id=2),
        ]
    )
    await signal.until(lambda: world.dispatcher.replies)

    call = client.calls[0]
    assert (call.call_id, call.branch_id, call.operation) == (1, "b1", "accounts.debit")
    assert (call.phase, call.attempt, call.timeout_ms) == (
        types_pb2.PHASE_TRY,
        1,
        3_000,
    )
    assert call.input.data == b"{}"
    assert client.frames < 20
    (first, second) = world.dispatcher.replies
    assert first == (1, Succeeded(Payload(b"1", "")))
    assert second[0] == 2
    assert isinstance(second[1], Unknown)
    assert second[1].code == "BAD_REPLY"


async def test_replies_of_a_pure_initiator_mean_nothing(client, world):
    """Who is no participant has no calls to answer."""
    await client.hello()
    await client.send(replies=[participant_pb2.BranchReply(call_id=1)])
    await client.ask(1, get=coordinator_pb2.GetRequest(gid="g1"))

    assert world.dispatcher.log == []


async def test_a_participant_can_drain(client, world, signal):
    """A draining participant gets no new calls."""
    await client.hello(participant="bank")
    await client.send(draining=True)

    await signal.until(lambda: ("drain", None) in world.dispatcher.log)


async def test_a_leaving_node_tells_its_sessions(serve, world):
    """Drain: a notice, no new calls, and the answers that still come."""
    world.engine.script = None
    channel = await serve()
    client = Client(channel)
    await client.hello(participant="bank")
    submitted = asyncio.Event()
    world.engine.on_submit = submitted.set
    await client.send(requests=[coordinator_pb2.Request(id=1, begin=BEGIN)])
    await submitted.wait()

    leaving = asyncio.ensure_future(channel.server.drain(60))
    await client.until(lambda: client.is_told_to_leave)
    world.engine.submitted[0].reply(world.make_tx())
    await client.until(lambda: 1 in client.responses)
    await client.call.done_writing()
    await leaving

    assert ("drain", None) in world.dispatcher.log
    assert await client.call.code() is grpc.StatusCode.OK


# ---- Frames ------------------------------------------------------------------------


async def test_frames_are_bounded_in_items_and_bytes(world):
    """Neither limit is passed, unless a single item is larger than a frame."""
    limits = replace(world.limits, frame_items_max=3, frame_bytes_max=10)
    outbox, written = Outbox(limits), []

    async def write(frame: bytes) -> None:
        written.append(frame)

    for item in (b"1", b"2", b"3", b"4", b"5" * 9, b"6" * 30, b"7"):
        outbox.put(item)
    outbox.finish()
    await outbox.write_all(write)

    assert written == [b"123", b"4" + b"5" * 9, b"6" * 30, b"7"]


async def test_reading_stops_while_the_client_does_not_read(world):
    """A full outbox gives no room until enough of it is written."""
    limits = replace(world.limits, outbox_bytes_max=5, frame_items_max=1)
    outbox = Outbox(limits)
    may_write = asyncio.Event()

    async def write(_: bytes) -> None:
        await may_write.wait()

    writer = asyncio.ensure_future(outbox.write_all(write))
    outbox.put(b"123456")
    outbox.put(b"123456")
    waiting = asyncio.ensure_future(outbox.room())
    await asyncio.wait({waiting}, timeout=0)
    assert not waiting.done()

    may_write.set()
    await waiting
    outbox.finish()
    await writer


async def test_a_wait_is_answered_whenever_the_end_comes(client, world, signal):
    """A waiting get costs a credit and nothing else until the engine answers."""
    world.engine.script = None
    await client.hello()
    get = coordinator_pb2.GetRequest(gid="g1", wait=True)
    await client.send(requests=[coordinator_pb2.Request(id=1, get=get)])
    await signal.until(lambda: world.engine.submitted)

    assert world.engine.submitted[0].what == Observe(wait=True)
    world.engine.submitted[0].reply(world.make_tx())
    await client.until(lambda: 1 in client.responses)


# ---- Without a connection ----------------------------------------------------------


def frames_of(*frames: coordinator_pb2.ClientFrame):
    """These frames, and then silence."""

    async def stream():
        for frame in frames:
            yield frame.SerializeToString()
        await asyncio.Event().wait()

    return stream()


async def test_a_session_that_cannot_write_ends_and_detaches(world):
    """A connection that breaks while writing leaves nothing behind."""
    session = world.session()

    async def write(_: bytes) -> None:
        raise ConnectionResetError

    hello = coordinator_pb2.Hello(participant="bank")
    await session.run(frames_of(coordinator_pb2.ClientFrame(hello=hello)), write)

    assert world.dispatcher.log == [("attach", "bank"), ("detach", None)]


async def test_a_node_that_leaves_says_so_after_its_welcome(world):
    """A notice before hello waits until the client knows whom it talks to."""
    session = world.session()
    written, told = bytearray(), asyncio.Event()

    async def write(frame: bytes) -> None:
        written.extend(frame)
        told.set()

    session.drain()
    hello = coordinator_pb2.ClientFrame(hello=coordinator_pb2.Hello())
    running = asyncio.ensure_future(session.run(frames_of(hello), write))
    await told.wait()
    running.cancel()
    await asyncio.gather(running, return_exceptions=True)

    frame = coordinator_pb2.ServerFrame.FromString(bytes(written))
    assert frame.welcome.node_id == "node-1"
    assert frame.draining


async def test_an_answer_that_cannot_be_shown_harms_only_itself(world, serve):
    """A state that cannot be serialised is an internal error of its own request."""
    client = Client(await serve())
    await client.hello()
    broken = world.make_tx(reason_code="X", reason_text="\ud800")
    world.engine.script = lambda e: (
        broken if e.key.gid == "bad" else world.make_tx(e.key.gid)
    )

    await client.send(
        requests=[
            coordinator_pb2.Request(id=i, get=coordinator_pb2.GetRequest(gid=gid))
            for i, gid in ((1, "bad"), (2, "good"))
        ]
    )
    await client.until(lambda: len(client.responses) == 2)

    assert client.responses[1].error.reason == "INTERNAL"
    assert client.responses[2].transaction.gid == "good"


# ---- Overload ----------------------------------------------------------------------


@pytest.mark.parametrize(
    "kind",
    [
        {"begin": coordinator_pb2.BeginRequest(gid="not looked at", name="?")},
        {"submit_saga": coordinator_pb2.SubmitSagaRequest(name="?")},
    ],
)
async def test_a_full_node_refuses_before_it_looks_at_the_request(client, world, kind):
    """Told to come back, with a time, and nothing reaches the engine (V5, F36)."""
    world.engine.full = Overloaded("this node stores less than it is asked for")
    request = coordinator_pb2.Request(id=1, **kind)
    await client.send(hello=coordinator_pb2.Hello(), requests=[request])

    await client.until(lambda: 1 in client.responses)

    error = client.responses[1].error
    assert error.status == grpc.StatusCode.RESOURCE_EXHAUSTED.value[0]
    assert error.retry_after_ms > 0
    assert world.engine.submitted == []


async def test_a_frame_of_refusals_looks_once_whether_there_is_room(client, world):
    """Each request is told the same; what has begun goes on between them (V5, F36)."""
    looks = 0

    def overload(*, is_new: bool) -> Overloaded | None:
        nonlocal looks
        looks += 1
        return Overloaded("full") if is_new else None

    world.engine.overload = overload
    begin = {"begin": coordinator_pb2.BeginRequest(gid="g")}
    submit = {"submit_saga": coordinator_pb2.SubmitSagaRequest(name="?")}
    confirm = {"confirm": coordinator_pb2.ConfirmRequest(gid="g3")}
    kinds = enumerate([begin, submit, confirm, begin, submit], start=1)
    requests = [coordinator_pb2.Request(id=i, **kind) for i, kind in kinds]
    await client.send(hello=coordinator_pb2.Hello(), requests=requests)

    await client.until(lambda: len(client.responses) == 5)

    errors = [client.responses[number].error for number in (1, 2, 4, 5)]
    assert errors == [errors[0]] * 4
    assert (errors[0].reason, errors[0].message) == ("OVERLOADED", "full")
    assert client.responses[3].transaction.gid == "g3"
    assert looks == 1


async def test_there_may_be_room_again_for_the_next_frame(client, world):
    """It is looked at anew, and a refused request's id is free again."""
    world.engine.full = Overloaded("full")
    begin = coordinator_pb2.BeginRequest(gid="g1", name="transfer")
    requests = [coordinator_pb2.Request(id=i, begin=begin) for i in (1, 2)]
    await client.send(hello=coordinator_pb2.Hello(), requests=requests)
    await client.until(lambda: len(client.responses) == 2)
    assert all(response.HasField("error") for response in client.responses.values())

    world.engine.full = None
    client.responses.clear()
    await client.send(requests=requests)
    await client.until(lambda: len(client.responses) == 2)

    shown = [client.responses[number].transaction.gid for number in (1, 2)]
    assert shown == ["g1", "g1"]


async def test_a_full_node_goes_on_with_what_was_begun(client, world):
    """A confirm is not refused where a begin is."""
    world.engine.full = Overloaded("this node stores less than it is asked for")
    confirm = coordinator_pb2.ConfirmRequest(gid="g1")
    request = coordinator_pb2.Request(id=1, confirm=confirm)
    await client.send(hello=coordinator_pb2.Hello(), requests=[request])

    await client.until(lambda: 1 in client.responses)

    assert client.responses[1].transaction.gid == "g1"


async def test_a_message_far_above_what_may_wait_unread_is_taken(client, world):
    """The bound on what nobody has read does not bound what is being read."""
    payload = types_pb2.Payload(data=b"x" * 200_000)
    requests = [
        coordinator_pb2.Request(
            id=number,
            submit_saga=coordinator_pb2.SubmitSagaRequest(
                gid=f"g{number}", name="order", input=payload
            ),
        )
        for number in (1, 2, 3)
    ]
    await client.send(hello=coordinator_pb2.Hello(), requests=requests)

    await client.until(lambda: len(client.responses) == len(requests))
