"""``python -m bench.speed``: limit and Tercet in turn, and what that says."""

import signal
import sys
from collections.abc import Callable

from bench.speed.load import Unfinished
from bench.speed.options import Options, options_of
from bench.speed.report import Result, as_json, facts, last_line, table
from bench.speed.rig import (
    LIMIT,
    LIMIT_STORES,
    TERCET,
    Failed,
    Load,
    NotDurable,
    Rig,
    rig,
)
from examples.fleet import FleetError
from examples.ports import NoPortLeft
from tests.servers.process import ServerFailed

EXIT_INTERRUPTED = 130
PROBLEMS = (Failed, FleetError, NoPortLeft, NotDurable, ServerFailed, Unfinished)
"""What is told in a sentence, without a traceback."""

SWEEP_SECONDS = 2.0
"""Of each point of the plot, unless the windows are shorter."""


def main(arguments: list[str]) -> int:
    """Measure, print, and leave JSON and a plot."""
    options = options_of(arguments)
    # A shell that starts it in the background has it ignore the first of these.
    signal.signal(signal.SIGINT, signal.default_int_handler)
    for number in (signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, signal.default_int_handler)
    try:
        result = perform(options, say)
    except PROBLEMS as problem:
        sys.stderr.write(f"bench: {problem}\n")
        return 1
    except KeyboardInterrupt:
        sys.stderr.write("bench: interrupted; all processes were ended\n")
        return EXIT_INTERRUPTED
    name = f"{options.workload}-{options.store}"
    options.out.mkdir(parents=True, exist_ok=True)
    (options.out / f"{name}.json").write_bytes(as_json(result))
    from bench.speed.plot import draw  # noqa: PLC0415 - takes a second

    draw(result, options.out / f"{name}.png")
    print("\n".join(table(result)))
    print(f"{options.out / name}.json and .png hold every window")
    print(last_line(result))
    return 0


def say(text: str) -> None:
    """Progress."""
    print(text, file=sys.stderr, flush=True)


def perform(options: Options, say: Callable[[str], None]) -> Result:
    """All rounds, then the points of the plot."""
    result = Result(options, facts=facts())
    sides: tuple[str, ...] = (TERCET,)
    if options.store in LIMIT_STORES and not options.alone:
        sides = (LIMIT, *sides)
    if options.peer != "none":
        sides = (*sides, options.peer)
    if options.store not in LIMIT_STORES:
        say(f"there is no limit program for {options.store}: Tercet alone is measured")
    say(f"starting {options.store}, {' and '.join(sides)}")
    made = rig(options.store, options.participant, sides, nodes=options.nodes)
    with made as here:
        result.facts |= here.facts
        say(" ".join(f"{name}={fact}" for name, fact in result.facts.items()))
        if options.finished:
            here.fill(options.load(), options.finished, say)
        _rounds(here, result, say)
        if not options.rate:
            _sweep(here, result, say)
    return result


def _rounds(here: Rig, result: Result, say: Callable[[str], None]) -> None:
    options = result.options
    result.windows = {side: [] for side in here.sides}
    for number in range(options.runs):
        load = options.load()
        if options.rate.share:
            most = here.measure(TERCET, load)
            result.most.append(most)
            load = options.load(most.per_second)
            say(
                f"run {number + 1}/{options.runs} a closed loop ended"
                f" {most.per_second:.0f}/s, {options.rate} of it are"
                f" {load.per_second:.0f}; a known loop took {most.loop_us[50.0]:.0f} us"
            )
        # Nobody always has the machine as the other one leaves it.
        order = list(here.sides) if number % 2 == 0 else list(reversed(here.sides))
        for side in order:
            window = here.measure(side, load)
            result.windows[side].append(window)
            say(
                f"run {number + 1}/{options.runs} {side:7}"
                f" {window.per_second:7.0f}/s  p99 {window.latency_ms[99.0]:.1f} ms"
            )


def _sweep(here: Rig, result: Result, say: Callable[[str], None]) -> None:
    options = result.options
    result.sweep = {side: {} for side in here.sides}
    for in_flight in options.sweep:
        for side in here.sides:
            load = Load(
                workload=options.workload,
                in_flight=in_flight,
                warm_seconds=options.warm_seconds,
                seconds=min(options.seconds, SWEEP_SECONDS),
            )
            window = result.sweep[side][in_flight] = here.measure(side, load)
            say(
                f"for the plot: {in_flight:4} in flight {side:7}"
                f" {window.per_second:7.0f}/s  p99 {window.latency_ms[99.0]:.1f} ms"
            )


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
