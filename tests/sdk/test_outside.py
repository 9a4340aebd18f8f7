"""Effects outside of the database: intent first, answer afterwards (F-15, B9, P10)."""

import asyncio
import threading
from collections import Counter

import pytest
from sqlalchemy import create_engine, event, text
from sqlalchemy.ext.asyncio import create_async_engine
from structlog.testing import capture_logs

from participant_sdk import (
    InvalidRequest,
    Participant,
    Pending,
    Refused,
    create_barrier_table,
)
from participant_sdk.barrier import purge_barrier
from participant_sdk.executor.executor import Executor
from tests.sdk.bank import (
    ACTION,
    CANCEL,
    COMPENSATION,
    CONFIRM,
    OK,
    TRY,
    ask,
    call,
    told,
)


class Shelf:
    """Rooms that are held at somebody else's, who knows no transactions.

    Attributes:
        held: by idempotency key of the try; what the world outside sees.
        called: how often each phase's handler ran.
        before: called by every handler after its effect; a test makes it raise.
    """

    def __init__(self, engine, *, is_async):
        self.engine = engine
        self.held = set()
        self.called = Counter()
        self.keys = []
        self.outputs = []
        self.before = lambda ctx: None
        self.participant = Participant("hotel", database=engine)
        (self._declare_async if is_async else self._declare)()

    def executor(self):
        return Executor(self.participant._registry, self.engine)

    def _try(self, ctx, request):
        self.called[ctx.phase] += 1
        self.keys.append(ctx.idempotency_key)
        self.held.add(ctx.gid)
        self.before(ctx)
        if request.get("refuse"):
            self.held.discard(ctx.gid)
            raise Refused("FULL")
        return {"room": 7}

    def _second(self, ctx, request, output):
        self.called[ctx.phase] += 1
        self.keys.append(ctx.idempotency_key)
        self.outputs.append(output)
        if ctx.phase in ("CANCEL", "COMPENSATION"):
            self.held.discard(ctx.gid)
        self.before(ctx)

    def _declare(self):
        def first(ctx, request):
            return self._try(ctx, request)

        def act(ctx, request):
            return self._try(ctx, request)

        def second(ctx, request, output):
            self._second(ctx, request, output)

        self._register(first, act, second)

    def _declare_async(self):
        async def first(ctx, request):
            return self._try(ctx, request)

        async def act(ctx, request):
            return self._try(ctx, request)

        async def second(ctx, request, output):
            self._second(ctx, request, output)

        self._register(first, act, second)

    def _register(self, first, act, second):
        hold = self.participant.tcc("hold", transactional=False)(first)
        hold.confirm(second)
        hold.cancel(second)
        self.participant.action("book", transactional=False)(act).compensate(second)


def fail(error):
    """A ``before`` that raises after the effect outside."""

    def before(ctx):
        raise error

    return before


@pytest.fixture(params=["def", "async def", "AsyncEngine"])
async def shelf(request, tmp_path):
    """A hotel, on each kind of engine and handler."""
    path = tmp_path / "hotel.db"
    engine = create_engine(f"sqlite:///{path}")
    create_barrier_table(engine)
    if request.param == "AsyncEngine":
        engine.dispose()
        engine = create_async_engine(f"sqlite+aiosqlite:///{path}")
    made = Shelf(engine, is_async=request.param != "def")
    yield made
    if request.param == "AsyncEngine":
        await engine.dispose()
    else:
        engine.dispose()


@pytest.fixture
async def executor(shelf):
    made = shelf.executor()
    yield made
    await made.close()


def hold(phase, gid="g1", **body):
    return call(phase, gid, operation="hotel.hold", body=body)


async def one(executor, asked):
    (reply,) = await ask(executor, asked)
    return told(reply)


UNKNOWN = ("failed", "HANDLER_ERROR")


