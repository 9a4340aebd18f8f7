"""How two sagas differ, by their normal forms: for people who must choose a version."""

import json
from collections.abc import Iterator
from itertools import zip_longest
from typing import Final

from coordinator.core.definition import JsonValue

SHOWN_MAX: Final = 3
"""Differences that a message names; one is most often enough to see the cause."""

_VALUE_CHARS_MAX: Final = 40
_ABSENT: Final = "nothing"


def difference(published: JsonValue, other: JsonValue) -> str:
    """The first differences in one line, such as ``timeout: 1 is published, not 2``;
    empty when there is none.
    """
    found = list(_differences("", published, other))
    shown = [f"{path}: {one} is published, not {two}" for path, one, two in found]
    if len(found) > SHOWN_MAX:
        shown = [*shown[:SHOWN_MAX], f"and {len(found) - SHOWN_MAX} more"]
    return "; ".join(shown)


def _differences(
    path: str, one: JsonValue, two: JsonValue
) -> Iterator[tuple[str, str, str]]:
    match one, two:
        case dict(), dict():
            for key in sorted({*one, *two}):
                inner = f"{path}.{key}" if path else key
                if key not in one:
                    yield inner, _ABSENT, _shown(two[key])
                elif key not in two:
                    yield inner, _shown(one[key]), _ABSENT
                else:
                    yield from _differences(inner, one[key], two[key])
        case list(), list():
            for i, (left, right) in enumerate(zip_longest(one, two, fillvalue=_END)):
                inner = f"{path}[{i}]"
                if left is _END or right is _END:
                    yield inner, _shown(left), _shown(right)
                else:
                    yield from _differences(inner, left, right)
        case _ if one != two or type(one) is not type(two):
            yield path, _shown(one), _shown(two)


_END: Final[JsonValue] = {"": "the end of the shorter list, told by its identity"}


def _shown(value: JsonValue) -> str:
    if value is _END:
        return _ABSENT
    text = json.dumps(value, ensure_ascii=False)
    return text if len(text) <= _VALUE_CHARS_MAX else f"{text[:_VALUE_CHARS_MAX]}…"
