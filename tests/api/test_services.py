"""The unary services over a real connection."""

import asyncio

import grpc
import pytest
from grpc_health.v1 import health_pb2, health_pb2_grpc

from coordinator.api import services, status_codes
from coordinator.core import errors
from coordinator.core.inputs import Begin, RetryNow, Signal
from coordinator.core.model import (
    JSON_CONTENT_TYPE,
    Key,
    Payload,
)
from coordinator.core.words import Status
from coordinator.ports import JournalEntry
from protos.v1 import (
    admin_pb2,
    admin_pb2_grpc,
    coordinator_pb2,
    coordinator_pb2_grpc,
    types_pb2,
)
from tests.kept import kept_after

TRY = coordinator_pb2.BranchSpec(branch_id="b1", operation="accounts.debit")


async def refusal(call) -> tuple[grpc.StatusCode, types_pb2.Error]:
    """The status and the wire error of a call that must fail."""
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await call
    metadata = dict(caught.value.trailing_metadata())
    error = types_pb2.Error.FromString(metadata[status_codes.ERROR_METADATA_KEY])
    return caught.value.code(), error


async def test_begin_is_answered_with_the_accepted_transaction(world, serve):
    """A begin with tries reaches the engine and its state comes back."""
    stub = coordinator_pb2_grpc.CoordinatorStub(await serve())

    reply = await stub.Begin(
        coordinator_pb2.BeginRequest(gid="g1", name="transfer", tries=[TRY])
    )

    assert reply.transaction.gid == "g1"
    assert reply.transaction.status == types_pb2.TRYING
    assert isinstance(world.engine.submitted[0].what, Begin)


async def test_try_is_answered_with_its_own_branches(serve):
    """The reply to a try shows the branches of that request."""
    stub = coordinator_pb2_grpc.CoordinatorStub(await serve())

    reply = await stub.Try(coordinator_pb2.TryRequest(gid="g1", tries=[TRY]))

    assert [b.branch_id for b in reply.transaction.branches] == ["b1"]
    assert reply.transaction.branches[0].output.data == b"7"


@pytest.mark.parametrize(
    ("problem", "code", "reason"),
    [
        (
            errors.InvalidRequest("m", field="f"),
            grpc.StatusCode.INVALID_ARGUMENT,
            "INVALID_REQUEST",
        ),
        (errors.NotFound("m"), grpc.StatusCode.NOT_FOUND, "NOT_FOUND"),
        (errors.AlreadyExists("m"), grpc.StatusCode.ALREADY_EXISTS, "ALREADY_EXISTS"),
        (
            errors.PreconditionFailed("m", reason="DECIDED"),
            grpc.StatusCode.FAILED_PRECONDITION,
            "DECIDED",
        ),
        (errors.Overloaded("m"), grpc.StatusCode.RESOURCE_EXHAUSTED, "OVERLOADED"),
        (errors.StoreUnavailable(), grpc.StatusCode.UNAVAILABLE, "STORE_UNAVAILABLE"),
        (errors.IllegalTransition("x"), grpc.StatusCode.INTERNAL, "ILLEGAL_TRANSITION"),
    ],
)
async def test_an_error_of_the_engine_becomes_status_and_details(
    world, serve, problem, code, reason
):
    """Status code, trailing error and reason agree for every kind of error."""
    world.engine.script = lambda _: problem
    stub = coordinator_pb2_grpc.CoordinatorStub(await serve())

    found, error = await refusal(stub.Get(coordinator_pb2.GetRequest(gid="g1")))

    assert found is code
    assert (error.status, error.reason) == (code.value[0], reason)


async def test_an_unexpected_exception_shows_nothing_of_its_insides(world, serve):
    """A bug becomes INTERNAL with a fixed text."""
    world.queries.list_definitions = None
    stub = admin_pb2_grpc.DefinitionsStub(await serve())

    code, error = await refusal(stub.ListSagas(admin_pb2.ListSagasRequest()))

    assert code is grpc.StatusCode.INTERNAL
    assert (error.reason, error.message) == (
        "INTERNAL",
        status_codes.INTERNAL_MESSAGE,
    )


async def test_what_was_refused_is_not_kept_until_the_collector_comes(serve):
    """A library ties a refused call's frames into a circle; a request of 256 KiB in it,
    times those of a herd, is more memory than a small container has.
    """
    stub = coordinator_pb2_grpc.CoordinatorStub(await serve())
    request = coordinator_pb2.BeginRequest(gid="g1", tries=[TRY, TRY])
    request.input.data = bytes(100_000)

    _, kept = await kept_after(refusal(stub.Begin(request)), services)

    assert kept == []


async def test_a_refused_watch_is_not_kept_either(serve):
    """Its request has no payload, but whoever sends it makes it as large as may be."""
    stub = coordinator_pb2_grpc.CoordinatorStub(await serve())

    async def watch() -> None:
        async for _ in stub.Watch(coordinator_pb2.GetRequest(gid="g" * 100_000)):
            pass

    (code, _), kept = await kept_after(refusal(watch()), services)

    assert code is grpc.StatusCode.INVALID_ARGUMENT
    assert kept == []


