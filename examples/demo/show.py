"""Progress and result, on a terminal or as plain lines."""

import asyncio
import time
from collections.abc import AsyncIterator, Iterable
from contextlib import asynccontextmanager

from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn

from examples.demo.audit import Report, Violation
from examples.demo.driver import Progress as Work

TERMINAL_INTERVAL_SECONDS = 0.1
PLAIN_INTERVAL_SECONDS = 1.0
VIOLATIONS_SHOWN_MAX = 20
GIDS_SHOWN_MAX = 50


class Display:
    """Says what goes on: a live line on a terminal, a line a second elsewhere."""

    def __init__(self, console: Console) -> None:
        self._console = console
        self._started = time.monotonic()

    @property
    def seconds(self) -> float:
        """Since the display was made."""
        return time.monotonic() - self._started

    def say(self, text: str) -> None:
        """One line of its own."""
        self._console.print(
            f"{self.seconds:5.1f} s  {text}", highlight=False, soft_wrap=True
        )

    @asynccontextmanager
    async def following(self, work: Work) -> AsyncIterator[None]:
        """Show ``work`` while the block runs."""
        show = self._live if self._console.is_terminal else self._plain
        task = asyncio.create_task(show(work))
        try:
            yield
        finally:
            task.cancel()
            await asyncio.wait([task])

    async def _live(self, work: Work) -> None:
        columns = (BarColumn(), TextColumn("{task.description}"))
        with Progress(*columns, console=self._console) as bar:
            task = bar.add_task("", total=work.total)
            try:
                while True:
                    bar.update(task, completed=work.done, description=describe(work))
                    await asyncio.sleep(TERMINAL_INTERVAL_SECONDS)
            finally:
                bar.update(task, completed=work.done, description=describe(work))

    async def _plain(self, work: Work) -> None:
        shown = -1
        while True:
            if work.done != shown:
                shown = work.done
                self.say(describe(work))
            await asyncio.sleep(PLAIN_INTERVAL_SECONDS)


def describe(work: Work) -> str:
    """``640 of 1200 done: cancelled 55, confirmed 480, ...``."""
    told = ", ".join(f"{s.lower()} {n}" for s, n in sorted(work.told.items()))
    return f"{work.done} of {work.total} done" + (f": {told}" if told else "")


def result_lines(
    report: Report, *, kills: int, seconds: float, extra: Iterable[Violation] = ()
) -> tuple[list[str], bool]:
    """What to print at the end, and whether all is well."""
    violations = (*extra, *report.violations)
    if violations:
        return _failure(violations), False
    ends, modes = report.ends, report.modes
    numbers = {
        "transfers": modes.get("TCC", 0),
        "loans": modes.get("SAGA", 0),
        "confirmed": ends.get("CONFIRMED", 0),
        "cancelled": ends.get("CANCELLED", 0),
        "completed": ends.get("COMPLETED", 0),
        "compensated": ends.get("COMPENSATED", 0),
        "kills": kills,
        "violations": 0,
        "seconds": f"{seconds:.1f}",
    }
    return ["AUDIT OK " + " ".join(f"{k}={v}" for k, v in numbers.items())], True


def _failure(violations: tuple[Violation, ...]) -> list[str]:
    lines = [
        f"violation {rule} {gid or '(no single transaction)'}: {text}"
        for rule, gid, text in violations[:VIOLATIONS_SHOWN_MAX]
    ]
    hidden = len(violations) - len(lines)
    if hidden:
        lines.append(f"and {hidden} more")
    gids = sorted({v.gid for v in violations if v.gid})
    shown = ",".join(gids[:GIDS_SHOWN_MAX]) or "-"
    more = ",..." if len(gids) > GIDS_SHOWN_MAX else ""
    lines.append(f"AUDIT FAILED violations={len(violations)} gids={shown}{more}")
    return lines
