"""How facts, calls and answers are told in a transcript: the same value, one line."""

import json
from collections import Counter
from collections.abc import Iterator
from enum import Enum

from msgspec import NODEFAULT
from msgspec.structs import fields

from coordinator.core.actions import CallBranch
from coordinator.core.definition import BranchKind
from coordinator.core.errors import CoordinatorError, Refusal
from coordinator.core.events import Event
from coordinator.core.model import (
    Branch,
    BranchSpec,
    GlobalTransaction,
    Instant,
    Payload,
    TransactionRequest,
)
from coordinator.engine.resident import Answer

BRANCHES_SHOWN_MAX = 8
"""More of them are counted."""

_SECOND, _MINUTE = 1_000, 60_000


def duration(ms: int) -> str:
    """``153ms``, ``2s``, ``1.5s``, ``10m``."""
    if abs(ms) < _SECOND:
        return f"{ms}ms"
    if ms % _MINUTE == 0:
        return f"{ms // _MINUTE}m"
    return f"{ms / _SECOND:.3f}".rstrip("0").rstrip(".") + "s"


def milliseconds(text: str) -> int:
    """The other way round."""
    for unit, factor in (("ms", 1), ("s", _SECOND), ("m", _MINUTE)):
        number = text.removesuffix(unit)
        if number != text and number.replace(".", "", 1).isdigit():
            return round(float(number) * factor)
    raise ValueError(f"{text!r} is no duration such as 500ms, 2s or 10m")


def fact(event: Event, now: Instant) -> str:
    """``AttemptFailed a attempts=1 due=+153ms code=TIMEOUT``."""
    return " ".join([type(event).__name__, *_values(event, now, {"at", "definition"})])


def call(what: CallBranch) -> str:
    """``TRY a attempt=1 a.move``."""
    words = [what.phase.value, what.branch_id, f"attempt={what.attempt}"]
    words.append(what.operation)
    if what.input.data != b"{}":
        words.append(f"input={_text(what.input) or 'none'}")
    if what.output.data:
        words.append(f"output={_text(what.output)}")
    if what.depth:
        words.append(f"depth={what.depth}")
    return " ".join(words)


def answer(what: Answer) -> str:
    """What somebody who asked is told."""
    if isinstance(what, Refusal):
        at = f" ({what.field})" if what.field else ""
        return f"{what.reason} {what.detail_reason}{at}: {what}"
    if isinstance(what, CoordinatorError):
        return f"{what.reason}: {what}"
    words = [what.status.value]
    if what.reason_code:
        words.append(f"reason={what.reason_code}")
    words += _branches(what)
    if what.output.data:
        words.append(f"output={_text(what.output)}")
    return " ".join(words)


def state(tx: GlobalTransaction, now: Instant) -> Iterator[str]:
    """The stored state, a line a branch."""
    skipped = {"request", "branches", "revision", "journal_seq", "definition"}
    skipped |= {"owner", "updated_at", "finished_at", "open", "branches_apart"}
    yield " ".join(_values(tx, now, skipped))
    if len(tx.branches) > BRANCHES_SHOWN_MAX:
        yield " ".join(_branches(tx))
        return
    for name, branch in tx.branches.items():
        words = _values(branch, now, {"spec", "started_at", "finished_at"})
        yield " ".join([name, *words])


def _branches(tx: GlobalTransaction) -> list[str]:
    if len(tx.branches) <= BRANCHES_SHOWN_MAX:
        return [f"{name}={b.status.value}" for name, b in tx.branches.items()]
    counts = Counter(b.status.value for b in tx.branches.values())
    return [f"{count}x{status}" for status, count in counts.items()]


def _values(
    of: Event | TransactionRequest | GlobalTransaction | Branch,
    now: Instant,
    skipped: set[str],
) -> Iterator[str]:
    """Every field but those that are empty or as usual."""
    for field in fields(of):
        value = getattr(of, field.name)
        is_empty = value is None or value is False or value in ("", Payload(), ())
        if field.name in skipped or is_empty:
            continue
        if field.default is not NODEFAULT and value == field.default:
            continue
        yield _value(field.name, value, now)


def _value(name: str, value: object, now: Instant) -> str:
    match value:
        case TransactionRequest():
            skipped = {"key", "digest", "created_at", "definition_digest"}
            return " ".join(_values(value, now, skipped))
        case BranchSpec():
            return _spec(value)
        case Payload():
            return f"{name}={_text(value)}"
        case True:
            return name
        case Enum():
            return str(value.value)
        case int() if name.endswith(("_at", "_since")):
            sign = "+" if value >= now else "-"
            return f"{name.removesuffix('_at')}={sign}{duration(abs(value - now))}"
        case str() if name in ("branch_id", "name"):
            return value
        case str():
            is_plain = value.isascii() and " " not in value
            return f"{name}={value if is_plain else json.dumps(value)}"
        case _:
            return f"{name}={value}"


def _spec(value: BranchSpec) -> str:
    words = [value.branch_id, value.operation]
    if value.kind not in (BranchKind.TCC, BranchKind.CALL):
        words = [value.branch_id, value.kind.value]
    if value.input.data != b"{}":
        words.append(f"input={_text(value.input) or 'none'}")
    if value.parent_branch_id:
        words.append(f"inside {value.parent_branch_id}")
    if value.expires_ms:
        words.append(f"expires={duration(value.expires_ms)}")
    return " ".join(words)


def _text(payload: Payload) -> str:
    return payload.data.decode()
