"""Published sagas, compiled and cached on this node."""

import asyncio
import contextlib
import json
from collections import OrderedDict
from collections.abc import Mapping
from dataclasses import replace
from functools import partial
from typing import Generic, TypeVar

from coordinator import saga_yaml
from coordinator.api.convert.requests import LATEST
from coordinator.core.definition import SagaDefinition
from coordinator.core.errors import AlreadyExists, InvalidRequest, NotFound
from coordinator.core.model import Milliseconds, Operation
from coordinator.ports import Clock, Queries, StoredDefinition

CACHED_DEFINITIONS_MAX = 1_024
"""A compiled saga takes some kilobytes; this many stay in memory."""

LATEST_FRESH_MS: Milliseconds = 1_000
"""For how long another node's publication of a newer version may go unnoticed."""

VERSION_EXISTS = "VERSION_EXISTS"

K = TypeVar("K")
V = TypeVar("V")


class PublishedSagas:
    """The sagas of all namespaces; implements :class:`coordinator.ports.Definitions`.

    A version never changes, so what is compiled stays valid for ever. Only "latest"
    moves: at once by a publication on this node, within :data:`LATEST_FRESH_MS` by
    one on another.
    """

    def __init__(
        self, queries: Queries, operations: Mapping[str, Operation], clock: Clock
    ) -> None:
        self._queries = queries
        self._operations = operations
        self._clock = clock
        self._by_digest: _Cache[tuple[str, str], SagaDefinition] = _Cache()
        self._by_version: _Cache[tuple[str, str, str], SagaDefinition] = _Cache()
        self._latest: _Cache[tuple[str, str], tuple[SagaDefinition, Milliseconds]] = (
            _Cache()
        )
        self._operations_named: _Cache[tuple[str, str], frozenset[str]] = _Cache()
        self._compiling: dict[tuple[str, str], asyncio.Future[SagaDefinition]] = {}
        self._resolving: dict[tuple[str, str, str], asyncio.Future[SagaDefinition]] = {}
        self._publications = 0

    async def get(self, namespace: str, digest: str) -> SagaDefinition:
        """The saga that a running transaction is pinned to.

        It is compiled without the catalogue: what was valid when it was published
        must run to its end, whatever is attached today.
        """
        cached = self._by_digest.get((namespace, digest))
        if cached is not None:
            return cached
        stored = await self._queries.find_definition_by_digest(namespace, digest)
        if stored is None:
            raise NotFound(f"No saga with digest {digest} is stored.", field="digest")
        return await self.compiled(stored)

    def cached(self, namespace: str, name: str, version: str) -> SagaDefinition | None:
        """What :meth:`resolve` would return, if that is known without asking."""
        if version != LATEST:
            return self._by_version.get((namespace, name, version))
        known = self._latest.get((namespace, name))
        if known is None or self._clock.monotonic_ms() >= known[1]:
            return None
        return known[0]

    async def resolve(self, namespace: str, name: str, version: str) -> SagaDefinition:
        """The saga with this name and version, or the one published last.

        It is read once for all who ask meanwhile. Raises ``NotFound`` or
        ``StoreUnavailable``.
        """
        cached = self.cached(namespace, name, version)
        if cached is not None:
            return cached
        key = (namespace, name, version)
        resolving = self._resolving.get(key)
        if resolving is None:
            resolving = asyncio.ensure_future(self._resolve(*key))
            self._resolving[key] = resolving
            resolving.add_done_callback(partial(self._resolved, key))
        # Who gives up waiting leaves it to the others.
        return await asyncio.shield(resolving)

    async def _resolve(self, namespace: str, name: str, version: str) -> SagaDefinition:
        publications = self._publications
        asked_at = self._clock.monotonic_ms()
        stored = await self.find(namespace, name, version)
        definition = await self.compiled(stored)
        # A publication meanwhile may be newer than what was read: then do not keep it.
        if version == LATEST and publications == self._publications:
            self._latest.put(
                (namespace, name), (definition, asked_at + LATEST_FRESH_MS)
            )
        return definition

    def _resolved(
        self, key: tuple[str, str, str], done: asyncio.Future[SagaDefinition]
    ) -> None:
        if self._resolving.get(key) is done:
            del self._resolving[key]
        if not done.cancelled():
            done.exception()  # who waits for it is told; if nobody does, nobody asks

    async def find(self, namespace: str, name: str, version: str) -> StoredDefinition:
        """What was published. Raises ``NotFound`` or ``StoreUnavailable``."""
        stored = await self._queries.find_definition(namespace, name, version)
        if stored is None:
            what = name if version == LATEST else f"{name} {version}"
            raise NotFound(
                f"No saga {what} is published. Publish it, or correct the name; "
                "ListSagas shows what there is.",
                field="name" if version == LATEST else "version",
            )
        return stored

    async def normal_form(self, stored: StoredDefinition) -> str:
        """The normal form of a published saga as JSON; empty, if its text is of a
        release that this one cannot read.
        """
        try:
            definition = await self.compiled(stored)
        except NotFound:
            return ""
        form = saga_yaml.normal_form(definition)
        return json.dumps(form, sort_keys=True, separators=(",", ":"))

    async def operations_of(self, stored: StoredDefinition) -> frozenset[str]:
        """The operations that a published saga names; none, if its text is of a
        release that this one cannot read.
        """
        key = (stored.namespace, stored.digest)
        named = self._operations_named.get(key)
        if named is None:
            try:
                named = _operations_of(await self.compiled(stored))
            except NotFound:
                named = frozenset()
            self._operations_named.put(key, named)
        return named

    async def publish(self, namespace: str, text: str, source: str) -> StoredDefinition:
        """Check a saga against the catalogue and store it; durable on return.

        The same saga again is a no-op. Raises ``InvalidRequest`` with everything that
        is wrong with it, ``AlreadyExists`` when this version is another saga, or
        ``StoreUnavailable``.
        """
        sagas = await self._children(namespace, text)
        # Compiling a large saga takes long enough to hold up everybody else.
        definition = await asyncio.to_thread(
            partial(
                saga_yaml.parse,
                text,
                source,
                operations=dict(self._operations),
                sagas=lambda *name: sagas.get(name),
            )
        )
        if definition.version == LATEST:
            raise InvalidRequest(
                f"metadata.version: expected a version; {LATEST} is the word for the "
                "one published last. Choose a version such as 1.0.0.",
                field="metadata.version",
            )
        mine = StoredDefinition(
            namespace=namespace,
            name=definition.name,
            version=definition.version,
            digest=definition.digest,
            text=text,
            published_at=self._clock.now(),
        )
        stored = await self._queries.publish(mine)
        self._publications += 1
        self._latest.drop((namespace, definition.name))
        # Who asks from now on is not told what was read before.
        self._resolving.pop((namespace, definition.name, LATEST), None)
        if stored.digest != definition.digest:
            await self._check_same(stored, definition)
        return stored

    async def _children(
        self, namespace: str, text: str
    ) -> Mapping[tuple[str, str], SagaDefinition]:
        """The published sagas that a text runs as steps; those that there are.

        A published saga can only name sagas that were published before it, so there
        is no circle; how deep they are nested was checked with each publication.
        """
        found = {}
        for name, version in saga_yaml.find_children(text):
            with contextlib.suppress(NotFound):
                found[name, version] = await self.resolve(namespace, name, version)
        return found

    async def _compile(self, stored: StoredDefinition) -> SagaDefinition:
        sagas = await self._children(stored.namespace, stored.text)
        return await asyncio.to_thread(_compile, stored, sagas)

    async def compiled(self, stored: StoredDefinition) -> SagaDefinition:
        """What a stored text says; compiled once, and shared by name and by digest.

        Raises ``NotFound`` when the text is of a release that this one cannot read.
        """
        key = (stored.namespace, stored.digest)
        definition = self._by_digest.get(key)
        if definition is None:
            compiling = self._compiling.get(key)
            if compiling is None:
                compiling = asyncio.ensure_future(self._compile(stored))
                self._compiling[key] = compiling
                compiling.add_done_callback(partial(self._compiled, key))
            # Who gives up waiting leaves it to the others.
            definition = await asyncio.shield(compiling)
            self._by_digest.put(key, definition)
        self._by_version.put(
            (stored.namespace, stored.name, stored.version), definition
        )
        return definition

    def _compiled(
        self, key: tuple[str, str], done: asyncio.Future[SagaDefinition]
    ) -> None:
        del self._compiling[key]
        if not done.cancelled():
            done.exception()  # who waits for it is told; if nobody does, nobody asks

    async def _check_same(
        self, stored: StoredDefinition, definition: SagaDefinition
    ) -> None:
        """Raise unless the stored saga is this one, named by another release."""
        published = saga_yaml.normal_form(await self.compiled(stored))
        found = saga_yaml.difference(published, saga_yaml.normal_form(definition))
        if found:
            raise AlreadyExists(
                f"{definition.name} {definition.version} is published with another "
                f"text, and a published version never changes ({found}). "
                "Raise metadata.version.",
                field="metadata.version",
                reason=VERSION_EXISTS,
            )


