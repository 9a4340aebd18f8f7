"""Where a transaction's processor time is counted."""

from bench.speed.profile import by_file, by_function, own, show

ENCODE = ["site-packages/driver.py encode", "coordinator/storage/write.py write"]
TICK = ["coordinator/engine/engine.py Engine._tick", "coordinator/cli/node.py _run"]
STACKS = [
    ([*ENCODE, *TICK], 3),
    (TICK, 2),
    (["asyncio/runners.py run", "coordinator/cli/node.py _run"], 1),
]


def test_what_a_library_does_counts_for_who_called_it():
    """The innermost function of Tercet; the command line that runs it all is none."""
    assert own([*ENCODE, *TICK]) == "coordinator/storage/write.py write"
    assert own(STACKS[2][0]) == "event loop, gRPC, other threads"


def test_files_share_all_samples():
    """Each sample counts once."""
    assert by_file(STACKS) == {
        "coordinator/storage/write.py": 3,
        "coordinator/engine/engine.py": 2,
        "event loop, gRPC, other threads": 1,
    }


def test_functions_count_what_they_call():
    """Also if they stand in a stack twice."""
    counts = by_function([*STACKS, (TICK[:1] * 2, 1)])

    assert counts["coordinator/engine/engine.py Engine._tick"] == 6


def test_the_dearest_comes_first():
    """In microseconds for a transaction."""
    assert show(by_file(STACKS), 10.0)[0] == (
        "    30.0 us  coordinator/storage/write.py"
    )