async def test_a_cancel_after_an_unknown_try_runs(shelf, executor):
    """F-15, B9, P10: the try's effect outside is there, so the cancel is not empty."""
    shelf.before = fail(TimeoutError())
    assert await one(executor, hold(TRY)) == UNKNOWN
    assert shelf.held == {"g1"}
    shelf.before = lambda ctx: None
    for _ in range(2):
        assert await one(executor, hold(CANCEL)) == OK
    assert not shelf.held
    assert shelf.called == {"TRY": 1, "CANCEL": 1}
    assert shelf.outputs == [None], "nobody knows what the try would have answered"
    assert await one(executor, hold(TRY)) == ("refused", "BRANCH_CANCELLED")


async def test_a_compensation_after_an_unknown_action_runs(shelf, executor):
    """F-15, B9, S3: the same for a saga's step."""
    shelf.before = fail(TimeoutError())
    book = call(ACTION, operation="hotel.book", body={})
    assert await one(executor, book) == UNKNOWN
    shelf.before = lambda ctx: None
    undo = call(COMPENSATION, operation="hotel.book", body={"room": 7})
    assert await one(executor, undo) == OK
    assert not shelf.held
    assert await one(executor, book) == ("refused", "BRANCH_CANCELLED")


async def test_a_duplicate_after_success_gets_the_recorded_answer(shelf, executor):
    """F-7, B4, B9: the handler runs once, also for a restarted process."""
    for _ in range(2):
        (reply,) = await ask(executor, hold(TRY))
        assert reply.succeeded.output.data == b'{"room":7}'
    restarted = shelf.executor()
    assert await one(restarted, hold(TRY)) == OK
    await restarted.close()
    for _ in range(2):
        assert await one(executor, hold(CONFIRM)) == OK
    assert shelf.called == {"TRY": 1, "CONFIRM": 1}
    assert shelf.outputs == [{"room": 7}]


@pytest.mark.parametrize("phase", [TRY, CONFIRM, CANCEL])
async def test_a_duplicate_after_an_unknown_attempt_runs_again(shelf, executor, phase):
    """F-15, B9: with the same idempotency key, until an answer is recorded."""
    if phase != TRY:
        await one(executor, hold(TRY))
    shelf.keys.clear()
    shelf.before = fail(ConnectionError())
    for _ in range(2):
        assert await one(executor, hold(phase)) == UNKNOWN
    shelf.before = lambda ctx: None
    for _ in range(2):
        assert await one(executor, hold(phase)) == OK
    assert len(shelf.keys) == 3
    assert len(set(shelf.keys)) == 1


async def test_a_refusal_is_recorded_and_its_cancel_calls_nothing(shelf, executor):
    """B4, B9: a handler that refuses says that nothing of it remains."""
    for _ in range(2):
        assert await one(executor, hold(TRY, refuse=1)) == ("refused", "FULL")
    assert await one(executor, hold(CANCEL)) == OK
    assert shelf.called == {"TRY": 1}


async def test_an_empty_cancel_calls_nothing_and_bars_the_try(shelf, executor):
    """F-4, F-5, B2, B3, B9: no intent, so there was no try."""
    assert await one(executor, hold(CANCEL)) == OK
    assert await one(executor, hold(TRY)) == ("refused", "BRANCH_CANCELLED")
    assert not shelf.called


@pytest.mark.parametrize(
    ("history", "asked"),
    [([], CONFIRM), ([TRY, CANCEL], CONFIRM), ([TRY, CONFIRM], CANCEL)],
)
async def test_the_wrong_order_is_loud(shelf, executor, history, asked):
    """F-8 to F-10, B5, B9: and no handler is called."""
    for phase in history:
        await one(executor, hold(phase))
    before = shelf.called.copy()
    assert await one(executor, hold(asked)) == ("failed", "WRONG_ORDER")
    assert before == shelf.called


async def test_a_confirm_after_an_unknown_try_is_loud(shelf, executor):
    """B5, B9: nobody has an answer that could be confirmed."""
    shelf.before = fail(TimeoutError())
    await one(executor, hold(TRY))
    assert await one(executor, hold(CONFIRM)) == ("failed", "WRONG_ORDER")
    assert shelf.called == {"TRY": 1}


