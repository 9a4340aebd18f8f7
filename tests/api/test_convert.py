"""Requests become inputs and states become messages; nothing else passes."""

import json
from dataclasses import replace

import pytest

from coordinator.api.convert import answers, enums
from coordinator.api.convert.participants import outcome_of
from coordinator.api.limits import Limits
from coordinator.core.backoff import RetryPolicy
from coordinator.core.definition import Constant, SagaDefinition, Step
from coordinator.core.errors import InvalidRequest
from coordinator.core.inputs import (
    Cancel,
    Confirm,
    Observe,
    Pending,
    Refused,
    Succeeded,
    Unknown,
)
from coordinator.core.model import (
    Branch,
    BranchSpec,
    BranchStatus,
    Decision,
    Mode,
    OperationKind,
    Payload,
    Phase,
    Status,
)
from coordinator.ports import TransactionFilter
from protos.v1 import admin_pb2, coordinator_pb2, participant_pb2, types_pb2

LIMITS = Limits()
SPEC = {"branch_id": "b1", "operation": "accounts.debit"}
SAGA = SagaDefinition(
    name="loan",
    version="1.0.0",
    digest="abc",
    timeout_ms=900_000,
    steps=(Step("s", "ledger.post", Constant({}), (), RetryPolicy(), 3_000, None),),
    labels=(("team", "lending"), ("tier", "1")),
)


@pytest.fixture
def reader(world):
    """Reads requests with default limits and a fixed clock."""
    return world.reader()


def begin(**fields) -> coordinator_pb2.BeginRequest:
    return coordinator_pb2.BeginRequest(**{"gid": "g1", "tries": [SPEC], **fields})


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

    assert set(numbers) == set(words)
    assert len(set(numbers.values())) == len(numbers)
    assert set(numbers.values()) | unspecified == set(enum.values())


# ---- Begin -------------------------------------------------------------------------


def test_begin_fills_in_the_documented_defaults(reader, world):
    """60 s, 3 s an attempt, 5 attempts."""
    wish = reader.begin(begin())

    request, (spec,) = wish.what.request, wish.what.tries
    assert request.created_at == world.clock.now()
    assert request.deadline_at == world.clock.now() + 60_000
    assert (spec.timeout_ms, spec.attempt_max) == (3_000, 5)
    assert spec.input == Payload()
    assert not request.declared
    assert not wish.then_wait


def test_begin_keeps_what_was_asked_for(reader):
    """Every field arrives in the input."""
    payload = {"data": b"{}", "content_type": "application/json"}
    wish = reader.begin(
        begin(
            name="transfer",
            deadline_ms=5_000,
            labels={"z": "1", "a": "2"},
            tries=[{**SPEC, "input": payload, "timeout_ms": 7, "attempt_max": 100}],
            auto_confirm=True,
            wait=True,
        )
    )

    assert wish.key == ("default", "g1")
    assert wish.then_wait
    assert wish.what.request.declared
    assert wish.what.request.labels == (("a", "2"), ("z", "1"))
    assert wish.what.tries == (
        BranchSpec("b1", "accounts.debit", Payload(b"{}", "application/json"), 7, 100),
    )


def test_an_empty_gid_is_made(reader):
    """Two begins without a gid are two transactions."""
    first = reader.begin(begin(gid=""))
    second = reader.begin(begin(gid=""))

    assert first.key != second.key
    assert len(first.key.gid) == 36


def test_the_digest_is_of_the_body_alone(reader, world):
    """T10: gid, wait and the time of asking do not make another request."""
    first = reader.begin(begin(auto_confirm=True))
    world.clock.move(1_000)
    again = reader.begin(begin(gid="g2", auto_confirm=True, wait=True))

    assert first.what.request.digest == again.what.request.digest


@pytest.mark.parametrize(
    "other",
    [
        {"name": "x"},
        {"deadline_ms": 60_000},
        {"labels": {"a": "b"}},
        {"auto_confirm": True},
        {"tries": []},
        {"tries": [{**SPEC, "branch_id": "b2"}]},
        {"tries": [{**SPEC, "operation": "accounts.credit"}]},
        {"tries": [{**SPEC, "input": {"data": b"1"}}]},
        {"tries": [{**SPEC, "input": {"content_type": "a/b"}}]},
        {"tries": [{**SPEC, "timeout_ms": 1}]},
        {"tries": [{**SPEC, "attempt_max": 1}]},
    ],
)
def test_every_field_of_the_body_is_in_the_digest(reader, other):
    """T10: another body is told apart, field by field."""
    first = reader.begin(begin()).what.request
    changed = reader.begin(begin(**other)).what.request

    assert first.digest != changed.digest


