"""A push target is attached while it is there, and says who it is."""

import asyncio

import grpc
import pytest

from coordinator.api.push.channel import uri_of
from coordinator.core.words import OperationKind
from tests.api.push.service import NodeSide, Service


async def test_who_is_there_is_attached_with_what_it_carries_out(node):
    """Its operations are in the catalogue, as if it had opened a session."""
    assert node.catalogue.has("accounts.debit", OperationKind.TCC)
    assert node.returned == ["accounts"]


async def test_who_comes_later_is_attached_then(logs):
    """Nobody waits for it, and it is told of once."""
    service = Service()
    node = NodeSide(service.address)
    node.connection.start()
    await logs.first("push_target_unreachable")
    await service.start()
    await node.attached()
    await node.connection.leave(0)
    await service.stop()

    assert logs.events() == [
        "push_target_unreachable",
        "participant_attached",
        "participant_detached",
    ]


async def test_who_goes_is_detached_and_who_comes_back_is_asked_again(node, service):
    """It may carry out something else now."""
    await service.stop()
    await node.detached()
    service.description.operations.add(name="accounts.credit", kind=1)
    await service.start()
    await node.attached()

    assert service.described == 2
    assert node.catalogue.has("accounts.credit", OperationKind.TCC)


async def test_another_participant_is_not_attached(service, logs):
    """The address, or the table's name, is wrong; it is said once, and tried again."""
    service.description.participant = "stock"
    node = NodeSide(service.address)
    node.connection.start()
    await node.clock.pass_pause()
    await node.clock.pass_pause()
    service.description.participant = "accounts"
    await node.attached()
    await node.connection.leave(0)

    assert service.described == 3
    assert logs.events()[:2] == ["push_target_refused", "participant_attached"]
    assert logs.lines[0]["reason"] == "WRONG_PARTICIPANT"
    assert logs.lines[0]["address"] == service.address


@pytest.mark.parametrize(
    ("operation", "reason"),
    [
        ({"name": "stock.take", "kind": 1}, "INVALID_REQUEST"),
        ({"name": "accounts.debit", "kind": 9}, "INVALID_REQUEST"),
    ],
)
async def test_what_a_session_would_be_refused_for_is_refused_here(
    service, logs, operation, reason
):
    """One rule for both ways."""
    service.description.operations.add(**operation)
    node = NodeSide(service.address)
    node.connection.start()
    line = await logs.first("push_target_refused")
    await node.connection.leave(0)

    assert line["reason"] == reason
    assert not node.is_attached


async def test_a_participant_that_refuses_the_node_is_told_of_with_its_words(
    service, logs
):
    """Such as a wrong secret; control characters do not reach the log."""
    service.refusal = (grpc.StatusCode.UNAUTHENTICATED, "no\x1bcall token")
    node = NodeSide(service.address)
    node.connection.start()
    line = await logs.first("push_target_refused")
    await node.connection.leave(0)

    assert line["reason"] == "GRPC_UNAUTHENTICATED"
    assert line["text"].isprintable()
    assert not node.is_attached


@pytest.mark.parametrize(("own", "told", "out"), [(3, 0, 3), (3, 2, 2), (2, 5, 2)])
async def test_calls_that_are_open_are_limited_by_both(service, own, told, out):
    """The setting and the participant each have a number; the smaller one counts."""
    service.description.call_credits = told
    node = NodeSide(service.address, in_flight=own)
    node.connection.start()
    await node.attached()
    for number in range(6):
        node.call(number)
    opened = [await service.open.get() for _ in range(out)]
    assert service.open.empty()
    opened[0].answer()
    await node.heard()
    await service.open.get()
    assert service.open.empty()
    await node.connection.leave(0)


async def test_leaving_waits_for_answers(node, service):
    """V7: what was called is heard, and nothing is sent any more."""
    node.call(1)
    opened = await service.open.get()
    node.dispatcher.leave()
    leaving = asyncio.create_task(node.connection.leave(60))
    node.call(2)
    opened.answer()
    await leaving

    assert await node.codes() == ["OK"]
    assert service.open.empty()
    assert not node.is_attached


async def test_leaving_does_not_wait_for_ever(node, service):
    """Whoever owns the transaction next asks again; no attempt is lost."""
    node.call(1)
    await service.open.get()
    node.dispatcher.leave()
    await node.connection.leave(0)

    assert node.outcomes == []


async def test_proxies_of_the_environment_are_not_used(service, monkeypatch):
    """Nobody but the settings says where calls go."""
    for name in ("http_proxy", "https_proxy", "grpc_proxy"):
        monkeypatch.setenv(name, "http://127.0.0.1:1")
    monkeypatch.delenv("no_proxy", raising=False)
    named = service.address.replace("127.0.0.1", "localhost")
    node = NodeSide(named)
    node.connection.start()
    await node.attached()
    await node.connection.leave(0)


@pytest.mark.parametrize(
    ("address", "uri"),
    [
        ("127.0.0.1:7800", "ipv4:127.0.0.1:7800"),
        ("[::1]:7800", "ipv6:[::1]:7800"),
        ("accounts.internal:7800", "dns:///accounts.internal:7800"),
        ("unix:7800", "dns:///unix:7800"),
        ("xds:7800", "dns:///xds:7800"),
    ],
)
def test_an_address_is_a_host_and_a_port_to_grpc(address, uri):
    """Else the name of a host could be taken for a way to find one."""
    assert uri_of(address) == uri
