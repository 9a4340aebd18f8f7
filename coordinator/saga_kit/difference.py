"""What is different between two versions of a saga, step by step.

Two normal forms are compared, so neither spelling, nor comments, nor defaults written
out or left away are a difference.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from coordinator.core.definition import JsonValue


@dataclass(frozen=True, slots=True)
class Difference:
    """One difference.

    Attributes:
        where: ``saga`` or the id of a step.
        what: the path inside it, such as ``retry.maxAttempts``; empty = all of it.
        before: ``None`` when it is new.
        after: ``None`` when it is gone.
    """

    where: str
    what: str
    before: JsonValue
    after: JsonValue

    def __str__(self) -> str:
        return f"{self.where}: {self.what or 'the step'}"


def differences(
    before: Mapping[str, JsonValue], after: Mapping[str, JsonValue]
) -> tuple[Difference, ...]:
    """Between two normal forms; the version itself is none."""
    own = sorted({*before, *after} - {"steps", "version", "output"})
    found = [
        Difference("saga", *parts)
        for key in own
        for parts in _compare(key, before.get(key), after.get(key))
    ]
    outputs = readable(before.get("output")), readable(after.get("output"))
    found += [Difference("saga", *parts) for parts in _compare("output", *outputs)]
    old, new = _steps(before), _steps(after)
    for step_id in dict.fromkeys((*old, *new)):
        compared = _compare("", old.get(step_id), new.get(step_id))
        found += [Difference(step_id, *parts) for parts in compared]
    return tuple(found)


def _steps(form: Mapping[str, JsonValue]) -> dict[str, JsonValue]:
    steps = form.get("steps")
    return {
        str(step.get("id")): readable(step)
        for step in (steps if isinstance(steps, list) else ())
        if isinstance(step, dict)
    }


def _compare(
    path: str, before: JsonValue, after: JsonValue
) -> Iterator[tuple[str, JsonValue, JsonValue]]:
    """The smallest parts that differ; a list is one part."""
    if isinstance(before, dict) and isinstance(after, dict):
        for key in dict.fromkeys((*before, *after)):
            inner = f"{path}.{key}" if path else key
            yield from _compare(inner, before.get(key), after.get(key))
    elif before != after or type(before) is not type(after):
        yield path, before, after


def readable(value: JsonValue) -> JsonValue:
    """A part of a normal form nearer to how it was written."""
    match value:
        case {"value": inner, **others} if not others:
            return inner
        case {"expression": str(source), **others} if not others:
            return f"${{{source}}}"
        case {"path": list(parts), **others} if not others:
            return "${" + ".".join(str(part) for part in parts) + "}"
        case {"text": list(parts), **others} if not others:
            return "".join(
                part if isinstance(part, str) else str(readable(part)) for part in parts
            )
        case {"list": list(items), **others} if not others:
            return [readable(item) for item in items]
        case {"map": dict(entries), **others} if not others:
            return {key: readable(item) for key, item in entries.items()}
        case dict():
            return {key: readable(item) for key, item in value.items()}
        case list():
            return [readable(item) for item in value]
        case _:
            return value
