"""A TCC transaction and a saga, as their initiator sees them."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from types import TracebackType
from typing import Any, Self, TypeVar, overload

from participant_sdk.errors import (
    AlreadyExists,
    InvalidRequest,
    PreconditionFailed,
    Refused,
    TercetError,
    TransactionCancelled,
)
from participant_sdk.log import log
from participant_sdk.payload import Codec, encode
from participant_sdk.requests import Requests
from protos.v1 import types_pb2
from protos.v1.coordinator_pb2 import (
    BeginRequest,
    BranchSpec,
    CancelRequest,
    ConfirmRequest,
    GetRequest,
    RegisterRequest,
    Request,
    SubmitSagaRequest,
    TryRequest,
)
from protos.v1.types_pb2 import Branch, Payload, Transaction

T = TypeVar("T")

_ANYTHING = Codec(Any)
_REFUSED = types_pb2.BRANCH_REFUSED
_UNDECIDED = types_pb2.TRYING
_COMMITTED = frozenset({types_pb2.CONFIRMING, types_pb2.CONFIRMED})


@dataclass(frozen=True, slots=True)
class Call:
    """One try of several.

    Attributes:
        operation: such as ``accounts.debit``.
        request: dataclass, msgspec.Struct, pydantic model, dict, bytes or ``None``.
        branch_id: the same key is the same branch; by default the next number.
        timeout_seconds: of one attempt; ``None`` = the coordinator's.
        attempt_max: tries before the transaction is cancelled; ``None`` = likewise.
    """

    operation: str
    request: Any = None
    branch_id: str | None = None
    timeout_seconds: float | None = None
    attempt_max: int | None = None


@dataclass(frozen=True, slots=True)
class BranchResult:
    """One participant's share, as the coordinator has it."""

    branch_id: str
    operation: str
    status: str
    attempts: int
    output: Any
    error_code: str
    error_text: str


@dataclass(frozen=True, slots=True)
class TransactionResult:
    """A global transaction, as the coordinator has it.

    Attributes:
        status: such as CONFIRMED or COMPENSATED; see the glossary.
        output: of a saga.
        reason_code: why it was decided against.
        branches: where they were asked for.
    """

    gid: str
    name: str
    status: str
    output: Any = None
    reason_code: str = ""
    reason_text: str = ""
    branches: tuple[BranchResult, ...] = field(default=())

    @property
    def is_ok(self) -> bool:
        """Confirmed or completed: every branch took effect."""
        return self.status in ("CONFIRMED", "COMPLETED")


def result_of(transaction: Transaction) -> TransactionResult:
    """The plain value of what came over the wire."""
    return TransactionResult(
        gid=transaction.gid,
        name=transaction.name,
        status=types_pb2.TransactionStatus.Name(transaction.status),
        output=_decode(transaction.output),
        reason_code=transaction.reason_code,
        reason_text=transaction.reason_text,
        branches=tuple(map(_branch_of, transaction.branches)),
    )


def _branch_of(branch: Branch) -> BranchResult:
    return BranchResult(
        branch_id=branch.branch_id,
        operation=branch.operation,
        status=types_pb2.BranchStatus.Name(branch.status),
        attempts=branch.attempts,
        output=_decode(branch.output),
        error_code=branch.error_code,
        error_text=branch.error_text,
    )


def _decode(payload: Payload, declared: Any = None) -> Any:
    if not payload.data and not payload.content_type:
        return None
    if declared is None:
        if payload.content_type not in ("", "application/json"):
            return payload.data
        return _ANYTHING.decode(payload.data, payload.content_type)
    return Codec(declared).decode(payload.data, payload.content_type)


def payload_of(value: Any) -> Payload:
    """As it travels."""
    data, content_type = encode(value)
    return Payload(data=data, content_type=content_type)


def spec_of(call: Call, branch_id: str) -> BranchSpec:
    """As it travels."""
    return BranchSpec(
        branch_id=branch_id,
        operation=call.operation,
        input=payload_of(call.request),
        timeout_ms=_milliseconds(call.timeout_seconds, "timeout_seconds"),
        attempt_max=call.attempt_max or 0,
    )


