"""Asking an action anew that was refused: after a pivot there is no other way on."""

import asyncio
import threading
from concurrent.futures import ThreadPoolExecutor

import pytest
from sqlalchemy import create_engine, text
from structlog.testing import capture_logs

from participant_sdk import Participant, Pending, Refused, Retry, create_barrier_table
from participant_sdk.barrier.rules import Outcome, Phase, Record, Slot
from participant_sdk.barrier.sql import BranchKey, SqlBarrier
from participant_sdk.executor.executor import Executor
from tests.sdk.async_bank import open_async_bank
from tests.sdk.bank import (
    ACTION,
    COMPENSATION,
    OK,
    OPENING,
    TRY,
    ask,
    call,
    open_bank,
    told,
)

REFUSED = Record(Phase.ACTION, Outcome.REFUSED, code="CLOSED", message="until Monday")
NO = ("refused", "CLOSED")


def post(phase=ACTION, gid="g1", **fields):
    return call(phase, gid, operation="bank.post", **fields)


def refuse(ctx):
    raise Refused("CLOSED", "until Monday")


def agree(ctx):
    return None


async def one(executor, *arguments, **fields):
    (reply,) = await ask(executor, post(*arguments, **fields))
    return told(reply)


@pytest.fixture
async def refused(bank, executor):
    """The bank's executor, after it refused to post for ``g1``."""
    bank.before = refuse
    assert await one(executor) == NO
    bank.before = agree
    return executor


# ---- On a database ------------------------------------------------------------------


async def test_a_refused_action_answers_anew_and_its_answer_is_kept(bank, refused):
    """B1, B4: one effect, and whoever asks later gets the new answer, flag or not."""
    assert await one(refused) == NO
    assert await one(refused, reconsider=True) == OK
    for reconsider in (False, True):
        (reply,) = await ask(refused, post(reconsider=reconsider))
        assert reply.succeeded.output.data == b'{"frozen":10}'
    assert bank.effects("g1") == ["ACTION"]
    assert bank.rows("g1") == [(1, "ACTION", "SUCCEEDED")]
    assert await one(refused, COMPENSATION) == OK
    assert bank.money() == (OPENING, 0)


async def test_a_new_refusal_replaces_the_old_one(bank, refused):
    """B4: its code and text are what a duplicate is told."""

    def refuse_otherwise(ctx):
        raise Refused("BLOCKED", "by the owner")

    bank.before = refuse_otherwise
    for reconsider in (True, False):
        (reply,) = await ask(refused, post(reconsider=reconsider))
        assert (reply.refused.code, reply.refused.message) == (
            "BLOCKED",
            "by the owner",
        )
    assert bank.called["ACTION"] == 2
    assert bank.money() == (OPENING, 0)


async def test_pending_replaces_the_refusal(bank, refused):
    """B4: what was begun is kept, and is not begun again."""

    def begin(ctx):
        raise Pending

    bank.before = begin
    for reconsider in (True, True, False):
        assert await one(refused, reconsider=reconsider) == ("pending", "")
    assert bank.called["ACTION"] == 2
    assert bank.rows("g1") == [(1, "ACTION", "PENDING")]


def fail(ctx):
    raise LookupError


def ask_later(ctx):
    raise Retry(after=1)


def be_pending(ctx):
    raise Pending(retry_after=1)


def break_the_database(ctx):
    ctx.connection.execute(text("UPDATE account SET available = -1"))


def end_the_transaction(ctx):
    ctx.connection.exec_driver_sql("ROLLBACK")


@pytest.mark.parametrize(
    "before", [fail, ask_later, be_pending, break_the_database, end_the_transaction]
)
async def test_without_an_answer_the_refusal_stands_again(bank, refused, before):
    """B1, B8: nothing is changed, and the next reconsidering call runs again."""
    bank.before = before
    with capture_logs():
        kind, code = await one(refused, reconsider=True)
    assert kind in {"failed", "pending"}
    assert code != "CLOSED"
    (reply,) = await ask(refused, post())
    assert (reply.refused.code, reply.refused.message) == ("CLOSED", "until Monday")
    assert bank.money() == (OPENING, 0)
    bank.before = agree
    assert await one(refused, reconsider=True) == OK
    assert bank.effects("g1") == ["ACTION"]


