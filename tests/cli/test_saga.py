"""``tercet saga``: check, publish and run, and how each ends."""

import json

import grpc
import pytest

from protos.v1 import admin_pb2, coordinator_pb2, types_pb2

DONE = types_pb2.Branch(
    branch_id="assess", operation="risk.assess", status=types_pb2.BRANCH_SUCCEEDED
)
BUSY = types_pb2.Branch(
    branch_id="assess",
    operation="risk.assess",
    status=types_pb2.BRANCH_RUNNING,
    attempts=2,
    error_code="TIMEOUT",
)
UNAVAILABLE = (grpc.StatusCode.UNAVAILABLE, None)


@pytest.fixture
def checked(monkeypatch):
    """Files hold ``ok`` or a message to find; the real checks have their own tests."""
    from types import SimpleNamespace

    from coordinator import saga_yaml
    from coordinator.saga_yaml.findings import Finding

    def check_files(files, operations=None):
        return [
            (None, (Finding("SAGA010", text, source, 3, 5),))
            if text != "ok"
            else (SimpleNamespace(name="loan", version="1", digest="d1"), ())
            for source, text in files
        ]

    monkeypatch.setattr(saga_yaml, "check_files", check_files)


def write(path, text):
    path.write_text(text)
    return path.name


def published(name="loan", version="1"):
    return admin_pb2.SagaDefinition(
        name=name, version=version, digest="d1", published_at_ms=1_700_000_000_000
    )


def test_lint_tells_place_code_and_message_of_all_findings(run, tmp_path, checked):
    """One line each, as compilers write them; exit code 1."""
    good = write(tmp_path / "good.yaml", "ok")
    bad = write(tmp_path / "bad.yaml", "unknown key")
    result = run("saga", "lint", bad, good)
    assert result.exit_code == 1
    assert result.stdout.splitlines() == [
        "bad.yaml:3:5: SAGA010 unknown key",
        "good.yaml: ok, loan 1",
    ]
    assert run("saga", "lint", good).exit_code == 0


PARENT = """\
apiVersion: tercet/v1
kind: Saga
metadata: {name: parent, version: 1.0.0}
steps:
- {id: run, saga: child@1.0.0}
"""
CHILD = PARENT.replace("parent", "child").replace("saga: child@1.0.0", "call: a.b")


def test_lint_draws_a_caret_under_the_column(run, tmp_path):
    """The line of the text stands below, so that nobody has to open the file."""
    bad = write(tmp_path / "bad.yaml", CHILD.replace("call:", "cal:"))
    result = run("saga", "lint", bad)
    assert result.exit_code == 1
    assert result.stdout.splitlines() == [
        "bad.yaml:5:13: SAGA010 unknown key 'cal' in step; did you mean 'call'?",
        "    5 | - {id: run, cal: a.b}",
        "      |             ^",
    ]


def test_lint_finds_child_sagas_among_its_files(run, tmp_path):
    """In any order; alone, a saga that runs another one cannot be judged."""
    child = write(tmp_path / "child.yaml", CHILD)
    parent = write(tmp_path / "parent.yaml", PARENT)
    assert run("saga", "lint", parent, child).exit_code == 0
    result = run("saga", "lint", parent)
    assert result.exit_code == 1
    assert "SAGA024" in result.stdout


def test_publish_sends_child_sagas_first(ask, server, tmp_path):
    """So that each is known when the next one needs it."""
    child = write(tmp_path / "child.yaml", CHILD)
    parent = write(tmp_path / "parent.yaml", PARENT)
    server.answers["PublishSaga"] = published()
    result = ask("saga", "publish", parent, child)
    assert result.exit_code == 0, result.output
    assert [request.source for _, request in server.asked] == [child, parent]


def test_publish_lets_the_coordinator_look_for_child_sagas(ask, server, tmp_path):
    """What is published already is not among the files."""
    server.answers["PublishSaga"] = published("parent")
    result = ask("saga", "publish", write(tmp_path / "parent.yaml", PARENT))
    assert result.exit_code == 0, result.output
    assert result.stdout == "published parent 1 d1\n"


