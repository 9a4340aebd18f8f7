"""The catalogue in memory and in the store say the same."""

import pytest

from coordinator.core.errors import (
    InvalidRequest,
    NotFound,
    PreconditionFailed,
    StoreUnavailable,
)
from coordinator.core.model import Operation, OperationKind

DEBIT = Operation("bank.debit", OperationKind.TCC, "bank")


async def test_what_is_added_is_stored_and_known(world):
    """Stored first, known when stored."""
    await world.catalogue.add([DEBIT])

    assert world.queries.operations["bank.debit"] == DEBIT
    world.catalogue.require("bank.debit", OperationKind.TCC, "f")


async def test_what_cannot_be_stored_is_not_known(world):
    """An operation that a restart would forget is never accepted."""
    world.queries.is_down = True

    with pytest.raises(StoreUnavailable):
        await world.catalogue.add([DEBIT])

    assert "bank.debit" not in world.catalogue.operations


async def test_a_changed_schema_renews_the_entry(world):
    """Only what changed is written."""
    other = Operation("bank.credit", OperationKind.TCC, "bank")
    await world.catalogue.add([DEBIT, other])
    renewed = Operation("bank.debit", OperationKind.TCC, "bank", input_schema="{}")

    await world.catalogue.add([renewed, other])

    assert world.queries.saves[1] == [renewed]
    assert world.catalogue.operations["bank.debit"] == renewed


async def test_one_conflict_refuses_all(world):
    """Nothing of a conflicting announcement is taken in."""
    await world.catalogue.add([DEBIT])
    new = Operation("bank.new", OperationKind.TCC, "bank")
    changed = Operation("bank.debit", OperationKind.ACTION, "bank")

    with pytest.raises(PreconditionFailed, match="never changes"):
        await world.catalogue.add([new, changed])

    assert len(world.queries.saves) == 1


async def test_one_hello_cannot_name_an_operation_twice(world):
    """Two entries of one name could have two kinds."""
    twice = [DEBIT, Operation("bank.debit", OperationKind.ACTION, "bank")]

    with pytest.raises(InvalidRequest, match="once"):
        await world.catalogue.add(twice)

    assert world.queries.saves == []


async def test_an_unknown_name_is_refused_with_a_hint(world):
    """UNKNOWN_OPERATION, and the closest name there is."""
    await world.catalogue.add([DEBIT])

    with pytest.raises(NotFound, match=r"Did you mean bank\.debit") as caught:
        world.catalogue.require("bank.debti", OperationKind.TCC, "tries[0].operation")

    assert caught.value.detail_reason == "UNKNOWN_OPERATION"
    assert caught.value.field == "tries[0].operation"
