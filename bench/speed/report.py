"""What a run says: a table, JSON, and one line."""

import datetime as dt
import os
import platform
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from functools import partial
from importlib.metadata import version
from pathlib import Path
from typing import Any

import msgspec

from bench.speed.figures import PERCENTILES, Window, median, spread
from bench.speed.options import Options
from bench.speed.rig import LIMIT, TERCET

PROCESSES = ("coordinator", "database", "participant", "initiator")
PACKAGES = ("grpcio", "protobuf", "sqlalchemy", "asyncpg", "uvloop", "msgspec")


@dataclass(slots=True)
class Result:
    """All that was measured.

    Attributes:
        windows: by side, in the order of the rounds.
        sweep: by side, one window for each number in flight.
        most: Tercet's closed loop before each round, where the rate is a share of
            what it ended.
        facts: about machine, versions and database.
    """

    options: Options
    windows: dict[str, list[Window]] = field(default_factory=dict)
    sweep: dict[str, dict[int, Window]] = field(default_factory=dict)
    most: list[Window] = field(default_factory=list)
    facts: dict[str, str] = field(default_factory=dict)

    @property
    def ratio(self) -> float | None:
        """Of the medians: Tercet to the limit."""
        if not self.windows.get(LIMIT):
            return None
        limit = median(self.windows[LIMIT], _per_second)
        return median(self.windows[TERCET], _per_second) / limit

    @property
    def ratios(self) -> list[float]:
        """Round by round."""
        sides = (self.windows.get(TERCET, []), self.windows.get(LIMIT, []))
        return [t.per_second / b.per_second for t, b in zip(*sides, strict=False)]


def _per_second(window: Window) -> float:
    return window.per_second


def facts() -> dict[str, str]:
    """About machine and versions."""
    model = next(
        (
            line.partition(":")[2].strip()
            for line in Path("/proc/cpuinfo").read_text().splitlines()
            if line.startswith("model name")
        ),
        platform.machine(),
    )
    now = dt.datetime.now(dt.UTC)
    return {
        "date": now.strftime("%Y-%m-%d %H:%M UTC"),
        "machine": f"{os.cpu_count()} x {model}",
        "load_before": f"{os.getloadavg()[0]:.1f}",
        "python": platform.python_version(),
        **{package: version(package) for package in PACKAGES},
    }


Row = tuple[str, Callable[[Window], float], str]


def _latency_ms(percent: float, window: Window) -> float:
    return window.latency_ms[percent]


def _sync_ms(percent: float, window: Window) -> float:
    return window.sync_ms[percent]


def _loop_us(percent: float, window: Window) -> float:
    return window.loop_us[percent]


def _cpu_us(process: str, window: Window) -> float:
    return window.per_transaction(window.cpu_seconds.get(process, 0.0)) * 1e6


def _rows(windows: Sequence[Window]) -> list[Row]:
    rows: list[Row] = [("transactions/s", _per_second, "{:.0f}")]
    rows += [(f"p{p:g} ms", partial(_latency_ms, p), "{:.1f}") for p in PERCENTILES]
    rows += [
        (f"CPU us/tx {process}", partial(_cpu_us, process), "{:.0f}")
        for process in PROCESSES
        if process in windows[0].cpu_seconds
    ]
    syncs, loops = sorted(windows[0].sync_ms), sorted(windows[0].loop_us)
    rows += [
        ("CPU us/tx all", lambda w: w.per_transaction(w.cpu_total) * 1e6, "{:.0f}"),
        ("CPUs busy", lambda w: w.cpu_total / w.seconds, "{:.2f}"),
        ("durable waits/tx", lambda w: w.per_transaction(w.moves), "{:.2f}"),
        ("commits/tx", lambda w: w.per_transaction(w.commits), "{:.3f}"),
        ("rows/tx", lambda w: w.per_transaction(w.rows), "{:.1f}"),
        ("transactions/commit", lambda w: w.moves / max(w.commits, 1), "{:.0f}"),
        *((f"disk sync p{p:g} ms", partial(_sync_ms, p), "{:.1f}") for p in syncs),
        *((f"loop us p{p:g}", partial(_loop_us, p), "{:.0f}") for p in loops),
        ("coordinator MiB", lambda w: w.rss_mib, "{:.0f}"),
        ("refused %", lambda w: 100 * w.per_transaction(w.refused), "{:.1f}"),
    ]
    return rows


