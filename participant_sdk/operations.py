"""The operations of a participant, and the decorators that fill them."""

import inspect
from collections.abc import Callable, Iterator
from enum import Enum
from types import SimpleNamespace
from typing import Any, Protocol, TypeVar, cast, get_type_hints

from participant_sdk.barrier.rules import Phase, is_identifier
from participant_sdk.context import Context
from participant_sdk.errors import InvalidRequest
from participant_sdk.payload import Codec, result_schema

In = TypeVar("In")
In_contra = TypeVar("In_contra", contravariant=True)
Out = TypeVar("Out")
Result_co = TypeVar("Result_co", covariant=True)
Any_handler = TypeVar("Any_handler", bound=Callable[..., Any])

Anything = Callable[..., Any]


class TccOperation(Protocol[In_contra, Result_co]):
    """A try, with its two decorators; calling it calls the original function."""

    def __call__(self, ctx: Context[Any, Any], request: In_contra, /) -> Result_co:
        """Try."""

    def confirm(self, handler: Any_handler) -> Any_handler:
        """Register ``handler(ctx, request, output)`` as the confirm."""

    def cancel(self, handler: Any_handler) -> Any_handler:
        """Register ``handler(ctx, request, output)`` as the cancel."""


class ActionOperation(Protocol[In_contra, Result_co]):
    """An action, with its decorator; calling it calls the original function."""

    def __call__(self, ctx: Context[Any, Any], request: In_contra, /) -> Result_co:
        """Act."""

    def compensate(self, handler: Any_handler) -> Any_handler:
        """Register ``handler(ctx, request, output)`` as the compensation."""


class Kind(Enum):
    """What an operation can do."""

    TCC = "TCC"
    ACTION = "ACTION"


class Handler:
    """One function, and the types that its annotations declare."""

    __slots__ = (
        "description",
        "function",
        "input",
        "is_async",
        "output",
        "result_schema",
        "transactional",
    )

    def __init__(
        self, function: Anything, *, takes_output: bool, transactional: bool
    ) -> None:
        names = _parameters(function, 3 if takes_output else 2)
        hints = _hints(function)
        self.function = function
        self.transactional = transactional
        self.is_async = inspect.iscoroutinefunction(function)
        self.input = Codec(hints.get(names[1], Any))
        self.output = Codec(hints.get(names[2], Any)) if takes_output else None
        self.result_schema = result_schema(hints.get("return", Any))
        self.description = _first_line(function)


class Operation:
    """An entry of the catalogue, with a handler for each phase."""

    __slots__ = (
        "_async_only",
        "compensation",
        "handlers",
        "kind",
        "name",
        "transactional",
    )

    def __init__(
        self,
        name: str,
        kind: Kind,
        *,
        transactional: bool,
        async_only: bool,
        compensation: str = "",
    ) -> None:
        self.name = name
        self.kind = kind
        self.transactional = transactional
        self.compensation = compensation
        self._async_only = async_only
        self.handlers: dict[Phase, Handler] = {}

    @property
    def compensable(self) -> bool:
        """An action that brings its own compensation."""
        return self.kind is Kind.ACTION and Phase.COMPENSATION in self.handlers

    @property
    def first(self) -> Handler:
        """The try or action."""
        return self.handlers[Phase.TRY if self.kind is Kind.TCC else Phase.ACTION]

    def handler(self, phase: Phase) -> Handler | None:
        """Who answers ``phase``.

        A plain action may itself be named as another step's compensation.
        """
        found = self.handlers.get(phase)
        if found is None and phase is Phase.COMPENSATION:
            return self.handlers.get(Phase.ACTION)
        return found

    def add(self, phase: Phase, function: Any_handler) -> Any_handler:
        """Register ``function`` for ``phase`` and give it back unchanged."""
        if phase in self.handlers:
            raise InvalidRequest(
                f"{self.name} already has a handler for {phase}: remove one",
                field=self.name,
            )
        handler = Handler(
            function,
            takes_output=not phase.is_forward,
            transactional=self.transactional,
        )
        if self._async_only and not handler.is_async:
            raise InvalidRequest(
                f"{_name(function)} is a plain def, and the participant's database is "
                "an AsyncEngine: write async def, or give the participant an Engine",
                field=self.name,
            )
        self.handlers[phase] = handler
        return function

    def missing(self) -> list[str]:
        """What has to be declared before the operation can be served."""
        if self.kind is Kind.ACTION:
            return []
        return [
            phase.value.lower()
            for phase in (Phase.CONFIRM, Phase.CANCEL)
            if phase not in self.handlers
        ]


