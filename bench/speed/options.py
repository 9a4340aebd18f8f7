"""What the command line asks for; what it gets wrong is said in one line."""

import argparse
import sys
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import NoReturn

from bench.speed.participant import KINDS
from bench.speed.past import COUNT_MAX
from bench.speed.rig import STORES, Load
from bench.speed.workload import WORKLOADS

IN_FLIGHT_MAX = 2_000
"""As many as a node takes on where all of them wait for the database."""
RUNS_MAX = 100
NODES_MAX = 8
SECONDS_MAX = 600.0
RATE_MAX = 1_000_000.0
OUT = Path("bench-out")
PEERS = ("none", "dbos")


@dataclass(frozen=True, slots=True)
class Rate:
    """Of an open loop. At most one of the two is given; none: the loop is closed.

    Attributes:
        per_second: transactions.
        share: of what Tercet ends a second in a closed loop right before each round,
            in a window as long as that round's; at most 1.
    """

    per_second: float = 0.0
    share: float = 0.0

    def __bool__(self) -> bool:
        return bool(self.per_second or self.share)

    def of(self, most: float) -> float:
        """Transactions a second, where a closed loop has ended ``most``."""
        return self.share * most if self.share else self.per_second

    def __str__(self) -> str:
        return f"{self.share:.0%}" if self.share else f"{self.per_second:g}"


@dataclass(frozen=True, slots=True)
class Options:
    """What to measure.

    Attributes:
        rate: of an open loop; none = a closed one with ``in_flight``.
        peer: somebody else's product, measured in the same run.
        sweep: numbers in flight (closed) that are measured once each, for the plot.
        out: the folder of JSON and plot.
        nodes: of Tercet, over one database.
        finished: transactions that Tercet's database has from before.
        alone: Tercet, without the limit program; for what no ratio is asked of.
    """

    workload: str
    store: str
    participant: str
    in_flight: int
    rate: Rate
    runs: int
    seconds: float
    warm_seconds: float
    sweep: tuple[int, ...]
    out: Path
    peer: str
    nodes: int
    finished: int
    alone: bool

    def load(self, most: float = 0.0) -> Load:
        """Of a window: of the open loop, where a rate is asked for and known.

        Args:
            most: transactions a second that a closed loop has ended right before.
        """
        return Load(
            workload=self.workload,
            in_flight=self.in_flight,
            per_second=self.rate.of(most),
            warm_seconds=self.warm_seconds,
            seconds=self.seconds,
        )


class _Parser(argparse.ArgumentParser):
    def error(self, message: str) -> NoReturn:
        sys.stderr.write(f"bench: {message}\n")
        sys.exit(2)


def options_of(arguments: Sequence[str]) -> Options:
    """The options; ends the process with one line when they are wrong."""
    parser = _Parser(prog="python -m bench.speed", description=__doc__)
    add = parser.add_argument
    add("--workload", default="saga2", type=_one_of(WORKLOADS))
    add("--store", default="postgresql", type=_one_of(STORES))
    add("--participant", default="null", type=_one_of(KINDS))
    add("--in-flight", default=256, type=_whole(1, IN_FLIGHT_MAX))
    add(
        "--rate",
        default=Rate(),
        type=_rate,
        help="open loop: so many a second, or, as 70%%, so much of what a closed loop"
        " ends right before",
    )
    add("--runs", default=5, type=_whole(1, RUNS_MAX))
    add("--seconds", default=4.0, type=_number(0.2, SECONDS_MAX), help="of a window")
    add("--warm-seconds", default=1.0, type=_number(0, SECONDS_MAX))
    add("--sweep", default="1,16,64,1024", type=_sweep, help="or none")
    add("--out", default=OUT, type=Path)
    add("--peer", default="none", type=_one_of(PEERS))
    add("--nodes", default=1, type=_whole(1, NODES_MAX), help="of Tercet")
    add("--finished", default=0, type=_whole(0, COUNT_MAX), help="from before")
    add("--alone", action="store_true", help="Tercet without the limit program")
    given = parser.parse_args(arguments)
    if given.finished and given.store != "postgresql":
        parser.error("argument --finished: expected with --store postgresql alone")
    if given.peer != "none":
        fits = given.store == "postgresql" and given.workload == "saga2"
        if not fits or given.rate:
            parser.error(
                f"argument --peer: {given.peer} is measured with --workload saga2,"
                " --store postgresql and without --rate"
            )
    return Options(**vars(given))


def _one_of(names: Iterable[str]) -> Callable[[str], str]:
    def read(text: str) -> str:
        if text not in names:
            raise argparse.ArgumentTypeError(
                f"expected one of {', '.join(names)}, got {text!r}"
            )
        return text

    return read


def _whole(least: int, most: int) -> Callable[[str], int]:
    def read(text: str) -> int:
        if not text.isdecimal() or not least <= int(text) <= most:
            raise argparse.ArgumentTypeError(
                f"expected a whole number from {least} to {most}, got {text!r}"
            )
        return int(text)

    return read


def _number(least: float, most: float) -> Callable[[str], float]:
    def read(text: str) -> float:
        try:
            value = float(text)
        except ValueError:
            value = -1.0
        if not least <= value <= most:
            raise argparse.ArgumentTypeError(
                f"expected a number from {least:g} to {most:g}, got {text!r}"
            )
        return value

    return read


def _rate(text: str) -> Rate:
    number = text.removesuffix("%")
    try:
        if number == text:
            return Rate(per_second=_number(0, RATE_MAX)(number))
        return Rate(share=_number(1, 100)(number) / 100)
    except argparse.ArgumentTypeError:
        raise argparse.ArgumentTypeError(
            f"expected transactions a second from 0 to {RATE_MAX:g}, or a share from 1%"
            f" to 100%, got {text!r}"
        ) from None


def _sweep(text: str) -> tuple[int, ...]:
    if text == "none":
        return ()
    try:
        numbers = tuple(sorted({_whole(1, IN_FLIGHT_MAX)(n) for n in text.split(",")}))
    except argparse.ArgumentTypeError:
        raise argparse.ArgumentTypeError(
            f"expected none, or whole numbers from 1 to {IN_FLIGHT_MAX} with commas"
            f" between, got {text!r}"
        ) from None
    return numbers
