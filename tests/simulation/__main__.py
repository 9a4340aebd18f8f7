"""``python -m tests.simulation --seeds 1000``: many schedules, one verdict."""

import argparse
import sys
from pathlib import Path

from tests.simulation.rare import STATES
from tests.simulation.run import Report, Schedule, quieten, run_many, run_seed, shrink
from tests.simulation.scenario import FAULTS, Limits

ALL_RARE_FROM = 10_000
"""A run of so many schedules must have seen every rare state."""

REGRESSIONS = Path(__file__).with_name("regressions.txt")


def main() -> int:
    arguments = _parser().parse_args()
    limits = _limits(arguments)
    if arguments.kept or arguments.seed:
        schedules = kept() if arguments.kept else [(s, limits) for s in arguments.seed]
        return _replay(schedules, trace=arguments.trace)
    first = arguments.first
    seeds = range(first, first + arguments.seeds)
    total, seconds = run_many(
        seeds, limits, processes=arguments.processes, progress=_progress(len(seeds))
    )
    quieten()
    for seed, violation in total.failures:
        _explain(seed, violation, limits)
    return _sum_up(total, seconds)


def kept_lines() -> list[str]:
    """Seeds that once failed, each with the options that shrank it."""
    lines = REGRESSIONS.read_text().splitlines()
    return [line for line in lines if line and not line.startswith("#")]


def kept() -> list[Schedule]:
    """The same, as what is run."""
    return [schedule(line) for line in kept_lines()]


def schedule(line: str) -> Schedule:
    """A seed with its options, as files keep them."""
    arguments = _parser().parse_args(["--seed", *line.split()])
    return arguments.seed[0], _limits(arguments)


def _limits(arguments: argparse.Namespace) -> Limits:
    return Limits(
        nodes=arguments.nodes,
        transactions=arguments.transactions,
        without=frozenset(filter(None, arguments.without.split(","))),
    )


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m tests.simulation")
    parser.add_argument("--seeds", type=int, default=2_000, help="how many schedules")
    parser.add_argument("--first", type=int, default=0, help="the first seed")
    parser.add_argument("--processes", type=int, default=2)
    parser.add_argument("--seed", type=int, nargs="+", help="replay these alone")
    parser.add_argument("--kept", action="store_true", help=f"or {REGRESSIONS.name}")
    parser.add_argument("--trace", action="store_true", help="print what happens")
    parser.add_argument("--nodes", type=int, default=Limits().nodes)
    parser.add_argument("--transactions", type=int, default=Limits().transactions)
    parser.add_argument("--without", default="", help=f"of {', '.join(FAULTS)}")
    return parser


def _replay(schedules: list[Schedule], *, trace: bool) -> int:
    quieten()
    failed = 0
    for seed, limits in schedules:
        report = run_seed(seed, limits, _say if trace else _digest_alone)
        for _, violation in report.failures:
            _say(f"VIOLATION {violation}")
        _say(
            f"SEED {seed} events={report.events} violations={len(report.failures)}"
            f" trace={report.digest:08x}"
        )
        failed += len(report.failures)
    return failed


def _explain(seed: int, violation: str, limits: Limits) -> None:
    smaller = shrink(seed, limits)
    _say(f"VIOLATION seed={seed} {violation}")
    _say(f"  replay: python -m tests.simulation --seed {seed} --trace")
    _say(f"  shrunk: python -m tests.simulation --seed {seed}{smaller.options()}")
    _say(f"  keep:   echo '{seed}{smaller.options()}' >> {REGRESSIONS.name}")


def _sum_up(total: Report, seconds: float) -> int:
    missed = [state for state in STATES if not total.rare[state]]
    must_see_all = total.schedules >= ALL_RARE_FROM
    if missed:
        _say(f"never seen: {', '.join(missed)}")
    _say(f"{total.per_core:.0f} schedules a second of one core's time")
    _say(
        f"SIM schedules={total.schedules} events={total.events}"
        f" violations={len(total.failures)}"
        f" rare_states={len(STATES) - len(missed)}/{len(STATES)}"
        f" schedules_per_second={total.schedules / seconds:.0f}"
    )
    return int(bool(total.failures or (missed and must_see_all)))


def _progress(wanted: int) -> object:
    step = max(wanted // 10, 1)
    said = 0

    def show(total: Report) -> None:
        nonlocal said
        if total.schedules // step > said and total.schedules < wanted:
            said = total.schedules // step
            _say(f"{total.schedules}/{wanted}, violations: {len(total.failures)}")

    return show


def _digest_alone(line: str) -> None:
    """What happens is not shown; whether it is the same is."""


def _say(line: str) -> None:
    sys.stdout.write(f"{line}\n")
    sys.stdout.flush()


if __name__ == "__main__":
    sys.exit(main())
