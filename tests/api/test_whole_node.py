"""What clients may rely on at a whole node: repeated requests, ends, lists, watches."""

import asyncio

import grpc
import pytest

from protos.v1 import coordinator_pb2, participant_pb2, types_pb2
from tests.api.client import Client
from tests.api.fakes import DEBIT, POST
from tests.api.node import DEBITED, Node
from tests.api.test_operators import refusal

TRY = types_pb2.PHASE_TRY
CONFIRM = types_pb2.PHASE_CONFIRM
CANCEL = types_pb2.PHASE_CANCEL
ACTION = types_pb2.PHASE_ACTION
DAY_MS = 86_400_000


async def transfer(node, accounts, gid: str = "g1") -> types_pb2.Transaction:
    """A transfer from its begin to its end."""
    await node.begin(gid)
    await accounts.carry_out(TRY)
    await node.decide(gid)
    await accounts.carry_out(CONFIRM)
    return await node.end(gid)


# ---- Ends stay answerable ----------------------------------------------------------


async def test_an_end_is_kept_and_everybody_is_told_it(node, accounts):
    """T1, T9: any request about what has ended is answered with how it ended."""
    ended = await transfer(node, accounts)
    node.clock.move(30 * DAY_MS)
    ask = node.coordinator
    async with Node(node.store, node.clock, "node-2") as other:
        answers = [
            reply.transaction
            for reply in (
                await ask.Get(coordinator_pb2.GetRequest(gid="g1")),
                await ask.Get(coordinator_pb2.GetRequest(gid="g1", wait=True)),
                await ask.Confirm(coordinator_pb2.ConfirmRequest(gid="g1")),
                await ask.Cancel(coordinator_pb2.CancelRequest(gid="g1", wait=True)),
                await other.coordinator.Get(coordinator_pb2.GetRequest(gid="g1")),
            )
        ]
        answers.append(await other.begin())

    assert ended.status == types_pb2.CONFIRMED
    assert {a.status for a in answers} == {types_pb2.CONFIRMED}
    assert {a.finished_at_ms for a in answers} == {ended.finished_at_ms}


async def test_who_comes_too_late_is_told_the_winners_decision(node, accounts):
    """T9: a confirm after the deadline is no error; it shows the abort."""
    await node.begin(deadline_ms=1_000)
    await accounts.carry_out(TRY)
    node.clock.move(1_000)

    told = await node.decide()

    assert (told.decision, told.reason_code) == (types_pb2.ABORT, "DEADLINE")


async def test_a_branch_cannot_join_what_has_ended(node, accounts):
    """T3: the end of a transaction is the end of its list of branches."""
    await transfer(node, accounts)
    late = coordinator_pb2.BranchSpec(branch_id="b2", operation="accounts.debit")

    code, error = await refusal(
        node.coordinator.Try(coordinator_pb2.TryRequest(gid="g1", tries=[late]))
    )

    assert (code, error.reason) == (
        grpc.StatusCode.FAILED_PRECONDITION,
        "TRANSACTION_DECIDED",
    )


# ---- The same again, and something else --------------------------------------------


@pytest.mark.parametrize(
    "other",
    [
        {"name": "loan"},
        {"deadline_ms": 5_000},
        {"labels": {"a": "b"}},
        {"tries": []},
        {"check_back": "ledger.post"},
        {"input": {"data": b"1"}},
        {"depth": 1},
    ],
)
async def test_another_body_under_the_same_gid_is_already_exists(node, accounts, other):
    """T10: nothing changes, and the first request repeated is still answered."""
    await node.participant(POST)
    first = await node.begin()

    code, error = await refusal(
        node.coordinator.Begin(
            coordinator_pb2.BeginRequest(
                **{"gid": "g1", "name": "transfer", "tries": [DEBITED], **other}
            )
        )
    )

    assert (code, error.reason, error.field) == (
        grpc.StatusCode.ALREADY_EXISTS,
        "GID_EXISTS",
        "gid",
    )
    assert await node.begin() == first
    await accounts.carry_out(TRY)
    assert accounts.calls == []


