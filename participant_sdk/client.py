"""The initiator's side: begin transactions, submit sagas, ask how they are."""

import asyncio
import time
from collections.abc import Mapping, Sequence
from types import TracebackType
from typing import Any, Literal, Self

import grpc
import grpc.aio

from participant_sdk.context import current
from participant_sdk.errors import CoordinatorFault, Refused, Unavailable
from participant_sdk.gid import new_gid
from participant_sdk.nested import (
    IndependentTransaction,
    JoinedTransaction,
    Propagation,
    check_can_join,
)
from participant_sdk.requests import Requests, error_of
from participant_sdk.session import (
    CHANNEL_OPTIONS,
    SDK_VERSION,
    Session,
    pause_seconds,
    told_error,
)
from participant_sdk.targets import Targets, targets_of
from participant_sdk.transaction import (
    Call,
    SagaHandle,
    TccTransaction,
    TransactionResult,
    begin_of,
    payload_of,
    result_of,
    spec_of,
)
from protos.v1.admin_pb2 import PublishSagaRequest, SagaDefinition
from protos.v1.coordinator_pb2 import (
    CancelRequest,
    CompleteBranchRequest,
    GetRequest,
    Hello,
    Request,
    SignalSagaRequest,
    SubmitSagaRequest,
)


def connect(
    target: str | Sequence[str],
    *,
    name: str = "python",
    timeout: float = 60.0,
    connect_timeout: float = 10.0,
) -> "Client":
    """A client of the coordinator, for ``async with``.

    Args:
        target: ``host:port`` of a node, or of several with commas between: tried in
            turn. The others are learned from the one that answers; when a node does
            not answer or leaves, the next one is asked.
        name: what this program calls itself, for the coordinator's log.
        timeout: seconds that an answer may take, reconnects and repeats included;
            waiting for a transaction's end has no limit but ``asyncio.timeout``.
        connect_timeout: seconds until the first connection has to stand.
    """
    return Client(target, name=name, timeout=timeout, connect_timeout=connect_timeout)


