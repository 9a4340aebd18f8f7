"""One run: set up, strike while clients work, heal, wait for all ends, judge."""

import asyncio
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from time import monotonic

from coordinator.core.quarantine import QUARANTINE_MS
from participant_sdk import NotFound, connect
from tests.chaos.cast import BANKS, CLIENTS, NODES
from tests.chaos.client import DEADLINE_SECONDS, SAGA_SECONDS_MAX
from tests.chaos.evidence import (
    Evidence,
    read_records,
    read_unfinished,
    write_evidence,
)
from tests.chaos.faults import Kind, kinds_of, revive
from tests.chaos.figures import BROKEN, events_of, rejected_writes, unavailable_seconds
from tests.chaos.gates import check_gates
from tests.chaos.history import ABSENT, History, Line, read_lines
from tests.chaos.judge import Violation, judge
from tests.chaos.ledger import Account, Effect, read_accounts, read_effects
from tests.chaos.nemesis import Nemesis, Tally, plan
from tests.chaos.options import Options
from tests.chaos.scene import Scene
from tests.chaos.show import Counted, Show
from tests.chaos.stores import ServerStore, reading
from tests.servers.syncs import can_fail

TTL_SECONDS, SWEEP_SECONDS, BACK_OFF_SECONDS, CALL_SECONDS = 3.0, 1.0, 30.0, 10.0
END_SECONDS_MAX = (
    max(DEADLINE_SECONDS, 20.0)
    + TTL_SECONDS
    + SWEEP_SECONDS
    + BACK_OFF_SECONDS
    + CALL_SECONDS
)
"""V1: after the last fault every transaction ends within this time."""

HELD_SECONDS_MAX = 2 * END_SECONDS_MAX + QUARANTINE_MS / 1_000
"""V6: but one that is quarantined, since three nodes in a row were killed with it."""

LOOK_SECONDS = 0.25
READS_AT_ONCE = 32


@dataclass
class Result:
    """What came of a run.

    Attributes:
        missed: gates that it did not pass.
        settled_seconds: from the last fault to the last end.
    """

    tally: Tally = field(default_factory=Tally)
    transfers: int = 0
    ends: dict[str, int] = field(default_factory=dict)
    unknown: int = 0
    unavailable_seconds: int = 0
    settled_seconds: float = 0.0
    rejected_writes: int = 0
    own_ends: dict[str, list[int]] = field(default_factory=dict)
    violations: list[Violation] = field(default_factory=list)
    missed: list[str] = field(default_factory=list)

    @property
    def is_well(self) -> bool:
        """Nothing was found, and something was done."""
        return not self.violations and not self.missed


async def run(options: Options, directory: Path, show: Show) -> Result:
    """Everything; nothing of it runs any more afterwards."""
    result = Result()
    show.say("starting databases, nodes, banks and clients")
    async with Scene(options, directory) as scene:
        kinds = kinds_of(
            has_server=scene.store.is_server,
            has_disk=scene.disk.is_possible,
            has_tracer=can_fail(),
        )
        began = monotonic()
        await _strike(scene, kinds, result.tally, show)
        ended = monotonic()
        await _settle(scene, result, show)
        show.say("reading and judging")
        evidence = await asyncio.to_thread(_collect, scene)
    write_evidence(directory, evidence)
    _sum_up(result, evidence, directory)
    result.unavailable_seconds = unavailable_seconds(evidence.lines, began, ended)
    result.violations += judge(evidence)
    result.missed += check_gates(
        seconds=options.seconds,
        kinds=kinds,
        counts=result.tally.counts,
        evidence=evidence,
        rejected_writes=result.rejected_writes,
    )
    return result


async def _strike(
    scene: Scene, kinds: Sequence[Kind], tally: Tally, show: Show
) -> None:
    options, counted = scene.options, Counted(scene.directory)
    started = monotonic()

    def line() -> str:
        words = counted.look()
        return (
            f"{monotonic() - started:.0f}/{options.seconds:.0f} s"
            f"  transfers {words['invoke']} ({words['info']} unknown)"
            f"  faults {tally.total}  now: {', '.join(tally.going_on) or 'none'}"
        )

    following = asyncio.create_task(show.follow(line))
    try:
        blows = plan(kinds, seconds=options.seconds, seed=options.seed)
        nemesis = Nemesis(scene, tally, show.say)
        await nemesis.strike(blows, seconds=options.seconds)
    finally:
        following.cancel()
        await asyncio.wait({following})


