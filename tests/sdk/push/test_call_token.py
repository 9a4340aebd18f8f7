"""A call token lets one call in, for a while, and nothing else."""

import pytest

from protos.call_token import (
    SECRET_BYTES_MIN,
    SECRETS_MAX,
    SKEW_MS,
    BadToken,
    check,
    secrets_of,
    sign,
    to_describe,
    to_execute,
)
from protos.v1 import types_pb2
from protos.v1.participant_pb2 import BranchCall

SECRET = b"s" * SECRET_BYTES_MIN
OTHER = b"o" * SECRET_BYTES_MIN
NOW = 1_700_000_000_000
CALL = BranchCall(
    call_id=1,
    namespace="default",
    gid="g-1",
    branch_id="b1",
    operation="accounts.debit",
    phase=types_pb2.PHASE_CONFIRM,
    attempt=2,
    input={"data": b'{"cents": 5}'},
)
BODY = CALL.SerializeToString()
CLAIMS = to_execute("accounts", CALL)
TOKEN = sign(SECRET, CLAIMS, BODY, expires_at_ms=NOW)


def is_let_in(token, claims=CLAIMS, body=BODY, *, secrets=(SECRET,), now_ms=NOW):
    """Whether the token allows it."""
    try:
        check(secrets, token, claims, body, now_ms=now_ms)
    except BadToken:
        return False
    return True


def test_a_token_lets_its_call_in():
    """And again: the same call twice is what a barrier is for."""
    assert is_let_in(TOKEN)
    assert is_let_in(TOKEN)


def test_without_a_token_nothing_is_let_in():
    """Nor by what is no token."""
    assert not is_let_in(None)
    for rubbish in (b"", b"x", bytes(len(TOKEN)), TOKEN[:-1], TOKEN + b"x"):
        assert not is_let_in(rubbish)


@pytest.mark.parametrize("place", range(len(TOKEN)))
def test_each_byte_counts(place):
    """Version, expiry and MAC."""
    changed = bytearray(TOKEN)
    changed[place] ^= 1
    assert not is_let_in(bytes(changed))


@pytest.mark.parametrize(
    "change",
    [
        {"namespace": "other"},
        {"gid": "g-2"},
        {"branch_id": "b2"},
        {"operation": "accounts.credit"},
        {"phase": types_pb2.PHASE_CANCEL},
        {"attempt": 3},
        {"input": {"data": b'{"cents": 500}'}},
        {"output": {"data": b"{}"}},
        {"call_id": 2},
    ],
    ids=lambda change: next(iter(change)),
)
def test_another_call_is_not_let_in(change):
    """Whatever differs."""
    other = BranchCall()
    other.CopyFrom(CALL)
    for name in change:
        other.ClearField(name)
    other.MergeFrom(BranchCall(**change))
    body = other.SerializeToString()
    assert not is_let_in(TOKEN, to_execute("accounts", other), body)
    if other.call_id == CALL.call_id and "put" not in next(iter(change)):
        assert not is_let_in(TOKEN, to_execute("accounts", other))
    assert not is_let_in(TOKEN, CLAIMS, body)


def test_another_participants_token_is_not_let_in():
    """Who shares a secret cannot pass on what it was sent."""
    assert not is_let_in(TOKEN, to_execute("stock", CALL))


def test_a_token_to_ask_is_none_to_call():
    """Nor the other way round."""
    asking = sign(SECRET, to_describe("accounts"), b"", expires_at_ms=NOW)
    assert is_let_in(asking, to_describe("accounts"), b"")
    assert not is_let_in(asking, CLAIMS, b"")
    assert not is_let_in(TOKEN, to_describe("accounts"), BODY)


def test_it_expires_and_clocks_may_differ():
    """By a minute."""
    assert is_let_in(TOKEN, now_ms=NOW + SKEW_MS)
    assert not is_let_in(TOKEN, now_ms=NOW + SKEW_MS + 1)
    assert is_let_in(TOKEN, now_ms=NOW - 3_600_000)


def test_secrets_can_be_exchanged():
    """Both are accepted meanwhile."""
    assert is_let_in(TOKEN, secrets=(OTHER, SECRET))
    assert not is_let_in(TOKEN, secrets=(OTHER,))


def test_a_file_holds_a_secret_a_line():
    """The first signs; empty lines and lines of # are for people."""
    text = b"\n# since May\n" + SECRET + b"\r\n  " + OTHER + b"\n\n"
    assert secrets_of(text) == (SECRET, OTHER)


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        (b"", "expected 1 to"),
        (b"\n# none\n", "expected 1 to"),
        (b"\n".join([SECRET] * (SECRETS_MAX + 1)), "expected 1 to"),
        (SECRET[:-1], "openssl rand -hex 32"),
        (SECRET + b"\nhunter2", "openssl rand -hex 32"),
    ],
)
def test_a_file_without_good_secrets_is_refused(text, problem):
    """And none is shown."""
    with pytest.raises(ValueError, match=problem) as caught:
        secrets_of(text)
    assert "hunter2" not in str(caught.value)
