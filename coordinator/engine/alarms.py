"""What of a transaction's facts a person may have to know: a line in the log."""

import structlog

from coordinator import telemetry
from coordinator.core.events import AttentionRaised, TrialSurvived
from coordinator.ports import Change

_log = structlog.get_logger(__name__)

_TOLD = frozenset({AttentionRaised, TrialSurvived})


def tell(change: Change) -> None:
    """Say what has just become durable."""
    if _TOLD.isdisjoint(map(type, change.events)):
        return
    for event in change.events:
        if isinstance(event, AttentionRaised):
            _log.warning(
                telemetry.ATTENTION_RAISED, gid=change.key.gid, reason=event.reason
            )
        elif isinstance(event, TrialSurvived):
            _log.info(telemetry.TRIAL_SURVIVED, gid=change.key.gid)
