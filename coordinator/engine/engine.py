"""Ticks: inputs are decided, committed in groups, and only then acted upon.

Theory of operation
-------------------
Inputs of all kinds (requests, participants' answers, timers, the sweeper's
hand-overs) wait in one inbox. A *tick* drains it, lets the core decide each, and
gives all changes to the committer. When a commit has returned, :meth:`Engine._release`
answers those who wait and sends the calls that the new states want. That method is the
only place from which anything leaves the process, and it runs on two occasions: after
a commit, or when nothing but lazy facts came (see ``core/events.py``). So the order
"durable, then act" has one home.

A new transaction is inserted without being looked up first; if it exists, the insert
conflicts, and it is loaded and decided again like any other conflict.

The races:

* **Inputs for a transaction whose commit or load is under way** wait in its backlog.
* **A conflict** means that another node wrote the row. What we decided on the old
  state is taken back, the row is loaded, and the same inputs are decided again (L1).
* **A commit of unknown outcome**, or a load that failed: the transaction is forgotten,
  those who asked are told UNAVAILABLE and may ask again, and whoever touches the
  transaction next reads it again (L6). The sweeper does so at the latest.
* **An answer of a participant to a call of an earlier phase** does not clear the mark
  of the call that is out now: marks carry the phase.
* **A state that another node has moved on** while we still hold it decides what it
  writes by conflict. What writes nothing has no guard: a refusal, and an outcome
  that was reported unasked or an operator's wish that means nothing to us. They are
  decided once more on what is read after they came, before anybody is told (T7, T9).
* **A lazy fact that only this node knows** holds up a confirm that reached another
  one, so it is stored soon even if nobody asks further (``LAZY_MS_MAX``).
* **A participant that comes back** is asked again soon by those who wait for it here.
  What is due sooner is recomputed, never stored (see ``core/recovery.py``); all that
  has to be done is to set their timers anew, some at a time.
* **A transaction that waits long** leaves memory when all of it is stored and nobody
  waits for it here; of it remains a time at most. Whatever touches it reads it again.
* **A call that has to wait for its turn** at the dispatcher counts as in flight; before
  it goes out the dispatcher asks what has become of it (:meth:`Engine.in_turn`).
* **A broken invariant** stops that transaction on this node, and no other.
"""

import asyncio
from collections.abc import Iterable, Iterator, Sequence
from itertools import islice

import structlog

from coordinator import telemetry
from coordinator.core import apart, machine, quarantine, sweep
from coordinator.core.actions import CallBranch
from coordinator.core.changed import changed
from coordinator.core.errors import (
    CoordinatorError,
    IllegalTransition,
    InvariantViolated,
    NotFound,
    Overloaded,
    Refusal,
    StoreUnavailable,
)
from coordinator.core.events import AttentionRaised, is_journaled
from coordinator.core.inputs import (
    BEGINNINGS,
    OF_TIME,
    BranchReplied,
    Input,
    StillWaiting,
    Survived,
    Woken,
)
from coordinator.core.model import GlobalTransaction, Instant, Key
from coordinator.core.recovery import Recovery
from coordinator.engine import alarms
from coordinator.engine.committer import Committer, as_unavailable
from coordinator.engine.door import Door
from coordinator.engine.let_go import LetGo
from coordinator.engine.limits import EngineLimits
from coordinator.engine.resident import Answer, Delivery, Reply, Resident, Ticket
from coordinator.engine.residents import Residents
from coordinator.engine.returns import Returns
from coordinator.engine.timers import Timers
from coordinator.engine.watches import Watches
from coordinator.ports import (
    AuditEntry,
    Change,
    Clock,
    Definitions,
    Participants,
    Store,
)

_log = structlog.get_logger(__name__)

FOREIGN_POLL_MS = 200
"""How often a transaction that another node drives is read again for somebody who
waits here for its end."""

REARMED_AT_ONCE = 2_000
"""Timers that are set anew before others get their turn: about 10 ms of work."""