async def test_rubbish_bytes_are_an_invalid_argument(serve):
    """A message that does not parse is refused like any bad request."""
    channel = await serve()
    begin = channel.unary_unary("/tercet.v1.Coordinator/Begin")

    code, error = await refusal(begin(b"\xff\xff\xff"))

    assert (code, error.reason) == (
        grpc.StatusCode.INVALID_ARGUMENT,
        "MALFORMED_MESSAGE",
    )


async def test_an_unknown_operation_is_refused_before_the_engine(world, serve):
    """UNKNOWN_OPERATION names the field and suggests a name; nothing is submitted."""
    stub = coordinator_pb2_grpc.CoordinatorStub(await serve())
    tries = [TRY, coordinator_pb2.BranchSpec(branch_id="b", operation="accounts.debt")]

    code, error = await refusal(
        stub.Try(coordinator_pb2.TryRequest(gid="g1", tries=tries))
    )

    assert code is grpc.StatusCode.NOT_FOUND
    assert (error.reason, error.field) == ("UNKNOWN_OPERATION", "tries[1].operation")
    assert "accounts.debit" in error.message
    assert world.engine.submitted == []


async def test_an_action_cannot_be_tried(serve):
    """A branch of a TCC transaction needs a TCC operation."""
    stub = coordinator_pb2_grpc.CoordinatorStub(await serve())
    spec = coordinator_pb2.BranchSpec(branch_id="b", operation="ledger.post")

    code, error = await refusal(
        stub.Register(coordinator_pb2.RegisterRequest(gid="g1", branches=[spec]))
    )

    assert code is grpc.StatusCode.INVALID_ARGUMENT
    assert (error.reason, error.field) == (
        "WRONG_OPERATION_KIND",
        "branches[0].operation",
    )


async def test_a_signal_reaches_its_saga(world, serve):
    """With its name and its payload; what it means is the core's to say."""
    stub = coordinator_pb2_grpc.CoordinatorStub(await serve())
    request = coordinator_pb2.SignalSagaRequest(
        gid="g1", name="approved", payload={"data": b'{"by": "ada"}'}
    )

    await stub.SignalSaga(request)

    assert [entry.what for entry in world.engine.submitted] == [
        Signal("approved", Payload(b'{"by": "ada"}', JSON_CONTENT_TYPE))
    ]


async def test_a_declared_begin_with_wait_is_answered_at_the_end(world, serve):
    """It is asked for with the wish to hear of its end."""
    world.engine.script = lambda _: world.make_tx(status=Status.CONFIRMED)
    stub = coordinator_pb2_grpc.CoordinatorStub(await serve())

    reply = await stub.Begin(
        coordinator_pb2.BeginRequest(
            gid="g1", tries=[TRY], auto_confirm=True, wait=True
        )
    )

    assert reply.transaction.status == types_pb2.CONFIRMED
    (entry,) = world.engine.submitted
    assert entry.what.wait


async def test_a_caller_that_goes_away_drops_its_ticket(world, serve):
    """A cancelled RPC cancels the ticket, and nothing else."""
    submitted, dropped = asyncio.Event(), asyncio.Event()
    world.engine.script = None
    world.engine.on_submit = submitted.set
    stub = coordinator_pb2_grpc.CoordinatorStub(await serve())
    call = stub.Get(coordinator_pb2.GetRequest(gid="g1", wait=True))
    await submitted.wait()
    world.engine.submitted[0].ticket.cancel = dropped.set

    call.cancel()

    await dropped.wait()
    assert len(world.engine.submitted) == 1


async def test_list_pages_by_token(world, serve):
    """A full page brings a token that continues behind its last transaction."""
    world.queries.transactions = [world.make_tx("g1"), world.make_tx("g2")]
    stub = coordinator_pb2_grpc.CoordinatorStub(await serve())

    page = await stub.List(coordinator_pb2.ListRequest(limit=2))
    await stub.List(
        coordinator_pb2.ListRequest(limit=2, page_token=page.next_page_token)
    )

    assert [t.gid for t in page.transactions] == ["g1", "g2"]
    assert world.queries.asked[1].before == (world.clock.now(), "g2")


async def test_a_store_that_is_down_is_unavailable(world, serve):
    """Lists and bulk actions say so, and nothing reaches the engine."""
    channel = await serve()
    world.queries.is_down = True
    lists = coordinator_pb2_grpc.CoordinatorStub(channel).List
    many = admin_pb2_grpc.AdminStub(channel).OperateMany
    wish = admin_pb2.OperateManyRequest(
        action=admin_pb2.RETRY,
        filter=coordinator_pb2.ListRequest(attention=True),
        actor="ann",
        reason="why",
    )

    codes = [(await refusal(call))[0] for call in (lists(wish.filter), many(wish))]

    assert codes == [grpc.StatusCode.UNAVAILABLE] * 2
    assert world.engine.submitted == []