@pytest.mark.parametrize(
    ("fields", "field"),
    [
        ({"gid": "a b"}, "gid"),
        ({"gid": "g" * 129}, "gid"),
        ({"gid": "g\n"}, "gid"),
        ({"gid": "gäd"}, "gid"),
        ({"gid": "g\x00"}, "gid"),
        ({"name": "a/b"}, "name"),
        ({"deadline_ms": 30 * 86_400_000 + 1}, "deadline_ms"),
        ({"labels": {"no space": "x"}}, "labels"),
        ({"labels": {"a": "line\nbreak"}}, "labels[a]"),
        ({"labels": {f"l{i}": "x" * 1_000 for i in range(9)}}, "labels"),
        ({"tries": [{"operation": "a.b"}]}, "tries[0].branch_id"),
        ({"tries": [SPEC, {"branch_id": "b2"}]}, "tries[1].operation"),
        ({"tries": [SPEC, {**SPEC}]}, "tries[1].branch_id"),
        ({"tries": [{**SPEC, "timeout_ms": 3_600_001}]}, "tries[0].timeout_ms"),
        ({"tries": [{**SPEC, "attempt_max": 101}]}, "tries[0].attempt_max"),
        (
            {"tries": [{**SPEC, "input": {"data": b"x" * (256 * 1024 + 1)}}]},
            "tries[0].input.data",
        ),
        (
            {"tries": [{**SPEC, "input": {"content_type": "x\ny"}}]},
            "tries[0].input.content_type",
        ),
        (
            {"tries": [{**SPEC, "branch_id": f"b{i}"} for i in range(1_001)]},
            "tries",
        ),
        ({"tries": [], "auto_confirm": True}, "auto_confirm"),
        ({"wait": True}, "wait"),
    ],
)
def test_a_wrong_begin_names_its_field(reader, fields, field):
    """The error names the field, says what was expected and what to do."""
    with pytest.raises(InvalidRequest) as caught:
        reader.begin(begin(**fields))

    assert caught.value.field == field
    assert str(caught.value).startswith(field)
    assert "expected" in str(caught.value)


def test_no_error_repeats_the_value(reader):
    """A secret in the wrong field does not come back in an error text."""
    for fields in ({"gid": "s3cr3t token"}, {"labels": {"a": "s3cr3t\n"}}):
        with pytest.raises(InvalidRequest) as caught:
            reader.begin(begin(**fields))
        assert "s3cr3t" not in str(caught.value)


def test_limits_are_reached_and_not_passed(reader):
    """The largest allowed values are allowed."""
    wish = reader.begin(
        begin(
            gid="g" * 128,
            deadline_ms=30 * 86_400_000,
            tries=[
                {
                    "branch_id": f"b{i}",
                    "operation": "a.b",
                    "timeout_ms": 3_600_000,
                    "attempt_max": 100,
                }
                for i in range(1_000)
            ],
            labels={"a": "x" * 8_191},
        )
    )

    assert len(wish.what.tries) == 1_000


# ---- The others --------------------------------------------------------------------


def test_try_and_register_need_a_branch(reader):
    """An empty list is a mistake, not a no-op."""
    with pytest.raises(InvalidRequest) as tries:
        reader.try_(coordinator_pb2.TryRequest(gid="g1"))
    with pytest.raises(InvalidRequest) as branches:
        reader.register(coordinator_pb2.RegisterRequest(gid="g1"))

    assert (tries.value.field, branches.value.field) == ("tries", "branches")


def test_confirm_tells_no_list_from_a_list(reader):
    """T2: no branch_ids leaves the list to the coordinator."""
    none = reader.confirm(coordinator_pb2.ConfirmRequest(gid="g1", wait=True))
    some = reader.confirm(
        coordinator_pb2.ConfirmRequest(gid="g1", branch_ids=["a", "b"])
    )

    assert none.what == Confirm(None, wait=True)
    assert some.what == Confirm(frozenset({"a", "b"}))


