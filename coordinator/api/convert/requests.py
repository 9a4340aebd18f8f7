"""Requests become inputs, after every check."""

import re
from base64 import urlsafe_b64decode
from binascii import Error as Base64Error
from collections.abc import Iterable, Mapping, Sequence
from functools import lru_cache
from hashlib import sha256
from typing import Generic, TypeAlias, TypeVar

import msgspec
from msgspec import Struct

from coordinator.api import checks
from coordinator.api.convert.enums import (
    PHASE_BY_NUMBER,
    PHASES,
    STATUS_BY_NUMBER,
    STATUSES,
)
from coordinator.api.gid import GidSource
from coordinator.api.limits import Limits
from coordinator.core.definition import SagaDefinition
from coordinator.core.errors import InvalidRequest
from coordinator.core.inputs import (
    Begin,
    BranchReplied,
    Cancel,
    Confirm,
    Input,
    Observe,
    Outcome,
    Refused,
    Register,
    Signal,
    Submit,
    Succeeded,
    Try,
)
from coordinator.core.model import (
    DEFAULT_NAMESPACE,
    JSON_CONTENT_TYPE,
    BranchSpec,
    Instant,
    Key,
    Payload,
    TransactionRequest,
)
from coordinator.core.tcc import NESTING_DEPTH_MAX
from coordinator.core.words import Mode, Phase
from coordinator.ports import Clock, TransactionFilter
from coordinator.saga_yaml import find_input_problems
from protos.v1 import coordinator_pb2, types_pb2

_FORWARD = frozenset({Phase.TRY, Phase.ACTION})

_PLACE = re.compile(r"([0-9]{1,18}) (.*)", re.ASCII)

LATEST = "latest"
"""The version that was published last."""

REMEMBERED_MAX = 1_024
"""Found well-formed: the names of operations, about as many paces, and as many sagas,
each of 200 to 500 bytes."""

_Raw: TypeAlias = tuple[object, ...]
"""A branch as it was sent, before defaults: another default must not make it another
request."""

_packed = msgspec.msgpack.Encoder().encode


WhatT_co = TypeVar("WhatT_co", bound=Input, covariant=True)


class Wish(Struct, Generic[WhatT_co], frozen=True, gc=False):
    """A request, read and found well-formed."""

    key: Key
    what: WhatT_co


