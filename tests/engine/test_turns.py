"""Promises of the dispatcher to who must wait: a broken participant costs little."""

from collections.abc import Callable

import pytest

from coordinator.core.actions import CallBranch
from coordinator.core.breaker import (
    CALLS_MIN,
    PROBES_PER_SECOND,
    PROBES_TO_CLOSE,
    SILENT_MS,
)
from coordinator.core.inputs import Refused, Succeeded, Unknown
from coordinator.core.model import NO_PAYLOAD, Key
from coordinator.core.words import Phase
from coordinator.engine import dispatcher as module
from coordinator.engine.dispatcher import STILL_WAITING_MS
from tests.engine.test_dispatcher import Desk, FakeLink

BROKEN = Unknown("HANDLER_ERROR", "no database")


def first(n: int, operation: str = "bank.debit") -> CallBranch:
    """A try that was never made before."""
    return CallBranch(
        Key("default", f"g-{n}"), "b", operation, Phase.TRY, 1, NO_PAYLOAD, NO_PAYLOAD,
        1_000,
    )  # fmt: skip


def confirm(n: int, attempt: int = 2) -> CallBranch:
    """A confirm that failed before; it is asked without end."""
    return CallBranch(
        Key("default", f"g-{n}"), "b", "bank.debit", Phase.CONFIRM, attempt,
        NO_PAYLOAD, NO_PAYLOAD, 1_000, endless=True,
    )  # fmt: skip


def retried(n: int) -> CallBranch:
    """A try that failed before, and has attempts to use up."""
    return CallBranch(
        Key("default", f"g-{n}"), "b", "bank.debit", Phase.TRY, 2, NO_PAYLOAD,
        NO_PAYLOAD, 1_000,
    )  # fmt: skip


@pytest.fixture
def desk() -> Desk:
    """A dispatcher without links."""
    return Desk()


def attached(desk: Desk, credits: int = 1_000) -> FakeLink:  # noqa: A002
    link = FakeLink()
    desk.dispatcher.attach("bank", link, credits=credits)
    return link


def answer_all(desk: Desk, link: FakeLink, outcome: object) -> list[CallBranch]:
    """Every call that was handed over since the last time."""
    calls, link.calls = link.calls, []
    desk.dispatcher.answered(link, [(call_id, outcome) for call_id, _ in calls])
    return [call for _, call in calls]


def gids(calls: list[CallBranch]) -> list[str]:
    return [call.key.gid for call in calls]


async def made_to_fail(desk: Desk, link: FakeLink) -> None:
    """So many calls fail that nothing but probes goes out."""
    desk.dispatcher.send([first(n) for n in range(CALLS_MIN)])
    answer_all(desk, link, BROKEN)
    desk.outcomes.clear()
    desk.returned.clear()


# ---- No link ------------------------------------------------------------------------


async def test_who_failed_once_waits_for_who_is_not_there(desk: Desk) -> None:
    """V4: nothing is attempted, counted or told, until it is there again."""
    desk.dispatcher.send([confirm(1), confirm(2)])
    await desk.clock.move_to(60_000)
    assert desk.outcomes == []
    link = attached(desk)
    assert gids(answer_all(desk, link, Succeeded())) == ["g-1", "g-2"]
    assert desk.codes() == ["OK", "OK"]


def test_who_has_attempts_to_use_up_does_not_wait(desk: Desk) -> None:
    """A try is told at once, as is the first call of a confirm."""
    desk.dispatcher.send([retried(1), confirm(2, attempt=1), first(3)])
    assert desk.codes() == ["PARTICIPANT_UNAVAILABLE"] * 3


def test_who_waits_twice_is_asked_once(desk: Desk) -> None:
    """A later attempt of the same branch takes the place of the earlier one."""
    desk.dispatcher.send([confirm(1), confirm(2)])
    desk.dispatcher.send([confirm(1, attempt=7)])
    link = attached(desk)
    calls = answer_all(desk, link, Succeeded())
    assert [(c.key.gid, c.attempt) for c in calls] == [("g-1", 7), ("g-2", 2)]


