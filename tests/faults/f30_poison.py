"""F30, F31: poisonous input, and input at each limit, at a real node.

Whatever comes in is refused, with the field, or stored; what is stored comes to its
end, also after the node was killed and reads it again. At a limit it is taken, one
beyond it is refused, and nothing of it is stored.
"""

import asyncio
from collections.abc import Callable

import grpc

from protos.v1 import types_pb2
from protos.v1.coordinator_pb2 import BeginRequest, BranchSpec, GetRequest
from protos.v1.coordinator_pb2_grpc import CoordinatorStub
from tests.faults.node import Node
from tests.faults.stage import attached, bank_in, database, running, serving
from tests.faults.verdict import STORES, Fault, Figures, Trial, promise

PAYLOAD_BYTES_MAX = 256 * 1024
TRIES_MAX = 1_000
DEADLINE_MS_MAX = 30 * 86_400_000
LABELS_BYTES_MAX = 8 * 1024
END_SECONDS_MAX = 30

PAYLOADS = {
    "nothing": b"",
    "no text": b"\xff\xfe\x80",
    "half a surrogate": b'"\\ud800"',
    "surrogate bytes": b'{"a": "\xed\xa0\x80"}',
    "NUL": b'{"a": "\x00"}',
    "escaped NUL": b'{"a": "\\u0000"}',
    "deep": b"[" * 50_000 + b"]" * 50_000,
    "huge number": b'{"a": ' + b"9" * 20_000 + b"}",
    "huge exponent": b'{"a": 1e999999999}',
    "same key": b'{"a": 1, "a": 2}',
    "cut off": b'{"a": ',
    "large": b'{"a": "' + b"x" * (PAYLOAD_BYTES_MAX - 9) + b'"}',
}
NAMES = {
    "empty": "",
    "NUL": "a\x00b",
    "newline": "a\nb",
    "blank": "a b",
    "accent": "é",
    "right to left": "a\u202eb",
    "quote": "a'; --",
    "slash": "../a",
}
RAW = {
    "garbage": b"\xff" * 64,
    "text that is none": b"\x0a\x02\xff\xfe",
    "cut": b"\x0a\x7f",
}

Ask = Callable[[BeginRequest], BeginRequest]


async def run(trial: Trial) -> Figures:
    """Poison first, then limits; the node is killed in between."""
    bank = bank_in(trial.directory)
    with database(trial) as where:
        node = Node(trial.directory, where.url)
        async with running(node), serving(bank, node.target):
            async with grpc.aio.insecure_channel(node.target) as channel:
                stub = CoordinatorStub(channel)
                for name, data in PAYLOADS.items():
                    await poison(stub, f"poison-{name.replace(' ', '-')}", data)
                refused = await refused_names(stub) + await refused_bytes(channel)
            node.check()
            node.kill()
            await node.start()
            await attached(node.target)
            async with grpc.aio.insecure_channel(node.target) as channel:
                stub = CoordinatorStub(channel)
                for name in PAYLOADS:
                    await ended(stub, f"poison-{name.replace(' ', '-')}")
                limits = await at_limits(stub)
            node.check()
            promise(not node.said("Traceback"), "a traceback stands in the log")
    return {"payloads": len(PAYLOADS), "refused": refused, "limits": limits}


def payload(data: bytes) -> types_pb2.Payload:
    """That says to be JSON."""
    return types_pb2.Payload(data=data, content_type="application/json")


async def poison(stub: CoordinatorStub, gid: str, data: bytes) -> None:
    """A declared transaction with it, whatever becomes of that."""
    spec = BranchSpec(
        branch_id="1", operation="bank.debit", input=payload(data), attempt_max=1
    )
    begin = BeginRequest(
        gid=gid, name="poison", tries=[spec], auto_confirm=True, deadline_ms=5_000
    )
    await stub.Begin(begin)


async def ended(stub: CoordinatorStub, gid: str) -> None:
    """It comes to its end."""
    try:
        await stub.Get(GetRequest(gid=gid, wait=True), timeout=END_SECONDS_MAX)
    except grpc.aio.AioRpcError as error:
        promise(False, f"{gid} comes to no end: {error.code().name}")


async def refused_names(stub: CoordinatorStub) -> int:
    """No name that could be mistaken for another, or forge a line of the log."""
    for name, value in NAMES.items():
        begin = BeginRequest(
            gid=f"name-{len(name)}",
            name="names",
            tries=[BranchSpec(branch_id="1", operation=value)],
        )
        code = await code_of(stub, begin)
        promise(code == "INVALID_ARGUMENT", f"operation {name!r}: {code}")
        if value:
            code = await code_of(stub, BeginRequest(gid=value, name="names"))
            promise(code == "INVALID_ARGUMENT", f"gid {name!r}: {code}")
    return 2 * len(NAMES) - 1


async def refused_bytes(channel: grpc.aio.Channel) -> int:
    """What is no message is refused as such."""
    for name, data in RAW.items():
        call = channel.unary_unary("/tercet.v1.Coordinator/Begin")
        try:
            await call(data)
            code = "OK"
        except grpc.aio.AioRpcError as error:
            code = error.code().name
        promise(code == "INVALID_ARGUMENT", f"bytes that are {name}: {code}")
    return len(RAW)


async def code_of(stub: CoordinatorStub, begin: BeginRequest) -> str:
    """What it is answered."""
    try:
        await stub.Begin(begin)
    except grpc.aio.AioRpcError as error:
        return error.code().name
    return "OK"


async def at_limits(stub: CoordinatorStub) -> int:
    """One below, at, one beyond; and of what is beyond, nothing is stored."""
    kinds: dict[str, tuple[int, Callable[[int], dict[str, object]]]] = {
        "payload": (PAYLOAD_BYTES_MAX, lambda n: {"tries": [branch(1, b"x" * n)]}),
        "tries": (TRIES_MAX, lambda n: {"tries": [branch(i) for i in range(n)]}),
        "deadline": (DEADLINE_MS_MAX, lambda n: {"deadline_ms": n}),
        "labels": (LABELS_BYTES_MAX, lambda n: {"labels": {"a": "x" * (n - 1)}}),
        "gid": (128, lambda n: {"gid": "g" * n}),
    }
    for name, (limit, fields) in kinds.items():
        for size in (limit - 1, limit, limit + 1):
            given = {"gid": f"{name}-{size}", "name": "limit", **fields(size)}
            begin = BeginRequest(**given)
            code = await code_of(stub, begin)
            wanted = "OK" if size <= limit else "INVALID_ARGUMENT"
            promise(code == wanted, f"{name} of {size}: {code}, expected {wanted}")
            if size > limit and name != "gid":
                promise(not await is_there(stub, begin.gid), f"{name}: a row is left")
    return 3 * len(kinds)


def branch(number: int, data: bytes = b"{}") -> BranchSpec:
    """One try."""
    return BranchSpec(
        branch_id=f"b{number}", operation="bank.debit", input=payload(data)
    )


async def is_there(stub: CoordinatorStub, gid: str) -> bool:
    """Whether the coordinator knows it."""
    try:
        await asyncio.wait_for(stub.Get(GetRequest(gid=gid)), 10)
    except grpc.aio.AioRpcError as error:
        return error.code() is not grpc.StatusCode.NOT_FOUND
    return True


FAULT = Fault("F30", "poisonous input, and each limit (F31)", STORES, run)
