"""The sagas that are sent into the points, and what each must come to."""

from tests.e2e.failpoint.flows import (
    CANCELLED,
    CONFIRMED,
    DONE,
    NOTHING,
    TCC_FLOWS,
    UNDONE,
    Flow,
)
from tests.e2e.failpoint.initiator import Initiator
from tests.e2e.failpoint.shop import ATTEMPT_MAX


async def complete(initiator: Initiator, gid: str) -> str:
    """Submit the saga that the gid begins with, and wait for its end."""
    saga = initiator.client.saga(saga_of(gid), {"no": False}, gid=gid)
    return (await saga.wait()).status


async def signal(initiator: Initiator, gid: str) -> str:
    """Submit it, and send what its step waits for."""
    await initiator.client.saga(saga_of(gid), {}, gid=gid).submit()
    await initiator.signal(gid, "go")
    return (await initiator.client.get(gid, wait=True)).status


async def signal_late(initiator: Initiator, gid: str) -> str:
    """Submit it, and send the signal when its time has been over."""
    await initiator.client.saga(saga_of(gid), {}, gid=gid).submit()
    await initiator.noticed(gid)
    await initiator.signal(gid, "go")
    return (await initiator.client.get(gid, wait=True)).status


async def operate_and_cancel(initiator: Initiator, gid: str) -> str:
    """Submit it, let an operator hold, hasten and release it, and cancel it."""
    await initiator.client.saga(saga_of(gid), {}, gid=gid).submit()
    for action in ("Pause", "Retry", "Resume"):
        await initiator.operate(action, gid)
    return (await initiator.client.cancel(gid, "CHANGED_MIND", wait=True)).status


async def compensate_and_resolve(initiator: Initiator, gid: str) -> str:
    """Submit what can never be undone; an operator settles it by hand."""
    await initiator.client.saga(saga_of(gid), {}, gid=gid).submit()
    await initiator.turned(gid)
    await initiator.resolve(gid, "pack")
    return (await initiator.client.get(gid, wait=True)).status


def saga_of(gid: str) -> str:
    """The definition's name: a flow's gids begin with its own."""
    return gid.partition(":")[0]


def definition(name: str, steps: str, *, attention_after: int = 10) -> str:
    """A saga with these steps."""
    return f"""
apiVersion: tercet/v1
kind: Saga
metadata: {{name: {name}, version: 1.0.0}}
timeout: 10m
defaults:
  retry: {{maxAttempts: {ATTEMPT_MAX}, initialInterval: 20ms}}
  timeout: 10s
  compensation: {{attentionAfter: {attention_after}}}
steps:
{steps}
"""


FORWARD = """
- {id: pack, call: shop.pack, input: {}, compensate: {call: shop.pack}}
- {id: ship, call: shop.ship, input: {}, compensate: {call: shop.ship}}
"""
BACK = """
- {id: pack, call: shop.pack, input: {}, compensate: {call: shop.pack}}
- {id: ship, call: shop.ship, input: {}, compensate: {call: shop.ship}}
- id: bill
  call: shop.bill
  input: {refused: true}
  compensate: none
"""
TROUBLED = """
- id: pack
  call: shop.pack
  input:
    failures: {ACTION: 1, COMPENSATION: 1}
    pendings: {ACTION: 1, COMPENSATION: 1}
  compensate: {call: shop.pack}
- {id: bill, call: shop.bill, input: {refused: true}, compensate: none}
"""
NOTICED = """
- id: pack
  call: shop.pack
  input: {failures: {COMPENSATION: 2}}
  compensate: {call: shop.pack}
- {id: bill, call: shop.bill, input: {refused: true}, compensate: none}
"""
STUCK = """
- id: pack
  call: shop.pack
  input: {failures: {COMPENSATION: 1000000}}
  compensate: {call: shop.pack}
- {id: bill, call: shop.bill, input: {refused: true}, compensate: none}
"""
LOST = """
- id: pack
  call: shop.pack
  input: {lost: {ACTION: 1}}
  retry: {maxAttempts: 1}
  compensate:
    call: shop.pack
    input: {note: "${steps.pack.output.branch}"}
- {id: bill, call: shop.bill, input: {refused: true}, compensate: none}
"""
ABANDONED = """
- id: bill
  call: shop.bill
  needs: []
  input: {pendings: {ACTION: 1000000}}
  compensate: none
- id: ship
  call: shop.ship
  needs: []
  input: {refused: true}
  compensate: none
"""
WAITING = """
- id: pack
  call: shop.pack
  input: {pendings: {ACTION: 1000000}}
  compensate: {call: shop.pack}
"""
RESERVED = """
- {id: hold, tcc: shop.reserve, input: {}}
- {id: skipped, if: "${input.no}", call: shop.ship, input: {}, compensate: none}
- {id: rest, wait: 10ms}
- {id: pack, call: shop.pack, input: {}, compensate: {call: shop.pack}}
"""
RESERVED_TROUBLED = """
- id: hold
  tcc: shop.reserve
  input: {failures: {TRY: 1, CONFIRM: 1}, pendings: {TRY: 2, CONFIRM: 2}}
"""
CANCELLED_TROUBLED = """
- id: hold
  tcc: shop.reserve
  input: {failures: {CANCEL: 1}, pendings: {CANCEL: 2}}
- {id: bill, call: shop.bill, input: {refused: true}, compensate: none}
"""
HOLD_REFUSED = """
- {id: pack, call: shop.pack, input: {}, compensate: {call: shop.pack}}
- {id: hold, tcc: shop.reserve, input: {refused: true}}
"""
UNEVALUABLE = """
- {id: pack, call: shop.pack, input: {}, compensate: {call: shop.pack}}
- {id: ship, call: shop.ship, input: {note: "${input.nobody}"}, compensate: none}
"""
AWAITED = """
- {id: approved, await: go}
- {id: pack, call: shop.pack, input: {}, compensate: {call: shop.pack}}
"""
NOT_AWAITED = """
- {id: approved, await: go, timeout: 10ms, optional: true}
- {id: pack, call: shop.pack, input: {}, compensate: {call: shop.pack}}
"""
AWAITED_AFTER = """
- {id: pack, pivot: true, call: shop.pack, input: {}}
- {id: approved, await: go, timeout: 10ms}
"""