async def test_what_is_not_wanted_any_more_is_dropped(desk: Desk) -> None:
    """An operator has settled it; nobody is told anything of the call."""
    desk.dispatcher.send([confirm(1), confirm(2)])
    desk.unwanted.add("g-1")
    link = attached(desk)
    assert gids(answer_all(desk, link, Succeeded())) == ["g-2"]
    await desk.clock.move_to(2 * STILL_WAITING_MS)
    assert (desk.codes(), desk.waiting) == (["OK"], [])


async def test_a_long_wait_is_told_once(desk: Desk) -> None:
    """A person may have to know; the call goes on waiting."""
    desk.dispatcher.send([confirm(1)])
    await desk.clock.move_to(STILL_WAITING_MS - 1)
    assert desk.waiting == []
    await desk.clock.move_to(10 * STILL_WAITING_MS)
    assert gids(desk.waiting) == ["g-1"]
    assert desk.outcomes == []
    assert gids(answer_all(desk, attached(desk), Succeeded())) == ["g-1"]


def test_waiting_has_a_limit(desk: Desk, monkeypatch: pytest.MonkeyPatch) -> None:
    """Beyond it attempts are counted, and their back-off holds."""
    monkeypatch.setattr(module, "WAITING_MAX", 2)
    desk.dispatcher.send([confirm(n) for n in range(3)])
    desk.dispatcher.send([confirm(1, attempt=3)])
    assert desk.codes() == ["PARTICIPANT_OVERLOADED"]


async def test_a_node_that_leaves_forgets_who_waits(desk: Desk) -> None:
    """V7: they are asked by whoever owns them next."""
    desk.dispatcher.send([confirm(1)])
    desk.dispatcher.leave()
    link = attached(desk)
    await desk.clock.move_to(2 * STILL_WAITING_MS)
    assert (link.calls, desk.outcomes, desk.waiting) == ([], [], [])


def test_who_was_taken_over_waits_for_the_first_link() -> None:
    """V7: a node that has just started does not count what its participants miss."""
    desk = Desk(waits_ms=1_000)
    desk.dispatcher.send([confirm(1), retried(2)])
    assert desk.outcomes == []
    assert len(attached(desk).calls) == 2


# ---- Failing, and probed -------------------------------------------------------------


async def test_v4_a_participant_that_hangs_is_probed(desk: Desk) -> None:
    """V4: at most five calls a second reach it, whoever wants to be asked."""
    link = attached(desk)
    desk.dispatcher.send([first(n) for n in range(CALLS_MIN)])
    await desk.clock.move_to(1_000)
    assert set(desk.codes()) == {"TIMEOUT"}
    link.calls.clear()
    for second in range(1, 21):
        desk.dispatcher.send([first(1_000 * second + n) for n in range(50)])
        desk.dispatcher.send([confirm(1_000 * second + n) for n in range(500, 550)])
        await desk.clock.move_to(1_000 + 1_000 * second)
    assert 15 * PROBES_PER_SECOND < len(link.calls) <= 20 * PROBES_PER_SECOND + 1


async def test_who_waits_is_probed_with_when_nobody_else_is(desk: Desk) -> None:
    """V8: a recovery is noticed though no new transaction begins; first come first."""
    link = attached(desk)
    await made_to_fail(desk, link)
    desk.dispatcher.send([confirm(n) for n in range(1, 9)])
    asked = []
    for tick in range(1, 9):
        await desk.clock.move_to(200 * tick)
        asked += gids(answer_all(desk, link, Succeeded()))
        desk.dispatcher.send([])
    assert asked == [f"g-{n}" for n in range(1, 9)]
    assert desk.returned == ["bank"]


