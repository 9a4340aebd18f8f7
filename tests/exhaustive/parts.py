"""What each part of a world can do next, worked out once for each of its states.

Equal values have one number (``Pool``), and a part's moves are remembered by it. So
the real rules are asked some ten thousand times where millions of states are visited.
"""

from collections.abc import Callable
from functools import cache
from typing import Generic, NamedTuple, TypeVar

from coordinator.core import machine, sweep
from coordinator.core.inputs import BranchReplied, Unknown
from coordinator.core.model import Instant, Key
from coordinator.core.sweep import Reason
from coordinator.core.words import Decision
from tests.exhaustive import database, engine, initiator, participant
from tests.exhaustive.database import Row, Statement
from tests.exhaustive.decisions import EARLY, LATE, Decisions
from tests.exhaustive.engine import GONE, Message, Node, Tick
from tests.exhaustive.initiator import Program, Progress
from tests.exhaustive.judge import Judge
from tests.exhaustive.participant import Share

T = TypeVar("T")


class Faults(NamedTuple):
    """How many of each may still happen.

    Attributes:
        losses: messages that are lost, or come when nobody waits for them any more.
        pauses: of a node that its peer takes for dead meanwhile. A node need not do
            anything while others go on, so a pause is nothing but that mistake; and
            because the mistake need not have consequences, it is never corrected.
        taken_for_dead: the node that it happened to; ``GONE`` for none.
    """

    crashes: int = 0
    losses: int = 0
    pauses: int = 0
    taken_for_dead: int = GONE


class Listed(NamedTuple):
    """What the sweep's plan reads of a row.

    Attributes:
        takeovers: too few can die in a world for a quarantine.
    """

    key: Key
    owner: str
    due_at: Instant
    takeovers: int = 0


class Pool(Generic[T]):
    """Equal values have one number."""

    def __init__(self) -> None:
        self._values: list[T] = []
        self._numbers: dict[T, int] = {}

    def __getitem__(self, number: int) -> T:
        return self._values[number]

    def add(self, value: T) -> int:
        """The value's number."""
        number = self._numbers.setdefault(value, len(self._values))
        if number == len(self._values):
            self._values.append(value)
        return number

    def lift(self, change: Callable[[T], T]) -> Callable[[int], int]:
        """A change of values as one of numbers, worked out once for each."""
        return cache(lambda number: self.add(change(self[number])))

    def lift_with(self, change: Callable[[T, int], T]) -> Callable[[int, int], int]:
        """The same for a change that depends on a node."""
        return cache(lambda number, node: self.add(change(self[number], node)))


