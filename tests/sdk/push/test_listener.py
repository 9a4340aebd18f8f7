"""A listener off loopback is safe, or says loudly that it is not."""

from pathlib import Path

import pytest

from participant_sdk import InvalidRequest, Participant
from participant_sdk.push import Listener
from protos.call_token import SECRET_BYTES_MIN

CERTIFICATES = Path(__file__).parent / "certificate"
CERTIFIED = {
    "certificate_file": CERTIFICATES / "certificate.pem",
    "key_file": CERTIFICATES / "key.pem",
}


@pytest.fixture
def secret_file(tmp_path):
    """With one secret."""
    path = tmp_path / "secret"
    path.write_text("s" * SECRET_BYTES_MIN)
    return path


@pytest.mark.parametrize(
    "address", ["127.0.0.1:7800", "localhost:0", "[::1]:7800", "127.9.9.9:1"]
)
def test_on_loopback_an_address_is_enough(address):
    """Only this machine reaches it."""
    assert Listener(address).secrets() == ()
    assert Listener(address).credentials() is None


OFF_LOOPBACK = ["0.0.0.0:7800", "[::]:7800", "10.1.2.3:7800"]


@pytest.mark.parametrize("address", OFF_LOOPBACK)
def test_off_loopback_both_are_needed(address, secret_file):
    """TLS and signed calls; the error names what is missing, and the way out."""
    with pytest.raises(InvalidRequest, match="insecure_off_loopback") as caught:
        Listener(address, secret_file=secret_file)
    assert caught.value.field == "certificate_file"
    with pytest.raises(InvalidRequest, match="insecure_off_loopback") as caught:
        Listener(address, **CERTIFIED)
    assert caught.value.field == "secret_file"
    Listener(address, secret_file=secret_file, **CERTIFIED)
    Listener(address, insecure_off_loopback=True)


@pytest.mark.parametrize(
    "address",
    [
        "",
        "7800",
        ":7800",
        "127.0.0.1",
        "127.0.0.1:",
        "127.0.0.1:65536",
        "127.0.0.1:٣",
        "127.1:7800",
        "accounts.internal:7800",
        "unix:/tmp/socket",
        "unix:7800",
        "vsock:1:7800",
        "dns:///localhost:7800",
        "::1:7800",
        "[127.0.0.1]:7800",
    ],
)
def test_what_is_no_address_is_refused(address):
    """Also a way to listen that gRPC would know."""
    with pytest.raises(InvalidRequest, match="HOST:PORT") as caught:
        Listener(address, insecure_off_loopback=True)
    assert caught.value.field == "address"


def test_certificate_and_key_belong_together():
    """One without the other is a mistake."""
    for name, other in (
        ("certificate_file", "key_file"),
        ("key_file", "certificate_file"),
    ):
        with pytest.raises(InvalidRequest, match="missing") as caught:
            Listener("127.0.0.1:1", **{name: CERTIFIED[name]})
        assert caught.value.field == other


@pytest.mark.parametrize("content", [None, b"short", bytes(2_000_000)])
def test_a_secret_that_cannot_be_used_is_refused(tmp_path, content):
    """Before anything is served, and without being shown."""
    path = tmp_path / "secret"
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(InvalidRequest) as caught:
        Listener("127.0.0.1:1", secret_file=path).secrets()
    assert caught.value.field == "secret_file"
    assert "short" not in str(caught.value).replace("shorter", "")


async def test_serving_nowhere_is_refused():
    """Neither attached nor called."""
    with pytest.raises(InvalidRequest, match="listen=") as caught:
        await Participant("accounts").serve()
    assert caught.value.field == "target"
