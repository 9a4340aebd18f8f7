"""A participant that stays away is told of, once, with what needs it."""

import pytest
from structlog.testing import capture_logs

from coordinator.api.absence import ABSENT_AFTER_MS, AbsenceWatch
from coordinator.api.usage import Usage
from coordinator.core.model import BranchSpec, Payload
from tests.api.fakes import make_tx

NEEDS = BranchSpec("b1", "accounts.debit", Payload(), 3_000, 5)


class Link:
    """Takes no calls."""

    def send(self, calls) -> None:
        """Nothing is called here."""


@pytest.fixture
def watch(world) -> AbsenceWatch:
    """Over the fakes, with one transaction that needs ``accounts``."""
    world.queries.transactions = [make_tx("t1", specs=[NEEDS])]
    return AbsenceWatch(
        catalogue=world.catalogue,
        dispatcher=world.dispatcher,
        usage=Usage(world.queries, world.sagas),
        clock=world.clock,
    )


async def missed(watch: AbsenceWatch) -> list[dict]:
    """What one look warns of."""
    with capture_logs() as logs:
        await watch.look()
    return [entry for entry in logs if entry["event"] == "operation_missed"]


async def test_an_absence_is_told_once_with_what_needs_it(world, watch):
    """Nothing for a while, one warning, and silence until it was back."""
    assert await missed(watch) == []
    world.clock.move(ABSENT_AFTER_MS - 1)
    assert await missed(watch) == []
    world.clock.move(1)

    (told,) = await missed(watch)

    assert told["log_level"] == "warning"
    assert told["participant"] == "accounts"
    assert told["operations"] == ["accounts.credit", "accounts.debit"]
    assert told["needed_by"] == ["t1"]
    world.clock.move(ABSENT_AFTER_MS)
    assert await missed(watch) == []


async def test_a_participant_that_came_back_is_told_of_anew(world, watch):
    """Each absence has its own warning, counted from when it was last seen."""
    await missed(watch)
    world.clock.move(ABSENT_AFTER_MS)
    assert len(await missed(watch)) == 1
    link = Link()
    world.dispatcher.attach("accounts", link, credits=1)
    world.clock.move(ABSENT_AFTER_MS)
    assert await missed(watch) == []
    world.dispatcher.detach(link)
    world.clock.move(ABSENT_AFTER_MS - 1)
    assert await missed(watch) == []
    world.clock.move(1)

    assert len(await missed(watch)) == 1


async def test_what_nobody_needs_is_not_missed(world, watch):
    """A warning that asks for nothing would hide the others."""
    world.queries.transactions = []
    await missed(watch)
    world.clock.move(ABSENT_AFTER_MS)
    assert await missed(watch) == []
    world.queries.transactions = [make_tx("t1", specs=[NEEDS])]
    world.clock.move(ABSENT_AFTER_MS)

    (told,) = await missed(watch)

    assert told["needed_by"] == ["t1"]
