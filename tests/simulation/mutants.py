"""Bugs to plant: each is a small change of the real code that a reviewer might miss.

``P`` numbers name a bug that another coordinator really shipped (docs/proof.md). A
text that no longer occurs exactly once makes its mutant fail loudly: then the code has
moved on, and the mutant has to follow.
"""

from tests.simulation.mutant import bug
from tests.simulation.mutants_barrier import BARRIER_MUTANTS
from tests.simulation.mutants_poison import POISON_MUTANTS
from tests.simulation.mutants_saga import SAGA_MUTANTS

MEMORY = "coordinator.storage.memory"
ENGINE = "coordinator.engine.engine"
RESIDENT = "coordinator.engine.resident"
COMMITTER = "coordinator.engine.committer"
DISPATCHER = "coordinator.engine.dispatcher"
SWEEPER = "coordinator.engine.sweeper"
LET_GO = "coordinator.engine.let_go"
LEASES = "coordinator.engine.leases"
TIMERS = "coordinator.engine.timers"
SWEEP = "coordinator.core.sweep"
TCC = "coordinator.core.tcc"
MACHINE = "coordinator.core.machine"
EVOLUTION = "coordinator.core.evolution"
EVENTS = "coordinator.core.events"
BACKOFF = "coordinator.core.backoff"
BREAKER = "coordinator.core.breaker"
RECOVERY = "coordinator.core.recovery"

LAZY = "LAZY: tuple[type[Event], ...] = (BranchSucceeded,)"
ALSO = "LAZY: tuple[type[Event], ...] = (BranchSucceeded, {})"

