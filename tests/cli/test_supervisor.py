"""``tercet serve --nodes``: every node is kept running, and all of them drain."""

import asyncio
import signal

import pytest

from coordinator.cli.supervisor import (
    RESTART_SECONDS_MAX,
    STEADY_SECONDS,
    Supervisor,
    environments,
)
from coordinator.config import ConfigError, ServeConfig, load_serve
from tests.cli.test_process import READY, start


class FakeProcess:
    """Runs until a test ends it; drains at once when it is told to, unless it hangs."""

    def __init__(self, *, hangs: bool = False) -> None:
        self.ended: asyncio.Future[int] = asyncio.get_running_loop().create_future()
        self.lines: asyncio.Queue[str] = asyncio.Queue()
        self.hangs = hangs
        self.signals: list[str] = []

    def says(self, line: str) -> None:
        self.lines.put_nowait(line)

    def ends(self, code: int) -> None:
        if not self.ended.done():
            self.ended.set_result(code)
            self.lines.put_nowait("")

    async def line(self) -> str:
        return await self.lines.get()

    async def wait(self) -> int:
        return await self.ended

    def terminate(self) -> None:
        self.signals.append("TERM")
        if not self.hangs:
            self.ends(0)

    def kill(self) -> None:
        self.signals.append("KILL")
        self.ends(-9)


class Desk:
    """A supervisor over fakes, and a clock that only moves when a test says so."""

    def __init__(self, *, nodes: int = 1, hangs: bool = False) -> None:
        self.started: asyncio.Queue[FakeProcess] = asyncio.Queue()
        self.names: list[str] = []
        self.said: list[str] = []
        self.paused: list[float] = []
        self.now = 0.0
        self._hangs = hangs
        self.supervisor = Supervisor(
            [{"name": str(number)} for number in range(nodes)],
            self._start,
            self.said.append,
            stop_seconds=0.01,
            pause=self._pause,
            monotonic=lambda: self.now,
        )
        self.running = asyncio.ensure_future(self.supervisor.run())

    async def _start(self, node) -> FakeProcess:
        self.names.append(node["name"])
        process = FakeProcess(hangs=self._hangs)
        self.started.put_nowait(process)
        return process

    async def _pause(self, seconds: float) -> None:
        self.paused.append(seconds)

    async def ready(self) -> FakeProcess:
        """The next process, once it serves."""
        process = await self.started.get()
        process.says("ready\n")
        return process


async def test_a_node_that_dies_is_started_again_and_the_others_stay():
    """What it says goes on to be told."""
    desk = Desk(nodes=2)
    first, second = await desk.ready(), await desk.ready()
    first.ends(-9)
    await desk.ready()
    desk.supervisor.stop()
    assert await desk.running == 0
    assert desk.names == ["0", "1", "0"]
    assert second.signals == ["TERM"]
    assert set(desk.said) == {"ready\n"}


async def test_a_node_that_dies_again_and_again_is_started_ever_more_slowly():
    """Up to a limit; one that has lived for a while is started soon again."""
    desk = Desk()
    for _ in range(9):
        (await desk.ready()).ends(6)
    steady = await desk.ready()
    desk.now += STEADY_SECONDS
    steady.ends(6)
    await desk.ready()
    desk.supervisor.stop()
    await desk.running
    assert desk.paused[:4] == [0.1, 0.2, 0.4, 0.8]
    assert desk.paused[-2:] == [RESTART_SECONDS_MAX, 0.1]


async def test_a_node_that_cannot_start_stops_all():
    """With its exit code; starting it again would change nothing."""
    desk = Desk(nodes=2)
    fine, refused = await desk.ready(), await desk.started.get()
    refused.ends(4)
    assert await desk.running == 4
    assert fine.signals == ["TERM"]


async def test_a_node_that_does_not_end_in_time_is_killed():
    """And the command says that it did not go well."""
    desk = Desk(hangs=True)
    hanging = await desk.ready()
    desk.supervisor.stop()
    assert await desk.running == 6
    assert hanging.signals == ["TERM", "KILL"]


async def test_who_waits_to_be_started_again_is_not_when_all_stop():
    """The pause ends at once."""
    desk = Desk()
    resumed = asyncio.Event()

    async def pause(_: float) -> None:
        desk.supervisor.stop()
        await resumed.wait()

    desk.supervisor._pause = pause
    (await desk.ready()).ends(-9)
    assert await desk.running == 0
    assert desk.names == ["0"]


# ---- What they are started with ------------------------------------------------------


def test_each_node_has_the_next_port():
    """Of what it listens on, and of what it advertises; flags go along."""
    config = ServeConfig(
        database_url="sqlite:///a.db", listen="127.0.0.1:7700", advertise="h:80"
    )
    flags = {"database_url": "sqlite:///a.db", "log_level": None, "config": "a.toml"}
    made = environments(config, 3, {**flags, "unsafe_database_settings": True})
    assert [(e["TERCET_LISTEN"], e["TERCET_ADVERTISE"]) for e in made] == [
        ("127.0.0.1:7700", "h:80"),
        ("127.0.0.1:7701", "h:81"),
        ("127.0.0.1:7702", "h:82"),
    ]
    assert made[1]["TERCET_DATABASE_URL"] == "sqlite:///a.db"
    assert made[1]["TERCET_UNSAFE_DATABASE_SETTINGS"] == "yes"
    assert made[1]["TERCET_CONFIG"] == "a.toml"
    assert "TERCET_LOG_LEVEL" not in made[1]


def test_port_0_is_any_free_one_for_each(run):
    """Nobody knows which one would be next."""
    config = ServeConfig(database_url="sqlite:///a.db", listen="127.0.0.1:0")
    made = environments(config, 2, {})
    assert [e["TERCET_LISTEN"] for e in made] == ["127.0.0.1:0"] * 2
    assert "TERCET_ADVERTISE" not in made[0]


def test_ports_that_do_not_exist_are_refused(run):
    """Before anything is started."""
    result = run("serve", "--listen", "127.0.0.1:65535", "--nodes", "2")
    assert result.exit_code == 2
    assert "65535" in result.stderr


def test_a_database_in_memory_is_refused(run):
    """Each process would have one of its own, and lose it."""
    result = run("serve", "--nodes", "2", "--db", "sqlite:///:memory:")
    assert result.exit_code == 2
    assert "a database in memory" in result.stderr


@pytest.mark.parametrize("advertise", ["0.0.0.0:1", "[::]:1", "h:0", "h"])
def test_an_address_that_nobody_can_go_to_is_not_advertised(advertise):
    """Others are sent there."""
    with pytest.raises(ConfigError, match=r"advertise \(flag --advertise\)"):
        load_serve({"advertise": advertise}, {})


def test_two_nodes_serve_and_drain_together(tmp_path):
    """Real processes over one new SQLite file: ready, SIGTERM, exit code 0."""
    args = ("serve", "--nodes", "2", "--db", "sqlite:///a.db", "--listen")
    with start(*args, "localhost:0", cwd=tmp_path) as process:
        try:
            lines = [process.stdout.readline() for _ in range(2)]
            process.send_signal(signal.SIGTERM)
            _, stderr = process.communicate(timeout=60)
        finally:
            process.kill()
    assert process.returncode == 0
    assert all(line.startswith(READY) for line in lines)
    assert len(set(lines)) == 2
    assert stderr.count("node_stopped") == 2