class RequestReader:
    """Turns requests into inputs, or raises ``InvalidRequest``."""

    def __init__(
        self,
        *,
        limits: Limits,
        clock: Clock,
        gids: GidSource,
        namespace: str = DEFAULT_NAMESPACE,
    ) -> None:
        self.limits = limits
        self._payload_max = limits.payload_bytes_max
        self._pace = lru_cache(REMEMBERED_MAX)(self._checked_pace)
        self._saga_named = lru_cache(REMEMBERED_MAX)(self._checked_saga)
        self._operation = lru_cache(REMEMBERED_MAX)(checks.identifier)
        self._clock = clock
        self._gids = gids
        self._namespace = namespace

    def key(self, gid: str) -> Key:
        """The key of an existing transaction."""
        return Key(self._namespace, checks.identifier(gid, "gid"))

    def begin(self, request: coordinator_pb2.BeginRequest) -> Wish[Begin]:
        """Begin, with its tries."""
        limits = self.limits
        key = self._new_key(request.gid)
        name = checks.identifier(request.name, "name") if request.name else ""
        deadline_ms = checks.between(
            request.deadline_ms,
            1,
            limits.deadline_ms_max,
            "deadline_ms",
            unset=limits.deadline_ms_default,
        )
        labels = self._labels(request.labels)
        specs, as_sent = self._specs(request.tries, "tries")
        declared = request.auto_confirm
        wait = request.wait
        if declared and not specs:
            raise InvalidRequest(
                "auto_confirm: expected at least one try in the same request. "
                "Add the tries, or leave auto_confirm off and send them later.",
                field="auto_confirm",
            )
        if wait and not declared:
            raise InvalidRequest(
                "wait: expected auto_confirm with it, because nobody else would end "
                "the transaction. Set auto_confirm, or wait in Confirm or Get.",
                field="wait",
            )
        check_back, payload, depth = self._surroundings(request)
        now = self._clock.now()
        sent = _digest(
            "begin",
            name,
            request.deadline_ms,
            declared,
            labels,
            check_back,
            payload,
            depth,
            as_sent,
        )
        wanted = TransactionRequest(
            key=key,
            mode=Mode.TCC,
            name=name,
            digest=sent,
            created_at=now,
            deadline_at=now + deadline_ms,
            declared=declared,
            input=payload,
            check_back=check_back,
            depth=depth,
            labels=labels,
        )
        return Wish(key, Begin(wanted, specs, wait))

    def try_(self, request: coordinator_pb2.TryRequest) -> Wish[Try]:
        """Mediated branches."""
        key = self.key(request.gid)
        return Wish(key, Try(self._some_specs(request.tries, "tries")))

    def register(self, request: coordinator_pb2.RegisterRequest) -> Wish[Register]:
        """Direct branches."""
        key = self.key(request.gid)
        return Wish(key, Register(self._some_specs(request.branches, "branches")))

    def confirm(self, request: coordinator_pb2.ConfirmRequest) -> Wish[Confirm]:
        """Confirm, with the list of branches if there is one."""
        key = self.key(request.gid)
        listed = request.branch_ids
        self._count(listed, "branch_ids")
        for i, branch_id in enumerate(listed):
            checks.identifier(branch_id, f"branch_ids[{i}]")
        return Wish(
            key, Confirm(frozenset(listed) if listed else None, wait=request.wait)
        )

    def cancel(self, request: coordinator_pb2.CancelRequest) -> Wish[Cancel]:
        """Cancel, with its reason."""
        key = self.key(request.gid)
        reason = checks.text(
            request.reason, "reason", chars_max=self.limits.text_chars_max
        )
        return Wish(key, Cancel(text=reason, wait=request.wait))

    def saga_wanted(
        self, request: coordinator_pb2.SubmitSagaRequest
    ) -> tuple[str, str, str]:
        """Namespace, name and version of the definition that a submit names."""
        return self._saga_named(request.name, request.version)

    def submit_saga(
        self, request: coordinator_pb2.SubmitSagaRequest, definition: SagaDefinition
    ) -> Wish[Submit]:
        """A saga of this definition."""
        key = self._new_key(request.gid)
        labels = self._labels(request.labels)
        payload = self._saga_input(request.input, definition.input_schema)
        now = self._clock.now()
        sent = _digest("saga", request.name, request.version or LATEST, labels, payload)
        wanted = TransactionRequest(
            key=key,
            mode=Mode.SAGA,
            name=definition.name,
            digest=sent,
            created_at=now,
            deadline_at=now + definition.timeout_ms,
            input=payload,
            definition_digest=definition.digest,
            definition_version=definition.version,
            labels=_merged(definition.labels, labels),
        )
        return Wish(key, Submit(wanted, definition, request.wait))

    def signal_saga(self, request: coordinator_pb2.SignalSagaRequest) -> Wish[Signal]:
        """A signal, with its payload: one JSON value, or nothing."""
        key = self.key(request.gid)
        name = checks.identifier(request.name, "name")
        payload = self._payload(request.payload, "payload")
        if payload.content_type not in ("", JSON_CONTENT_TYPE):
            raise InvalidRequest(
                f"payload.content_type: expected {JSON_CONTENT_TYPE} or nothing. "
                "A saga's expressions read JSON only.",
                field="payload.content_type",
            )
        if not payload.data:
            return Wish(key, Signal(name))
        checks.json_value(payload.data, "payload.data")
        return Wish(key, Signal(name, Payload(payload.data, JSON_CONTENT_TYPE)))

    def get(self, request: coordinator_pb2.GetRequest) -> Wish[Observe]:
        """Look at a transaction, now or at its end."""
        return Wish(self.key(request.gid), Observe(wait=request.wait))

    def complete_branch(
        self, request: coordinator_pb2.CompleteBranchRequest
    ) -> Wish[BranchReplied]:
        """The outcome of a branch that answered "pending"."""
        key = self.key(request.gid)
        branch_id = checks.identifier(request.branch_id, "branch_id")
        phase = PHASE_BY_NUMBER.get(request.phase)
        if phase is None:
            raise InvalidRequest(
                f"phase: expected one of {_names(PHASES)}. "
                "Name the phase that was answered with pending.",
                field="phase",
            )
        outcome: Outcome
        match request.WhichOneof("outcome"):
            case "succeeded":
                outcome = Succeeded(
                    self._payload(request.succeeded.output, "succeeded.output")
                )
            case "refused" if phase in _FORWARD:
                outcome = Refused(
                    checks.identifier(request.refused.code, "refused.code"),
                    checks.text(
                        request.refused.message,
                        "refused.message",
                        chars_max=self.limits.text_chars_max,
                    ),
                )
            case "refused":
                raise InvalidRequest(
                    f"refused: expected only for {_names(_FORWARD)}; a {phase} cannot "
                    "be refused any more. Report it as succeeded when it is done.",
                    field="refused",
                )
            case _:
                raise InvalidRequest(
                    "outcome: expected succeeded or refused. Set one of them.",
                    field="outcome",
                )
        return Wish(key, BranchReplied(branch_id, phase, 0, outcome))

    def list_(self, request: coordinator_pb2.ListRequest) -> TransactionFilter:
        """Which transactions are asked for."""
        statuses = set()
        for i, number in enumerate(request.statuses):
            if (status := STATUS_BY_NUMBER.get(number)) is None:
                raise InvalidRequest(
                    f"statuses[{i}]: expected one of {_names(STATUSES)}. "
                    "Leave statuses empty for all.",
                    field=f"statuses[{i}]",
                )
            statuses.add(status)
        return TransactionFilter(
            namespace=self._namespace,
            statuses=frozenset(statuses),
            name=checks.identifier(request.name, "name") if request.name else "",
            attention=request.attention,
            limit=checks.between(
                request.limit,
                1,
                self.limits.page_max,
                "limit",
                unset=self.limits.page_default,
            ),
            before=_place_of(request.page_token) if request.page_token else None,
        )

    # ---- Parts ---------------------------------------------------------------------

    def _checked_saga(self, name: str, version: str) -> tuple[str, str, str]:
        return (
            self._namespace,
            checks.identifier(name, "name"),
            checks.identifier(version or LATEST, "version"),
        )

    def _payload(self, sent: types_pb2.Payload, field: str) -> Payload:
        return checks.payload(sent, field, self._payload_max)

    def _new_key(self, gid: str) -> Key:
        return self.key(gid) if gid else Key(self._namespace, self._gids.make())

    def _surroundings(
        self, request: coordinator_pb2.BeginRequest
    ) -> tuple[str, Payload, int]:
        """Check-back, its input, and inside how many transactions it begins."""
        if request.depth > NESTING_DEPTH_MAX:
            raise InvalidRequest(
                f"depth: expected 0 to {NESTING_DEPTH_MAX}, got {request.depth}. "
                "Transactions that begin one another this deep are most often a loop: "
                "look for it.",
                field="depth",
                reason="NESTED_TOO_DEEP",
            )
        name = request.check_back
        return (
            checks.identifier(name, "check_back") if name else "",
            self._payload(request.input, "input"),
            request.depth,
        )

    def _some_specs(
        self, sent: Sequence[coordinator_pb2.BranchSpec], field: str
    ) -> tuple[BranchSpec, ...]:
        if not sent:
            raise InvalidRequest(
                f"{field}: expected at least one branch. Add it.", field=field
            )
        specs, _ = self._specs(sent, field)
        return specs

    def _specs(
        self, sent: Sequence[coordinator_pb2.BranchSpec], field: str
    ) -> tuple[tuple[BranchSpec, ...], list[_Raw]]:
        """What was asked of branches, and how."""
        self._count(sent, field)
        specs: list[BranchSpec] = []
        as_sent: list[_Raw] = []
        try:
            for one in sent:
                spec, raw = self._spec(one)
                specs.append(spec)
                as_sent.append(raw)
        except InvalidRequest as problem:
            # The place is spelled out only when it is needed.
            place = f"{field}[{len(specs)}]"
            raise InvalidRequest(
                f"{place}.{problem}", field=f"{place}.{problem.field}"
            ) from None
        if len({spec.branch_id for spec in specs}) < len(specs):
            _refuse_repeated(specs, field)
        return tuple(specs), as_sent

    def _spec(self, sent: coordinator_pb2.BranchSpec) -> tuple[BranchSpec, _Raw]:
        branch_id = checks.identifier(sent.branch_id, "branch_id")
        operation = self._operation(sent.operation, "operation")
        payload = self._payload(sent.input, "input")
        pace = (sent.timeout_ms, sent.attempt_max, sent.pending_timeout_ms)
        parent = sent.parent_branch_id
        if parent:
            checks.identifier(parent, "parent_branch_id")
        spec = BranchSpec(branch_id, operation, payload, *self._pace(*pace), parent)
        return spec, (branch_id, operation, payload, *pace, parent)

    def _checked_pace(
        self, timeout_ms: int, attempt_max: int, pending_ms: int
    ) -> tuple[int, int, int]:
        """How long and how often a branch is asked, and how long it may be pending."""
        limits = self.limits
        return (
            checks.between(
                timeout_ms,
                1,
                limits.timeout_ms_max,
                "timeout_ms",
                unset=limits.timeout_ms_default,
            ),
            checks.between(
                attempt_max,
                1,
                limits.attempts_max,
                "attempt_max",
                unset=limits.attempts_default,
            ),
            checks.between(
                pending_ms, 1, limits.pending_ms_max, "pending_timeout_ms", unset=0
            ),
        )

    def _count(self, items: Sequence[object], field: str) -> None:
        if len(items) > self.limits.branches_max:
            raise InvalidRequest(
                f"{field}: expected at most {self.limits.branches_max}, got "
                f"{len(items)}. Use several transactions.",
                field=field,
            )

    def _saga_input(self, payload: types_pb2.Payload, schema: str) -> Payload:
        read = self._payload(payload, "input")
        data, content_type = read
        if content_type not in ("", JSON_CONTENT_TYPE):
            raise InvalidRequest(
                f"input.content_type: expected {JSON_CONTENT_TYPE} or nothing. "
                "A saga's expressions read JSON only.",
                field="input.content_type",
            )
        if not data or not content_type:
            data = data or b"{}"
            read = Payload(data, JSON_CONTENT_TYPE)
        value = checks.json_value(data, "input.data")
        if problems := find_input_problems(schema, value):
            raise InvalidRequest(
                f"input.data: expected what the saga's input schema says, but "
                f"{'; '.join(problems)}. Correct the input.",
                field="input.data",
                reason="INPUT_AGAINST_SCHEMA",
            )
        return read

    def _labels(self, labels: Mapping[str, str]) -> tuple[tuple[str, str], ...]:
        if not labels:
            return ()
        bytes_max = self.limits.labels_bytes_max
        size = 0
        for name, value in labels.items():
            checks.identifier(name, "labels")
            checks.text(value, f"labels[{name}]", chars_max=bytes_max)
            size += len(name) + len(value.encode())
        if size > bytes_max:
            raise InvalidRequest(
                f"labels: expected at most {bytes_max} bytes in all, got {size}. "
                "Labels are for finding a transaction; put data into payloads.",
                field="labels",
            )
        return tuple(sorted(labels.items()))