def test_cancel_and_get_are_read(reader):
    """Reason and wait arrive."""
    cancel = reader.cancel(
        coordinator_pb2.CancelRequest(gid="g1", reason="changed my mind", wait=True)
    )
    get = reader.get(coordinator_pb2.GetRequest(gid="g1", wait=True))

    assert cancel.what == Cancel(text="changed my mind", wait=True)
    assert get.what == Observe(wait=True)


@pytest.mark.parametrize(
    ("fields", "field"),
    [
        ({"gid": ""}, "gid"),
        ({"branch_id": ""}, "branch_id"),
        ({"phase": 0}, "phase"),
        ({"phase": 77}, "phase"),
        ({"succeeded": None}, "outcome"),
        (
            {
                "succeeded": None,
                "phase": types_pb2.PHASE_CONFIRM,
                "refused": {"code": "NO"},
            },
            "refused",
        ),
        ({"succeeded": None, "refused": {"code": ""}}, "refused.code"),
        (
            {"succeeded": None, "refused": {"code": "NO", "message": "x" * 1_001}},
            "refused.message",
        ),
        (
            {"succeeded": {"output": {"data": b"x" * (256 * 1024 + 1)}}},
            "succeeded.output.data",
        ),
    ],
)
def test_a_wrong_completion_names_its_field(reader, fields, field):
    """CompleteBranch is checked like everything else."""
    request = {
        "gid": "g1",
        "branch_id": "b",
        "phase": types_pb2.PHASE_TRY,
        "succeeded": {},
        **fields,
    }
    with pytest.raises(InvalidRequest) as caught:
        reader.complete_branch(coordinator_pb2.CompleteBranchRequest(**request))

    assert caught.value.field == field


def test_a_completion_is_an_answer_without_an_attempt(reader):
    """Attempt 0: somebody else than the called connection answers."""
    wish = reader.complete_branch(
        coordinator_pb2.CompleteBranchRequest(
            gid="g1",
            branch_id="b",
            phase=types_pb2.PHASE_TRY,
            refused={"code": "NO", "message": "no"},
        )
    )

    assert (wish.what.attempt, wish.what.outcome) == (0, Refused("NO", "no"))


@pytest.mark.parametrize("field", ["actor", "reason"])
@pytest.mark.parametrize("value", ["", "  ", "a\nb", "x" * 1_001])
def test_an_operator_says_who_and_why(reader, field, value):
    """Both are required, on one line, and bounded."""
    request = {"gid": "g1", "actor": "ann", "reason": "because", field: value}

    with pytest.raises(InvalidRequest) as caught:
        reader.retry(admin_pb2.OperatorRequest(**request))

    assert caught.value.field == field


@pytest.mark.parametrize(
    ("fields", "field"),
    [
        ({"statuses": [types_pb2.TRYING, 0]}, "statuses[1]"),
        ({"limit": 1_001}, "limit"),
        ({"name": "a b"}, "name"),
        ({"page_token": "rubbish"}, "page_token"),
        ({"page_token": "OTk5OTk5OTk5OTk5OTk5OTk5OTkgZzE="}, "page_token"),
        ({"page_token": "ä"}, "page_token"),
    ],
)
def test_a_wrong_listing_names_its_field(reader, fields, field):
    """Unknown statuses, limits and foreign tokens are refused."""
    with pytest.raises(InvalidRequest) as caught:
        reader.list_(coordinator_pb2.ListRequest(**fields))

    assert caught.value.field == field


def test_a_listing_defaults_to_fifty(reader):
    """0 means the documented default."""
    what = reader.list_(coordinator_pb2.ListRequest(statuses=[types_pb2.TRYING]))

    assert what == TransactionFilter("default", frozenset({Status.TRYING}), limit=50)


# ---- Sagas -------------------------------------------------------------------------


