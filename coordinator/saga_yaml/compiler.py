"""Builds the definition that the core runs from a checked tree."""

import json
from collections.abc import Mapping
from dataclasses import replace

from coordinator.core.backoff import FORWARD, PHASE_TWO, RetryPolicy
from coordinator.core.definition import (
    Compensation,
    Constant,
    SagaDefinition,
    Step,
    Template,
)
from coordinator.core.model import Operation
from coordinator.saga_yaml.arguments import check_argument, known_of
from coordinator.saga_yaml.checks import (
    Graph,
    check_graph,
    check_longest_path,
    check_operations,
)
from coordinator.saga_yaml.durations import format_duration
from coordinator.saga_yaml.expressions import Expressions, Visible
from coordinator.saga_yaml.findings import Code, Findings
from coordinator.saga_yaml.known_types import ANYTHING, NOTHING_KNOWN, decoded
from coordinator.saga_yaml.language import (
    ATTENTION_AFTER,
    SAGA,
    SAGA_TIMEOUT_MS,
    STEP_TIMEOUT_MS,
)
from coordinator.saga_yaml.normal import with_digest
from coordinator.saga_yaml.shape import Fields, Placed, check_shape
from coordinator.saga_yaml.tree import Node, to_json

ALL = -1
"""The bits of all steps."""


def compile_saga(
    root: Node,
    text: str,
    operations: Mapping[str, Operation] | None,
    findings: Findings,
) -> SagaDefinition | None:
    """The definition, or ``None`` when there are findings."""
    saga = check_shape(root, SAGA, findings)
    return _Compiler(saga, text, operations, findings).compile()


class _Compiler:
    def __init__(
        self,
        saga: Fields,
        text: str,
        operations: Mapping[str, Operation] | None,
        findings: Findings,
    ) -> None:
        self._saga = saga
        self._operations = operations
        self._findings = findings
        self._expressions = Expressions(text, findings)
        self._known = NOTHING_KNOWN
        defaults = saga.fields("defaults")
        self._retry = self._policy(defaults.fields("retry"), FORWARD)
        self._timeout_ms = defaults.get("timeout", int, STEP_TIMEOUT_MS)
        compensation = defaults.fields("compensation")
        self._undo_retry = self._policy(compensation.fields("retry"), PHASE_TWO)
        self._attention_after = compensation.get("attentionAfter", int, ATTENTION_AFTER)

    def compile(self) -> SagaDefinition | None:
        saga, findings = self._saga, self._findings
        all_steps: list[Fields] = saga.get("steps", list, [])
        graph = check_graph(all_steps, findings)
        called = {
            step_id: fields.get("call", str, "")
            for fields, step_id in zip(all_steps, graph.ids, strict=True)
        }
        schema = saga.fields("input").tree("schema")
        self._known = known_of(schema, called, self._operations)
        steps = tuple(
            self._step(fields, step_id, graph)
            for fields, step_id in zip(all_steps, graph.ids, strict=True)
        )
        timeout_ms = saga.get("timeout", int, SAGA_TIMEOUT_MS)
        if len(graph.needs) == len(steps):
            timeouts = {step.step_id: step.timeout_ms for step in steps}
            at = saga.place("timeout")
            check_longest_path(graph, timeouts, timeout_ms, at, findings)
        output: Template | None = None
        if node := saga.tree("output"):
            everything = Visible(
                "the saga's output", graph.positions, ALL, known=self._known
            )
            output = self._expressions.template(node, everything)
        if findings:
            return None
        metadata = saga.fields("metadata")
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

    def _step(self, fields: Fields, step_id: str, graph: Graph) -> Step:
        check_operations(fields, self._operations, self._findings)
        ancestors = graph.ancestors.get(step_id, ALL)
        visible = Visible(
            f"step {step_id!r}", graph.positions, ancestors, known=self._known
        )
        operation = fields.get("call", str, "")
        timeout_ms = fields.get("timeout", int, self._timeout_ms)
        return Step(
            step_id=step_id,
            operation=operation,
            input=self._argument(fields, operation, visible) or Constant({}),
            needs=graph.needs.get(step_id, ()),
            retry=self._policy(fields.fields("retry"), self._retry),
            timeout_ms=timeout_ms,
            compensation=self._compensation(fields, visible, timeout_ms),
        )

    def _argument(
        self, fields: Fields, operation: str, visible: Visible
    ) -> Template | None:
        """What is written as ``input``, checked against the operation's schema."""
        node = fields.tree("input")
        if node is None:
            return None
        template = self._expressions.template(node, visible)
        called = (self._operations or {}).get(operation)
        schema = decoded(called.input_schema) if called else ANYTHING
        check_argument(node, template, schema, self._known, self._findings)
        return template

    def _compensation(
        self, step: Fields, visible: Visible, timeout_ms: int
    ) -> Compensation | None:
        if step.get("compensate", str, ""):
            return None
        fields = step.fields("compensate")
        operation = fields.get("call", str, step.get("call", str, ""))
        itself = self._with_itself(visible, step)
        return Compensation(
            operation=operation,
            input=self._argument(fields, operation, itself),
            retry=self._policy(fields.fields("retry"), self._undo_retry),
            timeout_ms=fields.get("timeout", int, timeout_ms),
            attention_after=self._attention_after,
        )

    def _with_itself(self, visible: Visible, step: Fields) -> Visible:
        """A compensation may also read what its own step has answered (S10)."""
        position = visible.positions.get(step.get("id", str, ""))
        itself = 0 if position is None else 1 << position
        reader = f"the compensation of {visible.reader}"
        return replace(visible, reader=reader, allowed=visible.allowed | itself)

    def _policy(self, fields: Fields, base: RetryPolicy) -> RetryPolicy:
        """What is written, over what holds otherwise, key by key."""
        if not fields.values:
            return base
        codes = base.non_retryable
        if "nonRetryable" in fields.values:
            written: list[Placed] = fields.get("nonRetryable", list, [])
            codes = frozenset(code.text for code in written)
        policy = replace(
            base,
            attempt_max=fields.get("maxAttempts", int, base.attempt_max),
            initial_interval_ms=fields.get(
                "initialInterval", int, base.initial_interval_ms
            ),
            coefficient=fields.get("backoffCoefficient", float, base.coefficient),
            interval_max_ms=fields.get("maxInterval", int, base.interval_max_ms),
            jitter=fields.get("jitter", float, base.jitter),
            non_retryable=codes,
        )
        if policy.initial_interval_ms > policy.interval_max_ms:
            message = (
                f"initialInterval {format_duration(policy.initial_interval_ms)} is "
                f"longer than maxInterval {format_duration(policy.interval_max_ms)}; "
                "lower the one or raise the other"
            )
            self._findings.add(fields.at, Code.WRONG_VALUE, message)
        return policy
