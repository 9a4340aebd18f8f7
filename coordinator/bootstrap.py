"""The only place where things are wired."""

import asyncio
import importlib.metadata
import secrets
import signal
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager, suppress
from pathlib import Path

from coordinator import telemetry
from coordinator.api.absence import AbsenceWatch
from coordinator.api.catalogue import Catalogue
from coordinator.api.definitions import PublishedSagas
from coordinator.api.limits import Limits
from coordinator.api.peers import Peers
from coordinator.api.push.targets import PushTargets
from coordinator.api.server import build_server
from coordinator.api.usage import Usage
from coordinator.clock import SystemClock
from coordinator.config import ServeConfig
from coordinator.core.actions import CallBranch
from coordinator.core.errors import StoreUnavailable
from coordinator.core.inputs import BranchReplied
from coordinator.core.model import Key
from coordinator.engine.dispatcher import FIRST_ATTACH_MS, Dispatcher
from coordinator.engine.engine import Engine
from coordinator.engine.leases import Leases
from coordinator.engine.limits import EngineLimits
from coordinator.engine.retention import Purge, Purged, Retainer
from coordinator.engine.sweeper import Sweeper
from coordinator.memory import available_bytes
from coordinator.ports import Archive, Clock, Retention
from coordinator.storage.archive import FileArchive
from coordinator.storage.sql.store import SqlStore, open_store

_log = telemetry.get_logger()
_VERSION = importlib.metadata.version("tercet")


async def serve(config: ServeConfig, on_ready: Callable[[str], None]) -> None:
    """Run a node until SIGTERM or SIGINT, then drain it.

    Args:
        on_ready: called with the bound address as soon as requests are served.
    """
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stop.set)
    async with running(config) as address:
        on_ready(address)
        await stop.wait()


@asynccontextmanager
async def running(config: ServeConfig) -> AsyncIterator[str]:
    """A node that serves; yields its bound address, and drains on leaving.

    Nothing is loaded at start but the catalogue: what the last process left
    unfinished is taken up by the sweeper, page by page, once its lease has run out.
    """
    clock = SystemClock()
    node_id = f"n-{secrets.token_hex(12)}"  # new at every start, never configured (L2)
    async with (
        _opened_store(config) as store,
        _opened_archive(config, clock, node_id) as archive,
    ):
        catalogue = Catalogue(store)
        await catalogue.load()
        sagas = PublishedSagas(store, catalogue.operations, clock)

        # Made before those that it needs: they need it, too.
        dispatcher = _dispatcher(clock, lambda: engine, lambda: leases)
        engine = Engine(
            store=store,
            participants=dispatcher,
            definitions=sagas,
            clock=clock,
            node_id=node_id,
            limits=_engine_limits(config, store),
        )
        warnings = [*store.unsafe_settings, *_unsafe_targets(config)]
        peers = Peers(node_id=node_id, version=_VERSION, warnings=warnings)
        server = build_server(
            engine=engine,
            dispatcher=dispatcher,
            queries=store,
            catalogue=catalogue,
            sagas=sagas,
            clock=clock,
            limits=_limits(config),
            peers=peers,
            node_id=node_id,
            version=_VERSION,
        )
        address = server.bind(config.listen)
        told = peers.told_as(config.advertise or address)
        leases = Leases(
            store,
            clock,
            node_id=node_id,
            address=told,
            on_seen=peers.seen,
            on_beat=server.health.database_answers,
        )
        await leases.beat()  # before it drives anything: who is not listed has left
        await server.start()
        sweeper = Sweeper(
            store=store, engine=engine, leases=leases, clock=clock, node_id=node_id
        )
        watching = _watch_absence(catalogue, dispatcher, Usage(store, sagas), clock)
        retaining = _retain(config, store, leases, clock, node_id, archive)
        pushed = _pushing(config, dispatcher, catalogue, clock)
        loops = (leases.run(), sweeper.run(), watching, retaining)
        background = [asyncio.create_task(loop) for loop in loops]
        _log.info(telemetry.NODE_READY, node_id=node_id, address=address)
        try:
            yield address
        finally:
            _log.info(telemetry.NODE_DRAINING, node_id=node_id)
            dispatcher.leave()
            grace = config.drain_seconds
            await asyncio.gather(server.drain(grace), pushed.leave(grace))
            await _stop(background, engine, dispatcher, leases)
            _log.info(telemetry.NODE_STOPPED, node_id=node_id)


def _dispatcher(
    clock: Clock, engine: Callable[[], Engine], leases: Callable[[], Leases]
) -> Dispatcher:
    def on_replies(replies: Sequence[tuple[Key, BranchReplied]]) -> None:
        engine().replied(replies)

    def on_returned(participant: str) -> None:
        engine().participant_returned(participant)

    def in_turn(call: CallBranch) -> CallBranch | None:
        return engine().in_turn(call)

    def on_waiting(calls: Sequence[CallBranch]) -> None:
        engine().waits_long(calls)

    return Dispatcher(
        clock,
        on_replies,
        on_returned,
        in_turn=in_turn,
        on_waiting=on_waiting,
        waits_ms=FIRST_ATTACH_MS,
        living=lambda: len(leases().living()),
    )


