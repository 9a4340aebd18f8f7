"""The atomic services that transactions may name, in memory on this node.

An entry is *announced* by the sessions of its participant, or *registered* by an
administrator. Who has the say:

* The kind of an operation never changes: stored transactions and sagas rely on it.
* Of an announced entry, the announcement that came last counts. Two processes of one
  participant that announce different schemas are two releases of it during a
  deployment, and each must be able to attach at any time, also when it is rolled back.
  The change is logged with the fields that changed.
* Of a registered entry, the administrator's word counts. A participant that announces
  less or something else is refused, and the error names the field. What either side
  leaves empty contradicts nothing.
"""

import difflib
from collections.abc import Iterable, Mapping, Sequence

from msgspec.structs import fields

from coordinator import telemetry
from coordinator.api.limits import Limits
from coordinator.api.schemas import same_schema
from coordinator.core.errors import (
    InvalidRequest,
    NotFound,
    PreconditionFailed,
    Refusal,
)
from coordinator.core.model import DEFAULT_NAMESPACE, Operation
from coordinator.core.words import OperationKind
from coordinator.ports import AuditEntry, Queries

UNKNOWN_OPERATION = "UNKNOWN_OPERATION"
WRONG_OPERATION_KIND = "WRONG_OPERATION_KIND"
OPERATION_KIND_CONFLICT = "OPERATION_KIND_CONFLICT"
OPERATION_CONFLICT = "OPERATION_CONFLICT"
OPERATION_ATTACHED = "OPERATION_ATTACHED"
CATALOGUE_FULL = "CATALOGUE_FULL"

log = telemetry.get_logger()


class Catalogue:
    """The operations of one namespace: loaded at start, added by participants."""

    def __init__(
        self,
        queries: Queries,
        namespace: str = DEFAULT_NAMESPACE,
        *,
        limits: Limits | None = None,
    ) -> None:
        self._queries = queries
        self._namespace = namespace
        self._limits = limits or Limits()
        self._operations: dict[str, Operation] = {}
        self._announced: dict[str, Operation] = {}
        self._writes = 0

    async def load(self) -> None:
        """Read what is stored, also by other nodes. Raises ``StoreUnavailable``."""
        writes = self._writes
        stored = await self._queries.list_operations(self._namespace)
        # What was written here meanwhile may be newer than what was read.
        if writes == self._writes:
            found = {operation.name: operation for operation in stored}
            for name in self._operations.keys() - found.keys():
                del self._operations[name]
            self._operations.update(found)

    @property
    def operations(self) -> Mapping[str, Operation]:
        """All operations by name; a view that stays current."""
        return self._operations

    def get(self, name: str, field: str) -> Operation:
        """The operation of this name. Raises ``NotFound``."""
        operation = self._operations.get(name)
        if operation is None:
            close = difflib.get_close_matches(name, self._operations, n=1)
            hint = f"Did you mean {close[0]}? " if close else ""
            raise NotFound(
                f"{field}: no operation {name} is in the catalogue. {hint}"
                "Attach its participant once, or correct the name; "
                "`tercet operations` lists what there is.",
                field=field,
                reason=UNKNOWN_OPERATION,
            )
        return operation

    def has(self, name: str, kind: OperationKind) -> bool:
        """Whether the operation is known and of this kind."""
        operation = self._operations.get(name)
        return operation is not None and operation.kind is kind

    def require(self, name: str, kind: OperationKind, field: str) -> None:
        """Raise unless the operation is known and of this kind."""
        operation = self.get(name, field)
        if operation.kind is not kind:
            raise InvalidRequest(
                f"{field}: expected an operation of kind {kind}, but {name} is of "
                f"kind {operation.kind}. A TCC branch needs try, confirm and cancel; "
                "a step of a saga or a check-back needs an action.",
                field=field,
                reason=WRONG_OPERATION_KIND,
            )

    async def add(self, announced: Sequence[Operation]) -> None:
        """Take in what a participant announces; durable when this returns.

        Raises ``PreconditionFailed`` when it contradicts the catalogue, or the
        catalogue is full; ``InvalidRequest`` when a name comes twice; and
        ``StoreUnavailable``. In each case nothing is taken in.
        """
        if len({operation.name for operation in announced}) < len(announced):
            raise InvalidRequest(
                "hello.operations: expected every name once. Remove the repetition.",
                field="hello.operations",
            )
        changed = []
        for i, operation in enumerate(announced):
            place = f"hello.operations[{i}]"
            known = self._operations.get(operation.name)
            if known is not None:
                _check_kind(known, operation, place)
            if known is not None and known.is_registered:
                _check_kept(known, operation, place)
            elif known != operation:
                changed.append(operation)
        if changed:
            self._check_room(changed, "hello.operations")
            await self._save(changed)
        self._announced.update((o.name, o) for o in announced)

    async def register(
        self, operation: Operation, audit: AuditEntry, *, is_attached: bool
    ) -> Operation:
        """Set down what an administrator says; durable, with its audit, on return.

        Args:
            is_attached: its participant is attached now, so that what it announced
                must not be contradicted: it could not attach again.

        Raises ``PreconditionFailed`` when it contradicts the kind that is known or
        the attached participant, or the catalogue is full; and ``StoreUnavailable``.
        """
        known = self._operations.get(operation.name)
        if known == operation:
            return operation
        if known is not None:
            _check_kind(known, operation, "operation")
        announced = self._announced.get(operation.name)
        if is_attached and announced is not None:
            _check_kept(operation, announced, "operation")
        self._check_room([operation], "operation")
        await self._save([operation], audit)
        return operation

    async def remove(
        self, name: str, audit: AuditEntry, *, is_attached: bool
    ) -> Operation:
        """Take an operation out; durable, with its audit, on return.

        Raises ``NotFound``, ``PreconditionFailed`` while its participant is attached,
        which would announce it again, or ``StoreUnavailable``.
        """
        operation = self.get(name, "name")
        if is_attached:
            raise PreconditionFailed(
                f"name: {operation.participant} is attached and offers {name}. "
                "Stop it, or deploy a release of it without the operation, first.",
                field="name",
                reason=OPERATION_ATTACHED,
            )
        await self._queries.remove_operation(self._namespace, name, audit)
        self._writes += 1
        self._operations.pop(name, None)
        self._announced.pop(name, None)
        return operation

    async def _save(
        self, changed: Sequence[Operation], audit: AuditEntry | None = None
    ) -> None:
        await self._queries.save_operations(self._namespace, changed, audit)
        self._writes += 1
        for operation in changed:
            known = self._operations.get(operation.name)
            if known is not None:
                log.warning(
                    telemetry.OPERATION_CHANGED,
                    operation=operation.name,
                    fields=_changed_fields(known, operation),
                )
            self._operations[operation.name] = operation

    def _check_room(self, added: Sequence[Operation], field: str) -> None:
        limits = self._limits
        after = {**self._operations, **{o.name: o for o in added}}
        size = sum(map(_size, after.values()))
        if len(after) > limits.catalogue_max or size > limits.catalogue_bytes_max:
            raise PreconditionFailed(
                f"{field}: expected at most {limits.catalogue_max} operations in a "
                f"catalogue and {limits.catalogue_bytes_max} bytes in their schemas; "
                f"it would have {len(after)} and {size}. Remove what is no longer "
                "offered with `tercet operations remove`.",
                field=field,
                reason=CATALOGUE_FULL,
            )


