"""Settings: where each comes from, and what is said when one is wrong."""

import pytest

from coordinator.config import (
    ClientConfig,
    ConfigError,
    PushTarget,
    ServeConfig,
    is_loopback,
    load_client,
    load_database_url,
    load_serve,
    parse_address,
)


@pytest.fixture
def toml(tmp_path):
    """Writes a settings file and returns its name."""

    def toml(text):
        path = tmp_path / "tercet.toml"
        path.write_bytes(text if isinstance(text, bytes) else text.encode())
        return str(path)

    return toml


def test_defaults_listen_on_loopback_only():
    """Nothing set is a node that only this machine reaches."""
    config = load_serve({}, {})
    assert config == ServeConfig(database_url="sqlite:///tercet.db")
    assert config.listen == "127.0.0.1:7700"
    assert config.insecure_off_loopback is False


def test_flag_beats_environment_beats_file_beats_default(toml):
    """Each source hides the ones below it, setting by setting."""
    file = toml('listen = "127.0.0.1:1"\nlog_level = "error"\ndrain_seconds = 3\n')
    env = {"TERCET_CONFIG": file, "TERCET_LISTEN": "127.0.0.1:2"}
    by_flag = load_serve({"listen": "localhost:3", "log_level": None}, env)
    assert by_flag.listen == "127.0.0.1:3"
    assert load_serve({}, env).listen == "127.0.0.1:2"
    assert load_serve({"config": file}, {}).listen == "127.0.0.1:1"
    assert (by_flag.log_level, by_flag.drain_seconds) == ("error", 3)
    assert by_flag.log_format == "auto"


def test_the_file_of_the_flag_beats_the_file_of_the_environment(toml):
    """Only one file is read."""
    file = toml("drain_seconds = 3\n")
    env = {"TERCET_CONFIG": "/nowhere"}
    assert load_serve({"config": file}, env).drain_seconds == 3


def test_every_setting_can_come_from_the_environment():
    """Values of the environment are texts and become what they mean."""
    config = load_serve(
        {},
        {
            "TERCET_DATABASE_URL": "sqlite:////tmp/x.db",
            "TERCET_LISTEN": "[::1]:0",
            "TERCET_INSECURE_OFF_LOOPBACK": "no",
            "TERCET_LOG_LEVEL": "DEBUG",
            "TERCET_LOG_FORMAT": "json",
            "TERCET_MESSAGE_BYTES_MAX": "2097152",
            "TERCET_PAYLOAD_BYTES_MAX": "1024",
            "TERCET_PAYLOAD_MEMORY_MAX": "16777216",
            "TERCET_BRANCHES_MAX": "10",
            "TERCET_METADATA_BYTES_MAX": "2048",
            "TERCET_DRAIN_SECONDS": "0",
            "TERCET_KEEP_FINISHED": "90d",
            "TERCET_ARCHIVE": "/var/lib/tercet/archive",
            "TERCET_PUSH": "accounts=localhost:7800",
        },
    )
    assert config == ServeConfig(
        database_url="sqlite:////tmp/x.db",
        listen="[::1]:0",
        log_level="debug",
        log_format="json",
        message_bytes_max=2_097_152,
        payload_bytes_max=1_024,
        payload_memory_max=16_777_216,
        branches_max=10,
        metadata_bytes_max=2_048,
        drain_seconds=0,
        keep_finished_ms=90 * 86_400_000,
        archive="/var/lib/tercet/archive",
        push=(PushTarget(participant="accounts", address="127.0.0.1:7800"),),
    )


def test_every_setting_of_a_node_can_come_from_the_file(toml):
    """Also those that have no flag."""
    file = toml("payload_memory_max = 16777216\n[push.accounts]\naddress = '[::1]:1'")
    config = load_serve({"config": file}, {})
    assert config.payload_memory_max == 16_777_216
    assert [target.address for target in config.push] == ["[::1]:1"]


def test_client_settings_come_from_the_same_sources(toml):
    """A file may hold settings of nodes and of commands side by side."""
    file = toml('server = "node-1:7700"\ntimeout_seconds = 2\nlisten = "[::1]:1"\n')
    env = {"TERCET_CONFIG": file, "TERCET_OUTPUT": "json"}
    assert load_client({"timeout_seconds": "0.5"}, env) == ClientConfig(
        server="node-1:7700", output="json", timeout_seconds=0.5
    )