async def test_a_first_call_may_say_reconsider(bank, executor):
    """B2, B3: where nothing is recorded the flag means nothing, nor at a tombstone."""
    assert await one(executor, reconsider=True) == OK
    assert await one(executor, COMPENSATION, "g2") == OK
    late = await one(executor, gid="g2", reconsider=True)
    assert late == ("refused", "BRANCH_CANCELLED")
    assert bank.called["ACTION"] == 1


async def test_a_try_is_never_reconsidered(bank, executor):
    """B4: its transaction was decided by the refusal."""
    bank.before = refuse
    for reconsider in (False, True):
        (reply,) = await ask(executor, call(TRY, reconsider=reconsider))
        assert told(reply) == NO
    assert bank.called["TRY"] == 1


async def test_a_late_reconsidering_call_never_runs_after_the_compensation(
    bank, refused
):
    """B3: the compensation of a refused action calls nothing and leaves a tombstone."""
    for _ in range(2):
        assert await one(refused, COMPENSATION) == OK
    assert bank.rows("g1") == [(1, "COMPENSATION", "EMPTY")]
    for reconsider in (True, False):
        late = await one(refused, reconsider=reconsider)
        assert late == ("refused", "BRANCH_CANCELLED")
    assert bank.called == {"ACTION": 1}
    assert bank.money() == (OPENING, 0)


async def test_an_async_handler_reconsiders(tmp_path):
    """B1, B4: on an async engine, in a local transaction of its own."""
    bank = await open_async_bank(tmp_path / "bank.db")
    participant = Participant("shop", database=bank.engine)
    answers = [refuse, fail, agree]

    @participant.action("post")
    async def post_entry(ctx, request):
        answers.pop(0)(ctx)

    executor = Executor(participant._registry, bank.engine)
    asked = call(ACTION, operation="shop.post")
    anew = call(ACTION, operation="shop.post", reconsider=True)
    seen = []
    for each in (asked, anew, asked, anew, asked):
        (reply,) = await ask(executor, each)
        seen.append(told(reply))
    await executor.close()
    await bank.engine.dispose()
    assert seen == [NO, ("failed", "HANDLER_ERROR"), NO, OK, OK]


# ---- Races --------------------------------------------------------------------------

ANEW, PLAIN, BACK = (ACTION, True), (ACTION, False), (COMPENSATION, False)


@pytest.mark.parametrize(
    "calls",
    [
        [ANEW, ANEW, ANEW, ANEW],
        [ANEW, PLAIN, ANEW, PLAIN],
        [ANEW, BACK, PLAIN, BACK],
        [ANEW, ANEW, BACK, BACK],
    ],
)
async def test_racing_calls_take_effect_once(bank, tmp_path, calls, patient_sqlite):
    """B3, B6: from several processes' connections, with delayed duplicates between."""
    rounds = [f"g{number}" for number in range(6)]
    bank.before = refuse
    first = bank.executor()
    for gid in rounds:
        assert await one(first, gid=gid) == NO
    await first.close()
    start = threading.Barrier(len(calls))
    banks = [open_bank(tmp_path / "bank.db") for _ in calls]

    def race(one_call, mine):
        async def run():
            executor = mine.executor()
            seen = []
            for gid in rounds:
                await asyncio.to_thread(start.wait)
                phase, reconsider = one_call
                seen.append(await one(executor, phase, gid, reconsider=reconsider))
            await executor.close()
            mine.engine.dispose()
            return seen

        return asyncio.run(run())

    with ThreadPoolExecutor(len(calls)) as pool:
        seen = await asyncio.gather(
            *(
                asyncio.get_running_loop().run_in_executor(pool, race, each, mine)
                for each, mine in zip(calls, banks, strict=True)
            )
        )
    for number, gid in enumerate(rounds):
        check_race(calls, [each[number] for each in seen], bank.effects(gid))