@pytest.mark.parametrize(
    "other",
    [
        {"input": {"data": b"1"}},
        {"timeout_ms": 1},
        {"attempt_max": 1},
        {"pending_timeout_ms": 1},
    ],
)
async def test_another_branch_under_the_same_key_is_already_exists(
    node, accounts, other
):
    """T10: a branch_id is one reservation, and cannot become another."""
    await node.begin()
    await accounts.carry_out(TRY)
    spec = {"branch_id": "b1", "operation": "accounts.debit", **other}

    code, error = await refusal(
        node.coordinator.Try(coordinator_pb2.TryRequest(gid="g1", tries=[spec]))
    )

    assert (code, error.reason, error.field) == (
        grpc.StatusCode.ALREADY_EXISTS,
        "BRANCH_EXISTS",
        "branch_id",
    )


# ---- Lost replies ------------------------------------------------------------------


@pytest.mark.parametrize("kept", [False, True])
async def test_a_begin_of_unknown_outcome_is_asked_again(memory_node, kept):
    """T10, L6: UNAVAILABLE says "ask again", and asking again has one effect."""
    node = memory_node
    accounts = await node.participant(DEBIT)
    node.store.holding = True
    asked = asyncio.ensure_future(node.begin())
    await node.store.until_held()
    node.store.lose(kept=kept)
    code, _ = await refusal(asked)
    node.store.holding = False

    again = await node.begin()
    await accounts.carry_out(TRY)

    assert code is grpc.StatusCode.UNAVAILABLE
    assert again.status == types_pb2.TRYING
    assert accounts.calls == []


@pytest.mark.parametrize("kept", [False, True])
async def test_a_confirm_of_unknown_outcome_is_asked_again(memory_node, kept):
    """T1, L6: whether the first was stored or not, the second is answered COMMIT."""
    node = memory_node
    accounts = await node.participant(DEBIT)
    await node.begin()
    await accounts.carry_out(TRY)
    node.store.holding = True
    asked = asyncio.ensure_future(node.decide())
    await node.store.until_held()
    node.store.lose(kept=kept)
    code, _ = await refusal(asked)
    node.store.holding = False

    again = asyncio.ensure_future(node.decide())
    if not kept:  # the lazy answer to the try went with the commit; it is had again
        await accounts.carry_out(TRY)
    await accounts.carry_out(CONFIRM)

    assert code is grpc.StatusCode.UNAVAILABLE
    assert (await again).decision == types_pb2.COMMIT
    assert (await node.end()).status == types_pb2.CONFIRMED
    assert accounts.calls == []


async def test_a_begin_whose_caller_went_away_goes_on(memory_node):
    """T10: the reply is lost, the transaction is not; the same again finds it."""
    node = memory_node
    accounts = await node.participant(DEBIT)
    node.store.holding = True
    request = coordinator_pb2.BeginRequest(gid="g1", name="transfer", tries=[DEBITED])
    asked = node.coordinator.Begin(request)
    await node.store.until_held()
    asked.cancel()
    node.clock.move(5)
    node.store.holding = False
    node.store.release()
    await accounts.carry_out(TRY)

    again = await node.begin()

    assert again.created_at_ms == node.clock.now() - 5
    assert accounts.calls == []


async def test_a_try_whose_reply_was_lost_is_asked_again(node, accounts):
    """T10: it waits for the call that is out, and brings its answer."""
    await node.begin(tries=[])
    request = coordinator_pb2.TryRequest(gid="g1", tries=[DEBITED])
    lost = node.coordinator.Try(request)
    call = await accounts.next_call()
    lost.cancel()

    again = node.coordinator.Try(request)
    await accounts.answer(call, succeeded={"output": {"data": b"held"}})

    (branch,) = (await again).transaction.branches
    assert (branch.status, branch.output.data) == (types_pb2.BRANCH_TRIED, b"held")
    assert accounts.calls == []


