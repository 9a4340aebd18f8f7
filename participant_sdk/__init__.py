"""Take part in distributed transactions, and begin them.

A participant declares its operations with decorators and serves them from behind
its own firewall; an initiator calls them together. See the README for both.
"""

from participant_sdk.barrier.table import create_barrier_table
from participant_sdk.client import Client, connect
from participant_sdk.context import Context, current
from participant_sdk.errors import (
    AlreadyExists,
    InvalidRequest,
    NotFound,
    Overloaded,
    Pending,
    PreconditionFailed,
    Refused,
    Retry,
    TercetError,
    TransactionCancelled,
    Unavailable,
)
from participant_sdk.participant import Participant
from participant_sdk.sqlite import prepare_sqlite
from participant_sdk.transaction import Call, TransactionResult

__all__ = [
    "AlreadyExists",
    "Call",
    "Client",
    "Context",
    "InvalidRequest",
    "NotFound",
    "Overloaded",
    "Participant",
    "Pending",
    "PreconditionFailed",
    "Refused",
    "Retry",
    "TercetError",
    "TransactionCancelled",
    "TransactionResult",
    "Unavailable",
    "connect",
    "create_barrier_table",
    "current",
    "prepare_sqlite",
]
