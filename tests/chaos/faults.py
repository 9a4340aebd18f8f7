"""The kinds of fault: who can be hit, and what happens then.

A fault is over when its coroutine returns: what it stopped runs again, what it held
passes. It returns whether it did anything; one that met nobody does not count.
"""

import asyncio
import contextlib
import random
import signal
import time
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from tests.chaos.cast import (
    ATTACHED,
    BANKS,
    CALLED,
    CLIENTS,
    LOOK_SECONDS,
    NODES,
    STORE,
)
from tests.chaos.proxy import Link, Way
from tests.chaos.scene import Scene
from tests.chaos.stores import ServerStore
from tests.servers import MariaDB, PostgreSQL, Server
from tests.servers.process import ServerFailed
from tests.servers.syncs import failing_syncs, syncs

TTL_SECONDS = 3.0
"""After which a silent node counts as dead."""

FREEZE_SECONDS = (3 * TTL_SECONDS, 3 * TTL_SECONDS + 2)
BANK_FREEZE_SECONDS = (1.0, 3 * TTL_SECONDS)
DEAD_SECONDS = (0.0, 2.0)
HOLD_SECONDS = (1.0, 5.0)
DELAYS = (0.1, 0.5)
DELAY_SECONDS = (2.0, 4.0)
FULL_SECONDS = (1.0, 3.0)
EFFECT_SECONDS_MAX = 6.0
"""How long a fault waits for traffic to hit."""

STORM_CUTS = 6
STORM_PAUSE_SECONDS = (0.05, 0.4)

Act = Callable[[Scene, random.Random, str], Awaitable[bool]]


@dataclass(frozen=True)
class Kind:
    """One kind of fault.

    Attributes:
        victims: who can be hit; one of them is.
        takes: who is out of others' reach meanwhile, beside the victim.
    """

    name: str
    victims: Sequence[str]
    act: Act
    takes: Sequence[str] = ()

    def choose(self, scene: Scene, dice: random.Random) -> str:
        """A victim; of links, if possible, one that somebody uses."""
        used = [link.name for link in scene.network.links.values() if link.is_in_use]
        return dice.choice([v for v in self.victims if v in used] or self.victims)


# ---- Processes --------------------------------------------------------------------


async def kill(scene: Scene, dice: random.Random, victim: str) -> bool:
    """SIGKILL; dead for a while; started again."""
    member = scene.cast.members[victim]
    lived = member.kill()
    await asyncio.sleep(dice.uniform(*DEAD_SECONDS))
    member.start()
    return lived


async def kill_all_nodes(scene: Scene, dice: random.Random, victim: str) -> bool:
    """SIGKILL for all nodes at the same moment."""
    lived = [scene.cast.members[node].kill() for node in NODES]
    await asyncio.sleep(dice.uniform(*DEAD_SECONDS))
    for node in NODES:
        scene.cast.members[node].start()
    return all(lived)


async def freeze(
    scene: Scene,
    dice: random.Random,
    victim: str,
    *,
    seconds: tuple[float, float],
) -> bool:
    """SIGSTOP; when it goes on it does not know that time has passed."""
    member = scene.cast.members[victim]
    if not member.signal(signal.SIGSTOP):
        return False
    try:
        await asyncio.sleep(dice.uniform(*seconds))
    finally:
        member.signal(signal.SIGCONT)
    return True


# ---- Databases --------------------------------------------------------------------


def _server(scene: Scene, victim: str) -> Server:
    if victim != STORE:
        return scene.servers[victim]
    assert isinstance(scene.store, ServerStore)
    return scene.store.server


async def crash_database(scene: Scene, dice: random.Random, victim: str) -> bool:
    """Its processes end without a checkpoint; started again, it recovers."""
    server = _server(scene, victim)
    end = server.quit if isinstance(server, PostgreSQL) else server.kill
    await asyncio.to_thread(end)
    await asyncio.sleep(dice.uniform(*DEAD_SECONDS))
    await asyncio.to_thread(server.start)
    return True


async def slow_store(scene: Scene, dice: random.Random, victim: str) -> bool:
    """It answers in bursts, or somebody holds its lock."""
    await scene.store.slow(dice)
    return True


async def fill_disk(scene: Scene, dice: random.Random, victim: str) -> bool:
    """Not a byte is free under the store's data; then all is as before."""
    try:
        is_full = await asyncio.to_thread(scene.disk.fill)
        await asyncio.sleep(dice.uniform(*FULL_SECONDS))
    finally:
        await asyncio.to_thread(scene.disk.free)
    if isinstance(scene.store, ServerStore):
        await revive(scene.store.server)
    return is_full


async def fail_syncs(scene: Scene, dice: random.Random, victim: str) -> bool:
    """The disk reports errors to who syncs: a node with its file, or the server."""
    trace = scene.directory / f"syncs-{victim}"
    is_node = victim in NODES
    pids = _pids(scene, victim)
    if not pids:
        return False
    failing = failing_syncs("3+3" if is_node else "1", trace, *pids)
    with contextlib.ExitStack() as stack:
        try:
            await asyncio.to_thread(stack.enter_context, failing)
        except ServerFailed:
            return False  # who was to be hit has ended meanwhile
        has_failed = await _until_failed(trace)
        if is_node:
            await asyncio.sleep(dice.uniform(*FULL_SECONDS))
    if not is_node:
        server = _server(scene, victim)
        if has_failed and isinstance(server, MariaDB):
            # It first writes down where it was. PostgreSQL begins anew by itself.
            await _until(lambda: not server.is_running)
        await revive(server)
    return has_failed