async def test_what_a_broken_session_asked_is_asked_on_another(node, accounts):
    """T10: a session is a way to ask; what was asked does not hang on it."""
    await node.begin(tries=[])
    request = {"try": coordinator_pb2.TryRequest(gid="g1", tries=[DEBITED])}
    first, second = Client(node.channel), Client(node.channel)
    await first.hello()
    await second.hello()
    await first.send(requests=[coordinator_pb2.Request(id=1, **request)])
    call = await accounts.next_call()
    first.call.cancel()

    await second.send(requests=[coordinator_pb2.Request(id=1, **request)])
    await second.ask(2, get=coordinator_pb2.GetRequest(gid="g1"))
    await accounts.answer(call)
    await second.until(lambda: second.responses)

    (branch,) = second.responses[1].transaction.branches
    assert branch.status == types_pb2.BRANCH_TRIED
    assert accounts.calls == []


@pytest.mark.parametrize("kept", [False, True])
async def test_a_reported_outcome_of_unknown_fate_is_reported_again(memory_node, kept):
    """T7, L6: CompleteBranch may be repeated until it is acknowledged."""
    node = memory_node
    accounts = await node.participant(DEBIT)
    await node.begin()
    await accounts.answer(await accounts.next_call(), pending={})
    request = coordinator_pb2.CompleteBranchRequest(
        gid="g1", branch_id="b1", phase=TRY, succeeded=participant_pb2.Succeeded()
    )
    node.store.holding = True
    asked = node.coordinator.CompleteBranch(request)
    await node.store.until_held()
    node.store.lose(kept=kept)
    code, _ = await refusal(asked)
    node.store.holding = False

    await node.coordinator.CompleteBranch(request)

    assert code is grpc.StatusCode.UNAVAILABLE
    (branch,) = (await node.state()).branches
    assert branch.status == types_pb2.BRANCH_TRIED


async def test_waits_are_taken_up_again_by_asking_again(node, accounts):
    """T10: a declared transfer whose caller lost the wait ends once, and says so."""
    declared = {"auto_confirm": True, "wait": True}
    request = coordinator_pb2.BeginRequest(
        gid="g1", name="transfer", tries=[DEBITED], **declared
    )
    lost = node.coordinator.Begin(request)
    call = await accounts.next_call()
    lost.cancel()

    again = asyncio.ensure_future(node.begin(**declared))
    await accounts.answer(call)
    await accounts.carry_out(CONFIRM)

    assert (await again).status == types_pb2.CONFIRMED
    assert accounts.calls == []


# ---- Lists and watches -------------------------------------------------------------


async def test_pages_show_every_transaction_once(node, accounts):
    """Newest first; what begins meanwhile disturbs no page that follows."""
    for i in range(5):
        await node.begin(f"g{i}", name="other" if i == 2 else "transfer")
        node.clock.move(i % 2)
    shown: list[str] = []
    request = coordinator_pb2.ListRequest(name="transfer", limit=2)
    while True:
        page = await node.coordinator.List(request)
        shown += [tx.gid for tx in page.transactions]
        await node.begin(f"late-{len(shown)}")
        if not page.next_page_token:
            break
        request.page_token = page.next_page_token

    assert shown == ["g4", "g3", "g1", "g0"]


async def test_a_list_is_narrowed_by_status(node, accounts):
    """Statuses are those of the moment."""
    await transfer(node, accounts, "g1")
    await node.begin("g2")

    found = await node.coordinator.List(
        coordinator_pb2.ListRequest(statuses=[types_pb2.CONFIRMED])
    )

    assert [tx.gid for tx in found.transactions] == ["g1"]


