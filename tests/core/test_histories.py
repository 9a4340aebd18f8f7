"""Any history of a transaction is legal, or refused by name, and comes to an end."""

from dataclasses import dataclass, field

from hypothesis import given

from coordinator.core.inputs import Begin, Submit
from tests.core.histories import (
    TCC_BEGINS,
    TCC_MOVES,
    History,
    Move,
    examples,
    histories,
)
from tests.core.saga_histories import (
    ANY_SAGA_BEGINS,
    ANY_SAGA_MOVES,
    SAGA_BEGINS,
    SAGA_MOVES,
    SagaHistory,
)

EXAMPLES = 400


@dataclass
class Seen:
    """What all histories together came to: a check that never ran proves nothing."""

    ends: set[str] = field(default_factory=set)
    facts: set[str] = field(default_factory=set)
    refusals: set[str] = field(default_factory=set)

    def play(self, begin: Begin | Submit, moves: list[Move]) -> None:
        kind = SagaHistory if isinstance(begin, Submit) else History
        history = kind.begin(begin)
        if history is None:
            return
        for move in moves:
            history.play(move)
        history.heal()
        self.ends.add(history.tx.status.value)
        self.facts |= {type(fact).__name__ for fact in history.facts}
        self.refusals |= history.refusals


FACTS_OF_BOTH = {
    "Began",
    "BranchSucceeded",
    "BranchRefused",
    "AttemptFailed",
    "BranchPending",
    "Decided",
    "RetryRequested",
    "Paused",
    "Resumed",
    "BranchResolved",
    "Finished",
}
FACTS_OF_SAGAS = {
    "StepStarted",
    "StepSkipped",
    "StepRefused",
    "SignalReceived",
    "BranchAbandoned",
    "CompensationStarted",
    "ConfirmStarted",
    "AllStepsDone",
    "AttentionRaised",
}
REFUSALS_OF_BOTH = {
    "GID_EXISTS",
    "TRANSACTION_ENDED",
    "TRANSACTION_DECIDED",
    "BRANCH_NOT_OPEN",
    "NOT_FOUND",
}


def test_any_tcc_history_keeps_the_rules_and_ends() -> None:
    """Late, repeated and foreign inputs, any clock: T1, T4 to T6, T8, T10, T11, V1."""
    seen = Seen()

    @examples(2 * EXAMPLES)
    @given(TCC_BEGINS, histories(TCC_MOVES))
    def play_any(begin: Begin, moves: list[Move]) -> None:
        seen.play(begin, moves)

    play_any()
    assert seen.ends == {"CONFIRMED", "CANCELLED", "RESOLVED"}
    assert seen.facts >= FACTS_OF_BOTH | {"BranchRegistered", "CheckBackStarted"}
    assert seen.refusals >= REFUSALS_OF_BOTH | {
        "BRANCH_EXISTS",
        "BRANCH_ID_RESERVED",
        "BRANCH_LIST_DIFFERS",
        "BRANCH_LIST_REQUIRED",
        "PARENT_NOT_OPEN",
    }


def test_any_saga_history_keeps_the_rules_and_ends() -> None:
    """Any graph of five steps and any answers: T1, T8, T10, T11, S1 to S4, V1."""
    seen = Seen()

    @examples(EXAMPLES)
    @given(SAGA_BEGINS, histories(SAGA_MOVES))
    def play_any(begin: Submit, moves: list[Move]) -> None:
        seen.play(begin, moves)

    play_any()
    assert seen.ends == {"COMPLETED", "COMPENSATED", "RESOLVED"}
    assert seen.facts >= FACTS_OF_BOTH | {
        "StepStarted",
        "BranchAbandoned",
        "CompensationStarted",
        "OutputLearned",
        "AttentionRaised",
    }
    assert seen.refusals >= REFUSALS_OF_BOTH


def test_any_history_of_a_saga_of_every_kind_keeps_the_rules_and_ends() -> None:
    """Lists, child sagas, reservations, timers, signals, options, fallbacks, a pivot:
    T1, T5, T6, T8, T10, T11, S1 to S6, V1.
    """
    seen = Seen()

    @examples(3 * EXAMPLES)
    @given(ANY_SAGA_BEGINS, histories(ANY_SAGA_MOVES))
    def play_any(begin: Submit, moves: list[Move]) -> None:
        seen.play(begin, moves)

    play_any()
    assert seen.ends == {"COMPLETED", "COMPENSATED", "RESOLVED"}
    assert seen.facts >= FACTS_OF_BOTH | FACTS_OF_SAGAS
    assert seen.refusals >= REFUSALS_OF_BOTH | {
        "BRANCH_IS_GROUP",
        "PIVOT_IN_FLIGHT",
        "SIGNAL_EXISTS",
        "UNKNOWN_SIGNAL",
    }
