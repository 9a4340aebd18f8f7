"""``tercet tx retry|pause|resume|cancel|resolve``: one, many, and the question."""

import json

import grpc
import pytest

from protos.v1 import admin_pb2, coordinator_pb2, types_pb2

ALIKE = ("retry", "pause", "resume", "cancel")
WHO = ("--reason", "bank b is back", "--actor", "Ann L")
DONE = {
    "retry": "its open branches are asked again",
    "pause": "its calls are stopped; `tercet tx resume` lets them go on",
    "resume": "its calls go on",
    "cancel": "it is decided against; what was done is being undone",
}


def items(*gids: str, refused: str = "") -> list[admin_pb2.OperateManyReply.Item]:
    """One item a gid; one of them may have refused."""
    return [
        admin_pb2.OperateManyReply.Item(
            gid=gid,
            status=types_pb2.CONFIRMING,
            error=types_pb2.Error(
                reason="TRANSACTION_DECIDED", message="it is decided", field="gid"
            )
            if gid == refused
            else None,
        )
        for gid in gids
    ]


@pytest.fixture
def replies(server):
    """What the coordinator says about many: the next of these each time."""
    scripted: list[admin_pb2.OperateManyReply] = []
    server.answers["OperateMany"] = None
    answer = server._answer

    def next_reply(method, request, context):
        if method == "OperateMany":
            server.asked.append((method, request))
            return scripted.pop(0)
        return answer(method, request, context)

    server._answer = next_reply
    return scripted


@pytest.fixture
def terminal(monkeypatch):
    """Somebody is there to answer."""
    monkeypatch.setattr("coordinator.cli.output.can_ask", lambda: True)


# ---- One ---------------------------------------------------------------------------


@pytest.mark.parametrize("command", ALIKE)
def test_one_is_asked_with_who_and_why(ask, server, transfer, command):
    """The audit gets the actor and the reason as they were given."""
    rpc = f"{command.title()}Transaction"
    server.answers[rpc] = coordinator_pb2.TransactionReply(transaction=transfer)
    result = ask("tx", command, "t-1", *WHO)
    assert result.exit_code == 0, result.output
    assert server.request(rpc) == admin_pb2.OperatorRequest(
        gid="t-1", actor="Ann L", reason="bank b is back"
    )
    assert result.stdout == f"t-1 CONFIRMING: {DONE[command]}\n"


@pytest.mark.parametrize("command", [c for c in ALIKE if c != "pause"])
def test_what_stays_paused_is_said(ask, server, transfer, command):
    """Nobody waits for calls that a pause holds back."""
    transfer.paused_at_ms = 1
    server.answers[f"{command.title()}Transaction"] = coordinator_pb2.TransactionReply(
        transaction=transfer
    )
    assert ask("tx", command, "t-1", *WHO).stdout == (
        "t-1 CONFIRMING: it stays paused; `tercet tx resume` lets its calls go on\n"
    )


def test_a_branch_is_resolved_by_its_id(ask, server, transfer):
    """Gid, branch, who and why travel as they were given."""
    transfer.status = types_pb2.RESOLVED
    server.answers["ResolveBranch"] = coordinator_pb2.TransactionReply(
        transaction=transfer
    )
    result = ask("tx", "resolve", "t-1", "credit", *WHO)
    assert result.exit_code == 0, result.output
    assert server.request("ResolveBranch") == admin_pb2.ResolveBranchRequest(
        gid="t-1", branch_id="credit", actor="Ann L", reason="bank b is back"
    )
    assert result.stdout == "t-1 RESOLVED: branch credit is settled by hand\n"


@pytest.mark.parametrize(
    ("rpc", "arguments"),
    [
        ("PauseTransaction", ("pause", "t-1")),
        ("ResolveBranch", ("resolve", "t-1", "credit")),
    ],
)
def test_one_as_json_is_the_transaction(ask, server, transfer, rpc, arguments):
    """The same keys as everywhere."""
    server.answers[rpc] = coordinator_pb2.TransactionReply(transaction=transfer)
    shown = json.loads(ask("tx", *arguments, *WHO, "--output", "json").stdout)
    assert (shown["gid"], shown["status"], shown["paused_at"]) == (
        "t-1",
        "CONFIRMING",
        None,
    )


def test_the_os_user_is_the_actor(ask, server, transfer, monkeypatch):
    """Who does not say who it is, is who the system says."""
    monkeypatch.setenv("LOGNAME", "operator7")
    server.answers["RetryTransaction"] = coordinator_pb2.TransactionReply(
        transaction=transfer
    )
    ask("tx", "retry", "t-1", "--reason", "why")
    assert server.request("RetryTransaction").actor == "operator7"


