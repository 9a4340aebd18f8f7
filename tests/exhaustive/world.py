"""Everything that can happen next, in a world of two nodes and one transaction.

A state is a row of numbers: of the database's row, the two nodes, the initiator, the
faults that are left, and each branch at its participant. What is under way to a part is
kept with it, in no order: the network keeps none.

The two nodes are alike: no rule looks at a node's name but to compare it with another
one. So of a state and its mirror image only one is looked at (symmetry reduction).

Many states differ only in what is going on at the participants. What happens anywhere
else does not depend on that; so it is worked out once for all of them, with the calls
that go out, which then join those that are under way to each participant.
"""

from collections.abc import Iterator
from functools import lru_cache
from typing import Any, NamedTuple, TypeAlias

from tests.exhaustive import engine, initiator
from tests.exhaustive.database import Row
from tests.exhaustive.decisions import Decisions
from tests.exhaustive.engine import GONE, Message, Node, without
from tests.exhaustive.initiator import Program
from tests.exhaustive.judge import Judge
from tests.exhaustive.participant import Share, lost
from tests.exhaustive.parts import Faults, Parts

State: TypeAlias = tuple[int, ...]
"""Row, node 0, node 1, initiator, faults left, and the branches in their order."""

Core: TypeAlias = tuple[Any, ...]
"""Of a state all but the branches; in their place the calls that have just gone out,
each with its node.
"""

ROW, NODE, INITIATOR, FAULTS, SHARE = 0, 1, 3, 4, 5
CALLS = SHARE

REMEMBERED_MAX = 200_000
"""Cores whose moves are kept: enough for all of the small worlds."""


class Pace(NamedTuple):
    """Which delays are orders of their own.

    Attributes:
        slow_database: reads and writes are carried out some time after they were
            sent; claims always are. Else at once, which loses little: a node decides
            nothing while one is under way, and may be as slow as it likes before.
        slow_answers: a participant's answer takes its time. Else it is heard at once,
            but for the one that is lost or slow; the call took its time before.
        two_clocks: the deadline passes on the nodes' clocks at different times.
    """

    slow_database: bool = True
    slow_answers: bool = True
    two_clocks: bool = True


class Move(NamedTuple):
    """One thing that may happen.

    Attributes:
        after: the state then, or the core.
        helps: it would happen by itself: no fault, and no wish of the initiator.
        bug: the rule that it breaks, with a text; or empty.
    """

    label: str
    after: Any
    helps: bool = True
    bug: str = ""


