"""Durations as people write them: ``250ms``, ``30s``, ``5m``, ``1d``, ``PT30S``."""

import re
from typing import Final

DURATION_MAX_MS: Final = 365 * 24 * 3_600_000

DURATION_PATTERN: Final = (
    r"^([0-9]{1,12}(ms|s|m|h|d)"
    r"|P(?=[0-9T])([0-9]{1,6}D)?(T(?=[0-9])([0-9]{1,9}H)?([0-9]{1,9}M)?"
    r"([0-9]{1,9}([.][0-9]{1,3})?S)?)?)$"
)
"""For editors; the reader below accepts exactly the same spellings."""

_UNITS: Final = {"ms": 1, "s": 1000, "m": 60_000, "h": 3_600_000, "d": 86_400_000}
_SHORT = re.compile(r"([0-9]{1,12})(ms|s|m|h|d)", re.ASCII)
_ISO = re.compile(
    r"P(?=[0-9T])(?:([0-9]{1,6})D)?"
    r"(?:T(?=[0-9])(?:([0-9]{1,9})H)?(?:([0-9]{1,9})M)?"
    r"(?:([0-9]{1,9})(?:[.]([0-9]{1,3}))?S)?)?"
)


def parse_duration(text: str) -> int | None:
    """Milliseconds, or ``None`` when the text is no duration."""
    if short := _SHORT.fullmatch(text):
        return int(short[1]) * _UNITS[short[2]]
    if iso := _ISO.fullmatch(text):
        days, hours, minutes, seconds = (int(iso[n] or 0) for n in range(1, 5))
        fraction = int((iso[5] or "").ljust(3, "0"))
        return (((days * 24 + hours) * 60 + minutes) * 60 + seconds) * 1000 + fraction
    return None


def format_duration(milliseconds: int) -> str:
    """The shortest spelling that is exact: ``90s``, ``5m``, ``250ms``."""
    for unit in ("d", "h", "m", "s"):
        if milliseconds and milliseconds % _UNITS[unit] == 0:
            return f"{milliseconds // _UNITS[unit]}{unit}"
    return f"{milliseconds}ms"
