"""What is refused before anything runs, where it stands, and what was meant."""

import pytest

from coordinator.saga_yaml.cel import (
    DynamicStep,
    Mistake,
    NotReadable,
    OverLimit,
    StepRead,
    TypeMismatch,
    UnknownName,
    WrongCall,
    compile_expression,
)


@pytest.mark.parametrize(
    ("source", "kind", "at", "message"),
    [
        ("", NotReadable, 0, "an expression was expected here"),
        ("1 +", NotReadable, 3, "a value was expected here, not the end"),
        ("input..x", NotReadable, 6, "the name of a field was expected here"),
        ("input.", NotReadable, 6, "the name of a field was expected here"),
        ("(1 + 2", NotReadable, 0, r"no '\)' closes what begins here"),
        ("[1, 2", NotReadable, 0, "no ']' closes"),
        ("{'a': 1", NotReadable, 0, "no '}' closes"),
        ("{'a' 1}", NotReadable, 5, "':' was expected here, not '1'"),
        ("'abc", NotReadable, 0, "has no closing '"),
        ("1 2", NotReadable, 2, "an operator was expected here, not '2'"),
        ("1x", NotReadable, 1, "cannot follow a number"),
        ("a # b", NotReadable, 2, "'#' has no meaning here"),
        ("1u", NotReadable, 1, "no unsigned numbers"),
        ("b'x'", NotReadable, 0, "no bytes"),
        ("'\\q'", NotReadable, 0, "no escape"),
        ("'\\ud800'", NotReadable, 0, "no character"),
        ("9223372036854775808", NotReadable, 0, "beyond 64 bits"),
        ("1 - 9223372036854775808", NotReadable, 4, "beyond 64 bits"),
        ("9" * 50, NotReadable, 0, "beyond 64 bits"),
        ("1e999", NotReadable, 0, "too large|this large"),
        ("if", NotReadable, 0, "reserved word"),
        ("input.x[-1]", NotReadable, 8, "counted from 0"),
        ("'a' + 1", TypeMismatch, 4, "convert one of them with string"),
        ("1 + 1.0", TypeMismatch, 2, "convert one of them with double"),
        ("'a' == 1", TypeMismatch, 4, "a text is never equal to an integer"),
        ("1 && true", TypeMismatch, 0, "'&&' takes a boolean, not an integer"),
        ("!saga.gid", TypeMismatch, 0, "'!' takes a boolean, not a text"),
        ("index ? 1 : 2", TypeMismatch, 6, r"'\?' takes a boolean"),
        ("1 in 'a'", TypeMismatch, 2, "'in' takes a list or a map"),
        ("'a'.b", TypeMismatch, 4, ".b takes a map, not a text"),
        ("[1] < [2]", TypeMismatch, 4, "'<' does not take a list and a list"),
        ("input.x < [2]", TypeMismatch, 8, "'<' does not take a list"),
        ("{1: 2}", TypeMismatch, 1, "a key of a map takes a text"),
        ("{'a': 1, 'a': 2}", NotReadable, 9, "stands here twice"),
        ("timestamp(0)", TypeMismatch, 0, "the result is a timestamp"),
        ("nope(1)", WrongCall, 0, "there is no function 'nope'"),
        ("input.matches('a')", WrongCall, 6, "there is no function 'matches'"),
        ("int()", WrongCall, 0, "int takes 1 arguments, not 0"),
        ("'a'.contains()", WrongCall, 4, "contains takes 1 arguments, not 0"),
        ("contains('a', 'b')", WrongCall, 0, r"contains is called as x.contains"),
        ("'1'.int()", WrongCall, 4, r"int is called as int\(x\)"),
        ("has(input)", WrongCall, 0, "has takes one field"),
        ("input.x.all(y)", WrongCall, 8, "all takes the name of a variable"),
        ("input.x.all(1, true)", WrongCall, 8, "all takes the name of a variable"),
        ("nope", UnknownName, 0, "there is no 'nope'"),
        ("input.x + nope.y", UnknownName, 10, "there is no 'nope'"),
        ("input.x.all(y, z)", UnknownName, 15, "there is no 'z'"),
        ("saga", UnknownName, 0, "gid and startedAt"),
        ("saga.gid.x", UnknownName, 9, "has nothing below it"),
        ("saga.gif", UnknownName, 5, "saga has no 'gif'"),
        ("steps", UnknownName, 0, "only its output can be read"),
        ("size(steps)", UnknownName, 5, "only its output can be read"),
        ("steps.a", UnknownName, 0, "only its output can be read"),
        ("steps.a.status", UnknownName, 0, "only its output can be read"),
        ("steps.all(s, true)", UnknownName, 0, "only its output can be read"),
        ("steps[input.x].output", DynamicStep, 6, "must be written out"),
    ],
)
def test_mistakes_have_a_place_and_a_reason(source, kind, at, message):
    """The first mistake, at the very character."""
    with pytest.raises(kind, match=message) as mistake:
        compile_expression(source)

    assert mistake.value.at == at


