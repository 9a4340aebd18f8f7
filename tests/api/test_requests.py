"""Requests become inputs, and nothing that is wrong passes."""

from dataclasses import replace

import pytest

from coordinator.api.limits import Limits
from coordinator.core.backoff import RetryPolicy
from coordinator.core.definition import BranchKind, Call, Constant, SagaDefinition, Step
from coordinator.core.errors import InvalidRequest
from coordinator.core.inputs import (
    Cancel,
    Confirm,
    Observe,
    Refused,
    Signal,
)
from coordinator.core.model import (
    NO_PAYLOAD,
    BranchSpec,
    Payload,
)
from coordinator.core.words import Mode, Status
from coordinator.ports import TransactionFilter
from protos.v1 import coordinator_pb2, types_pb2

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


@pytest.fixture
def reader(world):
    """Reads requests with default limits and a fixed clock."""
    return world.reader()


def begin(**fields) -> coordinator_pb2.BeginRequest:
    return coordinator_pb2.BeginRequest(**{"gid": "g1", "tries": [SPEC], **fields})


# ---- Begin -------------------------------------------------------------------------


def test_begin_fills_in_the_documented_defaults(reader, world):
    """60 s, 3 s an attempt, 5 attempts, pending without an end of its own."""
    wish = reader.begin(begin())

    request, (spec,) = wish.what.request, wish.what.tries
    assert request.created_at == world.clock.now()
    assert request.deadline_at == world.clock.now() + 60_000
    assert (spec.timeout_ms, spec.attempt_max) == (3_000, 5)
    assert (spec.pending_timeout_ms, spec.parent_branch_id) == (0, "")
    assert (request.check_back, request.input, request.depth) == ("", Payload(), 0)
    assert spec.input == Payload()
    assert not request.declared
    assert not wish.what.wait


def test_begin_keeps_what_was_asked_for(reader):
    """Every field arrives in the input."""
    payload = {"data": b"{}", "content_type": "application/json"}
    wish = reader.begin(
        begin(
            name="transfer",
            deadline_ms=5_000,
            labels={"z": "1", "a": "2"},
            tries=[
                {
                    **SPEC,
                    "input": payload,
                    "timeout_ms": 7,
                    "attempt_max": 100,
                    "pending_timeout_ms": 8,
                    "parent_branch_id": "b0",
                }
            ],
            check_back="ledger.post",
            input={"data": b"asked", "content_type": "a/b"},
            depth=8,
            auto_confirm=True,
            wait=True,
        )
    )

    assert wish.key == ("default", "g1")
    assert wish.what.wait
    assert wish.what.request.declared
    assert wish.what.request.labels == (("a", "2"), ("z", "1"))
    assert wish.what.request.check_back == "ledger.post"
    assert wish.what.request.input == Payload(b"asked", "a/b")
    assert wish.what.request.depth == 8
    held = Payload(b"{}", "application/json")
    assert wish.what.tries == (
        BranchSpec("b1", "accounts.debit", held, 7, 100, 8, "b0"),
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
        {"tries": [{**SPEC, "pending_timeout_ms": 1}]},
        {"tries": [{**SPEC, "parent_branch_id": "b0"}]},
        {"check_back": "ledger.post"},
        {"input": {"data": b"1"}},
        {"depth": 1},
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
            {"tries": [{**SPEC, "pending_timeout_ms": 30 * 86_400_000 + 1}]},
            "tries[0].pending_timeout_ms",
        ),
        (
            {"tries": [{**SPEC, "parent_branch_id": "a b"}]},
            "tries[0].parent_branch_id",
        ),
        ({"check_back": "a b"}, "check_back"),
        ({"input": {"data": b"x" * (256 * 1024 + 1)}}, "input.data"),
        ({"depth": 9}, "depth"),
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


def test_too_deep_a_nesting_has_a_reason_of_its_own(reader):
    """T12: who meets a loop can tell it from a typing error."""
    with pytest.raises(InvalidRequest) as caught:
        reader.begin(begin(depth=9))

    assert caught.value.detail_reason == "NESTED_TOO_DEEP"


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
                    "pending_timeout_ms": 30 * 86_400_000,
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


@pytest.mark.parametrize(
    ("fields", "field"),
    [
        ({"gid": ""}, "gid"),
        ({"name": ""}, "name"),
        ({"name": "not a name"}, "name"),
        ({"payload": {"data": b"{"}}, "payload.data"),
        ({"payload": {"data": b"1", "content_type": "x/y"}}, "payload.content_type"),
        ({"payload": {"data": b'"%s"' % (b"x" * 262_143)}}, "payload.data"),
    ],
)
def test_a_signal_names_its_step_and_carries_json(reader, fields, field):
    """The field at fault is named, and no signal is made of rubbish."""
    request = {"gid": "g1", "name": "approved", **fields}

    with pytest.raises(InvalidRequest) as caught:
        reader.signal_saga(coordinator_pb2.SignalSagaRequest(**request))

    assert caught.value.field == field


@pytest.mark.parametrize(
    ("sent", "read"),
    [
        ({}, NO_PAYLOAD),
        ({"content_type": "application/json"}, NO_PAYLOAD),
        ({"data": b'{"by": "ann"}'}, Payload(b'{"by": "ann"}', "application/json")),
    ],
)
def test_a_signal_is_read(reader, sent, read):
    """Name and payload arrive; a payload is always marked as JSON."""
    wish = reader.signal_saga(
        coordinator_pb2.SignalSagaRequest(gid="g1", name="approved", payload=sent)
    )

    assert wish.what == Signal("approved", read)
