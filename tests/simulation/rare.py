"""The states that a long run must have seen: a simulator that never meets them
proves nothing about them.
"""

STATES = (
    # The database
    "commit_unknown_applied",
    "commit_unknown_not_applied",
    "commit_conflict",
    "crash_with_commit_in_flight",
    "commit_of_dead_node_ok",
    "commit_of_dead_node_lost",
    "group_commit_of_several",
    "claim_lost_to_somebody",
    # Nodes
    "node_crashed",
    "node_paused_past_ttl",
    "zombie_write_rejected",
    "take_over_claimed",
    "conflict_after_take_over",
    "all_nodes_down",
    "two_nodes_call_same_phase",
    "transaction_forgotten_and_taken_up",
    "foreign_resident_waits",
    "begin_refused_overloaded",
    "clock_jumped",
    "quarantined",
    "poison_quarantined",
    # Participants and the barrier
    "participant_crashed",
    "participant_commit_lost",
    "participant_commit_kept_but_unknown",
    "concurrent_calls_of_one_branch",
    "empty_cancel",
    "empty_compensation",
    "late_try_refused",
    "late_action_refused",
    "duplicate_try_answered_from_record",
    "duplicate_confirm",
    "duplicate_cancel",
    "duplicate_refusal_answered_from_record",
    "cancel_of_refused_try",
    "pending_polled",
    "pending_completed_from_outside",
    "call_timed_out",
    "session_broke_under_a_call",
    "participant_not_attached",
    "asked_soon_after_a_return",
    # TCC
    "deadline_beats_confirm",
    "confirm_beats_deadline",
    "cancel_beats_confirm",
    "confirm_waited_for_tries",
    "confirm_list_refused",
    "declared_decided_by_itself",
    "registration_after_decision_refused",
    "try_attempts_used_up",
    "try_refused",
    "client_died_undecided",
    "begin_repeated",
    "begin_with_other_body_refused",
    "attention_raised",
    "operator_retried",
    "operator_cancelled",
    "operator_paused",
    "branch_resolved_by_hand",
    "ended_as_resolved",
    "initiator_asked_back_says_commit",
    "initiator_asked_back_says_abort",
    "confirm_beats_check_back",
    "pending_timed_out",
    "nested_try_joined",
    "nested_try_came_too_late",
    "empty_transaction_ended",
    # Sagas
    "saga_completed",
    "saga_compensated",
    "saga_timed_out",
    "action_attempts_used_up",
    "compensation_of_unknown_step",
    "output_needed",
    "step_abandoned",
    "sibling_in_flight_at_turn",
    "saga_cancelled_by_initiator",
)


class Rare:
    """Counts what one run has seen."""

    def __init__(self) -> None:
        self.hits: dict[str, int] = {}

    def hit(self, name: str) -> None:
        self.hits[name] = self.hits.get(name, 0) + 1