class TccTransaction:
    """A TCC transaction with mediated or direct tries.

    ``async with``: leaving normally confirms, and returns once that decision is
    durable; raising cancels, and raises on. After ``cancel()`` leaving does nothing.

    Attributes:
        gid: of the transaction.
    """

    def __init__(self, requests: Requests, begin: BeginRequest) -> None:
        self.gid = begin.gid
        self._requests = requests
        self._begin = begin
        self._count = 0
        self._branch_ids: dict[str, None] = {}
        self._seen: dict[str, None] = {}
        self._is_direct = False
        self._is_cancelled = False
        self._is_given_up = False

    async def __aenter__(self) -> Self:
        transaction = await self._requests.ask(Request(begin=self._begin))
        if transaction.status in _COMMITTED:
            raise AlreadyExists(
                f"transaction {self.gid} is confirmed already: nothing is left to do",
                field="gid",
            )
        self._check_undecided(transaction, [])
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        if error is None:
            if not self._is_given_up:
                await self.confirm()
        elif not self._is_cancelled:
            await self._cancel_because(error)

    @overload
    async def call(
        self,
        operation: str,
        request: Any = ...,
        returns: type[T] = ...,
        *,
        branch_id: str | None = ...,
        timeout_seconds: float | None = ...,
        attempt_max: int | None = ...,
    ) -> T: ...
    @overload
    async def call(
        self,
        operation: str,
        request: Any = ...,
        returns: None = ...,
        *,
        branch_id: str | None = ...,
        timeout_seconds: float | None = ...,
        attempt_max: int | None = ...,
    ) -> Any: ...
    async def call(
        self,
        operation: str,
        request: Any = None,
        returns: Any = None,
        *,
        branch_id: str | None = None,
        timeout_seconds: float | None = None,
        attempt_max: int | None = None,
    ) -> Any:
        """Let the coordinator try ``operation``; its answer, as ``returns`` if given.

        Raises:
            Refused: the participant said no; the transaction is being cancelled.
            TransactionCancelled: it was decided against for another reason.
            RequestError: the request itself was told no.
        """
        call = Call(operation, request, branch_id, timeout_seconds, attempt_max)
        branches = await self._try([call])
        return _decode(branches[0].output, returns)

    async def call_all(self, calls: Sequence[Call]) -> list[Any]:
        """Let the coordinator try all ``calls`` at once; their answers, in order.

        Raises:
            Refused: one participant said no; the transaction is being cancelled.
            TransactionCancelled: it was decided against for another reason.
            RequestError: the request itself was told no.
        """
        if not calls:
            return []
        return [_decode(branch.output) for branch in await self._try(calls)]

    async def register(
        self, operation: str, request: Any = None, *, branch_id: str | None = None
    ) -> str:
        """Register a branch whose try you send yourself (direct); its id.

        Send the try only after this returned, and say ``succeeded`` when it has.
        """
        self._is_direct = True
        spec = self._spec(Call(operation, request, branch_id))
        register = RegisterRequest(gid=self.gid, branches=[spec])
        transaction = await self._join(Request(register=register))
        self._check_undecided(transaction, [spec.branch_id])
        return spec.branch_id

    def succeeded(self, branch_id: str) -> None:
        """You saw the try of this registered branch succeed."""
        if branch_id not in self._branch_ids:
            raise InvalidRequest(
                f"{branch_id!r} is no branch of this transaction: give what "
                "register() returned",
                field="branch_id",
            )
        self._seen[branch_id] = None

    async def confirm(self, *, wait: bool = False) -> TransactionResult:
        """Decide for the transaction; with ``wait`` return when all is confirmed.

        Raises:
            TransactionCancelled: it was decided against first.
        """
        listed = list(self._seen) if self._is_direct else []
        if self._is_direct and len(listed) != len(self._branch_ids):
            missing = ", ".join(b for b in self._branch_ids if b not in self._seen)
            await self.cancel("BRANCH_NOT_SEEN")
            raise PreconditionFailed(
                f"branches {missing} were not reported by succeeded(); the "
                "transaction is being cancelled",
                field="branch_ids",
            )
        confirm = ConfirmRequest(gid=self.gid, branch_ids=listed, wait=wait)
        transaction = await self._requests.ask(Request(confirm=confirm), wait=wait)
        if transaction.status not in _COMMITTED:
            self._is_cancelled = True
            raise _cancelled(transaction)
        return result_of(transaction)

    async def cancel(
        self, reason: str = "", *, wait: bool = False
    ) -> TransactionResult:
        """Decide against it; with ``wait`` return when all is cancelled."""
        cancel = CancelRequest(gid=self.gid, reason=reason, wait=wait)
        transaction = await self._requests.ask(Request(cancel=cancel), wait=wait)
        self._is_cancelled = self._is_given_up = True
        return result_of(transaction)

    def _spec(self, call: Call) -> BranchSpec:
        branch_id = call.branch_id
        if branch_id is None:
            self._count += 1
            while str(self._count) in self._branch_ids:
                self._count += 1
            branch_id = str(self._count)
        spec = spec_of(call, branch_id)
        self._branch_ids[branch_id] = None
        return spec

    async def _try(self, calls: Sequence[Call]) -> list[Branch]:
        specs = [self._spec(call) for call in calls]
        transaction = await self._join(_try_request(self.gid, specs))
        wanted = [spec.branch_id for spec in specs]
        found = self._check_undecided(transaction, wanted)
        if any(branch_id not in found for branch_id in wanted):
            get = GetRequest(gid=self.gid, with_branches=True)
            transaction = await self._requests.ask(Request(get=get))
            found = self._check_undecided(transaction, wanted)
        for branch_id in wanted:
            self._seen[branch_id] = None
        return [found[branch_id] for branch_id in wanted]

    async def _join(self, request: Request) -> Transaction:
        """Ask for more branches; who comes too late learns what was decided."""
        try:
            return await self._requests.ask(request)
        except PreconditionFailed as late:
            if late.reason != "TRANSACTION_DECIDED":
                raise
            decided = await self._requests.ask(Request(get=GetRequest(gid=self.gid)))
            if decided.status == _UNDECIDED or decided.status in _COMMITTED:
                raise
        self._is_cancelled = True
        raise _cancelled(decided)

    def _check_undecided(
        self, transaction: Transaction, wanted: Sequence[str]
    ) -> dict[str, Branch]:
        """The reply's branches, unless the transaction was decided against."""
        found = {branch.branch_id: branch for branch in transaction.branches}
        if transaction.status == _UNDECIDED:
            return found
        self._is_cancelled = True
        for branch_id in wanted:
            branch = found.get(branch_id)
            if branch is not None and branch.status == _REFUSED:
                raise Refused(branch.error_code, branch.error_text)
        raise _cancelled(transaction)

    async def _cancel_because(self, error: BaseException) -> None:
        reason = type(error).__name__
        if not isinstance(error, Exception):
            # The task is being cancelled or the program ends: do not wait.
            cancel = CancelRequest(gid=self.gid, reason=reason)
            self._requests.post(Request(cancel=cancel))
            return
        try:
            await self.cancel(reason)
        except TercetError as failure:
            # The caller learns why the transaction failed; its deadline cancels it.
            log().warning("cancel_failed", gid=self.gid, reason=failure.reason)


