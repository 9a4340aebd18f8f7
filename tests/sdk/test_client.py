"""What an initiator is promised."""

import asyncio
from dataclasses import dataclass

import grpc
import pytest

from participant_sdk import (
    AlreadyExists,
    Call,
    InvalidRequest,
    NotFound,
    Overloaded,
    PreconditionFailed,
    Refused,
    TercetError,
    TransactionCancelled,
    Unavailable,
    connect,
)
from participant_sdk import errors as errors_module
from participant_sdk.errors import CoordinatorFault
from participant_sdk.gid import new_gid
from protos.v1 import types_pb2
from protos.v1.types_pb2 import Branch, Error, Payload
from tests.sdk.fake_coordinator import kind_of, transaction


@dataclass
class Debit:
    amount: int


@dataclass
class Hold:
    id: int


@pytest.fixture
async def client(coordinator):
    """Connected."""
    async with connect(coordinator.target) as connected:
        yield connected


def branch(branch_id, status=types_pb2.BRANCH_TRIED, **fields):
    return Branch(branch_id=branch_id, status=status, **fields)


def accepting(request):
    """A coordinator where everything goes well."""
    kind = kind_of(request)
    body = getattr(request, kind)
    match kind:
        case "begin":
            yield transaction(body.gid)
        case "try":
            output = Payload(data=b'{"id":7}', content_type="application/json")
            tried = [branch(spec.branch_id, output=output) for spec in body.tries]
            yield transaction(body.gid, branches=tried)
        case "register":
            yield transaction(body.gid)
        case "confirm":
            status = types_pb2.CONFIRMED if body.wait else types_pb2.CONFIRMING
            yield transaction(body.gid, status, decision=types_pb2.COMMIT)
        case "cancel":
            yield transaction(body.gid, types_pb2.CANCELLING)


def kinds(coordinator):
    return [kind_of(request) for request in coordinator.requests]


# ---- TCC ---------------------------------------------------------------------------


async def test_leaving_normally_confirms(client, coordinator):
    """And the tries' answers arrive as the types that were asked for."""
    coordinator.answer = accepting
    async with client.tcc("transfer", deadline=30, labels={"team": "x"}) as tx:
        hold = await tx.call("accounts.debit", Debit(10), Hold)
        plain = await tx.call("accounts.credit", {"amount": 10})
    assert Hold(7) == hold
    assert plain == {"id": 7}
    assert kinds(coordinator) == ["begin", "try", "try", "confirm"]
    begin = coordinator.requests[0].begin
    assert (
        begin.name,
        begin.deadline_ms,
        dict(begin.labels),
    ) == ("transfer", 30_000, {"team": "x"})
    specs = [getattr(r, "try").tries[0] for r in coordinator.requests[1:3]]
    assert [spec.branch_id for spec in specs] == ["1", "2"]
    assert [spec.input.data for spec in specs] == [b'{"amount":10}'] * 2
    assert len({getattr(r, kind_of(r)).gid for r in coordinator.requests}) == 1


async def test_several_tries_go_in_one_request(client, coordinator):
    """In parallel at the coordinator; the answers are in the order of the calls."""
    coordinator.answer = accepting
    async with client.tcc("transfer", gid="my-gid") as tx:
        outputs = await tx.call_all(
            [
                Call("a.debit", Debit(1), branch_id="2"),
                Call("b.credit", Debit(2), timeout_seconds=0.5, attempt_max=3),
            ]
        )
    assert outputs == [{"id": 7}, {"id": 7}]
    assert kinds(coordinator) == ["begin", "try", "confirm"]
    tries = getattr(coordinator.requests[1], "try")
    assert tries.gid == "my-gid"
    assert [(s.branch_id, s.timeout_ms, s.attempt_max) for s in tries.tries] == [
        ("2", 0, 0),
        ("1", 500, 3),
    ]


async def test_raising_cancels_and_raises_on(client, coordinator):
    """The reason is the error's type; its text stays here."""
    coordinator.answer = accepting

    async def work():
        async with client.tcc("transfer") as tx:
            await tx.call("a.debit", Debit(1))
            raise KeyError("secret")

    with pytest.raises(KeyError, match="secret"):
        await work()
    assert kinds(coordinator) == ["begin", "try", "cancel"]
    assert coordinator.requests[-1].cancel.reason == "KeyError"


