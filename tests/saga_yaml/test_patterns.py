"""Patterns mean the same with every Python 3.11 and later."""

import importlib
import pkgutil
import re

from coordinator import saga_yaml

PARSER = importlib.import_module("re._parser")


def patterns():
    """All patterns of the language's modules, by their place."""
    for module in pkgutil.walk_packages(saga_yaml.__path__, f"{saga_yaml.__name__}."):
        for name, value in vars(importlib.import_module(module.name)).items():
            if isinstance(value, re.Pattern):
                yield f"{module.name}.{name}", value.pattern, value.flags


def repeats_a_group(parsed):
    """Whether more than a character is repeated possessively and is not atomic."""
    for code, argument in parsed:
        if str(code) == "POSSESSIVE_REPEAT":
            body = argument[2]
            is_atomic = str(body[0][0]) == "ATOMIC_GROUP"
            if len(body) > 1 or (body.getwidth() != (1, 1) and not is_atomic):
                return True
        parts = argument if isinstance(argument, tuple | list) else (argument,)
        for part in parts:
            branches = part if isinstance(part, list) else (part,)
            for branch in branches:
                if isinstance(branch, PARSER.SubPattern) and repeats_a_group(branch):
                    return True
    return False


def test_it_sees_a_group_that_is_repeated_possessively():
    for pattern in ("(?:ab?c)*+", "x|(y(?:a|bc)?+)", "(?=(?:ab)++)", "(?>(?:ab)*+)"):
        assert repeats_a_group(PARSER.parse(pattern)), pattern
    for pattern in ("(?>ab?c)*+", "[ab]*+", "a++", "(?:ab?c)*"):
        assert not repeats_a_group(PARSER.parse(pattern)), pattern


def test_what_is_repeated_possessively_is_an_atomic_group():
    """Before Python 3.11.5 another one may stop in its middle."""
    found = {name: pattern for name, pattern, flags in patterns()}
    assert len(found) > 20
    assert not [
        name
        for name, pattern, flags in patterns()
        if repeats_a_group(PARSER.parse(pattern, flags))
    ]
