"""Initiators: they ask, wait, ask again, change their mind, and die."""

from collections.abc import Callable, Coroutine
from typing import TYPE_CHECKING, Any, TypeAlias

from coordinator.core import inputs
from coordinator.core.actions import CallBranch
from coordinator.core.errors import (
    CoordinatorError,
    NotFound,
    Overloaded,
    Refusal,
    StoreUnavailable,
)
from coordinator.core.model import (
    NO_PAYLOAD,
    BranchSpec,
    GlobalTransaction,
    Key,
    participant_of,
)
from coordinator.core.words import Phase
from tests.simulation.loop import Process
from tests.simulation.verdict import Violation

if TYPE_CHECKING:
    from tests.simulation.node import Node
    from tests.simulation.world import World

Answer: TypeAlias = GlobalTransaction | CoordinatorError | None
Make: TypeAlias = Callable[["Node"], inputs.Input]


class Client(Process):
    """One initiator, with one transaction."""

    def __init__(self, world: "World", key: Key) -> None:
        super().__init__(f"c{key.gid}")
        self.world = world
        self.key = key
        self.rng = world.rng
        self._task: object = None
        world.clients.append(self)
        world.open_clients += 1

    def start(self, story: Coroutine[Any, Any, None]) -> None:
        """Live it; runs as this process."""
        self._task = self.world.loop.create_task(self._live(story))

    async def _live(self, story: Coroutine[Any, Any, None]) -> None:
        await story
        self.leave()

    def leave(self) -> None:
        if self.alive:
            self.alive = False
            self.world.open_clients -= 1
            self.world.loop.look = True

    def may_die(self) -> bool:
        """Whether the client is gone here; then it does nothing any more."""
        return self.world.happens("client_death")

    async def sleep(self, delay_us: int) -> None:
        loop = self.world.loop
        woken = loop.create_future()
        loop.later(delay_us, self, woken.set_result, None)
        await woken

    async def ask(self, make: Make, *, tries: int = 4, timeout_ms: int = 700) -> Answer:
        """Ask some node, and another one when nothing comes back; the same thing.

        Returns:
            ``None`` when nobody answered.
        """
        world = self.world
        for _ in range(tries):
            node = world.alive_node()
            if node is not None:
                heard = world.loop.create_future()
                world.transmit(
                    self.name, node.name, node, request, world, node, self, make, heard
                )
                world.loop.later(timeout_ms * 1_000, self, _set, heard, None)
                answer = await heard
                if isinstance(answer, Refusal) and not isinstance(answer, Overloaded):
                    return answer
                if isinstance(answer, GlobalTransaction):
                    return answer
            await self.sleep(self.rng.randint(1_000, 100_000))
        return None

    async def call(self, spec: BranchSpec) -> inputs.Outcome | None:
        """Send a try to its participant directly, again while it is unknown."""
        world = self.world
        name = participant_of(spec.operation)
        participant = next(p for p in world.participants if p.name == name)
        for attempt in range(1, 5):
            heard = world.loop.create_future()
            call = CallBranch(
                self.key, spec.branch_id, spec.operation, Phase.TRY, attempt,
                spec.input, NO_PAYLOAD, spec.timeout_ms,
            )  # fmt: skip

            def answer(outcome: inputs.Outcome, heard: Any = heard) -> None:
                world.transmit(name, self.name, self, _set, heard, outcome)

            world.transmit(
                self.name, name, participant.process, participant.receive, call, answer
            )
            world.loop.later(spec.timeout_ms * 1_000, self, _set, heard, None)
            outcome = await heard
            if isinstance(outcome, inputs.Succeeded | inputs.Refused):
                return outcome
        return None

    async def wait_for_end(self) -> None:
        """Ask until the end is known, or until it is clear that nothing began."""
        for _ in range(60):
            answer = await self.ask(_OBSERVE, timeout_ms=2_000)
            if isinstance(answer, NotFound):
                return
            if isinstance(answer, GlobalTransaction) and answer.status.is_final:
                return


def request(
    world: "World", node: "Node", client: Client, make: Make, heard: Any
) -> None:
    """A request arrives at a node."""
    what, durable = make(node), world.checks.durable
    stood = durable.get(client.key)

    def reply(answer: GlobalTransaction | CoordinatorError) -> None:
        if isinstance(answer, GlobalTransaction):
            world.checks.answered(client.key, answer)
        elif isinstance(answer, Overloaded):
            world.rare.hit("begin_refused_overloaded")
        elif not isinstance(answer, Refusal | StoreUnavailable):
            raise Violation("BUG", client.key.gid, repr(answer))
        elif (
            isinstance(what, inputs.Confirm)
            and isinstance(answer, Refusal)
            and _KNOWS_ENOUGH not in str(answer)
        ):
            # A registration that is on its way to the disk may count against it.
            for tx in (stood, durable.get(client.key)):
                if tx is None or what.listed != tx.branches.keys():
                    break
            else:
                raise Violation("T2", client.key.gid, f"a right list, but {answer}")
        world.trace("reply", node.name, client.name, type(answer).__name__)
        world.transmit(node.name, client.name, client, _set, heard, answer)

    node.engine.submit(client.key, what, reply)


def _OBSERVE(node: "Node") -> inputs.Input:  # noqa: N802 - a constant request
    return inputs.Observe(wait=True)


_KNOWS_ENOUGH = "listed but not registered: none"


def _set(heard: Any, answer: object) -> None:
    if not heard.done():
        heard.set_result(answer)
