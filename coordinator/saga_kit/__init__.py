"""Sagas without a coordinator: rehearsed in memory, planned, drawn and compared.

Pure and deterministic, on the rules that run in production. No clock, no network.
"""

from coordinator.saga_kit.exploration import Exploration, Trial, explore
from coordinator.saga_kit.oracle import broken_rules
from coordinator.saga_kit.rehearsal import End, Rehearsal, rehearse
from coordinator.saga_kit.scenario import Fault, FaultKind, Moment, Point, Scenario

__all__ = [
    "End",
    "Exploration",
    "Fault",
    "FaultKind",
    "Moment",
    "Point",
    "Rehearsal",
    "Scenario",
    "Trial",
    "broken_rules",
    "explore",
    "rehearse",
]
