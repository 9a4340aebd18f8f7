"""Declaring operations and serving them over a stream."""

import asyncio
import inspect
import signal
import sys
from pathlib import Path

import pytest
from sqlalchemy import create_engine, text
from sqlalchemy.pool import StaticPool
from structlog.testing import capture_logs

import participant_sdk
from participant_sdk import (
    Context,
    InvalidRequest,
    Participant,
    PreconditionFailed,
    create_barrier_table,
    prepare_sqlite,
)
from participant_sdk.operations import Kind
from participant_sdk.session import Session
from protos.v1 import types_pb2
from tests.sdk.bank import ACTION, CONFIRM, OK, OPENING, TRY, call, told


@pytest.fixture
async def serving(bank, coordinator):
    """The bank, attached; ends by ``stop``."""
    task = asyncio.create_task(bank.participant.serve(coordinator.target))
    yield task
    bank.participant.stop()
    await task


def test_the_common_case_needs_one_import_line():
    """At most 20 public names, and all of them there."""
    assert len(participant_sdk.__all__) <= 20
    assert all(hasattr(participant_sdk, name) for name in participant_sdk.__all__)


def test_decorators_return_the_original_callable():
    """It can be called, tested and read as if it were not decorated."""
    shop = Participant("shop")

    def reserve(ctx, request):
        return {"ctx": ctx}

    async def send(ctx, request): ...

    def undo(ctx, request, output): ...

    assert reserve is shop.tcc("reserve")(reserve)
    assert undo is reserve.confirm(undo)
    assert undo is reserve.cancel(undo)
    assert send is shop.action("send")(send)
    assert undo is send.compensate(undo)
    assert inspect.iscoroutinefunction(send)
    assert reserve(1, None) == {"ctx": 1}


def test_registries_belong_to_their_participant():
    """Nothing is global: two participants may declare the same name."""
    first, second = Participant("first"), Participant("second")
    for participant in (first, second):
        participant.action("send")(lambda ctx, request: None)
    assert first._registry.get("first.send") is not None
    assert first._registry.get("second.send") is None
    assert Kind.ACTION is second._registry.get("second.send").kind


@pytest.mark.parametrize("name", ["", "a b", "a.b", "x" * 129, "é"])
def test_a_participants_name_is_checked(name):
    """It is half of every operation's name."""
    with pytest.raises(InvalidRequest, match="name"):
        Participant(name)


@pytest.mark.parametrize(
    ("function", "expected"),
    [
        (lambda: None, r"takes \(\), expected \(ctx, request\)"),
        (lambda ctx, request, more: None, r"expected \(ctx, request\)"),
    ],
)
def test_a_handler_with_other_parameters_is_refused(function, expected):
    """When it is declared, not when it is called."""
    with pytest.raises(InvalidRequest, match=expected):
        Participant("shop").action("send")(function)


def test_an_operation_is_declared_once():
    """The second one is a slip."""
    shop = Participant("shop")
    shop.action("send")(lambda ctx, request: None)
    with pytest.raises(InvalidRequest, match=r"shop\.send is declared twice"):
        shop.action("send")(lambda ctx, request: None)
    with pytest.raises(InvalidRequest, match="no operation name"):
        shop.action("send it")(lambda ctx, request: None)


def test_annotations_that_do_not_resolve_are_named():
    """Silently untyped payloads would be worse."""

    def send(ctx, request: "Nowhere"): ...  # noqa: F821

    with pytest.raises(InvalidRequest, match="'Nowhere'"):
        Participant("shop").action("send")(send)


async def test_an_incomplete_operation_is_not_served(coordinator):
    """The message is the line to write."""
    shop = Participant("shop")

    @shop.tcc("reserve")
    def reserve(ctx, request): ...

    @reserve.confirm
    def _(ctx, request, output): ...

    with pytest.raises(InvalidRequest, match=r"@reserve\.cancel"):
        await shop.serve(coordinator.target)


async def test_a_database_without_the_table_is_not_served(coordinator, tmp_path):
    """The message says how to create it; then it works."""
    engine = create_engine(f"sqlite:///{tmp_path / 'new.db'}")
    shop = Participant("shop", database=engine)
    with pytest.raises(PreconditionFailed, match="create_barrier_table"):
        await shop.serve(coordinator.target)
    create_barrier_table(engine)
    task = asyncio.create_task(shop.serve(coordinator.target))
    await coordinator.attached.get()
    shop.stop()
    await task
    engine.dispose()


def test_sqlite_is_opened_safely(bank):
    """WAL, full synchronisation and a busy timeout on every connection."""
    with bank.engine.connect() as connection:
        settings = [
            connection.execute(text(f"PRAGMA {name}")).scalar()
            for name in ("journal_mode", "synchronous", "busy_timeout")
        ]
    assert settings == ["wal", 2, 5_000]


def test_a_private_in_memory_database_is_refused():
    """The handlers' thread would see another one."""
    with pytest.raises(InvalidRequest, match="StaticPool"):
        Participant("shop", database=create_engine("sqlite://"))
    shared = create_engine("sqlite://", poolclass=StaticPool)
    prepare_sqlite(shared)
    prepare_sqlite(shared)
    with shared.begin() as connection:
        assert connection.connection.driver_connection.in_transaction
    shared.dispose()