def _check_kind(known: Operation, other: Operation, place: str) -> None:
    if known.kind is not other.kind:
        raise PreconditionFailed(
            f"{place}.kind: operation {known.name} is of kind {known.kind} in the "
            f"catalogue, not {other.kind}. The kind of an operation never changes: "
            "give the new one another name.",
            field=f"{place}.kind",
            reason=OPERATION_KIND_CONFLICT,
        )


def _check_kept(registered: Operation, announced: Operation, place: str) -> None:
    """Raise when a participant does less than was registered, or something else."""
    for field in _broken(registered, announced):
        raise _conflict(registered.name, place, field)


def _broken(registered: Operation, announced: Operation) -> Iterable[str]:
    if registered.compensable and not announced.compensable:
        yield "compensable"
    if _differ(registered.compensation, announced.compensation):
        yield "compensation"
    for field in ("input_schema", "output_schema"):
        mine, theirs = getattr(registered, field), getattr(announced, field)
        if _differ(mine, theirs) and not same_schema(mine, theirs):
            yield field


def _differ(one: str, other: str) -> bool:
    """Whether both say something, and not the same."""
    return bool(one and other) and one != other


def _conflict(name: str, place: str, field: str) -> Refusal:
    return PreconditionFailed(
        f"{place}.{field}: what an administrator registered for {name} and what its "
        "participant announces are not the same. Deploy a participant that keeps to "
        f"what is registered (`tercet operations show {name}`), or change that with "
        "`tercet operations register`.",
        field=f"{place}.{field}",
        reason=OPERATION_CONFLICT,
    )


def _changed_fields(before: Operation, after: Operation) -> list[str]:
    names = [field.name for field in fields(Operation)]
    return [name for name in names if getattr(before, name) != getattr(after, name)]


def _size(operation: Operation) -> int:
    texts = (operation.input_schema, operation.output_schema, operation.description)
    return sum(map(len, texts))
