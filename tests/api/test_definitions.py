"""Published sagas: pinned, cached, and never changed."""

import asyncio
import json
from dataclasses import replace

import pytest

from coordinator.api import definitions
from coordinator.core.errors import (
    AlreadyExists,
    InvalidRequest,
    NotFound,
    StoreUnavailable,
)
from coordinator.core.inputs import Submit
from coordinator.core.words import Mode, Status
from protos.v1 import (
    admin_pb2,
    admin_pb2_grpc,
    coordinator_pb2,
    coordinator_pb2_grpc,
    types_pb2,
)


def text(version: str = "1.0.0", *, timeout: str = "15m", call: str = "ledger.post"):
    """A saga of one step."""
    return json.dumps(
        {
            "apiVersion": "tercet/v1",
            "kind": "Saga",
            "metadata": {"name": "loan", "version": version},
            "timeout": timeout,
            "steps": [{"id": "post", "call": call, "input": {}, "compensate": "none"}],
        }
    )


@pytest.fixture
async def sagas(world):
    """Published sagas over a catalogue that has been loaded."""
    await world.catalogue.load()
    return world.sagas


async def test_the_same_text_again_is_a_no_op(sagas, world):
    """Publishing is repeatable after a lost reply."""
    first = await sagas.publish("default", text(), "loan.yaml")
    again = await sagas.publish("default", text(), "loan.yaml")

    assert first == again
    assert len(world.queries.definitions) == 1


async def test_another_text_under_the_same_version_is_refused(sagas):
    """S7: a published version never changes."""
    await sagas.publish("default", text(), "loan.yaml")

    with pytest.raises(AlreadyExists) as caught:
        await sagas.publish("default", text(timeout="1m"), "loan.yaml")

    assert caught.value.detail_reason == "VERSION_EXISTS"
    assert "(timeout: 900000 is published, not 60000)" in str(caught.value)
    kept = await sagas.resolve("default", "loan", "1.0.0")
    assert kept.timeout_ms == 900_000


async def test_a_saga_with_an_unknown_operation_is_refused(sagas, world):
    """The catalogue is asked at publication, and nothing is stored."""
    with pytest.raises(InvalidRequest, match="nobody"):
        await sagas.publish("default", text(call="nobody.knows"), "loan.yaml")

    assert world.queries.definitions == {}


async def test_a_version_named_latest_is_refused(sagas, world):
    """It could never be asked for."""
    with pytest.raises(InvalidRequest, match="latest"):
        await sagas.publish("default", text("latest"), "loan.yaml")

    assert world.queries.definitions == {}


async def test_a_running_saga_does_not_ask_the_catalogue(sagas, world):
    """What was valid when it was published runs to its end on a node without it."""
    stored = await sagas.publish("default", text(), "loan.yaml")
    restarted = definitions.PublishedSagas(world.queries, {}, world.clock)

    found = await restarted.get("default", stored.digest)

    assert (found.name, found.digest) == ("loan", stored.digest)


async def test_compiled_sagas_are_asked_for_once(sagas, world):
    """The second look costs no query."""
    stored = await sagas.publish("default", text(), "loan.yaml")
    await sagas.get("default", stored.digest)
    await sagas.resolve("default", "loan", "1.0.0")
    finds = world.queries.finds

    first = await sagas.get("default", stored.digest)
    second = sagas.cached("default", "loan", "1.0.0")

    assert first is second
    assert world.queries.finds == finds


async def test_a_saga_is_compiled_once_for_all_who_wait(sagas, world, monkeypatch):
    """However many ask at a time, by name or by digest; who gives up harms nobody."""
    stored = await sagas.publish("default", text(), "loan.yaml")
    restarted = definitions.PublishedSagas(world.queries, {}, world.clock)
    compiled = []
    monkeypatch.setattr(
        definitions,
        "_compile",
        lambda stored, sagas, compile_=definitions._compile: (
            compiled.append(stored.version) or compile_(stored, sagas)
        ),
    )
    gives_up = asyncio.ensure_future(restarted.get("default", stored.digest))
    asking = [
        asyncio.ensure_future(restarted.get("default", stored.digest)),
        asyncio.ensure_future(restarted.resolve("default", "loan", "1.0.0")),
        asyncio.ensure_future(restarted.resolve("default", "loan", "latest")),
    ]
    await asyncio.sleep(0)
    gives_up.cancel()
    one, two, three = await asyncio.gather(*asking)

    assert one is two is three
    assert compiled == ["1.0.0"]


async def test_a_saga_is_read_once_for_all_who_wait(sagas, world):
    """A burst of submits asks the database once; who gives up harms nobody."""
    await sagas.publish("default", text(), "loan.yaml")
    finds = world.queries.finds
    gives_up, *asking = [
        asyncio.ensure_future(sagas.resolve("default", "loan", "latest"))
        for _ in range(100)
    ]
    await asyncio.sleep(0)
    gives_up.cancel()
    found = await asyncio.gather(*asking)

    assert {definition.version for definition in found} == {"1.0.0"}
    assert world.queries.finds == finds + 1


