"""The local transaction of a call: barrier row and business change, both or neither.

``LocalTransaction`` is one database transaction that several calls may share
(SQLite), or that one call has to itself (elsewhere). ``CallScope`` is one call in
it, fenced by a savepoint: what a failed call did is undone without touching the
others. What cannot be fenced, because the handler or the database ended the
transaction, is ``Poisoned``: then everything is rolled back.
"""

import time
from contextlib import suppress
from typing import Any, NamedTuple

from sqlalchemy import Connection, Engine, event
from sqlalchemy.engine import ExceptionContext
from sqlalchemy.orm import Session

from participant_sdk.barrier import rules
from participant_sdk.barrier.rules import Outcome, Slot
from participant_sdk.barrier.sql import SqlBarrier
from participant_sdk.errors import HandlerMisuse
from participant_sdk.executor.call import Job, Rejected, log_failure
from participant_sdk.executor.conflict import (
    Poisoned,
    database_error,
    gave_way,
    poisoned_by,
)
from participant_sdk.executor.outcome import (
    CallOutcome,
    Done,
    Failed,
    Later,
    outcome_of_record,
    outcome_of_rejection,
    record_of,
)
from participant_sdk.payload import Encoded
from participant_sdk.server import commits_by_itself
from participant_sdk.sqlite import IMMEDIATE

_ERROR_SEEN = "tercet_error_seen"
_GAVE_WAY = "tercet_gave_way"
_HANDLER_RUNS = "tercet_handler_runs"

_SAVEPOINT = "SAVEPOINT tercet_call"
_RELEASE = "RELEASE SAVEPOINT tercet_call"
_UNDO = "ROLLBACK TO SAVEPOINT tercet_call"

_LOST = Failed(
    "TRANSACTION_LOST",
    "the local transaction ended before its time: the handler committed or rolled "
    "back by itself, or the database gave up",
)
_SWALLOWED = Failed(
    "DATABASE_ERROR", "the handler went on after a database error; all is undone"
)
_NESTED = Failed(
    "HANDLER_MISUSE",
    "the handler left a nested transaction open: use begin_nested() with `with`",
)
_AUTOCOMMIT = Failed(
    "HANDLER_MISUSE",
    "the connection is in autocommit, which keeps no two statements together: make the "
    "engine without isolation_level='AUTOCOMMIT'",
)


def _note_error(context: ExceptionContext) -> None:
    if context.connection is None or context.connection.invalidated:
        return
    error, info = context.original_exception, context.connection.info
    info[_ERROR_SEEN] = True
    if gave_way(error):
        info[_GAVE_WAY] = database_error(error)


def _guard_end(connection: Connection) -> None:
    if not connection.invalidated and connection.info.get(_HANDLER_RUNS):
        raise HandlerMisuse


class GuardedSession(Session):
    """A session whose transaction belongs to the barrier.

    Closing it would silently undo what it has flushed, so only the barrier may.
    """

    def commit(self) -> None:
        """Refused: returning commits."""
        raise HandlerMisuse

    def rollback(self) -> None:
        """Refused: raising rolls back."""
        raise HandlerMisuse

    def close(self) -> None:
        """Refused: it ends with the call."""
        raise HandlerMisuse


class LocalTransaction:
    """An open database transaction, for one call or a batch of them."""

    def __init__(self, connection: Connection, barrier: SqlBarrier) -> None:
        self.connection = connection
        self.barrier = barrier
        self._root = connection.begin()
        self.cursor: Any = connection.connection.cursor()
        self.info = connection.info
        self.now_ms = time.time_ns() // 1_000_000

    @property
    def is_whole(self) -> bool:
        """Nobody but the barrier has ended the transaction."""
        return self._root.is_active and not self.connection.invalidated

    def commit(self) -> None:
        """Make it durable.

        Raises:
            Exception: whatever the driver raises; the outcome is then unknown.
        """
        self.cursor.close()
        self._root.commit()

    def roll_back(self) -> None:
        """Undo all that is not committed, and never use this connection again."""
        # It may be broken in any way; the database rolls back what it loses.
        with suppress(Exception):
            self.connection.connection.rollback()
        with suppress(Exception):
            self.connection.invalidate()
        with suppress(Exception):
            self.connection.close()


