"""Operators at a whole node: what they did is in the state, the calls and the audit."""

import grpc
import pytest

from coordinator.storage.audit import find_break
from protos.v1 import admin_pb2, coordinator_pb2, types_pb2
from tests.api.fakes import DEBIT
from tests.api.node import DEBITED, Node
from tests.api.test_operators import refusal

HOUR_MS = 3_600_000
TRY = types_pb2.PHASE_TRY
CONFIRM = types_pb2.PHASE_CONFIRM
CANCEL = types_pb2.PHASE_CANCEL
BROKEN = {"failed": {"code": "DOWN", "message": "no", "retry_after_ms": 1_000}}


def order(gid: str = "g1", actor: str = "ann", **fields) -> admin_pb2.OperatorRequest:
    return admin_pb2.OperatorRequest(gid=gid, actor=actor, reason="on call", **fields)


def by_filter(action, *, limit: int = 0, token: str = "", **narrowed):
    """The same for all that match."""
    return admin_pb2.OperateManyRequest(
        action=action,
        filter=coordinator_pb2.ListRequest(limit=limit, page_token=token, **narrowed),
        actor="ann",
        reason="on call",
    )


async def audit(node: Node) -> list[tuple[str, str, str, str]]:
    """Gid, actor, action and reason of everything in the audit, in order."""
    trail = await node.store.audit_trail()
    assert find_break(trail) is None
    return [(r.key.gid, r.actor, r.action, r.reason) for r in trail]


# ---- Pause and resume --------------------------------------------------------------


async def test_a_pause_stops_the_calls_and_a_resume_goes_on(node, accounts):
    """No call while it is paused, the next attempt after, both audited."""
    await node.begin()
    await accounts.carry_out(TRY)
    await node.decide()
    await accounts.answer(await accounts.next_call(), **BROKEN)

    paused = await node.admin.PauseTransaction(order())
    node.clock.move(HOUR_MS)
    seen = await accounts.look()

    assert accounts.calls == []
    assert seen.paused_at_ms == paused.transaction.paused_at_ms > 0

    resumed = await node.admin.ResumeTransaction(order(actor="bob"))
    call = await accounts.next_call()
    await accounts.answer(call)

    assert resumed.transaction.paused_at_ms == 0
    assert (call.phase, call.attempt) == (CONFIRM, 2)
    assert (await node.end()).status == types_pb2.CONFIRMED
    assert await audit(node) == [
        ("g1", "ann", "PAUSE_TRANSACTION", "on call"),
        ("g1", "bob", "RESUME_TRANSACTION", "on call"),
    ]


async def test_a_deadline_holds_while_paused(node, accounts):
    """T13: it is decided against at its deadline; the cancel waits for the resume."""
    await node.begin(deadline_ms=1_000)
    await accounts.carry_out(TRY)
    await node.admin.PauseTransaction(order())

    node.clock.move(1_000)
    seen = await accounts.look()

    assert (seen.status, seen.reason_code) == (types_pb2.CANCELLING, "DEADLINE")
    assert accounts.calls == []

    await node.admin.ResumeTransaction(order())
    await accounts.carry_out(CANCEL)

    assert (await node.end()).status == types_pb2.CANCELLED


async def test_what_changes_nothing_leaves_no_audit_entry(node, accounts):
    """A pause of what is paused is granted; there is no second effect to audit."""
    await node.begin()
    await accounts.carry_out(TRY)
    first = await node.admin.PauseTransaction(order())
    node.clock.move(1)
    again = await node.admin.PauseTransaction(order(actor="bob"))

    assert again == first
    assert [entry[1] for entry in await audit(node)] == ["ann"]


async def test_a_wish_behind_one_that_changed_nothing_is_answered(node, accounts):
    """Also while an answer of a participant waits in memory for the next commit."""
    second = coordinator_pb2.BranchSpec(branch_id="b2", operation="accounts.debit")
    await node.begin(tries=[DEBITED, second])
    calls = [await accounts.next_call(), await accounts.next_call()]
    await node.admin.PauseTransaction(order())
    await accounts.answer(calls[0])

    await node.admin.PauseTransaction(order(actor="bob"))
    resumed = await node.admin.ResumeTransaction(order(actor="bob"))

    assert resumed.transaction.paused_at_ms == 0


async def test_a_wish_means_the_state_that_is_stored(node, accounts):
    """L1: what this node remembers of a transaction does not make a pause a no-op."""
    await node.begin()
    await accounts.carry_out(TRY)
    await node.admin.PauseTransaction(order())
    async with Node(node.store, node.clock, "node-2") as other:
        await other.admin.ResumeTransaction(order())

        again = await node.admin.PauseTransaction(order(actor="bob"))

    assert again.transaction.paused_at_ms
    assert [entry[1:3] for entry in await audit(node)] == [
        ("ann", "PAUSE_TRANSACTION"),
        ("ann", "RESUME_TRANSACTION"),
        ("bob", "PAUSE_TRANSACTION"),
    ]