async def _settle(scene: Scene, result: Result, show: Show) -> None:
    """No fault any more: everybody comes to an end."""
    show.say("no faults any more; waiting until everything has ended")
    started = monotonic()
    scene.network.heal()
    for server in scene.servers.values():
        await revive(server)
    if isinstance(scene.store, ServerStore):
        await revive(scene.store.server)
    late = await scene.cast.stop(CLIENTS, SAGA_SECONDS_MAX + 2 * DEADLINE_SECONDS)
    result.violations += [
        Violation("CLIENT", "", f"{name} did not come to an end") for name in late
    ]
    held: set[str] = set()
    is_told = False
    while unfinished := await asyncio.to_thread(_unfinished, scene):
        waited = monotonic() - started
        held |= {gid for gid, is_held in unfinished.items() if is_held}
        overdue = {
            gid
            for gid in unfinished
            if waited > (HELD_SECONDS_MAX if gid in held else END_SECONDS_MAX)
        }
        if overdue:
            text = f"not ended {waited:.0f} s after the last fault"
            result.violations += [Violation("V1", gid, text) for gid in overdue]
            break
        if waited > END_SECONDS_MAX and not is_told:
            is_told = True
            show.say(f"{len(held)} quarantined; waiting for trials, ten minutes or so")
        await asyncio.sleep(LOOK_SECONDS)
    result.settled_seconds = monotonic() - started
    await _read_unknown(scene, result)
    for name, member in scene.cast.members.items():
        if member.own_ends and name not in CLIENTS:
            result.own_ends[name] = member.own_ends
    await scene.cast.stop((*BANKS, *NODES), 2 * DEADLINE_SECONDS)


def _unfinished(scene: Scene) -> dict[str, bool]:
    with reading(scene.store.read_url()) as connection:
        return read_unfinished(connection)


async def _read_unknown(scene: Scene, result: Result) -> None:
    """Ask how everything ended of which no client was told: none is dropped."""
    lines = list(_lines(scene.directory))
    told = {line.gid for line in lines if line.word in ("ok", "fail")}
    open_gids = sorted({line.gid for line in lines} - told)
    result.unknown = len(open_gids)
    places = asyncio.Semaphore(READS_AT_ONCE)
    with History(scene.directory / "history-final.jsonl") as history:
        async with (
            connect(scene.network.targets) as client,
            asyncio.TaskGroup() as group,
        ):

            async def read(gid: str) -> None:
                async with places:
                    try:
                        status = (await client.get(gid, with_branches=False)).status
                    except NotFound:
                        status = ABSENT
                history.note("final", gid, status=status)

            for gid in open_gids:
                group.create_task(read(gid))


def _lines(directory: Path) -> Iterator[Line]:
    return read_lines(sorted(directory.glob("history-*.jsonl")))


def _collect(scene: Scene) -> Evidence:
    effects: list[Effect] = []
    accounts: list[Account] = []
    for name in BANKS:
        with reading(scene.readers[name]) as connection:
            effects += read_effects(connection, name)
            accounts += read_accounts(connection, name)
    with reading(scene.store.read_url()) as connection:
        records = read_records(connection)
    return Evidence(list(_lines(scene.directory)), records, effects, accounts)


def _sum_up(result: Result, evidence: Evidence, directory: Path) -> None:
    result.transfers = sum(line.word == "invoke" for line in evidence.lines)
    for record in evidence.records.values():
        result.ends[record.status] = result.ends.get(record.status, 0) + 1
    logs = [directory / f"{node}.log" for node in NODES]
    result.rejected_writes = rejected_writes(logs)
    for log in logs:
        for event in events_of(log):
            if event.get("event") in BROKEN:
                text = f"{log.stem} says {event['event']}"
                gid = str(event.get("gid", ""))
                result.violations.append(Violation("BUG", gid, text))