async def test_a_failing_cancel_does_not_hide_the_error(client, coordinator):
    """The deadline cancels it then."""

    def answer(request):
        if kind_of(request) == "cancel":
            yield Error(status=grpc.StatusCode.NOT_FOUND.value[0], reason="GONE")
        else:
            yield from accepting(request)

    coordinator.answer = answer
    with pytest.raises(ZeroDivisionError):
        async with client.tcc("transfer"):
            raise ZeroDivisionError


async def test_a_cancelled_task_sends_its_cancel_without_waiting(client, coordinator):
    """A program that is being stopped is not held up."""

    def answer(request):
        if kind_of(request) == "begin":
            yield from accepting(request)

    coordinator.answer = answer

    inside = asyncio.Event()

    async def work():
        async with client.tcc("transfer"):
            inside.set()
            await asyncio.Event().wait()

    task = asyncio.create_task(work())
    await inside.wait()
    task.cancel()
    await asyncio.wait({task})
    assert task.cancelled()
    kinds_seen = [kind_of(await coordinator.asked.get()) for _ in range(2)]
    assert kinds_seen == ["begin", "cancel"]


@pytest.mark.parametrize(
    ("status", "error"),
    [
        (types_pb2.CONFIRMED, AlreadyExists),
        (types_pb2.CONFIRMING, AlreadyExists),
        (types_pb2.CANCELLING, TransactionCancelled),
    ],
)
async def test_a_gid_that_is_decided_already_is_not_begun_again(
    client, coordinator, status, error
):
    """T10: the same gid is the same transaction, and its end is told at once."""
    coordinator.answer = lambda r: [transaction(r.begin.gid, status)]
    with pytest.raises(error):
        await client.tcc("transfer", gid="known").__aenter__()
    assert kinds(coordinator) == ["begin"]


async def test_a_refused_branch_raises_refused(client, coordinator):
    """With its code and message, and nothing is left to be cancelled."""

    def answer(request):
        if kind_of(request) == "try":
            refused = branch(
                "1",
                types_pb2.BRANCH_REFUSED,
                error_code="NO_MONEY",
                error_text="too low",
            )
            yield transaction("g", types_pb2.CANCELLING, branches=[refused])
        else:
            yield from accepting(request)

    coordinator.answer = answer
    with pytest.raises(Refused, match="NO_MONEY: too low") as caught:
        async with client.tcc("transfer") as tx:
            await tx.call("a.debit", Debit(1))
    assert (caught.value.code, caught.value.text) == ("NO_MONEY", "too low")
    assert kinds(coordinator) == ["begin", "try"]


@pytest.mark.parametrize("at", ["try", "confirm"])
async def test_a_decision_against_it_raises_cancelled(client, coordinator, at):
    """T9: the deadline was first, at a try or at the confirm."""

    def answer(request):
        if kind_of(request) == at:
            yield transaction("g", types_pb2.CANCELLED, reason_code="DEADLINE")
        else:
            yield from accepting(request)

    coordinator.answer = answer
    with pytest.raises(TransactionCancelled) as caught:
        async with client.tcc("transfer") as tx:
            await tx.call("a.debit", Debit(1))
    assert caught.value.reason == "DEADLINE"
    assert "cancel" not in kinds(coordinator)


def too_late(**decided):
    """A coordinator that admits no branch any more, and says why when it is asked."""

    def answer(request):
        match kind_of(request):
            case "try" | "register":
                status = grpc.StatusCode.FAILED_PRECONDITION.value[0]
                yield Error(status=status, reason="TRANSACTION_DECIDED")
            case "get":
                yield transaction("g", **decided)
            case _:
                yield from accepting(request)

    return answer


@pytest.mark.parametrize("how", ["call", "register"])
async def test_a_branch_that_comes_too_late_raises_cancelled(client, coordinator, how):
    """T9: none is admitted after the deadline; what was decided then is told."""
    decided = {"status": types_pb2.CANCELLING, "reason_code": "DEADLINE"}
    coordinator.answer = too_late(**decided)
    with pytest.raises(TransactionCancelled) as caught:
        async with client.tcc("transfer") as tx:
            await getattr(tx, how)("a.debit", Debit(1))
    assert caught.value.reason == "DEADLINE"
    assert "cancel" not in kinds(coordinator)