def test_lint_as_json_has_stable_keys(run, tmp_path, checked):
    """A file with findings has the same keys as one without."""
    files = [write(tmp_path / "good.yaml", "ok"), write(tmp_path / "bad.yaml", "odd")]
    result = run("saga", "lint", "--output", "json", *files)
    assert result.exit_code == 1
    good, bad = json.loads(result.stdout)["files"]
    assert list(good) == list(bad)
    assert good == {
        "source": "good.yaml",
        "ok": True,
        "name": "loan",
        "version": "1",
        "digest": "d1",
        "findings": [],
    }
    assert bad["findings"] == [
        {"line": 3, "column": 5, "code": "SAGA010", "message": "odd", "suggestion": ""}
    ]


@pytest.mark.parametrize("command", ["lint", "publish"])
@pytest.mark.parametrize(
    ("name", "word"),
    [
        ("missing.yaml", "there is no file"),
        ("folder", "directory"),
        ("latin1.yaml", "UTF-8"),
        ("large.yaml", "1 MiB"),
        ("nul\0.yaml", "name"),
        ("", "empty"),
    ],
)
def test_files_that_cannot_be_read_are_code_2(run, tmp_path, command, name, word):
    """The line names the file and what is wrong with it."""
    (tmp_path / "folder").mkdir()
    (tmp_path / "latin1.yaml").write_bytes("größe: 1".encode("latin-1"))
    (tmp_path / "large.yaml").write_bytes(b"#" * (1024 * 1024 + 1))
    result = run("saga", command, name)
    assert result.exit_code == 2
    assert result.stdout == ""
    (line,) = result.stderr.splitlines()
    assert line.startswith("error: FILE: ")
    assert word in line


def test_publish_sends_the_text_as_it_stands(ask, server, tmp_path, checked):
    """The coordinator gets the file's bytes and its name."""
    server.answers["PublishSaga"] = published()
    name = write(tmp_path / "loan.yaml", "ok")
    result = ask("saga", "publish", name)
    assert result.exit_code == 0, result.output
    assert server.request("PublishSaga") == admin_pb2.PublishSagaRequest(
        text="ok", source="loan.yaml"
    )
    assert result.stdout == "published loan 1 d1\n"


def test_publish_publishes_nothing_when_one_file_has_findings(
    ask, server, tmp_path, checked
):
    """All files are checked before the first is sent."""
    files = [write(tmp_path / "good.yaml", "ok"), write(tmp_path / "bad.yaml", "odd")]
    result = ask("saga", "publish", *files)
    assert result.exit_code == 1
    assert result.stderr == "bad.yaml:3:5: SAGA010 odd\n"
    assert server.asked == []


def test_publish_of_another_text_under_a_taken_version_is_code_4(
    ask, server, tmp_path, checked
):
    """What is published stays what it is."""
    server.answers["PublishSaga"] = (
        grpc.StatusCode.ALREADY_EXISTS,
        types_pb2.Error(reason="VERSION_EXISTS", message="choose another version"),
    )
    result = ask("saga", "publish", write(tmp_path / "a.yaml", "ok"), "--output=json")
    assert result.exit_code == 4
    assert json.loads(result.stdout) == {"sagas": []}
    assert result.stderr == "error: choose another version (VERSION_EXISTS)\n"


def test_list_shows_names_and_versions(ask, server):
    """As a table, as JSON, and when there is none."""
    server.answers["ListSagas"] = admin_pb2.ListSagasReply(definitions=[published()])
    assert "loan  1" in ask("saga", "list").stdout
    assert json.loads(ask("saga", "list", "--output", "json").stdout) == {
        "sagas": [
            {
                "name": "loan",
                "version": "1",
                "digest": "d1",
                "published_at": "2023-11-14T22:13:20.000Z",
            }
        ],
        "next_page_token": "",
    }
    server.answers["ListSagas"] = admin_pb2.ListSagasReply()
    assert ask("saga", "list").stdout.startswith("no sagas")


def test_the_list_is_paged_and_narrowed(ask, server):
    """The token of one page asks for the next."""
    server.answers["ListSagas"] = admin_pb2.ListSagasReply(
        definitions=[published()], next_page_token="t"
    )

    result = ask(
        *("saga", "list", "--name", "loan", "--limit", "1", "--page-token", "s")
    )

    asked = server.request("ListSagas")
    assert (asked.name, asked.limit, asked.page_token) == ("loan", 1, "s")
    assert "--page-token t" in result.stderr


