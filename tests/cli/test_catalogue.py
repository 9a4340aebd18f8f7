"""``tercet operations``: readable, scriptable, and careful with what is needed."""

import json

import grpc
import pytest

from coordinator.cli import output
from protos.v1 import admin_pb2, types_pb2

DEBIT = types_pb2.Operation(
    name="bank-a.debit",
    kind=types_pb2.OPERATION_TCC,
    participant="bank-a",
    description="Take money.",
    owner="payments",
    attached=True,
    attached_since_ms=1_700_000_000_000,
    node_id="n-1",
    input_schema='{"type": "object"}',
)
POST = types_pb2.Operation(
    name="ledger.post",
    kind=types_pb2.OPERATION_ACTION,
    participant="ledger",
    compensation="ledger.reverse",
    registered=True,
    sagas=["loan@1.0.0", "loan@2.0.0"],
    saga_count=2,
)
NEEDED = admin_pb2.OperationReport(
    operation=POST,
    needed_by=[
        types_pb2.Transaction(gid=f"l-{n}", name="loan", status=types_pb2.RUNNING)
        for n in range(12)
    ],
    more=True,
)
FREE = admin_pb2.OperationReport(operation=types_pb2.Operation(name="ledger.post"))
WHY = ("--reason", "moved", "--actor", "ann")


@pytest.mark.parametrize("command", [["operations"], ["operations", "list"]])
def test_the_list_says_what_there_is(ask, server, command):
    """Kind, undo, owner, since when it can be reached, and how many sagas name it."""
    server.answers["ListOperations"] = admin_pb2.ListOperationsReply(
        operations=[DEBIT, POST]
    )

    lines = ask(*command).stdout.splitlines()

    assert lines[1].split("  ")[0] == "bank-a.debit"
    assert "its cancel" in lines[1]
    assert "2023-11-14T22:13:20.000Z" in lines[1]
    assert lines[1].endswith("Take money.")
    assert "ledger.reverse" in lines[2]
    assert lines[2].split()[-3:] == ["no", "2", "-"]


def test_the_list_is_json_for_scripts(ask, server):
    """Every field, schemas as values, and where the next page begins."""
    server.answers["ListOperations"] = admin_pb2.ListOperationsReply(
        operations=[DEBIT], next_page_token="t"
    )

    shown = json.loads(ask("operations", "--output", "json").stdout)

    assert shown == {
        "operations": [
            {
                "name": "bank-a.debit",
                "kind": "TCC",
                "description": "Take money.",
                "owner": "payments",
                "participant": "bank-a",
                "compensable": False,
                "compensation": "",
                "registered": False,
                "attached": True,
                "attached_since": "2023-11-14T22:13:20.000Z",
                "node_id": "n-1",
                "input_schema": {"type": "object"},
                "output_schema": None,
                "sagas": [],
                "saga_count": 0,
            }
        ],
        "next_page_token": "t",
    }


def test_the_list_is_paged(ask, server):
    """The token of one page asks for the next."""
    server.answers["ListOperations"] = admin_pb2.ListOperationsReply(
        operations=[DEBIT], next_page_token="t"
    )

    result = ask("operations", "list", "--limit", "1", "--page-token", "s")

    asked = server.request("ListOperations")
    assert (asked.limit, asked.page_token) == (1, "s")
    assert "--page-token t" in result.stderr


def test_options_before_a_command_are_not_lost(ask):
    """They are asked for where they count."""
    result = ask("operations", "--output", "json", "list")

    assert result.exit_code == 2
    assert "behind `list`" in result.stderr


def test_an_empty_catalogue_says_so(ask, server):
    """An empty table would look like a fault."""
    server.answers["ListOperations"] = admin_pb2.ListOperationsReply()
    assert ask("operations").stdout.startswith("no operations")


def test_one_is_shown_with_who_needs_it(ask, server):
    """A record, the sagas by name and version, and some of what is unfinished."""
    server.answers["GetOperation"] = NEEDED

    result = ask("operations", "show", "ledger.post")

    assert server.request("GetOperation").name == "ledger.post"
    assert "said by      an administrator" in result.stdout
    assert "undone by    ledger.reverse" in result.stdout
    assert "sagas        loan@1.0.0, loan@2.0.0" in result.stdout
    assert "may still call it: 12 or more" in result.stdout
    assert "l-9  loan  RUNNING" in result.stdout
    assert "l-10" not in result.stdout


def test_one_is_json_for_scripts(ask, server):
    """With every transaction that was told."""
    server.answers["GetOperation"] = NEEDED

    shown = json.loads(ask("operations", "show", "a.b", "--output", "json").stdout)

    assert [tx["gid"] for tx in shown["needed_by"]] == [f"l-{n}" for n in range(12)]
    assert shown["more"] is True


# ---- Registering -------------------------------------------------------------------


def test_one_is_registered_by_options(ask, server):
    """Everything arrives, with who and why."""
    server.answers["RegisterOperation"] = POST

    result = ask(
        *("operations", "register", "--name", "ledger.post", "--kind", "action"),
        *("--owner", "ledger team", "--description", "Post an entry."),
        *("--compensation", "ledger.reverse", "--input-schema", '{"type": "object"}'),
        *WHY,
    )

    asked = server.request("RegisterOperation")
    assert (asked.actor, asked.reason) == ("ann", "moved")
    assert asked.operation == types_pb2.Operation(
        name="ledger.post",
        kind=types_pb2.OPERATION_ACTION,
        owner="ledger team",
        description="Post an entry.",
        compensation="ledger.reverse",
        input_schema='{"type": "object"}',
    )
    assert result.stdout == "registered ledger.post, of kind ACTION\n"