async def test_pending_later_keeps_the_intent_and_pending_is_recorded(shelf, executor):
    """B9: polled until it answers; reported from outside, it is not asked again."""
    shelf.before = fail(Pending(retry_after=1))
    assert await one(executor, hold(TRY)) == ("pending", "")
    shelf.before = fail(Pending())
    for _ in range(2):
        assert await one(executor, hold(TRY)) == ("pending", "")
    assert shelf.called == {"TRY": 2}
    shelf.before = lambda ctx: None
    assert await one(executor, hold(CONFIRM)) == OK


async def test_the_handler_has_no_transaction_to_work_in(shelf, executor):
    """B9: what it wrote there would not be undone; it is told so."""
    shelf.before = lambda ctx: ctx.connection
    (reply,) = await ask(executor, hold(TRY))
    assert told(reply) == ("failed", "HANDLER_MISUSE")
    assert "transactional=False" in reply.failed.message


async def test_a_purge_keeps_intents(shelf, executor, tmp_path):
    """F-13, F-15, B3: an unknown attempt waits for whoever undoes it."""
    shelf.before = fail(TimeoutError())
    await one(executor, hold(TRY))
    engine = create_engine(f"sqlite:///{tmp_path / 'hotel.db'}")
    with engine.begin() as connection:
        connection.execute(text("UPDATE tercet_barrier SET created_at_ms = 1"))
    assert purge_barrier(engine) == 0
    engine.dispose()
    shelf.before = lambda ctx: None
    assert await one(executor, hold(CANCEL)) == OK
    assert not shelf.held


async def test_a_call_beyond_the_horizon_runs_nothing(shelf, executor, tmp_path):
    """F-13, B3, B9: the same horizon as for everybody."""
    engine = create_engine(f"sqlite:///{tmp_path / 'hotel.db'}")
    purge_barrier(engine)
    engine.dispose()
    assert await one(executor, hold(TRY)) == ("refused", "BRANCH_EXPIRED")
    assert not shelf.called


# ---- While it runs ------------------------------------------------------------------


@pytest.fixture
def hotel(tmp_path):
    """A hotel with plain handlers, on SQLite."""
    engine = create_engine(f"sqlite:///{tmp_path / 'hotel.db'}")
    create_barrier_table(engine)
    made = Shelf(engine, is_async=False)
    yield made
    engine.dispose()


async def test_a_running_try_is_not_overtaken_and_holds_nobody_up(hotel):
    """B6, B9: its branch is busy, others and the database are free meanwhile."""
    entered, release = threading.Event(), threading.Event()

    def wait(ctx):
        if ctx.gid == "g1" and ctx.phase == "TRY":
            entered.set()
            release.wait()

    hotel.before = wait
    executor = hotel.executor()
    running = asyncio.create_task(ask(executor, hold(TRY)))
    await asyncio.to_thread(entered.wait)
    for phase in (TRY, CANCEL):
        assert await one(executor, hold(phase)) == ("failed", "BARRIER_BUSY")
    assert await one(executor, hold(TRY, "g2")) == OK
    release.set()
    assert [told(r) for r in await running] == [OK]
    assert await one(executor, hold(CANCEL)) == OK
    await executor.close()
    assert hotel.held == {"g2"}


async def test_a_running_action_is_not_overtaken_by_another_operation(hotel):
    """B6, B9: also when what compensates it works in the database."""
    entered, release = threading.Event(), threading.Event()
    undone = []
    hotel.participant.action("undo")(lambda ctx, request: undone.append(ctx.gid))

    def wait(ctx):
        entered.set()
        release.wait()

    hotel.before = wait
    executor = hotel.executor()
    book = call(ACTION, operation="hotel.book", body={})
    running = asyncio.create_task(ask(executor, book))
    await asyncio.to_thread(entered.wait)
    undo = call(COMPENSATION, operation="hotel.undo", body={"room": 7})
    assert await one(executor, undo) == ("failed", "BARRIER_BUSY")
    release.set()
    assert [told(r) for r in await running] == [OK]
    for _ in range(2):
        assert await one(executor, undo) == OK
    assert undone == ["g1"]
    await executor.close()


