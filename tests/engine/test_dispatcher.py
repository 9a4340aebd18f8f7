"""Promises of the dispatcher: every call gets exactly one outcome, in bounds."""

from collections.abc import Sequence

import pytest
from structlog.testing import capture_logs

from coordinator.core.actions import CallBranch
from coordinator.core.breaker import CALLS_MIN, PROBES_TO_CLOSE, SILENT_MS
from coordinator.core.changed import changed
from coordinator.core.inputs import BranchReplied, Succeeded, Unknown
from coordinator.core.model import NO_PAYLOAD, Key
from coordinator.core.words import Phase
from coordinator.engine import dispatcher as module
from coordinator.engine.dispatcher import Dispatcher
from tests.engine.world import FakeClock


class FakeLink:
    """Remembers what was handed over."""

    def __init__(self) -> None:
        self.calls: list[tuple[int, CallBranch]] = []

    def send(self, calls: Sequence[tuple[int, CallBranch]]) -> None:
        self.calls += calls

    def ids(self) -> list[int]:
        return [call_id for call_id, _ in self.calls]


class Desk:
    """A dispatcher, its clock, and the outcomes it reported."""

    def __init__(self, waits_ms: int = 0) -> None:
        self.clock = FakeClock()
        self.outcomes: list[tuple[Key, BranchReplied]] = []
        self.returned: list[str] = []
        self.waiting: list[CallBranch] = []
        self.unwanted: set[str] = set()
        self.dispatcher = Dispatcher(
            self.clock,
            self.outcomes.extend,
            self.returned.append,
            in_turn=self.wanted,
            on_waiting=self.waiting.extend,
            waits_ms=waits_ms,
        )

    def wanted(self, call: CallBranch) -> CallBranch | None:
        return None if call.key.gid in self.unwanted else call

    def codes(self) -> list[str]:
        return [
            what.outcome.code if isinstance(what.outcome, Unknown) else "OK"
            for _, what in self.outcomes
        ]


def call(
    n: int = 1, *, operation: str = "bank.debit", timeout: int = 100
) -> CallBranch:
    return CallBranch(
        Key("default", f"g-{n}"),
        "b",
        operation,
        Phase.TRY,
        1,
        NO_PAYLOAD,
        NO_PAYLOAD,
        100,
    )


@pytest.fixture
def desk() -> Desk:
    """A dispatcher without links."""
    return Desk()


def test_answer_comes_back_with_its_call(desk: Desk) -> None:
    """Key, branch, phase and attempt are those of the call."""
    link = FakeLink()
    desk.dispatcher.attach("bank", link, credits=10)
    desk.dispatcher.send([call()])
    desk.dispatcher.answered(link, [(link.ids()[0], Succeeded())])

    assert desk.outcomes == [
        (Key("default", "g-1"), BranchReplied("b", Phase.TRY, 1, Succeeded()))
    ]


def test_coming_and_going_is_logged_once(desk: Desk) -> None:
    """Operators see when a participant is there, and when it is not."""
    link = FakeLink()
    with capture_logs() as logs:
        desk.dispatcher.attach("bank", link, credits=1)
        desk.dispatcher.detach(link)
        desk.dispatcher.detach(link)

    assert [(line["event"], line["participant"]) for line in logs] == [
        ("participant_attached", "bank"),
        ("participant_detached", "bank"),
    ]


def test_nobody_attached_is_unknown_at_once(desk: Desk) -> None:
    """The transaction's own back-off asks again."""
    desk.dispatcher.send([call()])

    assert desk.codes() == ["PARTICIPANT_UNAVAILABLE"]


def test_credits_bound_what_is_out(desk: Desk) -> None:
    """The rest waits and follows as answers come."""
    link = FakeLink()
    desk.dispatcher.attach("bank", link, credits=2)
    desk.dispatcher.send([call(n) for n in range(5)])
    assert len(link.calls) == 2
    desk.dispatcher.answered(link, [(n, Succeeded()) for n in link.ids()])

    assert len(link.calls) == 4


def test_calls_sent_together_reach_each_its_participant(desk: Desk) -> None:
    """Whatever the operation is, a participant's calls keep their order."""
    bank, shop = FakeLink(), FakeLink()
    desk.dispatcher.attach("bank", bank, credits=9)
    desk.dispatcher.attach("shop", shop, credits=9)
    operations = ["bank.debit", "shop.ship", "bank.credit", "bank.debit", "shop.ship"]

    desk.dispatcher.send([call(n, operation=name) for n, name in enumerate(operations)])

    assert [sent.key.gid for _, sent in bank.calls] == ["g-0", "g-2", "g-3"]
    assert [sent.key.gid for _, sent in shop.calls] == ["g-1", "g-4"]
    assert len({*bank.ids(), *shop.ids()}) == 5


