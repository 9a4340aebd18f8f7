"""What operators ask becomes inputs; who and why are always required."""

from collections.abc import Callable, Mapping
from typing import NamedTuple, TypeAlias

from coordinator.api import checks
from coordinator.api.convert.requests import RequestReader
from coordinator.core.changed import changed
from coordinator.core.errors import InvalidRequest
from coordinator.core.inputs import (
    CancelByOperator,
    OperatorInput,
    Pause,
    Resolve,
    Resume,
    RetryNow,
)
from coordinator.core.model import Key
from coordinator.core.words import Status
from coordinator.ports import TransactionFilter
from protos.v1 import admin_pb2

ACTOR_CHARS_MAX = 128

MakeInput: TypeAlias = Callable[[str, str], OperatorInput]
"""Makes an input of actor and reason."""

ACTIONS: Mapping[int, MakeInput] = {
    admin_pb2.RETRY: RetryNow,
    admin_pb2.PAUSE: Pause,
    admin_pb2.RESUME: Resume,
    admin_pb2.CANCEL: CancelByOperator,
}

_OPEN = frozenset(status for status in Status if not status.is_final)


class Many(NamedTuple):
    """The same wish for every transaction that a filter finds."""

    what: OperatorInput
    wanted: TransactionFilter


class OperatorReader:
    """Turns operators' requests into inputs, or raises ``InvalidRequest``."""

    def __init__(self, reader: RequestReader) -> None:
        self._reader = reader

    def one(
        self, request: admin_pb2.OperatorRequest, make: MakeInput
    ) -> tuple[Key, OperatorInput]:
        """A wish about one transaction."""
        key = self._reader.key(request.gid)
        return key, make(*self.who_and_why(request.actor, request.reason))

    def resolve(self, request: admin_pb2.ResolveBranchRequest) -> tuple[Key, Resolve]:
        """A branch was settled by hand."""
        key = self._reader.key(request.gid)
        branch_id = checks.identifier(request.branch_id, "branch_id")
        actor, reason = self.who_and_why(request.actor, request.reason)
        return key, Resolve(branch_id, actor, reason)

    def many(self, request: admin_pb2.OperateManyRequest) -> Many:
        """A wish about all that a filter finds; only the unfinished can be meant."""
        make = ACTIONS.get(request.action)
        if make is None:
            names = ", ".join(admin_pb2.OperatorAction.Name(n) for n in ACTIONS)
            raise InvalidRequest(
                f"action: expected one of {names}. Name what is to be done.",
                field="action",
            )
        what = make(*self.who_and_why(request.actor, request.reason))
        try:
            wanted = self._reader.list_(request.filter)
        except InvalidRequest as problem:
            raise InvalidRequest(
                f"filter.{problem}", field=f"filter.{problem.field}"
            ) from None
        if not (wanted.statuses or wanted.name or wanted.attention):
            raise InvalidRequest(
                "filter: expected statuses, a name or attention to narrow it. Nobody "
                "means every transaction there is: say which ones.",
                field="filter",
                reason="FILTER_TOO_WIDE",
            )
        if ended := sorted(wanted.statuses - _OPEN):
            raise InvalidRequest(
                f"filter.statuses: expected statuses of unfinished transactions, but "
                f"{', '.join(ended)} is an end, and nothing can be done any more. "
                "Leave it out.",
                field="filter.statuses",
            )
        return Many(what, changed(wanted, statuses=wanted.statuses or _OPEN))

    def who_and_why(self, actor: str, reason: str) -> tuple[str, str]:
        """Both, which an audit cannot do without."""
        chars_max = self._reader.limits.text_chars_max
        return (
            checks.text(actor, "actor", chars_max=ACTOR_CHARS_MAX, required=True),
            checks.text(reason, "reason", chars_max=chars_max, required=True),
        )