# ---- Retry, cancel, resolve --------------------------------------------------------


async def test_a_retry_does_not_wait_for_the_next_attempt(node, accounts):
    """The open branch is asked again although its time has not come."""
    await node.begin()
    await accounts.carry_out(TRY)
    await node.decide()
    await accounts.answer(await accounts.next_call(), **BROKEN)

    await node.admin.RetryTransaction(order())
    await accounts.carry_out(CONFIRM)

    assert (await node.end()).status == types_pb2.CONFIRMED
    assert await audit(node) == [("g1", "ann", "RETRY_TRANSACTION", "on call")]


async def test_an_operator_cancels_what_is_undecided(node, accounts):
    """T1, T8: the participants still answer for the end."""
    await node.begin()
    await accounts.carry_out(TRY)

    reply = await node.admin.CancelTransaction(order())
    await accounts.carry_out(CANCEL)

    assert reply.transaction.status == types_pb2.CANCELLING
    ended = await node.end()
    assert (ended.status, ended.reason_code, ended.reason_text) == (
        types_pb2.CANCELLED,
        "CANCELLED_BY_OPERATOR",
        "on call",
    )
    assert await audit(node) == [("g1", "ann", "CANCEL_TRANSACTION", "on call")]


async def test_no_operator_changes_a_decision(node, accounts):
    """T1: refused after the commit is decided, and nothing is audited."""
    await node.begin()
    await accounts.carry_out(TRY)
    await node.decide()

    code, error = await refusal(node.admin.CancelTransaction(order()))

    assert (code, error.reason) == (
        grpc.StatusCode.FAILED_PRECONDITION,
        "TRANSACTION_DECIDED",
    )
    assert (await node.state()).decision == types_pb2.COMMIT
    assert await audit(node) == []


async def test_a_branch_settled_by_hand_ends_the_transaction_as_resolved(
    node, accounts
):
    """T8: never CONFIRMED without its participant; who and why are kept."""
    await node.begin()
    await accounts.carry_out(TRY)
    await node.decide()
    call = await accounts.next_call()

    reply = await node.admin.ResolveBranch(
        admin_pb2.ResolveBranchRequest(
            gid="g1", branch_id="b1", actor="ann", reason="booked by hand"
        )
    )
    await accounts.answer(call)

    assert reply.transaction.status == types_pb2.RESOLVED
    ended = await node.end()
    assert ended.status == types_pb2.RESOLVED
    assert ended.decision == types_pb2.COMMIT
    assert ended.branches[0].status == types_pb2.BRANCH_RESOLVED
    assert await audit(node) == [("g1", "ann", "RESOLVE_BRANCH b1", "booked by hand")]
    journal = await node.admin.GetJournal(admin_pb2.GetJournalRequest(gid="g1"))
    last = "".join(journal.entries[-1].events)
    assert all(word in last for word in ("BranchResolved", "ann", "booked by hand"))


@pytest.mark.parametrize(
    ("branch_id", "code", "reason"),
    [
        ("b1", grpc.StatusCode.FAILED_PRECONDITION, "BRANCH_NOT_OPEN"),
        ("b2", grpc.StatusCode.NOT_FOUND, "NOT_FOUND"),
    ],
)
async def test_only_an_open_branch_can_be_settled(
    node, accounts, branch_id, code, reason
):
    """T8: an undecided transaction is cancelled, and never settled piece by piece."""
    await node.begin()
    await accounts.carry_out(TRY)

    found, error = await refusal(
        node.admin.ResolveBranch(
            admin_pb2.ResolveBranchRequest(
                gid="g1", branch_id=branch_id, actor="ann", reason="on call"
            )
        )
    )

    assert (found, error.reason, error.field) == (code, reason, "branch_id")
    assert await audit(node) == []


@pytest.mark.parametrize(
    "rpc",
    [
        "RetryTransaction",
        "PauseTransaction",
        "ResumeTransaction",
        "CancelTransaction",
    ],
)
async def test_nothing_is_done_to_what_has_ended(node, accounts, rpc):
    """T8: an end is an end; an unknown gid is told apart from it."""
    await node.begin()
    await accounts.carry_out(TRY)
    await node.decide()
    await accounts.carry_out(CONFIRM)
    await node.end()

    code, error = await refusal(getattr(node.admin, rpc)(order()))
    missing, _ = await refusal(getattr(node.admin, rpc)(order("nobody")))

    assert (code, error.reason) == (
        grpc.StatusCode.FAILED_PRECONDITION,
        "TRANSACTION_ENDED",
    )
    assert missing is grpc.StatusCode.NOT_FOUND
    assert await audit(node) == []


