"""The stage of barrier scripts: a participant's real executor on a real SQLite file.

Calls come in as they come over the wire, without a coordinator. What is told of each:
its answer, the barrier's rows, the business effects and the money that changed.
"""

import asyncio
import itertools
import json
import subprocess
import sys
import time
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta
from pathlib import Path
from typing import NamedTuple

from sqlalchemy import text as sql
from structlog.typing import EventDict

from participant_sdk.barrier import purge_barrier
from participant_sdk.barrier.rules import Slot
from participant_sdk.executor.executor import Executor
from protos.v1.participant_pb2 import BranchCall, BranchReply
from tests.golden.participant import PLAIN, ScriptedBank
from tests.golden.script import ScriptError
from tests.sdk import bank as wire
from tests.sdk.bank import ask

PHASES = {
    "try": wire.TRY,
    "confirm": wire.CONFIRM,
    "cancel": wire.CANCEL,
    "action": wire.ACTION,
    "compensate": wire.COMPENSATION,
}

_DIES = """
import asyncio, os, signal, sys
from tests.golden.branch_calls import calls_of
from tests.golden.participant import ScriptedBank
from tests.sdk.bank import ask

async def die(path, command):
    bank = ScriptedBank(path)
    bank.before = lambda ctx: os.kill(os.getpid(), signal.SIGKILL)
    await ask(bank.executor(), *calls_of(command))

asyncio.run(die(sys.argv[1], sys.argv[2]))
"""
"""A participant that is killed at the end of its handler: the barrier's row and the
business change are written, and not committed."""


class Seen(NamedTuple):
    """Everything in the participant's database, as lines."""

    rows: tuple[str, ...]
    effects: tuple[str, ...]
    money: str


def calls_of(text: str) -> list[BranchCall]:
    """``try g-1 + cancel g-1 amount=5``: calls that arrive together."""
    calls = []
    for one in text.split(" + "):
        verb, gid, *rest = one.split()
        if verb not in PHASES:
            raise ScriptError(f"no call is named {verb!r}")
        options = dict(word.split("=", 1) for word in rest)
        default = "bank.debit" if PHASES[verb] in _TCC else "bank.post"
        amount = int(options.get("amount", "10"))
        body = json.loads(options["body"]) if "body" in options else {"amount": amount}
        call = wire.call(
            PHASES[verb],
            gid,
            operation=options.get("operation", default),
            body=body,
            branch_id=options.get("branch", "1"),
            output=json.loads(options["output"]) if "output" in options else None,
        )
        if "began" in options:
            call.began_at_ms = _now_ms() - _days_ms(options["began"])
        call.reconsider = options.get("reconsider") == "yes"
        if options.get("input") == "none":
            call.ClearField("input")
        calls.append(call)
    return calls


def _days_ms(text: str) -> int:
    """``40d``."""
    return timedelta(days=int(text.removesuffix("d"))) // timedelta(milliseconds=1)


def _now_ms() -> int:
    return time.time_ns() // 1_000_000


_TCC = (wire.TRY, wire.CONFIRM, wire.CANCEL)


