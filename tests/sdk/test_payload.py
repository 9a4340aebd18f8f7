"""Types drive payloads; what does not fit is named, never shown."""

from dataclasses import dataclass, field
from enum import Enum
from typing import Any, TypedDict

import msgspec
import pytest

from participant_sdk import Participant
from participant_sdk.executor.executor import Executor
from participant_sdk.payload import (
    PAYLOAD_BYTES_MAX,
    Codec,
    InvalidPayload,
    UnsuitableOutput,
    encode,
    result_schema,
)
from tests.sdk.bank import ACTION, OK, TRY, ask, call, told


class Colour(Enum):
    RED = "red"


@dataclass
class Line:
    amount: int


@dataclass
class Order:
    id: str
    lines: list[Line] = field(default_factory=list)


class Point(msgspec.Struct):
    x: int


class Named(TypedDict):
    name: str


class Model:
    """What a pydantic model looks like to the SDK."""

    def __init__(self, name: str) -> None:
        self.name = name

    @classmethod
    def model_validate_json(cls, data: bytes) -> "Model":
        body = msgspec.json.decode(data)
        if not isinstance(body.get("name"), str):
            raise ModelError
        return cls(body["name"])

    @classmethod
    def model_json_schema(cls) -> dict[str, Any]:
        return {"type": "object"}

    def model_dump(self, *, mode: str) -> dict[str, Any]:
        assert mode == "json"
        return {"name": self.name}


class ModelError(ValueError):
    def errors(self) -> list[dict[str, Any]]:
        return [{"loc": ("name",), "type": "string_type", "input": "secret"}]


@pytest.mark.parametrize(
    ("value", "data"),
    [
        (Order("o", [Line(1)]), b'{"id":"o","lines":[{"amount":1}]}'),
        (Point(1), b'{"x":1}'),
        (Named(name="n"), b'{"name":"n"}'),
        ({"a": [1, None]}, b'{"a":[1,null]}'),
        (Model("m"), b'{"name":"m"}'),
    ],
)
def test_values_travel_as_json(value, data):
    """Dataclass, Struct, TypedDict, dict and pydantic model."""
    assert (data, "application/json") == encode(value)


@pytest.mark.parametrize(
    ("declared", "data", "value"),
    [
        (Order, b'{"id":"o","lines":[{"amount":1}]}', Order("o", [Line(1)])),
        (Point, b'{"x":1}', Point(1)),
        (Named, b'{"name":"n"}', {"name": "n"}),
        (dict, b"{}", {}),
        (Any, b"[1]", [1]),
        (dict, b"", {}),
        (bytes, b"\x00\xff", b"\x00\xff"),
    ],
)
def test_values_arrive_as_declared(declared, data, value):
    """And an empty payload is an empty object."""
    assert value == Codec(declared).decode(data, "")


def test_a_pydantic_model_is_validated_by_itself():
    """Its errors name the path and the kind, not the input."""
    codec = Codec(Model)
    assert codec.decode(b'{"name":"m"}', "application/json").name == "m"
    with pytest.raises(InvalidPayload, match=r"string_type.*\$\.name") as caught:
        codec.decode(b'{"name":1}', "application/json")
    assert "secret" not in str(caught.value)


def test_bytes_and_nothing_travel_as_they_are():
    """No JSON is forced on who has none."""
    assert encode(b"\x00") == (b"\x00", "application/octet-stream")
    assert encode(None) == (b"", "")


@pytest.mark.parametrize(
    ("declared", "data", "text"),
    [
        (
            Order,
            b'{"id":"o","lines":[{"amount":"x"}]}',
            r"Expected `int`.*lines.*amount",
        ),
        (Order, b"{}", "missing required field `id`"),
        (Colour, b'"secret"', "Invalid value"),
        (dict[str, Colour], b'{"k":"secret"}', "Invalid value - at"),
        (Order, b"{secret", "no valid JSON"),
        (Order, b"", "missing required field `id`"),
        (Order, b"[" * 100_000, "no valid JSON|Expected"),
        (Order, b'{"id":"\xff"}', "no valid JSON"),
    ],
)
def test_what_does_not_fit_is_named_but_not_shown(declared, data, text):
    """Security 6: paths and types, never values."""
    with pytest.raises(InvalidPayload, match=text) as caught:
        Codec(declared).decode(data, "application/json")
    assert "secret" not in str(caught.value)


