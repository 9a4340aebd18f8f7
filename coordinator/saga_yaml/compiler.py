"""Builds the definition that the core runs from a checked tree."""

import json
from collections.abc import Mapping
from dataclasses import replace

from coordinator.core.definition import (
    BranchKind,
    Call,
    Constant,
    ForEach,
    Interpolation,
    SagaDefinition,
    Step,
    Template,
)
from coordinator.core.model import Operation
from coordinator.saga_yaml.arguments import known_of
from coordinator.saga_yaml.calls import Calls
from coordinator.saga_yaml.cel import kinds
from coordinator.saga_yaml.children import Children, Sagas
from coordinator.saga_yaml.expressions import Expressions, Visible
from coordinator.saga_yaml.findings import Code, Findings
from coordinator.saga_yaml.graph import check_graph
from coordinator.saga_yaml.input_schema import find_template_problems
from coordinator.saga_yaml.language import (
    ITEMS_MAX,
    KINDS,
    PARALLEL,
    SAGA,
    SAGA_TIMEOUT_MS,
)
from coordinator.saga_yaml.normal import with_digest
from coordinator.saga_yaml.operations import check_operations
from coordinator.saga_yaml.pivot import check_pivot, find_pivot
from coordinator.saga_yaml.shape import Fields, check_shape
from coordinator.saga_yaml.steps import Written
from coordinator.saga_yaml.times import Held, Times, spoken
from coordinator.saga_yaml.tree import Node, to_json

ALL = -1
"""The bits of all steps."""


def compile_saga(
    root: Node,
    text: str,
    operations: Mapping[str, Operation] | None,
    sagas: Sagas | None,
    findings: Findings,
) -> SagaDefinition | None:
    """The definition, or ``None`` when there are findings."""
    saga = check_shape(root, SAGA, findings)
    return _Compiler(saga, text, operations, sagas, findings).compile()