async def test_watch_shows_every_change_until_the_end(world, serve):
    """The state now, then each newer revision once, then the stream ends."""
    stub = coordinator_pb2_grpc.CoordinatorStub(await serve())
    first = world.make_tx(revision=1)
    world.engine.script = None
    asked = asyncio.Event()
    world.engine.on_submit = lambda: len(world.engine.submitted) == 2 and asked.set()

    call = stub.Watch(coordinator_pb2.GetRequest(gid="g1"))
    await asked.wait()
    _, changed, ticket = world.engine.watches[0]
    world.engine.submitted[0].reply(first)
    changed(first)
    changed(world.make_tx(revision=2, status=Status.CONFIRMING))
    changed(world.make_tx(revision=3, status=Status.CONFIRMED))
    seen = [reply.transaction.status async for reply in call]

    assert seen == [types_pb2.TRYING, types_pb2.CONFIRMING, types_pb2.CONFIRMED]
    assert ticket.is_cancelled


async def test_watching_an_unknown_gid_is_not_found(world, serve):
    """A watch fails like a get."""
    world.engine.script = lambda _: errors.NotFound("no such gid")
    stub = coordinator_pb2_grpc.CoordinatorStub(await serve())

    code, _ = await refusal(stub.Watch(coordinator_pb2.GetRequest(gid="g1")).read())

    assert code is grpc.StatusCode.NOT_FOUND


async def test_an_operator_names_who_and_why(world, serve):
    """A retry without a reason is refused; with one it carries its audit entry."""
    stub = admin_pb2_grpc.AdminStub(await serve())

    code, error = await refusal(
        stub.RetryTransaction(admin_pb2.OperatorRequest(gid="g1", actor="ann"))
    )
    await stub.RetryTransaction(
        admin_pb2.OperatorRequest(gid="g1", actor="ann", reason="bank is back")
    )

    assert (code, error.field) == (grpc.StatusCode.INVALID_ARGUMENT, "reason")
    (entry,) = world.engine.submitted
    assert entry.what == RetryNow("ann", "bank is back")
    assert (entry.audit.actor, entry.audit.reason) == ("ann", "bank is back")


async def test_the_journal_is_shown_as_json(world, serve):
    """One JSON object a fact; an unknown gid is NOT_FOUND."""
    world.queries.entries[Key("default", "g1")] = [
        JournalEntry(1, 5, ({"type": "Began"},))
    ]
    stub = admin_pb2_grpc.AdminStub(await serve())

    reply = await stub.GetJournal(admin_pb2.GetJournalRequest(gid="g1"))
    code, _ = await refusal(stub.GetJournal(admin_pb2.GetJournalRequest(gid="g2")))

    assert [(e.seq, e.at_ms, list(e.events)) for e in reply.entries] == [
        (1, 5, ['{"type":"Began"}'])
    ]
    assert code is grpc.StatusCode.NOT_FOUND


async def test_the_catalogue_says_who_is_attached(world, serve):
    """Operations come by name, with whether their participant is attached."""
    world.dispatcher.links["ledger"] = object()
    stub = admin_pb2_grpc.CatalogueStub(await serve())

    reply = await stub.ListOperations(admin_pb2.ListOperationsRequest())

    assert [(o.name, o.attached) for o in reply.operations] == [
        ("accounts.credit", False),
        ("accounts.debit", False),
        ("ledger.post", True),
    ]


async def test_health_answers_and_turns_when_the_node_leaves(serve):
    """SERVING while it serves; the second start on a used address is refused."""
    channel = await serve()
    stub = health_pb2_grpc.HealthStub(channel)

    reply = await stub.Check(
        health_pb2.HealthCheckRequest(service="tercet.v1.Coordinator")
    )

    assert reply.status == health_pb2.HealthCheckResponse.SERVING


async def test_health_follows_the_database(world):
    """A balancer that watches learns at once that the database is away, or back."""
    server = await world.server()
    address = server.bind("127.0.0.1:0")
    await server.start()
    told = health_pb2.HealthCheckResponse
    async with grpc.aio.insecure_channel(address) as channel:
        watch = health_pb2_grpc.HealthStub(channel).Watch(
            health_pb2.HealthCheckRequest()
        )
        seen = [(await watch.read()).status]
        server.health.database_answers(True)  # as before: nobody is told
        for answers in (False, True):
            server.health.database_answers(answers)
            seen.append((await watch.read()).status)
        await server.drain(0)
    assert seen == [told.SERVING, told.NOT_SERVING, told.SERVING]


async def test_an_address_in_use_is_a_clear_error(world):
    """Two servers never share a port."""
    first, second = await world.server(), await world.server()
    address = first.bind("127.0.0.1:0")
    await first.start()

    with pytest.raises(OSError, match=r"cannot listen on 127\.0\.0\.1"):
        second.bind(address)

    await first.drain(0)
    await first.drain(0)


async def test_an_oversize_message_is_refused(serve):
    """More than a message may hold never reaches a handler."""
    stub = coordinator_pb2_grpc.CoordinatorStub(await serve())
    request = coordinator_pb2.CancelRequest(gid="g1", reason="x" * 2_000_000)

    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await stub.Cancel(request)

    assert caught.value.code() is grpc.StatusCode.RESOURCE_EXHAUSTED
