"""Words become numbers, replies outcomes, and states messages."""

import json

import pytest
from msgspec.structs import replace

from coordinator.api.convert import answers, enums
from coordinator.api.convert.participants import outcome_of
from coordinator.api.limits import Limits
from coordinator.core.backoff import RetryPolicy
from coordinator.core.definition import BranchKind, Call, Constant, SagaDefinition, Step
from coordinator.core.forward import SAGA_BRANCH_MAX
from coordinator.core.inputs import (
    Pending,
    Refused,
    Succeeded,
    Unknown,
)
from coordinator.core.model import (
    Branch,
    BranchSpec,
    Payload,
)
from coordinator.core.words import (
    BranchStatus,
    Decision,
    Mode,
    OperationKind,
    Phase,
    Status,
)
from coordinator.ports import TransactionFilter
from protos.v1 import coordinator_pb2, participant_pb2, types_pb2

LIMITS = Limits()
SPEC = {"branch_id": "b1", "operation": "accounts.debit"}
SAGA = SagaDefinition(
    name="loan",
    version="1.0.0",
    digest="abc",
    timeout_ms=900_000,
    steps=(
        Step(
            "s",
            BranchKind.CALL,
            (),
            (Call("ledger.post", Constant({}), RetryPolicy(), 3_000),),
        ),
    ),
    labels=(("team", "lending"), ("tier", "1")),
)


# ---- Enums -------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("words", "numbers", "enum"),
    [
        (Mode, enums.MODES, types_pb2.Mode),
        (Status, enums.STATUSES, types_pb2.TransactionStatus),
        (Decision, enums.DECISIONS, types_pb2.Decision),
        (OperationKind, enums.KINDS, types_pb2.OperationKind),
        (Phase, enums.PHASES, types_pb2.Phase),
        (BranchStatus, enums.BRANCH_STATUSES, types_pb2.BranchStatus),
    ],
)
def test_every_word_of_the_model_has_its_number_and_back(words, numbers, enum):
    """No word is missing, none shares a number, and the wire knows no other."""
    unspecified = set() if words is Decision else {0}
    # Of steps that the core does not know yet.
    to_come = {15, 16} if words is BranchStatus else set()

    assert set(numbers) == set(words)
    assert len(set(numbers.values())) == len(numbers)
    assert set(numbers.values()) | unspecified | to_come == set(enum.values())


# ---- Participants ------------------------------------------------------------------


@pytest.mark.parametrize(
    ("reply", "outcome"),
    [
        ({"succeeded": {}}, Succeeded()),
        (
            {"succeeded": {"output": {"data": b"1", "content_type": "a/b"}}},
            Succeeded(Payload(b"1", "a/b")),
        ),
        ({"refused": {"code": "NO", "message": "m"}}, Refused("NO", "m")),
        ({"refused": {"code": "NO", "message": "a\x1b["}}, Refused("NO", "a\\u001b[")),
        ({"pending": {}}, Pending()),
        ({"pending": {"retry_after_ms": 5}}, Pending(5)),
        (
            {"failed": {"code": "IO", "message": "m", "retry_after_ms": 9}},
            Unknown("IO", "m", 9),
        ),
        (
            {"failed": {"code": "OUTPUT_NEEDED", "output": {"data": b"1"}}},
            Unknown("OUTPUT_NEEDED", output=Payload(b"1")),
        ),
    ],
)
def test_replies_become_outcomes(reply, outcome):
    """Each kind of reply, with its texts escaped."""
    assert outcome_of(participant_pb2.BranchReply(**reply), LIMITS) == outcome


@pytest.mark.parametrize(
    "reply",
    [
        {},
        {"succeeded": {"output": {"data": b"x" * (256 * 1024 + 1)}}},
        {"succeeded": {"output": {"content_type": "a\nb"}}},
        {"failed": {"code": "A", "output": {"data": b"x" * (256 * 1024 + 1)}}},
        {"refused": {}},
        {"refused": {"code": "not an identifier"}},
        {"failed": {"code": "x" * 129}},
    ],
)
def test_rubbish_from_a_participant_is_an_unknown_outcome(reply):
    """It harms its own branch only, and says what was wrong."""
    outcome = outcome_of(participant_pb2.BranchReply(**reply), LIMITS)

    assert isinstance(outcome, Unknown)
    assert outcome.code == "BAD_REPLY"
    assert outcome.text


def test_long_texts_of_participants_are_cut():
    """A refusal stays a refusal, however long its text."""
    reply = participant_pb2.BranchReply(refused={"code": "NO", "message": "x" * 5_000})

    outcome = outcome_of(reply, LIMITS)

    assert isinstance(outcome, Refused)
    assert len(outcome.text) == 1_000


# ---- Answers -----------------------------------------------------------------------


