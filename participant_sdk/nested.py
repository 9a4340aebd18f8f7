"""A transaction begun inside a call: joined to the one around it, or independent.

*Required* (the default inside a try): there is no second transaction. The tries that
the block calls become branches of the surrounding one, nested inside the try that
runs, and follow its decision. Leaving the block normally promises nothing more than
that; leaving it with an exception cancels the whole, because half of a business
change must not be confirmed.

*Requires new*: a transaction of its own, confirmed or cancelled by itself, whatever
becomes of the surrounding one. Its gid is made of the surrounding call, so a call that
is repeated finds the transaction that it began before, and at most one such
transaction of a call is ever confirmed.
"""

from hashlib import sha256
from types import TracebackType
from typing import Any, Literal, Self, TypeAlias

from participant_sdk.barrier.rules import IDENTIFIER_LENGTH_MAX, Phase
from participant_sdk.context import Context
from participant_sdk.errors import InvalidRequest, PreconditionFailed
from participant_sdk.requests import Requests
from participant_sdk.transaction import (
    Call,
    TccTransaction,
    TransactionResult,
    result_of,
)
from protos.v1.coordinator_pb2 import BeginRequest, BranchSpec, GetRequest, Request

Propagation: TypeAlias = Literal["required", "requires_new"]

_TRANSACTIONS_OF_A_CALL_MAX = 100
"""Independent transactions that one call may leave behind cancelled before it gives
up; more is a loop."""


class JoinedTransaction(TccTransaction):
    """Further branches of the surrounding transaction; see the module's head."""

    def __init__(self, requests: Requests, around: Context, scope: str) -> None:
        super().__init__(requests, BeginRequest(gid=around.gid))
        self._parent_branch_id = around.branch_id
        self._scope = scope

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        if error is not None and not self._is_cancelled:
            await self._cancel_because(error)

    async def register(
        self,
        operation: str,  # noqa: ARG002 - the signature of the whole transaction's
        request: Any = None,  # noqa: ARG002 - the same
        *,
        branch_id: str | None = None,  # noqa: ARG002 - the same
    ) -> str:
        """Not here: only the transaction's own initiator can list direct branches."""
        raise PreconditionFailed(
            "a nested block calls its tries by call() or call_all(); register() is for"
            " the initiator of the whole transaction",
            field="branch_id",
        )

    async def confirm(self, *, wait: bool = False) -> TransactionResult:
        """A promise: the decision is the surrounding transaction's. Returns the
        state.
        """
        get = GetRequest(gid=self.gid, wait=wait)
        return result_of(await self._requests.ask(Request(get=get), wait=wait))

    def _spec(self, call: Call) -> BranchSpec:
        spec = super()._spec(call)
        nested = f"{self._parent_branch_id}.{self._scope}{spec.branch_id}"
        if len(nested) > IDENTIFIER_LENGTH_MAX:
            raise InvalidRequest(
                f"the nested branch id {nested!r} is longer than"
                f" {IDENTIFIER_LENGTH_MAX}; choose shorter branch ids",
                field="branch_id",
            )
        self._branch_ids[nested] = self._branch_ids.pop(spec.branch_id)
        spec.branch_id = nested
        spec.parent_branch_id = self._parent_branch_id
        return spec


class IndependentTransaction(TccTransaction):
    """A transaction of its own, found again when the call around it is repeated."""

    def __init__(
        self, requests: Requests, begin: BeginRequest, around: Context, scope: str
    ) -> None:
        self._around = around
        self._scope = scope
        begin.gid = self._candidate(0)
        begin.depth = around.depth + 1
        super().__init__(requests, begin)

    async def __aenter__(self) -> Self:
        for number in range(1, _TRANSACTIONS_OF_A_CALL_MAX):
            get = await self._requests.ask(Request(begin=self._begin))
            if result_of(get).status not in ("CANCELLING", "CANCELLED"):
                break
            self.gid = self._begin.gid = self._candidate(number)
        return await super().__aenter__()

    def _candidate(self, number: int) -> str:
        key = f"{self._around.idempotency_key}/{self._scope}{number}"
        return f"n-{sha256(key.encode()).hexdigest()}"


def check_can_join(around: Context) -> None:
    """Raise ``PreconditionFailed`` where there is no open try to join."""
    if around.phase is not Phase.TRY:
        raise PreconditionFailed(
            f"a transaction begun inside {around.phase} cannot join: only a try can"
            ' gain branches. Say propagation="requires_new"',
            field="propagation",
        )
