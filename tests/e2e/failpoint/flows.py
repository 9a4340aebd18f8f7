"""The transactions that are sent into the points, and what each must come to."""

from collections.abc import Callable, Coroutine, Mapping
from dataclasses import dataclass, field
from typing import NoReturn

from coordinator.core import tcc
from participant_sdk import Call, Refused, TransactionCancelled
from participant_sdk.transaction import TccTransaction
from tests.e2e.failpoint.initiator import Initiator
from tests.e2e.failpoint.shop import ATTEMPT_MAX, Script

DEADLINE_SECONDS = 600
SHORT_DEADLINE_SECONDS = 0.2
CHECK_BACK_SECONDS = 1.0
"""Long enough for one try, which has to be there before."""

FOR_EVER = 1_000_000


Play = Callable[[Initiator, str], Coroutine[None, None, str]]


@dataclass(frozen=True, slots=True)
class Flow:
    """One kind of transaction.

    Attributes:
        play: the initiator with a gid: the end that it was told of, whatever died
            meanwhile.
        end: the status that the transaction must come to.
        effects: by branch, the phases that must have taken effect, once each.
        points: of the coordinator; all are reached, whatever the timing.
        local: of the participant, likewise.
        saga: the definition to publish first.
    """

    name: str
    play: Play
    end: str
    effects: Mapping[str, frozenset[str]]
    points: tuple[str, ...]
    local: tuple[str, ...] = ()
    saga: str = field(default="", repr=False)


NOTHING = frozenset[str]()
TRIED = frozenset({"TRY"})
CONFIRMED = frozenset({"TRY", "CONFIRM"})
CANCELLED = frozenset({"TRY", "CANCEL"})
DONE = frozenset({"ACTION"})
UNDONE = frozenset({"ACTION", "COMPENSATION"})

# ---- TCC --------------------------------------------------------------------------


def calls(*scripts: Script) -> list[Call]:
    """Branches ``1``, ``2``, ... that do as their scripts say."""
    operations = ("shop.reserve", "shop.charge")
    return [
        Call(operations[n % 2], script, branch_id=str(n + 1), attempt_max=ATTEMPT_MAX)
        for n, script in enumerate(scripts)
    ]


async def try_one(tx: TccTransaction, call: Call) -> None:
    """Ask for one branch."""
    await tx.call(
        call.operation,
        call.request,
        branch_id=call.branch_id,
        attempt_max=call.attempt_max,
    )


def confirm(*scripts: Script) -> Play:
    """Try one branch after the other, then confirm."""

    async def play(initiator: Initiator, gid: str) -> str:
        walk = initiator.client.tcc("walk", deadline=DEADLINE_SECONDS, gid=gid)
        try:
            async with walk as tx:
                for call in calls(*scripts):
                    await try_one(tx, call)
                return (await tx.confirm(wait=True)).status
        except Refused:
            # The answer came with the decision; what is left is told at the end.
            return (await initiator.client.get(gid, wait=True)).status

    return play


def cancel(*scripts: Script) -> Play:
    """Try all branches at once, then cancel."""

    async def play(initiator: Initiator, gid: str) -> str:
        told = ""
        walk = initiator.client.tcc("walk", deadline=DEADLINE_SECONDS, gid=gid)
        try:
            async with walk as tx:
                await tx.call_all(calls(*scripts))
                told = (await tx.cancel("CHANGED_MIND", wait=True)).status
        except TransactionCancelled:
            pass  # what leaving the block says of a transaction that is cancelled
        return told

    return play


class ChangedMind(Exception):
    """What an initiator raises to cancel."""


def travel(*, returns: bool = False) -> Play:
    """Try at the agency, which tries at the shop; then confirm, or cancel."""

    async def play(initiator: Initiator, gid: str) -> str:
        walk = initiator.client.tcc("walk", deadline=DEADLINE_SECONDS, gid=gid)
        try:
            async with walk as tx:
                await tx.call("agency.trip", Script(), attempt_max=ATTEMPT_MAX)
                if returns:
                    change_mind()
        except ChangedMind:
            pass
        return (await initiator.client.get(gid, wait=True)).status

    return play


async def register_and_cancel(initiator: Initiator, gid: str) -> str:
    """Register branches whose tries are then never sent, and cancel."""
    walk = initiator.client.tcc("walk", deadline=DEADLINE_SECONDS, gid=gid)
    try:
        async with walk as tx:
            for call in calls(Script(), Script()):
                await tx.register(
                    call.operation, call.request, branch_id=call.branch_id
                )
            change_mind()
    except ChangedMind:
        pass
    return (await initiator.client.get(gid, wait=True)).status


def change_mind() -> NoReturn:
    """Cancel the transaction whose block this is called in."""
    raise ChangedMind


def declare(*scripts: Script, deadline: float = DEADLINE_SECONDS) -> Play:
    """Submit all tries in one request; the coordinator does the rest."""

    async def play(initiator: Initiator, gid: str) -> str:
        result = await initiator.client.submit_tcc(
            "walk", calls(*scripts), deadline=deadline, gid=gid
        )
        return result.status

    return play


async def operate_and_confirm(initiator: Initiator, gid: str) -> str:
    """Let an operator hold, hasten and release it between its tries."""
    walk = initiator.client.tcc("walk", deadline=DEADLINE_SECONDS, gid=gid)
    async with walk as tx:
        first, second = calls(Script(), Script())
        await try_one(tx, first)
        for action in ("Pause", "Retry", "Resume"):
            await initiator.operate(action, gid)
        await try_one(tx, second)
        return (await tx.confirm(wait=True)).status