async def test_what_needs_a_person_is_found_and_goes_on(node, accounts):
    """V1, T8: attention says what failed; the retries go on, and its end clears it."""
    await node.begin("fine")
    await accounts.carry_out(TRY)
    await node.begin("stuck")
    await accounts.carry_out(TRY)
    await node.decide("stuck")
    for _ in range(10):
        call = await accounts.next_call()
        await accounts.answer(call, failed={"code": "DOWN", "retry_after_ms": 1_000})
        node.clock.move(1_000)
    attention = coordinator_pb2.ListRequest(attention=True)

    found = await node.coordinator.List(attention)
    await accounts.carry_out(CONFIRM)
    cleared = await node.coordinator.List(attention)

    (stuck,) = found.transactions
    assert (stuck.gid, stuck.status) == ("stuck", types_pb2.CONFIRMING)
    assert "b1" in stuck.attention_reason
    assert "DOWN" in stuck.attention_reason
    assert list(cleared.transactions) == []


async def test_a_watch_shows_every_durable_change_until_the_end(node, accounts):
    """The state now, then each change once and in order, then the stream ends."""
    await node.begin()
    request = coordinator_pb2.GetRequest(gid="g1", with_branches=True)
    watch = aiter(node.coordinator.Watch(request))
    seen = [(await anext(watch)).transaction]
    await accounts.carry_out(TRY)
    await node.decide()
    await accounts.carry_out(CONFIRM)
    seen += [reply.transaction async for reply in watch]

    assert [(tx.status, tx.branches[0].status) for tx in seen] == [
        (types_pb2.TRYING, types_pb2.BRANCH_TRYING),
        (types_pb2.CONFIRMING, types_pb2.BRANCH_CONFIRMING),
        (types_pb2.CONFIRMED, types_pb2.BRANCH_CONFIRMED),
    ]


async def test_a_watch_of_what_has_ended_shows_the_end(node, accounts):
    """Whoever connects again after a lost stream learns how it ended."""
    await transfer(node, accounts)

    watch = node.coordinator.Watch(coordinator_pb2.GetRequest(gid="g1"))
    seen = [reply.transaction.status async for reply in watch]

    assert seen == [types_pb2.CONFIRMED]


async def test_a_watch_at_another_node_hears_of_the_end(node, accounts):
    """The end is told wherever somebody asks, not only where it is driven."""
    await node.begin()
    async with Node(node.store, node.clock, "node-2") as other:
        watch = aiter(other.coordinator.Watch(coordinator_pb2.GetRequest(gid="g1")))
        first = (await anext(watch)).transaction.status
        await accounts.carry_out(TRY)
        await node.decide()
        await accounts.carry_out(CONFIRM)
        await node.end()
        node.clock.move(200)
        seen = [reply.transaction.status async for reply in watch]

    assert (first, seen[-1]) == (types_pb2.TRYING, types_pb2.CONFIRMED)


# ---- Nested, pending, check-back ---------------------------------------------------


async def test_a_nested_branch_names_its_parent_and_its_depth(node, accounts):
    """T12: it joins while its parent's try is open, one deeper than that."""
    await node.begin(tries=[], depth=3)
    inner = coordinator_pb2.BranchSpec(
        branch_id="b2", operation="accounts.debit", parent_branch_id="b1"
    )
    outer_asked = node.coordinator.Try(
        coordinator_pb2.TryRequest(gid="g1", tries=[DEBITED])
    )
    outer = await accounts.next_call()
    inner_asked = node.coordinator.Try(
        coordinator_pb2.TryRequest(gid="g1", tries=[inner])
    )
    nested = await accounts.next_call()
    await accounts.answer(nested)
    await inner_asked
    await accounts.answer(outer)
    await outer_asked
    shown = (await node.state()).branches
    code, error = await refusal(
        node.coordinator.Try(
            coordinator_pb2.TryRequest(
                gid="g1",
                tries=[
                    coordinator_pb2.BranchSpec(
                        branch_id="b3",
                        operation="accounts.debit",
                        parent_branch_id="b1",
                    )
                ],
            )
        )
    )

    assert (outer.depth, nested.depth) == (3, 4)
    assert [b.parent_branch_id for b in shown] == ["", "b1"]
    assert (code, error.reason, error.field) == (
        grpc.StatusCode.FAILED_PRECONDITION,
        "PARENT_NOT_OPEN",
        "parent_branch_id",
    )


