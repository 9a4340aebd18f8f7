"""The command line against a real gRPC server on loopback that answers by script."""

import logging
import os
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import grpc
import pytest
import structlog
from typer.testing import CliRunner, Result

from coordinator.cli.app import build
from protos.v1 import (
    admin_pb2_grpc,
    coordinator_pb2,
    coordinator_pb2_grpc,
    types_pb2,
)

Run = Callable[..., Result]


class ScriptedCoordinator(
    coordinator_pb2_grpc.CoordinatorServicer,
    admin_pb2_grpc.DefinitionsServicer,
    admin_pb2_grpc.CatalogueServicer,
    admin_pb2_grpc.AdminServicer,
):
    """Answers each method with what the test said, and keeps what was asked.

    An answer is a reply, a list of replies (of a stream), an exception to raise, or
    ``(code, Error)`` for a refusal; a list of such lists is one list a call. A function
    of the request says what the answer is.
    """

    def __init__(self) -> None:
        self.answers: dict[str, Any] = {}
        self.asked: list[tuple[str, Any]] = []
        self.address = ""

    def request(self, method: str) -> Any:
        """The only request of a method."""
        (found,) = [request for name, request in self.asked if name == method]
        return found

    def _answer(self, method: str, request: Any, context: grpc.ServicerContext) -> Any:
        self.asked.append((method, request))
        answer = self.answers[method]
        if callable(answer):
            answer = answer(request)
        if isinstance(answer, tuple):
            refuse(context, *answer)
        return answer

    def Watch(self, request: Any, context: grpc.ServicerContext) -> Iterator[Any]:  # noqa: N802
        self.asked.append(("Watch", request))
        for answer in self.answers["Watch"].pop(0):
            if isinstance(answer, tuple):
                refuse(context, *answer)
            yield answer


def refuse(
    context: grpc.ServicerContext, code: grpc.StatusCode, error: types_pb2.Error | None
) -> None:
    """End a call as the coordinator does."""
    metadata = (
        (("tercet-error-bin", error.SerializeToString()),) if error is not None else ()
    )
    context.set_trailing_metadata(metadata)
    context.abort(code, "details of the status")


def _scripted(method: str) -> Callable[..., Any]:
    def answer(self: ScriptedCoordinator, request: Any, context: Any) -> Any:
        return self._answer(method, request, context)

    return answer


for _name in (
    "List",
    "Get",
    "SubmitSaga",
    "RetryTransaction",
    "PauseTransaction",
    "ResumeTransaction",
    "CancelTransaction",
    "ResolveBranch",
    "OperateMany",
    "GetJournal",
    "ListNodes",
    "PublishSaga",
    "GetSaga",
    "SignalSaga",
    "ListSagas",
    "ListOperations",
    "GetOperation",
    "RegisterOperation",
    "RemoveOperation",
):
    setattr(ScriptedCoordinator, _name, _scripted(_name))


@pytest.fixture
def server() -> Iterator[ScriptedCoordinator]:
    """A server on a free port of loopback."""
    scripted = ScriptedCoordinator()
    with ThreadPoolExecutor(max_workers=2) as pool:
        grpc_server = grpc.server(pool)
        coordinator_pb2_grpc.add_CoordinatorServicer_to_server(scripted, grpc_server)
        admin_pb2_grpc.add_DefinitionsServicer_to_server(scripted, grpc_server)
        admin_pb2_grpc.add_CatalogueServicer_to_server(scripted, grpc_server)
        admin_pb2_grpc.add_AdminServicer_to_server(scripted, grpc_server)
        port = grpc_server.add_insecure_port("127.0.0.1:0")
        scripted.address = f"127.0.0.1:{port}"
        grpc_server.start()
        yield scripted
        grpc_server.stop(None).wait()


@pytest.fixture(autouse=True)
def clean_environment(monkeypatch: pytest.MonkeyPatch, tmp_path: Any) -> Iterator[None]:
    """No setting of the developer's, and a working directory that may be written."""
    for name in [name for name in os.environ if name.startswith("TERCET_")]:
        monkeypatch.delenv(name)
    monkeypatch.chdir(tmp_path)
    root = logging.getLogger()
    handlers, level = root.handlers[:], root.level
    yield
    structlog.reset_defaults()
    root.handlers[:] = handlers
    root.setLevel(level)


@pytest.fixture
def run() -> Run:
    """Runs ``tercet ARGS...`` in this process; ``typed`` is what stdin has."""

    def run(
        *args: str, env: Mapping[str, str] | None = None, typed: str = ""
    ) -> Result:
        app = build(is_pretty=False)
        return CliRunner().invoke(app, args, env=env, input=typed, prog_name="tercet")

    return run


@pytest.fixture
def ask(run: Run, server: ScriptedCoordinator) -> Run:
    """Runs ``tercet ARGS...`` against the scripted server."""

    def ask(*args: str, typed: str = "") -> Result:
        return run(*args, env={"TERCET_SERVER": server.address}, typed=typed)

    return ask


@pytest.fixture
def transfer() -> types_pb2.Transaction:
    """A transfer that is being confirmed and whose second branch does not answer."""
    return types_pb2.Transaction(
        gid="t-1",
        mode=types_pb2.TCC,
        name="transfer",
        status=types_pb2.CONFIRMING,
        decision=types_pb2.COMMIT,
        created_at_ms=1_700_000_000_000,
        deadline_at_ms=1_700_000_060_000,
        updated_at_ms=1_700_000_000_500,
        attention_since_ms=1_700_000_000_400,
        attention_reason="confirm failed 20 times",
        labels={"channel": "web"},
        branches=[
            types_pb2.Branch(
                branch_id="debit",
                operation="bank-a.debit",
                status=types_pb2.BRANCH_CONFIRMED,
            ),
            types_pb2.Branch(
                branch_id="credit",
                operation="bank-b.credit",
                status=types_pb2.BRANCH_CONFIRMING,
                attempts=20,
                due_at_ms=1_700_000_030_000,
                error_code="TIMEOUT",
                error_text="no answer\x1b[2J in 3 s",
            ),
        ],
    )


@pytest.fixture
def loan() -> Callable[..., coordinator_pb2.TransactionReply]:
    """Makes states of the saga ``loan`` with gid ``l-1``."""

    def loan(
        status: types_pb2.TransactionStatus,
        *branches: types_pb2.Branch,
        **fields: Any,
    ) -> coordinator_pb2.TransactionReply:
        return coordinator_pb2.TransactionReply(
            transaction=types_pb2.Transaction(
                gid="l-1",
                mode=types_pb2.SAGA,
                name="loan",
                status=status,
                branches=branches,
                **fields,
            )
        )

    return loan