def table(result: Result) -> list[str]:
    """Medians of all rounds, side by side."""
    sides = list(result.windows)
    lines = [f"{'median of ' + str(result.options.runs):24}" + _cells(sides)]
    for name, value, form in _rows(result.windows[TERCET]):
        cells = [form.format(median(result.windows[side], value)) for side in sides]
        lines.append(f"{name:24}" + _cells(cells))
    if result.ratios:
        lines.append(f"ratio, round by round: {spread(result.ratios)}")
    if result.options.rate:
        lines += _tenths(result)
    return lines


def _tenths(result: Result) -> list[str]:
    """How each window went: a queue that grows would show."""
    lines = []
    sides = {"tercet, closed loop": result.most, **result.windows}
    for side, windows in sides.items():
        for number, window in enumerate(windows, 1):
            lines.append(f"{side}, run {number}, by tenths of the window")
            lines += [
                f"  {name:18}" + "".join(f"{value:7.0f}" for value in values)
                for name, values in window.tenths.items()
                if values
            ]
    return lines


def _cells(texts: Sequence[str]) -> str:
    return "".join(f"{text:>14}" for text in texts)


def last_line(result: Result) -> str:
    """For people and programs."""
    options, tercet = result.options, result.windows[TERCET]
    limit = result.windows.get(LIMIT)
    in_flight = str(options.in_flight) if not options.rate else "open"

    def per_transaction(amount: Callable[[Window], float]) -> float:
        return median(tercet, lambda w: w.per_transaction(amount(w)))

    figures: dict[str, str] = {
        "workload": options.workload,
        "store": options.store,
        "in_flight": in_flight,
        "tercet_per_s": f"{median(tercet, _per_second):.0f}",
        "limit_per_s": f"{median(limit, _per_second):.0f}" if limit else "none",
        "ratio": "none" if result.ratio is None else f"{result.ratio:.3f}",
        "p50_ms": f"{median(tercet, partial(_latency_ms, 50.0)):.1f}",
        "p99_ms": f"{median(tercet, partial(_latency_ms, 99.0)):.1f}",
        "commits_per_tx": f"{per_transaction(lambda w: w.commits):.3f}",
        "rows_per_tx": f"{per_transaction(lambda w: w.rows):.1f}",
        "cpu_s_per_1000": f"{per_transaction(lambda w: w.cpu_total) * 1_000:.2f}",
    }
    if options.rate:
        figures["rate"] = str(options.rate)
    if result.most:
        figures["most_per_s"] = f"{median(result.most, _per_second):.0f}"
    if options.finished:
        figures["finished"] = str(options.finished)
    if options.nodes > 1:
        figures["nodes"] = str(options.nodes)
    if options.participant != "null":
        figures["participant"] = options.participant
    return "BENCH " + " ".join(f"{name}={text}" for name, text in figures.items())


def as_json(result: Result) -> bytes:
    """Everything, window by window."""

    def plain(window: Window) -> dict[str, Any]:
        return {**msgspec.to_builtins(window), "per_second": window.per_second}

    content = {
        "options": {**msgspec.to_builtins(result.options, enc_hook=str)},
        "facts": result.facts,
        "line": last_line(result),
        "most": [plain(w) for w in result.most],
        "windows": {s: [plain(w) for w in ws] for s, ws in result.windows.items()},
        "sweep": {
            side: {str(n): plain(w) for n, w in by_load.items()}
            for side, by_load in result.sweep.items()
        },
    }
    return msgspec.json.format(msgspec.json.encode(content), indent=1)