class _Compiler:
    def __init__(
        self,
        saga: Fields,
        text: str,
        operations: Mapping[str, Operation] | None,
        sagas: Sagas | None,
        findings: Findings,
    ) -> None:
        self._saga = saga
        self._operations = operations
        self._findings = findings
        self._expressions = Expressions(text, findings)
        self._calls = Calls(
            saga.fields("defaults"), self._expressions, operations, findings
        )
        name = saga.fields("metadata").get("name", str, "")
        self._children = Children(sagas, name, findings)
        all_fields: list[Fields] = saga.get("steps", list, [])
        self._graph = graph = check_graph(all_fields, findings)
        self._written = [
            Written(fields, step_id, self._children.find(fields))
            for fields, step_id in zip(all_fields, graph.ids, strict=True)
        ]
        called = {s.step_id: s.operation for s in self._written if s.operation}
        schema = saga.fields("input").tree("schema")
        self._everything = Visible(
            "the saga's output",
            graph.positions,
            ALL,
            frozenset(s.step_id for s in self._written if s.may_be_absent),
            {s.step_id: s.silence for s in self._written if s.silence},
            known=known_of(schema, called, operations),
        )
        self._pivot = find_pivot(self._written, graph)

    def compile(self) -> SagaDefinition | None:
        saga, findings = self._saga, self._findings
        self._children.check_sizes(self._written)
        check_pivot(self._written, self._pivot, self._graph, self._children, findings)
        steps = tuple(map(self._step, self._written))
        timeout_ms = saga.get("timeout", int, SAGA_TIMEOUT_MS)
        if len(self._graph.order) == len(steps):
            self._check_times(steps, timeout_ms)
        output: Template | None = None
        if node := saga.tree("output"):
            output = self._expressions.template(node, self._everything)
        if findings:
            return None
        metadata = saga.fields("metadata")
        schema = saga.fields("input").tree("schema")
        labels: dict[str, str] = metadata.get("labels", dict, {})
        return with_digest(
            SagaDefinition(
                name=metadata.get("name", str, ""),
                version=metadata.get("version", str, ""),
                digest="",
                timeout_ms=timeout_ms,
                steps=steps,
                output=output,
                labels=tuple(sorted(labels.items())),
                input_schema=json.dumps(to_json(schema)) if schema else "",
            )
        )

    def _step(self, step: Written) -> Step:
        fields = step.fields
        ancestors = self._graph.ancestors.get(step.step_id, ALL)
        reader = f"step {step.step_id!r}"
        before = replace(self._everything, reader=reader, allowed=ancestors)
        condition, proved = self._condition(fields, before)
        visible = replace(before, may_be_absent=before.may_be_absent - proved)
        inside = replace(visible, has_item=step.is_list)
        kind = KINDS.get(step.kind, BranchKind.CALL)
        is_called = kind in (BranchKind.CALL, BranchKind.TCC)
        node = fields.tree("input")
        child_input: Template = Constant({})
        if node and not is_called:
            child_input = self._expressions.template(node, inside, kinds.MAP)
        if step.child is not None:
            self._check_child_input(step, step.child, child_input)
        return Step(
            step_id=step.step_id,
            kind=kind,
            needs=self._graph.needs.get(step.step_id, ()),
            calls=self._called(step, inside) if is_called else (),
            child=step.child,
            input=child_input,
            wait=self._wait(fields, visible),
            signal=fields.get("await", str, ""),
            timeout_ms=0 if is_called else fields.get("timeout", int, 0),
            condition=condition,
            for_each=self._for_each(fields, visible),
            optional=step.is_optional,
            pivot=fields.get("pivot", bool, default=False),
        )

    def _called(self, step: Written, visible: Visible) -> tuple[Call, ...]:
        is_undone = self._pivot.goes_back(step)
        is_endless = self._pivot.is_endless(step)
        for call in step.calls():
            check_operations(
                call, self._operations, self._findings, is_undone=is_undone
            )
        return self._calls.of(step, visible, is_endless=is_endless, is_undone=is_undone)

    def _check_child_input(
        self, step: Written, child: SagaDefinition, template: Template
    ) -> None:
        at = step.fields.place("input" if "input" in step.fields.values else "saga")
        for problem in find_template_problems(child.input_schema, template):
            message = f"the saga {child.name} cannot be run with this: {problem}"
            self._findings.add(at, Code.WRONG_INPUT, message)

    def _wait(self, fields: Fields, visible: Visible) -> Template | None:
        if node := fields.tree("wait"):
            return self._expressions.template(node, visible, kinds.TEXT)
        duration_ms = fields.get("wait", int, 0)
        return Constant(duration_ms) if duration_ms else None

    def _condition(
        self, fields: Fields, visible: Visible
    ) -> tuple[Template | None, frozenset[str]]:
        """When the step runs, and which steps have an output whenever it does."""
        node = fields.tree("if")
        if node is None:
            return None, frozenset()
        condition = self._one_expression(node, "if", kinds.BOOL, visible)
        if condition == Constant(value=False):
            message = "this step never runs; drop it, or write a condition"
            self._findings.add(node.at, Code.UNREACHABLE, message)
        if condition == Constant(value=True):
            return None, frozenset()
        return condition, self._expressions.proves(node)

    def _for_each(self, fields: Fields, visible: Visible) -> ForEach | None:
        node = fields.tree("forEach")
        if node is None:
            return None
        items = self._one_expression(node, "forEach", kinds.LIST, visible)
        if isinstance(items, Constant) and isinstance(items.value, list):
            at, count = node.at, len(items.value)
            if not count:
                message = "this step never runs, because its list is empty; drop it"
                self._findings.add(at, Code.UNREACHABLE, message)
            elif count > ITEMS_MAX:
                message = f"a list of {count:,} items; at most {ITEMS_MAX:,} are run"
                self._findings.add(at, Code.OVER_LIMIT, message)
        return ForEach(items, fields.get("maxParallel", int, PARALLEL))

    def _one_expression(
        self, node: Node, key: str, wanted: str, visible: Visible
    ) -> Template:
        template = self._expressions.template(node, visible, wanted)
        if isinstance(template, Interpolation):
            message = (
                f"{key!r} must be {wanted}, but text around an expression makes it "
                "text; write one expression and nothing else"
            )
            self._findings.add(node.at, Code.WRONG_TYPE, message)
        return template

    def _check_times(self, steps: tuple[Step, ...], timeout_ms: int) -> None:
        """Note what ends before the steps that it must outlast can have ended."""
        by_id = {step.step_id: step for step in steps}
        times = Times(self._graph.order, by_id, self._children.times)
        if times.longest_ms > timeout_ms:
            message = (
                f"the saga's timeout {spoken(timeout_ms)} is shorter than "
                "one attempt of each step on the longest path, which ends at "
                f"{times.last!r} after {spoken(times.longest_ms)}; raise it, "
                "or lower the timeouts"
            )
            at = self._saga.place("timeout")
            self._findings.add(at, Code.TIMEOUT_TOO_SHORT, message)
        for step in self._written:
            if step.child is not None:
                self._check_child_timeout(step, step.child)
        fields_of = {step.step_id: step for step in self._written}
        for held in times.held:
            if held.spare_ms < 0:
                self._note_held(fields_of[held.branch_id.partition(":")[0]], held)

    def _check_child_timeout(self, step: Written, child: SagaDefinition) -> None:
        timeout_ms = step.fields.get("timeout", int, 0)
        longest_ms = self._children.times(child).longest_ms
        if 0 < timeout_ms < longest_ms:
            message = (
                f"the timeout {spoken(timeout_ms)} is shorter than one attempt"
                f" of each step on the longest path of {child.name}, which takes "
                f"{spoken(longest_ms)}; raise it"
            )
            at = step.fields.place("timeout")
            self._findings.add(at, Code.TIMEOUT_TOO_SHORT, message)

    def _note_held(self, step: Written, held: Held) -> None:
        message = (
            f"the reservation of {held.branch_id!r} expires after "
            f"{spoken(held.expires_ms)}, but the saga may need "
            f"{spoken(held.needed_ms)} from there until it is decided; raise "
            "expiresIn, or lower the timeouts"
        )
        at = step.fields.place("saga")
        if step.child is None:
            at = list(step.calls())[held.choice].place("expiresIn")
        self._findings.add(at, Code.EXPIRES_TOO_EARLY, message)
