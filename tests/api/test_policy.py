"""Every RPC has a policy, and none is served without one."""

import grpc
import pytest
from grpc_health.v1 import health_pb2

from coordinator.api.policy import POLICY, PolicyInterceptor
from protos.v1 import admin_pb2, coordinator_pb2, participant_pb2, types_pb2

FILES = (coordinator_pb2, admin_pb2, participant_pb2, types_pb2, health_pb2)
OF_PARTICIPANTS = "tercet.v1.Participant"
"""What participants serve, whose policy is the call token, and no node does."""

RPCS = {
    f"/{service.full_name}/{method.name}"
    for file in FILES
    for service in file.DESCRIPTOR.services_by_name.values()
    for method in service.methods
    if service.full_name != OF_PARTICIPANTS
}


def test_every_rpc_has_a_policy():
    """A new RPC without an entry fails here; an entry without an RPC does too."""
    assert set(POLICY) == RPCS


async def send_rubbish(channel: grpc.aio.Channel, rpc: str) -> None:
    if rpc.endswith("/Session"):
        stream = channel.stream_stream(rpc)()
        await stream.write(b"\xff")
        await stream.read()
    else:
        await channel.unary_unary(rpc)(b"\xff")


@pytest.mark.parametrize("rpc", sorted(rpc for rpc in RPCS if "tercet" in rpc))
async def test_every_rpc_is_served(serve, rpc):
    """Rubbish gets an answer of ours from every RPC, and UNIMPLEMENTED from none."""
    channel = await serve()

    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await send_rubbish(channel, rpc)

    assert caught.value.code() is grpc.StatusCode.INVALID_ARGUMENT


async def test_no_node_serves_what_participants_do(serve):
    """Nobody can have a node carry out a branch."""
    channel = await serve()

    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await send_rubbish(channel, f"/{OF_PARTICIPANTS}/Execute")

    assert caught.value.code() is grpc.StatusCode.PERMISSION_DENIED


async def test_an_rpc_without_an_entry_is_refused():
    """The interceptor lets nothing through that the table does not name."""

    async def serve(_: bytes, __) -> bytes:
        return b"served"

    handler = grpc.method_handlers_generic_handler(
        "a.B",
        {
            "Known": grpc.unary_unary_rpc_method_handler(serve),
            "Forgotten": grpc.unary_unary_rpc_method_handler(serve),
        },
    )
    policy = {"/a.B/Known": next(iter(POLICY.values()))}
    server = grpc.aio.server(interceptors=(PolicyInterceptor(policy),))
    server.add_generic_rpc_handlers((handler,))
    port = server.add_insecure_port("127.0.0.1:0")
    await server.start()
    async with grpc.aio.insecure_channel(f"127.0.0.1:{port}") as channel:
        served = await channel.unary_unary("/a.B/Known")(b"")
        with pytest.raises(grpc.aio.AioRpcError) as caught:
            await channel.unary_unary("/a.B/Forgotten")(b"")
    await server.stop(0)

    assert served == b"served"
    assert caught.value.code() is grpc.StatusCode.PERMISSION_DENIED
