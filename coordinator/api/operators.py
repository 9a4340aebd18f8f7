"""What operators do to transactions, one by one or by filter, and the audit of it.

An audit entry travels with its input and is stored in the same database transaction
as the effect. A wish that changes nothing (a pause of what is paused) needs none.
"""

import asyncio
from collections.abc import Awaitable, Callable, Mapping, Sequence
from functools import partial
from typing import Any, TypeAlias

from google.protobuf.message import Message

from coordinator.api import kept
from coordinator.api.convert import answers
from coordinator.api.convert.answers import Fields
from coordinator.api.convert.enums import STATUSES
from coordinator.api.convert.operator_requests import MakeInput, OperatorReader
from coordinator.api.engine_port import Engine, Result
from coordinator.api.limits import Limits
from coordinator.api.status_codes import error_of
from coordinator.core.changed import changed
from coordinator.core.inputs import (
    CancelByOperator,
    OperatorInput,
    Pause,
    Resolve,
    Resume,
    RetryNow,
)
from coordinator.core.model import GlobalTransaction, Key
from coordinator.ports import AuditEntry, Clock, Queries, TransactionFilter
from protos.v1 import admin_pb2, coordinator_pb2
from protos.v1.types_pb2 import Error

Act: TypeAlias = Callable[[Any], Awaitable[Message | Error]]


class Operators:
    """The RPCs of ``Admin`` that change something."""

    def __init__(
        self,
        *,
        engine: Engine,
        queries: Queries,
        reader: OperatorReader,
        limits: Limits,
        clock: Clock,
    ) -> None:
        self._engine = engine
        self._queries = queries
        self._limits = limits
        self._reader = reader
        self._clock = clock

    @property
    def acts(self) -> Mapping[str, Act]:
        """What serves each RPC."""
        return {
            "Admin.RetryTransaction": partial(self._one, RetryNow),
            "Admin.PauseTransaction": partial(self._one, Pause),
            "Admin.ResumeTransaction": partial(self._one, Resume),
            "Admin.CancelTransaction": partial(self._one, CancelByOperator),
            "Admin.ResolveBranch": self._resolve_branch,
            "Admin.OperateMany": self._many,
        }

    async def _one(
        self, make: MakeInput, request: admin_pb2.OperatorRequest
    ) -> Message | Error:
        return self._reply(await self._submit(*self._reader.one(request, make)))

    async def _resolve_branch(
        self, request: admin_pb2.ResolveBranchRequest
    ) -> Message | Error:
        return self._reply(await self._submit(*self._reader.resolve(request)))

    async def _many(self, request: admin_pb2.OperateManyRequest) -> Message:
        what, wanted = self._reader.many(request)
        found = await self._queries.list_transactions(wanted)
        # Looked up first: what was acted upon may not match the filter any more.
        token = await self._token(found, wanted)
        results: Sequence[Result] = found
        if not request.dry_run:
            results = await asyncio.gather(
                *(self._submit(tx.key, what) for tx in found)
            )
        return admin_pb2.OperateManyReply(
            items=[_item(*pair) for pair in zip(found, results, strict=True)],
            more=bool(token),
            next_page_token=token,
        )

    async def _token(
        self, found: Sequence[GlobalTransaction], wanted: TransactionFilter
    ) -> str:
        """Where the next page begins, empty when there is none."""
        if len(found) < wanted.limit:
            return ""
        last = found[-1].request
        before = (last.created_at, last.key.gid)
        following = changed(wanted, limit=1, before=before)
        is_more = await self._queries.list_transactions(following)
        return answers.page_token(*before) if is_more else ""

    async def _submit(self, key: Key, what: OperatorInput) -> Result:
        future: asyncio.Future[Result] = asyncio.get_running_loop().create_future()
        audit = AuditEntry(what.actor, _audited(what), what.reason, self._clock.now())
        ticket = self._engine.submit(key, what, partial(_answer, future), audit=audit)
        try:
            return await future
        finally:
            ticket.cancel()

    def _reply(self, result: Result) -> Message | Error:
        if not isinstance(result, GlobalTransaction):
            return error_of(kept.explained(result, self._limits))
        reply = coordinator_pb2.TransactionReply()
        answers.fill_transaction(reply.transaction, result, (), self._limits)
        return reply


def _audited(what: OperatorInput) -> str:
    """The action's word in the audit; a branch that is settled is named in it."""
    match what:
        case RetryNow():
            return "RETRY_TRANSACTION"
        case Pause():
            return "PAUSE_TRANSACTION"
        case Resume():
            return "RESUME_TRANSACTION"
        case CancelByOperator():
            return "CANCEL_TRANSACTION"
        case Resolve(branch_id):
            return f"RESOLVE_BRANCH {branch_id}"


def _item(before: GlobalTransaction, result: Result) -> Fields:
    gid = before.key.gid
    if isinstance(result, GlobalTransaction):
        return {"gid": gid, "status": STATUSES[result.status]}
    return {
        "gid": gid,
        "status": STATUSES[before.status],
        "error": error_of(result),
    }


def _answer(future: asyncio.Future[Result], result: Result) -> None:
    if not future.done():
        future.set_result(result)
