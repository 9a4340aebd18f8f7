"""What operators ask reaches the engine with who and why, one by one or many."""

import asyncio

import grpc
import pytest

from coordinator.api.status_codes import ERROR_METADATA_KEY
from coordinator.core.errors import PreconditionFailed
from coordinator.core.inputs import (
    CancelByOperator,
    Pause,
    Resolve,
    Resume,
    RetryNow,
)
from coordinator.core.words import Status
from coordinator.ports import AuditEntry
from protos.v1 import admin_pb2, admin_pb2_grpc, coordinator_pb2, types_pb2

WHO = {"actor": "ann", "reason": "bank b is back"}
CONFIRMING = coordinator_pb2.ListRequest(statuses=[types_pb2.CONFIRMING])

ONE = [
    ("RetryTransaction", RetryNow("ann", "bank b is back"), "RETRY_TRANSACTION"),
    ("PauseTransaction", Pause("ann", "bank b is back"), "PAUSE_TRANSACTION"),
    ("ResumeTransaction", Resume("ann", "bank b is back"), "RESUME_TRANSACTION"),
    (
        "CancelTransaction",
        CancelByOperator("ann", "bank b is back"),
        "CANCEL_TRANSACTION",
    ),
    ("ResolveBranch", Resolve("b1", "ann", "bank b is back"), "RESOLVE_BRANCH b1"),
]


@pytest.fixture
async def admin(serve) -> admin_pb2_grpc.AdminStub:
    """What an operator's tool talks to."""
    return admin_pb2_grpc.AdminStub(await serve())


def wish(rpc: str, **fields):
    """A complete request of an RPC that is about one transaction."""
    if rpc == "ResolveBranch":
        fields = {"branch_id": "b1", **fields}
        return admin_pb2.ResolveBranchRequest(**{"gid": "g1", **WHO, **fields})
    return admin_pb2.OperatorRequest(**{"gid": "g1", **WHO, **fields})


def many(**fields) -> admin_pb2.OperateManyRequest:
    """A complete request for many transactions."""
    return admin_pb2.OperateManyRequest(
        **{"action": admin_pb2.PAUSE, "filter": CONFIRMING, **WHO, **fields}
    )


async def refusal(call) -> tuple[grpc.StatusCode, types_pb2.Error]:
    """The status and the wire error of a call that must fail."""
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await call
    metadata = dict(caught.value.trailing_metadata())
    error = types_pb2.Error.FromString(metadata[ERROR_METADATA_KEY])
    return caught.value.code(), error


# ---- One transaction ---------------------------------------------------------------


@pytest.mark.parametrize(("rpc", "what", "action"), ONE)
async def test_a_wish_reaches_the_engine_with_its_audit(
    world, admin, rpc, what, action
):
    """The input and its audit entry travel together, and the state comes back."""
    reply = await getattr(admin, rpc)(wish(rpc))

    (entry,) = world.engine.submitted
    assert (entry.key.gid, entry.what) == ("g1", what)
    assert entry.audit == AuditEntry("ann", action, "bank b is back", world.clock.now())
    assert reply.transaction.gid == "g1"


@pytest.mark.parametrize("rpc", [rpc for rpc, _, _ in ONE])
@pytest.mark.parametrize("field", ["actor", "reason"])
@pytest.mark.parametrize("value", ["", "  ", "a\nb", "x" * 1_001])
async def test_an_operator_says_who_and_why(world, admin, rpc, field, value):
    """Both are required, on one line, and bounded; nothing happens without them."""
    code, error = await refusal(getattr(admin, rpc)(wish(rpc, **{field: value})))

    assert (code, error.field) == (grpc.StatusCode.INVALID_ARGUMENT, field)
    assert world.engine.submitted == []


@pytest.mark.parametrize(
    ("rpc", "field", "value"),
    [
        *((rpc, "gid", "a b") for rpc, _, _ in ONE),
        ("ResolveBranch", "branch_id", ""),
        ("ResolveBranch", "branch_id", "a/b"),
    ],
)
async def test_a_wish_names_what_it_is_about(admin, rpc, field, value):
    """Gid and branch are identifiers like everywhere else."""
    code, error = await refusal(getattr(admin, rpc)(wish(rpc, **{field: value})))

    assert (code, error.field) == (grpc.StatusCode.INVALID_ARGUMENT, field)


@pytest.mark.parametrize("rpc", [rpc for rpc, _, _ in ONE])
async def test_a_wish_that_is_not_granted_is_a_status(world, admin, rpc):
    """The engine's refusal keeps its reason."""
    world.engine.script = lambda _: PreconditionFailed("m", reason="TRANSACTION_ENDED")

    code, error = await refusal(getattr(admin, rpc)(wish(rpc)))

    assert (code, error.reason) == (
        grpc.StatusCode.FAILED_PRECONDITION,
        "TRANSACTION_ENDED",
    )


# ---- Many transactions -------------------------------------------------------------