def test_the_database_alone_can_be_read(toml):
    """Other settings that are wrong do not stand in the way of an upgrade."""
    file = toml('listen = "0.0.0.0:1"\ndatabase_url = "sqlite:///a.db"')
    assert load_database_url({"config": file}, {}) == "sqlite:///a.db"


@pytest.mark.parametrize(
    ("name", "value", "expected"),
    [
        ("listen", "7700", "HOST:PORT"),
        ("listen", ":7700", "HOST:PORT"),
        ("listen", "127.0.0.1", "HOST:PORT"),
        ("listen", "127.0.0.1:65536", "HOST:PORT"),
        ("listen", "127.0.0.1:-1", "HOST:PORT"),
        ("listen", "127.0.0.1:٣", "HOST:PORT"),
        ("listen", "127.0.0.1:7700 ", "HOST:PORT"),
        ("listen", "::1:7700", "HOST:PORT"),
        ("listen", "[::zz]:7700", "HOST:PORT"),
        ("listen", "unix:/tmp/socket", "HOST:PORT"),
        ("listen", "dns:///localhost:7700", "HOST:PORT"),
        ("listen", "a b:7700", "HOST:PORT"),
        ("listen", "", "HOST:PORT"),
        ("insecure_off_loopback", "maybe", "yes or no"),
        ("insecure_off_loopback", "", "yes or no"),
        ("log_level", "loud", "one of debug, info, warning, error"),
        ("log_format", "xml", "one of auto, json, console"),
        ("message_bytes_max", "1 MiB", "an integer from 65536 to 16777216"),
        ("message_bytes_max", "1", "an integer from 65536 to 16777216"),
        ("payload_bytes_max", "9" * 5_000, "an integer from 1024"),
        ("payload_memory_max", "1024", "auto, or bytes: an integer from 16777216"),
        ("branches_max", "0", "an integer from 1 to 10000"),
        ("metadata_bytes_max", "1.5", "an integer from 1024 to 65536"),
        ("drain_seconds", "-1", "an integer from 0 to 600"),
        ("database_url", "tercet.db", "a URL such as sqlite:///tercet.db"),
        ("database_url", "", "a URL such as sqlite:///tercet.db"),
    ],
)
def test_a_wrong_value_names_key_source_and_what_was_expected(name, value, expected):
    """Whoever reads the message knows what to change, and where."""
    variable = f"TERCET_{name.upper()}"
    with pytest.raises(ConfigError) as caught:
        load_serve({}, {variable: value})
    assert caught.value.key == name
    assert str(caught.value).startswith(f"{name} (environment {variable}): ")
    assert expected in str(caught.value)
    assert len(str(caught.value)) < 300


@pytest.mark.parametrize(
    ("line", "key"),
    [
        ("listen = 7700", "listen"),
        ("insecure_off_loopback = 1", "insecure_off_loopback"),
        ("drain_seconds = true", "drain_seconds"),
        ("drain_seconds = 1.0", "drain_seconds"),
        ("log_level = ['info']", "log_level"),
    ],
)
def test_a_wrong_type_in_the_file_names_the_file(toml, line, key):
    """The file's values are typed; nothing is guessed."""
    file = toml(line)
    with pytest.raises(ConfigError) as caught:
        load_serve({"config": file}, {})
    assert str(caught.value).startswith(f"{key} (file {file}): ")


@pytest.mark.parametrize(
    "value", ["nan", "inf", "-1", "0", "3601", "soon", "", "1e999"]
)
def test_a_wrong_timeout_is_refused(value):
    """No command waits for ever, and none gives up before it has asked."""
    with pytest.raises(ConfigError, match=r"flag --timeout.*at most 3600"):
        load_client({"timeout_seconds": value}, {})


def test_unknown_keys_in_the_file_are_refused(toml):
    """A misspelled setting is not silently the default."""
    file = toml('lissten = "127.0.0.1:1"')
    with pytest.raises(ConfigError, match=r"^lissten \(file .*expected one of.*listen"):
        load_serve({"config": file}, {})


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("listen = ", "is not TOML"),
        ("a = " + "[" * 10_000, "is not TOML"),
        (b"listen = '\xff'", "is not UTF-8"),
        (b"#" * (1024 * 1024 + 1), "larger than 1 MiB"),
    ],
)
def test_a_file_that_is_no_settings_file_is_refused(toml, text, problem):
    """The message names the file and what is wrong with it."""
    file = toml(text)
    with pytest.raises(ConfigError, match=problem) as caught:
        load_serve({}, {"TERCET_CONFIG": file})
    assert str(caught.value).startswith("config (environment TERCET_CONFIG): ")
    assert file in str(caught.value)


