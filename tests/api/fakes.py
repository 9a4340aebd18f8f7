"""A scripted engine and everything else around the entrances, faked."""

from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass, field
from typing import Any

from msgspec.structs import replace

from coordinator.api.catalogue import Catalogue
from coordinator.api.convert.requests import RequestReader
from coordinator.api.definitions import PublishedSagas
from coordinator.api.engine_port import Result
from coordinator.api.gid import GidSource
from coordinator.api.handlers import Handlers
from coordinator.api.limits import Limits
from coordinator.api.peers import Peers
from coordinator.api.server import ApiServer, build_server
from coordinator.api.session import Session
from coordinator.core.actions import CallBranch
from coordinator.core.errors import Overloaded, StoreUnavailable
from coordinator.core.inputs import Begin, Input, Outcome, Register, Submit, Try
from coordinator.core.model import (
    Branch,
    GlobalTransaction,
    Key,
    Operation,
    Payload,
    TransactionRequest,
    open_of,
)
from coordinator.core.words import (
    BranchStatus,
    Mode,
    OperationKind,
    Phase,
    Status,
)
from coordinator.ports import (
    AuditEntry,
    JournalEntry,
    Link,
    StoredDefinition,
    TransactionFilter,
)

NOW = 1_700_000_000_000


class FakeTimer:
    def __init__(self) -> None:
        self.is_cancelled = False

    def cancel(self) -> None:
        self.is_cancelled = True


class FakeClock:
    """Time that only a test moves."""

    def __init__(self) -> None:
        self.at = NOW
        self.timers: list[tuple[int, Callable[[], None], FakeTimer]] = []

    def now(self) -> int:
        return self.at

    def monotonic_ms(self) -> int:
        return self.at

    def call_at(self, at: int, callback: Callable[[], None]) -> FakeTimer:
        timer = FakeTimer()
        self.timers.append((at, callback, timer))
        return timer

    def move(self, ms: int) -> None:
        self.at += ms
        due = [entry for entry in self.timers if entry[0] <= self.at]
        self.timers = [entry for entry in self.timers if entry[0] > self.at]
        for _, callback, timer in due:
            if not timer.is_cancelled:
                callback()


@dataclass
class FakeTicket:
    is_cancelled: bool = False

    def cancel(self) -> None:
        self.is_cancelled = True


@dataclass
class Submitted:
    """One submit, and the way to answer it."""

    key: Key
    what: Input
    reply: Callable[[Result], None]
    audit: AuditEntry | None
    ticket: FakeTicket = field(default_factory=FakeTicket)


class FakeEngine:
    """Answers by a script, by default at once with a state that fits the input.

    With ``script = None`` every submit waits in ``open`` until a test answers it.
    """

    def __init__(self) -> None:
        self.submitted: list[Submitted] = []
        self.watches: list[tuple[Key, Callable[[Result], None], FakeTicket]] = []
        self.script: Callable[[Submitted], Result] | None = self.state
        self.on_submit: Callable[[], None] = lambda: None
        self.full: Overloaded | None = None

    def submit(
        self,
        key: Key,
        what: Input,
        reply: Callable[[Result], None],
        *,
        audit: AuditEntry | None = None,
    ) -> FakeTicket:
        entry = Submitted(key, what, reply, audit)
        self.submitted.append(entry)
        if self.script is not None:
            reply(self.script(entry))
        self.on_submit()
        return entry.ticket

    def overload(self, *, is_new: bool) -> Overloaded | None:
        return self.full if is_new else None

    def watch(self, key: Key, changed: Callable[[Result], None]) -> FakeTicket:
        ticket = FakeTicket()
        self.watches.append((key, changed, ticket))
        return ticket

    @staticmethod
    def state(entry: Submitted) -> Result:
        match entry.what:
            case Begin(request, specs):
                return make_tx(entry.key.gid, request=request, specs=specs)
            case Submit(request):
                return make_tx(entry.key.gid, request=request, status=Status.RUNNING)
            case Try(specs) | Register(specs):
                return make_tx(entry.key.gid, specs=specs)
        return make_tx(entry.key.gid)


