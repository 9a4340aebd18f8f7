"""Throughput and p99 against load, as PNG."""

from pathlib import Path

from bench.speed.figures import median
from bench.speed.report import Result

COLOURS = {"tercet": "#0b6e4f", "limit": "#8a8d91", "dbos": "#b5651d"}


def draw(result: Result, path: Path) -> None:
    """One line a side; the point of the run itself is the median of its rounds."""
    import matplotlib as mpl  # noqa: PLC0415 - slow to import, and for this alone

    mpl.use("Agg")
    from matplotlib import pyplot as plt  # noqa: PLC0415

    options = result.options
    figure, (throughput, latency) = plt.subplots(1, 2, figsize=(10, 4))
    for side, windows in result.windows.items():
        points = {
            n: (w.per_second, w.latency_ms[99.0])
            for n, w in result.sweep.get(side, {}).items()
        }
        if not options.rate:
            points[options.in_flight] = (
                median(windows, lambda w: w.per_second),
                median(windows, lambda w: w.latency_ms[99.0]),
            )
        if not points:
            continue
        loads = sorted(points)
        look = {"marker": "o", "label": side, "color": COLOURS.get(side, "black")}
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
    figure.suptitle(
        f"{options.workload} on {options.store}, {result.facts.get('machine', '')},"
        f" {result.facts.get('date', '')}"
    )
    figure.tight_layout()
    figure.savefig(path, dpi=110)
    plt.close(figure)
