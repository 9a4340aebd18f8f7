"""The items of a session's frames, as bytes.

A :class:`ServerFrame` consists of repeated items only, and protobuf defines the
concatenation of two messages' bytes as their merge. So an item is serialised as a
frame of its own when it is ready, its exact size is known, an item that cannot be
serialised harms nobody else, and a frame is the concatenation of its items.

To make a message costs as much as to fill it in, so many items are made of one. What
was in it before takes its memory until it is gone.
"""

from collections.abc import Sequence

from coordinator.api.convert.answers import fill_call, fill_list, fill_transaction
from coordinator.api.handlers import Answer, ListAnswer, TransactionAnswer
from coordinator.api.limits import Limits
from coordinator.core.actions import CallBranch
from protos.v1.coordinator_pb2 import ServerFrame
from protos.v1.types_pb2 import Error

RENEWED_AFTER_BYTES = 4_096
"""Responses that were made of one message: some thirty."""


def call_items(calls: Sequence[tuple[int, CallBranch]]) -> list[bytes]:
    """Calls to a participant, each with the id that its answer will carry."""
    frame = ServerFrame()
    asked, serialise = frame.calls.add(), frame.SerializeToString
    items = []
    for call_id, call in calls:
        asked.Clear()
        fill_call(asked, call_id, call)
        items.append(serialise())
    return items


class SameError:
    """Serialises one error for many requests, if there are any.

    Nothing but their ids is set anew.
    """

    def __init__(self, error: Error) -> None:
        self._error = error
        self._frame: ServerFrame | None = None

    def item(self, request_id: int) -> bytes:
        """The answer to this request."""
        frame = self._frame
        if frame is None:
            frame = self._frame = ServerFrame()
            self._response = frame.responses.add(error=self._error)
        self._response.id = request_id
        return frame.SerializeToString()


class Responses:
    """Serialises answers to requests, which become known one by one."""

    def __init__(self, limits: Limits) -> None:
        self._limits = limits
        self._renew()

    def _renew(self) -> None:
        self._left = RENEWED_AFTER_BYTES
        self._frame = ServerFrame()
        self._response = self._frame.responses.add()

    def item(self, request_id: int, answer: Answer) -> bytes:
        """The answer to this request."""
        response = self._response
        response.Clear()
        response.id = request_id
        if isinstance(answer, TransactionAnswer):
            tx, branches = answer.tx, answer.branches
            fill_transaction(response.transaction, tx, branches, self._limits)
        elif isinstance(answer, ListAnswer):
            fill_list(response.list, answer.found, answer.what, self._limits)
        else:
            response.error.CopyFrom(answer)
        item = self._frame.SerializeToString()
        self._left -= len(item)
        if self._left < 0:
            self._renew()
        return item
