"""The barrier's scenarios on a real SQLite database (F-1 to F-12, F-14)."""

import asyncio
import threading
from concurrent.futures import ThreadPoolExecutor

import pytest
from sqlalchemy import text
from structlog.testing import capture_logs

from participant_sdk import sqlite
from tests.sdk.bank import (
    ACTION,
    CANCEL,
    COMPENSATION,
    CONFIRM,
    OK,
    OPENING,
    TRY,
    ask,
    call,
    open_bank,
    tell,
    told,
)

ASKED_AGAIN_MAX = 10
"""By a racer that is told that the database is busy."""


async def test_try_and_confirm_take_effect_once(bank, executor):
    """F-1, B1: and the try's answer reaches the confirm."""
    assert [told(r) for r in await ask(executor, call(TRY))] == [OK]
    assert bank.money() == (OPENING - 10, 10)
    assert [told(r) for r in await ask(executor, call(CONFIRM))] == [OK]
    assert bank.money() == (OPENING - 10, 0)
    assert bank.effects("g1") == ["TRY", "CONFIRM"]


@pytest.mark.parametrize("second", [CONFIRM, CANCEL])
async def test_the_second_side_twice_takes_effect_once(bank, executor, second):
    """F-2, F-3, T6: the duplicate is answered OK and changes nothing."""
    await ask(executor, call(TRY))
    for _ in range(2):
        assert [told(r) for r in await ask(executor, call(second))] == [OK]
    assert len(bank.effects("g1")) == 2
    assert bank.money()[1] == 0


async def test_cancel_without_try_is_empty(bank, executor):
    """F-4, B2: answered OK, no business code is called, a tombstone stays."""
    for _ in range(2):
        assert [told(r) for r in await ask(executor, call(CANCEL))] == [OK]
    assert not bank.called
    assert bank.rows("g1") == [(1, "CANCEL", "EMPTY")]


async def test_a_late_try_never_runs_and_is_never_ok(bank, executor):
    """F-5, B3, B4: the tombstone refuses it, however often it comes."""
    await ask(executor, call(CANCEL))
    for _ in range(2):
        (reply,) = await ask(executor, call(TRY))
        assert told(reply) == ("refused", "BRANCH_CANCELLED")
    assert not bank.called
    assert bank.money() == (OPENING, 0)


@pytest.mark.parametrize("first", [TRY, CANCEL])
async def test_try_and_cancel_in_one_batch_leave_nothing(bank, executor, first):
    """F-6, B3: in both orders nothing stays frozen."""
    second = CANCEL if first == TRY else TRY
    replies = await ask(executor, call(first), call(second))
    expected = [OK, OK] if first == TRY else [OK, ("refused", "BRANCH_CANCELLED")]
    assert expected == [told(r) for r in replies]
    assert bank.money() == (OPENING, 0)


async def test_a_duplicate_try_gets_the_recorded_answer(bank, executor):
    """F-7, B4: with its output, also from a process that was restarted."""
    (first,) = await ask(executor, call(TRY))
    restarted = bank.executor()
    (again,) = await ask(restarted, call(TRY))
    await restarted.close()
    assert again.succeeded.output.data == b'{"frozen":10}'
    assert first.succeeded == again.succeeded
    assert bank.called["TRY"] == 1


async def test_a_refused_try_is_recorded_and_changes_nothing(bank, executor):
    """F-7, B4: the duplicate gets the refusal; its cancel succeeds and is a no-op."""
    for _ in range(2):
        (reply,) = await ask(executor, call(TRY, body={"amount": 60}))
        assert told(reply) == ("refused", "TOO_MUCH")
        assert reply.refused.message == "more than 50"
    assert bank.called["TRY"] == 1
    assert bank.money() == (OPENING, 0)
    assert [told(r) for r in await ask(executor, call(CANCEL))] == [OK]
    assert bank.called["CANCEL"] == 0
    assert bank.rows("g1") == [(1, "TRY", "REFUSED")]


