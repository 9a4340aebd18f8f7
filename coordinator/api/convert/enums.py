"""The wire's numbers for the model's words, both ways."""

from collections.abc import Mapping
from typing import Any

from coordinator.core.definition import BranchKind
from coordinator.core.words import (
    BranchStatus,
    Decision,
    Mode,
    OperationKind,
    Phase,
    Status,
)
from protos.v1 import types_pb2

# Numbers; each field that takes one has a type of its own in its message's stub.
MODES: Mapping[Mode, Any] = {m: types_pb2.Mode.Value(m) for m in Mode}
STATUSES: Mapping[Status, Any] = {
    s: types_pb2.TransactionStatus.Value(s) for s in Status
}
DECISIONS: Mapping[Decision, Any] = {
    Decision.NONE: types_pb2.DECISION_NONE,
    Decision.COMMIT: types_pb2.COMMIT,
    Decision.ABORT: types_pb2.ABORT,
}
KINDS: Mapping[OperationKind, Any] = {
    k: types_pb2.OperationKind.Value(f"OPERATION_{k}") for k in OperationKind
}
PHASES: Mapping[Phase, Any] = {p: types_pb2.Phase.Value(f"PHASE_{p}") for p in Phase}
BRANCH_KINDS: Mapping[BranchKind, Any] = {
    k: types_pb2.BranchKind.Value(f"KIND_{k}") for k in BranchKind
}
BRANCH_STATUSES: Mapping[BranchStatus, Any] = {
    s: types_pb2.BranchStatus.Value(f"BRANCH_{s}") for s in BranchStatus
}
STATUS_BY_NUMBER: Mapping[int, Status] = {n: s for s, n in STATUSES.items()}
KIND_BY_NUMBER: Mapping[int, OperationKind] = {n: k for k, n in KINDS.items()}
PHASE_BY_NUMBER: Mapping[int, Phase] = {n: p for p, n in PHASES.items()}
