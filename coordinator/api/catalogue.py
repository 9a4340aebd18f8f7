"""The atomic services that transactions may name, in memory on this node."""

import difflib
from collections.abc import Mapping, Sequence

from coordinator.core.errors import InvalidRequest, NotFound, PreconditionFailed
from coordinator.core.model import DEFAULT_NAMESPACE, Operation, OperationKind
from coordinator.ports import Queries

UNKNOWN_OPERATION = "UNKNOWN_OPERATION"
WRONG_OPERATION_KIND = "WRONG_OPERATION_KIND"
OPERATION_KIND_CONFLICT = "OPERATION_KIND_CONFLICT"


class Catalogue:
    """The operations of one namespace: loaded at start, added by participants."""

    def __init__(self, queries: Queries, namespace: str = DEFAULT_NAMESPACE) -> None:
        self._queries = queries
        self._namespace = namespace
        self._operations: dict[str, Operation] = {}

    async def load(self) -> None:
        """Read what is stored. Raises ``StoreUnavailable``."""
        stored = await self._queries.list_operations(self._namespace)
        self._operations.update((operation.name, operation) for operation in stored)

    @property
    def operations(self) -> Mapping[str, Operation]:
        """All operations by name; a view that stays current."""
        return self._operations

    def require(self, name: str, kind: OperationKind, field: str) -> None:
        """Raise unless the operation is known and of this kind."""
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

        Raises ``PreconditionFailed`` when a name is known with another kind: stored
        transactions and sagas rely on it. Raises ``InvalidRequest`` when a name comes
        twice, and ``StoreUnavailable``. In each case nothing is taken in.
        """
        if len({operation.name for operation in announced}) < len(announced):
            raise InvalidRequest(
                "hello.operations: expected every name once. Remove the repetition.",
                field="hello.operations",
            )
        for operation in announced:
            known = self._operations.get(operation.name)
            if known is not None and known.kind is not operation.kind:
                raise PreconditionFailed(
                    f"operation {operation.name} is of kind {known.kind} in the "
                    f"catalogue and was announced as {operation.kind}. The kind of an "
                    "operation never changes: give the new one another name.",
                    field="hello.operations",
                    reason=OPERATION_KIND_CONFLICT,
                )
        changed = [o for o in announced if self._operations.get(o.name) != o]
        if changed:
            await self._queries.save_operations(self._namespace, changed)
            self._operations.update((o.name, o) for o in changed)