class BranchCalls:
    """One participant, its database, and what happened outside of it."""

    def __init__(self, path: Path, logs: Sequence[EventDict]) -> None:
        self._path = path
        self._logs = logs
        self._logs_told = 0
        self._bank = ScriptedBank(path)
        self._executor = self._bank.executor()
        self._plain = Executor(self._bank.plain._registry, None)
        self._under_way: list[tuple[str, asyncio.Task[list[BranchReply]]]] = []

    async def do(self, command: str, body: str) -> list[str]:
        """Carry out one command; its answers, and what changed."""
        before, outside_before = self._look(), len(self._bank.outside)
        told = await self._carry_out(command)
        after = self._look()
        told += [f"row {row}" for row in after.rows if row not in before.rows]
        told += [f"no row {row}" for row in before.rows if row not in after.rows]
        told += [f"effect {effect}" for effect in after.effects[len(before.effects) :]]
        told += [f"outside {effect}" for effect in self._bank.outside[outside_before:]]
        if after.money != before.money:
            told.append(after.money)
        told += [
            f"logged {entry['log_level']} {entry['event']} {entry.get('code', '')}"
            for entry in self._logs[self._logs_told :]
        ]
        self._logs_told = len(self._logs)
        return told

    async def close(self) -> None:
        """End the participant."""
        self._bank.may_go_on.set()
        for _, task in self._under_way:
            await task
        for executor in (self._executor, self._plain):
            await executor.close()
        self._bank.engine.dispose()

    async def _carry_out(self, command: str) -> list[str]:
        verb, _, rest = command.partition(" ")
        match verb:
            case "fail":
                self._bank.failures += rest.split()
                return []
            case "outside":
                self._bank.writes_outside = True
                return []
            case "restart":
                await self._executor.close()
                self._executor = self._bank.executor()
                return []
            case "killed":
                return self._kill(rest)
            case "twice-at-once":
                return await self._twice(rest)
            case "elsewhere":
                return await self._elsewhere(rest)
            case "hold":
                self._bank.may_go_on.clear()
                self._bank.entered.clear()
                return []
            case "begin":
                await self._begin(rest)
                return []
            case "release":
                return await self._release()
            case "age":
                self._age(_days_ms(rest))
                return []
            case "purge":
                return [f"purged {purge_barrier(self._bank.engine)}"]
            case _:
                calls = calls_of(command)
                plain = all(call.operation.startswith(PLAIN) for call in calls)
                executor = self._plain if plain else self._executor
                return _told(command, await ask(executor, *calls))

    # ---- Calls in unusual ways ----------------------------------------------------

    async def _begin(self, text: str) -> None:
        """Let calls come in; their answers are told when they are released."""
        is_first = not self._under_way
        asking = asyncio.ensure_future(ask(self._executor, *calls_of(text)))
        self._under_way.append((text, asking))
        if is_first:
            await self._bank.entered.wait()

    async def _release(self) -> list[str]:
        self._bank.may_go_on.set()
        told = []
        for text, asking in self._under_way:
            told += _told(text, await asking)
        self._under_way.clear()
        return told

    def _kill(self, text: str) -> list[str]:
        died = subprocess.run(
            [sys.executable, "-c", _DIES, str(self._path), text],
            cwd=Path(__file__).parents[2],
            capture_output=True,
            check=False,
            timeout=60,
        )
        return [f"killed by signal {-died.returncode}, no answer"]

    async def _elsewhere(self, text: str) -> list[str]:
        """Another process of the participant gets the call."""
        executor = self._bank.executor()
        replies = await ask(executor, *calls_of(text))
        await executor.close()
        return _told(text, replies)

    async def _twice(self, text: str) -> list[str]:
        """Two processes of the participant get the same call at the same time."""

        def run() -> list[str]:
            return asyncio.run(self._elsewhere(text))

        loop = asyncio.get_running_loop()
        with ThreadPoolExecutor(2) as pool:
            both = (loop.run_in_executor(pool, run) for _ in range(2))
            return list(itertools.chain(*await asyncio.gather(*both)))

    def _age(self, ms: int) -> None:
        """All that is recorded was recorded so much earlier."""
        with self._bank.engine.begin() as connection:
            connection.execute(
                sql(
                    "UPDATE tercet_barrier SET created_at_ms = created_at_ms - :ms"
                    " WHERE slot > 0"
                ),
                {"ms": ms},
            )

    # ---- What is in the database --------------------------------------------------

    def _look(self) -> Seen:
        with self._bank.engine.connect() as connection:
            found = connection.execute(
                sql(
                    "SELECT gid, branch_id, slot, phase, outcome, output, code"
                    " FROM tercet_barrier WHERE slot > 0"
                    " ORDER BY gid, branch_id, slot"
                )
            )
            rows = tuple(_row(*values) for values in found)
            found = connection.execute(sql("SELECT phase, gid FROM effect"))
            effects = tuple(f"{phase} of {gid}" for phase, gid in found)
        available, frozen = self._bank.money()
        return Seen(rows, effects, f"money {available} available, {frozen} frozen")


def _row(
    gid: str,
    branch_id: str,
    slot: int,
    phase: str,
    outcome: str,
    output: bytes,
    code: str,
) -> str:
    words = [f"{gid}/{branch_id}", Slot(slot).name, phase, outcome]
    words += [word for word in (output.decode(), code) if word]
    return " ".join(words)


def _told(text: str, replies: Sequence[BranchReply]) -> list[str]:
    """Each call's verb and gid, and its answer."""
    lines = []
    for one, reply in zip(text.split(" + "), replies, strict=True):
        verb, gid, *_ = one.split()
        lines.append(f"<- {verb} {gid}: {_answer(reply)}")
    return lines


def _answer(reply: BranchReply) -> str:
    match reply.WhichOneof("outcome"):
        case "succeeded":
            return f"succeeded {reply.succeeded.output.data.decode()}".rstrip()
        case "refused":
            return f"refused {reply.refused.code} {reply.refused.message}".rstrip()
        case "pending":
            after = reply.pending.retry_after_ms
            return f"pending, ask again in {after}ms" if after else "pending"
        case _:
            failed = reply.failed
            words = ["failed", failed.code, failed.message, failed.output.data.decode()]
            if failed.retry_after_ms:
                words.append(f"ask again in {failed.retry_after_ms}ms")
            return " ".join(word for word in words if word)
