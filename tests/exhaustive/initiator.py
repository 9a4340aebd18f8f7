"""Whoever asks for the transaction: one small program a world, and an open ending.

Every request may go to either node, may be repeated when its answer is lost, and the
abort may come at any time. An initiator that dies is one that asks nothing further,
which is among the orders of events anyway: nothing ever waits for it but the deadline.
"""

from typing import NamedTuple, TypeAlias

from coordinator.core.model import GlobalTransaction
from coordinator.core.words import BranchStatus, Decision

NEW, ASKED, YES, NO = range(4)

Progress: TypeAlias = tuple[int, ...]
"""How far each request of a program has come."""


class Request(NamedTuple):
    """One thing to ask for.

    Attributes:
        what: number of the input.
        needs: positions of the requests that must have been granted before.
        tries: granted when these branches have been tried.
        stubborn: asked although another request was denied.
    """

    name: str
    what: int
    needs: tuple[int, ...] = ()
    tries: tuple[str, ...] = ()
    stubborn: bool = False


Program: TypeAlias = tuple[Request, ...]


def wishes(program: Program, progress: Progress) -> list[tuple[Request, Progress]]:
    """Everything that may be asked next, and the initiator when it is."""
    denied = NO in progress
    return [
        (request, _with(progress, at, ASKED))
        for at, request in enumerate(program)
        if progress[at] == NEW
        and (request.stubborn or not denied)
        and all(progress[need] == YES for need in request.needs)
    ]


def hears(
    program: Program, progress: Progress, what: int, tx: GlobalTransaction | None
) -> Progress:
    """A request is answered, with a state or a refusal."""
    at = _position(program, what)
    if progress[at] != ASKED:
        return progress
    granted = tx is not None and _is_granted(program[at], tx)
    return _with(progress, at, YES if granted else NO)


def forgets(program: Program, progress: Progress, what: int) -> Progress:
    """No answer will come to this request; it may be asked again."""
    at = _position(program, what)
    return _with(progress, at, NEW) if progress[at] == ASKED else progress


def _is_granted(request: Request, tx: GlobalTransaction) -> bool:
    return not request.tries or (
        tx.decision is Decision.NONE
        and all(tx.branches[b].status is BranchStatus.TRIED for b in request.tries)
    )


def _position(program: Program, what: int) -> int:
    return next(at for at, request in enumerate(program) if request.what == what)


def _with(progress: Progress, at: int, step: int) -> Progress:
    return (*progress[:at], step, *progress[at + 1 :])