# ---- Many --------------------------------------------------------------------------


@pytest.mark.usefixtures("accounts")
async def test_many_are_paused_page_by_page(node):
    """Every match once, though what was paused matches the filter still."""
    for i in range(5):
        await node.begin(f"g{i}")
        node.clock.move(1)
    paused: list[str] = []
    token, pages = "", 0
    while token or not pages:
        reply = await node.admin.OperateMany(
            by_filter(admin_pb2.PAUSE, name="transfer", limit=2, token=token)
        )
        assert reply.more == bool(reply.next_page_token)
        paused += [item.gid for item in reply.items]
        token, pages = reply.next_page_token, pages + 1

    assert (paused, pages) == (["g4", "g3", "g2", "g1", "g0"], 3)
    assert all([(await node.state(gid)).paused_at_ms for gid in paused])
    assert sorted(entry[0] for entry in await audit(node)) == sorted(paused)


@pytest.mark.usefixtures("accounts")
async def test_a_full_last_page_has_no_more(node):
    """``more`` is said only when there is one more."""
    for i in range(2):
        await node.begin(f"g{i}")

    reply = await node.admin.OperateMany(
        by_filter(admin_pb2.PAUSE, name="transfer", limit=2)
    )

    assert (len(reply.items), reply.more, reply.next_page_token) == (2, False, "")


async def test_many_are_cancelled_but_the_decided_one(node, accounts):
    """T1: one refusal with its reason among them; the audit has the others only."""
    for gid in ("g1", "g2", "g3"):
        await node.begin(gid)
        await accounts.carry_out(TRY)
    await node.decide("g2")

    reply = await node.admin.OperateMany(by_filter(admin_pb2.CANCEL, name="transfer"))

    assert {i.gid: (i.status, i.error.reason) for i in reply.items} == {
        "g1": (types_pb2.CANCELLING, ""),
        "g2": (types_pb2.CONFIRMING, "TRANSACTION_DECIDED"),
        "g3": (types_pb2.CANCELLING, ""),
    }
    assert sorted(entry[0] for entry in await audit(node)) == ["g1", "g3"]


async def test_what_has_ended_is_not_among_many(node, accounts):
    """Without statuses all unfinished are meant, and an end is no match."""
    for gid in ("g1", "g2"):
        await node.begin(gid)
        await accounts.carry_out(TRY)
    await node.decide("g1")
    await accounts.carry_out(CONFIRM)
    await node.end("g1")

    reply = await node.admin.OperateMany(by_filter(admin_pb2.RETRY, name="transfer"))

    assert [item.gid for item in reply.items] == ["g2"]


async def test_every_command_works_on_the_largest_transaction(node):
    """T14: a thousand branches are held, let go and cancelled like one."""
    await node.participant(DEBIT)
    await node.coordinator.Begin(coordinator_pb2.BeginRequest(gid="g1", name="large"))
    await node.coordinator.Register(
        coordinator_pb2.RegisterRequest(
            gid="g1",
            branches=[
                coordinator_pb2.BranchSpec(
                    branch_id=f"{i:0128}", operation="accounts.debit"
                )
                for i in range(1_000)
            ],
        )
    )

    await node.admin.PauseTransaction(order())
    many = await node.admin.OperateMany(by_filter(admin_pb2.RESUME, name="large"))
    await node.admin.CancelTransaction(order())
    await node.admin.RetryTransaction(order())
    reply = await node.admin.ResolveBranch(
        admin_pb2.ResolveBranchRequest(
            gid="g1", branch_id=f"{7:0128}", actor="ann", reason="on call"
        )
    )

    assert [item.error.reason for item in many.items] == [""]
    assert reply.transaction.status == types_pb2.CANCELLING
    assert len(await audit(node)) == 5


# ---- Durable with its effect -------------------------------------------------------


@pytest.mark.parametrize("kept", [False, True])
async def test_an_audit_entry_shares_the_fate_of_its_effect(memory_node, kept):
    """L6: of unknown outcome means both or none, and the operator is told so."""
    node = memory_node
    await node.participant(DEBIT)
    await node.begin()
    node.store.holding = True
    asked = node.admin.PauseTransaction(order())

    await node.store.until_held()
    assert await audit(node) == []
    node.store.lose(kept=kept)
    code, _ = await refusal(asked)
    node.store.holding = False

    assert code is grpc.StatusCode.UNAVAILABLE
    assert bool((await node.state()).paused_at_ms) is kept
    assert bool(await audit(node)) is kept

    await node.admin.PauseTransaction(order())

    assert (await node.state()).paused_at_ms
    assert len(await audit(node)) == 1
