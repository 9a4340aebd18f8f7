"""What a saga calls, against the catalogue."""

import pytest
from msgspec.structs import replace

from coordinator.saga_yaml import check, parse
from tests.saga_yaml.sagas import OPERATIONS, codes, found, saga


@pytest.mark.parametrize(
    ("call", "compensate", "expected"),
    [
        ("bank.debit", "", []),
        ("bank.debit", "{call: bank.refund}", []),
        ("bank.debit", "{call: bank.debit}", []),
        ("bank.debit", "{timeout: 1s}", []),
        ("bank.debit", "none", []),
        ("mail.send", "none", []),
        ("mail.send", "", ["SAGA022"]),
        ("mail.send", "{timeout: 1s}", ["SAGA022"]),
        ("mail.send", "{call: mail.send}", ["SAGA022"]),
        ("mail.send", "{call: bank.refund}", ["SAGA023"]),
        ("bank.debit", "{call: bank.refnd}", ["SAGA020"]),
        ("bank.debit", "{call: bank.hold}", ["SAGA021"]),
        ("bank.hold", "", ["SAGA021"]),
        ("bank.debti", "", ["SAGA020"]),
        ("nobody.knows", "{call: bank.refund}", ["SAGA020", "SAGA023"]),
    ],
)
def test_operations_against_the_catalogue(call, compensate, expected):
    """Known, of the right kind, and undone by the same participant."""
    parts = ["id: a", f"call: {call}"]
    if compensate:
        parts.append(f"compensate: {compensate}")

    assert codes(saga(", ".join(parts))) == expected


def test_without_a_catalogue_operations_are_believed():
    """A lint without a coordinator checks all but the catalogue, same digest."""
    text = saga("id: a, call: bank.debit")
    assert parse(text).digest == parse(text, operations=OPERATIONS).digest
    assert check(saga("id: a, call: no.one"))[1] == ()
    (finding,) = check(saga("id: a, call: no.one, compensate: {call: mail.send}"))[1]
    assert finding.code == "SAGA023"


def test_the_operation_that_undoes_another_is_named():
    """What the catalogue knows of it can be copied from the finding."""
    undone = replace(OPERATIONS["mail.send"], compensation="mail.recall")
    catalogue = {**OPERATIONS, "mail.send": undone}
    (finding,) = check(saga("id: a, call: mail.send"), operations=catalogue)[1]

    assert "compensate: {call: mail.recall}" in finding.message


def test_an_operation_that_was_mistyped_has_a_suggestion():
    """From the catalogue."""
    (finding,) = found(saga("id: a, call: bank.debti"))

    assert finding.suggestion == "bank.debit"