async def test_a_pending_try_is_completed_from_outside(node, accounts):
    """PENDING waits for CompleteBranch, which may be repeated."""
    await node.begin(tries=[])
    asked = node.coordinator.Try(coordinator_pb2.TryRequest(gid="g1", tries=[DEBITED]))
    await accounts.answer(await accounts.next_call(), pending={})
    (waiting,) = (await node.state()).branches
    complete = coordinator_pb2.CompleteBranchRequest(
        gid="g1",
        branch_id="b1",
        phase=TRY,
        succeeded=participant_pb2.Succeeded(output={"data": b"7"}),
    )

    await node.coordinator.CompleteBranch(complete)
    (done,) = (await asked).transaction.branches
    await node.coordinator.CompleteBranch(complete)

    assert waiting.pending
    assert waiting.pending_since_ms == node.clock.now()
    assert (done.status, done.output.data) == (types_pb2.BRANCH_TRIED, b"7")
    assert not done.pending


async def test_a_try_that_stays_pending_too_long_ends_its_transaction(node, accounts):
    """T13: its own deadline, not the transaction's; it is cancelled like any other."""
    spec = coordinator_pb2.BranchSpec(
        branch_id="b1", operation="accounts.debit", pending_timeout_ms=2_000
    )
    await node.begin(tries=[spec])
    await accounts.answer(await accounts.next_call(), pending={})

    node.clock.move(2_000)
    await accounts.carry_out(CANCEL)

    ended = await node.end()
    assert (ended.status, ended.reason_code) == (
        types_pb2.CANCELLED,
        "PENDING_TIMEOUT",
    )


@pytest.mark.parametrize(
    ("answer", "phase", "status"),
    [
        ({"succeeded": {}}, CONFIRM, types_pb2.CONFIRMED),
        ({"refused": {"code": "NO"}}, CANCEL, types_pb2.CANCELLED),
    ],
)
async def test_a_check_back_decides_at_the_deadline(
    node, accounts, answer, phase, status
):
    """The initiator's own operation is asked with the request's input."""
    ledger = await node.participant(POST)
    await node.begin(
        check_back="ledger.post",
        input={"data": b"order 7", "content_type": "text/plain"},
        deadline_ms=1_000,
    )
    await accounts.carry_out(TRY)

    node.clock.move(1_000)
    asked = await ledger.next_call()
    await ledger.answer(asked, **answer)
    await accounts.carry_out(phase)

    assert (asked.phase, asked.operation, asked.input.data) == (
        ACTION,
        "ledger.post",
        b"order 7",
    )
    assert (await node.end()).status == status


@pytest.mark.parametrize(
    ("check_back", "code", "reason"),
    [
        ("ledger.pots", grpc.StatusCode.NOT_FOUND, "UNKNOWN_OPERATION"),
        ("accounts.debit", grpc.StatusCode.INVALID_ARGUMENT, "WRONG_OPERATION_KIND"),
    ],
)
async def test_a_check_back_is_an_action_of_the_catalogue(
    node, accounts, check_back, code, reason
):
    """T14: a question that nobody could answer is refused before a row exists."""
    await node.participant(POST)

    found, error = await refusal(
        node.coordinator.Begin(
            coordinator_pb2.BeginRequest(gid="g1", check_back=check_back)
        )
    )
    missing, _ = await refusal(
        node.coordinator.Get(coordinator_pb2.GetRequest(gid="g1"))
    )

    assert (found, error.reason, error.field) == (code, reason, "check_back")
    assert missing is grpc.StatusCode.NOT_FOUND
