"""The normal form of a definition, and the digest that pins running sagas (S7).

Built from the compiled definition, so that spelling, comments, the order of keys and
defaults written out or left away make no difference. Never change what is here for a
definition that exists: a new element enters the normal form only where it is used.
"""

import hashlib
import json
from copy import copy
from functools import lru_cache
from typing import assert_never

from coordinator.core.backoff import RetryPolicy
from coordinator.core.definition import (
    BranchKind,
    Call,
    Compensation,
    Computed,
    Constant,
    Interpolation,
    JsonValue,
    Reference,
    SagaDefinition,
    Step,
    Template,
    TemplateList,
    TemplateMap,
)
from coordinator.saga_yaml.language import API_VERSION


def normal_form(definition: SagaDefinition) -> JsonValue:
    """The definition as JSON, whole but for its digest; durations in milliseconds."""
    form: dict[str, JsonValue] = {
        "apiVersion": API_VERSION,
        "name": definition.name,
        "version": definition.version,
        "labels": dict(definition.labels),
        "timeout": definition.timeout_ms,
        "steps": [_step(step) for step in definition.steps],
    }
    if definition.input_schema:
        form["inputSchema"] = json.loads(definition.input_schema)
    if definition.output is not None:
        form["output"] = _template(definition.output)
    return form


def with_digest(definition: SagaDefinition) -> SagaDefinition:
    """The definition with the digest of its normal form."""
    text = json.dumps(normal_form(definition), sort_keys=True, separators=(",", ":"))
    digest = hashlib.sha256(text.encode()).hexdigest()
    # Not ``replace``: that would derive the whole graph anew, and prove it acyclic.
    digested = copy(definition)
    object.__setattr__(digested, "digest", f"sha256:{digest}")
    return digested


def _step(step: Step) -> JsonValue:
    form: dict[str, JsonValue] = {
        "id": step.step_id,
        "needs": list[JsonValue](sorted(step.needs)),
    }
    match step.kind:
        case BranchKind.CALL | BranchKind.TCC:
            form |= _call(step.calls[0])
        case BranchKind.SAGA:
            form["saga"] = _child(step)
            if step.input is not None:
                form["input"] = _template(step.input)
        case BranchKind.WAIT if step.wait is not None:
            form["wait"] = _template(step.wait)
        case _:
            form["await"] = step.signal
    if fallbacks := step.calls[1:]:
        form["fallbacks"] = [_call(call) for call in fallbacks]
    if step.timeout_ms:
        form["timeout"] = step.timeout_ms
    if step.condition is not None:
        form["if"] = _template(step.condition)
    if step.for_each is not None:
        items, parallel_max = step.for_each.items, step.for_each.parallel_max
        form["forEach"] = {"items": _template(items), "maxParallel": parallel_max}
    if step.optional:
        form["optional"] = True
    if step.pivot:
        form["pivot"] = True
    return form


def _child(step: Step) -> JsonValue:
    """The child's digest says it all; its name and version are for readers."""
    if step.child is None:
        return None
    return {
        "name": step.child.name,
        "version": step.child.version,
        "digest": step.child.digest,
    }


def _call(call: Call) -> dict[str, JsonValue]:
    form: dict[str, JsonValue] = {
        "tcc" if call.kind is BranchKind.TCC else "call": call.operation,
        "input": _template(call.input),
        "retry": _retry(call.retry),
        "timeout": call.timeout_ms,
    }
    if call.compensation is not None:
        form["compensate"] = _compensation(call.compensation)
    if call.expires_ms:
        form["expiresIn"] = call.expires_ms
    if call.pending_timeout_ms:
        form["pendingTimeout"] = call.pending_timeout_ms
    return form


def _compensation(compensation: Compensation) -> JsonValue:
    form: dict[str, JsonValue] = {
        "call": compensation.operation,
        "retry": _retry(compensation.retry),
        "timeout": compensation.timeout_ms,
        "attentionAfter": compensation.attention_after,
    }
    if compensation.input is not None:
        form["input"] = _template(compensation.input)
    return form


@lru_cache(maxsize=256)
def _retry(retry: RetryPolicy) -> JsonValue:
    return {
        "maxAttempts": retry.attempt_max,
        "initialInterval": retry.initial_interval_ms,
        "backoffCoefficient": retry.coefficient,
        "maxInterval": retry.interval_max_ms,
        "jitter": retry.jitter,
        "nonRetryable": list[JsonValue](sorted(retry.non_retryable)),
    }


def _template(template: Template) -> JsonValue:
    match template:
        case Constant(value):
            return {"value": value}
        case Reference(path):
            return {"path": list(path)}
        case Computed(source):
            return {"expression": source}
        case Interpolation(parts):
            return {
                "text": [
                    part if isinstance(part, str) else _template(part) for part in parts
                ]
            }
        case TemplateList(items):
            return {"list": [_template(item) for item in items]}
        case TemplateMap(entries):
            return {"map": {key: _template(item) for key, item in entries}}
        case _:
            assert_never(template)