class World(Parts):
    """One small world and its rules; for the other arguments see ``Parts``.

    Args:
        faults: that may happen.
    """

    def __init__(
        self,
        name: str,
        decisions: Decisions,
        program: Program,
        judge: Judge,
        *,
        refusers: frozenset[str],
        faults: Faults,
        pace: Pace,
    ) -> None:
        super().__init__(decisions, program, judge, refusers=refusers)
        self.name = name
        self._budget = faults
        self._pace = pace
        self._at = {b: i for i, b in enumerate(judge.branches)}
        remembered = lru_cache(REMEMBERED_MAX)
        self._served = remembered(self._work_out_serving)
        self._answered = remembered(self._work_out_answer)
        self._asked = remembered(self._work_out_asking)
        self._befallen = remembered(self._work_out_fate)
        self._robbed = remembered(self._work_out_losses)

    def initial(self) -> State:
        """Nobody has asked for anything yet."""
        node = self._nodes.add(Node())
        nothing = self._shares.add(Share())
        return (
            self._rows.add(Row()),
            node,
            node,
            self._initiators.add((initiator.NEW,) * len(self._program)),
            self._faults.add(self._budget),
            *(nothing for _ in self._branches),
        )

    def canonical(self, state: State) -> State:
        """The one of a state and its mirror image that stands for both."""
        row, one, other, asks, left, *shares = state
        one, other = self._timed(row, one), self._timed(row, other)
        image = (
            self._mirror_row(row),
            self._mirror_node(other),
            self._mirror_node(one),
            asks,
            self._mirror_faults(left),
            *map(self._mirror_share, shares),
        )
        return min((row, one, other, asks, left, *shares), image)

    def has_ended(self, state: State) -> bool:
        """Nothing was begun, or what was has ended for good."""
        tx = self._core.tx(self._rows[state[ROW]].tx)
        return tx is None or tx.status.is_final

    def verdict(self, state: State) -> str:
        """Which rule is broken in this state, or nothing."""
        return self._judged(state[ROW], state[SHARE:])

    def moves(self, state: State) -> Iterator[Move]:
        """Everything that may happen next."""
        core, shares = (*state[:SHARE], ()), state[SHARE:]
        yield from self._whole(self._served(core), shares)
        yield from self._of_participants(core, shares)
        yield from self._whole(self._asked(core), shares)
        yield from self._of_fate(state, core, shares)

    def _whole(
        self, moves: tuple[Move, ...], shares: State, before: str = ""
    ) -> Iterator[Move]:
        """Moves of a core as moves of a state: what was called is under way."""
        called, at, call = self._called, self._at, self._core.call
        for label, (*rest, calls), helps, bug in moves:
            after = shares
            for number, me in calls:
                i = at[call(number).branch_id]
                after = (*after[:i], called(after[i], number, me), *after[i + 1 :])
            yield Move(before + label, (*rest, *after), helps, bug)

    # ---- What happens by itself -----------------------------------------------------

    def _work_out_serving(self, core: Core) -> tuple[Move, ...]:
        """What the database and the nodes may do."""
        nodes = (self._of_node(core, 0), self._of_node(core, 1))
        return (*self._of_database(core), *nodes[0], *nodes[1])

    def _of_database(self, state: Core, only: int | None = None) -> Iterator[Move]:
        """A statement arrives, and its node hears of it at once.

        To hear later would change nothing: what a node sends then is on its way, and
        what comes to it meanwhile waits for the statement all the same.
        """
        may_lose = self._faults[state[FAULTS]].losses
        for label, row, node, answer, wrote, bug in self._row_moves(state[ROW]):
            if only is not None and (node != only or answer[0] == "claimed"):
                continue
            after = list(state)
            after[ROW] = row
            if wrote:
                after[FAULTS] = self._corrected(after[FAULTS], answer[0])
                after[NODE] = self._stale(after[NODE])
                after[NODE + 1] = self._stale(after[NODE + 1])
            if node == GONE:
                yield Move(label, tuple(after), bug=bug)
                continue
            yield from self._heard(after, node, label, answer, bug)
            if may_lose:
                how = f"{label}, and its answer is lost"
                after[FAULTS] = self._spend_loss(after[FAULTS])
                unheard = _unheard(answer)
                yield from self._heard(after, node, how, unheard, bug, helps=False)

    def _heard(
        self,
        before: list[Any],
        me: int,
        label: str,
        message: Message,
        bug: str = "",
        *,
        helps: bool = True,
    ) -> Iterator[Move]:
        _, node, sent, own_bug = self._hears(me, before[NODE + me], message)
        return self._sent(before, me, label, node, sent, bug or own_bug, helps=helps)

    def _of_node(self, state: Core, me: int) -> Iterator[Move]:
        for label, node, sent, bug in self._node_moves(me, state[NODE + me]):
            yield from self._sent(list(state), me, label, node, sent, bug)
        other_is_alive = self._faults[state[FAULTS]].taken_for_dead != 1 - me
        swept = self._swept(me, state[NODE + me], other_is_alive, state[ROW])
        if swept is not None:
            yield from self._sent(list(state), me, *swept)

    def _sent(
        self,
        before: list[Any],
        me: int,
        label: str,
        node: int,
        sent: tuple[Message, ...],
        bug: str,
        *,
        helps: bool = True,
    ) -> Iterator[Move]:
        """A node has moved, and what it sent is on its way.

        The initiator hears at once: it may take its time before it goes on.
        """
        after = list(before)
        after[NODE + me] = node
        told = asks = after[INITIATOR]
        for message in sent:
            match message:
                case ("call", int(number), int(known)):
                    bug = bug or self._may_send(number, known)
                    after[CALLS] = (*after[CALLS], (number, me))
                case ("answer", int(what), *answer):
                    told = self._told(told, what, *answer)
                    asks = self._told(asks, what, "unavailable")
                    if answer[0] == "yes":
                        durable = self._rows[after[ROW]].tx
                        bug = bug or self._judge.told(durable, int(answer[1]))
                case _:
                    after[ROW] = self._stated(after[ROW], me, message)
        after[INITIATOR] = told
        travels = self._pace.slow_database or bug or sent[-1:] == (("claim",),)
        is_done = travels or after[ROW] == before[ROW]
        move = Move(label, tuple(after), helps, bug)
        if is_done:
            yield move
        else:
            yield from self._done_at_once(move, me)
        if asks != told and self._faults[after[FAULTS]].losses:
            after[INITIATOR] = asks
            after[FAULTS] = self._spend_loss(after[FAULTS])
            lost = f"{label}; the initiator's answer is lost"
            move = Move(lost, tuple(after), helps=False, bug=bug)
            if is_done:
                yield move
            else:
                yield from self._done_at_once(move, me)

    def _done_at_once(self, move: Move, me: int) -> Iterator[Move]:
        """The database is fast: a statement is carried out as it is sent."""
        for then in self._of_database(move.after, only=me):
            helps = move.helps and then.helps
            yield Move(f"{move.label}; {then.label}", then.after, helps, then.bug)
        if self._faults[move.after[FAULTS]].losses:
            for label, after in self._lost_statements(move.after, only=me):
                after[FAULTS] = self._spend_loss(after[FAULTS])
                lost = f"{move.label}; {label}"
                yield Move(lost, tuple(after), helps=False)

    def _of_participants(self, core: Core, shares: State) -> Iterator[Move]:
        for at, number in enumerate(shares):
            for label, share, node, reply, bug in self._share_moves(at, number):
                after = (*shares[:at], share, *shares[at + 1 :])
                if node == GONE:
                    yield Move(label, (*core[:CALLS], *after), bug=bug)
                else:
                    answered = self._answered(core, node, reply, bug)
                    yield from self._whole(answered, after, label)

    def _work_out_answer(
        self, core: Core, node: int, reply: int, bug: str
    ) -> tuple[Move, ...]:
        """A participant has answered; labels begin with what it said."""
        answer, after = ("reply", reply), list(core)
        if self._pace.slow_answers:
            after[NODE + node] = self._arrive(after[NODE + node], answer)
            return (Move("", tuple(after), bug=bug),)
        found = [*self._heard(after, node, "", answer, bug)]
        if self._faults[core[FAULTS]].losses:
            after[FAULTS] = self._spend_loss(core[FAULTS])
            lost, how = self._instead(answer), ", and its answer is"
            found += self._heard(after, node, f"{how} lost", lost, bug, helps=False)
            after[NODE + node] = self._arrive(after[NODE + node], answer)
            found.append(Move(f"{how} slow", tuple(after), helps=False, bug=bug))
        return tuple(found)

    def _work_out_asking(self, core: Core) -> tuple[Move, ...]:
        return tuple(self._of_initiator(core))

    def _of_initiator(self, state: Core) -> Iterator[Move]:
        """A request arrives as it is made; a late one is made again meanwhile."""
        may_lose = self._faults[state[FAULTS]].losses
        for label, what, asked in self._wishes(state[INITIATOR]):
            for me in (0, 1):
                request = ("request", what)
                after = list(state)
                if may_lose:
                    after[NODE + me] = self._arrive(state[NODE + me], request)
                    after[FAULTS] = self._spend_loss(state[FAULTS])
                    late = f"{label}, and it is late on its way to n{me}"
                    yield Move(late, tuple(after), helps=False)
                    after = list(state)
                after[INITIATOR] = asked
                to = f"{label}, of n{me}"
                yield from self._heard(after, me, to, request, helps=False)

    # ---- Fate -----------------------------------------------------------------------

    def _of_fate(self, state: State, core: Core, shares: State) -> Iterator[Move]:
        left = self._faults[state[FAULTS]]
        for me in (0, 1):
            yield from self._whole(self._befallen(core, me), shares)
            if left.crashes:
                yield self._crash(state, me, left)
        if left.losses:
            spent = self._spend_loss(state[FAULTS])
            for at in range(SHARE, len(state)):
                for label, after in self._lost_calls(state, at):
                    after[FAULTS] = spent
                    yield Move(label, tuple(after), helps=False)
            yield from self._whole(self._robbed(core), shares)

    def _work_out_fate(self, core: Core, me: int) -> tuple[Move, ...]:
        """A clock goes on, or a node is taken for dead."""
        found = []
        if not self._nodes[core[NODE + me]].late:
            after = list(core)
            after[NODE + me] = self._late(core[NODE + me])
            if not self._pace.two_clocks:
                after[NODE + 1 - me] = self._late(core[NODE + 1 - me])
            label = f"the deadline passes on n{me}'s clock"
            found.append(Move(label, tuple(after)))
        left = self._faults[core[FAULTS]]
        if left.pauses:
            paused = left._replace(pauses=left.pauses - 1, taken_for_dead=me)
            after = list(core)
            after[FAULTS] = self._faults.add(paused)
            label = f"n{me} pauses, and n{1 - me} takes it for dead"
            found.append(Move(label, tuple(after), helps=False))
        return tuple(found)

    def _crash(self, state: State, me: int, left: Faults) -> Move:
        row, one, other, asks, _, *shares = state
        node, asks = self._crashed(state[NODE + me], asks)
        peer = self._bury_in_node(state[NODE + 1 - me], me)
        one, other = (node, peer) if me == 0 else (peer, node)
        spent = self._faults.add(left._replace(crashes=left.crashes - 1))
        shares = [self._orphan(share, me) for share in shares]
        after = (self._bury_in_row(row, me), one, other, asks, spent, *shares)
        return Move(f"n{me} crashes", after, helps=False)

    def _work_out_losses(self, core: Core) -> tuple[Move, ...]:
        """One message is lost, or comes when nobody waits for it any more."""
        spent, found = self._spend_loss(core[FAULTS]), []
        for part in (
            self._lost_replies(core, 0),
            self._lost_replies(core, 1),
            self._lost_statements(core),
        ):
            for label, after in part:
                after[FAULTS] = spent
                found.append(Move(label, tuple(after), helps=False))
        return tuple(found)

    def _lost_statements(
        self, state: Core, only: int | None = None
    ) -> Iterator[tuple[str, list[Any]]]:
        row = self._rows[state[ROW]]
        for statement in dict.fromkeys(row.statements):
            if only is not None and statement[:2] not in (
                ("commit", only),
                ("load", only),
            ):
                continue
            if statement.node != GONE:
                after = list(state)
                rest = without(row.statements, statement)
                after[ROW] = self._rows.add(row._replace(statements=rest))
                label = f"the {statement.kind} of n{statement.node} is lost on its way"
                gone = _unheard((statement.kind,))
                for move in self._heard(after, statement.node, label, gone):
                    yield label, list(move.after)

    def _lost_calls(self, state: State, at: int) -> Iterator[tuple[str, list[int]]]:
        share = self._shares[state[at]]
        for number, node in dict.fromkeys(share.calls):
            if node == GONE:
                continue
            call = self._core.call(number)
            named = f"the {call.phase} of {call.branch_id} by n{node}"
            timeout = ("reply", lost(self._core, number))
            rest = without(share.calls, (number, node))
            late = tuple(sorted((*rest, (number, GONE))))
            for how, calls in (("is lost", rest), ("is late", late)):
                after = list(state)
                after[at] = self._shares.add(share._replace(calls=calls))
                after[NODE + node] = self._arrive(after[NODE + node], timeout)
                yield f"{named} {how}", after

    def _lost_replies(self, state: Core, me: int) -> Iterator[tuple[str, list[Any]]]:
        node = self._nodes[state[NODE + me]]
        for message in dict.fromkeys(node.inbox):
            instead = self._instead(message)
            if instead != message:
                after = list(state)
                kept = node._replace(inbox=without(node.inbox, message))
                rest = self._nodes.add(kept)
                after[NODE + me] = self._arrive(rest, instead)
                told = engine.spoken(self._core, message)
                yield f"what n{me} would hear is lost: it {told}", after


def _unheard(message: Message) -> Message:
    """What a node is told of a statement whose outcome is lost."""
    is_claim = message[0] in ("claim", "claimed")
    return ("claimed", False) if is_claim else ("unavailable",)