@pytest.mark.parametrize(
    "text",
    [
        "operations:\n- name: a.b\n  kind: tcc\n- name: a.c\n  kind: ACTION\n",
        '[{"name": "a.b", "kind": "TCC"}, {"name": "a.c", "kind": "action"}]',
    ],
)
def test_a_file_registers_several(ask, server, tmp_path, text):
    """YAML or JSON, a list or what `operations list` writes."""
    (tmp_path / "ops.yaml").write_text(text)
    server.answers["RegisterOperation"] = POST

    ask("operations", "register", "ops.yaml", *WHY)

    assert [asked.operation.name for _, asked in server.asked] == ["a.b", "a.c"]


def test_what_show_writes_can_be_registered(ask, server, tmp_path):
    """Edit the JSON and give it back; what an answer adds is passed over."""
    server.answers |= {"GetOperation": NEEDED, "RegisterOperation": POST}
    shown = ask("operations", "show", "ledger.post", "--output", "json").stdout
    (tmp_path / "op.json").write_text(shown)

    assert ask("operations", "register", "op.json", *WHY).exit_code == 0
    assert server.request("RegisterOperation").operation == types_pb2.Operation(
        name="ledger.post",
        kind=types_pb2.OPERATION_ACTION,
        compensation="ledger.reverse",
    )


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("name: a.b\n", "kind: expected one of TCC, ACTION"),
        ("name: a.b\nkind: saga\n", "kind: expected one of TCC, ACTION"),
        ("name: 7\nkind: TCC\n", "name: expected text"),
        ("name: a.b\nkind: TCC\ninputschema: {}\n", "inputschema: unknown"),
        ("name: a.b\nkind: TCC\ncompensable: 1\n", "compensable: expected true or"),
        ("- 7\n", "operations[0]: expected an operation"),
        ("name: [\n", "ops.yaml:"),
    ],
)
def test_a_file_with_a_mistake_registers_nothing(ask, server, tmp_path, text, said):
    """The place and the expectation are named, and nothing is sent."""
    (tmp_path / "ops.yaml").write_text(text)

    result = ask("operations", "register", "ops.yaml", *WHY)

    assert result.exit_code == 2
    assert said in result.stderr
    assert server.asked == []


@pytest.mark.parametrize(
    "options",
    [
        [],
        ["--name", "a.b"],
        ["--kind", "tcc"],
        ["ops.yaml", "--name", "a.b", "--kind", "tcc"],
    ],
)
def test_a_file_or_options_are_expected(ask, options):
    """Neither both nor half of one."""
    result = ask("operations", "register", *options, *WHY)

    assert result.exit_code == 2
    assert "expected" in result.stderr


def test_what_was_registered_before_a_refusal_is_told(ask, server, tmp_path):
    """It stays registered."""
    (tmp_path / "ops.yaml").write_text("[{name: a.b, kind: tcc}]")
    server.answers["RegisterOperation"] = (
        grpc.StatusCode.FAILED_PRECONDITION,
        types_pb2.Error(
            reason="OPERATION_CONFLICT",
            field="operation.input_schema",
            message="operation.input_schema: not the same",
        ),
    )

    result = ask("operations", "register", "ops.yaml", *WHY)

    assert result.exit_code == 4
    assert "operation.input_schema: not the same (OPERATION_CONFLICT)" in result.stderr


# ---- Removing ----------------------------------------------------------------------


def test_what_nothing_needs_is_removed(ask, server):
    """Who and why go along."""
    server.answers |= {"GetOperation": FREE, "RemoveOperation": FREE}

    result = ask("operations", "remove", "ledger.post", *WHY)

    asked = server.request("RemoveOperation")
    assert (asked.name, asked.actor, asked.reason) == ("ledger.post", "ann", "moved")
    assert result.stdout == "removed ledger.post\n"


def test_what_is_needed_is_not_removed_unasked(ask, server):
    """A script learns what still needs it, and must say --yes."""
    server.answers |= {"GetOperation": NEEDED, "RemoveOperation": NEEDED}

    result = ask("operations", "remove", "ledger.post", *WHY)

    assert result.exit_code == 2
    assert "l-0  loan  RUNNING" in result.stderr
    assert "--yes" in result.stderr
    assert [name for name, _ in server.asked] == ["GetOperation"]


@pytest.mark.parametrize(("typed", "code"), [("y\n", 0), ("n\n", 1), ("", 1)])
def test_a_person_is_asked(ask, server, monkeypatch, typed, code):
    """Only a yes removes what is still needed."""
    monkeypatch.setattr(output, "can_ask", lambda: True)
    server.answers |= {"GetOperation": NEEDED, "RemoveOperation": NEEDED}

    result = ask("operations", "remove", "ledger.post", *WHY, typed=typed)

    assert result.exit_code == code
    assert ("RemoveOperation" in dict(server.asked)) is (code == 0)


def test_yes_removes_and_tells_who_needs_it(ask, server):
    """The warning is printed all the same."""
    server.answers["RemoveOperation"] = NEEDED

    result = ask("operations", "remove", "ledger.post", "--yes", *WHY)

    assert result.exit_code == 0
    assert "may still call it: 12 or more" in result.stderr