async def test_a_branch_after_the_confirm_is_a_mistake(client, coordinator):
    """Nothing was decided against it: the refusal is passed on as it is."""
    coordinator.answer = too_late(status=types_pb2.CONFIRMING)
    tx = client.tcc("transfer")
    await tx.confirm()
    with pytest.raises(PreconditionFailed):
        await tx.call("a.debit", Debit(1))


async def test_a_swallowed_refusal_cannot_be_confirmed(client, coordinator):
    """T2: whoever goes on after a refusal learns it at the end."""

    def answer(request):
        if kind_of(request) in ("try", "confirm"):
            yield transaction("g", types_pb2.CANCELLING, reason_code="NO_MONEY")
        else:
            yield from accepting(request)

    coordinator.answer = answer

    async def work():
        async with client.tcc("transfer") as tx:
            with pytest.raises(TransactionCancelled):
                await tx.call("a.debit", Debit(1))

    with pytest.raises(TransactionCancelled):
        await work()


async def test_direct_branches_are_registered_then_listed(client, coordinator):
    """T2, T4: the confirm lists every branch that was seen to succeed."""
    coordinator.answer = accepting
    async with client.tcc("transfer") as tx:
        await tx.call("a.debit", Debit(1))
        own = await tx.register("b.credit", Debit(1), branch_id="mine")
        tx.succeeded(own)
    assert kinds(coordinator) == ["begin", "try", "register", "confirm"]
    assert {"1", "mine"} == set(coordinator.requests[-1].confirm.branch_ids)


async def test_an_unseen_direct_branch_cancels(client, coordinator):
    """T2: nobody saw it succeed, so it is not confirmed."""
    coordinator.answer = accepting

    async def work():
        async with client.tcc("transfer") as tx:
            await tx.register("b.credit", branch_id="mine")
            with pytest.raises(InvalidRequest, match="branch_id"):
                tx.succeeded("other")

    with pytest.raises(PreconditionFailed, match="mine"):
        await work()
    assert kinds(coordinator)[-1] == "cancel"


async def test_confirm_can_wait_for_the_end(client, coordinator):
    """Then the status is final."""
    coordinator.answer = accepting
    tx = client.tcc("transfer")
    async with tx:
        result = await tx.confirm(wait=True)
    assert (result.status, result.is_ok) == ("CONFIRMED", True)


async def test_a_declared_transaction_is_one_request(client, coordinator):
    """The coordinator does the rest; the result says how it ended."""

    def answer(request):
        tried = [branch("1", error_code="NO", error_text="x")]
        yield transaction(request.begin.gid, types_pb2.CANCELLED, branches=tried)

    coordinator.answer = answer
    result = await client.submit_tcc(
        "transfer", [Call("a.debit", Debit(1)), Call("b.credit", Debit(1))], gid="d1"
    )
    assert (result.gid, result.status, result.is_ok) == ("d1", "CANCELLED", False)
    assert result.branches[0].error_code == "NO"
    (request,) = coordinator.requests
    assert request.begin.auto_confirm
    assert request.begin.wait
    assert [spec.branch_id for spec in request.begin.tries] == ["1", "2"]


# ---- Sagas and questions -------------------------------------------------------------


async def test_a_saga_is_submitted_and_awaited(client, coordinator):
    """The same gid and input each time, so waiting may be asked again."""

    def answer(request):
        status = types_pb2.RUNNING
        output = Payload()
        if request.submit_saga.wait:
            status = types_pb2.COMPLETED
            output = Payload(data=b'{"id":1}', content_type="application/json")
        yield transaction(request.submit_saga.gid, status, output=output)

    coordinator.answer = answer
    saga = client.saga("disburse", {"amount": 9}, gid="loan-7", version="1.0.0")
    assert (await saga.submit()).status == "RUNNING"
    result = await saga.wait()
    assert (
        result.status,
        result.output,
        result.is_ok,
    ) == ("COMPLETED", {"id": 1}, True)
    submitted = coordinator.requests[0].submit_saga
    assert (
        submitted.gid,
        submitted.name,
        submitted.version,
        submitted.input.data,
    ) == ("loan-7", "disburse", "1.0.0", b'{"amount":9}')


