"""The RPCs of ``Catalogue``: what there is, who needs it, and who has the say."""

from collections.abc import Mapping
from typing import Any

from google.protobuf.message import Message

from coordinator import telemetry
from coordinator.api import checks
from coordinator.api.catalogue import Catalogue
from coordinator.api.convert import answers
from coordinator.api.convert.answers import Fields, Shown
from coordinator.api.convert.operator_requests import OperatorReader
from coordinator.api.convert.pages import names_of, token_of
from coordinator.api.convert.participants import operation_of
from coordinator.api.engine_port import Dispatcher
from coordinator.api.limits import Limits
from coordinator.api.operators import Act
from coordinator.api.usage import Usage
from coordinator.core.changed import changed
from coordinator.core.model import Operation, participant_of
from coordinator.ports import AuditEntry, Clock
from protos.v1 import admin_pb2, types_pb2

log = telemetry.get_logger()


class Operations:
    """Serves them from the catalogue of this node."""

    def __init__(
        self,
        *,
        catalogue: Catalogue,
        dispatcher: Dispatcher,
        usage: Usage,
        reader: OperatorReader,
        limits: Limits,
        clock: Clock,
        node_id: str,
    ) -> None:
        self._catalogue = catalogue
        self._dispatcher = dispatcher
        self._usage = usage
        self._reader = reader
        self._limits = limits
        self._clock = clock
        self._node_id = node_id

    @property
    def acts(self) -> Mapping[str, Act]:
        """What serves each RPC."""
        return {
            "Catalogue.ListOperations": self._list,
            "Catalogue.GetOperation": self._get,
            "Catalogue.RegisterOperation": self._register,
            "Catalogue.RemoveOperation": self._remove,
        }

    async def _list(self, request: admin_pb2.ListOperationsRequest) -> Message:
        limits = self._limits
        limit = checks.between(
            request.limit, 1, limits.page_max, "limit", unset=limits.page_default
        )
        after = names_of(request.page_token, 1)[0] if request.page_token else ""
        await self._catalogue.load()
        known = self._catalogue.operations
        names = sorted(name for name in known if name > after)
        sagas = await self._usage.sagas(names[:limit])
        page: list[Fields] = []
        room = limits.frame_bytes_max
        for name in names[:limit]:
            fields = self._fields(known[name], sagas[name])
            room -= types_pb2.Operation(**fields).ByteSize() + 8
            if room < 0 and page:
                break
            page.append(fields)
        is_last = len(page) == len(names)
        return admin_pb2.ListOperationsReply(
            operations=page,
            next_page_token="" if is_last else token_of(page[-1]["name"]),
        )

    async def _get(self, request: admin_pb2.GetOperationRequest) -> Message:
        name = checks.identifier(request.name, "name")
        await self._catalogue.load()
        return await self._report(self._catalogue.get(name, "name"))

    async def _register(self, request: admin_pb2.RegisterOperationRequest) -> Message:
        sent = request.operation
        participant = participant_of(sent.name)
        read = operation_of(sent, participant, "operation", self._limits)
        operation = changed(read, is_registered=True)
        audit = self._audit(f"REGISTER_OPERATION {operation.name}", request)
        await self._catalogue.load()
        is_attached = participant in self._dispatcher.attached()
        await self._catalogue.register(operation, audit, is_attached=is_attached)
        sagas = await self._usage.sagas([operation.name])
        return types_pb2.Operation(**self._fields(operation, sagas[operation.name]))

    async def _remove(self, request: admin_pb2.RemoveOperationRequest) -> Message:
        name = checks.identifier(request.name, "name")
        audit = self._audit(f"REMOVE_OPERATION {name}", request)
        await self._catalogue.load()
        operation = self._catalogue.get(name, "name")
        is_attached = operation.participant in self._dispatcher.attached()
        await self._catalogue.remove(name, audit, is_attached=is_attached)
        report = await self._report(operation)
        if report.needed_by:
            log.warning(
                telemetry.OPERATION_MISSED,
                operations=[name],
                needed_by=[tx.gid for tx in report.needed_by],
                has_more=report.more,
                why="removed",
            )
        return report

    async def _report(self, operation: Operation) -> admin_pb2.OperationReport:
        names = [operation.name]
        sagas = await self._usage.sagas(names)
        need = await self._usage.need(names)
        report = admin_pb2.OperationReport(
            operation=self._fields(operation, sagas[operation.name]), more=need.has_more
        )
        for tx in need.transactions:
            answers.fill_transaction(report.needed_by.add(), tx, (), self._limits)
        return report

    def _fields(self, operation: Operation, sagas: list[str]) -> Fields:
        since = self._dispatcher.attached().get(operation.participant)
        return answers.operation_fields(operation, Shown(self._node_id, since, sagas))

    def _audit(self, action: str, request: Any) -> AuditEntry:
        actor, reason = self._reader.who_and_why(request.actor, request.reason)
        return AuditEntry(actor, action, reason, self._clock.now())
