"""What a node still holds may have been moved on by another one."""

from coordinator.core.inputs import (
    Begin,
    BranchReplied,
    Confirm,
    Observe,
    Pending,
    Register,
    Succeeded,
    Try,
)
from coordinator.core.words import (
    BranchStatus,
    Decision,
    Phase,
)
from tests.core.world import spec, tcc_request
from tests.engine.world import World


async def test_right_list_is_not_refused_by_who_knows_less() -> None:
    """T2: a node that missed a registration reads before it says no."""
    first = World()
    second = first.twin()
    await first.asked(Begin(tcc_request()))
    await second.asked(Register((spec("a"),)))

    confirmed = await first.asked(Confirm(frozenset({"a"})))

    assert confirmed.tx.decision is Decision.COMMIT


async def test_reported_outcome_is_not_lost_on_who_knows_less() -> None:
    """T7: an outcome reported to a node that missed the branch is kept all the same."""
    first = World()
    second = first.twin()
    await first.asked(Begin(tcc_request()))
    second.ask(Try((spec("a"),)))
    await second.asked(Observe())
    await second.answer(second.participants.taken()[0], Pending())

    reported = await first.asked(BranchReplied("a", Phase.TRY, 0, Succeeded()))

    assert reported.tx.branches["a"].status is BranchStatus.TRIED
    assert (await first.stored()).branches["a"].status is BranchStatus.TRIED


async def test_confirm_behind_a_repeated_begin_is_not_refused() -> None:
    """T2: a begin that is a repetition is no state to refuse a confirm on."""
    first = World()
    second = first.twin()
    await first.asked(Begin(tcc_request()))
    await first.asked(Register((spec("a"),)))

    second.ask(Begin(tcc_request()))
    confirmed = await second.asked(Confirm(frozenset({"a"})))

    assert confirmed.tx.decision is Decision.COMMIT