class Registry:
    """All operations of one participant, by their full name.

    Args:
        participant: first part of the names.
        has_database: there is one for the barrier.
        async_only: it can only be used by ``async def`` handlers.
    """

    def __init__(
        self, participant: str, *, has_database: bool = True, async_only: bool = False
    ) -> None:
        if not is_identifier(participant) or "." in participant:
            raise InvalidRequest(
                "a participant's name has 1 to 128 of A-Z a-z 0-9 _ : - "
                "(the dot separates it from its operations)",
                field="name",
            )
        self.participant = participant
        self._has_database = has_database
        self._async_only = async_only
        self._operations: dict[str, Operation] = {}

    def __iter__(self) -> Iterator[Operation]:
        return iter(self._operations.values())

    def get(self, name: str) -> Operation | None:
        """The operation of that full name."""
        return self._operations.get(name)

    def declare(
        self,
        name: str,
        kind: Kind,
        function: Anything,
        *,
        transactional: bool,
        compensation: str = "",
    ) -> Operation:
        """A new operation whose try or action is ``function``."""
        full_name = f"{self.participant}.{name}"
        if not is_identifier(full_name):
            raise InvalidRequest(
                f"{full_name!r} is no operation name: 1 to 128 of A-Z a-z 0-9 . _ : -",
                field="name",
            )
        if full_name in self._operations:
            raise InvalidRequest(
                f"{full_name} is declared twice: rename one", field="name"
            )
        if not transactional and not self._has_database:
            raise InvalidRequest(
                f"{full_name} is transactional=False, which keeps its intents in a "
                "database: make the participant with database=engine",
                field="transactional",
            )
        operation = Operation(
            full_name,
            kind,
            transactional=transactional,
            async_only=self._async_only,
            compensation=f"{self.participant}.{compensation}" if compensation else "",
        )
        operation.add(Phase.TRY if kind is Kind.TCC else Phase.ACTION, function)
        self._operations[full_name] = operation
        return operation

    def check_complete(self) -> None:
        """Raise unless every operation can be served."""
        for operation in self._operations.values():
            for missing in operation.missing():
                raise InvalidRequest(
                    f"{operation.name} has no {missing}: decorate a function with "
                    f"@{operation.first.function.__name__}.{missing}",
                    field=operation.name,
                )
            self._check_compensation(operation)

    def _check_compensation(self, operation: Operation) -> None:
        """Raise unless what undoes the operation, if that is another one, can."""
        if not operation.compensation:
            return
        if operation.compensable:
            raise InvalidRequest(
                f"{operation.name} has a compensate of its own and names "
                f"{operation.compensation} as its compensation: keep one of them",
                field=operation.name,
            )
        undo = self._operations.get(operation.compensation)
        if undo is None or undo is operation or undo.kind is not Kind.ACTION:
            raise InvalidRequest(
                f"{operation.name} names {operation.compensation} as its "
                "compensation: expected another action of this participant",
                field=operation.name,
            )


class TccDecorator:
    """What ``@participant.tcc(name)`` is."""

    def __init__(self, registry: Registry, name: str, *, transactional: bool) -> None:
        self._registry = registry
        self._name = name
        self._transactional = transactional

    def __call__(
        self, function: Callable[[Context[Any, Any], In], Out]
    ) -> TccOperation[In, Out]:
        """Declare ``function``, and give it back with its own decorators."""
        operation = self._registry.declare(
            self._name, Kind.TCC, function, transactional=self._transactional
        )
        _attach(function, "confirm", operation, Phase.CONFIRM)
        _attach(function, "cancel", operation, Phase.CANCEL)
        return cast("TccOperation[In, Out]", function)


class ActionDecorator:
    """What ``@participant.action(name)`` is."""

    def __init__(
        self,
        registry: Registry,
        name: str,
        *,
        transactional: bool,
        compensation: str = "",
    ) -> None:
        self._registry = registry
        self._name = name
        self._transactional = transactional
        self._compensation = compensation

    def __call__(
        self, function: Callable[[Context[Any, Any], In], Out]
    ) -> ActionOperation[In, Out]:
        """Declare ``function``, and give it back with its own decorator."""
        operation = self._registry.declare(
            self._name,
            Kind.ACTION,
            function,
            transactional=self._transactional,
            compensation=self._compensation,
        )
        _attach(function, "compensate", operation, Phase.COMPENSATION)
        return cast("ActionOperation[In, Out]", function)


def _attach(function: Anything, name: str, operation: Operation, phase: Phase) -> None:
    def register(handler: Anything) -> Anything:
        return operation.add(phase, handler)

    register.__name__ = name
    register.__doc__ = f"Register the {name} of {operation.name}."
    setattr(function, name, register)


def _parameters(function: Anything, count: int) -> list[str]:
    names = [
        parameter.name
        for parameter in inspect.signature(function).parameters.values()
        if parameter.kind
        in (parameter.POSITIONAL_ONLY, parameter.POSITIONAL_OR_KEYWORD)
    ]
    if len(names) != count:
        wanted = "(ctx, request)" if count == 2 else "(ctx, request, output)"
        raise InvalidRequest(
            f"{_name(function)} takes ({', '.join(names)}), expected {wanted}",
            field=_name(function),
        )
    return names


def _hints(function: Anything) -> dict[str, Any]:
    """The annotations, resolved; that of the context is left alone.

    It is often imported for type checkers only, and would not resolve.
    """
    annotations = dict(getattr(function, "__annotations__", {}))
    annotations.pop(next(iter(inspect.signature(function).parameters)), None)
    bearer = cast("Any", SimpleNamespace(__annotations__=annotations))
    try:
        return get_type_hints(bearer, globalns=getattr(function, "__globals__", {}))
    except NameError as error:
        raise InvalidRequest(
            f"the annotations of {_name(function)} name {error.name!r}, which its "
            "module does not have: define or import it at the module's top level",
            field=_name(function),
        ) from error


def _first_line(function: Anything) -> str:
    """Of its docstring, on one line; empty when there is none."""
    lines = (inspect.getdoc(function) or "").strip().splitlines()
    return "".join(filter(str.isprintable, " ".join(lines[0].split()))) if lines else ""


def _name(function: Anything) -> str:
    return getattr(function, "__qualname__", type(function).__name__)