@pytest.mark.parametrize(
    ("source", "suggestion"),
    [
        ("inputs.x", "input"),
        ("saga.gidd", "gid"),
        ("sizes(input.x)", "size"),
        ("input.x.startWith('a')", "startsWith"),
        ("input.x.exist(y, y)", "exists"),
        ("input.a and input.b", "&&"),
        ("input.a = 1", "=="),
        ("input.a | input.b", "||"),
    ],
)
def test_mistakes_suggest_what_was_meant(source, suggestion):
    """A near name, or the operator of another language."""
    with pytest.raises(Mistake) as mistake:
        compile_expression(source)

    assert mistake.value.suggestion == suggestion


@pytest.mark.parametrize(
    "source",
    [
        "1" + "+1" * 3000,
        "(" * 40 + "1" + ")" * 40,
        "[" * 2000 + "]" * 2000,
        "!" * 4000 + "true",
        "-" * 4000 + "1",
        "true?1:" * 500 + "1",
        "input" + ".a" * 2000,
        "input" + "[0]" * 1000,
        "input" + ".size()" * 500,
        "(" * 30 + "-" * 31 + "1" + ")" * 30,
        "!(" * 30 + "input" + ".size()" * 30 + ")" * 30,
        "(" * 30 + "input" + (".size()" * 30 + ")") * 30,
        "((((input" + ".a" * 30 + ")" + ".a" * 30 + ")" + ".a" * 30 + ")" + ".a)",
        "{'a':" * 700 + "1" + "}" * 700,
        "int(" * 900 + ")" * 900,
        "[" + "1," * 1500 + "]",
        "input.x" + ".map(a, a)" * 400,
        "'" + "a" * 5000 + "'",
    ],
)
def test_what_is_too_large_is_refused_before_it_is_built(source):
    """Too long, too deep, too many parts: a mistake like any other."""
    with pytest.raises(OverLimit):
        compile_expression(source)


@pytest.mark.parametrize(
    ("source", "unguarded"),
    [
        ("steps.a.output", ["a"]),
        ("has(steps.a.output)", []),
        ("has(steps.a.output.x) && steps.a.output.y > 1", []),
        ("steps.a.output.y > 1 && has(steps.a.output)", []),
        ("has(steps.a.output) || steps.a.output.y > 1", ["a"]),
        ("!has(steps.a.output) || steps.a.output.y > 1", []),
        ("has(steps.a.output) ? steps.a.output : 0", []),
        ("has(steps.a.output) ? 0 : steps.a.output", ["a"]),
        ("!has(steps.a.output) ? 0 : steps.a.output", []),
        ("has(steps.a.output) ? steps.b.output : steps.c.output", ["b", "c"]),
        ("has(steps.a.output) && has(steps.b.output) ? steps.b.output : 1", []),
        ("has(steps.a.output) || has(steps.b.output) ? steps.b.output : 1", ["b"]),
        ("(has(steps.a.output) && true) && [1].all(x, x < steps.a.output)", []),
        ("steps['pay-out'].output.id", ["pay-out"]),
        ("has(steps['pay-out'].output.id) ? steps['pay-out'].output.id : ''", []),
        ("[steps.a.output, steps.b.output[steps.c.output]]", ["a", "b", "c"]),
        ("input.x.map(steps, steps.a)", []),
        ("input.x.all(steps, has(steps.a.output)) && steps.a.output", ["a"]),
    ],
)
def test_guards_are_understood(source, unguarded):
    """Whether an output is there for certain where it is read."""
    reads = compile_expression(source).facts.steps

    assert [read.step_id for read in reads if not read.is_guarded] == unguarded


def test_facts_have_places():
    """Every root and every step that is read, with its offset."""
    facts = compile_expression("input.x + steps.a.output.y * index").facts

    assert facts.roots == (("input", 0), ("steps", 10), ("index", 29))
    assert facts.steps == (StepRead("a", 10, False),)


@pytest.mark.parametrize(
    ("source", "proves"),
    [
        ("has(steps.a.output)", {"a"}),
        ("has(steps.a.output) && has(steps.b.output.x)", {"a", "b"}),
        ("has(steps.a.output) || has(steps.b.output)", set()),
        ("!has(steps.a.output)", set()),
        ("!(!has(steps.a.output) || input.x)", {"a"}),
    ],
)
def test_a_condition_proves_that_outputs_are_there(source, proves):
    """What holds for a step that runs only when the condition is true."""
    assert compile_expression(source).facts.proves == proves


@pytest.mark.parametrize(
    ("source", "kind"),
    [
        ("input.x > 1", "a boolean"),
        ("has(input.x)", "a boolean"),
        ("input.x", ""),
        ("input.x + 'a'", "a text"),
        ("input.x + 1", "an integer"),
        ("input.x - input.y", ""),
        ("input.x ? 1 : 2", "an integer"),
        ("input.x ? 1 : 'a'", ""),
        ("saga.gid", "a text"),
        ("saga.startedAt", "an integer"),
        ("[1].map(x, x)", "a list"),
        ("{}", "a map"),
    ],
)
def test_the_kind_of_the_result_is_told_where_it_can_be(source, kind):
    """For checks before anything runs, such as that a condition is a boolean."""
    assert compile_expression(source).kind == kind
