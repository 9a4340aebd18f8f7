"""Whether a participant may be called now, and how often those who waited (V4, V5).

Theory of operation
-------------------
::

            a link                    most calls fail
    OPEN ------------> CLOSED -----------------------------> PROBING
      ^                  |  ^                                 |   |
      |     no link      |  `---- probes succeed, or it ------'   |
      +------------------'        speaks after a silence          |
      `-----------------------------------------------------------'

* **OPEN**: the participant has no link here. That is a fact, and nothing can go out.
* **PROBING**: it has one, and lets calls time out or answers them with failures. That
  is a guess, so it is never told to anybody as a failure: calls wait as they would for
  a participant that hangs, and a few go out as probes.
* **CLOSED**: it works, as far as anybody knows. First calls go out as they come.

What a participant answers, a refusal or "later" included, shows that it works. A call
whose time was up before it went out tells nothing, unless the participant was silent
all that time. A broken connection is no failure here: the next one, or none, says more.

**Retries** have to take turns while it is CLOSED. A turn is taken from one of two:

* the *budget*: a tenth of a turn for each first call that goes out, and one a second in
  any case, so that a lonely transaction is not starved. It is all there is while more
  than ``ILL_SHARE`` of the calls fail: retries never make a failing participant's load
  more than a tenth bigger;
* the *ramp*: while hardly any call fails, a rate that begins at ``RAMP_FIRST`` a second
  and doubles each second. So those who waited for a participant's return, or for the
  end of its failures, come back slowly at first and at full speed soon after. Failures
  end the ramp, and it begins anew when they are over.

All times are one process's monotonic clock. Nothing here decides what becomes of a
transaction: whoever gets no turn or probe waits.
"""

from enum import StrEnum

from coordinator.core.model import Milliseconds

WINDOW_MS: Milliseconds = 10_000
"""Outcomes older than this tell nothing; as long as a call takes at most by default, so
that a hanging participant's time-outs fall into one window."""

CALLS_MIN = 20
"""Outcomes in a window before anything is concluded from them: fewer retries than that
harm nobody, and a few failures in a row are bad luck."""

FAILING_SHARE = 0.95
"""Of a window's calls fail where nothing but probes makes sense. Where one operation of
a participant is broken, the others have to go on: they are more than a twentieth of its
calls, or hardly asked."""

ILL_SHARE = 0.1
"""Of a window's calls may fail without retries adding more load than a budget does."""

PROBES_PER_SECOND = 5
"""Of all nodes together: often enough to notice a recovery within a second, and nothing
to a participant that struggles."""

PROBES_TO_CLOSE = 3
"""In a row: one in ten calls of a participant that fails at nine is no recovery."""

SILENT_MS: Milliseconds = 5_000
"""Without an answer although calls timed out: longer than a call's time, so that one
slow answer is no silence."""

BUDGET_SHARE = 0.1
"""Retries for each first call (V4)."""

BUDGET_MAX = 50.0
"""Turns that a participant's budget saves up: a second's worth at 500 first calls a
second."""

FLOOR_PER_SECOND = 1.0
"""Turns of a participant that nobody calls for the first time."""

RAMP_FIRST = 100.0
"""Turns in the first second of a ramp: 1,000 who wait are all asked within 4 s."""

RAMP_MAX = 10_000.0
"""No ramp is steeper; its participant's credits hold long before."""

RAMP_SAVED_MS: Milliseconds = 100
"""The part of a ramp that may be taken at once, after a pause."""

_SECOND: Milliseconds = 1_000


class State(StrEnum):
    """What may go out."""

    CLOSED = "CLOSED"
    OPEN = "OPEN"
    PROBING = "PROBING"


