"""What a commit adds to the journal, and its form as text.

One entry is one JSON list: ``[{"type": "Began", ...}, ...]``; the type is the tag that
:mod:`coordinator.core.events` gives each fact. Payloads are pairs of base64 and content
type. A saga's definition is left out: the request carries its digest, and the
definition itself is stored once, under that digest.
"""

from collections.abc import Callable, Mapping, Sequence
from functools import reduce
from operator import or_
from types import GenericAlias
from typing import Any, TypeAlias, get_args

import msgspec

from coordinator.core.errors import InvariantViolated
from coordinator.core.events import THINNED, Began, Event, is_journaled
from coordinator.core.model import TransactionRequest
from coordinator.ports import Change


class _Began(msgspec.Struct, tag="Began"):
    request: TransactionRequest


_KINDS = (_Began, *(set(get_args(Event)) - {Began}))
_ENTRY: Any = GenericAlias(tuple, (reduce(or_, _KINDS), ...))

_UNLIKE_THEIR_ENTRY = THINNED | {Began}
"""Facts of all other kinds are always kept, and as they are."""

_encode = msgspec.json.Encoder().encode
_Decode: TypeAlias = Callable[[str], tuple[Event | _Began, ...]]
_decode: _Decode = msgspec.json.Decoder(_ENTRY).decode
_decode_mappings = msgspec.json.Decoder(tuple[dict[str, object], ...]).decode


def journal_entry(change: Change) -> str | None:
    """The text of the entry that this change adds; ``None`` when it adds none.

    Raises:
        InvariantViolated: the change would leave a gap in the journal (T11), or is
            no step from its stored state.
    """
    facts: Sequence[object] = change.events
    if not _UNLIKE_THEIR_ENTRY.isdisjoint(map(type, facts)):
        facts = _stored(change.events)
    before, after = change.before, change.after
    revision, seq = (before.revision, before.journal_seq) if before else (0, 0)
    if after.revision != revision + 1:
        raise InvariantViolated(
            f"{change.key.gid}: revision {after.revision} cannot follow {revision}"
        )
    if after.journal_seq != seq + bool(facts):
        raise InvariantViolated(
            f"{change.key.gid}: journal entry {after.journal_seq} with {len(facts)} "
            f"facts cannot follow entry {seq}"
        )
    if before and before.branches_apart and not after.branches_apart:
        raise InvariantViolated(
            f"{change.key.gid}: branches with rows of their own cannot give them up"
        )
    return _encode(facts).decode() if facts else None


def decode_events(text: str) -> tuple[Event, ...]:
    """The facts of one entry, as they were, but for ``Began.definition`` (None).

    Raises:
        InvariantViolated: the text is no journal entry of this version or before.
    """
    try:
        stored = _decode(text)
    except msgspec.MsgspecError:
        failure = "the journal holds something that this version cannot read"
    else:
        return tuple(
            Began(fact.request, None) if isinstance(fact, _Began) else fact
            for fact in stored
        )
    raise InvariantViolated(failure)


def decode_mappings(text: str) -> tuple[Mapping[str, object], ...]:
    """The facts of one entry as plain values, for people."""
    return _decode_mappings(text)


def _stored(events: Sequence[Event]) -> list[object]:
    return [
        _Began(event.request) if isinstance(event, Began) else event
        for event in events
        if is_journaled(event)
    ]
