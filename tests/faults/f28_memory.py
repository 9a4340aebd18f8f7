"""F28: many large payloads on a node that has little memory.

Clients begin transactions with payloads of the largest size and leave them open. A node
with a memory limit (a control group's) must refuse with RESOURCE_EXHAUSTED before the
kernel kills it.
"""

import asyncio
import os
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import grpc

from protos.v1.coordinator_pb2_grpc import CoordinatorStub
from tests.faults.node import Node
from tests.faults.stage import Probe, database, running
from tests.faults.verdict import STORES, Fault, Figures, Missing, Trial, promise, say

LIMIT_BYTES = 512 * 1024 * 1024
RESIDENT_MIB_MAX = LIMIT_BYTES * 3 // 4 // 1024 // 1024
"""When all were answered: 128 MiB may be payloads that are held, and 259 and 263 MiB in
all were seen; where refused requests stayed as well, 414."""

PAYLOAD_BYTES = 200 * 1024
ASKED = 10_000
AT_ONCE = 64
_GROUPS = Path("/sys/fs/cgroup/memory")


@contextmanager
def limited() -> Iterator[list[str]]:
    """What starts a process that may have so much memory, and not a byte more."""
    group = _GROUPS / f"tercet-fault-{os.getpid()}"
    try:
        group.mkdir()
        (group / "memory.limit_in_bytes").write_text(str(LIMIT_BYTES))
    except OSError as error:
        raise Missing(f"no control group for memory ({error.strerror})") from None
    join = 'echo $$ > "$0" && exec "$@"'
    try:
        yield ["sh", "-c", join, str(group / "cgroup.procs")]
    finally:
        for member in (group / "cgroup.procs").read_text().split():
            (_GROUPS / "cgroup.procs").write_text(member)
        group.rmdir()


async def run(trial: Trial) -> Figures:
    """Ask until it has refused, died, or taken everything."""
    with database(trial) as where, limited() as start:
        node = Node(trial.directory, where.url, prefix=start)
        async with running(node):
            answers = await flood(node)
            rss = resident_mib(node.pid) if is_alive(node) else 0
            codes = Counter(answers)
            say(f"{dict(codes)}; resident {rss} MiB")
            taken = codes["OK"] * PAYLOAD_BYTES // 1024 // 1024
            promise(
                is_alive(node),
                f"killed at {LIMIT_BYTES // 1024 // 1024} MiB after taking"
                f" {codes['OK']} payloads ({taken} MiB); refused {codes}",
            )
            promise(rss <= RESIDENT_MIB_MAX, f"{rss} MiB are resident after that")
    return {"taken": codes["OK"], "refused": codes["RESOURCE_EXHAUSTED"], "mib": rss}


async def flood(node: Node) -> list[str]:
    """What each of many was told; stops when the node is gone."""
    probe = Probe(node.target, payload=os.urandom(PAYLOAD_BYTES))
    left = iter(range(ASKED))

    async def ask(stub: CoordinatorStub) -> None:
        for _ in left:
            if not is_alive(node):
                return
            await probe.ask(stub)

    async with (
        grpc.aio.insecure_channel(node.target) as channel,
        asyncio.TaskGroup() as group,
    ):
        for _ in range(AT_ONCE):
            group.create_task(ask(CoordinatorStub(channel)))
    return [answer.code for answer in probe.answers]


def is_alive(node: Node) -> bool:
    """It has not ended."""
    return node.process is not None and node.process.poll() is None


def resident_mib(pid: int) -> int:
    """Of memory, in MiB."""
    for line in Path(f"/proc/{pid}/status").read_text().splitlines():
        if line.startswith("VmRSS:"):
            return int(line.split()[1]) // 1024
    return 0


FAULT = Fault("F28", "little memory, large payloads", STORES, run)