def test_what_does_not_fit_on_one_link_goes_on_to_the_next(desk: Desk) -> None:
    """The emptiest link is the first, and nobody overtakes who waits for credit."""
    small, large = FakeLink(), FakeLink()
    desk.dispatcher.attach("bank", small, credits=2)
    desk.dispatcher.attach("bank", large, credits=3)

    desk.dispatcher.send([call(n) for n in range(3)])
    assert [sent.key.gid for _, sent in large.calls] == ["g-0", "g-1", "g-2"]
    desk.dispatcher.send([call(n) for n in range(3, 8)])
    desk.dispatcher.send([call(8)])
    desk.dispatcher.answered(large, [(n, Succeeded()) for n in large.ids()])

    assert [sent.key.gid for _, sent in small.calls] == ["g-3", "g-4"]
    assert [sent.key.gid for _, sent in large.calls[3:]] == ["g-5", "g-6", "g-7"]


def test_links_share_the_work(desk: Desk) -> None:
    """Both of a participant's sessions get calls when one is full."""
    links = [FakeLink(), FakeLink()]
    for link in links:
        desk.dispatcher.attach("bank", link, credits=2)
    desk.dispatcher.send([call(n) for n in range(4)])

    assert [len(link.calls) for link in links] == [2, 2]


async def test_timeout_outside_and_in_the_queue(desk: Desk) -> None:
    """Time runs from the sending, wherever the call is; each is answered once."""
    link = FakeLink()
    desk.dispatcher.attach("bank", link, credits=1)
    desk.dispatcher.send([call(1), call(2)])
    await desk.clock.move_to(100)
    assert desk.codes() == ["TIMEOUT", "TIMEOUT"]
    desk.dispatcher.answered(link, [(link.ids()[0], Succeeded())])

    assert len(desk.outcomes) == 2
    assert len(link.calls) == 1


async def test_calls_sent_together_keep_their_own_times(desk: Desk) -> None:
    """A quick operation's time is up while a slow one's goes on."""
    desk.dispatcher.attach("bank", FakeLink(), credits=10)
    desk.dispatcher.send([call(1), changed(call(2), timeout_ms=300), call(3)])
    await desk.clock.move_to(299)
    assert [key.gid for key, _ in desk.outcomes] == ["g-1", "g-3"]
    await desk.clock.move_to(300)

    assert [key.gid for key, _ in desk.outcomes] == ["g-1", "g-3", "g-2"]


def test_answers_that_come_together_are_heard_one_by_one(desk: Desk) -> None:
    """Their participant fails after the first, and works again after the last."""
    link = FakeLink()
    desk.dispatcher.attach("bank", link, credits=100)
    desk.returned.clear()
    desk.dispatcher.send([call(n) for n in range(1 + CALLS_MIN + PROBES_TO_CLOSE)])
    well, failed = Succeeded(), Unknown("INTERNAL")
    outcomes = (well, *[failed] * CALLS_MIN, *[well] * PROBES_TO_CLOSE)
    with capture_logs() as logs:
        desk.dispatcher.answered(link, list(zip(link.ids(), outcomes, strict=True)))

    assert [line["event"] for line in logs] == [
        "participant_failing",
        "participant_works_again",
    ]
    assert desk.returned == ["bank"]
    assert [what.outcome for _, what in desk.outcomes] == list(outcomes)


async def test_timed_out_call_keeps_its_credit(desk: Desk) -> None:
    """A participant that hangs is not given more than it can hold."""
    link = FakeLink()
    desk.dispatcher.attach("bank", link, credits=1)
    desk.dispatcher.send([call(1)])
    await desk.clock.move_to(100)
    desk.dispatcher.send([call(2)])
    assert len(link.calls) == 1
    desk.dispatcher.answered(link, [(link.ids()[0], Succeeded())])

    assert len(link.calls) == 2


async def test_a_call_that_lapsed_gives_its_credit_back(desk: Desk) -> None:
    """Its link knows that no answer can come; its outcome was the time-out."""
    link = FakeLink()
    desk.dispatcher.attach("bank", link, credits=1)
    desk.returned.clear()
    desk.dispatcher.send([call(1)])
    await desk.clock.move_to(100)
    desk.dispatcher.send([call(2)])
    assert len(link.calls) == 1
    desk.dispatcher.lapsed(link, link.ids())

    assert len(link.calls) == 2
    assert desk.codes() == ["TIMEOUT"]
    assert not desk.returned


