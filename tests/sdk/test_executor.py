"""Many calls in one commit, one bad one among them, and everything that can hang."""

import asyncio
import threading

import pytest
from sqlalchemy import create_engine, event, text
from structlog.testing import capture_logs

from participant_sdk import Participant, Refused, current
from participant_sdk.errors import HandlerMisuse
from participant_sdk.executor import batch
from participant_sdk.executor.executor import Executor
from participant_sdk.executor.outcome import clean
from protos.v1 import types_pb2
from protos.v1.participant_pb2 import BranchCall
from tests.sdk.bank import (
    ACTION,
    CANCEL,
    CONFIRM,
    OK,
    OPENING,
    TRY,
    ask,
    call,
    told,
)


def commits_of(engine):
    """A list that grows with every commit."""
    seen = []
    event.listen(engine, "commit", seen.append)
    return seen


async def test_calls_that_wait_share_one_commit(bank, executor, monkeypatch):
    """One commit for all, and one delivery of all replies."""
    monkeypatch.setattr(batch, "BATCH_SECONDS_MAX", float("inf"))
    commits = commits_of(bank.engine)
    calls = [call(TRY, f"g{n}", body={"amount": 1}) for n in range(50)]
    assert [told(r) for r in await ask(executor, *calls)] == [OK] * 50
    assert len(commits) == 1
    assert bank.money() == (OPENING - 50, 50)


async def test_without_batches_every_call_has_its_own_commit(bank, executor):
    """B1: as on every database but SQLite; one that fails harms no other."""
    executor._runner = None
    commits = commits_of(bank.engine)

    def fail(ctx):
        if ctx.gid == "g1":
            raise ZeroDivisionError

    bank.before = fail
    calls = [call(TRY, f"g{n}") for n in range(4)]
    replies = await ask(executor, *calls)
    assert [told(r) for r in replies] == [OK, ("failed", "HANDLER_ERROR"), OK, OK]
    assert len(commits) == 4
    assert bank.money() == (OPENING - 30, 30)
    assert bank.engine.pool.checkedout() == 0


async def test_replies_leave_after_the_commit(bank, executor):
    """B1, T7: whoever gets a reply can rely on what it says."""
    seen = []

    def deliver(_):
        seen.append(bank.effects("g1"))

    executor.submit([call(TRY)], deliver)
    await executor.drain()
    await asyncio.sleep(0)
    assert seen == [["TRY"]]


async def test_a_bad_handler_harms_no_other_call_of_its_batch(bank, executor):
    """B1: it alone is undone, by its savepoint."""

    def fail(ctx):
        if ctx.gid == "g1":
            raise ZeroDivisionError

    bank.before = fail
    calls = [call(TRY, f"g{n}") for n in range(4)]
    replies = await ask(executor, *calls)
    assert [told(r) for r in replies] == [OK, ("failed", "HANDLER_ERROR"), OK, OK]
    assert bank.money() == (OPENING - 30, 30)
    assert bank.rows("g1") == []


def end_by_session_commit(ctx):
    ctx.session.commit()


def end_by_session_rollback(ctx):
    ctx.session.rollback()


def end_by_connection_commit(ctx):
    ctx.connection.commit()


def end_by_swallowed_commit(ctx):
    try:
        ctx.connection.commit()
    except HandlerMisuse:
        return


def end_by_driver_commit(ctx):
    ctx.connection.connection.driver_connection.commit()


def end_by_driver_rollback(ctx):
    ctx.connection.connection.driver_connection.rollback()


@pytest.mark.parametrize(
    ("end", "code"),
    [
        (end_by_session_commit, "HANDLER_MISUSE"),
        (end_by_session_rollback, "HANDLER_MISUSE"),
        (end_by_connection_commit, "TRANSACTION_LOST"),
        (end_by_swallowed_commit, "TRANSACTION_LOST"),
        (end_by_driver_rollback, "TRANSACTION_LOST"),
    ],
)
async def test_a_handler_that_ends_the_transaction_fails_alone(
    bank, executor, end, code
):
    """B1: nothing of it is kept, and the calls around it succeed."""

    def misbehave(ctx):
        if ctx.gid == "g1":
            end(ctx)

    bank.before = misbehave
    replies = await ask(executor, *(call(TRY, f"g{n}") for n in range(3)))
    assert [OK, ("failed", code), OK] == [told(r) for r in replies]
    assert bank.money() == (OPENING - 20, 20)
    assert (bank.effects("g1"), bank.rows("g1")) == ([], [])


async def test_a_commit_behind_the_barriers_back_is_never_trusted(bank, executor):
    """B1, P11: its row stays RUNNING, so that every later call of it is loud."""
    bank.before = lambda ctx: ctx.gid == "g1" and end_by_driver_commit(ctx)
    replies = await ask(executor, *(call(TRY, f"g{n}") for n in range(3)))
    assert [told(r) for r in replies] == [OK, ("failed", "TRANSACTION_LOST"), OK]
    for phase in (TRY, CONFIRM, CANCEL):
        (reply,) = await ask(executor, call(phase))
        assert told(reply) == ("failed", "BARRIER_BROKEN")


