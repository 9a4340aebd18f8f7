"""What the SDK logs, and what it binds for whoever logs in a handler."""

import logging

import pytest
import structlog
from structlog.contextvars import get_contextvars

from participant_sdk import Participant, current
from participant_sdk.executor.executor import Executor
from participant_sdk.log import log
from tests.sdk.bank import ACTION, ask, call


@pytest.fixture
def structlog_as_it_was():
    """What others configured comes back."""
    was_configured, before = structlog.is_configured(), structlog.get_config()
    yield
    structlog.reset_defaults()
    if was_configured:
        structlog.configure(**before)


@pytest.fixture
def configured(structlog_as_it_was):
    """The application has configured structlog."""
    structlog.configure()


@pytest.fixture
def unconfigured(structlog_as_it_was):
    """Nobody has configured structlog."""
    structlog.reset_defaults()


def test_events_are_text_for_plain_logging(unconfigured, caplog):
    """Fields follow the event; what would split is quoted."""
    with caplog.at_level(logging.INFO, "participant_sdk"):
        log().info("session_ended", target="a:1", status="", text="it is over %s")
    (record,) = caplog.records
    assert record.getMessage() == (
        "session_ended target=a:1 status='' text='it is over %s'"
    )
    assert (record.name, record.levelname) == ("participant_sdk", "INFO")


def test_tracebacks_reach_plain_logging(unconfigured, caplog):
    """As logging's own, for handlers that know what to do with them."""
    error = LookupError()
    log().error("call_failed", exc_info=error)
    assert caplog.records[0].exc_info[1] is error


async def bound_in_handlers():
    """What is bound while a handler runs, for both kinds, and afterwards."""
    plain = Participant("plain")
    seen = []

    @plain.action("send")
    def send(ctx, request):
        seen.append((get_contextvars(), current() is ctx))

    @plain.action("call")
    async def call_out(ctx, request):
        seen.append((get_contextvars(), current() is ctx))

    executor = Executor(plain._registry, None)
    for operation in ("plain.send", "plain.call"):
        await ask(executor, call(ACTION, operation=operation))
    await executor.close()
    return [*seen, (get_contextvars(), current() is None)]


async def test_handlers_have_their_call_bound(configured):
    """For ``merge_contextvars``; gone when they return."""
    both = [
        {
            "gid": "g1",
            "branch_id": "1",
            "operation": operation,
            "phase": "ACTION",
            "attempt": 1,
        }
        for operation in ("plain.send", "plain.call")
    ]
    expected = [(each, True) for each in (*both, {})]
    assert expected == await bound_in_handlers()


async def test_nothing_is_bound_for_nobody(unconfigured):
    """Who does not configure structlog does not pay for it."""
    assert await bound_in_handlers() == [({}, True)] * 3
