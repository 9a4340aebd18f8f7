"""What a run has measured, as PNG: throughput and p99 against load, or how the windows
of an open loop went.
"""

from pathlib import Path
from typing import TYPE_CHECKING, Any

from bench.speed.figures import TENTHS, Window, median
from bench.speed.report import Result

if TYPE_CHECKING:
    from matplotlib.axes import Axes

COLOURS = {"tercet": "#0b6e4f", "limit": "#8a8d91", "dbos": "#b5651d"}

LATENCIES = {"p50 ms": "-", "p99.9 ms": ":"}
MACHINE = {"disk sync p100 ms": "-", "loop p50 us": ":"}
"""Of a window's tenths, and the line each is drawn with."""


def draw(result: Result, path: Path) -> None:
    """Two plots side by side."""
    import matplotlib as mpl  # noqa: PLC0415 - slow to import, and for this alone

    mpl.use("Agg")
    from matplotlib import pyplot as plt  # noqa: PLC0415

    options = result.options
    figure, (left, right) = plt.subplots(1, 2, figsize=(10, 4))
    if options.rate:
        _tenths(result, left, "latency", LATENCIES)
        _tenths(result, right, "the machine meanwhile", MACHINE)
    else:
        _against_load(result, left, right)
    figure.suptitle(
        f"{options.workload} on {options.store}, {result.facts.get('machine', '')},"
        f" {result.facts.get('date', '')}"
    )
    figure.tight_layout()
    figure.savefig(path, dpi=110)
    plt.close(figure)


def _look(side: str, **more: str) -> dict[str, Any]:
    return {"color": COLOURS.get(side, "black"), **more}


def _tenths(result: Result, axes: "Axes", title: str, names: dict[str, str]) -> None:
    """Every window one after the other, as they were measured."""
    for side, windows in result.windows.items():
        for name, style in names.items():
            values = [value for w in windows for value in _padded(w, name)]
            look = _look(side, linestyle=style, label=f"{side} {name}")
            axes.plot(range(1, len(values) + 1), values, **look)
    axes.set_yscale("log", base=2)
    axes.yaxis.set_major_formatter("{x:g}")
    axes.set_xlabel(f"tenths of the windows, {result.options.seconds:g} s each")
    axes.set_title(title)
    axes.grid(visible=True, alpha=0.3)
    axes.legend(fontsize="small")


def _padded(window: Window, name: str) -> list[float]:
    """A window with too few for tenths leaves a gap."""
    return window.tenths.get(name) or [float("nan")] * TENTHS


def _against_load(result: Result, throughput: "Axes", latency: "Axes") -> None:
    """One line a side; the point of the run itself is the median of its rounds."""
    for side, windows in result.windows.items():
        points = {
            n: (w.per_second, w.latency_ms[99.0])
            for n, w in result.sweep.get(side, {}).items()
        }
        points[result.options.in_flight] = (
            median(windows, lambda w: w.per_second),
            median(windows, lambda w: w.latency_ms[99.0]),
        )
        loads = sorted(points)
        look = _look(side, marker="o", label=side)
        throughput.plot(loads, [points[n][0] for n in loads], **look)
        latency.plot(loads, [points[n][1] for n in loads], **look)
    for axes, title in ((throughput, "transactions/s"), (latency, "p99, ms")):
        axes.set_xscale("log", base=2)
        axes.xaxis.set_major_formatter("{x:g}")
        axes.set_xlabel("in flight")
        axes.set_title(title)
        axes.grid(visible=True, which="both", alpha=0.3)
    throughput.set_ylim(bottom=0)
    latency.set_yscale("log", base=2)
    latency.yaxis.set_major_formatter("{x:g}")
    throughput.legend()