class FakeDispatcher:
    def __init__(self) -> None:
        self.links: dict[str, Link] = {}
        self.credits: dict[str, int] = {}
        self.log: list[tuple[str, Any]] = []
        self.replies: list[tuple[int, Outcome]] = []
        self.on_change: Callable[[], None] = lambda: None

    def attach(self, participant: str, link: Link, *, credits: int) -> None:  # noqa: A002
        self.links[participant] = link
        self.credits[participant] = credits
        self._note("attach", participant)

    def detach(self, link: Link) -> None:
        self.links = {p: known for p, known in self.links.items() if known is not link}
        self._note("detach", None)

    def drain(self, link: Link) -> None:
        self._note("drain", None)

    def answered(self, link: Link, replies: Sequence[tuple[int, Outcome]]) -> None:
        self.replies.extend(replies)
        self._note("answered", list(replies))

    def attached(self) -> dict[str, int]:
        return dict.fromkeys(self.links, NOW)

    def _note(self, what: str, about: Any) -> None:
        self.log.append((what, about))
        self.on_change()


class FakeQueries:
    """Everything in dictionaries; ``is_down`` makes every call fail."""

    def __init__(self) -> None:
        self.transactions: list[GlobalTransaction] = []
        self.asked: list[TransactionFilter] = []
        self.entries: dict[Key, list[JournalEntry]] = {}
        self.definitions: dict[tuple[str, str, str], StoredDefinition] = {}
        self.operations: dict[str, Operation] = {}
        self.saves: list[list[Operation]] = []
        self.audits: list[AuditEntry | None] = []
        self.finds = 0
        self.is_down = False

    def _check(self) -> None:
        if self.is_down:
            raise StoreUnavailable

    async def list_transactions(
        self, what: TransactionFilter
    ) -> list[GlobalTransaction]:
        self._check()
        self.asked.append(what)
        return self.transactions[: what.limit]

    async def journal(self, key: Key) -> list[JournalEntry]:
        self._check()
        return self.entries.get(key, [])

    async def publish(self, definition: StoredDefinition) -> StoredDefinition:
        self._check()
        key = (definition.namespace, definition.name, definition.version)
        return self.definitions.setdefault(key, definition)

    async def find_definition(
        self, namespace: str, name: str, version: str
    ) -> StoredDefinition | None:
        self._check()
        self.finds += 1
        if version == "latest":
            found = [d for d in self.definitions.values() if d.name == name]
            return found[-1] if found else None
        return self.definitions.get((namespace, name, version))

    async def find_definition_by_digest(
        self, namespace: str, digest: str
    ) -> StoredDefinition | None:
        self._check()
        self.finds += 1
        return next((d for d in self.definitions.values() if d.digest == digest), None)

    async def list_definitions(
        self,
        namespace: str,
        *,
        name: str = "",
        after: tuple[str, str] | None = None,
        limit: int = 1_000,
    ) -> list[StoredDefinition]:
        self._check()
        found = sorted(self.definitions.values(), key=lambda d: (d.name, d.version))
        return [
            d
            for d in found
            if name in ("", d.name) and (after is None or (d.name, d.version) > after)
        ][:limit]

    async def unfinished_with(
        self,
        namespace: str,
        *,
        operations: Collection[str],
        digests: Collection[str],
        limit: int,
    ) -> list[GlobalTransaction]:
        self._check()
        return [
            tx
            for tx in self.transactions
            if tx.request.definition_digest in digests
            or any(b.spec.operation in operations for b in tx.branches.values())
        ][:limit]

    async def save_operations(
        self,
        namespace: str,
        operations: Sequence[Operation],
        audit: AuditEntry | None = None,
    ) -> None:
        self._check()
        self.saves.append(list(operations))
        self.audits.append(audit)
        self.operations.update((o.name, o) for o in operations)

    async def remove_operation(
        self, namespace: str, name: str, audit: AuditEntry
    ) -> bool:
        self._check()
        self.audits.append(audit)
        return self.operations.pop(name, None) is not None

    async def list_operations(self, namespace: str) -> list[Operation]:
        self._check()
        return list(self.operations.values())


