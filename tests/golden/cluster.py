"""The stage of TCC and saga scripts: nodes over one database, and their world.

``README.md`` explains every command to whoever reads or writes a script.
"""

import itertools
import json
import re
from collections.abc import Awaitable, Callable, Iterable
from dataclasses import dataclass, field
from pathlib import Path

from coordinator.core.definition import SagaDefinition
from coordinator.core.inputs import (
    Begin,
    BranchReplied,
    Cancel,
    CancelByOperator,
    Confirm,
    Input,
    Observe,
    OperatorInput,
    Outcome,
    Pause,
    Pending,
    Refused,
    Register,
    Resolve,
    Resume,
    RetryNow,
    Signal,
    Submit,
    Succeeded,
    Try,
    Unknown,
)
from coordinator.core.model import (
    DEFAULT_NAMESPACE,
    JSON_CONTENT_TYPE,
    NO_PAYLOAD,
    BranchSpec,
    Key,
    Payload,
    TransactionRequest,
    participant_of,
)
from coordinator.core.saga import OUTPUT_NEEDED
from coordinator.core.words import Mode, Phase
from coordinator.ports import AuditEntry
from coordinator.saga_yaml import SagaRefused, parse
from tests.engine.world import FakeClock, FakeDefinitions, quiet
from tests.golden import wording
from tests.golden.node import GID, Node, Sent, TracedStore
from tests.golden.script import ScriptError

SAGAS = Path(__file__).parent / "sagas"

WAIT_MAX_MS = 3_600_000
"""``wait next`` gives up after this long: nothing will happen."""

ALIKE_MAX = 8
"""More lines that differ in numbers alone are told by the first and the last."""

_NUMBER = re.compile(r"\d+")

MANY = "*"
"""``b*100`` stands for b1 to b100."""


class ScriptClock(FakeClock):
    """The world's time; can also be moved until something is seen."""

    async def move_until(self, seen: Callable[[], bool]) -> None:
        """Move to the next instant at which ``seen`` becomes true."""
        end = self.time + WAIT_MAX_MS
        while not seen():
            if not self._timers or self._timers[0][0] > end:
                return
            await self.move_to(max(self.time, self._timers[0][0]))


@dataclass
class Words:
    """The words of one command: names first, then ``option=value``."""

    names: list[str]
    options: dict[str, str] = field(default_factory=dict)

    @classmethod
    def of(cls, text: str) -> "Words":
        words = cls([])
        for word in text.split():
            name, equals, value = word.partition("=")
            if equals:
                words.options[name] = value
            else:
                words.names.append(word)
        return words

    def take(self, name: str) -> bool:
        """Whether the name is there; it is gone afterwards."""
        found = name in self.names
        if found:
            self.names.remove(name)
        return found

    @property
    def key(self) -> Key:
        """Whose command it is."""
        return Key(DEFAULT_NAMESPACE, self.options.get("gid", GID))

    def ms(self, option: str, default: int) -> int:
        """A duration."""
        text = self.options.get(option)
        return default if text is None else wording.milliseconds(text)