def _pids(scene: Scene, victim: str) -> list[int]:
    if victim not in NODES:
        server = _server(scene, victim)
        return server.pids() if server.is_running else []
    pid = scene.cast.members[victim].pid
    return [pid] if pid else []


async def _until_failed(trace: Path) -> bool:
    """The first failure is enough for a server: it ends, and begins anew."""
    return await _until(lambda: syncs(trace)[1] > 0)


async def _until(is_so: Callable[[], bool]) -> bool:
    give_up_at = time.monotonic() + EFFECT_SECONDS_MAX
    while time.monotonic() < give_up_at:
        if is_so():
            return True
        await asyncio.sleep(LOOK_SECONDS)
    return False


async def revive(server: Server) -> None:
    """Start a server again that has ended by itself, as an init system would."""
    if not server.is_running:
        await asyncio.to_thread(server.start)


# ---- Links ------------------------------------------------------------------------


async def _until_hurt(link: Link, before: int) -> bool:
    return await _until(lambda: link.hurt > before)


async def hold(link: Link, dice: random.Random, *, ways: tuple[Way, ...]) -> bool:
    """Nothing passes, and nobody is told; then everything arrives after all."""
    before = link.hurt
    link.hold(*ways)
    await asyncio.sleep(dice.uniform(*HOLD_SECONDS))
    return await _until_hurt(link, before)


async def delay(link: Link, dice: random.Random) -> bool:
    """Everything takes longer."""
    before = link.hurt
    link.delay_seconds = dice.choice(DELAYS)
    await asyncio.sleep(dice.uniform(*DELAY_SECONDS))
    return await _until_hurt(link, before)


async def swallow(link: Link, dice: random.Random) -> bool:
    """What was asked arrives, the answer does not: the connection ends instead."""
    before = link.hurt
    link.swallows = True
    return await _until_hurt(link, before)


async def storm(link: Link, dice: random.Random) -> bool:
    """Connections are reset as fast as they come."""
    count = 0
    for _ in range(STORM_CUTS):
        count += link.cut()
        await asyncio.sleep(dice.uniform(*STORM_PAUSE_SECONDS))
    return count > 0


async def half_open(link: Link, dice: random.Random) -> bool:
    """What stands looks alive and is not; new connections are."""
    return link.forget() > 0


LINK_ACTS = {
    "partition": partial(hold, ways=(Way.THERE, Way.BACK)),
    "one_way_there": partial(hold, ways=(Way.THERE,)),
    "one_way_back": partial(hold, ways=(Way.BACK,)),
    "delayed": delay,
    "reply_lost": swallow,
    "reset_storm": storm,
    "half_open": half_open,
}
STAYS = {"half_open"}
"""Acts that are not taken back: the ends have to notice by themselves."""


def _on_link(name: str) -> Act:
    async def act(scene: Scene, dice: random.Random, victim: str) -> bool:
        caller, _, callee = victim.partition(">")
        link = scene.network.links[caller, callee]
        try:
            return await LINK_ACTS[name](link, dice)
        finally:
            if name not in STAYS:
                link.pass_again()

    return act


# ---- All of them ------------------------------------------------------------------

LINKS = {
    "client": (CLIENTS, NODES),
    "bank": (ATTACHED, NODES),
    "push": (NODES, CALLED),
}
"""Who connects to whom, by the group of the faults on these links."""


def kinds_of(*, has_server: bool, has_disk: bool, has_tracer: bool) -> list[Kind]:
    """The kinds that a run can inject."""
    long, short = FREEZE_SECONDS, BANK_FREEZE_SECONDS
    kinds = [
        Kind("node_killed", NODES, kill),
        Kind("all_nodes_killed", ("nodes",), kill_all_nodes, takes=NODES),
        Kind("node_frozen", NODES, partial(freeze, seconds=long)),
        Kind("bank_killed", BANKS, kill),
        Kind("bank_frozen", BANKS, partial(freeze, seconds=short)),
        Kind("client_killed", CLIENTS, kill),
        Kind("bank_database_crashed", ("bank-3", "bank-4"), crash_database),
        Kind("store_slow", (STORE,), slow_store),
    ]
    groups: dict[str, tuple[Sequence[str], Sequence[str]]] = dict(LINKS)
    if has_server:
        kinds.append(Kind("store_crashed", (STORE,), crash_database))
        groups["store"] = (NODES, (STORE,))
    if has_disk:
        kinds.append(Kind("disk_full", (STORE,), fill_disk))
    if has_tracer:
        victims = (STORE,) if has_server else NODES
        kinds.append(Kind("store_sync_failed", victims, fail_syncs))
    for name in LINK_ACTS:
        for group, (callers, callees) in groups.items():
            links = [f"{caller}>{callee}" for caller in callers for callee in callees]
            kinds.append(Kind(f"{group}_link_{name}", links, _on_link(name)))
    return kinds
