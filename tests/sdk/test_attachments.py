"""A participant is attached to every live node, while nodes come and go."""

import asyncio
from collections.abc import Callable

import pytest

from participant_sdk.attachments import Attachments
from participant_sdk.session import NodeView


class FakeSession:
    """Connected when a test says so."""

    def __init__(self, target: str, changed: Callable[[], None]) -> None:
        self.target = target
        self.view: NodeView | None = None
        self.started = self.drained = self.finished = False
        self._changed = changed

    def start(self) -> None:
        self.started = True

    def drain(self) -> None:
        self.drained = True

    async def finish(self) -> None:
        self.finished = True

    def connected(self, *peers: str, address: str = "") -> None:
        """Its node welcomes it, or tells which others live now."""
        self.view = NodeView(address or self.target, peers)
        self._changed()

    def lost(self) -> None:
        """Its node is gone."""
        self.view = None
        self._changed()


class Desk:
    """Attachments over fakes, and every session that was ever opened."""

    def __init__(self, *targets: str) -> None:
        self.opened: list[FakeSession] = []
        self.attachments = Attachments(targets, self._open)
        self.attachments.start()

    def _open(self, target: str, changed: Callable[[], None]) -> FakeSession:
        self.opened.append(FakeSession(target, changed))
        return self.opened[-1]

    def __getitem__(self, target: str) -> FakeSession:
        """The latest session to a target."""
        return [s for s in self.opened if s.target == target][-1]

    @property
    def targets(self) -> set[str]:
        return set(self.attachments.targets)


async def test_it_begins_with_all_configured_targets() -> None:
    """Whichever of them lives, it is found."""
    desk = Desk("a:1", "b:1")
    assert [(s.target, s.started) for s in desk.opened] == [
        ("a:1", True),
        ("b:1", True),
    ]


async def test_a_session_is_opened_to_each_node_that_is_told_of() -> None:
    """In the welcome, and whenever another one comes."""
    desk = Desk("a:1")
    desk["a:1"].connected("b:1")
    assert desk.targets == {"a:1", "b:1"}
    desk["b:1"].connected("a:1")
    desk["a:1"].connected("b:1", "c:1")
    assert desk.targets == {"a:1", "b:1", "c:1"}
    assert len(desk.opened) == 3
    assert desk["c:1"].started


async def test_the_session_to_a_node_that_left_is_closed() -> None:
    """As soon as nobody says any more that it lives; what it ran is finished first."""
    desk = Desk("a:1")
    desk["a:1"].connected("b:1")
    left = desk["b:1"]
    left.connected("a:1")
    left.lost()
    assert desk.targets == {"a:1", "b:1"}
    desk["a:1"].connected()
    assert desk.targets == {"a:1"}
    await desk.attachments.finish()
    assert (left.drained, left.finished) == (True, True)


async def test_a_node_that_is_said_to_be_dead_but_connected_is_kept() -> None:
    """A peer that judges wrongly takes nothing from us."""
    desk = Desk("a:1")
    desk["a:1"].connected("b:1")
    desk["b:1"].connected("a:1")
    desk["a:1"].connected()
    assert desk.targets == {"a:1", "b:1"}


async def test_a_configured_target_that_left_is_tried_further() -> None:
    """It may be restarted at the same address; the operator named it."""
    desk = Desk("a:1", "b:1")
    desk["a:1"].connected("b:1")
    desk["b:1"].connected("a:1")
    desk["a:1"].lost()
    desk["b:1"].connected()
    assert desk.targets == {"a:1", "b:1"}
    assert len(desk.opened) == 2


async def test_one_node_under_two_names_gets_one_session() -> None:
    """A node on localhost is announced as 127.0.0.1, and is the same."""
    desk = Desk("localhost:1")
    desk["localhost:1"].connected("b:1", address="127.0.0.1:1")
    desk["b:1"].connected("127.0.0.1:1")
    assert desk.targets == {"localhost:1", "b:1"}


@pytest.mark.parametrize("first", ["vip:1", "b:1"])
async def test_the_session_that_stood_first_stays(first: str) -> None:
    """A balancer that leads to a node that is attached already gives way."""
    desk = Desk("vip:1", "b:1")
    second = ({"vip:1", "b:1"} - {first}).pop()
    desk[first].connected(address="b:1")
    desk[second].connected(address="b:1")
    assert desk.targets == {first}


async def test_configured_targets_are_tried_again_when_no_node_is_left() -> None:
    """Even those that had given way; and the last known addresses are kept."""
    desk = Desk("vip:1")
    desk["vip:1"].connected("b:1", address="a:1")
    desk["b:1"].connected("a:1")
    desk["vip:1"].lost()
    desk["vip:1"].connected(address="b:1")
    assert desk.targets == {"b:1", "a:1"}
    desk["b:1"].lost()
    assert desk.targets == {"b:1", "a:1", "vip:1"}


async def test_what_is_told_after_the_drain_opens_nothing() -> None:
    """Who stops attaches to nobody any more, and parts from all."""
    desk = Desk("a:1")
    session = desk["a:1"]
    session.connected()
    desk.attachments.drain()
    session.connected("b:1")
    await asyncio.wait_for(desk.attachments.finish(), 5)
    assert len(desk.opened) == 1
    assert (session.drained, session.finished) == (True, True)
