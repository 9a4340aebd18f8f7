"""What a participant says that it carries out goes into the catalogue."""

from collections.abc import Sequence

from coordinator.api import checks
from coordinator.api.catalogue import Catalogue
from coordinator.api.convert.participants import operation_of
from coordinator.api.limits import Limits
from coordinator.core.errors import InvalidRequest
from protos.v1 import types_pb2


async def announce(
    participant: str,
    operations: Sequence[types_pb2.Operation],
    *,
    catalogue: Catalogue,
    limits: Limits,
    field: str,
) -> None:
    """Take in all operations of a participant; durable when this returns.

    Args:
        field: the message that says so, for its errors.

    Raises ``InvalidRequest``, and what :meth:`Catalogue.add` raises.
    """
    checks.identifier(participant, f"{field}.participant")
    if len(operations) > limits.operations_max:
        raise InvalidRequest(
            f"{field}.operations: expected at most {limits.operations_max}, got "
            f"{len(operations)}. Split the participant.",
            field=f"{field}.operations",
        )
    await catalogue.add(
        [
            operation_of(o, participant, f"{field}.operations[{i}]", limits)
            for i, o in enumerate(operations)
        ]
    )