async def test_hello_says_what_is_offered(serving, coordinator):
    """Name, kind, compensation, schemas and credits."""
    hello = (await coordinator.attached.get()).hello
    operations = {operation.name: operation for operation in hello.operations}
    assert hello.participant == "bank"
    assert hello.call_credits > 0
    assert hello.sdk_version
    assert {
        "bank.debit",
        "bank.slow",
        "bank.post",
        "bank.reverse",
        "bank.wait",
    } == set(operations)
    assert operations["bank.debit"].kind == types_pb2.OPERATION_TCC
    assert "amount" in operations["bank.debit"].input_schema
    assert "frozen" in operations["bank.debit"].output_schema
    assert operations["bank.post"].kind == types_pb2.OPERATION_ACTION
    assert operations["bank.post"].compensable
    assert not operations["bank.reverse"].compensable


async def test_hello_says_what_people_ask(coordinator):
    """The first line of the docstring, the team, and what undoes an action."""
    shop = Participant("shop", owner="shop team")

    @shop.action("pack", compensation="unpack")
    async def pack(ctx: Context, request: dict) -> dict:
        """Put  a parcel together.

        With care.
        """
        return request

    @shop.action("unpack")
    async def unpack(ctx: Context, request):
        return None

    task = asyncio.create_task(shop.serve(coordinator.target))
    hello = (await coordinator.attached.get()).hello
    shop.stop()
    await task

    packed, unpacked = hello.operations
    assert (packed.description, packed.owner, packed.compensation) == (
        "Put a parcel together.",
        "shop team",
        "shop.unpack",
    )
    assert (unpacked.description, unpacked.compensation) == ("", "")
    assert packed.output_schema == '{"type":"object"}'
    assert (unpacked.input_schema, unpacked.output_schema) == ("", "")


@pytest.mark.parametrize("named", ["nothing", "pack", "reserve"])
async def test_a_compensation_that_cannot_be_called_is_not_served(coordinator, named):
    """It has to be another action of this participant."""
    shop = Participant("shop")

    @shop.action("pack", compensation=named)
    async def pack(ctx: Context, request: dict) -> None: ...

    @shop.tcc("reserve")
    async def reserve(ctx: Context, request: dict) -> None: ...

    @reserve.confirm
    @reserve.cancel
    async def end(ctx: Context, request: dict, output: None) -> None: ...

    with pytest.raises(InvalidRequest, match=f"names shop.{named}"):
        await shop.serve(coordinator.target)


async def test_an_action_is_not_undone_in_two_ways(coordinator):
    """Its own compensation, or another action."""
    shop = Participant("shop")

    @shop.action("unpack")
    async def unpack(ctx: Context, request: dict) -> None: ...

    @shop.action("pack", compensation="unpack")
    async def pack(ctx: Context, request: dict) -> None: ...

    @pack.compensate
    async def undo(ctx: Context, request: dict, output: None) -> None: ...

    with pytest.raises(InvalidRequest, match="keep one of them"):
        await shop.serve(coordinator.target)


async def test_a_refused_hello_is_logged_with_its_field(coordinator):
    """Once, however often it is tried again; and it serves when it may."""
    shop = Participant("shop")
    coordinator.hello_error = types_pb2.Error(
        reason="OPERATION_CONFLICT",
        field="hello.operations[0].input_schema",
        message="not the same",
    )
    with capture_logs() as logs:
        task = asyncio.create_task(shop.serve(coordinator.target))
        for _ in range(3):
            await coordinator.refused.get()
        coordinator.hello_error = None
        await coordinator.attached.get()
        shop.stop()
        await task

    (refused,) = [entry for entry in logs if entry["event"] == "session_refused"]
    assert refused["log_level"] == "warning"
    assert refused["reason"] == "OPERATION_CONFLICT"
    assert refused["field"] == "hello.operations[0].input_schema"
    assert refused["text"] == "not the same"


@pytest.mark.parametrize("owner", ["x" * 129, "two\nlines"])
def test_an_owner_is_a_name(owner):
    """What the coordinator would refuse is refused before."""
    with pytest.raises(InvalidRequest, match="owner"):
        Participant("shop", owner=owner)


async def test_calls_are_answered_over_the_stream(serving, bank, coordinator):
    """In one frame in, and out as they become durable."""
    attachment = await coordinator.attached.get()
    calls = [call(TRY, f"g{n}", call_id=n, body={"amount": 1}) for n in range(20)]
    replies = await attachment.ask(*calls)
    assert dict.fromkeys(range(20), OK) == {n: told(r) for n, r in replies.items()}
    replies = await attachment.ask(call(CONFIRM, "g3", call_id=99))
    assert told(replies[99]) == OK
    assert bank.money() == (OPENING - 20, 19)