class Parts:
    """The parts of one world.

    Args:
        program: of the initiator.
        judge: knows the branches, and which rules hold.
        refusers: branches whose participant may refuse.
    """

    def __init__(
        self,
        decisions: Decisions,
        program: Program,
        judge: Judge,
        *,
        refusers: frozenset[str] = frozenset(),
    ) -> None:
        self._core = decisions
        self._program = program
        self._branches = judge.branches
        self._refusers = refusers
        self._judge = judge
        self._rows: Pool[Row] = Pool()
        self._nodes: Pool[Node] = Pool()
        self._initiators: Pool[Progress] = Pool()
        self._faults: Pool[Faults] = Pool()
        self._shares: Pool[Share] = Pool()
        self._stale = self._nodes.lift(engine.staled)
        self._mirror_row = self._rows.lift(database.mirrored)
        self._mirror_node = self._nodes.lift(engine.mirrored)
        self._mirror_share = self._shares.lift(participant.mirrored)
        self._mirror_faults = self._faults.lift(_mirrored)
        self._late = self._nodes.lift(lambda node: node._replace(late=1))
        self._corrected = cache(self._work_out_correction)
        self._timed = cache(self._work_out_time)
        self._row_moves = cache(self._work_out_row)
        self._node_moves = cache(self._work_out_node)
        self._share_moves = cache(self._work_out_share)
        self._wishes = cache(self._work_out_wishes)
        self._hears = cache(self._work_out_hearing)
        self._may_send = cache(judge.sent)
        self._told = cache(self._work_out_telling)
        self._called = cache(self._work_out_call)
        self._stated = cache(self._work_out_statement)
        self._spend_loss = self._faults.lift(
            lambda left: left._replace(losses=left.losses - 1)
        )
        self._swept = cache(self._work_out_sweep)
        self._arrive = cache(self._work_out_arrival)
        self._crashed = cache(self._work_out_crash)
        self._bury_in_row = self._rows.lift_with(database.buried)
        self._bury_in_node = self._nodes.lift_with(engine.buried)
        self._orphan = self._shares.lift_with(participant.orphaned)
        self._judged = cache(self._work_out_judgement)

    def _work_out_call(self, number: int, call: int, node: int) -> int:
        share = self._shares[number]
        calls = tuple(sorted((*share.calls, (call, node))))
        return self._shares.add(share._replace(calls=calls))

    def _work_out_telling(
        self, number: int, what: int, answer: str, tx: int = 0
    ) -> int:
        it = self._initiators[number]
        if answer == "unavailable":
            after = initiator.forgets(self._program, it, what)
        else:
            after = initiator.hears(self._program, it, what, self._core.tx(tx))
        return self._initiators.add(after)

    def _work_out_statement(self, number: int, me: int, message: Message) -> int:
        row = self._rows[number]
        match message:
            case ("commit", int(tx), current, is_new):
                is_current = bool(current) and not (is_new and row.tx)
                statement = Statement("commit", me, me, tx, is_current)
            case ("claim",):
                statement = Statement("claim", me, me, 0, current=True)
            case _:
                statement = Statement("load", me, me)
        statements = tuple(sorted((*row.statements, statement)))
        return self._rows.add(row._replace(statements=statements))

    def _instead(self, message: Message) -> Message:
        """What a node hears when a participant's answer is lost."""
        if message[0] != "reply":
            return message
        what = self._core.input(int(message[1]))
        if not isinstance(what, BranchReplied):
            raise TypeError(message)
        lost = BranchReplied(
            what.branch_id, what.phase, what.attempt, Unknown("TIMEOUT")
        )
        return ("reply", self._core.input_number(lost))

    def _work_out_row(
        self, number: int
    ) -> tuple[tuple[str, int, int, Message, bool, str], ...]:
        row = self._rows[number]
        return tuple(
            (
                m.label,
                self._rows.add(m.row),
                m.node,
                m.answer,
                m.wrote,
                self._judge.wrote(row, m) if m.wrote else "",
            )
            for m in database.moves(row)
        )

    def _work_out_node(
        self, me: int, number: int
    ) -> tuple[tuple[str, int, tuple[Message, ...], str], ...]:
        return tuple(
            (f"n{me} {m.label}", self._nodes.add(m.node), m.sent, m.bug)
            for m in engine.moves(self._core, me, self._nodes[number])
        )

    def _work_out_share(
        self, at: int, number: int
    ) -> tuple[tuple[str, int, int, int, str], ...]:
        may_refuse = self._branches[at] in self._refusers
        return tuple(
            (m.label, self._shares.add(m.share), m.node, m.reply, m.bug)
            for m in participant.moves(
                self._core, self._shares[number], may_refuse=may_refuse
            )
        )

    def _work_out_wishes(self, number: int) -> tuple[tuple[str, int, int], ...]:
        found = initiator.wishes(self._program, self._initiators[number])
        return tuple(
            (f"the initiator asks: {r.name}", r.what, self._initiators.add(after))
            for r, after in found
        )

    def _work_out_hearing(
        self, me: int, number: int, message: Message
    ) -> tuple[str, int, tuple[Message, ...], str]:
        m = Tick(self._core, me, self._nodes[number]).run("", message)
        return m.label, self._nodes.add(m.node), m.sent, m.bug

    def _work_out_crash(self, number: int, asks: int) -> tuple[int, int]:
        node, unanswered = engine.crashed(self._nodes[number])
        for what in unanswered:
            asks = self._told(asks, what, "unavailable")
        return self._nodes.add(node), asks

    def _work_out_arrival(self, number: int, message: Message) -> int:
        node = self._nodes[number]
        inbox = tuple(sorted((*node.inbox, message)))
        return self._nodes.add(node._replace(inbox=inbox))

    def _work_out_correction(self, number: int, answer: str) -> int:
        left = self._faults[number]
        if answer == "claimed" and left.taken_for_dead != GONE:
            left = left._replace(taken_for_dead=GONE)
        return self._faults.add(left)

    def _work_out_time(self, row: int, number: int) -> int:
        """Once a decision is durable, clocks mean nothing to whoever knows of it."""
        node, it = self._nodes[number], self._nodes[number].resident
        known = [self._rows[row].tx]
        if it is not None:
            known += [tx for tx in (it.tx, it.stored.tx if it.stored else 0) if tx]
        undecided = any(self._is_undecided(tx) for tx in known)
        return number if undecided or node.late else self._late(number)

    def _is_undecided(self, number: int) -> bool:
        tx = self._core.tx(number)
        return tx is None or tx.decision is Decision.NONE

    def _work_out_judgement(self, row: int, shares: tuple[int, ...]) -> str:
        return self._judge.state(
            self._rows[row].tx, tuple(self._shares[share] for share in shares)
        )

    def _work_out_sweep(
        self, me: int, number: int, other_is_alive: bool, row_number: int
    ) -> tuple[str, int, tuple[Message, ...], str] | None:
        """The sweeper lists, plans and claims; the claim travels for itself."""
        node, row = self._nodes[number], self._rows[row_number]
        tx = self._core.tx(row.tx)
        if node.claims or tx is None or tx.status.is_final:
            return None
        if (due_at := machine.due_at(tx)) is None:
            return None
        listed = Listed(tx.key, _named(row.owner), due_at)
        living = {_named(me)} | ({_named(1 - me)} if other_is_alive else set())
        (verdict,) = sweep.plan(
            [listed],
            me=_named(me),
            drives=lambda _: engine.drives(node, me),
            living=living,
            known={_named(0), _named(1), _named(GONE)},
            now=LATE if node.late else EARLY,
        )
        if verdict.reason is Reason.FORGOTTEN_HERE:
            m = Tick(self._core, me, node).run("", ("taken",))
            label = f"n{me} finds what it had let go of"
            return label, self._nodes.add(m.node), m.sent, m.bug
        if verdict.reason is not Reason.OWNER_DEAD:
            return None
        label = f"n{me} wants to take over from the dead"
        claiming = self._nodes.add(node._replace(claims=True))
        return label, claiming, (("claim",),), ""


def _mirrored(left: Faults) -> Faults:
    node = left.taken_for_dead
    return left if node == GONE else left._replace(taken_for_dead=1 - node)


def _named(node: int) -> str:
    return "gone" if node == GONE else f"n{node}"