@pytest.mark.parametrize(
    ("action", "make"),
    [
        (admin_pb2.RETRY, RetryNow),
        (admin_pb2.PAUSE, Pause),
        (admin_pb2.RESUME, Resume),
        (admin_pb2.CANCEL, CancelByOperator),
    ],
)
async def test_each_of_many_has_its_own_input_and_audit(world, admin, action, make):
    """What is done to many is done, and audited, one by one."""
    world.queries.transactions = [world.make_tx("g1"), world.make_tx("g2")]

    reply = await admin.OperateMany(many(action=action))

    assert [e.key.gid for e in world.engine.submitted] == ["g1", "g2"]
    assert {e.what for e in world.engine.submitted} == {make("ann", "bank b is back")}
    assert {e.audit.actor for e in world.engine.submitted} == {"ann"}
    assert [(i.gid, i.HasField("error")) for i in reply.items] == [
        ("g1", False),
        ("g2", False),
    ]
    assert not reply.more


async def test_one_refusal_stops_none_of_many(world, admin):
    """The one that refused says why and keeps its status; the others go on."""
    world.queries.transactions = [
        world.make_tx(gid, status=Status.CONFIRMING) for gid in ("g1", "g2", "g3")
    ]
    world.engine.script = lambda entry: (
        PreconditionFailed("m", field="gid", reason="TRANSACTION_DECIDED")
        if entry.key.gid == "g2"
        else world.make_tx(entry.key.gid, status=Status.CANCELLING)
    )

    reply = await admin.OperateMany(many(action=admin_pb2.CANCEL))

    assert [(i.gid, i.status, i.error.reason) for i in reply.items] == [
        ("g1", types_pb2.CANCELLING, ""),
        ("g2", types_pb2.CONFIRMING, "TRANSACTION_DECIDED"),
        ("g3", types_pb2.CANCELLING, ""),
    ]


async def test_many_are_asked_at_once(world, admin):
    """They share commits: none waits for the answer of another."""
    world.queries.transactions = [world.make_tx("g1"), world.make_tx("g2")]
    world.engine.script = None
    both = asyncio.Event()
    world.engine.on_submit = lambda: len(world.engine.submitted) == 2 and both.set()
    asked = asyncio.ensure_future(admin.OperateMany(many()))

    await both.wait()
    for entry in reversed(world.engine.submitted):
        entry.reply(world.make_tx(entry.key.gid))

    assert [i.gid for i in (await asked).items] == ["g1", "g2"]


async def test_a_dry_run_only_tells(world, admin):
    """Nothing reaches the engine; the transactions that it would be are named."""
    world.queries.transactions = [world.make_tx("g1", status=Status.CONFIRMING)]

    reply = await admin.OperateMany(many(dry_run=True))

    assert world.engine.submitted == []
    assert [(i.gid, i.status) for i in reply.items] == [("g1", types_pb2.CONFIRMING)]


async def test_none_of_many_is_no_error(world, admin):
    """A filter that finds nothing has an empty answer."""
    reply = await admin.OperateMany(many())

    assert (list(reply.items), reply.more, reply.next_page_token) == ([], False, "")


@pytest.mark.parametrize(
    ("fields", "field", "reason"),
    [
        ({"action": 0}, "action", "INVALID_REQUEST"),
        ({"action": 77}, "action", "INVALID_REQUEST"),
        ({"actor": ""}, "actor", "INVALID_REQUEST"),
        ({"reason": " "}, "reason", "INVALID_REQUEST"),
        ({"filter": None}, "filter", "FILTER_TOO_WIDE"),
        ({"filter": {"limit": 10}}, "filter", "FILTER_TOO_WIDE"),
        ({"filter": {"name": "a b"}}, "filter.name", "INVALID_REQUEST"),
        ({"filter": {"statuses": [77]}}, "filter.statuses[0]", "INVALID_REQUEST"),
        (
            {"filter": {"statuses": [types_pb2.CONFIRMED]}},
            "filter.statuses",
            "INVALID_REQUEST",
        ),
        (
            {"filter": {"attention": True, "limit": 1_001}},
            "filter.limit",
            "INVALID_REQUEST",
        ),
    ],
)
async def test_a_wrong_wish_for_many_names_its_field(
    world, admin, fields, field, reason
):
    """Nothing is looked up, and nothing done, for a request that is not clear."""
    code, error = await refusal(admin.OperateMany(many(**fields)))

    assert code is grpc.StatusCode.INVALID_ARGUMENT
    assert (error.field, error.reason) == (field, reason)
    assert error.message.startswith(field)
    assert (world.queries.asked, world.engine.submitted) == ([], [])


@pytest.mark.parametrize(
    "narrowed", [{"statuses": [types_pb2.TRYING]}, {"name": "n"}, {"attention": True}]
)
async def test_one_narrowing_is_enough(world, admin, narrowed):
    """Each of the three; whatever they find, only unfinished ones are meant."""
    await admin.OperateMany(many(filter=narrowed, dry_run=True))

    (asked,) = world.queries.asked
    assert asked.statuses
    assert not any(status.is_final for status in asked.statuses)
    assert (asked.name, asked.attention, asked.limit) == (
        narrowed.get("name", ""),
        narrowed.get("attention", False),
        50,
    )