class Client:
    """A session with the coordinator. Made by ``connect``; share one per program.

    Requests without an answer are sent again after a reconnect; that is safe,
    because each names its gid.
    """

    def __init__(
        self,
        target: str | Sequence[str],
        *,
        name: str,
        timeout: float,
        connect_timeout: float,
    ) -> None:
        self._targets = targets_of(target)
        self._name = name
        self._timeout = timeout
        self._connect_timeout = connect_timeout
        self._welcomed = asyncio.Event()
        self._session = Session(
            self._targets, self._hello, on_welcome=self._welcomed.set
        )
        self._requests = Requests(self._session, timeout)

    async def __aenter__(self) -> Self:
        self._session.start()
        try:
            async with asyncio.timeout(self._connect_timeout):
                await self._welcomed.wait()
        except TimeoutError:
            await self._session.close()
            raise Unavailable(
                f"no coordinator answered at {', '.join(self._targets)} within "
                f"{self._connect_timeout:g} s: is `tercet serve` running there?"
            ) from None
        except BaseException:
            await self._session.close()
            raise
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        await self._session.finish()

    def tcc(
        self,
        name: str,
        *,
        deadline: float | None = None,
        gid: str | None = None,
        labels: Mapping[str, str] | None = None,
        propagation: Propagation = "required",
        check_back: str = "",
        check_back_input: Any = None,
    ) -> TccTransaction:
        """A TCC transaction: ``async with tercet.tcc("transfer") as tx``.

        Inside a try it joins the transaction around it, unless ``propagation`` is
        ``requires_new``; see :mod:`participant_sdk.nested`.

        Args:
            name: of the business transaction, for people.
            deadline: seconds; undecided by then it is cancelled. ``None`` = 60.
            gid: by default a new one. Inside a call, who gives one begins an
                independent transaction.
            labels: to find it by.
            propagation: what it is to the call that this code runs in, if any.
            check_back: an action of yours, asked "commit or not?" when the deadline
                passes undecided although all tries succeeded. Returning means commit,
                ``Refused`` means cancel. Without one it is cancelled.
            check_back_input: what that action is called with.
        """
        begin = begin_of(gid or new_gid(), name, deadline=deadline, labels=labels)
        if check_back:
            begin.check_back = check_back
            begin.input.CopyFrom(payload_of(check_back_input))
        around = current()
        if around is None:
            return TccTransaction(self._requests, begin)
        if gid is not None:
            begin.depth = around.depth + 1
            return TccTransaction(self._requests, begin)
        around.nested_count += 1
        scope = f"{around.nested_count}."
        if propagation == "requires_new":
            return IndependentTransaction(self._requests, begin, around, scope)
        check_can_join(around)
        return JoinedTransaction(self._requests, around, scope)

    async def submit_tcc(
        self,
        name: str,
        tries: Sequence[Call],
        *,
        deadline: float | None = None,
        gid: str | None = None,
        labels: Mapping[str, str] | None = None,
        wait: bool = True,
    ) -> TransactionResult:
        """A declared TCC transaction: one request, the coordinator does the rest.

        With ``wait`` it returns at the end, else once it is durably accepted. The
        result says which end that was; a refusal raises nothing here.
        """
        begin = begin_of(gid or new_gid(), name, deadline=deadline, labels=labels)
        for number, call in enumerate(tries, start=1):
            begin.tries.append(spec_of(call, call.branch_id or str(number)))
        begin.auto_confirm = True
        begin.wait = wait
        return result_of(await self._requests.ask(Request(begin=begin), wait=wait))

    def saga(
        self,
        name: str,
        input: Any = None,  # noqa: A002  # the word of the saga language
        *,
        gid: str | None = None,
        version: str = "",
        labels: Mapping[str, str] | None = None,
    ) -> SagaHandle:
        """A saga of a published definition: then ``submit()`` or ``wait()``.

        Args:
            name: of the definition.
            input: JSON: dataclass, msgspec.Struct, pydantic model or dict.
            gid: by default a new one; the same gid is the same saga.
            version: of the definition; empty = the one published last.
            labels: to find it by.
        """
        submit = SubmitSagaRequest(
            gid=gid or new_gid(),
            name=name,
            version=version,
            input=payload_of(input),
            labels=dict(labels or {}),
        )
        return SagaHandle(self._requests, submit)

    async def get(
        self, gid: str, *, wait: bool = False, with_branches: bool = True
    ) -> TransactionResult:
        """How a transaction is now, or (``wait``) at its end.

        Raises:
            NotFound: the coordinator knows no such transaction.
        """
        get = GetRequest(gid=gid, wait=wait, with_branches=with_branches)
        return result_of(await self._requests.ask(Request(get=get), wait=wait))

    async def cancel(
        self, gid: str, reason: str = "", *, wait: bool = False
    ) -> TransactionResult:
        """Decide against a transaction, unless it is decided already."""
        cancel = CancelRequest(gid=gid, reason=reason, wait=wait)
        return result_of(await self._requests.ask(Request(cancel=cancel), wait=wait))

    async def signal(
        self, gid: str, name: str, payload: Any = None
    ) -> TransactionResult:
        """Say that what a step of a saga waits for, or will wait for, has happened.

        The same signal again changes nothing, so a lost answer may be asked again.

        Args:
            gid: of the saga.
            name: of the signal, as the definition's ``await`` names it.
            payload: JSON; it becomes the output of the step.

        Raises:
            InvalidRequest: no step of the saga awaits a signal of this name.
            AlreadyExists: it came before, with another payload.
        """
        signal = SignalSagaRequest(gid=gid, name=name, payload=payload_of(payload))
        return result_of(await self._requests.ask(Request(signal_saga=signal)))

    async def complete(
        self,
        gid: str,
        branch_id: str,
        output: Any = None,
        *,
        phase: Literal["TRY", "CONFIRM", "CANCEL", "ACTION", "COMPENSATION"] = "ACTION",
        refused: Refused | None = None,
    ) -> TransactionResult:
        """Report how a branch ended that answered ``Pending()``.

        Args:
            gid: of the transaction.
            branch_id: of the branch.
            output: what its handler would have returned.
            phase: the side that was pending.
            refused: the business "no" that its handler would have raised, instead.
        """
        complete = CompleteBranchRequest(
            gid=gid, branch_id=branch_id, phase=f"PHASE_{phase}"
        )
        if refused is None:
            complete.succeeded.output.CopyFrom(payload_of(output))
        else:
            complete.refused.code = refused.code
            complete.refused.message = refused.text
        return result_of(await self._requests.ask(Request(complete_branch=complete)))

    async def publish_saga(self, text: str, source: str = "") -> SagaDefinition:
        """Check a saga and store it. The same text again changes nothing.

        Args:
            text: YAML.
            source: a file name, for messages.

        Raises:
            InvalidRequest: all that is wrong with it, with lines and columns.
            AlreadyExists: that version has another text.
        """
        request = PublishSagaRequest(text=text, source=source)
        targets = Targets(self._targets)
        if self._session.view is not None:
            targets.told((self._session.view.address, *self._session.view.peers))
        give_up_at = time.monotonic() + self._timeout
        failures = 0
        while True:
            seconds = give_up_at - time.monotonic()
            try:
                return await _publish(targets.next(), request, max(seconds, 0.0))
            except grpc.aio.AioRpcError as error:
                failures += 1
                pause = pause_seconds(failures)
                is_away = error.code() == grpc.StatusCode.UNAVAILABLE
                if not is_away or seconds <= pause:
                    raise _unary_error(error) from None
            await asyncio.sleep(pause)

    def _hello(self) -> Hello:
        return Hello(client=self._name, sdk_version=SDK_VERSION)


async def _publish(
    target: str, request: PublishSagaRequest, seconds: float
) -> SagaDefinition:
    async with grpc.aio.insecure_channel(target, options=CHANNEL_OPTIONS) as channel:
        publish = channel.unary_unary(
            "/tercet.v1.Definitions/PublishSaga",
            request_serializer=PublishSagaRequest.SerializeToString,
            response_deserializer=SagaDefinition.FromString,
        )
        return await publish(request, timeout=seconds)


def _unary_error(error: grpc.aio.AioRpcError) -> Exception:
    told = told_error(error)
    if told is not None:
        return error_of(told)
    if error.code() in (
        grpc.StatusCode.UNAVAILABLE,
        grpc.StatusCode.DEADLINE_EXCEEDED,
    ):
        return Unavailable()
    return CoordinatorFault(error.details() or "")
