"""The real rules, asked once for each question and remembered.

Everything that a node decides in these worlds is decided here, by
``coordinator.core``: what an input means, what is due, who can be answered. States,
inputs and calls are numbered, so that a node's state is a few small numbers and a
question that was asked before is a look-up. Number 0 is "no such transaction".

Time is abstract. A clock stands either before the deadline or after it, and every
instant in a transaction is "past": what waits for its next attempt may be asked at any
time. So each world contains every order in which real instants could have come.
"""

from collections.abc import Hashable, Iterable, Mapping
from functools import cache
from typing import Any, NamedTuple

from msgspec.structs import fields

from coordinator.core import machine
from coordinator.core.actions import CallBranch
from coordinator.core.changed import changed
from coordinator.core.errors import Refusal
from coordinator.core.inputs import DEFERRED, BranchReplied, Input, Woken
from coordinator.core.model import Branch, GlobalTransaction
from coordinator.core.words import Phase

PAST = 0
"""Every instant that has come."""

EARLY = 1
"""What a clock shows before the deadline."""

DEADLINE = 10
LATE = 11


class Step(NamedTuple):
    """What an input came to.

    Attributes:
        tx: the state after it.
        facts: 0 none, 1 lazy ones, 2 such as must be durable first.
        refusal: why the wish was not granted, or empty.
    """

    tx: int
    facts: int
    refusal: str = ""


LAZY = 1
EAGER = 2


class Decisions:
    """The core's answers about the one transaction of a world."""

    def __init__(self) -> None:
        self._txs: list[GlobalTransaction | None] = [None]
        self._tx_numbers: dict[Hashable, int] = {}
        self._inputs: list[Input] = []
        self._input_numbers: dict[Hashable, int] = {}
        self._calls: list[CallBranch] = []
        self._call_numbers: dict[CallBranch, int] = {}
        self.woken = self.input_number(Woken())
        self.step = cache(self._step)
        self.due = cache(self._due)
        self.is_due = cache(self._is_due)
        self.answerable = cache(self._answerable)
        self.is_ready = cache(self._is_ready)

    def tx(self, number: int) -> GlobalTransaction | None:
        """The transaction behind a number; ``None`` for 0."""
        return self._txs[number]

    def stored(self, number: int) -> GlobalTransaction:
        """The same, where there is one."""
        tx = self._txs[number]
        if tx is None:
            raise LookupError("no transaction has the number 0")
        return tx

    def input_number(self, what: Input) -> int:
        """The number of an input; equal answers of participants share one."""
        key = what if isinstance(what, BranchReplied) else id(what)
        if key not in self._input_numbers:
            self._input_numbers[key] = len(self._inputs)
            self._inputs.append(what)
        return self._input_numbers[key]

    def input(self, number: int) -> Input:
        """The input behind a number."""
        return self._inputs[number]

    def call(self, number: int) -> CallBranch:
        """The call behind a number."""
        return self._calls[number]

    # ---- What is asked of the core; see __init__ ------------------------------------

    def _step(self, number: int, what: int, late: int) -> Step:
        before = self._txs[number]
        try:
            after, events = machine.step(before, self._inputs[what], _now(late))
        except Refusal as refusal:
            return Step(number, 0, refusal.reason)
        if not events:
            return Step(number, 0)
        facts = LAZY if machine.is_lazy(events) else EAGER
        return Step(self._tx_number(after), facts)

    def _due(self, number: int, late: int) -> tuple[tuple[str, Phase, int], ...]:
        return tuple(
            (call.branch_id, call.phase, self._call_number(call))
            for call in machine.due(self.stored(number), _now(late))
        )

    def _is_due(self, number: int, in_flight: tuple[str, ...], late: int) -> bool:
        at = machine.due_at(self.stored(number), in_flight)
        return at is not None and at <= _now(late)

    def _answerable(self, what: int, number: int) -> bool:
        return machine.answerable(self._inputs[what], self.stored(number))

    def _is_ready(self, what: int, number: int) -> bool:
        is_deferred = isinstance(self._inputs[what], DEFERRED)
        return is_deferred and machine.is_ready(self.stored(number))

    def _tx_number(self, tx: GlobalTransaction) -> int:
        tx = timeless(tx)
        key = frozen(tx)
        if key not in self._tx_numbers:
            self._tx_numbers[key] = len(self._txs)
            self._txs.append(tx)
        return self._tx_numbers[key]

    def _call_number(self, call: CallBranch) -> int:
        if call not in self._call_numbers:
            self._call_numbers[call] = len(self._calls)
            self._calls.append(call)
        return self._call_numbers[call]


def _now(late: int) -> int:
    return LATE if late else EARLY


def timeless(tx: GlobalTransaction) -> GlobalTransaction:
    """The state with every instant in the past, in one order, without prose."""
    branches: Mapping[str, Branch] = {
        branch_id: changed(branch, **_past(branch))
        for branch_id, branch in sorted(tx.branches.items())
    }
    return changed(tx, branches=branches, reason_text="", **_past(tx))


def _past(value: Branch | GlobalTransaction) -> dict[str, Any]:
    return {
        name: PAST
        for name in _instants(type(value))
        if getattr(value, name) is not None
    }


@cache
def _instants(kind: type) -> tuple[str, ...]:
    return tuple(f.name for f in fields(kind) if f.name.endswith(("_at", "_since")))


_CONSTANT = ("request", "definition", "revision", "journal_seq", "owner", "open")
"""The same in the whole world, kept by the world itself, or derived."""


def frozen(tx: GlobalTransaction) -> Hashable:
    """All of a state that may differ within one world."""
    return tuple(
        _hashable(getattr(tx, field.name))
        for field in fields(tx)
        if field.name not in _CONSTANT
    )


def _hashable(value: Any) -> Hashable:
    if isinstance(value, Mapping):
        return tuple((key, _hashable(item)) for key, item in value.items())
    if isinstance(value, Iterable) and not isinstance(value, str | bytes):
        return tuple(_hashable(item) for item in value)
    return value
