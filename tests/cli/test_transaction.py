"""``tercet tx``: what is asked, what is shown, and how it fails."""

import json

import grpc
import pytest

from protos.v1 import admin_pb2, coordinator_pb2, types_pb2

NOT_FOUND = (
    grpc.StatusCode.NOT_FOUND,
    types_pb2.Error(
        status=5,
        reason="NOT_FOUND",
        message="there is no transaction with this gid",
        field="gid",
    ),
)


def test_list_sends_every_filter(ask, server):
    """Filters travel as they were given, words of statuses in any case."""
    server.answers["List"] = coordinator_pb2.ListReply()
    result = ask(
        *("tx", "list", "--status", "trying", "--status", "CONFIRMING"),
        *("--name", "transfer", "--attention", "--limit", "7", "--page-token", "p"),
    )
    assert result.exit_code == 0, result.output
    assert server.request("List") == coordinator_pb2.ListRequest(
        statuses=[types_pb2.TRYING, types_pb2.CONFIRMING],
        name="transfer",
        attention=True,
        limit=7,
        page_token="p",
    )
    assert result.stdout == "no transactions\n"


def test_list_is_plain_columns_where_there_is_no_terminal(ask, server, transfer):
    """No colour, no boxes, nothing cut: other programs read it."""
    server.answers["List"] = coordinator_pb2.ListReply(
        transactions=[transfer], next_page_token="next"
    )
    result = ask("tx", "list")
    header, row = result.stdout.splitlines()
    assert header.split() == [
        *("GID", "MODE", "NAME", "STATUS", "REASON", "ATTENTION", "CREATED")
    ]
    assert row.split("  ")[0] == "t-1"
    assert "CONFIRMING" in row
    assert "confirm failed 20 times" in row
    assert "2023-11-14T22:13:20.000Z" in row
    assert result.stdout.isascii()
    assert result.stderr == "there are more: --page-token next\n"


def test_list_as_json_has_stable_keys(ask, server, transfer):
    """All keys are always there, and stdout is one JSON document."""
    server.answers["List"] = coordinator_pb2.ListReply(
        transactions=[transfer, types_pb2.Transaction(gid="empty")],
        next_page_token="next",
    )
    result = ask("tx", "list", "--output", "json")
    shown = json.loads(result.stdout)
    assert set(shown) == {"transactions", "next_page_token"}
    first, second = shown["transactions"]
    assert list(first) == list(second)
    assert first == {
        "gid": "t-1",
        "mode": "TCC",
        "name": "transfer",
        "status": "CONFIRMING",
        "decision": "COMMIT",
        "reason_code": "",
        "reason_text": "",
        "output": None,
        "created_at": "2023-11-14T22:13:20.000Z",
        "deadline_at": "2023-11-14T22:14:20.000Z",
        "updated_at": "2023-11-14T22:13:20.500Z",
        "finished_at": None,
        "paused_at": None,
        "attention_since": "2023-11-14T22:13:20.400Z",
        "attention_reason": "confirm failed 20 times",
        "definition_version": "",
        "definition_digest": "",
        "labels": {"channel": "web"},
    }


@pytest.mark.parametrize(
    "arguments",
    [
        ("list", "--status", "LOST"),
        ("list", "--limit", "0"),
        ("list", "--limit", "1001"),
        ("list", "--name", "a\nb"),
        ("list", "--output", "xml"),
        ("list", "--timeout", "0"),
        ("list", "--timeout", "soon"),
        ("list", "--server", "unix:/tmp/socket"),
        ("list", "--nonsense"),
        ("show",),
        ("show", "a/b"),
        ("show", "g" * 129),
        ("show", ""),
        ("lost",),
    ],
)
def test_wrong_arguments_are_one_line_and_code_2(ask, server, arguments):
    """Nothing is asked of the coordinator, and the line names the argument."""
    result = ask("tx", *arguments)
    assert result.exit_code == 2
    assert result.stdout == ""
    (line,) = result.stderr.splitlines()
    assert line.startswith("error: ")
    assert line.isprintable()
    assert server.asked == []


