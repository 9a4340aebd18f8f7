"""What must hold, judged by what is durable and what participants really did.

Four occasions: a write becomes durable (``wrote``), a call goes out (``sent``),
somebody is told something (``told``), and every state there is (``state``).
"""

from coordinator.core.model import GlobalTransaction
from coordinator.core.words import (
    BranchStatus,
    Decision,
    Phase,
    Status,
)
from participant_sdk.barrier.rules import Outcome
from tests.exhaustive import database
from tests.exhaustive.decisions import Decisions
from tests.exhaustive.participant import Share


class Judge:
    """The rules of one kind of world; see the children.

    Args:
        branches: whose shares come in this order.
    """

    def __init__(self, decisions: Decisions, branches: tuple[str, ...]) -> None:
        self._core = decisions
        self.branches = branches

    def wrote(self, before: database.Row, done: database.Carried) -> str:
        """A statement has just changed the row."""
        old, new = self._core.tx(before.tx), self._core.stored(done.row.tx)
        if not done.statement.current:
            rule = "L3" if done.statement.kind == "claim" else "L1"
            return f"{rule} a {done.statement.kind} changed a row that had moved on"
        if old is None:
            return ""
        if old.status.is_final:
            return f"T8 written after {old.status}"
        if old.decision is not Decision.NONE:
            if new.decision is not old.decision:
                return f"T1 {old.decision} became {new.decision}"
            if new.branches.keys() - old.branches.keys():
                return f"T3 a branch joined after {old.decision}"
        if old.branches.keys() - new.branches.keys():
            return "T7 a branch was forgotten"
        return ""

    def sent(self, call: int, known: int) -> str:
        """A call goes out; its node was told of this state."""
        phase, tx = self._core.call(call).phase, self._core.stored(known)
        is_forward = phase in (Phase.TRY, Phase.ACTION)
        if is_forward and tx.decision is Decision.ABORT:
            return f"S4 {phase} is sent after the abort"
        return ""

    def told(self, durable: int, told: int) -> str:
        """The initiator is told a state; 0 = an error, which promises nothing."""
        tx, answer = self._core.tx(durable), self._core.tx(told)
        if answer is None:
            return ""
        if tx is None:
            return "T7 answered before it was durable"
        if answer.decision not in (Decision.NONE, tx.decision):
            return f"T7 told {answer.decision}, but durable is {tx.decision}"
        if answer.status.is_final and answer.status is not tx.status:
            return f"T7 told {answer.status}, but durable is {tx.status}"
        if answer.branches.keys() - tx.branches.keys():
            return "T7 told of a branch that is not durable"
        return ""

    def state(self, durable: int, shares: tuple[Share, ...]) -> str:
        """Which rule is broken in a state, or nothing."""
        tx = self._core.tx(durable)
        by_branch = dict(zip(self.branches, shares, strict=True))
        for branch_id, share in by_branch.items():
            if wrong := self._share(tx, branch_id, share):
                return f"{wrong} ({branch_id})"
        return self._whole(tx, by_branch) if tx is not None else ""

    def _share(self, tx: GlobalTransaction | None, branch_id: str, it: Share) -> str:
        """One branch: its rows, its effects, and the calls that are out for it."""
        forward, confirm, undo = it.effects
        if max(it.effects) > 1:
            return "T6 an operation took effect twice"
        if confirm and undo:
            return "T5 confirmed and undone"
        if undo > forward:
            return "B2 undone, but never done"
        is_done = it.forward is not None and it.forward.outcome is Outcome.SUCCEEDED
        if is_done != bool(forward):
            return "B1 the barrier's row and the effect disagree"
        if (it.second is not None) != bool(confirm or undo):
            return "B1 the second row and the effect disagree"
        if it.is_buried and forward != undo:
            return "B3 undone for good, but an effect is left"
        phases = {self._core.call(number).phase for number, _ in it.calls}
        if (phases or forward) and (tx is None or branch_id not in tx.branches):
            return "T4 called before the branch is durable"
        decision = tx.decision if tx is not None else Decision.NONE
        if (Phase.CONFIRM in phases or confirm) and decision is not Decision.COMMIT:
            return f"T4 confirm while durable is {decision}"
        undoes = phases & {Phase.CANCEL, Phase.COMPENSATION}
        if (undoes or undo) and decision is not Decision.ABORT:
            return f"T4 undoing while durable is {decision}"
        if undoes and Phase.CONFIRM in phases:
            return "L4 calls of opposite phases are out"
        return ""

    def _whole(self, tx: GlobalTransaction, shares: dict[str, Share]) -> str:
        raise NotImplementedError


class TccJudge(Judge):
    """Tries, confirms and cancels."""

    def _whole(self, tx: GlobalTransaction, shares: dict[str, Share]) -> str:
        effects = {b: shares[b].effects for b in tx.branches}
        if tx.decision is Decision.COMMIT and not all(
            e.forward == 1 for e in effects.values()
        ):
            return "T2 committed, but not every try has taken effect"
        for branch_id, (forward, confirm, undo) in effects.items():
            if tx.decision is Decision.COMMIT and undo:
                return f"T5 committed, but {branch_id} is cancelled"
            if tx.decision is Decision.ABORT and confirm:
                return f"T5 aborted, but {branch_id} is confirmed"
            if tx.status is Status.CONFIRMED and not forward == confirm == 1:
                return f"T8 CONFIRMED, but {branch_id} is not"
            if tx.status is Status.CANCELLED and forward != undo:
                return f"T8 CANCELLED, but {branch_id} is not"
        return ""


class SagaJudge(Judge):
    """Actions and compensations.

    Args:
        needs: each step and what it needs.
    """

    def __init__(self, decisions: Decisions, needs: dict[str, tuple[str, ...]]) -> None:
        super().__init__(decisions, tuple(needs))
        self._needs = needs

    def _whole(self, tx: GlobalTransaction, shares: dict[str, Share]) -> str:
        for step, needs in self._needs.items():
            it = shares[step]
            was_sent = bool(it.calls) or it.forward is not None
            for need in needs:
                before = tx.branches.get(need)
                if was_sent and (before is None or not _had_succeeded(before.status)):
                    return f"S1 {step} was sent before {need} had succeeded"
                if it.effects.forward and not shares[need].effects.forward:
                    return f"S1 {step} has taken effect, and {need} has not"
                if shares[need].effects.undo and it.effects.forward != it.effects.undo:
                    return f"S2 {need} is undone, and {step}, which needs it, is not"
            if (
                tx.status is Status.COMPENSATED
                and it.effects.forward != it.effects.undo
            ):
                return f"S3 COMPENSATED, but {step} is not undone"
            if tx.status is Status.COMPLETED and it.effects != (1, 0, 0):
                return f"T8 COMPLETED, but {step} is not done"
            if it.forward is not None and step not in tx.branches:
                return f"S3 {step} was called, and never sent"
        return ""


def _had_succeeded(status: BranchStatus) -> bool:
    return status in (
        BranchStatus.SUCCEEDED,
        BranchStatus.COMPENSATING,
        BranchStatus.COMPENSATED,
    )