async def test_a_call_that_lapsed_before_its_time_was_up_has_timed_out(
    desk: Desk,
) -> None:
    """Once; two clocks need not agree."""
    link = FakeLink()
    desk.dispatcher.attach("bank", link, credits=1)
    desk.dispatcher.send([call(1), call(2)])
    desk.dispatcher.lapsed(link, link.ids())
    assert desk.codes() == ["TIMEOUT"]
    assert len(link.calls) == 2
    await desk.clock.move_to(99)
    desk.dispatcher.answered(link, [(n, Succeeded()) for n in link.ids()])

    assert desk.codes() == ["TIMEOUT", "OK"]


async def test_a_participant_of_lapsed_calls_is_silent(desk: Desk) -> None:
    """No answer of its own was among them; its first one is its return (V8)."""
    link = FakeLink()
    desk.dispatcher.attach("bank", link, credits=10)
    desk.returned.clear()
    desk.dispatcher.send([call(1)])
    await desk.clock.move_to(100 + SILENT_MS)
    desk.dispatcher.lapsed(link, link.ids())
    desk.dispatcher.lapsed(FakeLink(), link.ids())
    assert not desk.returned
    desk.dispatcher.send([call(2)])
    desk.dispatcher.answered(link, [(link.ids()[-1], Succeeded())])

    assert desk.returned == ["bank"]


def test_detached_link_makes_its_calls_unknown(desk: Desk) -> None:
    """What was out and what waited is asked again elsewhere or later."""
    link = FakeLink()
    desk.dispatcher.attach("bank", link, credits=1)
    desk.dispatcher.send([call(1), call(2)])
    desk.dispatcher.detach(link)
    desk.dispatcher.detach(link)
    desk.dispatcher.answered(link, [(link.ids()[0], Succeeded())])

    assert desk.codes() == ["DISCONNECTED", "PARTICIPANT_UNAVAILABLE"]
    assert desk.dispatcher.attached() == {}


def test_draining_link_gets_nothing_new(desk: Desk) -> None:
    """What is out there may still be answered."""
    old, new = FakeLink(), FakeLink()
    desk.dispatcher.attach("bank", old, credits=10)
    desk.dispatcher.send([call(1)])
    desk.dispatcher.attach("bank", new, credits=10)
    desk.dispatcher.drain(old)
    desk.dispatcher.send([call(2)])
    desk.dispatcher.answered(old, [(old.ids()[0], Succeeded())])

    assert (len(old.calls), len(new.calls)) == (1, 1)
    assert desk.codes() == ["OK"]


def test_hanging_participant_harms_nobody_else(desk: Desk) -> None:
    """Each participant has its own queue and credits (V2)."""
    slow, quick = FakeLink(), FakeLink()
    desk.dispatcher.attach("slow", slow, credits=1)
    desk.dispatcher.attach("quick", quick, credits=10)
    calls = [call(n, operation="slow.x") for n in range(5)]
    desk.dispatcher.send([*calls, call(9, operation="quick.x")])

    assert len(quick.calls) == 1


def test_full_queue_is_unknown(desk: Desk, monkeypatch: pytest.MonkeyPatch) -> None:
    """A queue has a limit; beyond it the transaction asks again later."""
    monkeypatch.setattr(module, "QUEUE_MAX", 2)
    desk.dispatcher.attach("bank", FakeLink(), credits=0)
    desk.dispatcher.send([call(n) for n in range(3)])

    assert desk.codes() == ["PARTICIPANT_OVERLOADED"]


def test_unasked_answers_are_dropped(desk: Desk) -> None:
    """An answer to no call, or from no link, is nothing."""
    link = FakeLink()
    desk.dispatcher.answered(link, [(1, Succeeded())])
    desk.dispatcher.attach("bank", link, credits=1)
    desk.dispatcher.answered(link, [(77, Succeeded())])

    assert desk.outcomes == []


# ---- Coming back ------------------------------------------------------------------


def test_a_participant_that_was_away_returns(desk: Desk) -> None:
    """The engine hears of it once, when it has a link again (V8)."""
    link, second = FakeLink(), FakeLink()
    desk.dispatcher.attach("bank", link, credits=1)
    assert desk.returned == ["bank"], "nobody knew of it before"
    desk.dispatcher.attach("bank", second, credits=1)
    desk.dispatcher.detach(link)
    desk.dispatcher.attach("bank", link, credits=1)
    assert desk.returned == ["bank"], "it was there all the time"
    desk.dispatcher.detach(second)
    desk.dispatcher.detach(link)
    desk.dispatcher.attach("bank", link, credits=1)
    assert desk.returned == ["bank", "bank"]


def test_a_link_beside_draining_ones_is_a_return(desk: Desk) -> None:
    """What waited could not go out; the next process of the participant takes it."""
    old = FakeLink()
    desk.dispatcher.attach("bank", old, credits=1)
    desk.dispatcher.drain(old)
    desk.dispatcher.attach("bank", FakeLink(), credits=1)
    assert desk.returned == ["bank", "bank"]


