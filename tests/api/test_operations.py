"""The catalogue at a whole node, over the wire, on each kind of store."""

import json

import grpc
import pytest

from coordinator.storage.audit import find_break
from protos.v1 import admin_pb2, coordinator_pb2, types_pb2
from tests.api.fakes import POST
from tests.api.node import Node
from tests.api.test_operators import refusal

WHO = {"actor": "ann", "reason": "the contract"}
REVERSE = types_pb2.Operation(
    name="ledger.reverse",
    kind=types_pb2.OPERATION_ACTION,
    description="Undo an entry.",
    owner="ledger team",
    input_schema='{"type": "object"}',
)


def loan(version: str = "1.0.0") -> str:
    """A saga that posts, and is undone by the poster."""
    return json.dumps(
        {
            "apiVersion": "tercet/v1",
            "kind": "Saga",
            "metadata": {"name": "loan", "version": version},
            "steps": [{"id": "book", "call": "ledger.post", "input": {}}],
        }
    )


async def register(node: Node, operation: types_pb2.Operation = REVERSE):
    """By an administrator."""
    return await node.catalogue_stub.RegisterOperation(
        admin_pb2.RegisterOperationRequest(operation=operation, **WHO)
    )


async def show(node: Node, name: str) -> admin_pb2.OperationReport:
    """One operation, and who needs it."""
    request = admin_pb2.GetOperationRequest(name=name)
    return await node.catalogue_stub.GetOperation(request)


async def remove(node: Node, name: str, **who) -> admin_pb2.OperationReport:
    """By an administrator."""
    request = admin_pb2.RemoveOperationRequest(name=name, **{**WHO, **who})
    return await node.catalogue_stub.RemoveOperation(request)


async def test_a_registered_operation_is_shown_and_can_be_named(node):
    """Before its participant exists: sagas can be composed and published."""
    shown = await register(node)
    await register(
        node,
        types_pb2.Operation(
            name="ledger.post",
            kind=types_pb2.OPERATION_ACTION,
            compensable=True,
        ),
    )
    await node.definitions.PublishSaga(admin_pb2.PublishSagaRequest(text=loan()))

    listed = await node.catalogue_stub.ListOperations(admin_pb2.ListOperationsRequest())

    assert (shown.description, shown.owner, shown.registered, shown.attached) == (
        "Undo an entry.",
        "ledger team",
        True,
        False,
    )
    assert [(o.name, list(o.sagas), o.saga_count) for o in listed.operations] == [
        ("ledger.post", ["loan@1.0.0"], 1),
        ("ledger.reverse", [], 0),
    ]


async def test_an_attached_operation_says_since_when_and_where(node):
    """The node that answers, and when its first session began."""
    node.clock.move(5_000)
    began = node.clock.now()
    await node.participant(POST)
    node.clock.move(5_000)
    await node.participant(POST)

    shown = (await show(node, "ledger.post")).operation

    assert (shown.attached, shown.attached_since_ms, shown.node_id) == (
        True,
        began,
        "node-1",
    )
    assert not shown.registered


async def test_what_is_unfinished_is_told_and_what_ended_is_not(node):
    """A saga that has not come to the operation yet needs it as well."""
    ledger = await node.participant(POST)
    await node.definitions.PublishSaga(admin_pb2.PublishSagaRequest(text=loan()))
    for gid in ("l1", "l2"):
        await node.coordinator.SubmitSaga(
            coordinator_pb2.SubmitSagaRequest(gid=gid, name="loan")
        )
    await ledger.answer(await ledger.next_call())
    await node.end("l1")

    report = await show(node, "ledger.post")

    assert [tx.gid for tx in report.needed_by] == ["l2"]
    assert list(report.operation.sagas) == ["loan@1.0.0"]
    assert not report.more


async def test_a_removal_is_audited_and_tells_who_needs_it(node):
    """In one database transaction with its effect; nothing of a saga is changed."""
    await register(node)

    report = await remove(node, "ledger.reverse", reason="merged into post")

    assert report.operation.name == "ledger.reverse"
    code, error = await refusal(show(node, "ledger.reverse"))
    assert (code, error.reason) == (grpc.StatusCode.NOT_FOUND, "UNKNOWN_OPERATION")
    trail = await node.store.audit_trail()
    assert [(r.actor, r.action, r.reason) for r in trail] == [
        ("ann", "REGISTER_OPERATION ledger.reverse", "the contract"),
        ("ann", "REMOVE_OPERATION ledger.reverse", "merged into post"),
    ]
    assert find_break(trail) is None


async def test_an_attached_operation_is_not_removed(node):
    """And nothing is audited that did not happen."""
    await node.participant(POST)

    code, error = await refusal(remove(node, "ledger.post"))

    assert (code, error.reason, error.field) == (
        grpc.StatusCode.FAILED_PRECONDITION,
        "OPERATION_ATTACHED",
        "name",
    )
    assert await node.store.audit_trail() == []


