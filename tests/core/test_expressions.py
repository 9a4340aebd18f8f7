"""Promises of what ``${ }`` yields."""

import json
from collections.abc import Mapping

import pytest
from msgspec.structs import replace

from coordinator.core.definition import (
    Computed,
    Constant,
    Interpolation,
    JsonValue,
    Program,
    Reference,
    Template,
    TemplateList,
    TemplateMap,
)
from coordinator.core.expressions import (
    ExpressionFailed,
    Item,
    Scope,
    evaluate,
    fitting,
    from_payload,
    render,
    to_payload,
)
from coordinator.core.model import (
    JSON_CONTENT_TYPE,
    NO_PAYLOAD,
    Payload,
)

INPUT: JsonValue = {
    "name": "Zoë",
    "amount": 12.5,
    "count": 3,
    "vip": True,
    "note": None,
    "lines": [{"sku": "a"}, {"sku": "b"}],
    "address": {"city": "Łódź"},
}


def scope(value: JsonValue = INPUT, **outputs: Payload) -> Scope:
    return Scope(to_payload(value), outputs, {"gid": "s-1", "startedAt": 7})


def ref(text: str) -> Reference:
    parts = tuple(int(p) if p.lstrip("-").isdigit() else p for p in text.split("."))
    return Reference(parts, text)


@pytest.mark.parametrize(
    ("path", "expected"),
    [
        ("input", INPUT),
        ("input.name", "Zoë"),
        ("input.amount", 12.5),
        ("input.vip", True),
        ("input.note", None),
        ("input.lines.0.sku", "a"),
        ("input.lines.1", {"sku": "b"}),
        ("input.address.city", "Łódź"),
        ("saga.gid", "s-1"),
        ("saga.startedAt", 7),
        ("saga", {"gid": "s-1", "startedAt": 7}),
        ("steps.pay.output", {"id": [4]}),
        ("steps.pay.output.id.0", 4),
    ],
)
def test_path_is_looked_up_and_keeps_its_type(path: str, expected: JsonValue) -> None:
    """In the saga's input, in stored outputs, and in what the saga is (S7, S10)."""
    stored = scope(pay=to_payload({"id": [4]}))

    assert evaluate(ref(path), stored) == expected


@pytest.mark.parametrize(
    ("path", "message"),
    [
        ("input.nme", "${input.nme}: input is a map without 'nme'"),
        ("input.name.x", "${input.name.x}: input.name is a text without 'x'"),
        ("input.name.0", "${input.name.0}: input.name is a text without 0"),
        ("input.amount.x", "input.amount is a number without 'x'"),
        ("input.count.x", "input.count is a number without 'x'"),
        ("input.vip.x", "input.vip is a boolean without 'x'"),
        ("input.note.x", "input.note is null without 'x'"),
        ("input.lines.2", "input.lines is a list of 2 without 2"),
        ("input.lines.-1", "input.lines is a list of 2 without -1"),
        ("input.lines.sku", "input.lines is a list of 2 without 'sku'"),
        ("input.address.0", "input.address is a map without 0"),
        ("input.lines.0.sku.x", "input.lines.0.sku is a text without 'x'"),
        ("saga.name", "${saga.name}: saga is a map without 'name'"),
        ("steps.pay.output.x", "steps.pay.output is a map without 'x'"),
        ("steps.ship.output", "${steps.ship.output}: there is no such value"),
        ("steps.pay", "${steps.pay}: there is no such value"),
        ("steps.pay.input", "${steps.pay.input}: there is no such value"),
        ("env.HOME", "${env.HOME}: there is no such value"),
    ],
)
def test_value_that_is_not_there_is_an_error(path: str, message: str) -> None:
    """It names the expression, how far it came and the type it met; never a value."""
    with pytest.raises(ExpressionFailed) as failure:
        evaluate(ref(path), scope(pay=to_payload({})))

    assert message in str(failure.value)
    assert "Zoë" not in str(failure.value)