class Cluster:
    """Nodes over one database, participants, and who asks them."""

    def __init__(self) -> None:
        self._clock = ScriptClock()
        self._definitions = FakeDefinitions()
        self._nodes: list[Node] = []
        self._participants: dict[str, bool] = {}
        self._saga: SagaDefinition | None = None
        self._published: dict[tuple[str, str], SagaDefinition] = {}
        self._trace: list[str] = []
        self._began_at = 0
        self._commands: dict[str, Callable[[str, str], Awaitable[None] | None]] = {
            "begin": self._begin,
            "declare": self._begin,
            "saga": self._publish,
            "submit": self._submit,
            "signal": self._signal,
            "try": self._try,
            "register": self._try,
            "confirm": self._confirm,
            "cancel": self._cancel,
            "observe": self._observe,
            "complete": self._complete,
            "operator": self._operator,
            "answer": self._answer,
            "down": self._down,
            "up": self._up,
            "wait": self._wait,
            "store": self._store,
            "crash": self._crash,
            "start": self._start,
            "freeze": self._freeze,
            "thaw": self._thaw,
            "state": self._state,
        }

    async def do(self, command: str, body: str) -> list[str]:
        """Carry out one command; everything that was seen until all is quiet."""
        if not self._nodes:
            self._new_node()
            await quiet()
        self._trace = []
        self._began_at = self._clock.time
        awake = (n for n in self._nodes if n.is_running and not n.clock.is_frozen)
        self._node = next(awake, self._nodes[-1])
        head, colon, rest = command.partition(": ")
        if colon and head.startswith("node-"):
            self._node, command = self._named(head), rest
        self._heard = not command.startswith("unheard ")
        command = command.removeprefix("unheard ")
        self._verb = command.split(maxsplit=1)[0]
        carry_out = self._commands.get(self._verb)
        if carry_out is None:
            raise ScriptError("there is no such command")
        doing = carry_out(command[len(self._verb) :].strip(), body)
        if doing is not None:
            await doing
        await quiet()
        return list(_shortened(self._trace))

    async def close(self) -> None:
        """End all nodes."""
        for node in self._nodes:
            await node.close()

    # ---- Nodes --------------------------------------------------------------------

    def _new_node(self) -> None:
        name = f"node-{len(self._nodes) + 1}"

        def tell(line: str) -> None:
            if node.is_running:
                self._tell(line if len(self._nodes) == 1 else f"{name} {line}")

        store = (
            self._nodes[0].store.reopened(tell)
            if self._nodes
            else TracedStore(tell, self._clock)
        )
        node = Node(
            name,
            store=store,
            clock=self._clock,
            definitions=self._definitions,
            tell=tell,
        )
        self._nodes.append(node)
        for participant, is_up in self._participants.items():
            if is_up:
                node.attach(participant)

    def _tell(self, line: str) -> None:
        passed = self._clock.time - self._began_at
        self._trace.append(f"+{wording.duration(passed)} {line}" if passed else line)

    def _named(self, name: str) -> Node:
        for node in self._nodes:
            if node.name == name and node.is_running:
                return node
        raise ScriptError(f"there is no {name}")

    def _start(self, text: str, body: str) -> None:
        self._new_node()
        self._tell(f"{self._nodes[-1].name} starts")

    async def _crash(self, text: str, body: str) -> None:
        await self._node.crash(kept=text == "kept")
        self._tell(f"{self._node.name} is dead")

    def _freeze(self, text: str, body: str) -> None:
        self._node.clock.freeze()
        self._tell(f"{self._node.name} stands still")

    def _thaw(self, text: str, body: str) -> None:
        self._named(text).clock.thaw()

    def _store(self, text: str, body: str) -> None:
        store = self._node.store
        match text.split():
            case ["hold"]:
                store.holding = True
            case ["release"]:
                store.holding = False
                store.release()
            case ["lose", ("kept" | "dropped") as how]:
                store.holding = False
                store.lose(kept=how == "kept")
            case _:
                raise ScriptError("store hold | release | lose kept | lose dropped")

    # ---- What initiators and operators ask ----------------------------------------

    def _ask(self, words: Words, what: Input, audit: AuditEntry | None = None) -> None:
        self._node.ask(self._verb, words.key, what, heard=self._heard, audit=audit)

    def _begin(self, text: str, body: str) -> None:
        words = Words.of(text)
        now = self._clock.now()
        request = TransactionRequest(
            key=words.key,
            mode=Mode.TCC,
            name="transfer",
            digest=words.options.get("body", "body"),
            created_at=now,
            deadline_at=now + words.ms("deadline", 60_000),
            declared=self._verb == "declare",
            input=_json(words.options["input"])
            if "input" in words.options
            else NO_PAYLOAD,
            check_back=words.options.get("check_back", ""),
            depth=int(words.options.get("depth", "0")),
        )
        if request.check_back:
            self._introduce([participant_of(request.check_back)])
        self._ask(words, Begin(request, self._specs(words)))

    def _try(self, text: str, body: str) -> None:
        words = Words.of(text)
        specs = self._specs(words)
        self._ask(words, Try(specs) if self._verb == "try" else Register(specs))

    def _specs(self, words: Words) -> tuple[BranchSpec, ...]:
        names: list[str] = []
        for name in words.names:
            prefix, many, count = name.partition(MANY)
            every = range(1, int(count) + 1) if many else ()
            names += [f"{prefix}{n}" for n in every] or [name]
        specs = tuple(
            BranchSpec(
                branch_id=name,
                operation=words.options.get("operation", f"{name}.move"),
                input=_json(words.options.get("input", "{}")),
                timeout_ms=words.ms("timeout", 3_000),
                attempt_max=int(words.options.get("attempts", "3")),
                pending_timeout_ms=words.ms("pending", 0),
                parent_branch_id=words.options.get("parent", ""),
            )
            for name in names
        )
        self._introduce(participant_of(spec.operation) for spec in specs)
        return specs

    def _confirm(self, text: str, body: str) -> None:
        words = Words.of(text)
        listed = words.options.get("list")
        names = None if listed is None else frozenset(filter(None, listed.split(",")))
        self._ask(words, Confirm(names, wait=words.take("wait")))

    def _cancel(self, text: str, body: str) -> None:
        words = Words.of(text)
        code = words.options.get("code", "CANCELLED_BY_INITIATOR")
        self._ask(words, Cancel(code, wait=words.take("wait")))

    def _observe(self, text: str, body: str) -> None:
        words = Words.of(text)
        self._ask(words, Observe(wait=words.take("wait")))

    def _operator(self, text: str, body: str) -> None:
        """``operator retry|pause|resume|cancel|resolve a [gid=...]: reason``."""
        head, _, reason = text.partition(": ")
        words = Words.of(head)
        what: OperatorInput
        match words.names:
            case ["retry"]:
                what = RetryNow("ops", reason)
            case ["pause"]:
                what = Pause("ops", reason)
            case ["resume"]:
                what = Resume("ops", reason)
            case ["cancel"]:
                what = CancelByOperator("ops", reason)
            case ["resolve", branch_id]:
                what = Resolve(branch_id, "ops", reason)
            case _:
                raise ScriptError("operator retry | pause | resume | cancel | resolve")
        action = " ".join(words.names)
        self._ask(words, what, AuditEntry("ops", action, reason, self._clock.now()))

    def _publish(self, text: str, body: str) -> None:
        """``saga [FILE]``: a file of ``sagas``, or the body."""
        written = (SAGAS / text).read_text() if text else body
        try:
            saga = self._saga = parse(written, sagas=lambda *n: self._published.get(n))
        except SagaRefused as refused:
            for finding in str(refused).splitlines():
                self._tell(f"<- saga: {finding}")
            return
        steps = ", ".join(saga.by_id)
        self._tell(f"published {saga.name} {saga.version}: {steps}")
        self._definitions.known[saga.digest] = saga
        self._published[saga.name, saga.version] = saga
        operations = [call.operation for step in saga.steps for call in step.calls]
        operations += [
            call.compensation.operation
            for step in saga.steps
            for call in step.calls
            if call.compensation
        ]
        self._introduce(map(participant_of, operations))

    def _signal(self, text: str, body: str) -> None:
        """``signal NAME [gid=...] [{json}]``."""
        options, brace, rest = text.partition("{")
        words = Words.of(options)
        (name,) = words.names
        payload = _json(brace + rest) if brace else NO_PAYLOAD
        self._ask(words, Signal(name, payload))

    def _submit(self, text: str, body: str) -> None:
        saga = self._saga
        if saga is None:
            raise ScriptError("no saga was published")
        options, brace, rest = text.partition("{")
        words = Words.of(options)
        now = self._clock.now()
        request = TransactionRequest(
            key=words.key,
            mode=Mode.SAGA,
            name=saga.name,
            digest=words.options.get("body", "body"),
            created_at=now,
            deadline_at=now + saga.timeout_ms,
            input=_json(brace + rest or "{}"),
            definition_digest=saga.digest,
            definition_version=saga.version,
        )
        self._ask(words, Submit(request, saga))

    # ---- What participants do -----------------------------------------------------

    def _introduce(self, participants: Iterable[str]) -> None:
        for participant in participants:
            if participant not in self._participants:
                self._up(participant, "")

    def _up(self, text: str, body: str) -> None:
        self._participants[text] = True
        for node in self._nodes:
            if node.is_running:
                node.attach(text)

    def _down(self, text: str, body: str) -> None:
        self._participants[text] = False
        for node in self._nodes:
            node.detach(text)

    async def _answer(self, text: str, body: str) -> None:
        """``answer a,b|all [phase=TRY] ok|refused|pending|unknown|retry ...``."""
        names, _, rest = text.partition(" ")
        phase = None
        if rest.startswith("phase="):
            word, _, rest = rest.partition(" ")
            phase = Phase(word.removeprefix("phase="))
        outcome = _outcome(rest)
        for sent in self._called(names, phase):
            self._node.answer(sent, outcome)
            await quiet()

    def _called(self, names: str, phase: Phase | None) -> list[Sent]:
        """The latest calls of these branches, or all that are open."""
        if names == "all":
            now = self._clock.now()
            return [
                sent
                for sent in self._node.sent
                if not sent.is_answered and now < sent.at + sent.call.timeout_ms
            ]
        found = []
        for name in names.split(","):
            calls = [
                sent
                for sent in self._node.sent
                if sent.call.branch_id == name
                and not sent.is_answered
                and phase in (None, sent.call.phase)
            ]
            if not calls:
                raise ScriptError(f"{name} was not called")
            found.append(calls[-1])
        return found

    def _complete(self, text: str, body: str) -> None:
        """Somebody reports a pending branch's outcome: ``complete a TRY ok``."""
        name, phase, outcome = text.split(maxsplit=2)
        what = BranchReplied(name, Phase(phase), 0, _outcome(outcome))
        self._ask(Words([]), what)

    # ---- Time, and what is there --------------------------------------------------

    async def _wait(self, text: str, body: str) -> None:
        if text == "next":
            await self._clock.move_until(lambda: bool(self._trace))
            return
        words = Words.of(text)
        is_brief = words.take("briefly")
        ms = wording.milliseconds(words.names[0])
        await self._clock.move_to(self._clock.time + ms)
        if is_brief:
            self._trace = list(_without_repetitions(self._trace))

    async def _state(self, text: str, body: str) -> None:
        key = Words.of(text).key
        store = self._node.store
        found = await store.load([key])
        if not found:
            self._tell("nothing is stored")
            return
        tx, now = found[0], self._clock.now()
        for line in wording.state(tx, now):
            self._tell(line)
        seqs = [entry.seq for entry in await store.journal(key)]
        if seqs != list(range(1, tx.journal_seq + 1)):
            raise ScriptError(f"T11: the journal has a gap: {seqs}")
        driving = [n.name for n in self._nodes if n.engine.drives(key)]
        living = [n.name for n in self._nodes if n.is_running and n.name in driving]
        by = f"driven by {' and '.join(living)}" if living else "driven by nobody"
        self._tell(f"journal 1..{len(seqs)}, revision {tx.revision}, {by}")