async def test_a_failed_commit_answers_every_call_of_the_batch(bank, executor):
    """B1: each is told as unknown, nothing is kept, and the next attempt succeeds."""
    failures = iter([OSError("disk full")])

    def fail_once(_):
        error = next(failures, None)
        if error is not None:
            raise error

    event.listen(bank.engine, "commit", fail_once)
    calls = [call(TRY, f"g{n}") for n in range(3)]
    replies = await ask(executor, *calls)
    assert [told(r) for r in replies] == [("failed", "COMMIT_UNKNOWN")] * 3
    assert bank.money() == (OPENING, 0)
    assert [told(r) for r in await ask(executor, *calls)] == [OK] * 3
    assert bank.money() == (OPENING - 30, 30)


async def test_a_database_that_cannot_begin_answers_as_failed(bank, executor):
    """The call is asked again; the participant lives on."""

    def refuse(_):
        raise OSError("gone")

    event.listen(bank.engine, "begin", refuse)
    (reply,) = await ask(executor, call(TRY))
    assert told(reply) == ("failed", "DATABASE_ERROR")
    event.remove(bank.engine, "begin", refuse)
    assert [told(r) for r in await ask(executor, call(TRY))] == [OK]


async def test_a_call_whose_time_is_up_is_not_run(bank, executor):
    """The coordinator has stopped waiting: running it could only surprise."""
    release = asyncio.Event()
    loop = asyncio.get_running_loop()

    def wait(ctx):
        if ctx.gid == "first":
            # Holds the thread until the second call's time is over.
            asyncio.run_coroutine_threadsafe(release.wait(), loop).result()

    bank.before = wait
    loop.call_later(0.05, release.set)
    replies = await ask(
        executor, call(TRY, "first"), call(TRY, "second", timeout_ms=10)
    )
    assert [told(r) for r in replies] == [OK, ("failed", "TIMEOUT")]
    assert bank.effects("second") == []


# ---- Async handlers -----------------------------------------------------------------


async def test_an_async_handler_works_in_the_barriers_transaction(bank, executor):
    """B1, F-1, F-3: the same promises as for a sync one."""
    for phase, money in ((TRY, (90, 10)), (CANCEL, (100, 0)), (CANCEL, (100, 0))):
        (reply,) = await ask(executor, call(phase, operation="bank.slow"))
        assert told(reply) == OK
        assert money == bank.money()
    (late,) = await ask(executor, call(TRY, operation="bank.slow"))
    assert told(late) == ("refused", "BRANCH_CANCELLED")


async def test_an_async_handler_that_hangs_is_cancelled_and_undone(bank, executor):
    """Its call fails as TIMEOUT, nothing is kept, and others are served."""

    async def hang(ctx):
        await asyncio.Event().wait()

    bank.gate = hang
    stuck = call(TRY, operation="bank.slow", timeout_ms=200)
    replies = await ask(executor, stuck, call(TRY, "other"))
    assert [told(r) for r in replies] == [("failed", "TIMEOUT"), OK]
    assert ["bank.slow" in r.failed.message for r in replies] == [False, False]
    assert (bank.effects("g1"), bank.rows("g1")) == ([], [])
    assert bank.money() == (OPENING - 10, 10)


async def test_an_async_handler_that_raises_is_undone(bank, executor):
    """B1: a failure leaves nothing, a refusal leaves its record."""

    async def fail(ctx):
        raise LookupError

    async def refuse(ctx):
        raise Refused("NO")

    for gate, expected in (
        (fail, ("failed", "HANDLER_ERROR")),
        (refuse, ("refused", "NO")),
    ):
        bank.gate = gate
        (reply,) = await ask(executor, call(TRY, operation="bank.slow"))
        assert expected == told(reply)
    assert bank.rows("g1") == [(1, "TRY", "REFUSED")]
    assert bank.money() == (OPENING, 0)


async def test_closing_gives_up_a_handler_that_hangs(bank):
    """A participant can always end; what it undid is asked again."""
    entered = asyncio.Event()

    async def hang(ctx):
        entered.set()
        await asyncio.Event().wait()

    bank.gate = hang
    executor = bank.executor()
    executor.submit([call(TRY, operation="bank.slow")], lambda _: None)
    await entered.wait()
    await executor.close()
    assert (bank.effects("g1"), bank.rows("g1")) == ([], [])


async def test_an_async_handlers_failed_commit_is_unknown(bank, executor):
    """B1: told as unknown, and the next call finds out."""
    failures = iter([OSError("disk full")])

    def fail_once(_):
        error = next(failures, None)
        if error is not None:
            raise error

    event.listen(bank.engine, "commit", fail_once)
    for answer in (("failed", "COMMIT_UNKNOWN"), OK):
        (reply,) = await ask(executor, call(TRY, operation="bank.slow"))
        assert answer == told(reply)
    assert bank.money() == (OPENING - 10, 10)


