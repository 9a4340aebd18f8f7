"""Random sagas of every kind of step, within what the checks of a definition allow.

Each saga uses a random half of the language, so that one element is often alone with
the faults, and sometimes together with all others.
"""

from typing import TYPE_CHECKING

from coordinator.core.backoff import RetryPolicy
from coordinator.core.changed import changed
from coordinator.core.definition import (
    BranchKind,
    Call,
    Compensation,
    Constant,
    ForEach,
    JsonValue,
    Reference,
    SagaDefinition,
    Step,
    Template,
    TemplateMap,
)
from tests.simulation.saga_tree import Tree

if TYPE_CHECKING:
    from tests.simulation.world import World

FEATURES = (
    "tcc", "child", "list", "wait", "await", "if", "optional", "fallback", "pivot",
    "expires", "pending_timeout", "child_timeout", "broken", "output", "reads_own",
)  # fmt: skip
UNITS_MAX = 40
"""Of one saga, whatever its lists and children multiply to."""

DEPTH_MAX = 3
SIGNALS = ("paid", "seen")


def draw(world: "World", gid: str) -> tuple[SagaDefinition, JsonValue]:
    """A saga, and an input for it."""
    while True:
        graph = Graph(world, gid)
        data = graph.data(0)
        definition = graph.saga(1)
        if len(Tree(definition, data).branches) <= UNITS_MAX:
            return definition, data


