"""What a node holds is bounded by its payloads, too (F28)."""

from pathlib import Path

import pytest
from msgspec.structs import replace

from coordinator.core.errors import Overloaded
from coordinator.core.inputs import Begin, Cancel, Try
from coordinator.core.model import (
    GlobalTransaction,
    Key,
    Payload,
)
from coordinator.engine.limits import EngineLimits
from coordinator.memory import available_bytes
from tests.core.world import DEADLINE, spec, tcc_request
from tests.engine.world import World, quiet

KIB = 1024
OTHER = Key("default", "g-2")


def heavy(size: int) -> Payload:
    return Payload(b"x" * size, "application/octet-stream")


@pytest.fixture
def world() -> World:
    """A node that takes new transactions up to 10 KiB of payloads."""
    return World(limits=EngineLimits(payload_bytes_max=10 * KIB))


async def is_refused(world: World) -> bool:
    """Whether one more transaction is; if it is not, it is cancelled."""
    begin = Begin(replace(tcc_request(), key=OTHER))
    if isinstance((await world.asked(begin, OTHER)).answer, Overloaded):
        return True
    await world.asked(Cancel(), OTHER)
    return False


async def test_new_transactions_are_refused_beyond_so_many_bytes(world: World) -> None:
    """What was asked and of each branch counts; when it has ended it does no more."""
    await world.asked(Begin(replace(tcc_request(), input=heavy(4 * KIB))))
    assert not await is_refused(world)
    await world.asked(Try((replace(spec("a"), input=heavy(6 * KIB)),)))
    assert await is_refused(world)

    answer = (await world.asked(Cancel())).answer
    await world.answer_all()
    assert isinstance(answer, GlobalTransaction)
    assert not await is_refused(world)


async def test_what_is_taken_over_counts(world: World) -> None:
    """A node whose memory is full of what it took over takes no more, until it ends."""
    await world.asked(Begin(replace(tcc_request(), input=heavy(11 * KIB))))
    await world.asked(Try((spec("a"),)))
    await world.answer_all()
    twin = World(
        world.store.reopen(),
        world.clock,
        node_id="node-2",
        limits=EngineLimits(payload_bytes_max=10 * KIB),
    )
    await twin.leases.beat()
    assert twin.engine.has_room
    world.clock.time = DEADLINE
    assert await twin.sweeper.sweep() == 1
    await quiet()
    assert not twin.engine.has_room
    await twin.answer_all()
    assert twin.engine.has_room


@pytest.mark.parametrize(
    ("listed", "files", "expected"),
    [
        ("0::/\n", {"memory.max": "536870912\n"}, 536_870_912),
        ("0::/\n", {"memory.max": "max\n"}, None),
        ("", {}, None),
        (
            "0::/system.slice/tercet.service\n",
            {"system.slice/tercet.service/memory.max": "1000", "memory.max": "2000"},
            1_000,
        ),
        (
            "0::/outer/inner\n",
            {"outer/inner/memory.max": "max", "outer/memory.max": "3000"},
            3_000,
        ),
        (
            "4:cpu:/a\n3:memory:/a\n",
            {"memory/a/memory.limit_in_bytes": "4000", "a/memory.max": "1"},
            4_000,
        ),
    ],
)
def test_a_container_or_service_has_less_memory_than_its_machine(
    tmp_path: Path, listed: str, files: dict[str, str], expected: int | None
) -> None:
    """The least limit of its control groups counts, of version 1 and 2."""
    groups = tmp_path / "groups"
    groups.write_text(listed)
    for name, text in files.items():
        file = tmp_path / "mount" / name
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(text)
    found = available_bytes(groups, tmp_path / "mount")
    machine = available_bytes(tmp_path / "none")
    assert found == (expected or machine)
    assert machine > 2**26
