"""What a node says of transactions that it does not have any more.

A gid that carries its time (those that the SDK and this coordinator make) tells whether
its transaction may have been removed: see :mod:`coordinator.core.retention`. A gid of
the initiator's own making does not tell; for it, the participants' barriers are what is
left (docs/databases.md).
"""

from coordinator.api.gid import made_at
from coordinator.api.limits import Limits
from coordinator.core import retention
from coordinator.core.durations import format_duration
from coordinator.core.errors import CoordinatorError, NotFound, PreconditionFailed
from coordinator.core.model import GlobalTransaction, Instant


def may_be_gone(gid: str, limits: Limits, now: Instant) -> bool:
    """Whether a transaction of this gid may have been here, and been removed."""
    kept_ms = limits.keep_finished_ms
    if kept_ms is None or (made := made_at(gid)) is None:
        return False
    return retention.may_be_gone(made, kept_ms=kept_ms, now=now)


def is_still_there(
    found: GlobalTransaction | CoordinatorError, limits: Limits, now: Instant
) -> bool:
    """Whether it will be for as long as a request takes."""
    kept_ms = limits.keep_finished_ms
    if not isinstance(found, GlobalTransaction) or kept_ms is None:
        return False
    return retention.stays(found.finished_at, kept_ms=kept_ms, now=now)


def gone(limits: Limits) -> PreconditionFailed:
    """Why nothing begins under a gid that is so old."""
    return PreconditionFailed(
        f"the gid was made longer ago than finished transactions are kept"
        f" ({_kept(limits)}), so this may repeat one that was carried out; nothing was"
        " begun. Look whether it was, in the archive or at the participants; if not,"
        " begin with a new gid. If this gid is new, correct the clock that made it",
        field="gid",
        reason="GID_EXPIRED",
    )


def explained(problem: CoordinatorError, limits: Limits) -> CoordinatorError:
    """The same, with how long transactions are kept where one is not found."""
    if not isinstance(problem, NotFound) or problem.field != "gid":
        return problem
    return not_found(limits)


def not_found(limits: Limits) -> NotFound:
    """There is no such transaction, or no more."""
    if limits.keep_finished_ms is None:
        return NotFound(
            "there is no such transaction; it never began here, or an administrator"
            " removed it after its end",
            field="gid",
        )
    return NotFound(
        "there is no such transaction; it never began here, or it finished longer ago"
        f" than outcomes are kept ({_kept(limits)})",
        field="gid",
    )


def _kept(limits: Limits) -> str:
    keep_ms = limits.keep_finished_ms or 0
    return format_duration(keep_ms)
