"""F26: the wall clock of one node jumps, by an hour and by ten years, and back.

Two nodes share a database; the wall clock that one of them reads is shifted while work
goes on through both. What was begun before a jump may meet its deadline early. What is
begun after it may not, on either node, and nothing may stand still.

The shift is made in the interpreter. libfaketime, which works below it, makes waits of
the standard library fail (``time.sleep`` with EINVAL), so it shows faults of its own.
"""

import time

from tests.faults.bank import Work, audit
from tests.faults.node import Node
from tests.faults.shifted import shift
from tests.faults.stage import bank_in, client_of, database, running, serving
from tests.faults.verdict import (
    Fault,
    Figures,
    Trial,
    promise,
    say,
)

HOUR = 3_600
YEAR = 365 * 24 * HOUR
JUMPS = (HOUR, -HOUR, 10 * YEAR, -10 * YEAR)
TRANSFERS = 50
"""Through each node after each jump."""

STANDSTILL_SECONDS_MAX = 5.0


async def run(trial: Trial) -> Figures:
    """Jump there and back while work goes on through both nodes."""
    bank = bank_in(trial.directory)
    clock = trial.directory / "clock"
    shift(clock, 0)
    with database(trial) as where:
        steady = Node(trial.directory, where.url, name="steady")
        jumping = Node(
            trial.directory,
            where.url,
            name="jumping",
            runner=("tests.faults.shifted", str(clock)),
        )
        async with (
            running(steady, jumping),
            serving(bank, f"{steady.target},{jumping.target}"),
            client_of(steady.target) as one,
            client_of(jumping.target) as other,
        ):
            async with Work(one) as here, Work(other) as there:
                works = [here, there]
                pauses = [await go_on(0, works)]
                for jump in JUMPS:
                    for seconds in (jump, 0):
                        shift(clock, seconds)
                        pauses.append(await go_on(seconds, works))
            steady.check()
            jumping.check()
            ends = await audit(one, bank, *works)
            code = jumping.stop()
            promise(code == 0, f"the node whose clock jumped left with {code}")
    return {
        "jumps": len(pauses) - 1,
        "fresh_cancelled": 0,
        "longest_pause_seconds": f"{max(pauses):.1f}",
        **ends,
    }


async def go_on(seconds: int, works: list[Work]) -> float:
    """Let work go on after a jump; the longest time in which nothing was done."""
    jumped_at = time.monotonic()
    for work in works:
        await work.goes_on(TRANSFERS)
    longest = max(work.longest_pause(jumped_at) for work in works)
    fresh = [told for work in works for told in work.begun_since(jumped_at + 0.1)]
    cancelled = fresh.count("CANCELLED")
    say(
        f"at {seconds:+d} s: {len(fresh)} fresh, {cancelled} cancelled, {longest:.1f} s"
    )
    promise(not cancelled, f"{cancelled} of {len(fresh)} fresh ones cancelled")
    promise(
        longest <= STANDSTILL_SECONDS_MAX,
        f"{seconds:+d} s: {longest:.1f} s of nothing",
    )
    return longest


FAULT = Fault("F26", "the wall clock jumps", ("postgresql", "mariadb"), run)