async def confirm_and_resolve(initiator: Initiator, gid: str) -> str:
    """Confirm what can never be confirmed; an operator settles it by hand."""
    walk = initiator.client.tcc("walk", deadline=DEADLINE_SECONDS, gid=gid)
    async with walk as tx:
        (call,) = calls(Script(failures={"CONFIRM": FOR_EVER}))
        await try_one(tx, call)
    await initiator.resolve(gid, "1")
    return (await initiator.client.get(gid, wait=True)).status


def leave_undecided(check_back: Script) -> Play:
    """Try, and say no more: the coordinator has to ask back."""

    async def play(initiator: Initiator, gid: str) -> str:
        walk = initiator.client.tcc(
            "walk",
            deadline=CHECK_BACK_SECONDS,
            gid=gid,
            check_back="shop.pack",
            check_back_input=check_back,
        )
        await walk.__aenter__()
        (call,) = calls(Script())
        await try_one(walk, call)
        return (await initiator.client.get(gid, wait=True)).status

    return play


COMMIT_POINTS = (
    "tcc.began",
    "tcc.branch-registered",
    "tcc.try-succeeded",
    "tcc.decided-commit",
    "tcc.confirm-succeeded",
    "tcc.finished-confirmed",
)
CANCEL_POINTS = (
    "tcc.began",
    "tcc.branch-registered",
    "tcc.decided-abort",
    "tcc.cancel-succeeded",
    "tcc.finished-cancelled",
)

TCC_FLOWS = (
    Flow(
        "tcc-commit",
        confirm(Script(), Script()),
        "CONFIRMED",
        {"1": CONFIRMED, "2": CONFIRMED},
        COMMIT_POINTS,
        ("participant.try", "participant.confirm"),
    ),
    Flow(
        "tcc-cancel",
        cancel(Script(), Script()),
        "CANCELLED",
        {"1": CANCELLED, "2": CANCELLED},
        (*CANCEL_POINTS, "tcc.try-succeeded"),
        ("participant.try", "participant.cancel"),
    ),
    Flow(
        "tcc-refused",
        confirm(Script(), Script(refused=True)),
        "CANCELLED",
        {"1": CANCELLED, "2": NOTHING},
        (*CANCEL_POINTS, "tcc.try-succeeded", "tcc.try-refused"),
        ("participant.try", "participant.cancel"),
    ),
    Flow(
        "tcc-declared",
        declare(Script(), Script()),
        "CONFIRMED",
        {"1": CONFIRMED, "2": CONFIRMED},
        COMMIT_POINTS,
        ("participant.try", "participant.confirm"),
    ),
    Flow(
        "tcc-direct",
        register_and_cancel,
        "CANCELLED",
        {"1": NOTHING, "2": NOTHING},
        (
            "tcc.began",
            "tcc.branch-registered-direct",
            "tcc.decided-abort",
            "tcc.cancel-succeeded",
            "tcc.finished-cancelled",
        ),
        ("participant.cancel",),
    ),
    Flow(
        "tcc-deadline",
        declare(Script(pendings={"TRY": FOR_EVER}), deadline=SHORT_DEADLINE_SECONDS),
        "CANCELLED",
        {"1": NOTHING},
        CANCEL_POINTS,
        ("participant.cancel",),
    ),
    Flow(
        "tcc-nested",
        travel(),
        "CONFIRMED",
        {"1": CONFIRMED, "1.1.1": CONFIRMED},
        COMMIT_POINTS,
        ("participant.try", "participant.confirm"),
    ),
    Flow(
        "tcc-nested-cancel",
        travel(returns=True),
        "CANCELLED",
        {"1": CANCELLED, "1.1.1": CANCELLED},
        (*CANCEL_POINTS, "tcc.try-succeeded"),
        ("participant.try", "participant.cancel"),
    ),
    Flow(
        "tcc-commit-troubled",
        confirm(
            Script(
                failures={"TRY": 1, "CONFIRM": 1}, pendings={"TRY": 1, "CONFIRM": 1}
            ),
        ),
        "CONFIRMED",
        {"1": CONFIRMED},
        (
            "tcc.try-failed",
            "tcc.try-pending",
            "tcc.confirm-failed",
            "tcc.confirm-pending",
        ),
    ),
    Flow(
        "tcc-attention",
        declare(Script(failures={"CONFIRM": tcc.ATTENTION_AFTER})),
        "CONFIRMED",
        {"1": CONFIRMED},
        ("tcc.attention-raised",),
    ),
    Flow(
        "tcc-cancel-troubled",
        cancel(Script(failures={"CANCEL": 1}, pendings={"CANCEL": 1})),
        "CANCELLED",
        {"1": CANCELLED},
        ("tcc.cancel-failed", "tcc.cancel-pending"),
    ),
    Flow(
        "tcc-operated",
        operate_and_confirm,
        "CONFIRMED",
        {"1": CONFIRMED, "2": CONFIRMED},
        ("tcc.paused", "tcc.retry-requested", "tcc.resumed"),
    ),
    Flow(
        "tcc-resolved",
        confirm_and_resolve,
        "RESOLVED",
        {"1": TRIED},
        ("tcc.branch-resolved", "tcc.finished-resolved"),
    ),
    Flow(
        "tcc-checked",
        leave_undecided(Script(failures={"ACTION": 1}, pendings={"ACTION": 1})),
        "CONFIRMED",
        {"1": CONFIRMED, tcc.CHECK_BACK_ID: DONE},
        (
            "tcc.check-back-started",
            "tcc.check-back-failed",
            "tcc.check-back-pending",
            "tcc.check-back-succeeded",
        ),
    ),
    Flow(
        "tcc-checked-refused",
        leave_undecided(Script(refused=True)),
        "CANCELLED",
        {"1": CANCELLED},
        ("tcc.check-back-refused",),
    ),
)
