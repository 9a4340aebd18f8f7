"""What a commit adds to the journal, and its form as text.

One entry is one JSON list: ``[{"type": "Began", ...}, ...]``. Payloads are pairs of
base64 and content type. A saga's definition is left out: the request carries its
digest, and the definition itself is stored once, under that digest.
"""

from collections.abc import Mapping
from typing import get_args

import msgspec

from coordinator.core.errors import InvariantViolated
from coordinator.core.events import Began, Event, is_journaled
from coordinator.core.model import TransactionRequest
from coordinator.ports import Change


class _Tag(msgspec.Struct):
    type: str


class _Began(msgspec.Struct):
    request: TransactionRequest


_encode = msgspec.json.Encoder().encode
_decode_items = msgspec.json.Decoder(tuple[msgspec.Raw, ...]).decode
_decode_tag = msgspec.json.Decoder(_Tag).decode
_decode_began = msgspec.json.Decoder(_Began).decode
_decode_mappings = msgspec.json.Decoder(tuple[dict[str, object], ...]).decode

_OTHERS: tuple[type[Event], ...] = tuple(set(get_args(Event)) - {Began})
_DECODERS: Mapping[str, msgspec.json.Decoder[Event]] = {
    kind.__name__: msgspec.json.Decoder(kind) for kind in _OTHERS
}
_HEADS: Mapping[type[Event], bytes] = {
    kind: f'{{"type":"{kind.__name__}",'.encode() for kind in (Began, *_OTHERS)
}


def journal_entry(change: Change) -> str | None:
    """The text of the entry that this change adds; ``None`` when it adds none.

    Raises:
        InvariantViolated: the change would leave a gap in the journal (T11), or is
            no step from its stored state.
    """
    facts = [event for event in change.events if is_journaled(event)]
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
    return encode_events(facts) if facts else None


def encode_events(facts: list[Event]) -> str:
    """The JSON text of one entry."""
    return f"[{','.join([_encode_one(event) for event in facts])}]"


def decode_events(text: str) -> tuple[Event, ...]:
    """The facts of one entry, as they were, but for ``Began.definition`` (None).

    Raises:
        InvariantViolated: the text is no journal entry of this version or before.
    """
    try:
        return tuple(_decode_one(raw) for raw in _decode_items(text))
    except (msgspec.MsgspecError, KeyError):
        failure = "the journal holds something that this version cannot read"
    raise InvariantViolated(failure)


def decode_mappings(text: str) -> tuple[Mapping[str, object], ...]:
    """The facts of one entry as plain values, for people."""
    return _decode_mappings(text)


def _encode_one(event: Event) -> str:
    fields = {"request": event.request} if isinstance(event, Began) else event
    # Every event has a field, so the head's comma is always followed by one.
    return (_HEADS[type(event)] + _encode(fields)[1:]).decode()


def _decode_one(raw: msgspec.Raw) -> Event:
    kind = _decode_tag(raw).type
    if kind == Began.__name__:
        return Began(_decode_began(raw).request, None)
    return _DECODERS[kind].decode(raw)