@asynccontextmanager
async def _opened_store(config: ServeConfig) -> AsyncIterator[SqlStore]:
    """The store; what is unsafe about it and was accepted is logged at every start."""
    store = await open_store(
        config.database_url,
        accepts_unsafe_settings=config.unsafe_database_settings,
    )
    for finding in store.unsafe_settings:
        _log.warning(telemetry.UNSAFE_DATABASE_ACCEPTED, setting=str(finding))
    try:
        yield store
    finally:
        await store.close()


def _pushing(
    config: ServeConfig, dispatcher: Dispatcher, catalogue: Catalogue, clock: Clock
) -> PushTargets:
    """Connects from now on to whom this node calls at an address."""
    pushed = PushTargets(
        config.push,
        dispatcher,
        catalogue=catalogue,
        clock=clock,
        limits=_limits(config),
    )
    pushed.start()
    return pushed


def _unsafe_targets(config: ServeConfig) -> list[str]:
    """What is unsafe about push targets and was accepted; logged at every start."""
    unsafe = [target for target in config.push if target.is_unsafe]
    for target in unsafe:
        _log.warning(
            telemetry.INSECURE_PUSH_ACCEPTED,
            participant=target.participant,
            address=target.address,
        )
    return [
        f"push.{target.participant}: calls to {target.address} go without TLS or"
        " unsigned"
        for target in unsafe
    ]


async def _stop(
    tasks: Sequence[asyncio.Task[None]],
    engine: Engine,
    dispatcher: Dispatcher,
    leases: Leases,
) -> None:
    """End what runs in the background, then leave the others' list."""
    for task in tasks:
        task.cancel()
        with suppress(asyncio.CancelledError):
            await task
    await engine.close()
    dispatcher.close()
    with suppress(StoreUnavailable):
        await leases.leave()


async def _watch_absence(
    catalogue: Catalogue, dispatcher: Dispatcher, usage: Usage, clock: Clock
) -> None:
    """Say so when a participant is away that somebody needs, until cancelled."""
    watch = AbsenceWatch(
        catalogue=catalogue, dispatcher=dispatcher, usage=usage, clock=clock
    )
    await watch.run()


async def _retain(
    config: ServeConfig,
    store: Retention,
    leases: Leases,
    clock: Clock,
    node_id: str,
    archive: Archive | None,
) -> None:
    """Remove what is kept no longer, until cancelled; nothing, if all is kept."""
    if config.keep_finished_ms is None:
        return
    retainer = Retainer(
        store=store,
        leases=leases,
        clock=clock,
        node_id=node_id,
        keep_ms=config.keep_finished_ms,
        archive=archive,
    )
    await retainer.run()


@asynccontextmanager
async def _opened_archive(
    config: ServeConfig, clock: Clock, node_id: str
) -> AsyncIterator[FileArchive | None]:
    """Where what is not kept any longer goes first, if anywhere."""
    if not config.archive:
        yield None
        return
    archive = FileArchive(Path(config.archive), writer=node_id, now=clock.now)
    archive.prepare()
    try:
        yield archive
    finally:
        archive.close()


async def purge(
    database_url: str,
    *,
    older_than_ms: int,
    archive_folder: str = "",
    is_dry: bool = False,
    on_progress: Callable[[Purged], None] | None = None,
) -> Purged:
    """Remove what finished longer ago, by hand, whether nodes are serving or not."""
    clock = SystemClock()
    archive = None
    if archive_folder and not is_dry:
        writer = f"purge-{secrets.token_hex(6)}"
        archive = FileArchive(Path(archive_folder), writer=writer, now=clock.now)
        archive.prepare()
    # Nothing is acknowledged here, so settings that could lose it do not matter.
    store = await open_store(database_url, accepts_unsafe_settings=True)
    try:
        return await Purge(
            store,
            clock,
            finished_before=clock.now() - older_than_ms,
            archive=archive,
            is_dry=is_dry,
            on_progress=on_progress,
        ).run()
    finally:
        await store.close()
        if archive is not None:
            archive.close()


def _engine_limits(config: ServeConfig, store: SqlStore) -> EngineLimits:
    payloads = config.payload_memory_max
    if payloads is None:
        payloads = available_bytes() // 4
    return EngineLimits(
        payload_bytes_max=payloads,
        commits_in_flight_max=store.writer_max,
        commit_share_min=store.share_min,
    )


def _limits(config: ServeConfig) -> Limits:
    return Limits(
        message_bytes_max=config.message_bytes_max,
        payload_bytes_max=config.payload_bytes_max,
        branches_max=config.branches_max,
        labels_bytes_max=config.metadata_bytes_max,
        keep_finished_ms=config.keep_finished_ms,
    )
