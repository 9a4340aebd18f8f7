"""Who needs an operation: published sagas that name it, and what is unfinished."""

from collections.abc import AsyncIterator, Collection
from typing import NamedTuple

from coordinator.api.definitions import PublishedSagas
from coordinator.core.model import DEFAULT_NAMESPACE, GlobalTransaction
from coordinator.ports import Queries, StoredDefinition

NEEDED_BY_MAX = 100
"""Transactions that a report names; whether there are more is told."""

_PAGE = 100
"""Definitions of one query, with their texts: at most some megabytes."""


class Need(NamedTuple):
    """What is unfinished and may still call an operation.

    Attributes:
        transactions: the newest first, at most :data:`NEEDED_BY_MAX`.
        has_more: there are more than these.
    """

    transactions: list[GlobalTransaction]
    has_more: bool


class Usage:
    """Answers from the store and from the compiled sagas; never stale, never hot."""

    def __init__(
        self,
        queries: Queries,
        sagas: PublishedSagas,
        namespace: str = DEFAULT_NAMESPACE,
    ) -> None:
        self._queries = queries
        self._sagas = sagas
        self._namespace = namespace

    async def sagas(self, operations: Collection[str]) -> dict[str, list[str]]:
        """The published sagas that name each operation, as ``name@version``."""
        found: dict[str, list[str]] = {name: [] for name in operations}
        async for stored, named in self._published():
            for name in named & found.keys():
                found[name].append(f"{stored.name}@{stored.version}")
        return found

    async def need(self, operations: Collection[str]) -> Need:
        """The unfinished transactions that may still call one of the operations."""
        wanted = frozenset(operations)
        digests = [s.digest async for s, named in self._published() if named & wanted]
        found = await self._queries.unfinished_with(
            self._namespace,
            operations=wanted,
            digests=digests,
            limit=NEEDED_BY_MAX + 1,
        )
        return Need(found[:NEEDED_BY_MAX], len(found) > NEEDED_BY_MAX)

    async def _published(
        self,
    ) -> AsyncIterator[tuple[StoredDefinition, frozenset[str]]]:
        after: tuple[str, str] | None = None
        while True:
            page = await self._queries.list_definitions(
                self._namespace, after=after, limit=_PAGE
            )
            for stored in page:
                yield stored, await self._sagas.operations_of(stored)
            if len(page) < _PAGE:
                return
            after = (page[-1].name, page[-1].version)
