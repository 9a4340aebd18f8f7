"""``python -m tests.exhaustive.proof_page``: the last section of docs/proof.md.

It takes as long as ``make exhaustive`` and the planted bugs together.
"""

import subprocess
import sys

from tests.simulation.proof_page import EXHAUSTIVE, PAGE

TEXT = """\

`make exhaustive` visits *every* state that small worlds can come to: two nodes, an
initiator, two branches or a diamond of four steps (a, then b and c, then d), and a
crash, a lost or late message, or a pause in which a node is taken for dead. Calls and
answers are under way in no order, requests may go to either node, the initiator may
abort or fall silent at any time, and a deadline passes. Where the simulator draws a few
of the orders in which that can happen, here all of them are looked at. The smaller
worlds are part of `make test`. Each world ends with one line:

    EXHAUSTIVE world=W states=N transitions=N violations=0 seconds=S

**What is real:** every decision: `machine.step`, `due`, `due_at`, `answerable` and
`is_ready` of the core, the plan of the sweep, the saga language's compiler, and the
barrier's rules with the SDK's order of claims and reads. **What is modelled:** the
engine's protocol around them (a resident copy, its backlog, compare-and-set, taking
back, forgetting, durable then act), statements on their way to one row, a local
transaction at a participant. The engine itself runs in the simulator. **What is
abstract:** time. A clock stands before the deadline or after it, and what waits for its
next attempt may be asked at any moment, so every real order of instants is among those
that are looked at.

**In every state** T1 to T8, L1, L3, L4, B1 to B5 and S1 to S4 are judged by what is
durable and by what the participants really did. **From every state** an end can be
reached without a fault and without a request: nothing is stuck. A violation is printed
as the shortest story that leads to it.

**What is left out, and why that is sound.** The two nodes are alike, so of a state and
its mirror image one is visited. Revisions are "current" or "stale": a revision never
comes back. A node that pauses is one that others do not wait for, because no node has
to do anything; a node that starts again late is one that does nothing for a while. An
initiator hears an answer when it is sent: it may take its time before it goes on.
Once a decision is durable and known, the time of day means nothing.

**What is left out, and is not proved here.** Where a name does not say `slow-database`,
a node's read or write is carried out as it is sent (claims always travel); where it
does not say `slow-answers`, a participant's answer is heard at once, but for the one
that is lost or late; where it does not say `two-clocks`, the deadline passes for both
nodes together. In the two worlds with a crash, a loss and a pause at once, nobody but
the deadline aborts (`unasked`); with an initiator that may abort as well, and with
several faults while everything is slow, a world is too large so far. The names say what
may happen: how many crashes, losses and pauses, and which branches may refuse.

{worlds}

Bugs are planted here as well, those of the engine's protocol in its model:

{bugs}

`{summary}`
"""


def main() -> int:
    worlds = _run("tests.exhaustive", "--deep", "--table")
    bugs = _run("tests.exhaustive.planted", "--table")
    section = TEXT.format(
        worlds=_rows(worlds), bugs=_rows(bugs), summary=bugs.splitlines()[-1]
    )
    head = PAGE.read_text().partition(EXHAUSTIVE)[0].rstrip("\n")
    PAGE.write_text(f"{head}\n\n{EXHAUSTIVE}\n{section}")
    return 0


def _run(module: str, *options: str) -> str:
    """A tool's report, in a process of its own: it plants, or keeps a lot."""
    run = subprocess.run(
        [sys.executable, "-m", module, *options],
        stdout=subprocess.PIPE,
        text=True,
        check=True,
    )
    return run.stdout


def _rows(report: str) -> str:
    return "\n".join(line for line in report.splitlines() if line.startswith("|"))


if __name__ == "__main__":
    sys.exit(main())