async def test_a_participant_that_breaks_its_contract_is_refused(node):
    """At its hello, with the field; so a bad release shows before it takes calls."""
    await register(
        node,
        types_pb2.Operation(
            name="ledger.post", kind=types_pb2.OPERATION_ACTION, compensable=True
        ),
    )
    peer = node.peer()
    await peer.send(
        hello=coordinator_pb2.Hello(
            participant="ledger",
            operations=[
                types_pb2.Operation(name="ledger.post", kind=types_pb2.OPERATION_ACTION)
            ],
        )
    )

    code, error = await peer.refusal()

    assert (code, error.reason, error.field) == (
        grpc.StatusCode.FAILED_PRECONDITION,
        "OPERATION_CONFLICT",
        "hello.operations[0].compensable",
    )


@pytest.mark.parametrize(
    ("fields", "field"),
    [
        ({"name": "ledger"}, "operation.name"),
        ({"name": ""}, "operation.name"),
        ({"kind": 0}, "operation.kind"),
        ({"input_schema": "{"}, "operation.input_schema"),
        ({"output_schema": "7"}, "operation.output_schema"),
        ({"input_schema": '"%s"' % ("x" * 65_536)}, "operation.input_schema"),
        ({"description": "two\nlines"}, "operation.description"),
        ({"description": "x" * 1_001}, "operation.description"),
        ({"owner": "x" * 129}, "operation.owner"),
        ({"compensation": "not a name"}, "operation.compensation"),
        ({"compensation": "bank.undo"}, "operation.compensation"),
        ({"compensation": "ledger.reverse"}, "operation.compensation"),
        (
            {"compensation": "ledger.undo", "compensable": True},
            "operation.compensation",
        ),
        (
            {"kind": types_pb2.OPERATION_TCC, "compensation": "ledger.undo"},
            "operation.compensation",
        ),
        (
            {"kind": types_pb2.OPERATION_TCC, "compensable": True},
            "operation.compensable",
        ),
    ],
)
async def test_what_is_registered_is_checked(memory_node, fields, field):
    """The field at fault is named, and nothing is stored."""
    operation = types_pb2.Operation(
        **{"name": "ledger.reverse", "kind": types_pb2.OPERATION_ACTION} | fields
    )

    code, error = await refusal(register(memory_node, operation))

    assert (code, error.field) == (grpc.StatusCode.INVALID_ARGUMENT, field)
    assert await memory_node.store.list_operations("default") == []


@pytest.mark.parametrize(
    ("who", "field"), [({"actor": ""}, "actor"), ({"reason": " "}, "reason")]
)
async def test_who_and_why_are_required(memory_node, who, field):
    """Nothing of the catalogue changes by a hand without them."""
    await register(memory_node)

    code, error = await refusal(remove(memory_node, "ledger.reverse", **who))

    assert (code, error.field) == (grpc.StatusCode.INVALID_ARGUMENT, field)
    assert len(await memory_node.store.list_operations("default")) == 1


async def test_listings_are_paged(memory_node):
    """Operations by name, sagas by name and version; rubbish for a token is refused."""
    node = memory_node
    names = [f"ledger.op-{n}" for n in range(5)]
    for name in names:
        await register(
            node, types_pb2.Operation(name=name, kind=types_pb2.OPERATION_ACTION)
        )
    met, token = [], ""
    while True:
        page = await node.catalogue_stub.ListOperations(
            admin_pb2.ListOperationsRequest(limit=2, page_token=token)
        )
        met += [o.name for o in page.operations]
        if not (token := page.next_page_token):
            break
    code, error = await refusal(
        node.catalogue_stub.ListOperations(
            admin_pb2.ListOperationsRequest(page_token="rubbish")
        )
    )

    assert met == names
    assert (code, error.field) == (grpc.StatusCode.INVALID_ARGUMENT, "page_token")


async def test_a_page_of_large_schemas_fits_a_message(memory_node):
    """It is cut where it would burst, and goes on by its token."""
    node = memory_node
    schema = json.dumps({"description": "x" * 60_000})
    for n in range(20):
        await register(
            node,
            types_pb2.Operation(
                name=f"ledger.op-{n:02}",
                kind=types_pb2.OPERATION_ACTION,
                input_schema=schema,
            ),
        )

    first = await node.catalogue_stub.ListOperations(admin_pb2.ListOperationsRequest())
    rest = await node.catalogue_stub.ListOperations(
        admin_pb2.ListOperationsRequest(page_token=first.next_page_token)
    )

    assert first.ByteSize() < 900 * 1024
    assert len(first.operations) + len(rest.operations) == 20
    assert not rest.next_page_token


async def test_sagas_are_listed_page_by_page(node):
    """Newest first within a name, each once."""
    await node.participant(POST)
    for version in ("1.0.0", "2.0.0", "3.0.0"):
        await node.definitions.PublishSaga(
            admin_pb2.PublishSagaRequest(text=loan(version))
        )
    ask = node.definitions.ListSagas

    first = await ask(admin_pb2.ListSagasRequest(name="loan", limit=2))
    rest = await ask(
        admin_pb2.ListSagasRequest(
            name="loan", limit=2, page_token=first.next_page_token
        )
    )

    assert [d.version for d in first.definitions] == ["3.0.0", "2.0.0"]
    assert [d.version for d in rest.definitions] == ["1.0.0"]
    assert not rest.next_page_token