def test_show_tells_what_an_operator_needs(ask, server, transfer):
    """Status, attempts, last error and next retry of each branch are there."""
    server.answers["Get"] = coordinator_pb2.TransactionReply(transaction=transfer)
    result = ask("tx", "show", "t-1")
    assert result.exit_code == 0, result.output
    assert server.request("Get") == coordinator_pb2.GetRequest(
        gid="t-1", with_branches=True
    )
    lines = result.stdout.splitlines()
    assert "status              CONFIRMING" in lines
    assert "labels              channel=web" in lines
    assert not any(line.startswith("finished_at") for line in lines)
    (credit,) = (line for line in lines if line.startswith("credit"))
    assert [cell.strip() for cell in credit.split("  ") if cell] == [
        "credit",
        "bank-b.credit",
        "CONFIRMING",
        "20",
        r"TIMEOUT: no answer\x1b[2J in 3 s",
        "2023-11-14T22:13:50.000Z",
    ]


def test_show_tells_since_when_it_is_paused_or_pending(ask, server, transfer):
    """An operator sees what waits for an operator, and what for a participant."""
    transfer.paused_at_ms = 1_700_000_001_000
    transfer.branches[1].pending = True
    transfer.branches[1].pending_since_ms = 1_700_000_000_700
    server.answers["Get"] = coordinator_pb2.TransactionReply(transaction=transfer)
    lines = ask("tx", "show", "t-1").stdout.splitlines()
    shown = json.loads(ask("tx", "show", "t-1", "--output", "json").stdout)
    assert "paused_at           2023-11-14T22:13:21.000Z" in lines
    (credit,) = (line for line in lines if line.startswith("credit"))
    assert "CONFIRMING (pending since 2023-11-14T22:13:20.700Z)" in credit
    assert shown["paused_at"] == "2023-11-14T22:13:21.000Z"
    assert [b["pending_since"] for b in shown["branches"]] == [
        None,
        "2023-11-14T22:13:20.700Z",
    ]


def test_show_tells_what_stands_where_no_participant_is_asked(ask, server):
    """A branch without an operation is a list, a child saga, a timer or a signal."""
    kinds = ("CALL", "SAGA", "FOR_EACH", "WAIT", "AWAIT", "SIGNAL")
    server.answers["Get"] = coordinator_pb2.TransactionReply(
        transaction=types_pb2.Transaction(
            gid="t-1",
            branches=[
                types_pb2.Branch(
                    branch_id=kind,
                    operation="bank.pay" if kind == "CALL" else "",
                    kind=types_pb2.BranchKind.Value(f"KIND_{kind}"),
                )
                for kind in kinds
            ],
            branches_omitted=1_234,
        )
    )
    lines = ask("tx", "show", "t-1").stdout.splitlines()
    assert lines.pop() == "1,234 more branches had no room in the answer"
    rows = [line.split("  ") for line in lines[lines.index("") + 2 :]]

    assert [[cell.strip() for cell in row if cell.strip()][:2] for row in rows] == [
        ["CALL", "bank.pay"],
        ["SAGA", "(child saga)"],
        ["FOR_EACH", "(for each)"],
        ["WAIT", "(timer)"],
        ["AWAIT", "(awaits a signal)"],
        ["SIGNAL", "(signal)"],
    ]


def test_show_draws_nested_branches_as_a_tree(ask, server):
    """A branch stands, indented, behind the one inside whose try it was made."""
    nested = [("a", ""), ("b", ""), ("a1", "a"), ("a1x", "a1"), ("a2", "a"), ("?", "-")]
    server.answers["Get"] = coordinator_pb2.TransactionReply(
        transaction=types_pb2.Transaction(
            gid="t-1",
            branches=[
                types_pb2.Branch(branch_id=branch_id, parent_branch_id=parent)
                for branch_id, parent in nested
            ],
        )
    )
    lines = ask("tx", "show", "t-1").stdout.splitlines()
    shown = json.loads(ask("tx", "show", "t-1", "--output", "json").stdout)
    rows = lines[lines.index("") + 2 :]
    assert [row.partition(" -")[0].rstrip() for row in rows] == [
        *("a", "  a1", "    a1x", "  a2", "b", "?")
    ]
    assert [(b["branch_id"], b["parent_branch_id"]) for b in shown["branches"]] == (
        nested
    )