async def test_who_asks_after_a_publication_gets_it(sagas, world, monkeypatch):
    """Even while others still wait for what was read before it."""
    await sagas.publish("default", text("1.0.0"), "loan.yaml")
    read, let_go = world.queries.find_definition, asyncio.Event()

    async def slow(*key):
        stored = await read(*key)
        await let_go.wait()
        return stored

    monkeypatch.setattr(world.queries, "find_definition", slow)
    before = asyncio.ensure_future(sagas.resolve("default", "loan", "latest"))
    await asyncio.sleep(0)
    await sagas.publish("default", text("2.0.0"), "loan.yaml")
    after = asyncio.ensure_future(sagas.resolve("default", "loan", "latest"))
    await asyncio.sleep(0)
    let_go.set()

    assert (await before).version == "1.0.0"
    assert (await after).version == "2.0.0"


async def test_a_digest_of_another_release_is_no_other_text(sagas, world):
    """The same saga is a no-op even if releases compute digests in other ways."""
    await sagas.publish("default", text(), "loan.yaml")
    key = ("default", "loan", "1.0.0")
    world.queries.definitions[key] = replace(
        world.queries.definitions[key], digest="older:1"
    )

    assert (await sagas.publish("default", text(), "loan.yaml")).digest == "older:1"


async def test_latest_moves_at_once_by_a_publication_here(sagas):
    """Who published a version gets it."""
    await sagas.publish("default", text("1.0.0"), "loan.yaml")
    assert (await sagas.resolve("default", "loan", "latest")).version == "1.0.0"

    await sagas.publish("default", text("2.0.0"), "loan.yaml")

    assert (await sagas.resolve("default", "loan", "latest")).version == "2.0.0"


async def test_latest_is_asked_for_again_after_its_time(sagas, world):
    """Another node's publication is seen when what is cached is no longer fresh."""
    await sagas.publish("default", text(), "loan.yaml")
    await sagas.resolve("default", "loan", "latest")
    assert sagas.cached("default", "loan", "latest") is not None

    world.clock.move(definitions.LATEST_FRESH_MS)

    assert sagas.cached("default", "loan", "latest") is None


async def test_the_cache_is_bounded(sagas, world, monkeypatch):
    """What was used least recently is compiled again when it is needed."""
    monkeypatch.setattr(definitions, "CACHED_DEFINITIONS_MAX", 1)
    for version in ("1.0.0", "2.0.0"):
        await sagas.publish("default", text(version), "loan.yaml")
        await sagas.resolve("default", "loan", version)

    assert sagas.cached("default", "loan", "1.0.0") is None
    assert (await sagas.resolve("default", "loan", "1.0.0")).version == "1.0.0"


@pytest.mark.parametrize("version", ["latest", "9.9.9"])
async def test_an_unknown_saga_is_not_found(sagas, version):
    """By name and by version."""
    with pytest.raises(NotFound, match="loan"):
        await sagas.resolve("default", "loan", version)


async def test_an_unknown_digest_is_not_found(sagas):
    """The engine is told so, too."""
    with pytest.raises(NotFound):
        await sagas.get("default", "00ff")


async def test_a_store_that_is_down_is_said(sagas, world):
    """Nothing is made up."""
    world.queries.is_down = True

    with pytest.raises(StoreUnavailable):
        await sagas.publish("default", text(), "loan.yaml")


# ---- Over the wire -----------------------------------------------------------------


async def test_publish_get_list_and_submit(world, serve):
    """From YAML to a submitted saga, pinned to its digest."""
    channel = await serve()
    stub = admin_pb2_grpc.DefinitionsStub(channel)
    published = await stub.PublishSaga(
        admin_pb2.PublishSagaRequest(text=text(), source="loan.yaml")
    )
    found = await stub.GetSaga(admin_pb2.GetSagaRequest(name="loan"))
    listed = await stub.ListSagas(admin_pb2.ListSagasRequest())
    submit = coordinator_pb2.SubmitSagaRequest(gid="g1", name="loan")
    coordinator = coordinator_pb2_grpc.CoordinatorStub(channel)
    for _ in range(2):
        reply = await coordinator.SubmitSaga(submit)

    form = json.loads(found.normal_form)
    assert (form["timeout"], form["steps"][0]["call"]) == (900_000, "ledger.post")
    found.normal_form = ""
    assert found == published
    assert found.text == text()
    assert [(d.name, d.text) for d in listed.definitions] == [("loan", "")]
    assert reply.transaction.definition_digest == published.digest
    entries = world.engine.submitted
    assert all(isinstance(entry.what, Submit) for entry in entries)
    assert entries[0].what.request.mode is Mode.SAGA
    assert entries[0].what.definition is entries[1].what.definition


async def test_a_submitted_saga_is_waited_for(world, serve):
    """It is asked for with the wish to hear of its end."""
    channel = await serve()
    await admin_pb2_grpc.DefinitionsStub(channel).PublishSaga(
        admin_pb2.PublishSagaRequest(text=text())
    )

    world.engine.script = lambda _: world.make_tx(status=Status.COMPLETED)
    reply = await coordinator_pb2_grpc.CoordinatorStub(channel).SubmitSaga(
        coordinator_pb2.SubmitSagaRequest(gid="g1", name="loan", wait=True)
    )

    assert reply.transaction.status == types_pb2.COMPLETED
    (entry,) = world.engine.submitted
    assert isinstance(entry.what, Submit)
    assert entry.what.wait
