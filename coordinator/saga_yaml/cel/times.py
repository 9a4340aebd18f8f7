"""Moments and spans of time, to the nanosecond, in UTC or at a fixed offset.

Named time zones are not known: their rules change with the machine's data, and the
same expression must give the same result everywhere.
"""

import re
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Final

from coordinator.core.expressions import ExpressionFailed

_NANOS: Final = 1_000_000_000
_EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)
_SECONDS_MIN: Final = -62_135_596_800
_SECONDS_MAX: Final = 253_402_300_799
_SPAN_NANOS_MAX: Final = 2**63 - 1
_RFC3339 = re.compile(
    r"(\d{4})-(\d\d)-(\d\d)[Tt](\d\d):(\d\d):(\d\d)(?>\.(\d{1,9}+))?+"
    r"(?:[Zz]|([-+])(\d\d):(\d\d))",
    re.ASCII,
)
_OFFSET = re.compile(r"([-+]?)(\d\d):(\d\d)", re.ASCII)
_SPAN = re.compile(
    r"[-+]?+(?>(?:\d{1,18}+(?>\.\d{0,18}+)?+|\.\d{1,18}+)(?:h|ms|us|ns|m|s))++",
    re.ASCII,
)
_SPAN_PART = re.compile(r"(\d*)(?:\.(\d*))?(h|ms|us|ns|m|s)", re.ASCII)
_UNITS: Final = {
    "h": 3600 * _NANOS,
    "m": 60 * _NANOS,
    "s": _NANOS,
    "ms": 1_000_000,
    "us": 1_000,
    "ns": 1,
}
_SPAN_LENGTH_MAX = 128


@dataclass(frozen=True, slots=True, order=True)
class Span:
    """A duration in nanoseconds."""

    nanos: int

    def __post_init__(self) -> None:
        if abs(self.nanos) > _SPAN_NANOS_MAX:
            raise ExpressionFailed("a duration beyond 292 years")

    @classmethod
    def parsed(cls, text: str) -> "Span":
        """From text such as ``1h30m``, ``-2.5s`` or ``0``."""
        if text in ("0", "+0", "-0"):
            return cls(0)
        if len(text) > _SPAN_LENGTH_MAX or not _SPAN.fullmatch(text):
            raise ExpressionFailed("duration takes text such as '1h30m'; this is none")
        nanos = 0
        for whole, fraction, unit in _SPAN_PART.findall(text):
            nanos += int(whole or 0) * _UNITS[unit]
            nanos += int(fraction or 0) * _UNITS[unit] // 10 ** len(fraction)
        return cls(-nanos if text[0] == "-" else nanos)

    def plus(self, other: "Span") -> "Span":
        """Both together."""
        return Span(self.nanos + other.nanos)

    def times(self, factor: int) -> "Span":
        """This duration again and again."""
        return Span(self.nanos * factor)

    def text(self) -> str:
        """Seconds, such as ``5400s`` or ``-2.5s``."""
        seconds, nanos = divmod(abs(self.nanos), _NANOS)
        sign = "-" if self.nanos < 0 else ""
        return f"{sign}{seconds}{_fraction(nanos)}s"

    def whole(self, unit: str) -> int:
        """How many whole units, cut toward zero."""
        count = abs(self.nanos) // _UNITS[unit]
        return -count if self.nanos < 0 else count


@dataclass(frozen=True, slots=True, order=True)
class Moment:
    """A timestamp in nanoseconds since 1970, from year 1 to 9999."""

    nanos: int

    def __post_init__(self) -> None:
        if not _SECONDS_MIN <= self.seconds <= _SECONDS_MAX:
            raise ExpressionFailed("a timestamp before year 1 or after year 9999")

    @classmethod
    def of_seconds(cls, seconds: int) -> "Moment":
        """So many seconds after 1970."""
        return cls(seconds * _NANOS)

    @classmethod
    def parsed(cls, text: str) -> "Moment":
        """From RFC 3339, such as ``2026-11-25T12:00:00Z``."""
        refused = ExpressionFailed(
            "timestamp takes RFC 3339 such as '2026-11-25T12:00:00Z'; this text is none"
        )
        found = _RFC3339.fullmatch(text)
        if found is None:
            raise refused
        year, month, day, hour, minute, second = map(int, found.groups()[:6])
        try:
            at = datetime(year, month, day, hour, minute, second, tzinfo=UTC)
        except ValueError:
            raise refused from None
        fraction, sign, hours, minutes = found.groups()[6:]
        seconds = (at - _EPOCH) // timedelta(seconds=1)
        seconds -= _offset_seconds(sign or "", hours or "0", minutes or "0")
        return cls(seconds * _NANOS + int((fraction or "").ljust(9, "0")))

    @property
    def seconds(self) -> int:
        """Whole seconds since 1970."""
        return self.nanos // _NANOS

    def moved(self, span: Span) -> "Moment":
        """Later by a duration."""
        return Moment(self.nanos + span.nanos)

    def since(self, other: "Moment") -> Span:
        """The duration from another moment to this one."""
        return Span(self.nanos - other.nanos)

    def text(self) -> str:
        """RFC 3339 in UTC."""
        seconds, nanos = divmod(self.nanos, _NANOS)
        at = _EPOCH + timedelta(seconds=seconds)
        return f"{at.replace(tzinfo=None).isoformat()}{_fraction(nanos)}Z"

    def at(self, zone: str) -> datetime:
        """The calendar's view of it, in UTC or at an offset such as ``+02:00``."""
        seconds = self.seconds
        if zone not in ("", "UTC"):
            found = _OFFSET.fullmatch(zone)
            if found is None:
                message = "a time zone is 'UTC' or an offset such as '+02:00'"
                raise ExpressionFailed(f"{message}; this text is neither")
            seconds += _offset_seconds(found[1], found[2], found[3])
        try:
            return _EPOCH + timedelta(seconds=seconds)
        except OverflowError:
            message = "a timestamp before year 1 or after year 9999"
            raise ExpressionFailed(message) from None

    def millis(self) -> int:
        """Milliseconds within the second."""
        return self.nanos % _NANOS // 1_000_000


def _offset_seconds(sign: str, hours: str, minutes: str) -> int:
    seconds = int(hours) * 3600 + int(minutes) * 60
    return -seconds if sign == "-" else seconds


def _fraction(nanos: int) -> str:
    """Nanoseconds as digits behind the point; nothing when there are none."""
    return f".{nanos:09d}".rstrip("0") if nanos else ""