@pytest.mark.parametrize(
    ("template", "expected"),
    [
        (Constant({"a": [1]}), {"a": [1]}),
        (TemplateList((Constant(1), ref("input.count"))), [1, 3]),
        (TemplateList(()), []),
        (
            TemplateMap((("b", ref("input.vip")), ("a", TemplateList((Constant(0),))))),
            {"b": True, "a": [0]},
        ),
        (Interpolation(("to ", ref("input.name"), "!")), "to Zoë!"),
        (Interpolation((ref("input.amount"), "/", ref("input.count"))), "12.5/3"),
        (Interpolation((ref("input.vip"), ref("input.note"))), "truenull"),
    ],
)
def test_templates_are_built_around_values(
    template: Template, expected: JsonValue
) -> None:
    """Lists and maps keep their order; inside text a value is written as JSON."""
    assert json.dumps(evaluate(template, scope())) == json.dumps(expected)


@pytest.mark.parametrize(
    ("path", "what"), [("input.lines", "a list of 2"), ("input.address", "a map")]
)
def test_only_a_plain_value_stands_inside_text(path: str, what: str) -> None:
    """A list or map in the middle of a sentence is a mistake, and said to be one."""
    with pytest.raises(ExpressionFailed) as failure:
        evaluate(Interpolation(("x", ref(path))), scope())

    assert str(failure.value).startswith(f"${{{path}}} is {what}; only a text")


def test_payload_is_compact_json() -> None:
    """In UTF-8 as it is, and back to the same value."""
    payload = to_payload({"a": [1, "ü"], "b": None})

    assert payload == Payload('{"a":[1,"ü"],"b":null}'.encode(), JSON_CONTENT_TYPE)
    assert from_payload(payload, "input") == {"a": [1, "ü"], "b": None}


def test_half_a_character_survives() -> None:
    """A lone surrogate, which JSON can write, is no crash."""
    value = from_payload(Payload(rb'"\ud800"', JSON_CONTENT_TYPE), "input")

    assert to_payload(value).data == b'"\xed\xa0\x80"'


def test_nothing_stored_is_null() -> None:
    """A participant that answered nothing answered null, whatever it called it."""
    assert from_payload(NO_PAYLOAD, "input") is None
    assert from_payload(Payload(b"", "image/png"), "input") is None


@pytest.mark.parametrize(
    ("payload", "message"),
    [
        (Payload(b"{}", "text/plain"), "input is not JSON, so no expression"),
        (Payload(b"{", JSON_CONTENT_TYPE), "input is not valid JSON"),
        (Payload(b"\xff", JSON_CONTENT_TYPE), "input is not valid JSON"),
        (Payload(b"[" * 200_000, JSON_CONTENT_TYPE), "input is not valid JSON"),
    ],
)
def test_payload_that_is_no_json_is_an_error(payload: Payload, message: str) -> None:
    """Also one that is nested too deep; it is named and not shown."""
    with pytest.raises(ExpressionFailed, match=message) as failure:
        evaluate(ref("input"), Scope(payload, {}, {}))

    assert failure.value.__cause__ is None


def test_output_is_named_in_the_error() -> None:
    """So that its author knows whose answer could not be read."""
    stored = scope(pay=Payload(b"\0", "image/png"))

    with pytest.raises(ExpressionFailed, match=r"^steps\.pay\.output is not JSON"):
        evaluate(ref("steps.pay.output.id"), stored)


def test_evaluating_changes_nothing_that_is_stored() -> None:
    """What an expression yields is the caller's own, the next reading the same."""
    stored = scope()
    first = evaluate(ref("saga"), stored)
    assert isinstance(first, dict)
    first["gid"] = "changed"

    assert evaluate(ref("saga.gid"), stored) == "s-1"


def computed(program: Program, *reads: str) -> Computed:
    return Computed("a program", reads, program)


