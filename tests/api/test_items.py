"""Many items are made of one message, and each is as if it had one of its own."""

from collections.abc import Iterable

import pytest
from msgspec.structs import replace

from coordinator.api.handlers import Answer, ListAnswer, TransactionAnswer
from coordinator.api.items import (
    RENEWED_AFTER_BYTES,
    Responses,
    SameError,
    call_items,
)
from coordinator.api.limits import Limits
from coordinator.core.model import NO_PAYLOAD, Branch, BranchSpec, Payload
from coordinator.core.words import BranchStatus
from coordinator.ports import TransactionFilter
from protos.v1.coordinator_pb2 import Response, ServerFrame
from protos.v1.participant_pb2 import BranchCall
from protos.v1.types_pb2 import Error

LIMITS = Limits()


def responses(items: Iterable[bytes]) -> list[Response]:
    return list(ServerFrame.FromString(b"".join(items)).responses)


def calls(items: Iterable[bytes]) -> list[BranchCall]:
    return list(ServerFrame.FromString(b"".join(items)).calls)


def test_nothing_of_a_call_is_left_in_the_next(world):
    """What a call does not say is not said by the one before."""
    full = world.make_call(output=Payload(b"o", "a/b"), reconsider=True, depth=3)
    bare = replace(full, input=NO_PAYLOAD, output=NO_PAYLOAD, depth=0, reconsider=False)

    together = calls(call_items([(1, full), (2, bare), (3, full)]))

    assert together == [*alone(1, full), *alone(2, bare), *alone(3, full)]
    assert not together[1].HasField("input")
    assert not together[1].HasField("output")


def alone(call_id, call) -> list[BranchCall]:
    return calls(call_items([(call_id, call)]))


def test_nothing_of_an_answer_is_left_in_the_next(world):
    """Whatever its kind is, and also behind one that cannot be shown."""
    branch = Branch(BranchSpec("b", "a.b", NO_PAYLOAD, 1, 1), BranchStatus.TRIED)
    full = world.make_tx("full", output=Payload(b"o", "a/b"), reason_code="NO")
    what = TransactionFilter("default", limit=1)
    answers: list[Answer] = [
        TransactionAnswer(full, [branch]),
        TransactionAnswer(world.make_tx("bare"), ()),
        ListAnswer([full], what),
        Error(reason="NO"),
        TransactionAnswer(world.make_tx("last"), ()),
    ]
    broken = world.make_tx(reason_code="X", reason_text="\ud800")
    same = Responses(LIMITS)

    items = []
    for number, answer in enumerate(answers):
        with pytest.raises(ValueError, match="surrogates"):
            same.item(99, TransactionAnswer(broken, [branch]))
        items.append(same.item(number, answer))

    own = [Responses(LIMITS).item(n, answer) for n, answer in enumerate(answers)]
    assert responses(items) == responses(own)


def test_answers_go_on_behind_more_than_one_message_is_used_for(world):
    """Its memory is bounded; nothing of that is seen."""
    large = TransactionAnswer(
        world.make_tx(output=Payload(b"x" * RENEWED_AFTER_BYTES)), ()
    )
    same = Responses(LIMITS)

    shown = responses(same.item(number, large) for number in range(3))

    assert [response.id for response in shown] == [0, 1, 2]
    assert {len(response.transaction.output.data) for response in shown} == {
        RENEWED_AFTER_BYTES
    }


def test_one_error_is_told_to_many_requests():
    """Each finds its own id with it; what was handed out before stays as it was."""
    error = Error(status=8, reason="OVERLOADED", message="full", retry_after_ms=7)
    same = SameError(error)

    shown = responses([same.item(number) for number in (1, 300, 2)])

    assert shown == [Response(id=number, error=error) for number in (1, 300, 2)]
