"""Transactions whose tries the coordinator sends."""

from typing import TYPE_CHECKING

from coordinator.core.errors import AlreadyExists, PreconditionFailed
from coordinator.core.inputs import Begin, Cancel, Confirm, Try
from coordinator.core.model import (
    BranchSpec,
    GlobalTransaction,
    TransactionRequest,
)
from coordinator.core.words import BranchStatus, Decision
from tests.simulation.client import Client
from tests.simulation.generators import business
from tests.simulation.verdict import Violation

if TYPE_CHECKING:
    from tests.simulation.node import Node
    from tests.simulation.world import World


def launch(world: "World", gid: str) -> None:
    client = Client(world, business.key_of(gid))
    story = _Story(client, business.branches(world, gid), business.timeout_ms(world))
    world.loop.later(world.rng.randint(0, 20_000), client, client.start, story.live())


class _Story:
    def __init__(self, client: Client, specs: list[BranchSpec], timeout: int) -> None:
        self.client = client
        self.world = client.world
        self.specs = specs
        self.timeout = timeout
        self.check_back = business.check_back(self.world, client.key.gid)

    def request(self, node: "Node", digest: str = "d") -> TransactionRequest:
        return business.tcc_request(
            self.client.key,
            node,
            self.timeout,
            digest=digest,
            check_back=self.check_back,
        )

    async def live(self) -> None:
        client, rng = self.client, self.client.rng
        in_begin = tuple(self.specs) if rng.random() < 0.3 else ()
        begun = await client.ask(lambda node: Begin(self.request(node), in_begin))
        if client.may_die() or not isinstance(begun, GlobalTransaction):
            self.world.rare.hit("client_died_undecided")
            return
        if "odd_client" in self.world.faults:
            await self.repeat(in_begin)
        waits = True
        if not in_begin and self.specs:
            waits = rng.random() < 0.8
            if not await self.try_all(waits=waits):
                self.world.rare.hit("client_died_undecided")
                return
        await self.end(waits=waits)

    async def repeat(self, in_begin: tuple[BranchSpec, ...]) -> None:
        """Ask for the same, and for something else under the same gid (T10)."""
        client = self.client
        again = await client.ask(lambda node: Begin(self.request(node), in_begin))
        if isinstance(again, GlobalTransaction):
            self.world.rare.hit("begin_repeated")
        other = await client.ask(lambda node: Begin(self.request(node, "other")))
        if isinstance(other, AlreadyExists):
            self.world.rare.hit("begin_with_other_body_refused")
        elif isinstance(other, GlobalTransaction):
            raise Violation("T10", client.key.gid, "another body was accepted")

    async def try_all(self, *, waits: bool) -> bool:
        """One request or several; false when the client died."""
        client, specs = self.client, self.specs
        groups = [specs] if client.rng.random() < 0.6 else [[spec] for spec in specs]
        for group in groups:
            what = Try(tuple(group))
            answer = await client.ask(
                lambda node, what=what: what, timeout_ms=700 if waits else 3
            )
            if client.may_die():
                return False
            if isinstance(answer, PreconditionFailed):
                if answer.detail_reason == "TRANSACTION_DECIDED":
                    self.world.rare.hit("registration_after_decision_refused")
                break
            if isinstance(answer, GlobalTransaction) and (
                answer.decision is not Decision.NONE
            ):
                break
        return True

    async def end(self, *, waits: bool) -> None:
        client, rng = self.client, self.client.rng
        wait = rng.random() < 0.5
        if "client_cancel" in self.world.faults and rng.random() < 0.4:
            if rng.random() < 0.5:
                await client.ask(lambda node: Cancel(wait=wait))
                await client.wait_for_end()
                return
            # Somebody else cancels while this client confirms.
            if node := self.world.alive_node():
                self.world.transmit(
                    client.name, node.name, node, node.engine.submit, client.key,
                    Cancel(), lambda answer: None,
                )  # fmt: skip
        if not await self.confirm(wait=wait, waits=waits):
            return
        await client.wait_for_end()

    async def confirm(self, *, wait: bool, waits: bool) -> bool:
        """False when the client died before it knew."""
        client, hit = self.client, self.world.rare.hit
        answer = await client.ask(lambda node: Confirm(None, wait))
        if isinstance(answer, GlobalTransaction):
            note_confirmed(self.world, answer)
            if answer.decision is Decision.COMMIT and not waits:
                hit("confirm_waited_for_tries")
        return not client.may_die()


def note_confirmed(world: "World", answer: GlobalTransaction) -> None:
    """What a confirm was told."""
    if answer.decision is Decision.NONE:
        raise Violation("T9", answer.key.gid, "a confirm was told no decision")
    if answer.reason_code == "DEADLINE":
        world.rare.hit("deadline_beats_confirm")
    elif answer.reason_code == "CANCELLED_BY_INITIATOR":
        world.rare.hit("cancel_beats_confirm")
    if answer.decision is Decision.COMMIT and any(
        branch.status is BranchStatus.REGISTERED for branch in answer.branches.values()
    ):
        raise Violation("T2", answer.key.gid, "committed with an open branch")
