"""Builds what a step calls: operations, their retries and how they are undone."""

from collections.abc import Mapping
from dataclasses import replace

from coordinator.core.backoff import FORWARD, PHASE_TWO, RetryPolicy
from coordinator.core.changed import changed
from coordinator.core.definition import Call, Compensation, Constant, Template
from coordinator.core.durations import format_duration
from coordinator.core.model import Operation
from coordinator.saga_yaml.arguments import check_argument
from coordinator.saga_yaml.cel import kinds
from coordinator.saga_yaml.expressions import Expressions, Visible
from coordinator.saga_yaml.findings import Code, Findings
from coordinator.saga_yaml.known_types import ANYTHING, decoded
from coordinator.saga_yaml.language import (
    ATTENTION_AFTER,
    FALLBACKS_MAX,
    KINDS,
    STEP_TIMEOUT_MS,
)
from coordinator.saga_yaml.shape import Fields, Placed
from coordinator.saga_yaml.steps import Written


class Calls:
    """Fills in what a step does not say from the saga's ``defaults``."""

    def __init__(
        self,
        defaults: Fields,
        expressions: Expressions,
        operations: Mapping[str, Operation] | None,
        findings: Findings,
    ) -> None:
        self._expressions = expressions
        self._operations = operations or {}
        self._findings = findings
        self._retry = self._policy(defaults.fields("retry"), FORWARD)
        self._timeout_ms = defaults.get("timeout", int, STEP_TIMEOUT_MS)
        compensation = defaults.fields("compensation")
        self._undo_retry = self._policy(compensation.fields("retry"), PHASE_TWO)
        self._attention_after = compensation.get("attentionAfter", int, ATTENTION_AFTER)

    def of(
        self, step: Written, visible: Visible, *, is_endless: bool, is_undone: bool
    ) -> tuple[Call, ...]:
        """What the step calls first, and its fallbacks.

        Args:
            is_endless: it is asked until it succeeds.
            is_undone: the saga may turn back after it.
        """
        calls: list[Call] = []
        for fields in step.calls():
            if len(calls) > FALLBACKS_MAX:
                message = f"more than {FALLBACKS_MAX} fallbacks of one step; drop some"
                self._findings.add(fields.at, Code.OVER_LIMIT, message)
                break
            inherited = calls[0].input if calls else Constant({})
            operation = fields.get(fields.kind, str, "")
            written = self._argument(fields, operation, visible)
            retry = self._retry
            if "retry" in fields.values:
                retry = self._policy(fields.fields("retry"), retry)
            if is_endless:
                retry = changed(retry, attempt_max=0, non_retryable=frozenset())
            timeout_ms = fields.get("timeout", int, self._timeout_ms)
            undo: Compensation | None = None
            if is_undone and fields.kind != "tcc":
                undo = self._compensation(fields, timeout_ms, visible, step)
            calls.append(
                Call(
                    operation=operation,
                    input=inherited if written is None else written,
                    retry=retry,
                    timeout_ms=timeout_ms,
                    kind=KINDS.get(fields.kind, KINDS["call"]),
                    compensation=undo,
                    expires_ms=fields.get("expiresIn", int, 0),
                    pending_timeout_ms=fields.get("pendingTimeout", int, 0),
                )
            )
        return tuple(calls)

    def _compensation(
        self, call: Fields, timeout_ms: int, visible: Visible, step: Written
    ) -> Compensation | None:
        operation = call.get("call", str, "")
        if "compensate" not in call.values:
            return Compensation(
                operation, None, self._undo_retry, timeout_ms, self._attention_after
            )
        if call.get("compensate", str, ""):
            return None
        fields = call.fields("compensate")
        operation = fields.get("call", str, call.get("call", str, ""))
        return Compensation(
            operation=operation,
            input=self._argument(fields, operation, _with_itself(visible, step)),
            retry=self._policy(fields.fields("retry"), self._undo_retry),
            timeout_ms=fields.get("timeout", int, timeout_ms),
            attention_after=self._attention_after,
        )

    def _argument(
        self, fields: Fields, operation: str, visible: Visible
    ) -> Template | None:
        """What is written as ``input``, checked against the operation's schema."""
        node = fields.tree("input")
        if node is None:
            return None
        template = self._expressions.template(node, visible, kinds.MAP)
        called = self._operations.get(operation)
        schema = decoded(called.input_schema) if called else ANYTHING
        check_argument(node, template, schema, visible.known, self._findings)
        return template

    def _policy(self, fields: Fields, base: RetryPolicy) -> RetryPolicy:
        """What is written, over what holds otherwise, key by key."""
        if not fields.values:
            return base
        codes = base.non_retryable
        if "nonRetryable" in fields.values:
            written: list[Placed] = fields.get("nonRetryable", list, [])
            codes = frozenset(code.text for code in written)
        policy = changed(
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


def _with_itself(visible: Visible, step: Written) -> Visible:
    """A compensation may also read what its own step has answered (S10)."""
    position = visible.positions.get(step.step_id)
    itself = 0 if position is None else 1 << position
    reader = f"the compensation of {visible.reader}"
    return replace(
        visible,
        reader=reader,
        allowed=visible.allowed | itself,
        may_be_absent=visible.may_be_absent - {step.step_id},
    )