BACK_POINTS = (
    "saga.began",
    "saga.step-started",
    "saga.action-succeeded",
    "saga.action-refused",
    "saga.decided-abort",
    "saga.compensation-started",
    "saga.compensation-succeeded",
    "saga.finished-compensated",
)

SAGA_FLOWS = (
    Flow(
        "saga-forward",
        complete,
        "COMPLETED",
        {"pack": DONE, "ship": DONE},
        (
            "saga.began",
            "saga.step-started",
            "saga.action-succeeded",
            "saga.finished-completed",
        ),
        ("participant.action",),
        definition("saga-forward", FORWARD),
    ),
    Flow(
        "saga-compensate",
        complete,
        "COMPENSATED",
        {"pack": UNDONE, "ship": UNDONE, "bill": NOTHING},
        BACK_POINTS,
        ("participant.action", "participant.compensation"),
        definition("saga-compensate", BACK),
    ),
    Flow(
        "saga-troubled",
        complete,
        "COMPENSATED",
        {"pack": UNDONE, "bill": NOTHING},
        (
            "saga.action-failed",
            "saga.action-pending",
            "saga.compensation-failed",
            "saga.compensation-pending",
        ),
        saga=definition("saga-troubled", TROUBLED),
    ),
    Flow(
        "saga-attention",
        complete,
        "COMPENSATED",
        {"pack": UNDONE, "bill": NOTHING},
        ("saga.attention-raised",),
        saga=definition("saga-attention", NOTICED, attention_after=2),
    ),
    Flow(
        "saga-lost",
        complete,
        "COMPENSATED",
        {"pack": UNDONE},
        ("saga.output-learned",),
        saga=definition("saga-lost", LOST),
    ),
    Flow(
        "saga-abandoned",
        complete,
        "COMPENSATED",
        {"bill": NOTHING, "ship": NOTHING},
        ("saga.step-abandoned",),
        saga=definition("saga-abandoned", ABANDONED),
    ),
    Flow(
        "saga-operated",
        operate_and_cancel,
        "COMPENSATED",
        {"pack": NOTHING},
        ("saga.paused", "saga.retry-requested", "saga.resumed", "saga.decided-abort"),
        saga=definition("saga-operated", WAITING),
    ),
    Flow(
        "saga-resolved",
        compensate_and_resolve,
        "RESOLVED",
        {"pack": DONE, "bill": NOTHING},
        ("saga.branch-resolved", "saga.finished-resolved"),
        saga=definition("saga-resolved", STUCK),
    ),
    Flow(
        "saga-reserved",
        complete,
        "COMPLETED",
        {"hold": CONFIRMED, "pack": DONE},
        (
            "saga.try-succeeded",
            "saga.step-skipped",
            "saga.wait-succeeded",
            "saga.decided-commit",
            "saga.confirm-started",
            "saga.all-steps-done",
            "saga.confirm-succeeded",
        ),
        ("participant.try", "participant.confirm"),
        definition("saga-reserved", RESERVED),
    ),
    Flow(
        "saga-reserved-troubled",
        complete,
        "COMPLETED",
        {"hold": CONFIRMED},
        (
            "saga.try-failed",
            "saga.try-pending",
            "saga.confirm-failed",
            "saga.confirm-pending",
        ),
        saga=definition("saga-reserved-troubled", RESERVED_TROUBLED),
    ),
    Flow(
        "saga-cancelled-troubled",
        complete,
        "COMPENSATED",
        {"hold": CANCELLED},
        ("saga.cancel-failed", "saga.cancel-pending", "saga.cancel-succeeded"),
        ("participant.cancel",),
        definition("saga-cancelled-troubled", CANCELLED_TROUBLED),
    ),
    Flow(
        "saga-hold-refused",
        complete,
        "COMPENSATED",
        {"pack": UNDONE, "hold": NOTHING},
        ("saga.try-refused",),
        saga=definition("saga-hold-refused", HOLD_REFUSED),
    ),
    Flow(
        "saga-unevaluable",
        complete,
        "COMPENSATED",
        {"pack": UNDONE, "ship": NOTHING},
        ("saga.step-refused",),
        saga=definition("saga-unevaluable", UNEVALUABLE),
    ),
    Flow(
        "saga-signalled",
        signal,
        "COMPLETED",
        {"pack": DONE},
        ("saga.signal-received",),
        saga=definition("saga-signalled", AWAITED),
    ),
    Flow(
        "saga-not-signalled",
        complete,
        "COMPLETED",
        {"pack": DONE},
        ("saga.wait-refused",),
        saga=definition("saga-not-signalled", NOT_AWAITED),
    ),
    Flow(
        "saga-signalled-late",
        signal_late,
        "COMPLETED",
        {"pack": DONE},
        ("saga.wait-failed",),
        saga=definition("saga-signalled-late", AWAITED_AFTER),
    ),
)

FLOWS = (*TCC_FLOWS, *SAGA_FLOWS)