def test_program_is_handed_the_roots_and_the_outputs_that_there_are() -> None:
    """Only of the steps that it names, decoded."""
    seen: list[object] = []
    outputs = {"a": to_payload({"n": 1}), "b": to_payload(2)}
    with_item = replace(scope(4, **outputs), item=Item("x", 3))

    def program(values: Mapping[str, JsonValue]) -> JsonValue:
        seen.append(values)
        return len(seen)

    assert evaluate(computed(program, "a", "none"), scope(4, **outputs)) == 1
    assert evaluate(computed(program), with_item) == 2
    saga = {"gid": "s-1", "startedAt": 7}
    assert seen == [
        {"input": 4, "saga": saga, "steps": {"a": {"output": {"n": 1}}}},
        {"input": 4, "saga": saga, "steps": {}, "item": "x", "index": 3},
    ]


def fails(values: Mapping[str, JsonValue]) -> JsonValue:
    raise ExpressionFailed("division by zero")


def test_failure_of_a_program_names_its_source() -> None:
    """And what went wrong; inside text as well."""
    for template in (computed(fails), Interpolation(("x ", computed(fails)))):
        with pytest.raises(ExpressionFailed) as failure:
            evaluate(template, scope())
        assert str(failure.value) == "${a program}: division by zero"


def test_item_and_index_are_read_where_they_are() -> None:
    """Nowhere else is there such a value."""
    here = replace(scope(), item=Item({"sku": "a"}, 3))

    assert evaluate(ref("item.sku"), here) == "a"
    assert evaluate(ref("index"), here) == 3
    for path in ("item", "index", "nobody"):
        with pytest.raises(ExpressionFailed, match="no such value"):
            evaluate(ref(path), scope())


def test_lenient_reader_gets_null_for_what_fails() -> None:
    """Part by part, so that the rest is there."""
    lenient = replace(scope(), is_lenient=True)
    template = TemplateMap((("a", ref("input.nobody")), ("b", ref("input.count"))))

    assert evaluate(template, lenient) == {"a": None, "b": 3}
    assert evaluate(computed(fails), lenient) is None


NESTED = TemplateMap(
    (
        ("a", TemplateList((ref("input.count"), Constant({"x": None})))),
        ('q"', Interpolation(("\u00fc\n", ref("input.name"), " "))),
        ("none", TemplateList(())),
        ("empty", TemplateMap(())),
    )
)


def test_rendering_is_evaluating_and_encoding() -> None:
    """Piece by piece, to the same bytes."""
    for template in (NESTED, Constant([1]), ref("input"), computed(len, "a")):
        whole = to_payload(evaluate(template, scope()))

        assert render(template, scope(), 10_000) == whole
        assert render(template, scope(), len(whole.data)) == whole
        with pytest.raises(ExpressionFailed, match="more than"):
            render(template, scope(), len(whole.data) - 1)


def test_constant_is_rendered_without_anything_to_read() -> None:
    """To the same bytes, and within the same limit."""
    constant = Constant({"a": [1, "ü"]})
    whole = render(constant, scope(), 10_000)

    assert fitting(constant.as_json, len(whole.data)) == whole
    with pytest.raises(ExpressionFailed, match="more than 13 bytes"):
        fitting(constant.as_json, len(whole.data) - 1)


def test_rendering_stops_when_it_is_too_large() -> None:
    """What would not fit any more is not even read (S9)."""
    reads: list[int] = []

    def big(values: Mapping[str, JsonValue]) -> JsonValue:
        reads.append(1)
        return "x" * 1_000

    for template in (
        TemplateList((computed(big),) * 1_000),
        TemplateMap(tuple((f"k{n}", computed(big)) for n in range(1_000))),
        Interpolation((computed(big),) * 1_000),
    ):
        reads.clear()
        with pytest.raises(ExpressionFailed, match="more than 5000 bytes"):
            render(template, scope(), 5_000)
        assert len(reads) <= 5
