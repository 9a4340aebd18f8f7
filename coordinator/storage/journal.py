"""What a commit adds to the journal, its form as text, and how it is read.

The facts of one entry are one JSON list: ``[{"type": "Began"}, ...]``; the type is the
tag that :mod:`coordinator.core.events` gives each fact. Payloads are pairs of base64
and content type. Of ``Began`` nothing more is written: what was asked never changes and
stands in the transaction's row, and its definition is stored once, under the digest
that the request carries. Entries of before have the request as well.

An entry that has a row of its own has its number and its instant in columns. Several
that stand in one text are a line each, ``[number, instant, facts]``, in any order.
"""

from collections.abc import Iterable, Mapping, Sequence
from functools import reduce
from operator import attrgetter, or_
from types import GenericAlias
from typing import Any, TypeAlias, get_args

import msgspec

from coordinator.core.errors import InvariantViolated
from coordinator.core.events import THINNED, Began, Event, is_journaled
from coordinator.core.model import Instant, TransactionRequest
from coordinator.ports import Change, JournalEntry


class _StoredBegan(msgspec.Struct, tag="Began"):
    pass


class _ShownBegan(msgspec.Struct, tag="Began"):
    request: TransactionRequest


_KINDS = (_ShownBegan, *(set(get_args(Event)) - {Began}))
_FACTS: Any = GenericAlias(tuple, (reduce(or_, _KINDS), ...))

_STORED_BEGAN = _StoredBegan()

_Mappings: TypeAlias = tuple[dict[str, object], ...]

_encode = msgspec.json.Encoder().encode
_decode_facts = msgspec.json.Decoder(_Mappings).decode
_decode_lines = msgspec.json.Decoder(tuple[int, Instant, _Mappings]).decode_lines

_UNREADABLE = "the journal holds something that this version cannot read"


def journal_entry(change: Change) -> str | None:
    """The facts of the entry that this change adds; ``None`` when it adds none.

    Raises:
        InvariantViolated: the change would leave a gap in the journal (T11), or is
            no step from its stored state.
    """
    before, after = change.before, change.after
    facts: Sequence[object] = change.events
    if not THINNED.isdisjoint(map(type, facts)):
        facts = [fact for fact in change.events if is_journaled(fact)]
    if before is None:
        revision = seq = 0
        facts = _as_stored(facts)
    else:
        revision, seq = before.revision, before.journal_seq
        if before.branches_apart and not after.branches_apart:
            raise InvariantViolated(
                f"{change.key.gid}: branches with rows of their own cannot give them up"
            )
    if after.revision != revision + 1:
        raise InvariantViolated(
            f"{change.key.gid}: revision {after.revision} cannot follow {revision}"
        )
    if after.journal_seq != (seq + 1 if facts else seq):
        raise InvariantViolated(
            f"{change.key.gid}: journal entry {after.journal_seq} with {len(facts)} "
            f"facts cannot follow entry {seq}"
        )
    return _encode(facts).decode() if facts else None


def journal_line(seq: int, at: Instant, facts: str) -> str:
    """An entry where several stand in one text."""
    return f"[{seq},{at},{facts}]\n"


def read_journal(
    request: TransactionRequest,
    lines: str,
    rows: Iterable[tuple[int, Instant, str]],
) -> list[JournalEntry]:
    """All entries of one transaction, in order of ``seq``, for people.

    Args:
        request: what was asked; the first entry shows it.
        lines: entries that stand in one text.
        rows: the others: number, instant and facts.

    Raises:
        InvariantViolated: one of them is no journal entry.
    """
    try:
        found = _decode_lines(lines)
        found += [(seq, at, _decode_facts(facts)) for seq, at, facts in rows]
    except msgspec.MsgspecError:
        failure = _UNREADABLE
    else:
        entries = [
            JournalEntry(seq, at, tuple(_shown(fact, request) for fact in facts))
            for seq, at, facts in found
        ]
        return sorted(entries, key=attrgetter("seq"))
    raise InvariantViolated(failure)


def facts_of(entry: JournalEntry) -> tuple[Event, ...]:
    """The facts of one entry, as they were, but for ``Began.definition`` (None).

    Raises:
        InvariantViolated: they are none of this version or before.
    """
    try:
        facts: tuple[Event | _ShownBegan, ...] = msgspec.convert(entry.events, _FACTS)
    except msgspec.MsgspecError:
        failure = _UNREADABLE
    else:
        return tuple(
            Began(fact.request, None) if isinstance(fact, _ShownBegan) else fact
            for fact in facts
        )
    raise InvariantViolated(failure)


def _as_stored(facts: Sequence[object]) -> Sequence[object]:
    """Of a transaction that begins, ``Began`` is the first."""
    if facts and isinstance(facts[0], Began):
        return [_STORED_BEGAN, *facts[1:]]
    return facts


def _shown(
    fact: Mapping[str, object], request: TransactionRequest
) -> Mapping[str, object]:
    if fact.get("type") != "Began":
        return fact
    return {**fact, "request": msgspec.json.decode(_encode(request))}