def test_without_any_user_name_one_is_asked_for(ask, server, monkeypatch):
    """An audit entry by nobody is not written."""

    def nobody() -> str:
        raise KeyError("uid")

    monkeypatch.setattr("getpass.getuser", nobody)
    result = ask("tx", "retry", "t-1", "--reason", "why")
    assert result.exit_code == 2
    assert "--actor" in result.stderr
    assert server.asked == []


def test_a_refusal_is_code_4(ask, server):
    """The coordinator's own words, on one line."""
    server.answers["CancelTransaction"] = (
        grpc.StatusCode.FAILED_PRECONDITION,
        types_pb2.Error(reason="TRANSACTION_DECIDED", message="it is decided"),
    )
    result = ask("tx", "cancel", "t-1", *WHO)
    assert result.exit_code == 4
    assert result.stderr == "error: it is decided (TRANSACTION_DECIDED)\n"


@pytest.mark.parametrize(
    "arguments",
    [
        *((command, "t-1") for command in (*ALIKE, "resolve")),
        *((command, *WHO) for command in (*ALIKE, "resolve")),
        ("retry", "t-1", "--reason", "  "),
        ("retry", "t-1", "--reason", "x" * 1_001),
        ("retry", "t-1", "--reason", "why", "--actor", "a\x1b[2J"),
        ("retry", "t-1", "--reason", "why", "--actor", ""),
        ("retry", "a/b", *WHO),
        ("retry", "", *WHO),
        ("resolve", "t-1", *WHO),
        ("resolve", "t-1", "a b", *WHO),
        ("resolve", "a/b", "credit", *WHO),
        ("pause", "t-1", "--status", "TRYING", *WHO),
        ("pause", "t-1", "--name", "transfer", *WHO),
        ("pause", "t-1", "--attention", *WHO),
        ("pause", "t-1", "--limit", "5", *WHO),
        ("pause", "t-1", "--dry-run", *WHO),
        ("pause", "--limit", "5", "--yes", *WHO),
        ("pause", "--page-token", "p", "--yes", *WHO),
        ("pause", "--status", "LOST", "--yes", *WHO),
        ("pause", "--name", "a\nb", "--yes", *WHO),
        ("pause", "--attention", "--limit", "1001", "--yes", *WHO),
        ("pause", "--attention", "--yes"),
        ("pause", "--attention", *WHO),
    ],
)
def test_wrong_arguments_are_one_line_and_code_2(ask, server, arguments):
    """Nothing is asked of the coordinator; the last one: nobody could be asked."""
    result = ask("tx", *arguments)
    assert result.exit_code == 2
    assert result.stdout == ""
    (line,) = result.stderr.splitlines()
    assert line.startswith("error: ")
    assert line.isprintable()
    assert server.asked == []


# ---- Many --------------------------------------------------------------------------


@pytest.mark.parametrize("command", ALIKE)
def test_many_are_asked_with_every_filter(ask, server, command):
    """The filter, who and why travel as they were given; the result is a table."""
    server.answers["OperateMany"] = admin_pb2.OperateManyReply(items=items("a", "b"))
    result = ask(
        *("tx", command, "--status", "trying", "--status", "CONFIRMING"),
        *("--name", "transfer", "--attention", "--limit", "7"),
        *("--page-token", "p", "--yes", *WHO),
    )
    assert result.exit_code == 0, result.output
    assert server.request("OperateMany") == admin_pb2.OperateManyRequest(
        action=command.upper(),
        filter=coordinator_pb2.ListRequest(
            statuses=[types_pb2.TRYING, types_pb2.CONFIRMING],
            name="transfer",
            attention=True,
            limit=7,
            page_token="p",
        ),
        actor="Ann L",
        reason="bank b is back",
    )
    assert [line.split() for line in result.stdout.splitlines()] == [
        ["GID", "STATUS", command.upper()],
        ["a", "CONFIRMING", "done"],
        ["b", "CONFIRMING", "done"],
    ]
    assert result.stderr == ""


def test_a_dry_run_needs_no_yes_and_does_nothing(ask, server):
    """It is asked as a dry run, and only once."""
    server.answers["OperateMany"] = admin_pb2.OperateManyReply(items=items("a"))
    result = ask("tx", "pause", "--attention", "--dry-run", *WHO)
    assert result.exit_code == 0, result.output
    assert server.request("OperateMany").dry_run
    assert result.stdout.splitlines()[1].split() == [
        *("a", "CONFIRMING", "would", "be", "done")
    ]