async def test_first_calls_wait_for_a_probe_no_longer_than_they_may(desk: Desk) -> None:
    """A guess never uses their policy up faster than a participant that hangs does."""
    link = attached(desk)
    await made_to_fail(desk, link)
    desk.dispatcher.send([first(n) for n in range(50)])
    await desk.clock.move_to(999)
    assert desk.codes() == []
    await desk.clock.move_to(1_000)
    assert desk.codes() == ["TIMEOUT"] * 50


async def test_probes_let_everybody_go_on(desk: Desk) -> None:
    """V5: some in a row, and all who wait are asked; a refusal is an answer."""
    link = attached(desk)
    await made_to_fail(desk, link)
    desk.dispatcher.send([first(n) for n in range(30)])
    for _ in range(PROBES_TO_CLOSE):
        assert len(link.calls) == 1
        answer_all(desk, link, Refused("NO_FUNDS"))
    assert len(link.calls) == 30 - PROBES_TO_CLOSE
    assert desk.returned == ["bank"]


async def test_an_answer_that_needs_more_is_no_failure(desk: Desk) -> None:
    """A compensation that asks for its input has reached a participant that works."""
    link = attached(desk)
    desk.dispatcher.send([first(n) for n in range(2 * CALLS_MIN)])
    answer_all(desk, link, Unknown("OUTPUT_NEEDED"))
    desk.dispatcher.send([first(n) for n in range(30)])
    assert len(link.calls) == 30


async def test_a_link_without_credit_is_not_probed(desk: Desk) -> None:
    """What hangs there may still be answered; then it speaks, and everybody goes on."""
    link = attached(desk, CALLS_MIN)
    desk.dispatcher.send([first(n) for n in range(CALLS_MIN)])
    await desk.clock.move_to(1_000)
    desk.dispatcher.send([confirm(n) for n in range(100, 110)])
    await desk.clock.move_to(1_000 + SILENT_MS)
    hung = link.ids()
    assert len(hung) == CALLS_MIN
    link.calls.clear()
    desk.dispatcher.answered(link, [(call_id, Succeeded()) for call_id in hung])
    assert len(link.calls) == 10
    assert desk.returned == ["bank", "bank"]


# ---- The budget ----------------------------------------------------------------------


async def half_fails(desk: Desk, link: FakeLink) -> None:
    """Retries get what the budget gives them."""
    desk.dispatcher.send([first(n) for n in range(2 * CALLS_MIN)])
    calls, link.calls = link.calls, []
    for place, (call_id, _) in enumerate(calls):
        outcome = BROKEN if place % 2 else Succeeded()
        desk.dispatcher.answered(link, [(call_id, outcome)])
    desk.outcomes.clear()


async def test_v4_retries_of_one_that_fails_are_a_tenth(desk: Desk) -> None:
    """V4: nobody's attempt is counted for want of a turn; the rest goes on waiting."""
    link = attached(desk)
    await half_fails(desk, link)
    firsts = retries = 0
    for second in range(1, 31):
        desk.dispatcher.send([first(1_000 * second + n) for n in range(40)])
        desk.dispatcher.send([confirm(1_000 * second + n) for n in range(500, 520)])
        desk.dispatcher.send([retried(1_000 * second + n) for n in range(600, 620)])
        calls, link.calls = link.calls, []
        firsts += sum(call.attempt == 1 for _, call in calls)
        retries += sum(call.attempt > 1 for _, call in calls)
        for place, (call_id, _) in enumerate(calls):
            outcome = BROKEN if place % 2 else Succeeded()
            desk.dispatcher.answered(link, [(call_id, outcome)])
        await desk.clock.move_to(1_000 * second)
    assert firsts == 1_200
    assert 120 <= retries <= 0.1 * firsts + 2 * CALLS_MIN * 0.1 + 30 + 1
    assert len(desk.outcomes) == firsts + retries


