"""What a node says of transactions that it kept for as long as was asked."""

import grpc
import pytest

from coordinator.api.gid import GidSource
from coordinator.api.limits import Limits
from coordinator.config import KEEP_MS_MIN
from coordinator.core.retention import CLOCK_SKEW_MS
from coordinator.engine.retention import PAGE
from coordinator.storage.memory import MemoryStore
from protos.v1 import admin_pb2, coordinator_pb2, types_pb2
from tests.api.fakes import DEBIT, POST, FakeClock
from tests.api.node import DEBITED, Node
from tests.api.test_operators import WHO, refusal
from tests.api.test_saga_node import LOAN
from tests.api.test_whole_node import transfer

DAY_MS = 86_400_000
KEEP = Limits(keep_finished_ms=30 * DAY_MS)


def gid_of(at: int, *, hyphen: bool = True) -> str:
    """As the SDK makes them, or the coordinator."""
    gid = GidSource(lambda: at).make()
    return f"{gid[:12]}-{gid[12:]}" if hyphen else gid


@pytest.fixture
async def node():
    """A whole node that keeps what has finished for 30 days."""
    async with Node(MemoryStore(), FakeClock(), limits=KEEP) as node:
        yield node


@pytest.fixture
async def accounts(node):
    """The participant of ``accounts.debit``."""
    return await node.participant(DEBIT)


async def remove_all(store: MemoryStore) -> None:
    """What a purge does, whatever the time is."""
    rows = await store.old(created_before=2**60, after=None, limit=PAGE)
    assert await store.remove([row for row in rows if row.finished_at]) == []


async def test_an_outcome_is_answerable_until_it_is_removed(node, accounts):
    """From then on the answer says for how long outcomes are kept, whoever asks."""
    await transfer(node, accounts)
    node.clock.move(30 * DAY_MS - 1)
    assert (await node.state()).status == types_pb2.CONFIRMED
    await remove_all(node.store)
    get = coordinator_pb2.GetRequest(gid="g1")
    calls = [
        node.coordinator.Get(get),
        node.coordinator.Confirm(coordinator_pb2.ConfirmRequest(gid="g1")),
        node.admin.GetJournal(admin_pb2.GetJournalRequest(gid="g1")),
        node.admin.RetryTransaction(admin_pb2.OperatorRequest(gid="g1", **WHO)),
        node.coordinator.Watch(get).read(),
    ]
    for call in calls:
        status, error = await refusal(call)
        assert status is grpc.StatusCode.NOT_FOUND
        assert error.field == "gid"
        assert "longer ago than outcomes are kept (30d)" in error.message


async def test_a_node_that_keeps_everything_says_so():
    """Nothing is said of a time that there is not."""
    async with Node(MemoryStore(), FakeClock()) as node:
        status, error = await refusal(
            node.coordinator.Get(coordinator_pb2.GetRequest(gid="g1"))
        )
    assert status is grpc.StatusCode.NOT_FOUND
    assert "administrator removed it" in error.message


@pytest.mark.parametrize("hyphen", [True, False])
async def test_a_gid_that_is_older_than_outcomes_are_kept_begins_nothing(
    node, accounts, hyphen
):
    """T10: it may repeat a transfer that was carried out and removed."""
    gid = gid_of(node.clock.now(), hyphen=hyphen)
    await transfer(node, accounts, gid)
    node.clock.move(30 * DAY_MS)
    await remove_all(node.store)
    request = coordinator_pb2.BeginRequest(gid=gid, name="transfer", tries=[DEBITED])
    status, error = await refusal(node.coordinator.Begin(request))
    assert status is grpc.StatusCode.FAILED_PRECONDITION
    assert (error.reason, error.field) == ("GID_EXPIRED", "gid")
    assert "30d" in error.message
    assert await node.store.old(created_before=2**60, after=None, limit=9) == []


async def test_what_is_about_to_be_removed_is_not_begun_anew_either(node, accounts):
    """A purge could come between the look and the begin."""
    gid = gid_of(node.clock.now())
    await transfer(node, accounts, gid)
    node.clock.move(30 * DAY_MS)
    request = coordinator_pb2.BeginRequest(gid=gid, name="transfer", tries=[DEBITED])
    _, error = await refusal(node.coordinator.Begin(request))
    assert error.reason == "GID_EXPIRED"
    assert (await node.state(gid)).status == types_pb2.CONFIRMED


async def test_a_repeated_begin_of_what_is_still_under_way_is_answered(node):
    """However old its gid is."""
    gid = gid_of(node.clock.now())
    first = await node.begin(gid, tries=[], deadline_ms=30 * DAY_MS)
    node.clock.move(30 * DAY_MS - 1)
    assert await node.begin(gid, tries=[], deadline_ms=30 * DAY_MS) == first


async def test_the_shortest_time_leaves_room_to_begin():
    """A gid that was made some minutes ago is not taken for an old one."""
    limits = Limits(keep_finished_ms=KEEP_MS_MIN)
    async with Node(MemoryStore(), FakeClock(), limits=limits) as node:
        await node.participant(DEBIT)
        gid = gid_of(node.clock.now() - KEEP_MS_MIN + CLOCK_SKEW_MS)
        assert (await node.begin(gid)).status == types_pb2.TRYING
        gid = gid_of(node.clock.now() - KEEP_MS_MIN + CLOCK_SKEW_MS - 1)
        request = coordinator_pb2.BeginRequest(gid=gid, tries=[DEBITED])
        _, error = await refusal(node.coordinator.Begin(request))
    assert error.reason == "GID_EXPIRED"


async def test_a_gid_that_tells_no_time_begins(node, accounts):
    """As ever; what holds for it stands in the documentation."""
    node.clock.move(90 * DAY_MS)
    for gid in ("invoice-4711", gid_of(node.clock.now())):
        assert (await node.begin(gid)).status == types_pb2.TRYING


async def test_a_saga_is_no_exception(node):
    """A gid that is too old submits nothing."""
    await node.participant(POST)
    await node.definitions.PublishSaga(admin_pb2.PublishSagaRequest(text=LOAN))
    gid = gid_of(node.clock.now())
    node.clock.move(31 * DAY_MS)
    submit = coordinator_pb2.SubmitSagaRequest(gid=gid, name="loan")
    _, error = await refusal(node.coordinator.SubmitSaga(submit))
    assert error.reason == "GID_EXPIRED"