class Breaker:
    """One participant, as one node sees it.

    Attributes:
        state: what may go out now.
    """

    def __init__(self) -> None:
        self.state = State.OPEN
        self._tally = _Tally()
        self._heard_at: Milliseconds | None = None
        self._silent_since: Milliseconds | None = None
        self._probe_at: Milliseconds = 0
        self._probes_well = 0
        self._budget = FLOOR_PER_SECOND
        self._ramp = 0.0
        self._ramp_since: Milliseconds | None = None
        self._accrued_at: Milliseconds = 0

    # ---- What happens to the participant ---------------------------------------------

    def attached(self, now: Milliseconds) -> None:
        """It has a link, and had none that takes calls."""
        self._silent_since = None
        self._close(now)

    def detached(self) -> None:
        """It has no link any more."""
        self.state = State.OPEN

    def heard(self, now: Milliseconds, *, works: bool, is_late: bool = False) -> bool:
        """It has answered a call.

        Args:
            works: the answer says that it can do its work.
            is_late: the call's time was up before.

        Returns:
            Whether it is back: it was silent or failing, and is not any more.
        """
        self._heard_at = now
        is_probing = self.state is State.PROBING
        since = self._silent_since
        if since is not None:
            self._silent_since = None
            if now - since >= SILENT_MS and (works or not is_probing):
                self._close(now)
                return True
        if is_late:
            return False
        if is_probing:
            return self._probed(now, works=works)
        self._count(now, failed=not works)
        return False

    def goes_on_well(self, now: Milliseconds, answers: int) -> bool:
        """It has answered calls in time and as it should, as nearly always.

        Returns:
            Whether that is all that follows from so many answers. If not, nothing has
            been done about them, and each is to be :meth:`heard`.
        """
        if (
            self.state is not State.CLOSED
            or self._silent_since is not None
            or self._tally.may_be_above(now, FAILING_SHARE)
        ):
            return False
        self._heard_at = now
        self._tally.add(now, calls=answers, failed=0)
        return True

    def missed(self, now: Milliseconds, *, since: Milliseconds, was_out: bool) -> None:
        """A call's time is up.

        Args:
            since: when it was asked for.
            was_out: it had gone out to the participant.
        """
        if was_out and self._silent_since is None:
            self._silent_since = now
        if self.state is State.PROBING:
            self._probes_well = 0 if was_out else self._probes_well
            return
        was_silent = self._heard_at is None or self._heard_at < since
        if was_out or was_silent:
            self._count(now, failed=True)

    def first_calls(self, count: int) -> None:
        """First calls go out, and each makes room for a part of a retry."""
        self._budget = min(BUDGET_MAX, self._budget + count * BUDGET_SHARE)

    # ---- What may go out -------------------------------------------------------------

    def take_probe(self, now: Milliseconds, *, nodes: int) -> bool:
        """Whether a probe may go out now; if so, it does.

        Args:
            nodes: how many nodes probe this participant.
        """
        if now < self._probe_at:
            return False
        self._probe_at = now + _probe_every_ms(nodes)
        return True

    def take_turn(self, now: Milliseconds, *, has_room: bool) -> bool:
        """Whether a retry may go out now; if so, it does.

        Args:
            has_room: it would not have to wait behind others for credit.
        """
        self._accrue(now)
        if has_room and self._ramp >= 1:
            self._ramp -= 1
            return True
        if self._budget >= 1:
            self._budget -= 1
            return True
        return False

    # ---- Conclusions -----------------------------------------------------------------

    def _count(self, now: Milliseconds, *, failed: bool) -> None:
        if (
            self._tally.add(now, failed=failed)
            and self.state is State.CLOSED
            and self._tally.is_above(now, FAILING_SHARE)
        ):
            self.state = State.PROBING
            self._probe_at = now
            self._probes_well = 0

    def _probed(self, now: Milliseconds, *, works: bool) -> bool:
        if not works:
            self._probes_well = 0
            return False
        self._probes_well += 1
        self._probe_at = now  # a recovery is not held up
        if self._probes_well < PROBES_TO_CLOSE:
            return False
        self._close(now)
        return True

    def _close(self, now: Milliseconds) -> None:
        self.state = State.CLOSED
        self._tally = _Tally()
        self._begin_ramp(now)

    def _begin_ramp(self, now: Milliseconds) -> None:
        self._ramp_since = self._accrued_at = now
        self._ramp = _saved(RAMP_FIRST)

    def _accrue(self, now: Milliseconds) -> None:
        seconds = (now - self._accrued_at) / _SECOND
        self._accrued_at = now
        floor = min(FLOOR_PER_SECOND, self._budget + seconds * FLOOR_PER_SECOND)
        self._budget = max(self._budget, floor)
        if self._tally.is_above(now, ILL_SHARE):
            self._ramp_since, self._ramp = None, 0.0
        elif self._ramp_since is None:
            self._begin_ramp(now)
        else:
            doublings = min((now - self._ramp_since) / _SECOND, 30)
            rate = min(RAMP_MAX, RAMP_FIRST * 2**doublings)
            self._ramp = min(_saved(rate), self._ramp + seconds * rate)


class _Tally:
    """Outcomes of the last half to whole window: of this half, and the one before."""

    def __init__(self) -> None:
        self._half = 0
        self._half_ends_at: Milliseconds = 0
        self._calls = self._calls_before = 0
        self._failed = self._failed_before = 0

    def add(self, now: Milliseconds, *, calls: int = 1, failed: int) -> bool:
        """Count more calls; whether any of the window has failed."""
        if now >= self._half_ends_at:
            self._turn(now)
        self._calls += calls
        self._failed += failed
        return self._failed + self._failed_before > 0

    def is_above(self, now: Milliseconds, share: float) -> bool:
        """Whether there were enough calls, and more than this share of them failed."""
        if now >= self._half_ends_at:
            self._turn(now)
        calls = self._calls + self._calls_before
        failed = self._failed + self._failed_before
        return calls >= CALLS_MIN and failed > share * calls

    def may_be_above(self, now: Milliseconds, share: float) -> bool:
        """Whether it is, or would be after more calls none of which fails."""
        if now >= self._half_ends_at:
            self._turn(now)
        calls = self._calls + self._calls_before
        return self._failed + self._failed_before > share * max(CALLS_MIN, calls)

    def _turn(self, now: Milliseconds) -> None:
        half = 2 * now // WINDOW_MS
        is_next = half == self._half + 1
        self._half, self._half_ends_at = half, (half + 1) * WINDOW_MS // 2
        self._calls, self._calls_before = 0, self._calls if is_next else 0
        self._failed, self._failed_before = 0, self._failed if is_next else 0


def _probe_every_ms(nodes: int) -> Milliseconds:
    return -(-_SECOND * max(1, nodes) // PROBES_PER_SECOND)


def _saved(rate: float) -> float:
    return max(1.0, rate * RAMP_SAVED_MS / _SECOND)
