from collections.abc import AsyncIterator, Iterator

import pytest
import structlog

from tests.api.push.service import Lines, NodeSide, Service


@pytest.fixture
def logs() -> Iterator[Lines]:
    """What is logged."""
    lines = Lines()
    processors = structlog.get_config()["processors"]
    before = processors.copy()
    processors[:] = [lines]
    yield lines
    processors[:] = before


@pytest.fixture
async def service() -> AsyncIterator[Service]:
    """A participant's server, serving."""
    made = Service()
    await made.start()
    yield made
    await made.stop()


@pytest.fixture
async def node(service: Service) -> AsyncIterator[NodeSide]:
    """A node that connects to it, attached."""
    made = NodeSide(service.address)
    made.connection.start()
    await made.attached()
    yield made
    await made.connection.leave(0)
    made.dispatcher.close()