def test_a_saga_is_pinned_to_its_definition(reader, world):
    """S7: name, version, digest and timeout come from the definition."""
    request = coordinator_pb2.SubmitSagaRequest(
        gid="g1", name="loan", input={"data": b'{"a": 1}'}, labels={"tier": "2"}
    )
    wish = reader.submit_saga(request, SAGA)

    wanted = wish.what.request
    assert reader.saga_wanted(request) == ("default", "loan", "latest")
    assert (wanted.mode, wanted.definition_digest, wanted.definition_version) == (
        Mode.SAGA,
        "abc",
        "1.0.0",
    )
    assert wanted.deadline_at == world.clock.now() + 900_000
    assert wanted.input == Payload(b'{"a": 1}', "application/json")
    assert wanted.labels == (("team", "lending"), ("tier", "2"))


def test_a_saga_without_input_has_an_empty_object(reader):
    """Expressions always find an object to look into."""
    wish = reader.submit_saga(
        coordinator_pb2.SubmitSagaRequest(gid="g1", name="loan"), SAGA
    )

    assert wish.what.request.input == Payload(b"{}", "application/json")


def test_latest_submitted_again_is_the_same_request(reader):
    """T10: a newer version in between does not turn a repetition into a conflict."""
    request = coordinator_pb2.SubmitSagaRequest(gid="g1", name="loan")
    first = reader.submit_saga(request, SAGA)
    again = reader.submit_saga(request, replace(SAGA, version="2", digest="def"))

    assert first.what.request.digest == again.what.request.digest


@pytest.mark.parametrize(
    ("payload", "field"),
    [
        ({"data": b"{"}, "input.data"),
        ({"data": b"\xff"}, "input.data"),
        ({"data": b"NaN"}, "input.data"),
        ({"data": b"[" * 100_000}, "input.data"),
        ({"data": b"1 2"}, "input.data"),
        ({"data": b"1", "content_type": "text/plain"}, "input.content_type"),
    ],
)
def test_the_input_of_a_saga_is_json(reader, payload, field):
    """Anything else is refused before a row exists."""
    with pytest.raises(InvalidRequest) as caught:
        reader.submit_saga(
            coordinator_pb2.SubmitSagaRequest(gid="g", name="loan", input=payload), SAGA
        )

    assert caught.value.field == field


def test_the_input_of_a_saga_fits_its_schema(reader):
    """The definition's input schema is checked before a row exists."""
    schema = '{"type": "object", "required": ["amount"]}'
    request = coordinator_pb2.SubmitSagaRequest(gid="g", name="loan")

    with pytest.raises(InvalidRequest, match="amount") as caught:
        reader.submit_saga(request, replace(SAGA, input_schema=schema))

    assert caught.value.detail_reason == "INPUT_AGAINST_SCHEMA"


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
    spec = BranchSpec("b1", "accounts.debit", Payload(b"in"), 3_000, 5)
    branch = Branch(
        spec,
        BranchStatus.REFUSED,
        attempts=2,
        due_at=11,
        pending=True,
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
        attention_since=14,
        attention_reason="r",
        updated_at=15,
        finished_at=16,
    )

    shown = types_pb2.Transaction(**answers.transaction_fields(tx, [branch], LIMITS))

    assert [f.name for f, _ in shown.ListFields()] == [
        f.name for f in types_pb2.Transaction.DESCRIPTOR.fields
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

    shown = types_pb2.Transaction(**answers.transaction_fields(tx, branches, LIMITS))

    assert shown.ByteSize() <= LIMITS.message_bytes_max
    assert len(shown.branches) == 1_000
    omitted = [
        b
        for b in shown.branches
        if b.output.content_type == answers.OMITTED_CONTENT_TYPE
    ]
    assert omitted


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

    fields = answers.transaction_fields(world.make_tx(), branches, LIMITS)

    assert [len(b["output"]["data"]) for b in fields["branches"]] == [256 * 1024] * 3


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

    reply = coordinator_pb2.ListReply(**answers.list_fields(rows, what, LIMITS))

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

    fields = answers.list_fields([world.make_tx()], what, LIMITS)

    assert "next_page_token" not in fields


def test_a_call_carries_all_that_a_participant_needs(world):
    """Every field of the message is filled from the call."""
    call = world.make_call(phase=Phase.CONFIRM, output=Payload(b"held", "a/b"))

    sent = participant_pb2.BranchCall(**answers.call_fields(7, call))

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