MUTANTS = (
    *SAGA_MUTANTS,
    # ---- The database ----------------------------------------------------------------
    bug(
        "write_without_guard",
        "the write's WHERE does not name the revision",
        MEMORY,
        "if (stored.revision if stored else 0) != (before.revision if before else 0):",
        "if False:",
    ),
    bug(
        "claim_without_guard",
        "a claim takes a row that has moved on since it was listed (P5)",
        MEMORY,
        "if tx is not None and tx.revision == row.revision:",
        "if tx is not None:",
    ),
    bug(
        "claim_keeps_revision",
        "a claim does not raise the revision, so the old owner writes on",
        MEMORY,
        "changed(tx, owner=owner, revision=row.revision + 1)",
        "changed(tx, owner=owner, revision=row.revision)",
    ),
    # ---- Engine and committer --------------------------------------------------------
    bug(
        "act_before_durable",
        "calls go out while their commit is under way (P3)",
        ENGINE,
        "changes.append(self._change(resident, resident.tx, now))",
        "changes.append(self._change(resident, resident.tx, now));"
        " calls += self._release(resident, resident.tx, now)",
    ),
    bug(
        "unknown_commit_assumed_ok",
        "a commit whose connection broke is taken for done (P17)",
        COMMITTER,
        "self._on_unknown(batch, as_unavailable(failure))",
        "self._on_committed(batch, frozenset())",
    ),
    bug(
        "conflict_ignored",
        "a write that hit no row is taken for done",
        ENGINE,
        "if conflicts and key in conflicts:",
        "if False:",
    ),
    bug(
        "conflict_keeps_old_facts",
        "after a conflict the facts of the old state are written as well",
        RESIDENT,
        "SURVIVED_MS\n        self.heard_at = now\n        self._is_stored(tx, None)",
        "SURVIVED_MS\n        kept = [*self.unstored]\n"
        "        self._is_stored(tx, None)\n        self.unstored = (*kept,)",
        RESIDENT,
        "        self.unstored = ()\n        self.tx = self.stored",
        "        self.tx = self.stored",
    ),
    bug(
        "foreign_driven",
        "a node drives what another one owns, because somebody asked about it",
        ENGINE,
        "if tx.owner != self._node_id:",
        "if False:",
    ),
    bug(
        "refused_on_stale_state",
        "a node says no on what it still holds, not on what is stored",
        ENGINE,
        "            if self._must_read_again(resident, delivery):\n"
        "                return False\n"
        "            ticket.answer(refusal)",
        "            ticket.answer(refusal)",
    ),
    bug(
        "reported_outcome_lost_on_stale_state",
        "an outcome that a node does not understand is acknowledged and dropped",
        ENGINE,
        "elif (delivery.is_unasked or delivery.audit) and",
        "elif delivery.audit and",
    ),
    bug(
        "stale_state_written_while_it_is_read",
        "what is being read again is written all the same, for another input's sake",
        ENGINE,
        "            if resident.busy:\n                continue  # stopped, or read",
        "            if False:\n                continue  # stopped, or read",
    ),
    bug(
        "call_mark_never_cleared",
        "an answered call counts as under way for ever",
        ENGINE,
        "del resident.in_flight[what.branch_id]",
        "pass",
    ),
    bug(
        "no_timer_for_retry",
        "nobody wakes a transaction that waits for its next attempt",
        ENGINE,
        "self._timers.set(resident.key, due_at)",
        "self._timers.discard(resident.key)",
    ),
    bug(
        "parked_without_a_sweep",
        "the time of what left memory is not kept, and the sweep does not look for it",
        ENGINE,
        "            return due_at\n        self.let_go.are_all_known = False",
        "            return None",
        SWEEPER,
        "        taken += await self._look_at_own()\n",
        "",
    ),
    bug(
        "decided_while_commit_in_flight",
        "inputs are decided on a state whose commit is under way",
        ENGINE,
        "if resident.busy or (",
        "if (",
    ),
    bug(
        "waiting_foreign_counts_as_driven",
        "a transaction is not taken over from the dead while somebody waits for it",
        ENGINE,
        "if resident is None or self._is_foreign(resident):",
        "if resident is None:",
    ),
    bug(
        "reported_outcome_kept_in_memory",
        "an outcome that nobody can ask for again waits for the next commit",
        RESIDENT,
        "delivery.audit or delivery.is_unasked for",
        "delivery.audit for",
    ),
    bug(
        "decision_not_stored_first",
        "the decision is a lazy fact: phase two starts before it is durable (P3)",
        EVENTS,
        LAZY,
        ALSO.format("Decided"),
    ),
    bug(
        "end_not_stored_first",
        "the end is a lazy fact: it is told before it is durable",
        EVENTS,
        LAZY,
        ALSO.format("Finished"),
    ),
    bug(
        "registration_not_stored_first",
        "a try is sent before its branch is durable",
        EVENTS,
        LAZY,
        ALSO.format("BranchRegistered"),
    ),
    bug(
        "step_not_stored_first",
        "a saga's action is sent before its step is durable",
        EVENTS,
        LAZY,
        ALSO.format("StepStarted"),
    ),
    bug(
        "committer_stops_after_one",
        "what waited while a commit was under way is not committed",
        COMMITTER,
        "        self._commits.discard(commit)\n        self._start()",
        "        self._commits.discard(commit)",
    ),
    # ---- Dispatcher, sweeper, leases, timers -------------------------------------
    bug(
        "candidate_list_trusted",
        "being listed is taken for being claimed (DBOS #742)",
        SWEEPER,
        "await self._store.claim(rows, owner=self._node_id)",
        "[r.key for r in rows]",
    ),
    bug(
        "dead_never_noticed",
        "a node that stopped beating counts as alive",
        LEASES,
        "if at - since < silent_max}",
        "}",
    ),
    bug(
        "forgotten_never_taken_up",
        "a node never takes up again what it let go of itself",
        SWEEP,
        "if row.owner == me:",
        "if False:",
        LET_GO,
        "            self._keys[key] = None",
        "            pass",
    ),
    bug(
        "joined_taken_for_left",
        "what a node drives that has just joined is claimed as left behind",
        SWEEPER,
        "if not self._leases.known().issuperset(row.owner for row in rows):",
        "if False:",
    ),
    *POISON_MUTANTS,
    bug(
        "crowd_keeps_its_turn",
        "a line goes on until it is exhausted, and the others wait for it",
        SWEEP,
        "self._waiting.append(Ask(line, place, skip, 0))",
        "self._waiting.appendleft(Ask(line, place, skip, 0))",
    ),
    bug(
        "youngest_first",
        "a line is served from its end, so its oldest waits for all others",
        MEMORY,
        "there = sorted(lines.get(line, ()), key=itemgetter(0))",
        "there = sorted(lines.get(line, ()), key=itemgetter(0), reverse=True)",
    ),
    bug(
        "walk_of_lines_never_begins_anew",
        "lines before the one that was looked at last are never looked at again",
        SWEEPER,
        "self._after = lines[-1] if len(lines) == sweep.LINES_MAX else None",
        "self._after = lines[-1] if lines else self._after",
    ),
    bug(
        "let_go_not_remembered",
        "what a node let go of waits for the walk through all that it owns",
        LET_GO,
        "            self._keys[key] = None",
        "            pass",
    ),
    bug(
        "blind_judge",
        "a judge that could not look for a while takes everybody for dead",
        LEASES,
        "at, silent_max = self._looked_at, TTL_MS",
        "at, silent_max = self._clock.monotonic_ms(), TTL_MS",
    ),
    bug(
        "timeout_not_reported",
        "a call whose time is up has no outcome",
        DISPATCHER,
        'outcomes.append(_reply(call, Unknown("TIMEOUT", "no answer in time")))',
        "pass",
    ),
    bug(
        "later_timers_forgotten",
        "only the earliest timer ever rings",
        TIMERS,
        "            self._arm(self._times[0])",
        "            pass",
    ),
    # ---- Breaker and turns -------------------------------------------------------
    bug(
        "breaker_never_opens",
        "a participant that fails at everything is called as ever",
        BREAKER,
        "            and self._tally.is_above(now, FAILING_SHARE)",
        "            and False",
    ),
    bug(
        "probes_without_pause",
        "every call that waits is a probe",
        BREAKER,
        "if now < self._probe_at:",
        "if False:",
    ),
    bug(
        "retries_without_budget",
        "retries of a participant that fails are not bounded",
        BREAKER,
        "if self._budget >= 1:",
        "if True:",
    ),
    bug(
        "ramp_goes_on_while_failing",
        "retries keep their ramp while most of them fail",
        BREAKER,
        "self._ramp_since, self._ramp = None, 0.0",
        "pass",
    ),
    bug(
        "no_turns_given",
        "who waits for a participant is never asked again",
        DISPATCHER,
        "            self._give_turns(lane)\n",
        "            pass\n",
    ),
    bug(
        "waited_call_goes_out_unasked",
        "a call that waited goes out whatever became of its transaction",
        DISPATCHER,
        "return self._in_turn(call)",
        "return call",
    ),
    bug(
        "dropped_call_keeps_its_mark",
        "a call that was not wanted at its turn counts as under way for ever",
        ENGINE,
        "        del resident.in_flight[call.branch_id]  # it may be wanted again\n",
        "",
    ),
    # ---- TCC ---------------------------------------------------------------------
    bug(
        "deadline_ignored",
        "an undecided transaction may be confirmed after its deadline",
        TCC,
        "        _look_at_the_clock(draft, now)",
        "        pass",
    ),
    bug(
        "confirm_list_unchecked",
        "a confirm that misses a registered branch is carried out",
        TCC,
        "if listed is not None and listed != ",
        "if False and listed != ",
    ),
    bug(
        "confirm_without_tries",
        "a confirm does not wait for tries that have not answered",
        TCC,
        "if BranchStatus.TRYING not in by_status:",
        "if True:",
    ),
    bug(
        "registration_after_decision",
        "a branch may join after the decision (P3, Seata #5404)",
        TCC,
        "if tx.status is not _TRYING or ",
        "if tx.status.is_final or ",
        EVOLUTION,
        "if tx.status not in _MAY_JOIN:",
        "if tx.status.is_final:",
    ),
    bug(
        "unknown_is_refused",
        "a try that timed out counts as a business no",
        TCC,
        "    Unknown: _failed,",
        "    Unknown: _refused,",
    ),
    bug(
        "gives_up_and_says_done",
        "a confirm that failed often enough counts as confirmed (P4)",
        TCC,
        "    policy = backoff.FORWARD if forward else backoff.PHASE_TWO\n",
        "    policy = backoff.FORWARD if forward else backoff.PHASE_TWO\n"
        "    if not forward and attempts >= 2:"
        " draft.add(BranchSucceeded(branch.spec.branch_id, what.phase, NO_PAYLOAD,"
        " now)); _finish_if_done(draft, now); return\n",
    ),
    bug(
        "no_phase_two_due",
        "a decided branch is never asked",
        EVOLUTION,
        "due_at=at,",
        "due_at=None,",
    ),
    bug(
        "asked_before_its_time",
        "attempts follow each other without a pause (P9, DTM #293)",
        MACHINE,
        " and ask_at <= now:",
        ":",
    ),
    bug(
        "confirm_answered_undecided",
        "a confirm is answered before there is a decision",
        MACHINE,
        "is_final\n    return tx.decision is not Decision.NONE",
        "is_final\n    return True",
    ),
    bug(
        "nobody_looks_at_the_deadline",
        "an undecided transaction is not due at its deadline",
        TCC,
        "        return tx.request.deadline_at\n",
        "        return None\n",
    ),
    bug(
        "other_body_accepted",
        "the same gid with another body is taken for a repetition",
        MACHINE,
        "if draft.tx.request.digest != what.request.digest:",
        "if False:",
    ),
    bug(
        "returning_participant_asked_when_due",
        "a returning participant is asked only at its next due time",
        RECOVERY,
        "return min(due_at, returned.at + round(returned.within_ms * share))",
        "return due_at",
    ),
    bug(
        "return_sets_no_timers",
        "a participant returns, and those who wait for it keep their old timers",
        ENGINE,
        "        self._rearm(iter(list(self._residents)))\n",
        "",
    ),
    bug(
        "returned_participant_asked_without_pause",
        "a branch that failed again after its participant's return has no back-off",
        RECOVERY,
        "recovery.asked.get(branch_id, 0) >= returned.number",
        "False",
    ),
    bug(
        "cap_removed",
        "intervals double without an end (P6)",
        BACKOFF,
        "min(policy.initial_interval_ms * growth, policy.interval_max_ms)",
        "policy.initial_interval_ms * growth",
    ),
    # ---- Operators and the check-back --------------------------------------------
    bug(
        "held_calls_go_out",
        "calls go on while an operator holds the transaction",
        MACHINE,
        "if tx.paused_at is not None or (\n"
        "        tx.attention_since is not None and is_quarantined(tx)\n    ):",
        "if False:",
    ),
    bug(
        "audit_left_out",
        "an operator's action is stored without its audit entry",
        ENGINE,
        "return Change(resident.stored, after, events, due_at, resident.audit)",
        "return Change(resident.stored, after, events, due_at, None)",
    ),
    bug(
        "settled_by_hand_says_confirmed",
        "an operator's settlement ends as if the participants had answered (P4)",
        TCC,
        "if BranchStatus.RESOLVED in found:",
        "if False:",
    ),
    bug(
        "committed_without_asking_back",
        "the deadline commits what the initiator should be asked about",
        TCC,
        "draft.add(CheckBackStarted(spec, now))",
        "_commit(draft, now)",
    ),
    bug(
        "told_before_kept",
        "an initiator that will be asked back acts on a try that a crash forgets",
        MACHINE,
        "return are_answers and (tx is None or not tx.request.check_back)",
        "return are_answers",
    ),
    *BARRIER_MUTANTS,
)