def _json(text: str) -> Payload:
    return Payload(json.dumps(json.loads(text)).encode(), JSON_CONTENT_TYPE)


def _outcome(text: str) -> Outcome:
    kind, _, rest = text.partition(" ")
    code, _, more = rest.partition(" ")
    match kind:
        case "ok":
            return Succeeded(_json(rest)) if rest else Succeeded()
        case "refused":
            return Refused(code or "NO", more)
        case "pending":
            return Pending(wording.milliseconds(code) if code else None)
        case "unknown":
            return Unknown(code or "HANDLER_ERROR", more)
        case "retry":
            return Unknown("RETRY", retry_after_ms=wording.milliseconds(code))
        case "output-needed":
            return Unknown(OUTPUT_NEEDED, output=_json(rest))
        case _:
            raise ScriptError(f"no outcome is called {kind!r}")


def _shortened(trace: list[str]) -> Iterable[str]:
    """Many lines that differ in numbers alone, told by the first and the last."""
    for _, lines in itertools.groupby(trace, lambda line: _NUMBER.sub("0", line)):
        every = list(lines)
        if len(every) > ALIKE_MAX:
            yield every[0]
            yield f"... {len(every) - 2} more like it"
            yield every[-1]
        else:
            yield from every


def _is_repetition(line: str) -> bool:
    return " -> " in line or "stored #- " in line


def _without_repetitions(trace: list[str]) -> Iterable[str]:
    """What was seen, without the failed attempts that the journal leaves out."""
    for left_out, lines in itertools.groupby(trace, _is_repetition):
        every = list(lines)
        if not left_out:
            yield from every
            continue
        calls = sum(" -> " in line for line in every)
        failed = len(every) - calls
        yield f"... calls: {calls}, failed attempts: {failed}"
