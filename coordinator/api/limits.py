"""What one request, one session and one reply may be: every limit, and why."""

from dataclasses import dataclass

KIB = 1024
MIB = 1024 * KIB
SECOND_MS = 1_000
HOUR_MS = 3_600 * SECOND_MS
DAY_MS = 24 * HOUR_MS


@dataclass(frozen=True, slots=True, kw_only=True)
class Limits:
    """Limits of the wire. Anything above one is refused before a row exists.

    Attributes:
        message_bytes_max: one message or frame, in either direction.
        payload_bytes_max: one payload; two of them and a call's head fit a message.
        branches_max: branches in one request.
        labels_bytes_max: all labels of a transaction, keys and values together.
        deadline_ms_default: of a TCC transaction that names none.
        deadline_ms_max: of any transaction; what waits longer is not a transaction.
        timeout_ms_default: one attempt at a branch that names none.
        timeout_ms_max: one attempt; longer work answers "pending" instead.
        attempts_default: forward attempts at a branch that names none.
        attempts_max: forward attempts at a branch.
        pending_ms_max: how long a try may stay pending; as long as any transaction.
        text_chars_max: reasons and error texts; participants' longer ones are cut.
        page_default: transactions in a listing that names no limit.
        page_max: transactions in one listing.
        operations_max: operations in one hello, which are all of a participant.
        catalogue_max: operations of a namespace, all of which are kept in memory.
        catalogue_bytes_max: their schemas and descriptions together.
        schema_bytes_max: one JSON Schema of an operation.
        request_credits: unanswered requests of one session.
        call_credits_default: open calls of a participant that names no number.
        call_credits_max: open calls of one participant's session.
        frame_items_max: items in one server frame. A frame is written a turn of the
            event loop, and under overload there are ten turns in a second: with 512
            items the calls of what was taken on waited here until it was too late.
        frame_bytes_max: of one server frame, unless a single item is larger.
        outbox_bytes_max: what may wait for a client that does not read before the
            session stops reading from it.
        hello_timeout_ms: for the first frame of a session.
        keep_finished_ms: how long a finished transaction stays answerable; ``None`` =
            as long as nobody removes it by hand.
    """

    message_bytes_max: int = MIB
    payload_bytes_max: int = 256 * KIB
    branches_max: int = 1_000
    labels_bytes_max: int = 8 * KIB
    deadline_ms_default: int = 60 * SECOND_MS
    deadline_ms_max: int = 30 * DAY_MS
    timeout_ms_default: int = 3 * SECOND_MS
    timeout_ms_max: int = HOUR_MS
    attempts_default: int = 5
    attempts_max: int = 100
    pending_ms_max: int = 30 * DAY_MS
    text_chars_max: int = 1_000
    page_default: int = 50
    page_max: int = 1_000
    operations_max: int = 500
    catalogue_max: int = 10_000
    catalogue_bytes_max: int = 64 * MIB
    schema_bytes_max: int = 64 * KIB
    request_credits: int = 4_096
    call_credits_default: int = 256
    call_credits_max: int = 10_000
    frame_items_max: int = 8_192
    frame_bytes_max: int = 900 * KIB
    outbox_bytes_max: int = 8 * MIB
    hello_timeout_ms: int = 10 * SECOND_MS
    keep_finished_ms: int | None = None