class Engine:
    """Drives the transactions of one node.

    Everything but :meth:`close` is called on the event loop and never blocks.

    Attributes:
        let_go: what it forgot, for the sweep.
    """

    def __init__(
        self,
        *,
        store: Store,
        participants: Participants,
        definitions: Definitions,
        clock: Clock,
        node_id: str,
        limits: EngineLimits | None = None,
    ) -> None:
        self._store = store
        self._participants = participants
        self._definitions = definitions
        self._clock = clock
        self._node_id = node_id
        self._limits = limits or EngineLimits()
        self._inbox: list[tuple[Key, Delivery]] = []
        self._tick_is_scheduled = False
        self._residents = Residents()
        self._door = Door(self._limits, self._residents, clock)
        self._stopped: dict[Key, CoordinatorError] = {}
        self.let_go = LetGo(self._limits, self._residents, self._stopped)
        self._watches = Watches()
        self._timers: Timers[Key] = Timers(clock, self._wake)
        self._returns = Returns(clock)
        self._loads: set[asyncio.Task[None]] = set()
        self._committer = Committer(
            store,
            clock=clock,
            in_flight_max=self._limits.commits_in_flight_max,
            share_min=self._limits.commit_share_min,
            pace_ms=self._limits.commit_pace_ms,
            on_committed=self._committed,
            on_unknown=self._unknown,
        )

    # ---- What others ask of the engine --------------------------------------------

    def submit(
        self, key: Key, what: Input, reply: Reply, *, audit: AuditEntry | None = None
    ) -> Ticket:
        """Let an input happen to a transaction.

        Never raises. ``reply`` is called once, on the event loop, unless the ticket
        is cancelled first: with the transaction's state as soon as the input is
        answerable and what the answer says is durable, or with an error.
        """
        ticket = Ticket(reply)
        is_new = isinstance(what, BEGINNINGS)
        if refusal := self.overload(is_new=is_new):
            asyncio.get_running_loop().call_soon(ticket.answer, refusal)
            return ticket
        self._door.newcomers += is_new
        self._deliver(key, Delivery(what, ticket, audit))
        return ticket

    def overload(self, *, is_new: bool) -> Overloaded | None:
        """Why a request would be refused now, whatever it says."""
        return self._door.refusal(is_new=is_new, inputs=len(self._inbox))

    def replied(self, replies: Sequence[tuple[Key, BranchReplied]]) -> None:
        """Participants have answered."""
        self._inbox += [(key, Delivery(what)) for key, what in replies]
        self._see_to_a_tick()

    def participant_returned(self, participant: str) -> None:
        """It was away from this node and is back: whoever waits for it asks soon."""
        self._returns.note(participant, len(self._residents))
        self._rearm(iter(list(self._residents)))

    def in_turn(self, call: CallBranch) -> CallBranch | None:
        """A call that had to wait may go out: as it is to be made now, or ``None``."""
        resident = self._residents.get(call.key)
        if resident is None or resident.in_flight.get(call.branch_id) != call.phase:
            return None
        stored, wanted = resident.stored, None
        if stored is not None and stored.owner == self._node_id:
            wanted = machine.due_again(
                stored, call.branch_id, call.phase, call.attempt, self._clock.now()
            )
        if wanted is not None:
            self._returns.asked(resident, [wanted])
            return wanted
        del resident.in_flight[call.branch_id]  # it may be wanted again
        if not resident.busy and resident.tx and not self._is_foreign(resident):
            self._set_timer(resident, resident.tx, self._returns.known_to(resident))
        return None

    def waits_long(self, calls: Sequence[CallBranch]) -> None:
        """These still wait for their turn; a person may have to know."""
        for call in calls:
            if call.key in self._residents:
                what = StillWaiting(call.branch_id, call.phase, call.attempt)
                self._deliver(call.key, Delivery(what))

    def take_over(self, keys: Sequence[Key]) -> None:
        """Drive these transactions, which this node now owns.

        What is here of them is of before that, and is read again.
        """
        self._wake(keys, are_claimed=True)

    def watch(self, key: Key, changed: Reply) -> Ticket:
        """Call back at every durable change made by this node, until cancelled."""
        return self._watches.add(key, changed)

    def drives(self, key: Key, revision: int = 0) -> bool:
        """Whether this node drives it as it is stored, or must not touch it.

        A transaction that another node owns and somebody waits for here is not
        driven: when its owner dies it must be taken over like any other. Nor is one
        that another node has written since, up to ``revision``.
        """
        if key in self._stopped:
            return True
        resident = self._residents.get(key)
        if resident is None or self._is_foreign(resident):
            return False
        stored = resident.stored
        return resident.busy or stored is None or stored.revision >= revision

    @property
    def has_room(self) -> bool:
        """Whether more may be taken over."""
        return not self._residents.are_full(self._limits)

    async def close(self) -> None:
        """Finish what is being written, and forget the rest; it is all stored."""
        while self._loads or self._tick_is_scheduled:
            if self._loads:
                await asyncio.wait(self._loads)
            await asyncio.sleep(0)
        await self._committer.idle()
        self._timers.close()
        self._returns.close()
        self._residents.clear()

    # ---- Ticks --------------------------------------------------------------------

    def _deliver(self, key: Key, delivery: Delivery) -> None:
        self._inbox.append((key, delivery))
        self._see_to_a_tick()

    def _see_to_a_tick(self) -> None:
        if not self._tick_is_scheduled:
            self._tick_is_scheduled = True
            asyncio.get_running_loop().call_soon(self._tick)

    def _tick(self) -> None:
        self._tick_is_scheduled = False
        inbox, self._inbox = self._inbox, []
        self._door.newcomers = 0
        now = self._clock.now()
        residents, stopped = self._residents, self._stopped
        touched: dict[Key, Resident] = {}
        missing: list[Resident] = []
        for key, delivery in inbox:
            if stopped and key in stopped:
                delivery.ticket.answer(stopped[key])
                continue
            resident = residents.get(key)
            if resident is None:
                resident = residents[key] = Resident(key)
                if not isinstance(delivery.what, BEGINNINGS):
                    resident.busy = True
                    missing.append(resident)
                    delivery = changed(delivery, is_fresh=True)  # noqa: PLW2901
            if self._absorb(resident, delivery, now):
                touched[key] = resident
        if missing:
            self._load(missing)
        if touched:
            self._settle(touched.values(), now)

    def _absorb(self, resident: Resident, delivery: Delivery, now: Instant) -> bool:
        """Let the core decide one input; whether the resident has to be settled.

        Nothing leaves the process here.
        """
        what, ticket = delivery.what, delivery.ticket
        if resident.busy or (delivery.audit and resident.audit):
            resident.backlog.append(delivery)
            return False
        if isinstance(what, BranchReplied):
            resident.heard_at = now
            if resident.in_flight.get(what.branch_id) is what.phase:
                del resident.in_flight[what.branch_id]
        elif not isinstance(what, OF_TIME):
            resident.heard_at = now
        try:
            tx, events = machine.step(resident.tx, what, now)
        except Refusal as refusal:
            if self._must_read_again(resident, delivery):
                return False
            ticket.answer(refusal)
            return True
        except (InvariantViolated, IllegalTransition) as bug:
            self._stop(resident, bug)
            ticket.answer(bug)
            return False
        resident.tx = tx
        if events:
            resident.unstored += events
        elif (delivery.is_unasked or delivery.audit) and self._must_read_again(
            resident, delivery
        ):
            return False
        if resident.unstored:
            resident.absorbed.append(delivery)
        if ticket.is_waiting:
            resident.keep_waiting(delivery)
        return True

    def _must_read_again(self, resident: Resident, delivery: Delivery) -> bool:
        """Whether this input waits for a state as fresh as itself."""
        if delivery.is_fresh:
            return False
        resident.take_back()
        resident.backlog.append(changed(delivery, is_fresh=True))
        resident.busy = True
        self._load([resident])
        return True

    def _settle(self, touched: Iterable[Resident], now: Instant) -> None:
        """Store what has to be stored; act at once where nothing has to."""
        changes: list[Change] = []
        calls: list[CallBranch] = []
        for resident in touched:
            if resident.has_deferred:
                self._decide_deferred(resident, now)
            if resident.busy:
                continue  # stopped, or read again: it is settled when it has been
            if resident.unstored:
                self._residents.weigh(resident)
            if resident.tx is None:
                self._evict(resident)
            elif resident.needs_commit or resident.has_waited(now):
                resident.busy = True
                changes.append(self._change(resident, resident.tx, now))
            else:
                calls += self._release(resident, resident.tx, now)
        if changes:
            self._door.changes += len(changes)
            self._committer.put(changes)
        if calls:
            self._participants.send(calls)

    def _decide_deferred(self, resident: Resident, now: Instant) -> None:
        """Decide again what had to wait for answers, if they have come."""
        if resident.tx is not None and machine.is_ready(resident.tx):
            for delivery in resident.deferred:
                resident.waiting.remove(delivery)
                self._absorb(resident, delivery, now)

    def _change(
        self, resident: Resident, tx: GlobalTransaction, now: Instant
    ) -> Change:
        events = resident.unstored
        resident.tx = after = changed(
            tx,
            revision=tx.revision + 1,
            journal_seq=tx.journal_seq + any(map(is_journaled, events)),
            owner=quarantine.owner_after(tx, self._node_id),
            branches_apart=apart.are_apart(tx, resident.weight),
        )
        due_at = sweep.due_since(resident.due_at, machine.due_at(after), now)
        return Change(resident.stored, after, events, due_at, resident.audit)

    # ---- What a commit or a load brings -------------------------------------------

    def _committed(self, changes: Sequence[Change], conflicts: frozenset[Key]) -> None:
        self._door.changes -= len(changes)
        now = self._clock.now()
        calls: list[CallBranch] = []
        touched: list[Resident] = []
        conflicted: list[Resident] = []
        residents, stopped = self._residents, self._stopped
        for change in changes:
            after = change.after
            key = after.request.key
            resident = residents[key]
            if stopped and key in stopped:
                del residents[key]
                continue
            if conflicts and key in conflicts:
                resident.take_back()
                conflicted.append(resident)
                continue
            resident.was_written(after, change.due_at)
            alarms.tell(change)
            calls += self._release(resident, after, now)
            self._watches.tell(after)
            if resident.backlog:
                self._work_off(resident, now)
                touched.append(resident)
        if conflicted:
            _log.info(telemetry.COMMIT_CONFLICTED, count=len(conflicted))
            self._load(conflicted)
        if calls:
            self._participants.send(calls)
        if touched:
            self._settle(touched, now)

    def _unknown(self, changes: Sequence[Change], failure: StoreUnavailable) -> None:
        self._door.changes -= len(changes)
        for change in changes:
            self._forget(self._residents[change.key], failure)

    def _load(self, residents: list[Resident]) -> None:
        loading = asyncio.get_running_loop().create_task(self._load_all(residents))
        self._loads.add(loading)
        loading.add_done_callback(self._loads.discard)

    async def _load_all(self, residents: list[Resident]) -> None:
        try:
            loaded = await self._store.load([r.key for r in residents])
            found = {tx.key: await self._with_definition(tx) for tx in loaded}
        except Exception as failure:  # noqa: BLE001 - the task's edge: let go
            _log.exception(telemetry.STORE_FAILED, doing="load", count=len(residents))
            for resident in residents:
                self._forget(resident, as_unavailable(failure))
            return
        now = self._clock.now()
        touched = []
        for resident in residents:
            answer = found.get(resident.key)
            if isinstance(answer, CoordinatorError):
                self._stop(resident, answer)
                continue
            resident.was_read(answer, me=self._node_id, now=now)
            self._residents.weigh(resident)
            self._work_off(resident, now)
            touched.append(resident)
        self._settle(touched, now)

    async def _with_definition(self, tx: GlobalTransaction) -> Answer:
        digest = tx.request.definition_digest
        if not digest:
            return tx
        try:
            definition = await self._definitions.get(tx.key.namespace, digest)
        except NotFound as missing:
            return missing
        return changed(tx, definition=definition)

    def _work_off(self, resident: Resident, now: Instant) -> None:
        """Absorb the backlog."""
        backlog, resident.backlog = resident.backlog, []
        for delivery in backlog:
            if stopped := self._stopped.get(resident.key):
                delivery.ticket.answer(stopped)
            else:
                self._absorb(resident, delivery, now)

    # ---- Acting -------------------------------------------------------------------

    def _release(
        self, resident: Resident, tx: GlobalTransaction, now: Instant
    ) -> Sequence[CallBranch]:
        """Answer whoever can be answered, and name the calls to be made now.

        The state is durable but for lazy facts. A transaction that another node owns
        is answered about, and not driven.
        """
        if resident.waiting:
            resident.answer(tx)
        if tx.owner != self._node_id:
            if resident.waiting:
                self._timers.set(resident.key, now + FOREIGN_POLL_MS)
            else:
                self._evict(resident)
            return []
        if tx.status.is_final:
            self._evict(resident)
            return []
        in_flight = resident.in_flight
        known = self._returns.known_to(resident)
        calls = machine.due(tx, now, known, in_flight)
        for call in calls:
            in_flight[call.branch_id] = call.phase
        self._returns.asked(resident, calls)
        self._set_timer(resident, tx, known)
        return calls

    def _set_timer(
        self, resident: Resident, tx: GlobalTransaction, known: Recovery
    ) -> None:
        due_at = machine.due_at(tx, resident.in_flight, known)
        store_at = resident.store_at
        if store_at is not None and (due_at is None or store_at < due_at):
            due_at = store_at
        if not resident.in_flight:
            park_at = resident.park_at(due_at, self._limits)
            if park_at is not None:
                due_at = self._park(resident, due_at, park_at)
        if due_at is None:
            self._timers.discard(resident.key)
        else:
            self._timers.set(resident.key, due_at)

    def _park(
        self, resident: Resident, due_at: Instant | None, park_at: Instant
    ) -> Instant | None:
        """Let go of what waits long, now or later; when it is to be looked at next."""
        if park_at > self._clock.now():
            return park_at
        del self._residents[resident.key]
        if len(self._timers) < self._limits.timers_max:
            return due_at
        self.let_go.are_all_known = False
        return None

    def _rearm(self, keys: Iterator[Key]) -> None:
        """Set timers anew, some now and the rest when others had their turn."""
        some = list(islice(keys, REARMED_AT_ONCE))
        for key in some:
            resident = self._residents.get(key)
            # Whoever is busy sets its timer when it is no more.
            if resident is None or resident.busy or self._is_foreign(resident):
                continue
            if resident.tx is not None:
                known = self._returns.known_to(resident)
                self._set_timer(resident, resident.tx, known)
        if len(some) == REARMED_AT_ONCE:
            asyncio.get_running_loop().call_soon(self._rearm, keys)

    def _wake(self, keys: Sequence[Key], *, are_claimed: bool = False) -> None:
        stale = []
        for key in keys:
            resident = self._residents.get(key)
            if resident is None or not (are_claimed or self._is_foreign(resident)):
                self._deliver(key, Delivery(self._on_waking(resident)))
            elif not resident.busy:
                if are_claimed:
                    resident.take_back()
                resident.busy = True
                stale.append(resident)
            else:  # what it is about to read may be of before
                self.let_go.note(key)
        if stale:
            self._load(stale)

    def _on_waking(self, resident: Resident | None) -> Woken | Survived:
        if resident is not None and resident.has_survived(self._clock.now()):
            return Survived(self._node_id)
        return Woken()

    def _is_foreign(self, resident: Resident) -> bool:
        return resident.stored is not None and resident.stored.owner != self._node_id

    # ---- Letting go ---------------------------------------------------------------

    def _evict(self, resident: Resident) -> None:
        """Let go of what has ended, was never there, or is another node's."""
        if not resident.backlog:
            self._timers.discard(resident.key)
            del self._residents[resident.key]

    def _forget(self, resident: Resident, why: CoordinatorError) -> None:
        """Let go of what nobody knows for certain; it is read again when touched."""
        self._timers.discard(resident.key)
        del self._residents[resident.key]
        self.let_go.note(resident.key)
        for delivery in (*resident.absorbed, *resident.waiting, *resident.backlog):
            delivery.ticket.answer(why)

    def _stop(self, resident: Resident, why: CoordinatorError) -> None:
        """Never touch this transaction again on this node; the others go on.

        What is stored of it stays as it is, but for the attention that calls a
        person.
        """
        _log.error(
            telemetry.TRANSACTION_STOPPED,
            gid=resident.key.gid,
            reason=why.reason,
            error=str(why),
        )
        self._stopped[resident.key] = why
        stored = resident.stored
        self._forget(resident, why)
        resident.busy = True  # for whoever still holds it
        if stored is not None and stored.owner == self._node_id:
            event = AttentionRaised(f"{why.reason}: {why}", self._clock.now())
            held = machine.evolve(stored, event)
            note = Resident(resident.key, stored, held, (event,))
            self._residents[note.key] = note
            self._door.changes += 1
            self._committer.put([self._change(note, held, event.at)])