async def test_an_answer_after_a_long_silence_is_a_return(desk: Desk) -> None:
    """It hung with its session open, and is back (V8)."""
    link = FakeLink()
    desk.dispatcher.attach("bank", link, credits=10)
    desk.returned.clear()
    desk.dispatcher.send([call()])
    await desk.clock.move_to(100 + SILENT_MS)
    assert desk.codes() == ["TIMEOUT"]
    assert not desk.returned
    desk.dispatcher.answered(link, [(link.ids()[0], Succeeded())])
    assert desk.returned == ["bank"]
    desk.dispatcher.answered(link, [])
    assert desk.returned == ["bank"]


async def test_one_that_answers_between_its_time_outs_never_returns(
    desk: Desk,
) -> None:
    """It is overloaded, and hastening those who wait would keep it so."""
    link = FakeLink()
    desk.dispatcher.attach("bank", link, credits=100)
    desk.returned.clear()
    for number in range(10):
        desk.dispatcher.send([call(2 * number), call(2 * number + 1)])
        await desk.clock.move_to(desk.clock.now() + SILENT_MS - 1)
        desk.dispatcher.answered(link, [(link.ids()[-1], Succeeded())])
    assert desk.codes() == ["TIMEOUT"] * 20
    assert not desk.returned


async def test_slowness_without_a_time_out_is_no_silence(desk: Desk) -> None:
    """Nor is a time in which nobody asked anything."""
    link = FakeLink()
    desk.dispatcher.attach("bank", link, credits=10)
    desk.returned.clear()
    await desk.clock.move_to(10 * SILENT_MS)
    desk.dispatcher.send([call()])
    desk.dispatcher.answered(link, [(link.ids()[0], Succeeded())])
    assert not desk.returned


async def test_a_silence_ends_with_its_session(desk: Desk) -> None:
    """A new link is the return; its first answer is not another one."""
    old, new = FakeLink(), FakeLink()
    desk.dispatcher.attach("bank", old, credits=10)
    desk.dispatcher.send([call()])
    await desk.clock.move_to(2 * SILENT_MS)
    desk.dispatcher.detach(old)
    desk.dispatcher.attach("bank", new, credits=10)
    desk.returned.clear()
    desk.dispatcher.send([call(2)])
    desk.dispatcher.answered(new, [(new.ids()[0], Succeeded())])
    assert not desk.returned


def test_attached_since_the_first_of_its_links(desk: Desk) -> None:
    """A second link changes nothing; who comes back begins anew."""
    first, second = FakeLink(), FakeLink()
    began = desk.clock.now()
    desk.dispatcher.attach("bank", first, credits=1)
    desk.clock.time += 10
    desk.dispatcher.attach("bank", second, credits=1)
    desk.dispatcher.detach(first)

    assert desk.dispatcher.attached() == {"bank": began}
    desk.dispatcher.detach(second)
    desk.dispatcher.attach("bank", first, credits=1)
    assert desk.dispatcher.attached() == {"bank": began + 10}


# ---- A node comes and goes -----------------------------------------------------------


def test_a_node_that_has_just_started_waits_for_its_participants() -> None:
    """V7: a call does not use up its attempts while they are about to attach."""
    desk, link = Desk(waits_ms=1_000), FakeLink()
    desk.dispatcher.send([call(1)])
    assert desk.outcomes == []
    desk.dispatcher.attach("bank", link, credits=1)
    assert [c.key.gid for _, c in link.calls] == ["g-1"]


async def test_who_never_attaches_is_waited_for_no_longer_than_a_call_may_take() -> (
    None
):
    """Its time is up in the queue; after the start it is told at once."""
    desk = Desk(waits_ms=1_000)
    desk.dispatcher.send([call(1)])
    await desk.clock.move_to(desk.clock.now() + 1_000)
    assert desk.codes() == ["TIMEOUT"]
    desk.dispatcher.send([call(2)])
    assert desk.codes() == ["TIMEOUT", "PARTICIPANT_UNAVAILABLE"]


async def test_a_node_that_leaves_asks_nothing_and_fails_nothing(desk: Desk) -> None:
    """V7: the next owner asks, as after a crash; no attempt is lost to the restart."""
    link = FakeLink()
    desk.dispatcher.attach("bank", link, credits=2)
    desk.dispatcher.send([call(1), call(2), call(3)])
    desk.dispatcher.leave()
    desk.dispatcher.send([call(4)])
    answered, _ = link.ids()
    desk.dispatcher.answered(link, [(answered, Succeeded(NO_PAYLOAD))])
    desk.dispatcher.detach(link)
    await desk.clock.move_to(desk.clock.now() + 1_000)
    assert len(link.calls) == 2
    assert desk.codes() == ["OK"]