def test_run_ends_with_0_when_completed(ask, server, loan):
    """Progress goes to stderr, a line a change; the result to stdout."""
    server.answers["SubmitSaga"] = loan(types_pb2.RUNNING)
    server.answers["Watch"] = [
        [
            loan(types_pb2.RUNNING, BUSY),
            loan(types_pb2.RUNNING, BUSY),
            loan(
                types_pb2.COMPLETED,
                DONE,
                output=types_pb2.Payload(
                    data=b'{"id": 7}', content_type="application/json"
                ),
            ),
        ]
    ]
    result = ask("saga", "run", "loan", "--input", '{"amount": 1.10}', "--gid", "l-1")
    assert result.exit_code == 0, result.output
    assert server.request("SubmitSaga") == coordinator_pb2.SubmitSagaRequest(
        gid="l-1",
        name="loan",
        input=types_pb2.Payload(
            data=b'{"amount": 1.10}', content_type="application/json"
        ),
    )
    assert server.request("Watch") == coordinator_pb2.GetRequest(
        gid="l-1", with_branches=True
    )
    assert result.stderr.splitlines() == [
        "l-1 RUNNING",
        "  assess RUNNING after 2 attempts (TIMEOUT)",
        "l-1 COMPLETED",
        "  assess SUCCEEDED",
    ]
    assert result.stdout.splitlines() == [
        "gid          l-1",
        "name         loan",
        "status       COMPLETED",
        'output       {"id": 7}',
    ]


@pytest.mark.parametrize("status", [types_pb2.COMPENSATED, types_pb2.RESOLVED])
def test_run_ends_with_1_when_it_ended_otherwise(ask, server, loan, status):
    """A script can tell a saga that completed from one that turned back."""
    server.answers["SubmitSaga"] = loan(types_pb2.RUNNING)
    server.answers["Watch"] = [
        [loan(status, reason_code="TOO_RISKY", attention_since_ms=5)]
    ]
    result = ask("saga", "run", "loan", "--output", "json")
    assert result.exit_code == 1
    assert json.loads(result.stdout)["reason_code"] == "TOO_RISKY"
    assert "(TOO_RISKY), needs a person" in result.stderr


def test_run_without_waiting_ends_when_accepted(ask, server, loan):
    """With --no-wait nothing is watched, and being accepted is success."""
    server.answers["SubmitSaga"] = loan(types_pb2.RUNNING)
    result = ask("saga", "run", "loan", "--no-wait", "--version", "1.2")
    assert result.exit_code == 0
    assert "status       RUNNING" in result.stdout
    assert [name for name, _ in server.asked] == ["SubmitSaga"]
    assert server.request("SubmitSaga").version == "1.2"


def test_run_makes_a_new_gid_each_time(ask, server, loan):
    """Two runs without --gid are two sagas."""
    server.answers["SubmitSaga"] = loan(types_pb2.RUNNING)
    ask("saga", "run", "loan", "--no-wait")
    ask("saga", "run", "loan", "--no-wait")
    first, second = [request.gid for _, request in server.asked]
    assert first
    assert first != second


def test_run_reads_its_input_from_a_file(ask, server, loan, tmp_path):
    """``@FILE`` is sent as it stands, so that no number is spelled anew."""
    (tmp_path / "in.json").write_text('\n{"amount": 0.1000}\n')
    server.answers["SubmitSaga"] = loan(types_pb2.RUNNING)
    assert ask("saga", "run", "loan", "--no-wait", "--input=@in.json").exit_code == 0
    assert server.request("SubmitSaga").input.data == b'{"amount": 0.1000}'


@pytest.mark.parametrize(
    "given",
    [
        "{",
        "",
        '{"a": NaN}',
        "[" * 100_000,
        '"\udc80"',
        "@missing.json",
        "@",
        "1" * 5_000,
    ],
)
def test_input_that_is_no_json_is_code_2(ask, server, given):
    """Nothing is submitted, and the line names the option."""
    result = ask("saga", "run", "loan", f"--input={given}")
    assert result.exit_code == 2
    (line,) = result.stderr.splitlines()
    assert line.startswith("error: --input: ")
    assert server.asked == []