@pytest.mark.parametrize(
    ("history", "asked"),
    [
        ([], CONFIRM),
        ([TRY, CANCEL], CONFIRM),
        ([CANCEL], CONFIRM),
        ([TRY, CONFIRM], CANCEL),
    ],
)
async def test_the_wrong_order_is_loud_and_without_effect(
    bank, executor, history, asked
):
    """F-8, F-9, F-10, B5: answered as a failure, logged as an error."""
    for phase in history:
        await ask(executor, call(phase))
    before = bank.effects("g1"), bank.money(), bank.rows("g1")
    with capture_logs() as logs:
        (reply,) = await ask(executor, call(asked))
    assert told(reply) == ("failed", "WRONG_ORDER")
    assert before == (bank.effects("g1"), bank.money(), bank.rows("g1"))
    assert [(e["log_level"], e["code"]) for e in logs] == [("error", "WRONG_ORDER")]


async def test_a_confirm_that_raises_is_undone_and_succeeds_later(bank, executor):
    """F-11, B1: the failed attempts leave neither effect nor row."""
    await ask(executor, call(TRY))
    failures = iter([ValueError("secret"), KeyError("secret")])

    def fail_twice(_):
        error = next(failures, None)
        if error is not None:
            raise error

    bank.before = fail_twice
    with capture_logs() as logs:
        replies = [(await ask(executor, call(CONFIRM)))[0] for _ in range(3)]
    assert [told(reply) for reply in replies] == [
        ("failed", "HANDLER_ERROR"),
        ("failed", "HANDLER_ERROR"),
        OK,
    ]
    assert [r.failed.message for r in replies[:2]] == ["ValueError", "KeyError"]
    assert bank.effects("g1") == ["TRY", "CONFIRM"]
    assert "secret" not in repr(logs)


async def test_a_crash_between_row_and_business_leaves_neither(bank):
    """F-12, B1: what was not committed is not there, and the next attempt runs."""
    connection = bank.engine.raw_connection()
    connection.cursor().execute("BEGIN IMMEDIATE")
    connection.cursor().execute(
        "INSERT INTO tercet_barrier VALUES "
        "('g1','1',1,'bank.debit','TRY','RUNNING','','','','',0)"
    )
    connection.invalidate()  # closed by the operating system, as kill -9 would
    assert bank.rows("g1") == []
    executor = bank.executor()
    assert [told(r) for r in await ask(executor, call(TRY))] == [OK]
    await executor.close()
    assert bank.effects("g1") == ["TRY"]


