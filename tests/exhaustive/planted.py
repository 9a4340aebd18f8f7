"""``python -m tests.exhaustive.planted``: every planted bug is found, or it fails.

Bugs of TCC and of the barrier are those of the simulator, by their names. Those
of the protocol are planted in its model, because it is the model that is searched.
"""

import argparse
import gc
import importlib
import sys
from multiprocessing import get_context
from typing import NamedTuple

from tests.simulation.mutant import Mutant, Patch
from tests.simulation.mutants import MUTANTS
from tests.simulation.planted import Planter, patched, read_source

ENGINE = "tests.exhaustive.engine"
DATABASE = "tests.exhaustive.database"

IN_THE_MODEL = (
    Mutant(
        "no_revision_guard",
        "a write changes a row that has moved on since it was read",
        (Patch(DATABASE, "    return statement.current\n", "    return True\n"),),
    ),
    Mutant(
        "claim_without_guard",
        "a claim takes a row that has moved on since it was listed",
        (
            Patch(
                DATABASE,
                "    return statement.current\n",
                '    return statement.current or statement.kind == "claim"\n',
            ),
        ),
    ),
    Mutant(
        "act_before_durable",
        "calls go out while their commit is under way",
        (
            Patch(
                ENGINE,
                "            self.change(busy=COMMIT)\n",
                "            self.change(busy=COMMIT)\n"
                "            self.release(self._me)\n"
                "            if self._it is None:\n"
                "                return\n",
            ),
        ),
    ),
    Mutant(
        "conflict_ignored",
        "a write that hit no row is taken for done",
        (
            Patch(
                ENGINE,
                "        self.take_back()\n        self.read()\n\n    def loaded",
                "        self.committed(current=False)\n\n    def loaded",
            ),
        ),
    ),
    Mutant(
        "unknown_commit_assumed_ok",
        "a commit whose connection broke is taken for done",
        (
            Patch(
                ENGINE,
                "        it = self.it\n        for delivery in dict.fromkeys((*it.abs",
                "        it = self.it\n"
                "        if it.busy == COMMIT:\n"
                "            self.committed(current=True)\n"
                "            return\n"
                "        for delivery in dict.fromkeys((*it.abs",
            ),
        ),
    ),
    Mutant(
        "call_mark_never_cleared",
        "an answered call counts as under way for ever",
        (
            Patch(
                ENGINE,
                "tuple(m for m in it.in_flight if m != mark)",
                "it.in_flight",
            ),
        ),
    ),
)

IN_SAGAS = (
    Mutant(
        "need_that_runs_is_enough",
        "a step starts when what it needs has started",
        (
            Patch(
                "coordinator.core.forward",
                "    if branch.status in SATISFIED:\n        return True\n",
                "    if branch.status in SATISFIED | {BranchStatus.RUNNING}:\n"
                "        return True\n",
            ),
        ),
    ),
    Mutant(
        "undone_all_at_once",
        "compensations do not follow the graph in reverse",
        (
            Patch(
                "coordinator.core.undo",
                "        after_clear = all(clear[s] for s in definition.succ",
                "        after_clear = True or all(clear[s] for s in definition.succ",
            ),
        ),
    ),
    Mutant(
        "sent_and_not_answered_is_abandoned",
        "a step that was sent and not answered is given up when the saga turns",
        (
            Patch(
                "coordinator.core.undo",
                "    if not is_undoable(place):\n        if branch.status is not",
                "    is_out = branch.status is BranchStatus.RUNNING\n"
                "    if is_out or not is_undoable(place):\n"
                "        if branch.status is not",
            ),
        ),
    ),
)

IN_THE_RULES = (
    "decision_not_stored_first",
    "registration_not_stored_first",
    "step_not_stored_first",
    "forgotten_never_taken_up",
    "registration_after_decision",
    "unknown_is_refused",
    "no_phase_two_due",
    "tombstone_skipped",
    "late_try_told_ok",
    "duplicate_runs_again",
    "duplicate_confirm_runs_again",
    "empty_cancel_runs",
)
"""Names of the simulator's own."""

ALL = (*IN_THE_MODEL, *IN_SAGAS, *(m for m in MUTANTS if m.name in IN_THE_RULES))


class Verdict(NamedTuple):
    """How a bug ended: in which world, by which rule; "" = it was not found."""

    name: str
    wrong: str
    world: str
    rule: str
    events: tuple[str, ...]


def hunt(mutant: Mutant) -> Verdict:
    """Plant one bug in this process, and search world by world until it is found."""
    for patch in mutant.patches:
        if patch.module in sys.modules:
            raise RuntimeError(f"{patch.module} is imported already")
    sys.meta_path.insert(0, Planter(mutant))
    gc.disable()  # as in __main__: nothing here is a cycle
    explore = importlib.import_module("tests.exhaustive.search").explore
    plans = importlib.import_module("tests.exhaustive.worlds").PLANS
    for plan in plans:
        for rule, events in () if plan.deep else explore(plan.build(plan)).violations:
            return Verdict(mutant.name, mutant.wrong, plan.name, rule, tuple(events))
    return Verdict(mutant.name, mutant.wrong, "", "", ())


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.exhaustive.planted")
    parser.add_argument("--only", default="", help="names, separated by commas")
    parser.add_argument("--paths", action="store_true", help="print what happens")
    parser.add_argument("--table", action="store_true", help="for docs/proof.md")
    arguments = parser.parse_args()
    wanted = frozenset(filter(None, arguments.only.split(",")))
    mutants = [m for m in ALL if not wanted or m.name in wanted]
    for mutant in mutants:
        for module in {p.module for p in mutant.patches}:
            patches = [p for p in mutant.patches if p.module == module]
            patched(read_source(module), patches)
    verdicts = []
    with get_context("fork").Pool(1, maxtasksperchild=1) as pool:
        for verdict in pool.imap(hunt, mutants):
            verdicts.append(verdict)
            _say(_told(verdict))
            for event in verdict.events if arguments.paths else ():
                _say(f"  {event}")
    if arguments.table:
        _say(table(verdicts))
    found = sum(bool(verdict.rule) for verdict in verdicts)
    _say(f"PLANTED found={found}/{len(verdicts)}")
    return int(found < len(verdicts))


def table(verdicts: list[Verdict]) -> str:
    """As docs/proof.md shows it."""
    lines = ["| bug | what is wrong | caught by | events |", "|---|---|---|---|"]
    lines += [
        f"| `{v.name}` | {v.wrong} | {v.rule.partition(' ')[0]} | {len(v.events)} |"
        for v in verdicts
    ]
    return "\n".join(lines)


def _told(verdict: Verdict) -> str:
    if not verdict.rule:
        return f"{verdict.name}: NOT FOUND"
    events = len(verdict.events)
    return f"{verdict.name}: {verdict.rule}; {events} events, {verdict.world}"


def _say(line: str) -> None:
    sys.stdout.write(f"{line}\n")
    sys.stdout.flush()


if __name__ == "__main__":
    sys.exit(main())
