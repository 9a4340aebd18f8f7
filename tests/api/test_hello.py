"""How a session begins."""

import asyncio

import grpc
import pytest

from coordinator.core.words import OperationKind
from protos.v1 import coordinator_pb2, types_pb2
from tests.api.client import Client

BEGIN = coordinator_pb2.BeginRequest(name="transfer")


def operation(name: str = "bank.debit", kind: int = types_pb2.OPERATION_TCC):
    return types_pb2.Operation(name=name, kind=kind)


async def test_welcome_tells_the_node_and_its_limits(client, world):
    """The answer to hello."""
    welcome = await client.hello()

    assert welcome.node_id == "node-1"
    assert welcome.server_version == "1.2.3"
    assert welcome.request_credits == world.limits.request_credits
    assert welcome.payload_bytes_max == world.limits.payload_bytes_max
    assert world.dispatcher.log == []


async def test_operations_are_durable_and_attached_before_welcome(client, world):
    """When welcome is here, the catalogue is saved and calls can come."""
    await client.hello(participant="bank", operations=[operation()], call_credits=7)

    assert [o.name for o in world.queries.saves[0]] == ["bank.debit"]
    assert world.dispatcher.credits == {"bank": 7}
    assert world.catalogue.operations["bank.debit"].kind is OperationKind.TCC


async def test_known_operations_are_not_written_again(serve, world):
    """A reconnect costs no database write."""
    channel = await serve()
    for _ in range(2):
        await Client(channel).hello(participant="bank", operations=[operation()])

    assert len(world.queries.saves) == 1


async def test_a_session_that_does_not_begin_with_hello_is_refused(client):
    """Nothing is done before hello."""
    await client.send(requests=[coordinator_pb2.Request(id=1, begin=BEGIN)])

    code, error = await client.refusal()

    assert code is grpc.StatusCode.FAILED_PRECONDITION
    assert (error.reason, error.field) == ("HELLO_EXPECTED", "hello")


async def test_a_silent_session_is_ended(serve, world):
    """Hello has a deadline; the clock is moved to it."""
    set_timer = asyncio.Event()
    call_at = world.clock.call_at

    def noticed(at, callback):
        set_timer.set()
        return call_at(at, callback)

    world.clock.call_at = noticed
    client = Client(await serve())
    reading = asyncio.ensure_future(client.refusal())
    await set_timer.wait()
    world.clock.move(world.limits.hello_timeout_ms)

    code, error = await reading

    assert (code, error.reason) == (
        grpc.StatusCode.FAILED_PRECONDITION,
        "HELLO_EXPECTED",
    )


async def test_a_second_hello_ends_the_session(client):
    """A session has one identity."""
    await client.hello()
    await client.send(hello=coordinator_pb2.Hello(client="other"))

    code, error = await client.refusal()

    assert (code, error.reason) == (
        grpc.StatusCode.FAILED_PRECONDITION,
        "HELLO_REPEATED",
    )


@pytest.mark.parametrize(
    ("hello", "field"),
    [
        ({"participant": "no spaces"}, "hello.participant"),
        ({"operations": [operation()]}, "hello.participant"),
        ({"participant": "bank", "call_credits": 10**6}, "hello.call_credits"),
        (
            {"participant": "bank", "operations": [operation("shop.debit")]},
            "hello.operations[0].name",
        ),
        (
            {"participant": "bank", "operations": [operation("bank.eu.debit")]},
            "hello.operations[0].name",
        ),
        (
            {"participant": "bank", "operations": [operation("bank.")]},
            "hello.operations[0].name",
        ),
        (
            {"participant": "bank", "operations": [operation(kind=0)]},
            "hello.operations[0].kind",
        ),
        (
            {"participant": "bank", "operations": [operation(kind=99)]},
            "hello.operations[0].kind",
        ),
        (
            {
                "participant": "bank",
                "operations": [
                    types_pb2.Operation(
                        name="bank.debit",
                        kind=types_pb2.OPERATION_TCC,
                        input_schema="{not json",
                    )
                ],
            },
            "hello.operations[0].input_schema",
        ),
        (
            {
                "participant": "bank",
                "operations": [
                    types_pb2.Operation(
                        name="bank.debit",
                        kind=types_pb2.OPERATION_TCC,
                        output_schema=f'"{"x" * 64 * 1024}"',
                    )
                ],
            },
            "hello.operations[0].output_schema",
        ),
        (
            {
                "participant": "bank",
                "operations": [
                    types_pb2.Operation(
                        name="bank.debit",
                        kind=types_pb2.OPERATION_TCC,
                        participant="shop",
                    )
                ],
            },
            "hello.operations[0].participant",
        ),
        (
            {"participant": "bank", "operations": [operation("bank.o")] * 2},
            "hello.operations",
        ),
        (
            {"participant": "bank", "operations": [operation("bank.o")] * 501},
            "hello.operations",
        ),
    ],
)
async def test_a_wrong_hello_names_its_field(client, world, hello, field):
    """The session ends with INVALID_ARGUMENT and nothing is stored or attached."""
    await client.send(hello=coordinator_pb2.Hello(**hello))

    code, error = await client.refusal()

    assert (code, error.field) == (grpc.StatusCode.INVALID_ARGUMENT, field)
    assert world.queries.saves == []
    assert world.dispatcher.log == []


async def test_schemas_are_kept_as_they_were_announced(client, world):
    """JSON text, byte for byte; sagas are checked against it."""
    schema = '{"type": "object"}'
    announced = types_pb2.Operation(
        name="bank.debit",
        kind=types_pb2.OPERATION_TCC,
        participant="bank",
        input_schema=schema,
    )

    await client.hello(participant="bank", operations=[announced])

    assert world.catalogue.operations["bank.debit"].input_schema == schema


async def test_the_kind_of_an_operation_never_changes(serve, world):
    """A conflict is refused at hello, and the catalogue stays as it was."""
    channel = await serve()
    await Client(channel).hello(participant="bank", operations=[operation()])
    second = Client(channel)
    await second.send(
        hello=coordinator_pb2.Hello(
            participant="bank",
            operations=[
                operation("bank.new"),
                operation(kind=types_pb2.OPERATION_ACTION),
            ],
        )
    )

    code, error = await second.refusal()

    assert code is grpc.StatusCode.FAILED_PRECONDITION
    assert error.reason == "OPERATION_KIND_CONFLICT"
    assert "bank.new" not in world.catalogue.operations


async def test_a_hello_that_cannot_be_stored_is_unavailable(serve, world):
    """No participant is attached whose operations are not durable."""
    client = Client(await serve())
    world.queries.is_down = True
    await client.send(
        hello=coordinator_pb2.Hello(participant="bank", operations=[operation()])
    )

    code, _ = await client.refusal()

    assert code is grpc.StatusCode.UNAVAILABLE
    assert world.dispatcher.log == []