@pytest.mark.parametrize(
    ("history", "phases"),
    [
        ([TRY], [CANCEL] * 4),
        ([], [CANCEL] * 4),
        ([], [TRY] * 4),
        ([TRY], [CONFIRM] * 4),
        ([], [TRY, CANCEL, TRY, CANCEL]),
        ([TRY], [CONFIRM, CANCEL, CONFIRM, CANCEL]),
        ([], [TRY, CONFIRM, CANCEL, CANCEL]),
    ],
)
async def test_racing_duplicates_take_effect_once(
    bank, tmp_path, history, phases, patient_sqlite
):
    """F-6, F-14, B6, T5: from several processes' connections, started together.

    SQLite may be busy while a connection is opened; who is told so asks again.
    """
    first = bank.executor()
    rounds = range(8)
    for number in rounds:
        for phase in history:
            await ask(first, call(phase, f"g{number}"))
    await first.close()
    start = threading.Barrier(len(phases))
    banks = [open_bank(tmp_path / "bank.db") for _ in phases]

    def race(phase, mine):
        async def run():
            executor = mine.executor()
            replies = []
            for number in rounds:
                await asyncio.to_thread(start.wait)
                for _ in range(ASKED_AGAIN_MAX):
                    reply = await ask(executor, call(phase, f"g{number}"))
                    if told(reply[0])[1] != "DATABASE_ERROR":
                        break
                replies += reply
            await executor.close()
            mine.engine.dispose()
            return replies

        return asyncio.run(run())

    with ThreadPoolExecutor(len(phases)) as pool:
        results = await asyncio.gather(
            *(
                asyncio.get_running_loop().run_in_executor(pool, race, phase, mine)
                for phase, mine in zip(phases, banks, strict=True)
            )
        )
    told_all = tell(phases, results)
    codes = {told(reply)[1] for replies in results for reply in replies}
    assert codes <= {"", "BRANCH_CANCELLED", "WRONG_ORDER"}, told_all
    for number in rounds:
        effects = bank.effects(f"g{number}")
        seen = f"g{number}: {effects}, rows {bank.rows(f'g{number}')}\n{told_all}"
        assert len(effects) == len(set(effects)), f"one effect a phase: {seen}"
        assert not {"CONFIRM", "CANCEL"} <= set(effects), f"never both: {seen}"
        assert effects in ([], ["TRY"], ["TRY", "CONFIRM"], ["TRY", "CANCEL"]), seen
    available, frozen = bank.money()
    effects = [bank.effects(f"g{number}") for number in rounds]
    confirmed = sum("CONFIRM" in e for e in effects)
    assert 10 * sum(e == ["TRY"] for e in effects) == frozen
    assert OPENING - frozen - 10 * confirmed == available


async def test_a_file_that_stays_locked_is_told_by_its_name(bank, monkeypatch):
    """B6, B8: nothing is changed, and the next attempt finds it free."""
    monkeypatch.setattr(sqlite, "_BUSY_TIMEOUT_MS", 1)
    bank.engine.dispose()
    executor = bank.executor()
    holder = bank.engine.raw_connection()
    holder.cursor().execute("BEGIN IMMEDIATE")
    with capture_logs():
        (reply,) = await ask(executor, call(TRY))
    holder.rollback()
    holder.close()
    assert told(reply) == ("failed", "DATABASE_ERROR")
    assert reply.failed.message == "OperationalError SQLITE_BUSY"
    assert [told(r) for r in await ask(executor, call(TRY))] == [OK]
    await executor.close()
    assert bank.effects("g1") == ["TRY"]


async def test_a_compensation_gets_the_recorded_output(bank, executor):
    """S3: an action that took effect is compensated, once."""
    await ask(executor, call(ACTION, operation="bank.post"))
    assert bank.money() == (OPENING - 10, 0)
    for _ in range(2):
        (reply,) = await ask(executor, call(COMPENSATION, operation="bank.post"))
        assert told(reply) == OK
    assert bank.money() == (OPENING, 0)


async def test_a_plain_action_can_compensate_another(bank, executor):
    """S3: it is called with the given input, and only if the step's action ran."""
    undo = call(COMPENSATION, "never", operation="bank.reverse", body={"amount": 10})
    assert [told(r) for r in await ask(executor, undo)] == [OK]
    assert bank.money() == (OPENING, 0)
    await ask(executor, call(ACTION, operation="bank.post"))
    for _ in range(2):
        undo = call(COMPENSATION, operation="bank.reverse", body={"amount": 10})
        assert [told(r) for r in await ask(executor, undo)] == [OK]
    assert bank.money() == (OPENING, 0)


async def test_a_compensation_without_input_is_told_the_recorded_answer(bank, executor):
    """S10: the answer got lost on the way; who never ran has nothing to undo."""
    lost = call(COMPENSATION, "never", operation="bank.reverse")
    lost.ClearField("input")
    assert [told(r) for r in await ask(executor, lost)] == [OK]
    await ask(executor, call(ACTION, operation="bank.post"))
    lost = call(COMPENSATION, operation="bank.reverse")
    lost.ClearField("input")
    (reply,) = await ask(executor, lost)
    assert told(reply) == ("failed", "OUTPUT_NEEDED")
    assert reply.failed.output.data == b'{"frozen":10}'
    assert bank.money() == (OPENING - 10, 0)
    again = call(COMPENSATION, operation="bank.reverse", body={"amount": 10})
    assert [told(r) for r in await ask(executor, again)] == [OK]
    assert bank.money() == (OPENING, 0)