def test_list_marks_what_is_paused(ask, server, transfer):
    """One look tells which ones nobody is working on."""
    transfer.paused_at_ms = 1
    server.answers["List"] = coordinator_pb2.ListReply(transactions=[transfer])
    assert "CONFIRMING (paused)" in ask("tx", "list").stdout


def test_texts_from_elsewhere_cannot_move_the_cursor(ask, server, transfer):
    """Control characters of a participant's error text are escaped."""
    server.answers["Get"] = coordinator_pb2.TransactionReply(transaction=transfer)
    for arguments in ((), ("--output", "json")):
        assert "\x1b" not in ask("tx", "show", "t-1", *arguments).output


def test_show_as_json_has_branches_and_journal(ask, server, transfer):
    """Facts of the journal are values, not texts with JSON in them."""
    transfer.output.data = b'{"ok": true}'
    transfer.output.content_type = "application/json"
    transfer.branches[0].output.data = b"\x00\x01"
    transfer.branches[1].output.data = b"{"
    transfer.branches[1].output.content_type = "application/json"
    server.answers["Get"] = coordinator_pb2.TransactionReply(transaction=transfer)
    server.answers["GetJournal"] = admin_pb2.GetJournalReply(
        entries=[
            admin_pb2.JournalEntry(
                seq=1, at_ms=1_700_000_000_000, events=['{"kind": "Begun"}', "odd"]
            )
        ]
    )
    shown = json.loads(ask("tx", "show", "t-1", "--journal", "--output=json").stdout)
    assert server.request("GetJournal").gid == "t-1"
    assert shown["journal"] == [
        {
            "seq": 1,
            "at": "2023-11-14T22:13:20.000Z",
            "events": [{"kind": "Begun"}, "odd"],
        }
    ]
    assert shown["output"] == {"content_type": "application/json", "json": {"ok": True}}
    debit, credit = shown["branches"]
    assert list(debit) == list(credit)
    assert debit["output"] == {"content_type": "", "base64": "AAE="}
    assert credit["output"] == {"content_type": "application/json", "base64": "ew=="}
    assert credit["attempts"] == 20
    assert credit["next_retry_at"] == "2023-11-14T22:13:50.000Z"


@pytest.mark.parametrize(
    ("data", "content_type", "shown"),
    [
        (b'{"ok": 1}', "application/json", '{"ok": 1}'),
        (b"\x00", "a/b", "a/b, Base64: AA=="),
        (b"\x00", "", "no content type, Base64: AA=="),
    ],
)
def test_show_puts_an_output_on_one_line(
    ask, server, transfer, data, content_type, shown
):
    """JSON as it is, anything else in Base64 with its type."""
    transfer.output.data = data
    transfer.output.content_type = content_type
    server.answers["Get"] = coordinator_pb2.TransactionReply(transaction=transfer)
    lines = ask("tx", "show", "t-1").stdout.splitlines()
    (output,) = (line for line in lines if line.startswith("output "))
    assert output.split(maxsplit=1)[1] == shown


def test_show_without_branches_and_facts_says_so(ask, server):
    """A transaction that has just begun, on a coordinator that shows no journal."""
    server.answers["Get"] = coordinator_pb2.TransactionReply(
        transaction=types_pb2.Transaction(gid="t-1")
    )
    server.answers["GetJournal"] = admin_pb2.GetJournalReply()
    result = ask("tx", "show", "t-1", "--journal")
    assert result.exit_code == 0, result.output
    assert "BRANCH" not in result.stdout
    assert result.stdout.endswith("\nno journal entries\n")


def test_show_without_journal_does_not_ask_for_it(ask, server, transfer):
    """A journal can be long; only who wants it pays."""
    server.answers["Get"] = coordinator_pb2.TransactionReply(transaction=transfer)
    assert "journal" not in json.loads(
        ask("tx", "show", "t-1", "--output", "json").stdout
    )
    assert [name for name, _ in server.asked] == ["Get"]


