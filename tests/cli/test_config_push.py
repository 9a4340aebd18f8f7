"""Push targets: from the settings alone, and only where calls are safe on their way."""

from pathlib import Path

import pytest

from coordinator.config import ConfigError, PushTarget, load_serve
from protos.call_token import SECRET_BYTES_MIN

SECRET = "s" * SECRET_BYTES_MIN
CERTIFICATE = (
    Path(__file__).parents[1] / "sdk" / "push" / "certificate" / "certificate.pem"
)


@pytest.fixture
def push(tmp_path):
    """The targets of a settings file with these lines in ``[push.accounts]``."""
    (tmp_path / "secret").write_text(f"{SECRET}\n{'o' * 64}\n")

    def push(*lines, table="push.accounts"):
        text = "\n".join((f"[{table}]", *lines)).replace("@", f"{tmp_path}/")
        path = tmp_path / "tercet.toml"
        path.write_text(text)
        return load_serve({"config": str(path)}, {}).push

    return push


SAFE = 'secret_file = "@secret"'


def test_nobody_is_called_by_default():
    """There are no addresses but those that an administrator names."""
    assert load_serve({}, {}).push == ()


def test_on_loopback_an_address_is_enough(push):
    """In the file, in the environment and on the command line."""
    expected = (PushTarget(participant="accounts", address="127.0.0.1:7800"),)
    assert push('address = "localhost:7800"') == expected
    assert load_serve({}, {"TERCET_PUSH": "accounts=127.0.0.1:7800"}).push == expected
    assert load_serve({"push": "accounts=localhost:7800"}, {}).push == expected
    assert not expected[0].is_unsafe


def test_a_text_names_several():
    """Of one participant, or of more."""
    text = "accounts=127.0.0.1:1, stock=[::1]:2,accounts=127.0.0.1:3"
    targets = load_serve({"push": text}, {}).push
    assert [(t.participant, t.address) for t in targets] == [
        ("accounts", "127.0.0.1:1"),
        ("accounts", "127.0.0.1:3"),
        ("stock", "[::1]:2"),
    ]


def test_a_table_says_all(push):
    """Each address of a list is a target of its own."""
    first, second = push(
        'address = ["a.internal:7800", "10.0.0.2:7800"]',
        SAFE,
        f'ca_file = "{CERTIFICATE}"',
        "in_flight = 32",
    )
    assert first == PushTarget(
        participant="accounts",
        address="a.internal:7800",
        has_tls=True,
        authorities=CERTIFICATE.read_bytes(),
        secret=SECRET.encode(),
        in_flight=32,
    )
    assert second.address == "10.0.0.2:7800"


def test_off_loopback_has_tls_without_being_told(push):
    """By the authorities that everybody knows, unless others are named."""
    (target,) = push('address = "accounts.internal:7800"', SAFE)
    assert target.has_tls
    assert target.authorities is None
    assert not target.is_unsafe


def test_loopback_has_tls_when_it_is_told(push):
    """Naming authorities says so."""
    (target,) = push('address = "127.0.0.1:7800"', f'ca_file = "{CERTIFICATE}"')
    assert target.has_tls


@pytest.mark.parametrize("address", ["10.1.2.3:7800", "a.internal:7800", "[fe80::1]:1"])
def test_off_loopback_calls_are_signed(push, address):
    """Or the risk is accepted, loudly."""
    with pytest.raises(ConfigError, match="insecure_off_loopback") as caught:
        push(f'address = "{address}"')
    assert caught.value.key == "push.accounts.secret_file"
    with pytest.raises(ConfigError, match="settings file"):
        load_serve({"push": f"accounts={address}"}, {})
    (target,) = push(f'address = "{address}"', "insecure_off_loopback = true")
    assert target.is_unsafe
    assert not target.has_tls