@pytest.mark.parametrize(
    "arguments", [("lo an",), ("loan", "--gid", "a b"), ("loan", "--version", "\n"), ()]
)
def test_wrong_names_are_code_2(ask, server, arguments):
    """Nothing is submitted under a name that cannot be."""
    assert ask("saga", "run", *arguments).exit_code == 2
    assert server.asked == []


def test_unknown_saga_is_code_3(ask, server):
    """The coordinator says that it knows no such saga."""
    server.answers["SubmitSaga"] = (
        grpc.StatusCode.NOT_FOUND,
        types_pb2.Error(reason="NOT_FOUND", message="no saga 'loan'", field="name"),
    )
    result = ask("saga", "run", "loan")
    assert result.exit_code == 3
    assert result.stderr == "error: name: no saga 'loan' (NOT_FOUND)\n"


def test_a_lost_reply_says_how_to_ask_again(ask, server):
    """Nobody can know whether it was accepted; the same gid is safe."""
    server.answers["SubmitSaga"] = UNAVAILABLE
    result = ask("saga", "run", "loan", "--gid", "l-1")
    assert result.exit_code == 5
    assert "run it again with --gid l-1" in result.stderr


def test_watching_survives_a_coordinator_that_is_restarted(
    ask, server, loan, monkeypatch
):
    """A broken stream is opened again, and the saga's end is still seen."""
    monkeypatch.setattr("coordinator.cli.client.RECONNECT_SECONDS", 0)
    server.answers["SubmitSaga"] = loan(types_pb2.RUNNING)
    server.answers["Watch"] = [
        [loan(types_pb2.RUNNING, BUSY), UNAVAILABLE],
        [UNAVAILABLE],
        [loan(types_pb2.COMPLETED, DONE)],
    ]
    result = ask("saga", "run", "loan")
    assert result.exit_code == 0, result.output
    assert [name for name, _ in server.asked].count("Watch") == 3


def test_watching_ends_with_5_when_the_coordinator_stays_away(
    ask, server, loan, monkeypatch
):
    """The line says that the saga goes on and how to look at it."""
    monkeypatch.setattr("coordinator.cli.client.RECONNECT_SECONDS", 0)
    server.answers["SubmitSaga"] = loan(types_pb2.RUNNING)
    server.answers["Watch"] = [[UNAVAILABLE]] * 100_000
    result = ask("saga", "run", "loan", "--timeout", "1")
    assert result.exit_code == 5
    assert "l-1 goes on without this command: tercet tx show l-1" in result.stderr


def test_ctrl_c_stops_watching_and_not_the_saga(ask, server, loan, monkeypatch):
    """Code 130, and how to look at it later."""

    def interrupted(_client, _request):
        raise KeyboardInterrupt
        yield

    monkeypatch.setattr("coordinator.cli.client.Client.watch", interrupted)
    server.answers["SubmitSaga"] = loan(types_pb2.RUNNING)
    result = ask("saga", "run", "loan")
    assert result.exit_code == 130
    assert "l-1 goes on without this command: tercet tx show l-1" in result.stderr


def test_watching_tells_what_the_coordinator_refuses(ask, server, loan):
    """Only a broken connection is worth another attempt."""
    server.answers["SubmitSaga"] = loan(types_pb2.RUNNING)
    server.answers["Watch"] = [[(grpc.StatusCode.INTERNAL, None)]]
    assert ask("saga", "run", "loan").exit_code == 6


def test_a_terminal_gets_a_live_table(ask, server, loan, monkeypatch):
    """The table shows each step; on stdout there is still only the result."""
    server.answers["SubmitSaga"] = loan(types_pb2.RUNNING)
    server.answers["Watch"] = [
        [loan(types_pb2.RUNNING, BUSY), loan(types_pb2.COMPLETED, DONE)]
    ]
    monkeypatch.setattr(
        "coordinator.cli.output.is_pretty", lambda stream: stream.name == "<stderr>"
    )
    result = ask("saga", "run", "loan")
    assert result.exit_code == 0, result.output
    assert "assess" in result.stderr
    assert "SUCCEEDED" in result.stderr
    assert "assess" not in result.stdout
