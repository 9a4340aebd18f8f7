"""The table of all points, and how a commit gets its names from what it holds.

Everything that a node writes goes through a writing method of its store. A commit of
transactions carries facts, and each fact is a point of its own; every other writing
method is one point. Whatever has no entry here stops the node with ``UNNAMED``, and a
test compares the entries with the classes of ``core/events.py`` and the methods of
the ports.
"""

from collections.abc import Callable, Mapping
from enum import StrEnum
from typing import Any, NamedTuple

from coordinator.core.evolution import evolve
from coordinator.core.model import UNDER_WAY, GlobalTransaction
from coordinator.core.words import (
    BranchStatus,
    Mode,
    Phase,
)
from coordinator.ports import Change


class Moment(StrEnum):
    """On which side of the commit."""

    BEFORE = "before"
    AFTER = "after"


class Armed(NamedTuple):
    """Where a process shall kill itself; any transaction's commit if no gid."""

    point: str
    moment: Moment
    gid: str = ""


COMMIT = "commit"
"""The store's method whose points are the facts that it is given."""

STORE_POINTS: Mapping[str, str] = {
    "claim": "store.claimed",
    "beat": "store.heartbeat",
    "forget_node": "store.node-forgotten",
    "publish": "store.saga-published",
    "save_operations": "store.operations-saved",
    "remove_operation": "store.operation-removed",
}
"""By the name of the writing method."""

SCHEMA_POINT = "store.schema-upgraded"

TRIAL_POINT = "any.trial-survived"
"""A fact of both modes, and it takes three deaths to come to it."""

READS = frozenset(
    {
        "load",
        "lines",
        "unfinished",
        "close",
        "list_transactions",
        "journal",
        "find_definition",
        "find_definition_by_digest",
        "list_definitions",
        "list_operations",
        "unfinished_with",
    }
)
"""The methods of the ports that write nothing."""

PARTICIPANT_POINTS = frozenset(
    {
        "participant.try",
        "participant.confirm",
        "participant.cancel",
        "participant.action",
        "participant.compensation",
    }
)
"""The local commits of a participant, by the phase that was asked."""

_Namer = Callable[[GlobalTransaction, Any], str]


class Row(NamedTuple):
    """One class of facts: the points it makes, and which of them a fact is."""

    points: frozenset[str]
    name: _Namer


def _mode(tx: GlobalTransaction) -> str:
    return tx.request.mode.lower()


def _phase(tx: GlobalTransaction, event: Any) -> str:
    status = tx.branches[event.branch_id].status
    if status is BranchStatus.WAITING:
        return "wait"
    phase = UNDER_WAY[status]
    if tx.request.mode is Mode.TCC and phase is Phase.ACTION:
        return "check-back"
    return phase.lower()


def _always(*points: str) -> Row:
    """One point a mode: the same words after ``tcc.`` and ``saga.``."""
    (ending,) = {point.partition(".")[2] for point in points}
    return Row(frozenset(points), lambda tx, _: f"{_mode(tx)}.{ending}")


def _by_phase(ending: str, *more: str) -> Row:
    points = (
        *(f"{mode}.{phase}" for mode in ("tcc", "saga") for phase in _TCC_PHASES),
        "tcc.check-back",
        "saga.action",
        "saga.compensation",
        *more,
    )
    return Row(
        frozenset(f"{point}-{ending}" for point in points),
        lambda tx, event: f"{_mode(tx)}.{_phase(tx, event)}-{ending}",
    )


_TCC_PHASES = ("try", "confirm", "cancel")

FACTS: Mapping[str, Row] = {
    "Began": _always("tcc.began", "saga.began"),
    "BranchRegistered": Row(
        frozenset({"tcc.branch-registered", "tcc.branch-registered-direct"}),
        lambda _, event: "tcc.branch-registered" + ("-direct" if event.direct else ""),
    ),
    "StepStarted": _always("saga.step-started"),
    "StepSkipped": _always("saga.step-skipped"),
    "StepRefused": _always("saga.step-refused"),
    "SignalReceived": _always("saga.signal-received"),
    "ConfirmStarted": _always("saga.confirm-started"),
    "AllStepsDone": _always("saga.all-steps-done"),
    "BranchSucceeded": _by_phase("succeeded", "saga.wait"),
    "BranchRefused": Row(
        frozenset(
            {
                "tcc.try-refused",
                "tcc.check-back-refused",
                "saga.try-refused",
                "saga.action-refused",
                "saga.wait-refused",
            }
        ),
        lambda tx, event: f"{_mode(tx)}.{_phase(tx, event)}-refused",
    ),
    "BranchAbandoned": _always("saga.step-abandoned"),
    "AttemptFailed": _by_phase("failed", "saga.wait"),
    "BranchPending": _by_phase("pending"),
    "OutputLearned": _always("saga.output-learned"),
    "CompensationStarted": _always("saga.compensation-started"),
    "Decided": Row(
        frozenset(
            f"{mode}.decided-{decision}"
            for mode in ("tcc", "saga")
            for decision in ("commit", "abort")
        ),
        lambda tx, event: f"{_mode(tx)}.decided-{event.decision.lower()}",
    ),
    "AttentionRaised": _always("tcc.attention-raised", "saga.attention-raised"),
    "TrialSurvived": Row(frozenset({TRIAL_POINT}), lambda *_: TRIAL_POINT),
    "RetryRequested": _always("tcc.retry-requested", "saga.retry-requested"),
    "CheckBackStarted": _always("tcc.check-back-started"),
    "Paused": _always("tcc.paused", "saga.paused"),
    "Resumed": _always("tcc.resumed", "saga.resumed"),
    "BranchResolved": _always("tcc.branch-resolved", "saga.branch-resolved"),
    "Finished": Row(
        frozenset(
            {
                "tcc.finished-confirmed",
                "tcc.finished-cancelled",
                "tcc.finished-resolved",
                "saga.finished-completed",
                "saga.finished-compensated",
                "saga.finished-resolved",
            }
        ),
        lambda tx, event: f"{_mode(tx)}.finished-{event.status.lower()}",
    ),
}
"""Every class of facts, by its name."""

FACT_POINTS = frozenset[str]().union(*(row.points for row in FACTS.values()))
POINTS = FACT_POINTS | frozenset(STORE_POINTS.values()) | {SCHEMA_POINT}
"""All points of a coordinator."""


class Unnamed(Exception):
    """Something is persisted that has no point."""


def points_of(change: Change) -> frozenset[str]:
    """The points that this change passes. Raises :class:`Unnamed`."""
    names = set()
    tx = change.before
    for event in change.events:
        kind = type(event).__name__
        row = FACTS.get(kind)
        if row is None:
            raise Unnamed(kind)
        after = evolve(tx, event)
        name = row.name(tx or after, event)
        if name not in row.points:
            raise Unnamed(f"{kind} as {name}")
        names.add(name)
        tx = after
    return frozenset(names)
