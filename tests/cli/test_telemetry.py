"""Logs: their form, and what they never hold."""

import io
import json
import logging
from enum import Enum

import pytest

from coordinator import telemetry
from coordinator.core.model import (
    Key,
    Payload,
    TransactionRequest,
)
from coordinator.core.words import Mode


@pytest.fixture
def logged():
    """Configures logging into memory; returns what was logged since, as values."""
    stream = io.StringIO()

    def logged(level="info", log_format="json"):
        telemetry.configure(level=level, log_format=log_format, stream=stream)

        def lines():
            return [json.loads(line) for line in stream.getvalue().splitlines()]

        return lines if log_format != "console" else stream.getvalue

    return logged


def test_an_event_is_one_json_line(logged):
    """With its name, level, time and what it is about."""
    lines = logged()
    telemetry.get_logger(gid="t-1").info(telemetry.STORE_FAILED, attempt=2)
    (line,) = lines()
    assert line.pop("at").endswith("Z")
    assert line == {
        "event": "store_failed",
        "level": "info",
        "gid": "t-1",
        "attempt": 2,
    }


def test_events_below_the_level_are_not_even_formed(logged):
    """A debug call costs a method that does nothing."""
    lines = logged(level="warning")
    log = telemetry.get_logger()
    log.debug(telemetry.STORE_FAILED)
    log.info(telemetry.STORE_FAILED)
    assert lines() == []
    log.warning(telemetry.STORE_FAILED)
    assert [line["event"] for line in lines()] == ["store_failed"]


def test_a_logger_made_before_configuration_follows_it(logged):
    """Modules make their loggers when they are imported."""
    log = telemetry.get_logger(node_id="n")
    lines = logged()
    log.info(telemetry.NODE_READY)
    assert lines()[0]["node_id"] == "n"


@pytest.mark.parametrize("key", sorted(telemetry.REDACTED_KEYS))
def test_known_payload_keys_are_dropped_at_any_depth(logged, key):
    """Also inside maps and lists, and whatever their value is."""
    lines = logged()
    telemetry.get_logger().info(
        telemetry.REQUEST_FAILED,
        **{key: "hunter2"},
        about={key: "hunter2", "deep": [{key: {"x": "hunter2"}}]},
    )
    assert lines()[0]["about"] == {"deep": [{}]}
    assert "hunter2" not in str(lines())


def test_bytes_and_objects_never_show_what_they_hold(logged):
    """A transaction's repr would show its payloads."""
    lines = logged()
    request = TransactionRequest(
        key=Key("default", "t-1"),
        mode=Mode.TCC,
        name="n",
        digest="d",
        created_at=1,
        deadline_at=2,
        input=Payload(b"hunter2"),
    )
    telemetry.get_logger().info(
        telemetry.REQUEST_FAILED,
        request=request,
        raw=b"hunter2",
        more=[b"hunter2", {"x": bytearray(b"hunter2")}],
        mode=Mode.TCC,
        deep=[[[[["hunter2"]]]]],
    )
    (line,) = lines()
    assert "hunter2" not in str(line)
    assert line["request"] == "<TransactionRequest>"
    assert line["mode"] == "TCC"
    assert "raw" not in line


@pytest.mark.parametrize(
    "text",
    [
        "cannot reach postgresql://user:hunter2@db:5432/tercet today",
        "mysql+asyncmy://hunter2@db/x",
        "a://u:hunter2@b and c://u:hunter2@d",
        "a://u:p@hunter2@b",
    ],
)
def test_credentials_are_cut_out_of_urls(logged, text):
    """Wherever they stand: in the event, in a value, in an exception."""
    lines = logged()
    log = telemetry.get_logger()
    log.info(telemetry.STORE_FAILED, error=ValueError(text), why=text)
    log.error(telemetry.STORE_FAILED, exc_info=ValueError(text))
    logging.getLogger("library").warning("said %s", text)
    assert len(lines()) == 3
    assert "hunter2" not in str(lines())
    assert "***@" in str(lines()[0]["error"])


def test_exceptions_are_shown_with_their_trace_but_without_values(logged):
    """Local variables may be payloads, on a console too."""
    for log_format in ("json", "console"):
        output = logged(log_format=log_format)
        secret = "hunter" + "2"
        try:
            int(secret[:1])
        except ValueError:
            telemetry.get_logger().exception(telemetry.NODE_FAILED)
        text = str(output()) if log_format == "console" else output()[0]["exception"]
        assert "Traceback" in text
        assert "hunter2" not in text


def test_long_texts_keep_their_beginning_and_end(logged):
    """A participant's error text is not a place to store things."""
    lines = logged()
    telemetry.get_logger().info(telemetry.STORE_FAILED, why="a" * 9_999 + "end")
    why = lines()[0]["why"]
    assert len(why) < 4_200
    assert why.startswith("aaa")
    assert why.endswith("end")


def test_records_of_libraries_have_the_same_form(logged):
    """From warnings on, one JSON line each, exceptions included."""
    lines = logged(level="debug")
    library = logging.getLogger("some.library")
    library.info("not shown")
    library.error("failed for %s", "a reason", exc_info=RuntimeError("broken"))
    (line,) = lines()
    assert (line["event"], line["logger"]) == ("failed for a reason", "some.library")
    assert line["exception"].endswith("RuntimeError: broken")


def test_auto_is_json_where_there_is_no_terminal(logged):
    """What collects logs gets lines that it can read."""
    lines = logged(log_format="auto")
    telemetry.get_logger().info(telemetry.NODE_READY)
    assert lines()[0]["event"] == "node_ready"


class Terminal(io.StringIO):
    """A stream that says it is a terminal."""

    def isatty(self):
        return True


@pytest.mark.parametrize(("no_color", "coloured"), [(None, True), ("1", False)])
def test_a_terminal_gets_colours_unless_the_user_wants_none(
    monkeypatch, no_color, coloured
):
    """NO_COLOR is honoured."""
    monkeypatch.delenv("NO_COLOR", raising=False)
    if no_color:
        monkeypatch.setenv("NO_COLOR", no_color)
    stream = Terminal()
    telemetry.configure(level="info", log_format="auto", stream=stream)
    telemetry.get_logger().info(telemetry.NODE_READY, address="127.0.0.1:1")
    assert "node_ready" in stream.getvalue()
    assert ("\x1b[" in stream.getvalue()) == coloured


def test_values_cannot_forge_a_line(logged):
    """A line break inside a value stays inside its line."""
    for log_format in ("json", "console"):
        output = logged(log_format=log_format)
        telemetry.get_logger().info(telemetry.STORE_FAILED, why="a\nforged line")
        text = output() if log_format == "console" else json.dumps(output())
        assert "\nforged" not in text


def test_event_names_are_lower_case_and_unique():
    """One word for one thing, also in logs."""
    names = {
        name: value
        for name, value in vars(telemetry).items()
        if name.isupper() and isinstance(value, str) and not isinstance(value, Enum)
    }
    assert names
    assert all(value == name.lower() for name, value in names.items())
