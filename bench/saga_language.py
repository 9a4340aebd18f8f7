"""What the saga language costs: ``python -m bench.saga_language``.

Three figures, each with the bound that is promised for it:

* lint of a definition of 100 steps of all kinds;
* the commits that a saga of 20 steps waits for, more than its longest path has steps;
* a list of 1,000 items, 50 at a time, on operations that do nothing, from submit to
  end: coordinator, participant and initiator as three processes on one machine.

The figures depend on what else runs; the first and the last are medians of five runs.
"""

import asyncio
import statistics
import sys
import tempfile
import time
from pathlib import Path

import grpc.aio
from sqlalchemy import create_engine

from coordinator.saga_yaml import check, parse
from examples.fleet import Fleet
from participant_sdk import Client, Context, Participant, connect, create_barrier_table
from protos.v1 import admin_pb2, admin_pb2_grpc

RUNS = 5
ITEMS = 1_000
PARALLEL = 50

HEAD = """apiVersion: tercet/v1
kind: Saga
metadata: {{name: {name}, version: 1.0.0}}
timeout: 1h
steps:
"""
LIST = (
    HEAD.format(name="bench-list")
    + f"""- id: each
  forEach: ${{input.items}}
  maxParallel: {PARALLEL}
  call: bench.nothing
  input: {{n: "${{item}}"}}
"""
)
CHAIN = HEAD.format(name="bench-chain") + "".join(
    f"- {{id: s{n}, call: bench.nothing, input: {{n: {n}}}}}\n" for n in range(20)
)
FAN = (
    HEAD.format(name="bench-fan")
    + "- {id: first, needs: [], call: bench.nothing, input: {n: 0}}\n"
    + "".join(
        f"- {{id: s{n}, needs: [first], call: bench.nothing, input: {{n: {n}}}}}\n"
        for n in range(18)
    )
    + "- {id: last, needs: ["
    + ", ".join(f"s{n}" for n in range(18))
    + "], call: bench.nothing, input: {n: 0}}\n"
)
LONGEST = {"bench-chain": 20, "bench-fan": 3}
FIVE = """- {{id: a{n}, call: x.y, input: {{a: "${{input.a}}", b: "x ${{input.b}}"}}}}
- {{id: b{n}, tcc: x.y, expiresIn: 2h, input: {{c: "${{steps.a{n}.output.c}}"}}}}
- {{id: c{n}, wait: 1s, if: "${{input.slow && input.a > {n}}}"}}
- {{id: d{n}, await: approval, timeout: 1m, optional: true}}
- {{id: e{n}, forEach: "${{input.items}}", call: x.y, input: {{i: "${{item}}"}}}}
"""


def lint_ms() -> float:
    """Milliseconds of CPU for a definition of 100 steps."""
    text = HEAD.format(name="bench-lint") + "".join(FIVE.format(n=n) for n in range(20))
    findings = check(text)[1]
    if findings:
        raise SystemExit(f"the definition to lint is wrong: {findings[0]}")
    spent = []
    for _ in range(RUNS):
        start = time.process_time()
        parse(text)
        spent.append(time.process_time() - start)
    return statistics.median(spent) * 1_000


async def list_seconds(tercet: Client, run: int) -> float:
    """From submit to end."""
    start = time.monotonic()
    saga = tercet.saga("bench-list", {"items": list(range(ITEMS))}, gid=f"list-{run}")
    result = await saga.wait()
    if result.status != "COMPLETED":
        raise SystemExit(f"the list ended as {result.status}: {result.reason_text}")
    return time.monotonic() - start


async def commits(tercet: Client, target: str, name: str) -> int:
    """The commits of one run: the entries of its journal."""
    gid = f"{name}-1"
    await tercet.saga(name, {}, gid=gid).wait()
    async with grpc.aio.insecure_channel(target) as channel:
        stub = admin_pb2_grpc.AdminStub(channel)
        reply = await stub.GetJournal(admin_pb2.GetJournalRequest(gid=gid))
    return len(reply.entries)


async def measure(fleet: Fleet) -> None:
    """Print all three."""
    print(f"BENCH lint steps=100 cpu_ms={lint_ms():.1f} promised_ms=50")
    fleet.start_coordinator()
    fleet.start_participant("bench.saga_language", "serve")
    await fleet.ready(("bench.nothing",))
    async with connect(fleet.target) as tercet:
        for text in (LIST, CHAIN, FAN):
            await tercet.publish_saga(text)
        for name, longest in LONGEST.items():
            waits = await commits(tercet, fleet.target, name)
            print(
                f"BENCH waits saga={name} longest_path={longest} durable_waits={waits}"
                f" promised={longest + 3}"
            )
        spent = [await list_seconds(tercet, run) for run in range(RUNS)]
        print(
            f"BENCH list items={ITEMS} parallel={PARALLEL}"
            f" seconds={statistics.median(spent):.2f} promised_seconds=3"
        )


def serve(database: str, target: str) -> None:
    """The participant: one action that does nothing, behind the barrier."""
    engine = create_engine(f"sqlite:///{database}")
    create_barrier_table(engine)
    bench = Participant("bench", database=engine)

    @bench.action("nothing")
    def nothing(_ctx: Context, _: dict[str, int]) -> None:
        """Nothing is done."""

    @nothing.compensate
    def undo(_ctx: Context, _: dict[str, int], __: None) -> None:
        """Nothing is undone."""

    bench.run(target)


def main() -> None:
    """Measure, or with ``serve`` take part in it."""
    if sys.argv[1:2] == ["serve"]:
        serve(sys.argv[3], sys.argv[5])
        return
    with (
        tempfile.TemporaryDirectory(prefix="tercet-bench-") as directory,
        Fleet(Path(directory)) as fleet,
    ):
        asyncio.run(measure(fleet))


if __name__ == "__main__":
    main()
