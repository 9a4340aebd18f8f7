"""What the entrances need of the engine, as Protocols."""

from collections.abc import Callable, Mapping, Sequence
from typing import Protocol, TypeAlias

from coordinator.core.errors import CoordinatorError, Overloaded
from coordinator.core.inputs import Input, Outcome
from coordinator.core.model import (
    GlobalTransaction,
    Instant,
    Key,
)
from coordinator.ports import AuditEntry, Link

Result: TypeAlias = GlobalTransaction | CoordinatorError


class Ticket(Protocol):
    """Something that was asked for and may still be answered."""

    def cancel(self) -> None:
        """Drop the answer; what was asked goes on. Harmless when it was answered."""


class Engine(Protocol):
    """Takes inputs and answers with states."""

    def submit(
        self,
        key: Key,
        what: Input,
        reply: Callable[[Result], None],
        *,
        audit: AuditEntry | None = None,
    ) -> Ticket:
        """Hand over an input; never blocks, never raises.

        ``reply`` is called exactly once, on the event loop, with a state that is
        durable where it has to be, or with the error; never after ``cancel``.
        """

    def overload(self, *, is_new: bool) -> Overloaded | None:
        """Why a request would be refused now, whatever it says.

        Args:
            is_new: it would begin a transaction.
        """

    def watch(self, key: Key, changed: Callable[[Result], None]) -> Ticket:
        """Report every durable change, until the ticket is cancelled."""


class Dispatcher(Protocol):
    """Sends calls over the links of participants."""

    def attach(
        self,
        participant: str,
        link: Link,
        *,
        credits: int,  # noqa: A002 - flow control has no better word
    ) -> None:
        """The link's participant takes calls, ``credits`` of them at a time."""

    def detach(self, link: Link) -> None:
        """The link is gone; the outcomes of its open calls are unknown."""

    def drain(self, link: Link) -> None:
        """The link takes no new calls."""

    def answered(self, link: Link, replies: Sequence[tuple[int, Outcome]]) -> None:
        """Calls were answered; ids that are not open mean nothing."""

    def lapsed(self, link: Link, call_ids: Sequence[int]) -> None:
        """Calls whose time is up, and to which no answer can come any more."""

    def attached(self) -> Mapping[str, Instant]:
        """The participants that have a link to this node, and since when."""