class LocalDatabase:
    """Connections of one engine, ready for local transactions."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine
        self._barrier = SqlBarrier(engine.dialect)
        self.is_sqlite = engine.dialect.name == "sqlite"
        if not event.contains(engine, "handle_error", _note_error):
            event.listen(engine, "handle_error", _note_error)
            event.listen(engine, "commit", _guard_end)
            event.listen(engine, "rollback", _guard_end)

    def connect(self) -> Connection:
        """A connection for local transactions, the caller's to close.

        Raises:
            Poisoned: there is none to be had.
        """
        try:
            connection = self._engine.connect()
            if self.is_sqlite:
                connection = connection.execution_options(**{IMMEDIATE: True})
        except Exception as error:
            raise poisoned_by(error) from error
        return connection

    def begin(self, connection: Connection) -> LocalTransaction:
        """A new local transaction on ``connection``.

        Raises:
            Poisoned: the database failed, or there would be no transaction.
        """
        try:
            is_split = commits_by_itself(connection)
            if not is_split:
                return LocalTransaction(connection, self._barrier)
        except Exception as error:
            raise poisoned_by(error) from error
        raise Poisoned(_AUTOCOMMIT)


class LetIn(NamedTuple):
    """The handler may run.

    Attributes:
        recorded: what the try or action answered; ``None`` if it is not known here.
        resumes: an earlier attempt's intent stands, and stays if this one fails.
        replaces: the recorded refusal, which stands again if this attempt fails.
    """

    recorded: Encoded | None
    resumes: bool
    replaces: rules.Record | None


_ANSWERED = (Outcome.SUCCEEDED, Outcome.REFUSED)


def read_verdict(verdict: rules.Verdict, job: Job) -> LetIn:
    """What the barrier's verdict means for ``job``.

    Raises:
        Rejected: with the answer, without running anything.
    """
    match verdict:
        case rules.Run(forward, resumes, replaces):
            if forward is None or forward.outcome not in _ANSWERED:
                return LetIn(None, resumes, replaces)
            recorded = Encoded(forward.output, forward.content_type)
            return LetIn(recorded, resumes, replaces)
        case rules.Answer(record):
            raise Rejected(outcome_of_record(record))
        case rules.Bury():
            raise Rejected(Done())
        case rules.Reject():
            outcome = outcome_of_rejection(verdict)
            if verdict.alarming:
                log_failure(job, outcome)
            raise Rejected(outcome)


class CallScope:
    """One call inside a local transaction."""

    __slots__ = (
        "_job",
        "_replaces",
        "_resumes",
        "_session",
        "_slot",
        "_transaction",
        "recorded",
    )

    def __init__(self, transaction: LocalTransaction, job: Job) -> None:
        self._transaction = transaction
        self._job = job
        self._session: Session | None = None
        self._resumes = False
        self._replaces: rules.Record | None = None
        self._slot: Slot = Slot.FORWARD
        self.recorded: Encoded | None = None

    @property
    def connection(self) -> Connection:
        """For the handler; its transaction belongs to the barrier."""
        return self._transaction.connection

    @property
    def session(self) -> Session:
        """For the handler; made at first use."""
        if self._session is None:
            self._session = GuardedSession(
                bind=self.connection, join_transaction_mode="create_savepoint"
            )
        return self._session

    def adopt(self, session: Session) -> None:
        """Use ``session``, made elsewhere on the same connection."""
        self._session = session

    def enter(self) -> None:
        """Pass the barrier; afterwards the handler may run.

        Raises:
            Rejected: with the answer; nothing but a tombstone was written.
            Poisoned: the barrier's own statements failed.
        """
        transaction, job = self._transaction, self._job
        try:
            admission = transaction.barrier.admit(
                transaction.cursor,
                job.key,
                known_done=job.known_done,
                began_at_ms=job.began_at_ms,
                now_ms=transaction.now_ms,
                reconsider=job.reconsider,
            )
            let_in = read_verdict(admission.verdict, job)
            self.recorded, self._resumes, self._replaces = let_in
            # Whoever is let in holds a claim; a tombstone's holder is answered above.
            self._slot = admission.slot or Slot.FORWARD
            transaction.info.pop(_ERROR_SEEN, None)
            transaction.info.pop(_GAVE_WAY, None)
            transaction.cursor.execute(_SAVEPOINT)
        except Rejected:
            raise
        except Exception as error:  # a driver's error of any kind
            raise poisoned_by(error) from error
        job.context.nested_count = 0  # an earlier run's children were the same ones
        job.context._work = self  # noqa: SLF001  # the context's other half
        transaction.info[_HANDLER_RUNS] = True

    def leave(self, outcome: CallOutcome) -> CallOutcome:
        """Keep or undo what the handler did, and record its answer.

        Raises:
            Poisoned: somebody else ended the transaction.
        """
        transaction, key = self._transaction, self._job.key
        self._job.context._work = None  # noqa: SLF001  # the handler is over
        if not transaction.is_whole:
            raise Poisoned(_LOST)
        transaction.info[_HANDLER_RUNS] = False
        if _is_kept(outcome) and self._is_nested():
            raise Poisoned(_NESTED)
        # Then it may be rolled back already, whatever the handler made of that.
        self._check_gave_way()
        if _is_kept(outcome):
            outcome = self._flush(outcome)
        try:
            if self._session is not None:
                Session.close(self._session)
            while nested := self.connection.get_nested_transaction():
                nested.rollback()
            if not _is_kept(outcome):
                transaction.cursor.execute(_UNDO)
            transaction.cursor.execute(_RELEASE)
            record = record_of(key.phase, outcome) or self._replaces
            if record is not None:
                transaction.barrier.settle(transaction.cursor, key, self._slot, record)
            elif not self._resumes:
                transaction.barrier.drop(transaction.cursor, key, self._slot)
        except Exception as error:  # a driver's error of any kind
            raise Poisoned(_LOST) from error
        return outcome

    def _check_gave_way(self) -> None:
        lost = self._transaction.info.pop(_GAVE_WAY, None)
        if lost is not None:
            raise Poisoned(lost, gave_way=True)

    def _is_nested(self) -> bool:
        """A nested transaction of the handler's is still open."""
        if self._session is None:
            return self.connection.in_nested_transaction()
        return self._session.in_nested_transaction()

    def _flush(self, outcome: CallOutcome) -> CallOutcome:
        """Write what the session still holds; any database error undoes all (B8)."""
        failed: Failed | None = None
        if self._session is not None:
            try:
                Session.commit(self._session)
            except Exception as error:  # noqa: BLE001  # also a mapper's own errors
                self._check_gave_way()
                failed = database_error(error)
        if failed is None and self._transaction.info.pop(_ERROR_SEEN, None):
            failed = _SWALLOWED
        if failed is None:
            return outcome
        log_failure(self._job, failed)
        return failed


def _is_kept(outcome: CallOutcome) -> bool:
    """What the handler changed stays."""
    return isinstance(outcome, Done) or outcome == Later()
