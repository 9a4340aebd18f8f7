"""The catalogue in memory and in the store say the same."""

import asyncio

import pytest
from msgspec.structs import replace
from structlog.testing import capture_logs

from coordinator.api.catalogue import Catalogue
from coordinator.api.limits import Limits
from coordinator.core.errors import (
    InvalidRequest,
    NotFound,
    PreconditionFailed,
    StoreUnavailable,
)
from coordinator.core.model import Operation
from coordinator.core.words import OperationKind
from coordinator.ports import AuditEntry

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


# ---- Who has the say ---------------------------------------------------------------

AUDIT = AuditEntry("ann", "REGISTER_OPERATION bank.post", "contract", 1)
POST = Operation(
    "bank.post",
    OperationKind.ACTION,
    "bank",
    compensable=True,
    input_schema='{"type": "object", "required": ["id"]}',
    output_schema='{"type": "object"}',
    is_registered=True,
)
KEPT = replace(POST, is_registered=False)


async def register(world, operation: Operation, *, is_attached: bool = False):
    """An administrator's word, audited."""
    return await world.catalogue.register(operation, AUDIT, is_attached=is_attached)


async def test_the_last_announcement_counts_and_is_logged(world):
    """Two releases of one participant can both attach, before and after a rollback."""
    old, new = replace(KEPT, input_schema="{}"), KEPT
    with capture_logs() as logs:
        for announced in (old, new, old):
            await world.catalogue.add([announced])

    assert world.catalogue.operations["bank.post"] == old
    assert [(e["event"], e["operation"], e["fields"]) for e in logs] == [
        ("operation_changed", "bank.post", ["input_schema"])
    ] * 2


async def test_what_is_registered_is_stored_with_its_audit_and_known(world):
    """Before any participant has attached."""
    await register(world, POST)

    assert world.queries.operations["bank.post"] == POST
    assert world.queries.audits == [AUDIT]
    world.catalogue.require("bank.post", OperationKind.ACTION, "f")


async def test_registering_the_same_again_is_a_no_op(world):
    """Repeatable after a lost reply, without a second audit record."""
    await register(world, POST)
    await register(world, POST)

    assert len(world.queries.saves) == 1


@pytest.mark.parametrize(
    ("change", "field"),
    [
        ({"compensable": False}, "compensable"),
        ({"input_schema": '{"type": "object", "required": []}'}, "input_schema"),
        ({"output_schema": '{"type": "string"}'}, "output_schema"),
    ],
)
async def test_a_participant_keeps_to_what_is_registered(world, change, field):
    """It is refused with the field in which it does less or something else."""
    await register(world, POST)
    other = Operation("bank.other", OperationKind.ACTION, "bank")

    with pytest.raises(PreconditionFailed) as caught:
        await world.catalogue.add([other, replace(KEPT, **change)])

    assert caught.value.detail_reason == "OPERATION_CONFLICT"
    assert caught.value.field == f"hello.operations[1].{field}"
    assert "bank.other" not in world.catalogue.operations


async def test_another_compensation_than_registered_is_a_conflict(world):
    """Sagas were written with the registered one in mind."""
    undone = replace(POST, compensable=False, compensation="bank.reverse")
    await register(world, undone)
    other = replace(undone, is_registered=False, compensation="bank.undo")

    with pytest.raises(PreconditionFailed) as caught:
        await world.catalogue.add([other])

    assert caught.value.field == "hello.operations[0].compensation"


@pytest.mark.parametrize(
    "announced",
    [
        KEPT,
        replace(KEPT, input_schema='{"required":["id"],"type":"object"}'),
        replace(KEPT, input_schema="", output_schema=""),
        replace(KEPT, description="other words", owner="other team"),
    ],
)
async def test_what_contradicts_nothing_attaches_and_changes_nothing(world, announced):
    """Spelling, what is left empty and words for people are no contradiction."""
    await register(world, POST)
    await world.catalogue.add([announced])

    assert world.catalogue.operations["bank.post"] == POST
    assert len(world.queries.saves) == 1


async def test_an_attached_participant_is_not_contradicted(world):
    """It could not attach again; when it is gone, the administrator has the say."""
    await world.catalogue.add([KEPT])
    other = replace(POST, input_schema='{"type": "string"}')

    with pytest.raises(PreconditionFailed) as caught:
        await register(world, other, is_attached=True)
    await register(world, other, is_attached=False)

    assert caught.value.field == "operation.input_schema"
    assert world.catalogue.operations["bank.post"] == other


async def test_the_kind_cannot_be_registered_anew(world):
    """Stored transactions rely on it, whoever has the say."""
    await world.catalogue.add([DEBIT])
    action = replace(POST, name="bank.debit")

    with pytest.raises(PreconditionFailed) as caught:
        await register(world, action)

    assert caught.value.detail_reason == "OPERATION_KIND_CONFLICT"
    assert caught.value.field == "operation.kind"


async def test_what_is_removed_is_unknown_and_audited(world):
    """In memory and in the store; another participant's are left alone."""
    await world.catalogue.add([DEBIT, KEPT])

    await world.catalogue.remove("bank.post", AUDIT, is_attached=False)

    assert "bank.post" not in world.catalogue.operations
    assert "bank.post" not in world.queries.operations
    assert world.queries.audits[-1] == AUDIT
    world.catalogue.require("bank.debit", OperationKind.TCC, "f")


async def test_what_an_attached_participant_offers_is_not_removed(world):
    """It would be announced again at the next reconnect."""
    await world.catalogue.add([KEPT])

    with pytest.raises(PreconditionFailed) as caught:
        await world.catalogue.remove("bank.post", AUDIT, is_attached=True)

    assert caught.value.detail_reason == "OPERATION_ATTACHED"
    assert "bank.post" in world.catalogue.operations


async def test_a_load_follows_what_other_nodes_did(world):
    """What they added is known, what they removed is not."""
    await world.catalogue.add([DEBIT])
    del world.queries.operations["bank.debit"]
    world.queries.operations["bank.post"] = POST

    await world.catalogue.load()

    assert "bank.debit" not in world.catalogue.operations
    assert world.catalogue.operations["bank.post"] == POST


async def test_a_load_does_not_undo_what_was_added_meanwhile(world):
    """A listing that was read before an announcement knows less than the memory."""
    read, go_on = asyncio.Event(), asyncio.Event()
    list_operations = world.queries.list_operations

    async def slowly(namespace):
        found = await list_operations(namespace)
        read.set()
        await go_on.wait()
        return found

    world.queries.list_operations = slowly
    loading = asyncio.ensure_future(world.catalogue.load())
    await read.wait()
    await world.catalogue.add([DEBIT])
    go_on.set()
    await loading

    assert "bank.debit" in world.catalogue.operations


@pytest.mark.parametrize(
    "limits", [Limits(catalogue_max=1), Limits(catalogue_bytes_max=80)]
)
async def test_a_catalogue_is_bounded(world, limits):
    """In entries and in bytes; what is there can still be renewed."""
    catalogue = Catalogue(world.queries, limits=limits)
    await catalogue.add([KEPT])
    more = replace(KEPT, name="bank.more")

    with pytest.raises(PreconditionFailed) as caught:
        await catalogue.add([more])
    await catalogue.add([replace(KEPT, input_schema="{}")])

    assert caught.value.detail_reason == "CATALOGUE_FULL"
    assert "bank.more" not in catalogue.operations