@pytest.mark.parametrize(
    "address",
    [
        "",
        "7800",
        "accounts.internal",
        "unix:/run/accounts.sock",
        "unix:///run/accounts.sock",
        "unix-abstract:accounts",
        "vsock:2:7800",
        "xds:///accounts",
        "dns:///accounts.internal:7800",
        "dns://8.8.8.8/accounts.internal:7800",
        "ipv4:127.0.0.1:7800",
        "http://accounts.internal:7800",
        "accounts.internal:7800/path",
        "user@accounts.internal:7800",
        "accounts.internal:7800,evil.example:7800",
        "accounts internal:7800",
        "127.0.0.1:0",
        "0.0.0.0:7800",
        "[::]:7800",
        "127.1:7800",
        "2130706433:7800",
        "0x7f000001:7800",
        "0x7f.1:7800",
        "127.0.0.01:7800",
        "127.0.0.256:7800",
        "[fe80::1%eth0]:7800",
        "[::ffff:1.2.3.4%25x]:7800",
    ],
)
def test_odd_spellings_are_refused(push, address):
    """What some program might take for another place than we do."""
    with pytest.raises(ConfigError, match="expected HOST:PORT") as caught:
        push(f'address = "{address}"', "insecure_off_loopback = true")
    assert caught.value.key == "push.accounts.address"


@pytest.mark.parametrize(
    ("lines", "key", "expected"),
    [
        ((), "push.accounts.address", "expected HOST:PORT"),
        (("address = []",), "push.accounts.address", "empty"),
        (("address = 7800",), "push.accounts.address", "it is no text"),
        (('address = ["[::1]:1", "[::1]:1"]',), "push.accounts.address", "once"),
        (('adress = "[::1]:1"',), "push.accounts.adress", "expected one of address"),
        (("in_flight = 0",), "push.accounts.in_flight", "from 1 to 10000"),
        (("in_flight = true",), "push.accounts.in_flight", "from 1 to 10000"),
        (('in_flight = "9"',), "push.accounts.in_flight", "from 1 to 10000"),
        (
            ('insecure_off_loopback = "yes"',),
            "push.accounts.insecure_off_loopback",
            "true or false",
        ),
        (('ca_file = "@none"',), "push.accounts.ca_file", "cannot be read"),
        (('ca_file = "@secret"',), "push.accounts.ca_file", "no certificate"),
        (("ca_file = 1",), "push.accounts.ca_file", "no file name"),
        (('secret_file = "@"',), "push.accounts.secret_file", "cannot be read"),
        (
            (f'secret_file = "{__file__}"',),
            "push.accounts.secret_file",
            "openssl rand -hex 32|expected 1 to",
        ),
    ],
)
def test_what_is_wrong_is_named(push, lines, key, expected):
    """With its key, the file it stands in, and what was expected."""
    address = () if any("ad" in line for line in lines) or not lines else _ADDRESS
    with pytest.raises(ConfigError, match=expected) as caught:
        push(*address, *lines)
    assert caught.value.key == key
    assert caught.value.source.startswith("file ")


_ADDRESS = ('address = "127.0.0.1:7800"',)


@pytest.mark.parametrize("name", ['"a.b"', '""', '"a b"', '"é"'])
def test_a_table_has_a_participants_name(push, name):
    """As it names itself."""
    with pytest.raises(ConfigError, match="expected its name") as caught:
        push(*_ADDRESS, table=f"push.{name}")
    assert caught.value.key == "push"


@pytest.mark.parametrize("text", ["accounts", "=127.0.0.1:1", "accounts=1,", "1"])
def test_a_text_that_names_nobody_is_refused(text):
    """With an example of one that does."""
    with pytest.raises(ConfigError, match="expected") as caught:
        load_serve({}, {"TERCET_PUSH": text})
    assert caught.value.key.startswith("push")
    assert caught.value.source == "environment TERCET_PUSH"


@pytest.mark.parametrize("line", ["push = 1", "push = ['a']", "push.accounts = 'x'"])
def test_what_is_no_table_is_refused(tmp_path, line):
    """With an example of one."""
    path = tmp_path / "tercet.toml"
    path.write_text(line)
    with pytest.raises(ConfigError, match=r"\[push.accounts\]"):
        load_serve({"config": str(path)}, {})


def test_there_are_not_too_many():
    """Each is a connection that is kept."""
    text = ",".join(f"p{number}=127.0.0.1:{number}" for number in range(1, 258))
    with pytest.raises(ConfigError, match="at most 256 addresses"):
        load_serve({"push": text}, {})


def test_a_secret_is_never_shown(push, tmp_path):
    """Not in a repr, and not in an error."""
    (target,) = push(*_ADDRESS, SAFE)
    assert SECRET not in repr(target)
    (tmp_path / "secret").write_text("hunter2")
    with pytest.raises(ConfigError, match="openssl") as caught:
        push(*_ADDRESS, SAFE)
    assert "hunter2" not in str(caught.value)