DEBIT = Operation("accounts.debit", OperationKind.TCC, "accounts")
CREDIT = Operation("accounts.credit", OperationKind.TCC, "accounts")
POST = Operation("ledger.post", OperationKind.ACTION, "ledger", compensable=True)


def make_tx(
    gid: str = "g1",
    *,
    request: TransactionRequest | None = None,
    specs: Sequence[Any] = (),
    status: Status = Status.TRYING,
    **changes: Any,
) -> GlobalTransaction:
    """A state of a transaction."""
    request = request or TransactionRequest(
        key=Key("default", gid),
        mode=Mode.TCC,
        name="transfer",
        digest="d",
        created_at=NOW,
        deadline_at=NOW + 60_000,
    )
    branches = {
        spec.branch_id: Branch(spec, BranchStatus.TRIED, output=Payload(b"7", "x/y"))
        for spec in specs
    }
    tx = GlobalTransaction(
        request, status, branches=branches, open=open_of(branches), revision=1
    )
    return replace(tx, **changes)


def make_call(branch_id: str = "b1", **changes: Any) -> CallBranch:
    """A call to a participant."""
    call = CallBranch(
        key=Key("default", "g1"),
        branch_id=branch_id,
        operation="accounts.debit",
        phase=Phase.TRY,
        attempt=1,
        input=Payload(b"{}", "application/json"),
        output=Payload(),
        timeout_ms=3_000,
        began_at=1_700_000_000_000,
        depth=2,
        reconsider=True,
    )
    return replace(call, **changes)


@dataclass
class World:
    """All fakes, and the server in front of them."""

    clock: FakeClock = field(default_factory=FakeClock)
    engine: FakeEngine = field(default_factory=FakeEngine)
    dispatcher: FakeDispatcher = field(default_factory=FakeDispatcher)
    queries: FakeQueries = field(default_factory=FakeQueries)
    limits: Limits = field(default_factory=Limits)

    def __post_init__(self) -> None:
        for operation in (DEBIT, CREDIT, POST):
            self.queries.operations[operation.name] = operation
        self.catalogue = Catalogue(self.queries)
        self.sagas = PublishedSagas(self.queries, self.catalogue.operations, self.clock)
        self.peers = Peers(node_id="node-1", version="1.2.3")
        self.make_tx = make_tx
        self.make_call = make_call
        self.make_entry = JournalEntry

    def reader(self) -> RequestReader:
        return RequestReader(
            limits=self.limits, clock=self.clock, gids=GidSource(self.clock.now)
        )

    def session(self) -> Session:
        """A session without a connection."""
        handlers = Handlers(
            engine=self.engine,
            queries=self.queries,
            catalogue=self.catalogue,
            sagas=self.sagas,
            reader=self.reader(),
            limits=self.limits,
        )
        return Session(
            handlers=handlers,
            dispatcher=self.dispatcher,
            catalogue=self.catalogue,
            clock=self.clock,
            limits=self.limits,
            peers=self.peers,
            node_id="node-1",
            version="1.2.3",
        )

    async def server(self) -> ApiServer:
        await self.catalogue.load()
        return build_server(
            engine=self.engine,
            dispatcher=self.dispatcher,
            queries=self.queries,
            catalogue=self.catalogue,
            sagas=self.sagas,
            clock=self.clock,
            limits=self.limits,
            peers=self.peers,
            node_id="node-1",
            version="1.2.3",
        )