async def test_get_and_cancel_name_the_transaction(client, coordinator):
    """An unknown one is NotFound."""

    def answer(request):
        if kind_of(request) == "get":
            yield Error(
                status=grpc.StatusCode.NOT_FOUND.value[0],
                reason="UNKNOWN_GID",
                message="no such transaction",
                field="gid",
            )
        else:
            yield transaction("g", types_pb2.CANCELLED, reason_code="WISH")

    coordinator.answer = answer
    with pytest.raises(NotFound, match=r"UNKNOWN_GID \(field gid\)") as caught:
        await client.get("g")
    assert (caught.value.reason, caught.value.field) == ("UNKNOWN_GID", "gid")
    assert (await client.cancel("g", "why", wait=True)).reason_code == "WISH"
    assert coordinator.requests[-1].cancel.reason == "why"


async def test_a_pending_branch_is_completed_from_outside(client, coordinator):
    """With its output, or with a refusal."""
    coordinator.answer = lambda _: [transaction("g", types_pb2.RUNNING)]
    await client.complete("g", "pay", Hold(7))
    await client.complete("g", "pay", phase="TRY", refused=Refused("NO", "never"))
    done, refused = [request.complete_branch for request in coordinator.requests]
    assert (done.branch_id, done.phase) == ("pay", types_pb2.PHASE_ACTION)
    assert done.succeeded.output.data == b'{"id":7}'
    assert refused.phase == types_pb2.PHASE_TRY
    assert (refused.refused.code, refused.refused.message) == ("NO", "never")


async def test_a_saga_is_signalled(client, coordinator):
    """With a payload or without; what nobody awaits comes back as our error."""
    coordinator.answer = lambda _: [transaction("g", types_pb2.RUNNING)]
    assert (await client.signal("g", "approved", Hold(7))).status == "RUNNING"
    await client.signal("g", "seen")
    one, two = [request.signal_saga for request in coordinator.requests]
    assert (one.gid, one.name) == ("g", "approved")
    assert (one.payload.data, one.payload.content_type) == (
        b'{"id":7}',
        "application/json",
    )
    assert (two.name, two.payload.data) == ("seen", b"")


async def test_a_saga_is_published(client, coordinator):
    """What is wrong with it comes back as one of our errors."""
    assert (await client.publish_saga("text", "a.yaml")).text == "text"
    assert coordinator.published[0].source == "a.yaml"
    coordinator.publish_error = Error(
        status=grpc.StatusCode.INVALID_ARGUMENT.value[0],
        reason="INVALID_SAGA",
        message="line 3",
    )
    with pytest.raises(InvalidRequest, match="INVALID_SAGA: line 3"):
        await client.publish_saga("text")


# ---- The session ---------------------------------------------------------------------


async def test_unanswered_requests_are_sent_again_after_a_reconnect(
    client, coordinator
):
    """F6, T10: byte for byte, in their order; then they are answered."""
    tasks = [asyncio.create_task(client.get(f"g{n}")) for n in range(3)]
    for _ in tasks:
        await coordinator.asked.get()
    await coordinator.stop()
    coordinator.answer = lambda request: [transaction(request.get.gid)]
    await coordinator.start()
    results = await asyncio.gather(*tasks)
    assert [result.gid for result in results] == ["g0", "g1", "g2"]
    before, after = coordinator.requests[:3], coordinator.requests[3:]
    assert before == after


async def test_a_draining_node_is_left_and_no_request_is_lost(client, coordinator):
    """V7: what is open is finished there, what comes later goes elsewhere."""
    first = await coordinator.attached.get()
    open_one = asyncio.create_task(client.get("open"))
    request = await coordinator.asked.get()
    first.out.put_nowait(_draining())
    coordinator.answer = lambda r: [transaction(r.get.gid)]
    first.out.put_nowait(_response(request, transaction("open")))
    assert (await open_one).gid == "open"
    assert (await client.get("later")).gid == "later"
    await coordinator.attached.get()


def _draining():
    from protos.v1.coordinator_pb2 import ServerFrame

    return ServerFrame(draining=True)


def _response(request, result):
    from protos.v1.coordinator_pb2 import Response, ServerFrame

    return ServerFrame(responses=[Response(id=request.id, transaction=result)])


