"""The items of a session's frames, as bytes.

A :class:`ServerFrame` consists of repeated items only, and protobuf defines the
concatenation of two messages' bytes as their merge. So an item is serialised as a
frame of its own when it is ready, its exact size is known, an item that cannot be
serialised harms nobody else, and a frame is the concatenation of its items.
"""

from coordinator.api.convert.answers import fill_call, fill_list, fill_transaction
from coordinator.api.handlers import Answer, ListAnswer, TransactionAnswer
from coordinator.api.limits import Limits
from coordinator.core.actions import CallBranch
from protos.v1.coordinator_pb2 import ServerFrame

RENEWED_AFTER_BYTES = 4_096
"""Items that were made of one message. To make one costs as much as to fill it in, so
some thirty share it; and what was in it before takes its memory until it is gone."""


class ItemWriter:
    """Serialises responses and calls, many of them with the same message."""

    def __init__(self, limits: Limits) -> None:
        self._limits = limits
        self._renew()

    def _renew(self) -> None:
        self._left = RENEWED_AFTER_BYTES
        self._responding, self._calling = ServerFrame(), ServerFrame()
        self._response = self._responding.responses.add()
        self._call = self._calling.calls.add()

    def response(self, request_id: int, answer: Answer) -> bytes:
        """The answer to a request."""
        response = self._response
        response.Clear()
        response.id = request_id
        if isinstance(answer, TransactionAnswer):
            fill_transaction(
                response.transaction, answer.tx, answer.branches, self._limits
            )
        elif isinstance(answer, ListAnswer):
            fill_list(response.list, answer.found, answer.what, self._limits)
        else:
            response.error.CopyFrom(answer)
        return self._serialised(self._responding)

    def call(self, call_id: int, call: CallBranch) -> bytes:
        """A call to a participant."""
        self._call.Clear()
        fill_call(self._call, call_id, call)
        return self._serialised(self._calling)

    def _serialised(self, frame: ServerFrame) -> bytes:
        item = frame.SerializeToString()
        self._left -= len(item)
        if self._left < 0:
            self._renew()
        return item