class Graph:
    """One saga in the making."""

    def __init__(self, world: "World", gid: str) -> None:
        self.world = world
        self.rng = world.rng
        self.gid = gid
        self.features = {f for f in FEATURES if self.rng.random() < 0.5}
        self._sagas = 0

    def has(self, feature: str, chance: float) -> bool:
        return feature in self.features and self.rng.random() < chance

    def data(self, depth: int) -> JsonValue:
        """An input; its items are inputs for the children that are run for them."""
        counts = ((0, 1, 2, 3, 3, 6), (0, 1, 2), (0,))[depth]
        count = self.rng.choice(counts)
        items: list[JsonValue] = [self.data(depth + 1) for _ in range(count)]
        odd: JsonValue = 7
        return {"yes": True, "no": False, "odd": odd, "items": items, "depth": depth}

    def saga(
        self, depth: int, *, pivot: bool = False, after: bool = False
    ) -> SagaDefinition:
        """A definition.

        Args:
            pivot: it has to have one.
            after: it is run after a pivot, so it undoes nothing.
        """
        self._sagas += 1
        name = f"saga{self._sagas}"
        if depth == 1 and self.has("pivot", 0.7):
            pivot = True
        steps = self._around_pivot(depth) if pivot else self._steps(depth, after=after)
        return SagaDefinition(
            name=name,
            version="1.0.0",
            digest=f"sha256:{self.gid}:{name}",
            timeout_ms=self.world.scenario.timeout_ms,
            steps=tuple(steps),
            output=self._output(steps),
        )

    def _count(self, depth: int) -> int:
        if depth == 1:
            return self.rng.choice((1, 2, 3, 3, 4, 4, 5, 8, 12))
        return self.rng.choice((1, 1, 2, 3))

    def _steps(self, depth: int, *, after: bool) -> list[Step]:
        steps: list[Step] = []
        for i in range(self._count(depth)):
            needs = [step for step in steps if self.rng.random() < 0.5][-2:]
            steps.append(self._step(f"s{i}", needs, depth, after=after))
        return steps

    def _around_pivot(self, depth: int) -> list[Step]:
        """Every step before the pivot, after it, or optional (S5)."""
        rng = self.rng
        steps = self._steps(depth, after=False) if rng.random() < 0.8 else []
        needed = {need for step in steps for need in step.needs}
        ends = [step for step in steps if step.step_id not in needed]
        if depth < DEPTH_MAX and self.has("child", 0.3):
            child = self.saga(depth + 1, pivot=True)
            pivot = Step(
                "pivot",
                BranchKind.SAGA,
                tuple(step.step_id for step in ends),
                child=child,
                input=Reference(("input",), "input"),
            )
        else:
            pivot = changed(self._call_step("pivot", ends, after=True), pivot=True)
            if self.has("fallback", 0.4):
                other = self._call("pivot", ends, after=True)
                pivot = changed(pivot, calls=(*pivot.calls, other))
        count = rng.choice((0, 1, 1, 2)) if "optional" in self.features else 0
        beside = [self._beside(f"o{i}", steps[-1:], depth) for i in range(count)]
        later = [pivot]
        for i in range(rng.choice((0, 1, 1, 2, 3))):
            needs = [step for step in later if rng.random() < 0.5][-2:] or [pivot]
            later.append(self._step(f"t{i}", needs, depth, after=True))
        return [*steps, *beside, *later]

    def _beside(self, step_id: str, needs: list[Step], depth: int) -> Step:
        if depth < DEPTH_MAX and self.has("child", 0.5):
            step = self._child_step(step_id, needs, depth, after=False)
        else:
            step = self._step(step_id, needs, depth, after=False)
        return changed(step, optional=True)

    # ---- Steps --------------------------------------------------------------------

    def _step(
        self, step_id: str, needs: list[Step], depth: int, *, after: bool
    ) -> Step:
        rng = self.rng
        if depth < DEPTH_MAX and self.has("child", 0.25):
            step = self._child_step(step_id, needs, depth, after=after)
        elif self.has("wait", 0.15):
            step = self._wait_step(step_id, needs)
        elif self.has("await", 0.15):
            step = Step(
                step_id,
                BranchKind.AWAIT,
                _ids(needs),
                signal=rng.choice(SIGNALS),
                timeout_ms=rng.choice((0, 50, 300)),
            )
        else:
            step = self._call_step(step_id, needs, after=after)
        may_be_list = step.kind in (BranchKind.CALL, BranchKind.TCC, BranchKind.SAGA)
        if may_be_list and self.has("list", 0.3):
            path = "odd" if self.has("broken", 0.1) else "items"
            items = Reference(("input", path), f"input.{path}")
            step = changed(step, for_each=ForEach(items, rng.choice((1, 2, 2, 10))))
            if step.kind is BranchKind.SAGA:
                step = changed(step, input=Reference(("item",), "item"))
        if self.has("optional", 0.35):
            step = changed(step, optional=True)
        step = changed(step, condition=self._condition(needs))
        if step.calls and (step.optional or not after) and self.has("fallback", 0.4):
            others = tuple(
                self._call(step_id, needs, after=after)
                for _ in range(rng.choice((1, 1, 2)))
            )
            step = changed(step, calls=(*step.calls, *others))
        return step

    def _condition(self, needs: list[Step]) -> Template | None:
        if not self.has("if", 0.4):
            return None
        if self.has("broken", 0.2):
            return Reference(("input", "odd"), "input.odd")
        if (sure := _sure(needs)) and self.rng.random() < 0.3:
            path = ("steps", sure[0].step_id, "output", "even")
            return Reference(path, ".".join(path))
        word = self.rng.choice(("yes", "no"))
        return Reference(("input", word), f"input.{word}")

    def _wait_step(self, step_id: str, needs: list[Step]) -> Step:
        wait: JsonValue = self.rng.choice((1, 30, 200, "20ms", "PT0.1S"))
        if self.has("broken", 0.15):
            wait = "soon"
        return Step(step_id, BranchKind.WAIT, _ids(needs), wait=Constant(wait))

    def _child_step(
        self, step_id: str, needs: list[Step], depth: int, *, after: bool
    ) -> Step:
        has_timeout = self.has("child_timeout", 0.5)
        return Step(
            step_id,
            BranchKind.SAGA,
            _ids(needs),
            child=self.saga(depth + 1, after=after),
            input=Reference(("input",), "input"),
            timeout_ms=self.rng.choice((30, 200, 600)) if has_timeout else 0,
        )

    def _call_step(self, step_id: str, needs: list[Step], *, after: bool) -> Step:
        call = self._call(step_id, needs, after=after)
        return Step(step_id, call.kind, _ids(needs), (call,))

    def _call(self, step_id: str, needs: list[Step], *, after: bool) -> Call:
        rng, scenario = self.rng, self.world.scenario
        participant = rng.choice(self.world.participants).name
        reads_own = self.has("reads_own", 0.6)
        is_tcc = not after and self.has("tcc", 0.4)
        is_undone = not after and not is_tcc and rng.random() < 0.85
        pending = rng.choice((50, 300)) if self.has("pending_timeout", 0.5) else 0
        is_endless = after and rng.random() < 0.7
        return Call(
            operation=f"{participant}.{'hold' if is_tcc else 'do'}",
            input=_input(needs),
            retry=RetryPolicy(
                attempt_max=0 if is_endless else scenario.attempt_max,
                initial_interval_ms=scenario.forward.initial_interval_ms,
                interval_max_ms=scenario.forward.interval_max_ms,
            ),
            timeout_ms=scenario.timeout_ms,
            kind=BranchKind.TCC if is_tcc else BranchKind.CALL,
            compensation=Compensation(
                operation=f"{participant}.undo",
                input=_output_of(step_id) if reads_own else None,
                retry=scenario.phase_two,
                timeout_ms=scenario.timeout_ms,
                attention_after=scenario.attention_after,
            )
            if is_undone
            else None,
            expires_ms=rng.choice((100, 400))
            if is_tcc and self.has("expires", 0.5)
            else 0,
            pending_timeout_ms=pending,
        )

    def _output(self, steps: list[Step]) -> Template | None:
        if not self.has("output", 0.7):
            return None
        if self.has("broken", 0.15):
            return Reference(("input", "nothing"), "input.nothing")
        return _output_of(*_ids(_sure(steps)))


def _ids(steps: list[Step]) -> tuple[str, ...]:
    return tuple(step.step_id for step in steps)


def _sure(steps: list[Step]) -> list[Step]:
    """Those that have an output whenever they are satisfied."""
    return [
        step
        for step in steps
        if step.calls
        and step.condition is None
        and step.for_each is None
        and not step.optional
    ]


def _input(needs: list[Step]) -> Template:
    sure = _sure(needs)
    return _output_of(*_ids(sure)) if sure else Constant({"amount": 7})


def _output_of(*step_ids: str) -> Template:
    return TemplateMap(
        tuple(
            (step_id, Reference(("steps", step_id, "output", "n"), step_id))
            for step_id in step_ids
        )
    )