def test_some_that_refuse_are_shown_and_code_1(ask, server):
    """It ran, and not for all; each one says why."""
    server.answers["OperateMany"] = admin_pb2.OperateManyReply(
        items=items("a", "b", refused="b"), more=True, next_page_token="next"
    )
    result = ask("tx", "cancel", "--name", "transfer", "--yes", *WHO)
    assert result.exit_code == 1
    assert "b    CONFIRMING  TRANSACTION_DECIDED: it is decided" in result.stdout
    assert result.stderr.splitlines() == [
        "there are more: --page-token next",
        "error: 1 of 2 transactions refused; the others are done",
    ]


def test_many_as_json_have_stable_keys(ask, server):
    """One document, whatever became of each."""
    server.answers["OperateMany"] = admin_pb2.OperateManyReply(
        items=items("a", "b", refused="b"), more=True, next_page_token="next"
    )
    result = ask("tx", "cancel", "--attention", "--yes", *WHO, "--output", "json")
    assert json.loads(result.stdout) == {
        "action": "CANCEL",
        "dry_run": False,
        "items": [
            {"gid": "a", "status": "CONFIRMING", "error": None},
            {
                "gid": "b",
                "status": "CONFIRMING",
                "error": {
                    "reason": "TRANSACTION_DECIDED",
                    "message": "it is decided",
                    "field": "gid",
                },
            },
        ],
        "more": True,
        "next_page_token": "next",
    }


def test_a_filter_that_finds_nothing_says_so(ask, server):
    """That is no failure."""
    server.answers["OperateMany"] = admin_pb2.OperateManyReply()
    result = ask("tx", "retry", "--attention", "--yes", *WHO)
    assert (result.exit_code, result.stdout) == (0, "no transactions\n")


# ---- The question ------------------------------------------------------------------


@pytest.mark.parametrize("answer", ["y\n", "YES\n", " y \n"])
@pytest.mark.usefixtures("terminal")
def test_a_yes_after_the_number_does_it(ask, server, replies, answer):
    """First a dry run tells the number, then the same is asked for real."""
    replies += [
        admin_pb2.OperateManyReply(items=items("a", "b")),
        admin_pb2.OperateManyReply(items=items("a", "b")),
    ]
    result = ask("tx", "pause", "--name", "transfer", *WHO, typed=answer)
    assert result.exit_code == 0, result.output
    assert result.stderr == "pause 2 transactions? [y/N] "
    first, second = (request for _, request in server.asked)
    assert (first.dry_run, second.dry_run) == (True, False)
    first.dry_run = False
    assert first == second


@pytest.mark.parametrize("answer", ["n\n", "\n", "", "yup\n"])
@pytest.mark.usefixtures("terminal")
def test_anything_but_a_yes_does_nothing(ask, server, replies, answer):
    """Code 1, and the coordinator was asked for a dry run only."""
    replies += [admin_pb2.OperateManyReply(items=items("a"), more=True)]
    result = ask("tx", "cancel", "--name", "transfer", *WHO, typed=answer)
    assert result.exit_code == 1
    assert result.stdout == ""
    assert result.stderr == (
        "cancel 1 transaction (there are more, which stay as they are)? [y/N] "
        "error: nothing was done\n"
    )
    assert [request.dry_run for _, request in server.asked] == [True]


@pytest.mark.usefixtures("terminal")
def test_nobody_is_asked_about_nothing(ask, server, replies):
    """Where nothing matches there is no question, and nothing is done unasked."""
    replies += [admin_pb2.OperateManyReply()]
    result = ask("tx", "cancel", "--name", "transfer", *WHO)
    assert (result.exit_code, result.stdout, result.stderr) == (
        0,
        "no transactions\n",
        "",
    )
    assert [request.dry_run for _, request in server.asked] == [True]


@pytest.mark.usefixtures("terminal")
def test_ctrl_c_at_the_question_is_code_130(ask, server, replies, monkeypatch):
    """Interrupted, and nothing was done."""

    def interrupted(_question):
        raise KeyboardInterrupt

    monkeypatch.setattr("coordinator.cli.output.agreed", interrupted)
    replies += [admin_pb2.OperateManyReply(items=items("a"))]
    assert ask("tx", "cancel", "--name", "transfer", *WHO).exit_code == 130
    assert [request.dry_run for _, request in server.asked] == [True]