def _compile(
    stored: StoredDefinition, sagas: Mapping[tuple[str, str], SagaDefinition]
) -> SagaDefinition:
    try:
        definition = saga_yaml.parse(
            stored.text, stored.name, sagas=lambda *name: sagas.get(name)
        )
    except InvalidRequest as problem:
        raise NotFound(
            f"The stored text of saga {stored.name} {stored.version} cannot be "
            f"read by this release: {problem}",
            reason="DEFINITION_UNREADABLE",
        ) from problem
    # Its identity is what it was published under, also if this release computes
    # digests in another way.
    return replace(definition, digest=stored.digest)


def _operations_of(definition: SagaDefinition) -> frozenset[str]:
    """Every operation that a run of the saga may call, in child sagas as well."""
    named: set[str] = set()
    for step in definition.steps:
        for call in step.calls:
            named.add(call.operation)
            if call.compensation is not None:
                named.add(call.compensation.operation)
        if step.child is not None:
            named |= _operations_of(step.child)
    return frozenset(named)


class _Cache(Generic[K, V]):
    """The entries used last, at most :data:`CACHED_DEFINITIONS_MAX`."""

    def __init__(self) -> None:
        self._entries: OrderedDict[K, V] = OrderedDict()

    def get(self, key: K) -> V | None:
        value = self._entries.get(key)
        if value is not None:
            self._entries.move_to_end(key)
        return value

    def put(self, key: K, value: V) -> None:
        self._entries[key] = value
        self._entries.move_to_end(key)
        if len(self._entries) > CACHED_DEFINITIONS_MAX:
            self._entries.popitem(last=False)

    def drop(self, key: K) -> None:
        self._entries.pop(key, None)
