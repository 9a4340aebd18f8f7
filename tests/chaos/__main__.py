"""``python -m tests.chaos``: transfers under fire, then a verdict."""

import asyncio
import contextlib
import shutil
import signal
import sys
import tempfile
from pathlib import Path
from types import FrameType
from typing import Annotated

import typer
import uvloop

from tests.chaos.disk import take_own_mounts
from tests.chaos.options import Options
from tests.chaos.run import Result, run
from tests.chaos.show import Show
from tests.chaos.stores import STORES

EXIT_INTERRUPTED = 130
VIOLATIONS_SHOWN_MAX = 20
GIDS_SHOWN_MAX = 5

app = typer.Typer(add_completion=False, pretty_exceptions_enable=False)


@app.command()
def main(
    *,
    store: Annotated[
        str, typer.Option(help=f"The coordinator's database: {', '.join(STORES)}.")
    ] = "sqlite",
    duration: Annotated[
        float, typer.Option(min=20, max=86_400, help="Seconds of faults.")
    ] = 60,
    seed: Annotated[int, typer.Option(help="Of the faults and the transfers.")] = 7,
    keep: Annotated[
        bool, typer.Option("--keep", help="Leave all files, whatever comes.")
    ] = False,
) -> None:
    """Bank transfers on three nodes and four banks while faults are injected.

    Everything runs on loopback, in processes that end with the run. The last line is
    CHAOS OK ... (exit 0) or CHAOS FAILED ... (exit 1), with the folder where histories,
    journal, ledgers and logs are kept.
    """
    if store not in STORES:
        raise typer.BadParameter(
            f"{store!r} is none; expected {', '.join(STORES)}", param_hint="--store"
        )
    take_own_mounts()
    # A shell that starts it in the background has it ignore the first of these.
    signal.signal(signal.SIGINT, signal.default_int_handler)
    for number in (signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, _as_interrupt)
    options = Options(store=store, seconds=duration, seed=seed)
    raise typer.Exit(perform(options, keep=keep))


def perform(options: Options, *, keep: bool) -> int:
    """Run in a new folder; the exit code."""
    directory = Path(tempfile.mkdtemp(prefix="tercet-chaos-"))
    show = Show()
    try:
        with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
            result = runner.run(run(options, directory, show))
    except KeyboardInterrupt:
        show.end("interrupted; all processes were ended")
        _clear(directory, keep=keep)
        return EXIT_INTERRUPTED
    except BaseException:
        show.end(f"CHAOS FAILED store={options.store} kept={directory}: it broke down")
        raise
    for text in details(result):
        show.end(text)
    _clear(directory, keep=keep or not result.is_well)
    if keep:
        show.end(f"everything is kept in {directory}")
    show.end(last_line(options, result, directory))
    return 0 if result.is_well else 1


def details(result: Result) -> list[str]:
    """What stands above the last line."""
    counts = sorted(result.tally.counts.items())
    ends = ", ".join(f"{end} {count}" for end, count in sorted(result.ends.items()))
    lines = [
        f"ends: {ends}; {result.unknown} unknown to clients, all read afterwards",
        f"faults: {', '.join(f'{name} {count}' for name, count in counts)}",
        f"all ended {result.settled_seconds:.1f} s after the last fault",
        f"{result.rejected_writes} writes of nodes were rejected by the guard",
    ]
    for name, codes in sorted(result.own_ends.items()):
        lines.append(f"{name} ended by itself and was started again: exits {codes}")
    lines += [
        f"VIOLATION {found.rule} {found.gid or '-'}: {found.text}"
        for found in result.violations[:VIOLATIONS_SHOWN_MAX]
    ]
    if (more := len(result.violations) - VIOLATIONS_SHOWN_MAX) > 0:
        lines.append(f"... and {more} more violations")
    lines += [f"GATE {missed}" for missed in result.missed]
    return lines


def last_line(options: Options, result: Result, directory: Path) -> str:
    """The verdict."""
    figures = (
        f"store={options.store} transfers={result.transfers}"
        f" faults={result.tally.total} kinds={len(result.tally.counts)}"
        f" unavailable_seconds={result.unavailable_seconds}"
        f" violations={len(result.violations)}"
    )
    if result.is_well:
        return f"CHAOS OK {figures}"
    gids = sorted({found.gid for found in result.violations if found.gid})
    return (
        f"CHAOS FAILED {figures} gates_missed={len(result.missed)}"
        f" seed={options.seed} gids={','.join(gids[:GIDS_SHOWN_MAX]) or '-'}"
        f" kept={directory}"
    )


def _clear(directory: Path, *, keep: bool) -> None:
    if not keep:
        with contextlib.suppress(OSError):
            shutil.rmtree(directory)


def _as_interrupt(_number: int, _frame: FrameType | None) -> None:
    signal.raise_signal(signal.SIGINT)


if __name__ == "__main__":
    sys.exit(app())