@pytest.mark.parametrize("fail", ["detach", "hang"])
async def test_no_try_waits_for_a_turn_that_will_not_come(
    desk: Desk, fail: str
) -> None:
    """Its participant is gone or hangs: it uses up its attempts in their time."""
    link = attached(desk)
    await half_fails(desk, link)
    desk.dispatcher.send([retried(n) for n in range(100, 110)])
    desk.dispatcher.send([confirm(n) for n in range(200, 210)])
    answer_all(desk, link, BROKEN)
    desk.outcomes.clear()
    if fail == "detach":
        desk.dispatcher.detach(link)
        assert set(desk.codes()) == {"PARTICIPANT_UNAVAILABLE"}
    else:
        desk.dispatcher.send([first(n) for n in range(500, 1_500)])
        answer_all(desk, link, BROKEN)
        desk.outcomes.clear()
        await desk.clock.move_to(900)
        assert desk.codes() == []
        await desk.clock.move_to(desk.clock.now() + 1_100)
        assert "TIMEOUT" in desk.codes()
    told = {key.gid for key, _ in desk.outcomes}
    assert len(told & {f"g-{n}" for n in range(100, 110)}) >= 5
    assert not told & {f"g-{n}" for n in range(204, 210)}


# ---- Coming back ---------------------------------------------------------------------


async def test_v5_a_crowd_comes_back_slowly_at_first(desk: Desk) -> None:
    """V5, V8: some at once, then ever more, and never more than there is credit."""
    desk.dispatcher.send([confirm(n) for n in range(5_000)])
    link = attached(desk, credits=100)
    done: list[int] = []
    asked = [len(answer_all(desk, link, Succeeded()))]
    assert asked[0] == 11, "within the first instant"
    for tick in range(1, 160):
        await desk.clock.move_to(50 * tick)
        while link.calls:
            assert len(link.calls) <= 100
            done.append(len(answer_all(desk, link, Succeeded())))
        if tick % 20 == 0:
            asked.append(len(desk.outcomes))
    assert asked[1] < 200
    assert 2 * asked[1] < asked[2] < 4 * asked[1]
    assert len(desk.outcomes) == 5_000
    assert "UNKNOWN" not in desk.codes()


async def test_nobody_is_asked_who_would_wait_for_credit(desk: Desk) -> None:
    """Whoever waits keeps its time; a participant's credit is its own limit."""
    desk.dispatcher.send([confirm(n) for n in range(50)])
    link = attached(desk, credits=3)
    await desk.clock.move_to(500)
    assert len(link.calls) == 3
    assert desk.outcomes == []


def test_others_do_not_wait_for_a_crowd(desk: Desk) -> None:
    """V2: first calls, and the calls of other participants, go out as ever."""
    desk.dispatcher.send([confirm(n) for n in range(5_000)])
    link = attached(desk)
    other = FakeLink()
    desk.dispatcher.attach("shop", other, credits=10)
    link.calls.clear()
    desk.dispatcher.send([first(9_001), first(9_002, "shop.sell")])
    assert gids([c for _, c in link.calls]) == ["g-9001"]
    assert gids([c for _, c in other.calls]) == ["g-9002"]


async def test_a_time_out_that_opens_it_spares_who_is_due_with_it(
    desk: Desk, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Two timers ring together, and the first one's news moves the second call."""
    monkeypatch.setattr(module, "STILL_WAITING_MS", 1_000)
    link = attached(desk)
    await half_fails(desk, link)
    calls: Callable[[range], list[CallBranch]] = lambda r: [first(n) for n in r]  # noqa: E731
    desk.dispatcher.send(calls(range(100, 1_200)))
    desk.dispatcher.send([retried(n) for n in range(2_000, 2_300)])
    await desk.clock.move_to(1_000)
    assert desk.codes().count("TIMEOUT") >= 1_100
    assert set(desk.codes()) == {"TIMEOUT"}