def _refuse_repeated(specs: Sequence[BranchSpec], field: str) -> None:
    seen: set[str] = set()
    for i, spec in enumerate(specs):
        if spec.branch_id in seen:
            raise InvalidRequest(
                f"{field}[{i}].branch_id: expected every branch_id once in a request. "
                "Give each branch a key of its own.",
                field=f"{field}[{i}].branch_id",
            )
        seen.add(spec.branch_id)


def _merged(
    low: tuple[tuple[str, str], ...], high: tuple[tuple[str, str], ...]
) -> tuple[tuple[str, str], ...]:
    return tuple(sorted({**dict(low), **dict(high)}.items())) if low else high


def _digest(*sent: object) -> str:
    # Over our own form and not over the message's bytes: protobuf does not promise
    # that another release writes the same bytes.
    return sha256(_packed(sent)).hexdigest()


def _names(members: Iterable[str]) -> str:
    return ", ".join(sorted(str(member) for member in members))


def _place_of(token: str) -> tuple[Instant, str]:
    try:
        place = _PLACE.fullmatch(urlsafe_b64decode(token.encode()).decode())
    except (Base64Error, ValueError):
        place = None
    if place is None or not checks.is_identifier(place[2]):
        raise InvalidRequest(
            "page_token: expected next_page_token of the reply before. "
            "Leave it empty to begin at the newest.",
            field="page_token",
        )
    return int(place[1]), place[2]