def test_a_transaction_is_shown_with_all_that_is_known(world):
    """Every field of the message is filled from the state."""
    spec = BranchSpec("b1", "accounts.debit", Payload(b"in"), 3_000, 5, 0, "b0")
    branch = Branch(
        spec,
        BranchStatus.REFUSED,
        attempts=2,
        due_at=11,
        pending_since=1,
        output=Payload(b"o", "a/b"),
        error_code="NO",
        error_text="no",
        started_at=12,
        finished_at=13,
    )
    base = world.make_tx()
    request = replace(
        base.request,
        definition_digest="d",
        definition_version="v",
        labels=(("a", "b"),),
    )
    tx = world.make_tx(
        request=request,
        status=Status.CANCELLED,
        decision=Decision.ABORT,
        reason_code="NO",
        reason_text="no",
        output=Payload(b"out", "a/b"),
        paused_at=13,
        attention_since=14,
        attention_reason="r",
        updated_at=15,
        finished_at=16,
    )

    shown = types_pb2.Transaction()
    answers.fill_transaction(shown, tx, [branch], LIMITS)

    assert [f.name for f, _ in shown.ListFields()] == [
        f.name
        for f in types_pb2.Transaction.DESCRIPTOR.fields
        if f.name != "branches_omitted"
    ]
    assert [f.name for f, _ in shown.branches[0].ListFields()] == [
        f.name for f in types_pb2.Branch.DESCRIPTOR.fields
    ]
    assert shown.status == types_pb2.CANCELLED
    assert shown.branches[0].status == types_pb2.BRANCH_REFUSED


def test_the_largest_transaction_fits_into_a_message(world):
    """T14: outputs that have no room are marked as left out, never silently lost."""
    branches = [
        Branch(
            BranchSpec(f"{i:0128}", "o" * 128, Payload(), 1, 1),
            BranchStatus.TRIED,
            output=Payload(b"x" * 256 * 1024, "a/b") if i > 990 else Payload(),
            error_code="C" * 128,
            error_text="ä" * 1_000,
        )
        for i in range(1_000)
    ]
    tx = world.make_tx(output=Payload(b"y" * 256 * 1024, "a/b"))

    shown = types_pb2.Transaction()
    answers.fill_transaction(shown, tx, branches, LIMITS)

    assert shown.ByteSize() <= LIMITS.message_bytes_max
    assert len(shown.branches) == 1_000
    omitted = [
        b
        for b in shown.branches
        if b.output.content_type == answers.OMITTED_CONTENT_TYPE
    ]
    assert omitted


def test_branches_that_have_no_room_are_counted(world):
    """The largest saga can be looked at, too (T14)."""
    branches = [
        Branch(
            BranchSpec(f"{i:0128}", "o" * 128, Payload(), 1, 1, 0, "p" * 128),
            BranchStatus.REFUSED,
            error_code="C" * 128,
        )
        for i in range(SAGA_BRANCH_MAX)
    ]
    tx = world.make_tx()
    shown = types_pb2.Transaction()
    answers.fill_transaction(shown, tx, branches, LIMITS)

    assert shown.ByteSize() <= LIMITS.message_bytes_max
    assert len(shown.branches) > 1_500
    assert len(shown.branches) + shown.branches_omitted == SAGA_BRANCH_MAX
    assert shown.branches[0].branch_id == f"{0:0128}"


def test_outputs_that_fit_are_all_shown(world):
    """Nothing is left out of a large reply that fits."""
    branches = [
        Branch(
            BranchSpec(f"b{i}", "a.b", Payload(), 1, 1),
            BranchStatus.TRIED,
            output=Payload(b"x" * 256 * 1024, "a/b"),
        )
        for i in range(3)
    ]

    shown = types_pb2.Transaction()
    answers.fill_transaction(shown, world.make_tx(), branches, LIMITS)

    assert [len(b.output.data) for b in shown.branches] == [256 * 1024] * 3


def test_a_listing_is_cut_where_a_message_would_burst(world):
    """The token continues behind the last one shown; outputs are left out."""
    base = world.make_tx()
    request = replace(base.request, labels=(("a", "x" * 8_000),))
    rows = [
        world.make_tx(
            request=replace(request, key=request.key._replace(gid=f"g{i}")),
            output=Payload(b"x" * 1_000),
        )
        for i in range(1_000)
    ]
    what = TransactionFilter("default", limit=1_000)

    reply = coordinator_pb2.ListReply()
    answers.fill_list(reply, rows, what, LIMITS)

    assert 0 < len(reply.transactions) < 1_000
    assert reply.ByteSize() <= LIMITS.message_bytes_max
    assert not reply.transactions[0].HasField("output")
    following = world.reader().list_(
        coordinator_pb2.ListRequest(page_token=reply.next_page_token)
    )
    assert following.before == (
        request.created_at,
        reply.transactions[-1].gid,
    )


def test_the_last_page_has_no_token(world):
    """A page that is not full is the last one."""
    what = TransactionFilter("default", limit=2)

    reply = coordinator_pb2.ListReply()
    answers.fill_list(reply, [world.make_tx()], what, LIMITS)

    assert not reply.next_page_token


def test_a_call_carries_all_that_a_participant_needs(world):
    """Every field of the message is filled from the call."""
    call = world.make_call(phase=Phase.CONFIRM, output=Payload(b"held", "a/b"))

    sent = participant_pb2.BranchCall()
    answers.fill_call(sent, 7, call)

    assert [f.name for f, _ in sent.ListFields()] == [
        f.name for f in participant_pb2.BranchCall.DESCRIPTOR.fields
    ]
    assert (sent.call_id, sent.phase) == (7, types_pb2.PHASE_CONFIRM)


def test_journal_entries_are_json_objects(world):
    """Values of the model, bytes included, are readable JSON."""
    entry = world.make_entry(
        1, 5, ({"type": "Decided", "decision": Decision.COMMIT, "data": b"\x00"},)
    )

    (event,) = answers.journal_entry_fields(entry)["events"]

    assert json.loads(event)["decision"] == "COMMIT"
