"""When a frame waits for what still comes."""

import asyncio

import pytest

from participant_sdk import connect, session
from participant_sdk.pace import PACE_SECONDS, Pace
from protos.v1.coordinator_pb2 import ConfirmRequest, Request
from tests.sdk.fake_coordinator import FakeCoordinator

MOMENT = PACE_SECONDS / 10


def test_who_is_alone_waits_for_nobody() -> None:
    """One request after the other goes out at once, however fast they come."""
    pace = Pace()
    for number in range(10):
        assert pace.pause(1, 0, number * MOMENT) == 0
        pace.sent(number * MOMENT)


def test_as_many_as_are_to_come_wait_for_nobody() -> None:
    """Most answers have come with one frame; few others will follow."""
    pace = Pace()
    pace.sent(0.0)
    assert pace.pause(16, 16, MOMENT) == 0


def test_few_of_many_wait_until_the_last_frame_is_old_enough() -> None:
    """And never longer."""
    pace = Pace()
    pace.sent(1.0)
    assert pace.pause(15, 16, 1.0 + MOMENT) == pytest.approx(PACE_SECONDS - MOMENT)
    assert pace.pause(1, 1_000, 1.0 + PACE_SECONDS) == 0


def test_nothing_waits_for_nothing() -> None:
    """A writer that was woken in vain is not held up."""
    pace = Pace()
    pace.sent(0.0)
    assert pace.pause(0, 16, MOMENT) == 0


async def test_a_session_lets_few_requests_wait_for_others(
    coordinator: FakeCoordinator, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It says how many wait and how many answers are to come, and keeps the pause."""
    told: list[tuple[int, int]] = []
    later: list[str] = []
    idle = asyncio.Event()

    class Told(Pace):
        def pause(self, count: int, others: int, now: float) -> float:
            if not count:
                idle.set()
                return 0.0
            told.append((count, others))
            for gid in later:
                asyncio.get_running_loop().call_soon(ask, gid)
            return 0.001 if later else 0.0

    def ask(gid: str) -> None:
        client._session.request(Request(confirm=ConfirmRequest(gid=gid)))

    monkeypatch.setattr(session, "Pace", Told)
    async with connect(coordinator.target) as client:
        attachment = await coordinator.attached.get()
        for gid in ("g1", "g2"):
            ask(gid)
            await coordinator.asked.get()
            # What is asked while a frame is being written goes out after it at once.
            # Woken in vain, the writer shows that it writes no more.
            idle.clear()
            attachment.tell_peers()
            await idle.wait()
        later.append("g4")
        ask("g3")
        for _ in range(2):
            await coordinator.asked.get()
        later.clear()

    assert told[:3] == [(1, 0), (1, 1), (1, 2)]
    frames = [[r.confirm.gid for r in f.requests] for f in attachment.frames]
    assert [gids for gids in frames if gids][:3] == [["g1"], ["g2"], ["g3", "g4"]]