async def test_an_async_call_that_cannot_begin_is_asked_again(bank, executor):
    """Its connection goes back, and the next call runs."""

    def refuse(_):
        raise OSError("gone")

    event.listen(bank.engine, "begin", refuse)
    (reply,) = await ask(executor, call(TRY, operation="bank.slow"))
    assert told(reply) == ("failed", "DATABASE_ERROR")
    event.remove(bank.engine, "begin", refuse)
    (reply,) = await ask(executor, call(TRY, operation="bank.slow"))
    assert told(reply) == OK
    assert bank.engine.pool.checkedout() == 0


async def test_a_database_that_is_gone_fails_an_async_call(tmp_path):
    """The participant lives on, and so does the coordinator's question."""
    engine = create_engine(f"sqlite:///{tmp_path / 'missing' / 'bank.db'}")
    shop = Participant("shop", database=engine)

    @shop.action("send")
    async def send(ctx, request): ...

    executor = Executor(shop._registry, engine)
    (reply,) = await ask(executor, call(ACTION, operation="shop.send"))
    assert told(reply) == ("failed", "DATABASE_ERROR")
    await executor.close()


async def test_closing_waits_for_what_a_thread_does(bank):
    """B1: a call that is given up while it begins leaves no open transaction."""
    entered, release = threading.Event(), threading.Event()

    def wait(_):
        entered.set()
        release.wait()

    event.listen(bank.engine, "begin", wait)
    executor = bank.executor()
    executor.submit([call(TRY, operation="bank.slow")], lambda _: None)
    await asyncio.to_thread(entered.wait)
    closing = asyncio.create_task(executor.close())
    await asyncio.sleep(0)
    release.set()
    await closing
    event.remove(bank.engine, "begin", wait)
    assert bank.engine.pool.checkedout() == 0
    assert (bank.effects("g1"), bank.rows("g1")) == ([], [])


# ---- Without a database -------------------------------------------------------------


async def test_without_a_database_every_call_reaches_the_handler():
    """B9: no barrier, so the handler itself has to bear duplicates."""
    plain = Participant("plain")
    seen = []

    @plain.action("send")
    def send(ctx, request):
        seen.append((ctx.idempotency_key, current() is ctx))
        if request.get("touch"):
            ctx.connection.execute(text("SELECT 1"))

    @plain.action("call")
    async def call_out(ctx, request):
        seen.append((ctx.idempotency_key, current() is ctx))

    executor = Executor(plain._registry, None)
    for operation in ("plain.send", "plain.call"):
        for _ in range(2):
            replies = await ask(executor, call(ACTION, operation=operation))
            assert [told(r) for r in replies] == [OK]
    assert seen == [("g1/1/ACTION", True)] * 4
    touching = call(ACTION, operation="plain.send", body={"touch": True})
    (reply,) = await ask(executor, touching)
    assert told(reply) == ("failed", "HANDLER_MISUSE")
    assert "has no database" in reply.failed.message
    await executor.close()
    assert current() is None


# ---- What cannot be run -------------------------------------------------------------


@pytest.mark.parametrize(
    ("operation", "phase"),
    [
        ("bank.missing", TRY),
        ("other.debit", TRY),
        ("bank.debit", ACTION),
        ("bank.post", TRY),
    ],
)
async def test_an_operation_that_is_not_there_is_a_failure(executor, operation, phase):
    """It may be a new version's: asked again, not refused."""
    (reply,) = await ask(executor, call(phase, operation=operation))
    assert told(reply) == ("failed", "UNKNOWN_OPERATION")
    assert operation in reply.failed.message


async def test_a_phase_of_a_later_version_is_a_failure(executor):
    """An unknown number on the wire crashes nothing."""
    unknown: types_pb2.Phase = 77
    (reply,) = await ask(executor, call(unknown))
    assert told(reply) == ("failed", "UNKNOWN_PHASE")
    assert [told(r) for r in await ask(executor, BranchCall())] == [
        ("failed", "UNKNOWN_PHASE")
    ]


async def test_failures_are_logged_once_and_without_payload(bank, executor):
    """Security 6: type names only, with what is needed to find the call."""

    def fail(_):
        raise RuntimeError("the password is 1234")

    bank.before = fail
    with capture_logs() as logs:
        (reply,) = await ask(executor, call(TRY, body={"amount": 31}))
    assert reply.failed.message == "RuntimeError"
    assert [(e["event"], e["gid"], e["operation"], e["phase"]) for e in logs] == [
        ("call_failed", "g1", "bank.debit", "TRY")
    ]
    assert "1234" not in repr(logs)
    assert "31" not in repr(logs)


def test_texts_are_cut_and_escaped():
    """Security 6: control characters and surrogates cannot forge log lines."""
    assert clean("a\nb\x1b[0m\ud800") == "a\\u000ab\\u001b[0m\\ud800"
    assert len(clean("x" * 9_999)) == 500