async def test_a_lost_reply_is_given_again_after_a_reconnect(
    serving, bank, coordinator
):
    """F6: the stream breaks before the answer; the same call gets it, once done."""
    first = await coordinator.attached.get()
    first.hang_up()
    second = await coordinator.attached.get()
    one = await second.ask(call(TRY, call_id=1))
    second.hang_up()
    third = await coordinator.attached.get()
    again = await third.ask(call(TRY, call_id=2))
    assert one[1].succeeded == again[2].succeeded
    assert bank.called["TRY"] == 1


async def test_a_coordinator_that_comes_back_finds_the_participant(
    serving, bank, coordinator
):
    """It reconnects by itself, as often as needed."""
    await coordinator.attached.get()
    for number in range(2):
        await coordinator.stop()
        await coordinator.start()
        attachment = await coordinator.attached.get()
        replies = await attachment.ask(call(TRY, f"g{number}", call_id=number))
        assert told(replies[number]) == OK


async def test_stop_finishes_what_runs(bank, coordinator):
    """V7: it says that it leaves, then answers what it has, then leaves."""
    entered, release = asyncio.Event(), asyncio.Event()

    async def gate(_):
        entered.set()
        await release.wait()

    bank.gate = gate
    task = asyncio.create_task(bank.participant.serve(coordinator.target))
    attachment = await coordinator.attached.get()
    attachment.send(call(TRY, operation="bank.slow", call_id=5))
    await entered.wait()
    bank.participant.stop()
    bank.participant.stop()
    await attachment.told_draining.wait()
    assert not task.done()
    release.set()
    reply = await attachment.replies.get()
    assert (reply.call_id, told(reply)) == (5, OK)
    await task
    assert bank.money() == (OPENING - 10, 10)
    bank.participant.stop()


async def test_stop_ends_a_participant_that_never_attached(bank, monkeypatch):
    """Nobody listens there; it still ends at once."""
    tried = asyncio.Event()
    serve = Session._serve

    async def notice(self, stream):
        tried.set()
        await serve(self, stream)

    monkeypatch.setattr(Session, "_serve", notice)
    task = asyncio.create_task(bank.participant.serve("127.0.0.1:1"))
    await tried.wait()
    bank.participant.stop()
    await task


PROGRAM = """
import sys
from participant_sdk import Participant
plain = Participant("plain")
plain.action("send")(lambda ctx, request: request["missing"])
plain.run(sys.argv[1])
print("ended")
"""


async def start(program, *arguments):
    """``program``, as a process of its own."""
    return await asyncio.create_subprocess_exec(
        sys.executable,
        "-c",
        program,
        *arguments,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
        cwd=Path(__file__).parents[2],
    )


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
async def test_a_program_ends_in_order_on_a_signal(coordinator, number):
    """V7: it tells the coordinator, and exits with 0."""
    process = await start(PROGRAM, coordinator.target)
    attachment = await coordinator.attached.get()
    process.send_signal(number)
    await attachment.told_draining.wait()
    out, err = await process.communicate()
    assert (process.returncode, out.strip(), err) == (0, b"ended", b"")


async def test_nothing_is_written_to_stdout_unless_configured(coordinator):
    """Errors go to stderr, as Python's logging does by default; the rest nowhere."""
    process = await start(PROGRAM, coordinator.target)
    attachment = await coordinator.attached.get()
    (reply,) = (await attachment.ask(call(ACTION, operation="plain.send"))).values()
    assert told(reply) == ("failed", "HANDLER_ERROR")
    attachment.hang_up()
    await coordinator.attached.get()
    process.send_signal(signal.SIGTERM)
    out, err = await process.communicate()
    assert out.strip() == b"ended"
    (line,) = err.splitlines()
    assert line.startswith(b"call_failed operation=plain.send phase=ACTION gid=g1 ")
    assert line.endswith(b" code=HANDLER_ERROR text=KeyError")


CONFIGURED = """
import logging, sys, structlog
from participant_sdk import Participant
logging.basicConfig(format="%(name)s|%(message)s", stream=sys.stdout)
structlog.configure(processors=[
    structlog.contextvars.merge_contextvars,
    structlog.processors.LogfmtRenderer(sort_keys=True),
])
plain = Participant("plain")
@plain.action("send")
def send(ctx, request):
    structlog.get_logger().info("sending")
    raise LookupError
plain.run(sys.argv[1])
"""


async def test_the_applications_structlog_shows_the_call_it_works_for(coordinator):
    """Its own events carry the call, and the SDK's take its processors."""
    process = await start(CONFIGURED, coordinator.target)
    attachment = await coordinator.attached.get()
    await attachment.ask(call(ACTION, operation="plain.send"))
    process.send_signal(signal.SIGTERM)
    out, err = await process.communicate()
    bound = b"attempt=1 branch_id=1 event=sending gid=g1 operation=plain.send"
    failed = (
        b"participant_sdk|attempt=1 branch_id=1 code=HANDLER_ERROR "
        b"event=call_failed exc_info= gid=g1 operation=plain.send phase=ACTION "
        b"text=LookupError"
    )
    assert out.splitlines() == [bound + b" phase=ACTION", failed]
    assert err == b""