def test_another_content_type_is_refused_unless_bytes_are_declared():
    """A protobuf payload is not taken for JSON."""
    with pytest.raises(InvalidPayload, match="application/json"):
        Codec(Order).decode(b"{}", "application/protobuf")
    assert Codec(bytes).decode(b"{}", "application/protobuf") == b"{}"


def test_a_payload_up_to_the_limit_is_sent():
    """The boundary is exact."""
    assert len(encode(b"x" * PAYLOAD_BYTES_MAX).data) == PAYLOAD_BYTES_MAX
    with pytest.raises(UnsuitableOutput, match="262145 bytes"):
        encode(b"x" * (PAYLOAD_BYTES_MAX + 1))


@pytest.mark.parametrize("value", [object(), {"f": lambda: None}])
def test_a_value_without_json_form_is_named(value):
    """By its type."""
    with pytest.raises(UnsuitableOutput, match="has no JSON form"):
        encode(value)


def test_the_catalogue_gets_a_schema():
    """Where the type can be described."""
    assert b"amount" in msgspec.json.encode(msgspec.json.decode(Codec(Order).schema))
    assert Codec(Any).schema == ""
    assert Codec(Model).schema == '{"type":"object"}'


@pytest.mark.parametrize("data", [b"{}", b'{"amount":"ten"}', b"{", b"null", b"\xff"])
async def test_an_invalid_input_is_a_refusal(bank, executor, data):
    """Never a crash, and asking again would not help; the handler is not called."""
    (reply,) = await ask(executor, call(TRY, data=data))
    assert told(reply) == ("refused", "INVALID_INPUT")
    assert not bank.called


async def test_an_output_that_cannot_be_sent_is_a_failure(bank):
    """And what the handler changed is undone."""

    @bank.participant.action("odd")
    def odd(ctx, request):
        return object() if request else b"x" * (PAYLOAD_BYTES_MAX + 1)

    executor = bank.executor()
    for body in ({}, {"a": 1}):
        call_ = call(ACTION, operation="bank.odd", body=body)
        (reply,) = await ask(executor, call_)
        assert told(reply) == ("failed", "INVALID_OUTPUT")
    await executor.close()
    assert bank.rows("g1") == []


async def test_handlers_take_and_give_plain_types_too():
    """No annotation is a dict; bytes are bytes."""
    plain = Participant("plain")
    seen = []

    @plain.action("dict")
    def take(ctx, request):
        seen.append(request)
        return {"n": 1}

    @plain.action("bytes")
    def raw(ctx, request: bytes) -> bytes:
        seen.append(request)
        return b"\x01"

    executor = Executor(plain._registry, None)
    replies = await ask(
        executor,
        call(ACTION, operation="plain.dict", body={"k": 1}),
        call(ACTION, operation="plain.bytes", data=b"\xff"),
    )
    await executor.close()
    assert [told(r) for r in replies] == [OK, OK]
    assert {"k": 1} in seen
    assert b"\xff" in seen
    assert [r.succeeded.output.data for r in replies] == [b'{"n":1}', b"\x01"]


def test_the_catalogue_gets_the_schema_of_what_is_sent():
    """A model may take more than it gives; an unannotated result is unknown."""

    class Taking(Model):
        @classmethod
        def model_json_schema(cls, mode: str = "validation") -> dict[str, Any]:
            return {"title": mode}

    assert Codec(Taking).schema == '{"title":"validation"}'
    assert result_schema(Taking) == '{"title":"serialization"}'
    assert b"amount" in result_schema(Order).encode()
    assert result_schema(Any) == ""
