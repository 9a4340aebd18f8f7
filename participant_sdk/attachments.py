"""A participant's sessions: one to each live node of the coordinator.

Any node may drive a transaction, so each of them needs a way to every participant.
It begins with the configured targets. Whoever is connected tells which other nodes
live: a session is opened to each new one, and the session to one that left is closed.

One node may be reached in several ways (a name and an address, or a balancer that
leads to any of them). The node's own address says which one it is; the session that
was connected first stays, and configured targets are tried again as soon as no node
is connected any more.
"""

import asyncio
from collections.abc import Callable, Sequence
from functools import partial
from typing import Protocol

from participant_sdk.log import log
from participant_sdk.session import NodeView
from participant_sdk.targets import TARGETS_MAX


class AttachSession(Protocol):
    """What is needed of a session."""

    @property
    def view(self) -> NodeView | None:
        """Of the node that it is connected with."""

    def start(self) -> None:
        """Connect, and keep connecting."""

    def drain(self) -> None:
        """Tell the coordinator to send no further calls."""

    async def finish(self) -> None:
        """Send what is queued, and close."""


OpenSession = Callable[[str, Callable[[], None]], AttachSession]
"""Makes a session to a target that calls back whenever its view has changed."""


class Attachments:
    """Sessions to all live nodes, from ``start`` to ``finish``."""

    def __init__(self, targets: Sequence[str], open_session: OpenSession) -> None:
        self._configured = tuple(targets)
        self._open_session = open_session
        self._sessions: dict[str, AttachSession] = {}
        self._standing: dict[str, NodeView] = {}
        """By target, in the order in which they were connected."""
        self._address: dict[str, str] = {}
        """By target: of the node that was last reached by it."""
        self._closing: set[asyncio.Task[None]] = set()
        self._is_over = False

    @property
    def targets(self) -> frozenset[str]:
        """Whom there is a session to, connected or not."""
        return frozenset(self._sessions)

    def start(self) -> None:
        """Connect to the configured targets."""
        for target in self._configured:
            self._open(target)

    def drain(self) -> None:
        """Tell all nodes to send no further calls; no session is opened any more."""
        self._is_over = True
        for session in self._sessions.values():
            session.drain()

    async def finish(self) -> None:
        """Send what is queued, and close all sessions."""
        self._is_over = True
        for target in tuple(self._sessions):
            self._close(target)
        if self._closing:
            await asyncio.wait(self._closing)

    def _changed(self, target: str) -> None:
        """A session was connected, was told of other nodes, or has lost its node."""
        session = self._sessions.get(target)
        if session is None or self._is_over:
            return
        view = session.view
        if view is None:
            self._standing.pop(target, None)
        else:
            self._standing[target] = view
            self._address[target] = view.address
        if not self._standing:
            for configured in self._configured:
                self._open(configured)
            return
        for other in tuple(self._sessions):
            if self._is_needless(other):
                self._close(other)
        for address in self._live():
            if not any(address in (t, self._address.get(t)) for t in self._sessions):
                self._open(address)

    def _live(self) -> tuple[str, ...]:
        """The addresses of all nodes that are connected, or said to live."""
        views = self._standing.values()
        told = [address for view in views for address in view.peers]
        return tuple(dict.fromkeys([*(view.address for view in views), *told]))

    def _is_needless(self, target: str) -> bool:
        """Whether another session reaches its node, or its node has left."""
        address = self._address.get(target, target)
        for other, view in self._standing.items():
            if other == target:
                return False  # connected, and before any other one to this node
            if view.address == address:
                return True
        return target not in self._configured and address not in self._live()

    def _open(self, target: str) -> None:
        if target in self._sessions or len(self._sessions) >= TARGETS_MAX:
            return
        session = self._open_session(target, partial(self._changed, target))
        self._sessions[target] = session
        session.start()
        log().debug("node_joined", target=target)

    def _close(self, target: str) -> None:
        session = self._sessions.pop(target)
        self._standing.pop(target, None)
        self._address.pop(target, None)
        session.drain()
        closing = asyncio.create_task(session.finish())
        self._closing.add(closing)
        closing.add_done_callback(self._closing.discard)
        log().debug("node_left", target=target)