def check_race(calls, answers, effects):
    allowed = {"ACTION", "COMPENSATION"}
    assert set(effects) <= allowed, effects
    assert len(effects) == len(set(effects)), f"one effect a phase: {effects}"
    for (phase, reconsider), answer in zip(calls, answers, strict=True):
        assert answer in (OK, NO, ("refused", "BRANCH_CANCELLED")), answers
        assert phase == ACTION or answer == OK, answers
        assert not (reconsider and answer == NO), answers
    if BACK in calls:
        assert effects in ([], ["ACTION", "COMPENSATION"])
    else:
        assert effects == ["ACTION"]


@pytest.mark.parametrize("phase", [Phase.ACTION, Phase.COMPENSATION])
@pytest.mark.parametrize("winner", [Outcome.SUCCEEDED, Outcome.EMPTY])
def test_what_another_transaction_made_of_the_row_counts(tmp_path, phase, winner):
    """B3, B6: on stores where two transactions may both have read the refusal."""
    engine = create_engine(f"sqlite:///{tmp_path / 'barrier.db'}")
    create_barrier_table(engine)
    connection = engine.raw_connection()
    cursor = connection.cursor()
    key = BranchKey("g1", "b1", "bank.post", phase)
    action = key._replace(phase=Phase.ACTION)

    class Slower(SqlBarrier):
        """Another transaction commits between this one's read and its claim."""

        def _take_over(self, cursor, key, replaced, outcome, at_ms):
            row = Record(Phase.ACTION, winner, b"7")
            self.settle(cursor, key, Slot.FORWARD, row)
            return super()._take_over(cursor, key, replaced, outcome, at_ms)

    barrier = Slower(engine.dialect)
    fields = {"known_done": False, "now_ms": 1, "reconsider": True}
    assert barrier.admit(cursor, action, **fields).slot is Slot.FORWARD
    barrier.settle(cursor, action, Slot.FORWARD, REFUSED)
    verdict, slot = barrier.admit(cursor, key, **fields)
    connection.rollback()
    connection.close()
    engine.dispose()
    assert slot is None
    if phase is Phase.ACTION and winner is Outcome.SUCCEEDED:
        assert verdict.record.output == b"7"
    elif phase is Phase.ACTION:
        assert verdict.code == "BRANCH_CANCELLED"
    elif winner is Outcome.SUCCEEDED:
        assert verdict.code == "BARRIER_BUSY", "asked again, it will run"
    else:
        assert verdict.record.outcome is Outcome.SUCCEEDED, "nothing to undo"


# ---- Outside of the database --------------------------------------------------------


@pytest.fixture
async def hotel(tmp_path):
    """Books rooms at somebody else's; ``answers`` are given call by call."""
    engine = create_engine(f"sqlite:///{tmp_path / 'hotel.db'}")
    create_barrier_table(engine)
    participant = Participant("hotel", database=engine)
    answers, undone = [], []

    @participant.action("book", transactional=False)
    def book(ctx, request):
        answers.pop(0)(ctx)

    @book.compensate
    def _(ctx, request, output):
        undone.append(ctx.gid)

    executor = Executor(participant._registry, engine)

    async def tell(phase, **fields):
        asked = call(phase, operation="hotel.book", **fields)
        return told((await ask(executor, asked))[0])

    yield tell, answers, undone
    await executor.close()
    engine.dispose()


async def test_an_action_outside_answers_anew(hotel):
    """B9: and its answer is kept."""
    tell, answers, undone = hotel
    answers += [refuse, refuse, agree]
    seen = [
        await tell(ACTION, reconsider=reconsider)
        for reconsider in (False, False, True, True, True, False)
    ]
    assert seen == [NO, NO, NO, OK, OK, OK]
    assert await tell(COMPENSATION) == OK
    assert undone == ["g1"]


async def test_an_unknown_new_answer_outside_is_compensated(hotel):
    """B9, P10: it may have left something, whatever was refused before."""
    tell, answers, undone = hotel
    answers += [refuse, fail]
    assert await tell(ACTION) == NO
    assert await tell(ACTION, reconsider=True) == ("failed", "HANDLER_ERROR")
    assert await tell(COMPENSATION) == OK
    assert undone == ["g1"]
    late = await tell(ACTION, reconsider=True)
    assert late == ("refused", "BRANCH_CANCELLED")
