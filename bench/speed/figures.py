"""What a window of load has measured, and what several of them say together."""

import itertools
import math
import statistics
from array import array
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field

PERCENTILES = (50.0, 90.0, 99.0, 99.9)
TENTHS = 10
TENTHS_OF = (50.0, 99.9)
"""A queue that grows shows in the first of these, and what stood still in the other."""


def percentile(ordered: Sequence[float], percent: float) -> float:
    """The smallest value that so many per cent of all do not exceed; 0 of none."""
    if not ordered:
        return 0.0
    rank = math.ceil(len(ordered) * percent / 100)
    return ordered[max(rank, 1) - 1]


def in_tenths(values: Sequence[float], percent: float, times: float) -> list[float]:
    """This percentile of each tenth of the values, in the order in which they came;
    of none, if there are too few for tenths.

    Args:
        times: a value in the unit that is wanted.
    """
    if len(values) < TENTHS:
        return []
    ends = [len(values) * tenth // TENTHS for tenth in range(TENTHS + 1)]
    parts = (values[since:to] for since, to in itertools.pairwise(ends))
    return [percentile(sorted(part), percent) * times for part in parts]


@dataclass(frozen=True, slots=True)
class Window:
    """One measured stretch of time.

    Attributes:
        ended: transactions that ended in it.
        latency_ms: by percentile.
        cpu_seconds: by process.
        commits: of the coordinator's database, that wrote of transactions.
        rows: that these commits wrote.
        moves: of transactions in them: a durable wait each.
        rss_mib: of the coordinator's process, at the end.
        sync_ms: by percentile, of syncs of the disk beside the load.
        loop_us: by percentile, of processor time of a known loop beside the load.
        tenths: figures of each tenth of the window, by name.
    """

    seconds: float
    ended: int
    refused: int
    latency_ms: dict[float, float]
    cpu_seconds: dict[str, float] = field(default_factory=dict)
    commits: int = 0
    rows: int = 0
    moves: int = 0
    rss_mib: float = 0.0
    sync_ms: dict[float, float] = field(default_factory=dict)
    loop_us: dict[float, float] = field(default_factory=dict)
    tenths: dict[str, list[float]] = field(default_factory=dict)

    @property
    def per_second(self) -> float:
        """Transactions."""
        return self.ended / self.seconds

    def per_transaction(self, amount: float) -> float:
        """Its share of what was spent."""
        return amount / max(self.ended, 1)

    @property
    def cpu_total(self) -> float:
        """Of all processes."""
        return sum(self.cpu_seconds.values())


def window_of(
    latencies: "array[float]", *, seconds: float, ended: int, refused: int
) -> Window:
    """The figures of a window, from the seconds that each transaction took."""
    ordered = sorted(latencies)
    return Window(
        seconds=seconds,
        ended=ended,
        refused=refused,
        latency_ms={p: percentile(ordered, p) * 1_000 for p in PERCENTILES},
        tenths={f"p{p:g} ms": in_tenths(latencies, p, 1_000) for p in TENTHS_OF},
    )


def median(
    windows: Iterable[Window], value: Callable[[Window], float], none: float = 0.0
) -> float:
    """Of the value, over all windows."""
    values = [value(window) for window in windows]
    return statistics.median(values) if values else none


def spread(values: Sequence[float]) -> str:
    """The least and the most, for people."""
    return f"{min(values):.2f} to {max(values):.2f}" if values else "-"