class SagaHandle:
    """A saga that is about to be, or was, submitted.

    Attributes:
        gid: of the transaction. The same gid and input are the same saga.
    """

    def __init__(self, requests: Requests, submit: SubmitSagaRequest) -> None:
        self.gid = submit.gid
        self._requests = requests
        self._submit = submit

    async def submit(self) -> TransactionResult:
        """Submit it; returns once that is durable."""
        return await self._ask(wait=False)

    async def wait(self) -> TransactionResult:
        """Submit it unless that was done, and return at its end."""
        return await self._ask(wait=True)

    async def _ask(self, *, wait: bool) -> TransactionResult:
        submit = SubmitSagaRequest()
        submit.CopyFrom(self._submit)
        submit.wait = wait
        request = Request(submit_saga=submit)
        return result_of(await self._requests.ask(request, wait=wait))


def begin_of(
    gid: str,
    name: str,
    *,
    deadline: float | None,
    labels: Mapping[str, str] | None,
) -> BeginRequest:
    """As it travels."""
    return BeginRequest(
        gid=gid,
        name=name,
        deadline_ms=_milliseconds(deadline, "deadline"),
        labels=dict(labels or {}),
    )


def _try_request(gid: str, specs: Sequence[BranchSpec]) -> Request:
    request = Request()
    # Its field has the name of a keyword.
    getattr(request, "try").CopyFrom(TryRequest(gid=gid, tries=specs))
    return request


def _cancelled(transaction: Transaction) -> TransactionCancelled:
    return TransactionCancelled(
        transaction.gid, transaction.reason_code, transaction.reason_text
    )


def _milliseconds(seconds: float | None, name: str) -> int:
    if seconds is None:
        return 0
    if seconds <= 0:
        raise InvalidRequest(
            f"{name} is a number of seconds above 0; leave it out for the default",
            field=name,
        )
    return max(1, round(seconds * 1000))
