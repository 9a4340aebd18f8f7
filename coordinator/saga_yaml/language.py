"""The saga language as data: every key, its type, its bounds and what it is for.

The checks read these tables, and the JSON Schema for editors is generated from
them; so neither knows a key that the other does not.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from enum import StrEnum
from types import MappingProxyType
from typing import Final, TypeAlias

from coordinator.core.backoff import FORWARD
from coordinator.core.definition import BranchKind
from coordinator.core.durations import DURATION_MAX_MS

API_VERSION: Final = "tercet/v1"
KIND: Final = "Saga"
IDENTIFIER: Final = r"[A-Za-z0-9._:-]{1,128}"
STEP_ID: Final = r"[A-Za-z][A-Za-z0-9_-]{0,63}"
OPERATION: Final = r"(?=.{1,128}$)[A-Za-z0-9._:-]+\.[A-Za-z0-9_:-]+"
CHILD: Final = rf"{IDENTIFIER}@(?!latest$){IDENTIFIER}"
SIGNAL: Final = r"[A-Za-z][A-Za-z0-9._-]{0,63}"

KINDS: Final[Mapping[str, BranchKind]] = MappingProxyType(
    {
        "call": BranchKind.CALL,
        "tcc": BranchKind.TCC,
        "saga": BranchKind.SAGA,
        "wait": BranchKind.WAIT,
        "await": BranchKind.AWAIT,
    }
)
"""What a step does: it has exactly one of these keys."""

STEPS_MAX: Final = 500
"""Steps of a saga, those of its child sagas included."""
FALLBACKS_MAX: Final = 5
PARALLEL_MAX: Final = 1_000
ITEMS_MAX: Final = 1_000
LABELS_MAX: Final = 64
METADATA_BYTES_MAX: Final = 8 * 1024
CODES_MAX: Final = 100

SAGA_TIMEOUT_MS: Final = 15 * 60_000
STEP_TIMEOUT_MS: Final = 10_000
PARALLEL: Final = 10
ATTENTION_AFTER: Final = 10

_DAY_MS: Final = 86_400_000


@dataclass(frozen=True, slots=True)
class Text:
    """Text of a given form. ``what`` says the form to people."""

    pattern: str
    what: str


@dataclass(frozen=True, slots=True)
class Choice:
    """One of a few words."""

    values: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Number:
    """A number from ``minimum`` to ``maximum``."""

    minimum: float
    maximum: float
    whole: bool = False


@dataclass(frozen=True, slots=True)
class Flag:
    """True or false."""


@dataclass(frozen=True, slots=True)
class Duration:
    """A span of time, from 1 ms; with ``or_text`` also text with an expression."""

    maximum_ms: int = DURATION_MAX_MS
    or_text: bool = False


@dataclass(frozen=True, slots=True)
class ListOf:
    """A list of at most ``item_max`` items."""

    item: "Text | Shape"
    item_max: int
    item_min: int = 0


@dataclass(frozen=True, slots=True)
class Labels:
    """A map of the author's own names to short texts."""

    value_max: int = 256


@dataclass(frozen=True, slots=True)
class JsonSchema:
    """A JSON Schema, written as YAML."""


class Form(StrEnum):
    """What a template yields."""

    ANY = "anything"
    MAP = "a map"
    LIST = "a list"
    CONDITION = "true or false"


@dataclass(frozen=True, slots=True)
class Templated:
    """JSON with expressions inside, or one expression that yields it."""

    form: Form = Form.ANY


@dataclass(frozen=True, slots=True)
class Key:
    """One key of a map.

    Attributes:
        about: what it is for, shown by editors.
        required: the map is wrong without it.
        default: as a reader would write it; empty when there is none.
        word: a word that may stand in place of the map.
        misfits: kinds of steps that do not have this key, each with the reason.
        beside: another key without which this one has no meaning.
        of_kind: the type where the kind of the step makes it another one.
    """

    type: "Type"
    about: str
    required: bool = False
    default: str = ""
    word: str = ""
    misfits: Mapping[str, str] = field(default_factory=dict)
    beside: str = ""
    of_kind: Mapping[str, "Type"] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Shape:
    """A map with known keys.

    Attributes:
        kinds: keys of which exactly one is there.
        required: keys without which the map is wrong; derived.
        refused: keys that are often expected here, with the reason why they are not.
    """

    name: str
    keys: Mapping[str, Key]
    kinds: tuple[str, ...] = ()
    refused: Mapping[str, str] = field(default_factory=dict)
    required: tuple[str, ...] = field(init=False)

    def __post_init__(self) -> None:
        required = (name for name, key in self.keys.items() if key.required)
        object.__setattr__(self, "required", tuple(required))


Type: TypeAlias = (
    Text
    | Choice
    | Number
    | Flag
    | Duration
    | ListOf
    | Labels
    | JsonSchema
    | Templated
    | Shape
)

_OPERATION: Final = Text(OPERATION, "an operation such as accounts.debit")
_TIMEOUT: Final = Key(
    Duration(_DAY_MS), "How long one attempt may take.", default="10s"
)