async def test_two_calls_of_a_branch_in_one_frame_run_one(hotel):
    """B6, B9: the second is asked again, and then gets the recorded answer."""
    executor = hotel.executor()
    replies = await ask(executor, hold(TRY), hold(TRY))
    assert [told(r) for r in replies] == [OK, ("failed", "BARRIER_BUSY")]
    assert await one(executor, hold(TRY)) == OK
    assert hotel.called == {"TRY": 1}
    await executor.close()


async def test_a_try_that_is_overtaken_elsewhere_is_loud(hotel):
    """B3, B9: another process cancelled meanwhile: refused, and logged as an error."""
    elsewhere = hotel.executor()
    asked = []
    loop = asyncio.get_running_loop()

    def cancel_elsewhere(ctx):
        if ctx.phase == "TRY":
            asked.append(
                asyncio.run_coroutine_threadsafe(
                    one(elsewhere, hold(CANCEL)), loop
                ).result()
            )

    hotel.before = cancel_elsewhere
    executor = hotel.executor()
    with capture_logs() as logs:
        answer = await one(executor, hold(TRY))
    assert answer == ("refused", "BRANCH_CANCELLED")
    assert asked == [OK]
    assert [(e["log_level"], e["code"]) for e in logs] == [
        ("error", "BRANCH_CANCELLED")
    ]
    await elsewhere.close()
    await executor.close()


async def test_of_two_attempts_the_first_answer_counts(hotel):
    """B4, B9: another process was faster; both say the same."""
    elsewhere = hotel.executor()
    loop = asyncio.get_running_loop()

    def answer_elsewhere(ctx):
        if hotel.called["TRY"] == 1:
            reply = asyncio.run_coroutine_threadsafe(
                one(elsewhere, hold(TRY, refuse=1)), loop
            ).result()
            assert reply == ("refused", "FULL")

    hotel.before = answer_elsewhere
    executor = hotel.executor()
    assert await one(executor, hold(TRY)) == ("refused", "FULL")
    assert hotel.called["TRY"] == 2
    await elsewhere.close()
    await executor.close()


@pytest.mark.parametrize("step", [1, 2])
@pytest.mark.parametrize("moment", ["begin", "commit"])
async def test_a_database_that_fails_leaves_the_branch_to_be_asked_again(
    hotel, moment, step
):
    """F-15, B9: before the handler it did not run; after it, it runs again."""
    seen = []

    def fail_once(_):
        seen.append(1)
        if len(seen) == step:
            raise OSError("disk full")

    event.listen(hotel.engine, moment, fail_once)
    executor = hotel.executor()
    assert await one(executor, hold(TRY)) == ("failed", "DATABASE_ERROR")
    assert hotel.called["TRY"] == step - 1
    assert await one(executor, hold(TRY)) == OK
    assert hotel.called["TRY"] == step
    await executor.close()


async def test_a_change_of_mode_keeps_the_rules(tmp_path):
    """F-15, B9: a new version works transactionally on what the old one intended."""
    engine = create_engine(f"sqlite:///{tmp_path / 'hotel.db'}")
    create_barrier_table(engine)
    old = Shelf(engine, is_async=False)
    executor = old.executor()
    old.before = fail(TimeoutError())
    for gid in ("g1", "g2"):
        assert await one(executor, hold(TRY, gid)) == UNKNOWN
    await executor.close()
    new = Participant("hotel", database=engine)
    failures = [LookupError()]

    @new.tcc("hold")
    def again(ctx, request):
        if failures:
            raise failures.pop()
        return {"room": 8}

    undone = []
    again.confirm(lambda ctx, request, output: None)
    again.cancel(lambda ctx, request, output: undone.append(ctx.gid))
    executor = Executor(new._registry, engine)
    assert await one(executor, hold(TRY)) == UNKNOWN
    assert await one(executor, hold(TRY)) == OK
    assert await one(executor, hold(CONFIRM)) == OK
    assert await one(executor, hold(CANCEL, "g2")) == OK
    assert undone == ["g2"]
    await executor.close()
    engine.dispose()


def test_an_intent_needs_a_database():
    """B9: without one there is nothing that could remember it."""
    with pytest.raises(InvalidRequest, match="database=engine"):
        Participant("hotel").tcc("hold", transactional=False)(lambda ctx, request: None)