async def test_a_compensation_in_the_wrong_database_is_loud(bank, executor):
    """S3: the coordinator knows the action's answer, this database does not."""
    undo = call(COMPENSATION, operation="bank.reverse", output={"frozen": 10})
    (reply,) = await ask(executor, undo)
    assert told(reply) == ("failed", "BARRIER_ROW_MISSING")
    assert bank.rows("g1") == []


async def test_names_that_differ_in_a_byte_are_two_branches(bank, executor):
    """B7: case counts, and a name that is too long is rejected before SQL."""
    await ask(executor, call(TRY, "abc"), call(TRY, "ABC"))
    assert bank.money() == (OPENING - 20, 20)
    for gid in ("x" * 129, "a ", "", "a\x00"):
        (reply,) = await ask(executor, call(TRY, gid))
        assert told(reply) == ("failed", "INVALID_IDENTITY")
    assert bank.money() == (OPENING - 20, 20)


async def test_a_swallowed_database_error_undoes_all(bank, executor):
    """B8: the handler went on as if nothing had happened."""

    def swallow(ctx):
        try:
            ctx.connection.execute(text("INSERT INTO nowhere VALUES (1)"))
        except Exception:  # noqa: BLE001
            return

    bank.before = swallow
    (reply,) = await ask(executor, call(TRY))
    assert told(reply) == ("failed", "DATABASE_ERROR")
    assert (bank.effects("g1"), bank.rows("g1")) == ([], [])


async def test_a_violated_constraint_can_be_told_as_a_refusal(bank, executor):
    """B8: all is undone as well, but the handler's own "no" stands and is recorded."""
    from sqlalchemy.exc import IntegrityError

    from participant_sdk import Refused

    def refuse(ctx):
        try:
            ctx.connection.execute(text("UPDATE account SET available = -1"))
        except IntegrityError:
            raise Refused("NO_MONEY") from None

    bank.before = refuse
    for _ in range(2):
        (reply,) = await ask(executor, call(TRY))
        assert told(reply) == ("refused", "NO_MONEY")
    assert bank.money() == (OPENING, 0)
    assert bank.called["TRY"] == 1


async def test_pending_with_a_delay_undoes_and_is_asked_again(bank, executor):
    """Nothing is recorded: the next call runs."""
    for _ in range(2):
        wait = call(ACTION, operation="bank.wait", body={"after": 1.5})
        (reply,) = await ask(executor, wait)
        assert reply.pending.retry_after_ms == 1_500
    assert bank.money() == (OPENING, 0)
    assert bank.called["ACTION"] == 2


async def test_pending_without_a_delay_is_kept_and_can_be_compensated(bank, executor):
    """What was begun stays, a duplicate begins nothing, the way back undoes it."""
    for _ in range(2):
        wait = call(ACTION, operation="bank.wait", body={})
        (reply,) = await ask(executor, wait)
        assert told(reply) == ("pending", "")
    assert bank.money() == (OPENING - 1, 0)
    undo = call(COMPENSATION, operation="bank.wait", body={})
    assert [told(r) for r in await ask(executor, undo)] == [OK]
    assert bank.money() == (OPENING, 0)


async def test_retry_undoes_and_says_when(bank, executor):
    """The coordinator is told to ask again, and after how long."""
    retry = call(ACTION, operation="bank.wait", body={"retry": 0.25})
    (reply,) = await ask(executor, retry)
    assert told(reply) == ("failed", "RETRY")
    assert reply.failed.retry_after_ms == 250
    assert bank.money() == (OPENING, 0)