@pytest.mark.parametrize("name", ["", "nowhere.toml", ".", "a\0b"])
def test_a_file_that_cannot_be_read_is_refused(name):
    """A missing file is not an empty one."""
    with pytest.raises(ConfigError, match=r"^config \(flag --config\): .*cannot be"):
        load_serve({"config": name}, {})


@pytest.mark.parametrize(
    "address", ["0.0.0.0:7700", "[::]:7700", "10.1.2.3:1", "example.org:1", "127.1:1"]
)
def test_off_loopback_is_refused_without_the_opt_out(address):
    """TLS and authentication are not there yet; names are not looked up."""
    with pytest.raises(ConfigError) as caught:
        load_serve({"listen": address}, {})
    assert str(caught.value).startswith("listen (flag --listen): ")
    assert "--insecure-off-loopback" in str(caught.value)
    with pytest.raises(ConfigError, match="loopback"):
        ServeConfig(database_url="sqlite:///x", listen=address)


def test_off_loopback_is_allowed_with_the_opt_out():
    """By flag or by environment, and only when it says yes."""
    listen = {"listen": "0.0.0.0:1"}
    assert load_serve({**listen, "insecure_off_loopback": True}, {}).listen
    assert load_serve(listen, {"TERCET_INSECURE_OFF_LOOPBACK": "yes"}).listen
    with pytest.raises(ConfigError, match="loopback"):
        load_serve(listen, {"TERCET_INSECURE_OFF_LOOPBACK": "no"})


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("localhost:7700", "127.0.0.1:7700"),
        ("LOCALHOST:07700", "127.0.0.1:7700"),
        ("127.0.0.2:0", "127.0.0.2:0"),
        ("[0:0::1]:80", "[::1]:80"),
        ("node-1.bank:7700", "node-1.bank:7700"),
    ],
)
def test_addresses_have_one_spelling(text, expected):
    """What is compared and shown is always the same form."""
    assert parse_address(text) == expected


def test_loopback_is_a_matter_of_addresses():
    """The whole of 127/8 and ::1, nothing else."""
    assert all(is_loopback(a) for a in ("127.0.0.1:1", "127.9.9.9:1", "[::1]:1"))
    assert not any(is_loopback(a) for a in ("localhost:1", "[::2]:1", "128.0.0.1:1"))


def test_a_payload_must_fit_a_message():
    """Limits that contradict each other are refused at the start."""
    env = {"TERCET_PAYLOAD_BYTES_MAX": "2097152"}
    with pytest.raises(
        ConfigError, match=r"^payload_bytes_max \(environment .*message"
    ):
        load_serve({}, env)


def test_a_database_url_is_never_shown():
    """It may hold a password: not in an error, not in a repr."""
    with pytest.raises(ConfigError) as caught:
        load_serve({"database_url": "postgresql:hunter2"}, {})
    assert "hunter2" not in str(caught.value)
    config = load_serve({"database_url": "postgresql://u:hunter2@h/db"}, {})
    assert "hunter2" not in repr(config)


def test_finished_transactions_are_kept_for_ever_unless_told_otherwise():
    """A gid is an idempotency key, and only the row remembers it."""
    assert load_serve({}, {}).keep_finished_ms is None
    assert load_serve({"keep_finished": "off"}, {}).keep_finished_ms is None
    assert load_serve({"keep_finished": "1h"}, {}).keep_finished_ms == 3_600_000
    assert load_serve({"keep_finished": "3660d"}, {}).keep_finished_ms > 0


@pytest.mark.parametrize("value", ["", "0d", "59m", "soon", "36601d", "-1d", "90"])
def test_a_keep_time_that_cannot_be_is_refused(value):
    """With what is expected."""
    with pytest.raises(ConfigError, match="1h to 36600d") as caught:
        load_serve({"keep_finished": value}, {})
    assert caught.value.key == "keep_finished"


def test_an_archive_of_nothing_is_refused():
    """Who names a folder expects something in it."""
    with pytest.raises(ConfigError, match="--keep-finished") as caught:
        load_serve({}, {"TERCET_ARCHIVE": "/var/archive"})
    assert caught.value.key == "archive"
