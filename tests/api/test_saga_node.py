"""Sagas at a whole node: repeated submits, kept ends, and an operator's hand."""

import asyncio
import json

import grpc
import pytest

from protos.v1 import admin_pb2, coordinator_pb2, types_pb2
from tests.api.fakes import POST
from tests.api.node import Node, Peer
from tests.api.test_operators import refusal

ACTION = types_pb2.PHASE_ACTION
COMPENSATION = types_pb2.PHASE_COMPENSATION
WHO = {"actor": "ann", "reason": "on call"}
LOAN = json.dumps(
    {
        "apiVersion": "tercet/v1",
        "kind": "Saga",
        "metadata": {"name": "loan", "version": "1.0.0"},
        "timeout": "15m",
        "steps": [
            {"id": "book", "call": "ledger.post", "input": {}},
            {"id": "tell", "call": "ledger.post", "input": {}, "compensate": "none"},
        ],
    }
)


@pytest.fixture
async def ledger(node: Node) -> Peer:
    """The participant of a loan's steps; the loan is published."""
    ledger = await node.participant(POST)
    await node.definitions.PublishSaga(admin_pb2.PublishSagaRequest(text=LOAN))
    return ledger


async def submit(node: Node, **fields) -> types_pb2.Transaction:
    """A loan."""
    request = coordinator_pb2.SubmitSagaRequest(
        **{"gid": "l1", "name": "loan"} | fields
    )
    return (await node.coordinator.SubmitSaga(request)).transaction


async def test_a_loan_ends_and_stays_answerable(node, ledger):
    """T10, S6: the same submit is answered with the end, and nothing is done again."""
    await submit(node)
    await ledger.carry_out(ACTION, ACTION)
    ended = await node.end("l1")
    node.clock.move(30 * 86_400_000)

    again = await submit(node, wait=True)

    assert ended.status == again.status == types_pb2.COMPLETED
    assert again.finished_at_ms == ended.finished_at_ms
    assert ledger.calls == []


@pytest.mark.parametrize(
    "other", [{"labels": {"a": "b"}}, {"input": {"data": b'{"a": 1}'}}]
)
async def test_another_loan_under_the_same_gid_is_already_exists(node, ledger, other):
    """T10: also where a TCC transaction asks for the gid."""
    await submit(node)

    code, error = await refusal(submit(node, **other))
    tcc, _ = await refusal(node.begin("l1", tries=[]))

    assert (code, error.reason) == (grpc.StatusCode.ALREADY_EXISTS, "GID_EXISTS")
    assert tcc is grpc.StatusCode.ALREADY_EXISTS
    await ledger.carry_out(ACTION, ACTION)
    assert (await node.end("l1")).status == types_pb2.COMPLETED


async def test_a_submit_whose_reply_was_lost_is_asked_again(node, ledger):
    """T10: one saga, whose end both callers wait for."""
    request = coordinator_pb2.SubmitSagaRequest(gid="l1", name="loan", wait=True)
    lost = node.coordinator.SubmitSaga(request)
    call = await ledger.next_call()
    lost.cancel()

    again = asyncio.ensure_future(submit(node, wait=True))
    await ledger.answer(call)
    await ledger.carry_out(ACTION)

    assert (await again).status == types_pb2.COMPLETED
    assert ledger.calls == []


async def test_a_paused_saga_starts_no_step(node, ledger):
    """What is out may be answered; the next step waits for the resume."""
    await submit(node)
    call = await ledger.next_call()
    await node.admin.PauseTransaction(admin_pb2.OperatorRequest(gid="l1", **WHO))
    await ledger.answer(call)
    await ledger.look("l1")
    assert ledger.calls == []

    await node.admin.ResumeTransaction(admin_pb2.OperatorRequest(gid="l1", **WHO))
    await ledger.carry_out(ACTION)

    assert (await node.end("l1")).status == types_pb2.COMPLETED


async def test_a_saga_that_is_cancelled_is_compensated(node, ledger):
    """S2, T8: everything that ran is undone by its participant."""
    await submit(node)
    await ledger.carry_out(ACTION)
    running = await ledger.next_call()

    reply = await node.admin.CancelTransaction(
        admin_pb2.OperatorRequest(gid="l1", **WHO)
    )
    await ledger.answer(running)
    await ledger.carry_out(COMPENSATION)

    assert reply.transaction.status == types_pb2.COMPENSATING
    ended = await node.end("l1")
    assert (ended.status, ended.reason_code) == (
        types_pb2.COMPENSATED,
        "CANCELLED_BY_OPERATOR",
    )


async def test_a_compensation_settled_by_hand_is_resolved_and_not_compensated(
    node, ledger
):
    """T8, S6: what no participant undid is never shown as undone."""
    await submit(node)
    await ledger.carry_out(ACTION)
    await ledger.answer(await ledger.next_call(), refused={"code": "NO"})
    stuck = await ledger.next_call()
    await ledger.answer(stuck, failed={"code": "DOWN"})

    reply = await node.admin.ResolveBranch(
        admin_pb2.ResolveBranchRequest(gid="l1", branch_id="book", **WHO)
    )

    assert stuck.phase == COMPENSATION
    assert reply.transaction.status == types_pb2.RESOLVED
    (record,) = await node.store.audit_trail()
    assert (record.actor, record.action) == ("ann", "RESOLVE_BRANCH book")
