"""``python -m examples.demo``: work under fire, then an audit of all databases."""

import asyncio
import contextlib
import logging
import shutil
import signal
import sys
import tempfile
from pathlib import Path
from types import FrameType
from typing import Annotated

import typer
import uvloop
from rich.console import Console

from examples.demo.audit import Violation, audit, plant_violation
from examples.demo.driver import Progress
from examples.demo.run import run
from examples.demo.show import Display, result_lines
from examples.demo.workload import Options
from examples.fleet import Fleet, FleetError
from examples.ports import NoPortLeft
from participant_sdk import TercetError

WORKSHOP = Path(".demo")
"""Where runs have their directories, unless told otherwise; ignored by git."""

EXIT_INTERRUPTED = 130

app = typer.Typer(add_completion=False, pretty_exceptions_enable=False)


@app.command()
def main(
    *,
    transfers: Annotated[
        int, typer.Option(min=1, max=1_000_000, help="TCC transfers between the banks.")
    ] = 1_000,
    loans: Annotated[int, typer.Option(min=0, max=1_000_000, help="Loan sagas.")] = 200,
    accounts: Annotated[
        int, typer.Option(min=8, max=100_000, help="Accounts of both banks together.")
    ] = 200,
    refusals: Annotated[
        float, typer.Option(min=0, max=1, help="Part that the business refuses.")
    ] = 0.10,
    client_crashes: Annotated[
        int, typer.Option(min=0, max=50, help="Clients that die in the middle.")
    ] = 5,
    kills: Annotated[
        bool, typer.Option(help="Kill processes; without, transfers are measured.")
    ] = True,
    coordinator_kills: Annotated[
        int, typer.Option(min=0, max=20, help="SIGKILLs of the coordinator.")
    ] = 2,
    participant_kills: Annotated[
        int, typer.Option(min=0, max=20, help="SIGKILLs of a random participant.")
    ] = 1,
    in_flight: Annotated[
        int, typer.Option(min=1, max=10_000, help="Transactions at once.")
    ] = 256,
    seed: Annotated[int, typer.Option(help="Of everything that is random.")] = 7,
    directory: Annotated[
        Path | None,
        typer.Option("--dir", help="Where databases and logs go; must be empty."),
    ] = None,
    keep: Annotated[bool, typer.Option("--keep", help="Leave them there.")] = False,
    plant: Annotated[
        bool,
        typer.Option("--plant-violation", help="Alter one row before the audit."),
    ] = False,
    timeout: Annotated[
        float, typer.Option(min=5, help="Seconds after which the run has failed.")
    ] = 60,
) -> None:
    """Transfers and loans while processes are killed, then an audit.

    Starts a coordinator and six participants, each a process with a database of its
    own. When every transaction has ended, all databases are read and compared. The
    last line is AUDIT OK ... (exit 0) or AUDIT FAILED ... (exit 1).
    """
    options = Options(
        transfers=transfers,
        loans=loans,
        accounts=accounts,
        refusals=refusals,
        client_crashes=client_crashes,
        coordinator_kills=coordinator_kills if kills else 0,
        participant_kills=participant_kills if kills else 0,
        in_flight=in_flight,
        seed=seed,
        timeout_seconds=timeout,
    )
    signal.signal(signal.SIGTERM, _as_interrupt)
    signal.signal(signal.SIGHUP, _as_interrupt)  # the terminal was closed
    where = make_directory(directory)
    raise typer.Exit(demonstrate(options, where, keep=keep, is_planted=plant))


def demonstrate(
    options: Options, directory: Path, *, keep: bool, is_planted: bool
) -> int:
    """Perform, and leave no files unless they are wanted or needed; the exit code."""
    try:
        is_well = perform(options, directory, is_planted=is_planted)
    except KeyboardInterrupt:
        print("interrupted; all processes were ended", file=sys.stderr)
        clear(directory, keep=keep)
        return EXIT_INTERRUPTED
    except (FleetError, NoPortLeft, TercetError) as error:
        print(f"demo: {error}", file=sys.stderr)
        is_well = False
    clear(directory, keep=keep or not is_well)
    return 0 if is_well else 1


def perform(options: Options, directory: Path, *, is_planted: bool) -> bool:
    """Run, audit, print the result; whether all is well."""
    sdk = logging.getLogger("participant_sdk")
    handler = logging.FileHandler(directory / "driver.log", "w")
    handler.setFormatter(logging.Formatter("%(asctime)s %(levelname)s %(message)s"))
    sdk.setLevel(logging.INFO)
    sdk.addHandler(handler)
    try:
        return perform_logged(options, directory, is_planted=is_planted)
    finally:
        sdk.removeHandler(handler)
        handler.close()


def perform_logged(options: Options, directory: Path, *, is_planted: bool) -> bool:
    """Do what :func:`perform` promises."""
    display = Display(Console())
    progress = Progress(total=options.transfers + options.loans)
    trouble: list[Violation] = []
    with Fleet(directory) as fleet:
        work = run(options, fleet, display, progress)
        try:
            with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
                runner.run(asyncio.wait_for(work, options.timeout_seconds))
        except TimeoutError:
            text = f"not finished within {options.timeout_seconds:g} s"
            trouble.append(Violation("TIME", "", text))
    trouble += [Violation("CLIENT", *failure) for failure in progress.failures.items()]
    if is_planted:
        display.say(plant_violation(directory))
    display.say("auditing all databases")
    report = audit(directory)
    if not options.with_kills and progress.transfer_seconds:
        rate = options.transfers / progress.transfer_seconds
        print(f"transfers_per_second={rate:.0f}")
    lines, is_well = result_lines(
        report, kills=fleet.kills, seconds=display.seconds, extra=trouble
    )
    print("\n".join(lines), flush=True)
    return is_well


def make_directory(wanted: Path | None) -> Path:
    """An empty directory: the one that was asked for, or a new one."""
    if wanted is None:
        WORKSHOP.mkdir(exist_ok=True)
        return Path(tempfile.mkdtemp(prefix="run-", dir=WORKSHOP)).absolute()
    try:
        wanted.mkdir(parents=True, exist_ok=True)
        is_empty = not any(wanted.iterdir())
    except OSError as error:
        raise typer.BadParameter(
            f"cannot use {wanted}: {error.strerror}", param_hint="--dir"
        ) from None
    if not is_empty:
        raise typer.BadParameter(
            f"{wanted} is not empty; name a new or an empty directory",
            param_hint="--dir",
        )
    return wanted.absolute()


def clear(directory: Path, *, keep: bool) -> None:
    """Remove what the run left, or say where it is."""
    if keep:
        print(f"databases and logs are kept in {directory}", file=sys.stderr)
        return
    shutil.rmtree(directory, ignore_errors=True)
    with contextlib.suppress(OSError):  # not empty: another run is going on
        WORKSHOP.rmdir()


def _as_interrupt(_number: int, _frame: FrameType | None) -> None:
    signal.raise_signal(signal.SIGINT)


if __name__ == "__main__":
    app()
