"""What one living node has heard reaches the others without anybody's next request."""

from coordinator.core.inputs import Begin, Confirm, Try
from coordinator.core.words import BranchStatus, Decision
from coordinator.engine.engine import FOREIGN_POLL_MS
from coordinator.engine.resident import LAZY_MS_MAX
from tests.core.world import spec, tcc_request
from tests.engine.world import World


async def tried() -> World:
    """A node that alone knows that a try has succeeded."""
    world = World()
    await world.asked(Begin(tcc_request()))
    attempt = await world.asked(Try((spec("a"),)))
    await world.answer_all()
    assert attempt.tx.branches["a"].status is BranchStatus.TRIED
    return world


async def test_confirm_at_another_node_is_not_left_to_the_deadline() -> None:
    """V1: the node that heard the try succeed lives, and stores it in time."""
    world = await tried()
    twin = world.twin()
    confirm = await twin.asked(Confirm())
    assert confirm.answers == []
    await world.clock.move_to(LAZY_MS_MAX + 2 * FOREIGN_POLL_MS)

    assert confirm.tx.decision is Decision.COMMIT


async def test_lazy_fact_is_stored_when_nobody_asks_further() -> None:
    """Once, and not before its time."""
    world = await tried()
    await world.clock.move_to(LAZY_MS_MAX - 1)
    before = await world.stored()
    assert before is not None
    assert before.branches["a"].status is BranchStatus.TRYING
    await world.clock.move_to(10 * LAZY_MS_MAX)

    after = await world.stored()
    assert after is not None
    assert after.branches["a"].status is BranchStatus.TRIED
    assert after.revision == before.revision + 1