_INTERVALS: Final[Mapping[str, Key]] = {
    "initialInterval": Key(
        Duration(_DAY_MS),
        "The interval after the first failure.",
        default=f"{FORWARD.initial_interval_ms}ms",
    ),
    "backoffCoefficient": Key(
        Number(1, 100),
        "The factor by which each following interval grows.",
        default=str(FORWARD.coefficient),
    ),
    "maxInterval": Key(
        Duration(_DAY_MS),
        "No interval is longer.",
        default=f"{FORWARD.interval_max_ms // 1000}s",
    ),
    "jitter": Key(
        Number(0, 1),
        "The part of an interval that is random: 0 none, 1 all of it.",
        default=str(FORWARD.jitter),
    ),
}

RETRY: Final = Shape(
    "retry",
    {
        "maxAttempts": Key(
            Number(1, 1000, whole=True),
            "Attempts in all, the first included; then the saga turns back.",
            default=str(FORWARD.attempt_max),
        ),
        **_INTERVALS,
        "nonRetryable": Key(
            ListOf(Text(IDENTIFIER, "an error code such as SANCTIONED"), CODES_MAX),
            "Error codes after which nothing is asked again.",
        ),
    },
)

_WITHOUT_END: Final = "a compensation is repeated until it has succeeded; drop it"

COMPENSATION_RETRY: Final = Shape(
    "retry",
    _INTERVALS,
    refused={"maxAttempts": _WITHOUT_END, "nonRetryable": _WITHOUT_END},
)

COMPENSATE: Final = Shape(
    "compensate",
    {
        "call": Key(
            _OPERATION,
            "The operation that undoes the step, by the same participant; without "
            "it, the step's own operation compensates.",
        ),
        "input": Key(
            Templated(Form.MAP),
            "What it is called with; without it, what the step was called with.",
        ),
        "retry": Key(COMPENSATION_RETRY, "When a failed compensation is repeated."),
        "timeout": Key(
            Duration(_DAY_MS),
            "How long one attempt may take; without it, as long as the step's.",
        ),
    },
)

_TIMER: Final = "a timer calls nobody"
_SIGNAL: Final = "a step that awaits a signal calls nobody"
_CHILD: Final = "the steps of the child saga say it for themselves"

_CALLED: Final[Mapping[str, Key]] = {
    "call": Key(_OPERATION, "The action that is called."),
    "tcc": Key(
        _OPERATION,
        "The operation that is tried now, confirmed when the saga is decided, and "
        "cancelled when it turns back.",
    ),
    "input": Key(
        Templated(Form.MAP),
        "What it is called with.",
        default="{}",
        misfits={"wait": _TIMER, "await": _SIGNAL},
    ),
    "timeout": Key(
        Duration(_DAY_MS),
        "How long one attempt may take; of a child saga or a signal, how long the "
        "whole of it may take.",
        default="10s; of a child saga or a signal, as long as the saga may",
        misfits={"wait": "a timer takes as long as it says"},
        of_kind={"saga": Duration(), "await": Duration()},
    ),
    "pendingTimeout": Key(
        Duration(),
        "How long it may stay pending after it has answered so.",
        default="as long as the saga may",
        misfits={"saga": _CHILD, "wait": _TIMER, "await": _SIGNAL},
    ),
    "expiresIn": Key(
        Duration(),
        "How long the reservation holds; a saga that is not decided then turns back.",
        misfits={
            "call": "only a reservation (tcc) expires",
            "saga": _CHILD,
            "wait": "only a reservation (tcc) expires",
            "await": "a step that awaits a signal has 'timeout'",
        },
    ),
    "retry": Key(
        RETRY,
        "When a failed attempt is repeated.",
        misfits={"saga": _CHILD, "wait": _TIMER, "await": _SIGNAL},
    ),
    "compensate": Key(
        COMPENSATE,
        "How it is undone; the word none when there is nothing to undo; without it, "
        "the operation compensates itself.",
        word="none",
        misfits={
            "tcc": "a reservation is cancelled when the saga turns back",
            "saga": _CHILD,
            "wait": _TIMER,
            "await": _SIGNAL,
        },
    ),
}


def _fallback() -> Shape:
    """What is called instead; the shape of its own ``fallback`` is the same."""
    about = "Called when this one is refused too."
    keys = {name: replace(key, misfits={}) for name, key in _CALLED.items()}
    for name in ("expiresIn", "compensate"):
        keys[name] = _CALLED[name]
    keys["input"] = Key(
        Templated(Form.MAP),
        "What it is called with; without it, what the step was to be called with.",
    )
    keys["timeout"] = _TIMEOUT
    kinds = ("call", "tcc")
    other = dict.fromkeys(KINDS.keys() - set(kinds), "it is a call or a tcc")
    shape = Shape("fallback", keys, kinds, refused=other)
    keys["fallback"] = Key(shape, about)
    return shape


FALLBACK: Final = _fallback()