async def test_no_more_requests_are_open_than_credited(coordinator):
    """Later callers wait their turn; everybody is answered."""
    coordinator.request_credits = 2
    held = asyncio.Event()
    async with connect(coordinator.target) as client:
        attachment = await coordinator.attached.get()
        tasks = [asyncio.create_task(client.get(f"g{n}")) for n in range(5)]
        first = [await coordinator.asked.get() for _ in range(2)]
        held.set()
        assert coordinator.asked.empty()
        coordinator.answer = lambda r: [transaction(r.get.gid)]
        for request in first:
            attachment.out.put_nowait(_response(request, transaction(request.get.gid)))
        results = await asyncio.gather(*tasks)
    assert {f"g{n}" for n in range(5)} == {result.gid for result in results}


async def test_requests_that_wait_share_a_frame(client, coordinator):
    """One frame for what was said in one go."""
    attachment = await coordinator.attached.get()
    coordinator.answer = lambda r: [transaction(r.get.gid)]
    await asyncio.gather(*(client.get(f"g{n}") for n in range(50)))
    with_requests = [f for f in attachment.frames if f.requests]
    assert [len(frame.requests) for frame in with_requests] == [50]


async def test_an_overloaded_coordinator_is_asked_again(client, coordinator):
    """After the time that it advised."""
    answers = iter(
        [
            Error(
                status=grpc.StatusCode.RESOURCE_EXHAUSTED.value[0],
                reason="FULL",
                retry_after_ms=1,
            ),
            Error(status=grpc.StatusCode.UNAVAILABLE.value[0], reason="STORE"),
            transaction("g"),
        ]
    )
    coordinator.answer = lambda _: [next(answers)]
    assert (await client.get("g")).gid == "g"
    assert len(coordinator.requests) == 3


async def test_an_answer_that_does_not_come_is_unavailable(coordinator):
    """The message says that the outcome is unknown and what to do."""
    async with connect(coordinator.target, timeout=0.05) as client:
        with pytest.raises(Unavailable, match=r"outcome is unknown.*same gid"):
            await client.get("g")


async def test_nobody_listening_is_said_soon():
    """With the address and what to start."""
    with pytest.raises(Unavailable, match=r"127\.0\.0\.1:1 .*tercet serve"):
        async with connect("127.0.0.1:1", connect_timeout=0.05):
            pass
    with pytest.raises(InvalidRequest, match="host:port"):
        connect("")


async def test_a_closed_client_says_so(coordinator):
    """Open requests and later ones alike."""
    async with connect(coordinator.target) as client:
        open_one = asyncio.create_task(client.get("g"))
        await coordinator.asked.get()
    with pytest.raises(Unavailable, match="closed"):
        await open_one
    with pytest.raises(Unavailable, match="closed"):
        await client.get("g")


@pytest.mark.parametrize(
    ("status", "kind"),
    [
        (grpc.StatusCode.INVALID_ARGUMENT, InvalidRequest),
        (grpc.StatusCode.NOT_FOUND, NotFound),
        (grpc.StatusCode.ALREADY_EXISTS, AlreadyExists),
        (grpc.StatusCode.FAILED_PRECONDITION, PreconditionFailed),
        (grpc.StatusCode.INTERNAL, CoordinatorFault),
    ],
)
async def test_errors_of_the_wire_have_a_class_each(client, coordinator, status, kind):
    """With the coordinator's own reason, text and field."""
    coordinator.answer = lambda _: [
        Error(status=status.value[0], reason="WHY", message="text", field="f")
    ]
    with pytest.raises(kind, match=r"WHY \(field f\): text"):
        await client.get("g")


@pytest.mark.parametrize("seconds", [0, -1])
async def test_a_deadline_is_above_zero(client, seconds):
    """Said before anything is sent."""
    with pytest.raises(InvalidRequest, match="deadline"):
        client.tcc("transfer", deadline=seconds)


def test_every_error_has_a_message_and_a_reason():
    """One tree; the docstring is the default message."""
    classes = [
        value
        for value in vars(errors_module).values()
        if isinstance(value, type) and issubclass(value, TercetError)
    ]
    assert {Overloaded, Refused, TransactionCancelled} <= set(classes)
    for kind in classes:
        assert kind.__doc__
    assert "ask again later" in Overloaded().message
    assert Overloaded().reason == "OVERLOADED"


def test_gids_are_ordered_unique_and_identifiers():
    """Time first, then 96 random bits."""
    gids = [new_gid() for _ in range(1_000)]
    assert len(set(gids)) == 1_000
    assert all(len(gid) == 12 + 1 + 24 for gid in gids)
    assert gids[0][:12] <= gids[-1][:12]