def test_show_journal_is_a_line_a_fact(ask, server, transfer):
    """Facts stand under their sequence numbers, in order."""
    server.answers["Get"] = coordinator_pb2.TransactionReply(transaction=transfer)
    server.answers["GetJournal"] = admin_pb2.GetJournalReply(
        entries=[
            admin_pb2.JournalEntry(seq=1, at_ms=1, events=['{"kind":"A"}']),
            admin_pb2.JournalEntry(seq=2, at_ms=2, events=['{"kind":"B"}'] * 2),
        ]
    )
    facts = ask("tx", "show", "t-1", "--journal").stdout.splitlines()[-3:]
    assert [fact.split()[0] for fact in facts] == ["1", "2", "2"]
    assert facts[0].endswith('{"kind": "A"}')


def test_words_of_a_newer_coordinator_are_shown_as_numbers(ask, server, transfer):
    """A value this version has no word for harms nothing."""
    transfer.status = 99
    transfer.branches[0].status = 98
    server.answers["Get"] = coordinator_pb2.TransactionReply(transaction=transfer)
    shown = json.loads(ask("tx", "show", "t-1", "--output", "json").stdout)
    assert (shown["status"], shown["branches"][0]["status"]) == ("99", "98")


def test_unknown_gid_is_code_3(ask, server):
    """The coordinator's own words are shown, on one line, and nothing on stdout."""
    server.answers["Get"] = NOT_FOUND
    result = ask("tx", "show", "t-1", "--output", "json")
    assert result.exit_code == 3
    assert result.stdout == ""
    assert (
        result.stderr
        == "error: gid: there is no transaction with this gid (NOT_FOUND)\n"
    )


@pytest.mark.parametrize(
    ("code", "exit_code"),
    [
        (grpc.StatusCode.INVALID_ARGUMENT, 2),
        (grpc.StatusCode.NOT_FOUND, 3),
        (grpc.StatusCode.ALREADY_EXISTS, 4),
        (grpc.StatusCode.FAILED_PRECONDITION, 4),
        (grpc.StatusCode.UNAVAILABLE, 5),
        (grpc.StatusCode.RESOURCE_EXHAUSTED, 5),
        (grpc.StatusCode.DEADLINE_EXCEEDED, 5),
        (grpc.StatusCode.INTERNAL, 6),
        (grpc.StatusCode.UNKNOWN, 6),
        (grpc.StatusCode.UNIMPLEMENTED, 6),
    ],
)
@pytest.mark.parametrize(
    "error", [types_pb2.Error(reason="WHY", message="the words"), None]
)
def test_each_status_has_its_exit_code(ask, server, code, exit_code, error):
    """With or without the coordinator's own error, the code is the same."""
    server.answers["Get"] = (code, error)
    result = ask("tx", "show", "t-1")
    assert result.exit_code == exit_code
    (line,) = result.stderr.splitlines()
    assert line.startswith("error: ")
    assert error is None or line == "error: the words (WHY)"


def test_no_coordinator_is_code_5_and_says_what_to_do(run):
    """The address that was asked and the ways to another are named."""
    result = run("tx", "list", "--server", "localhost:1")
    assert result.exit_code == 5
    (line,) = result.stderr.splitlines()
    assert "127.0.0.1:1" in line
    assert "--server" in line
    assert "TERCET_SERVER" in line


def test_rubbish_in_the_error_metadata_is_no_second_error(ask, server):
    """The status itself is enough to fail properly."""

    def abort(context):
        context.set_trailing_metadata((("tercet-error-bin", b"\xff\xff"),))
        context.abort(grpc.StatusCode.NOT_FOUND, "plain details")

    server._answer = lambda _method, _request, context: abort(context)
    result = ask("tx", "show", "t-1")
    assert result.exit_code == 3
    assert result.stderr == (
        f"error: {server.address} answered NOT_FOUND: plain details\n"
    )