STEP: Final = Shape(
    "step",
    {
        "id": Key(
            Text(
                STEP_ID,
                "a letter, then at most 63 letters, digits, '_' or '-'",
            ),
            "The name of the step, unique in the saga.",
            required=True,
        ),
        "call": _CALLED["call"],
        "tcc": _CALLED["tcc"],
        "saga": Key(
            Text(
                CHILD,
                "a published saga and its version, such as disburse-loan@1.2.0",
            ),
            "The child saga that is run.",
        ),
        "wait": Key(
            Duration(or_text=True),
            "How long to wait: a duration, or an expression that yields one as text.",
        ),
        "await": Key(
            Text(SIGNAL, "a letter, then at most 63 letters, digits, '.', '_' or '-'"),
            "The name of the signal that is awaited; its payload is the output.",
        ),
        "needs": Key(
            ListOf(Text(STEP_ID, "the id of a step"), STEPS_MAX),
            "The steps that must have succeeded before, have been skipped, or have "
            "failed and be optional; without it, the step above; [] starts at once.",
        ),
        "if": Key(
            Templated(Form.CONDITION),
            "When it is false, the step is skipped.",
        ),
        "forEach": Key(
            Templated(Form.LIST),
            "The step is run once for every item of this list, each in a branch of "
            "its own; its input may read item and index.",
            misfits={
                "wait": "only call, tcc and saga are run for each item of a list",
                "await": "only call, tcc and saga are run for each item of a list",
            },
        ),
        "maxParallel": Key(
            Number(1, PARALLEL_MAX, whole=True),
            "How many items may be under way at a time.",
            default=str(PARALLEL),
            beside="forEach",
        ),
        **{name: _CALLED[name] for name in list(_CALLED)[2:]},
        "fallback": Key(
            FALLBACK,
            "Called when this one is refused, or has used up its attempts.",
            misfits={"saga": _CHILD, "wait": _TIMER, "await": _SIGNAL},
        ),
        "pivot": Key(
            Flag(),
            "Once the step has succeeded, the saga only goes forward.",
            default="false",
            misfits={
                "tcc": "a reservation is confirmed when the saga is decided, so only "
                "a call can decide it",
                "saga": "a child saga decides by a step of its own that is marked",
                "wait": _TIMER,
                "await": _SIGNAL,
            },
        ),
        "optional": Key(
            Flag(), "Its failure is no failure of the saga.", default="false"
        ),
    },
    kinds=tuple(KINDS),
    refused={
        "dependsOn": "the steps that must come before stand in 'needs'",
        "when": "the condition of a step is its 'if'",
        "undo": "how a step is undone is its 'compensate'",
    },
)

METADATA: Final = Shape(
    "metadata",
    {
        "name": Key(
            Text(IDENTIFIER, "1 to 128 letters, digits, '.', '_', ':' or '-'"),
            "The name under which the saga is published and submitted.",
            required=True,
        ),
        "version": Key(
            Text(
                rf"(?!latest$){IDENTIFIER}",
                "1 to 128 letters, digits, '.', '_', ':' or '-', and not 'latest'",
            ),
            "A published version never changes.",
            required=True,
        ),
        "labels": Key(Labels(), "The author's own marks."),
    },
)

INPUT: Final = Shape(
    "input",
    {"schema": Key(JsonSchema(), "JSON Schema of the saga's input.", required=True)},
)

DEFAULTS: Final = Shape(
    "defaults",
    {
        "retry": Key(RETRY, "For steps that say nothing else, key by key."),
        "timeout": _TIMEOUT,
        "compensation": Key(
            Shape(
                "compensation",
                {
                    "retry": Key(COMPENSATION_RETRY, "For all compensations."),
                    "attentionAfter": Key(
                        Number(1, 1_000_000, whole=True),
                        "Failed attempts after which a person is called.",
                        default=str(ATTENTION_AFTER),
                    ),
                },
            ),
            "For compensations that say nothing else.",
        ),
    },
)

SAGA: Final = Shape(
    "saga",
    {
        "apiVersion": Key(
            Choice((API_VERSION,)), "The version of the language.", required=True
        ),
        "kind": Key(Choice((KIND,)), "What the document is.", required=True),
        "metadata": Key(METADATA, "What the saga is called.", required=True),
        "input": Key(INPUT, "What the saga is submitted with."),
        "timeout": Key(
            Duration(), "After this time the saga turns back.", default="15m"
        ),
        "defaults": Key(DEFAULTS, "For all steps that say nothing else."),
        "steps": Key(ListOf(STEP, STEPS_MAX, 1), "What is done.", required=True),
        "output": Key(Templated(), "What the saga answers when it has completed."),
    },
)

KEYWORDS: Final[Mapping[str, str]] = MappingProxyType(
    {
        "type": "names",
        "required": "texts",
        "properties": "schemas",
        "additionalProperties": "boolean",
        "items": "schema",
        "enum": "values",
        "const": "value",
        "minimum": "number",
        "maximum": "number",
        "exclusiveMinimum": "number",
        "exclusiveMaximum": "number",
        "minLength": "count",
        "maxLength": "count",
        "minItems": "count",
        "maxItems": "count",
        "title": "text",
        "description": "text",
        "$comment": "text",
        "$schema": "text",
        "default": "value",
        "examples": "values",
    }
)
"""The keywords of JSON Schema that an input schema may use, and what each holds."""
