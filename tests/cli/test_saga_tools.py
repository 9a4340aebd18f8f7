"""``tercet saga plan, graph, test, versions, diff, schema, signal``; ``run`` live."""

import json
import sys

import grpc
import pytest
from rich.console import Console

from coordinator.cli.progress import MEMBERS_SHOWN_MAX, tree_of
from protos.v1 import admin_pb2, coordinator_pb2, types_pb2
from tests.saga_kit.sagas import CHAIN, CHILD, WHOLE

GIVEN = '{"parts": ["a", "b", "c"], "vip": true}'
NOT_FOUND = (grpc.StatusCode.NOT_FOUND, types_pb2.Error(message="no such saga"))


@pytest.fixture
def whole(tmp_path):
    """The arguments that name a saga of every element, and its child."""
    (tmp_path / "whole.yaml").write_text(WHOLE)
    (tmp_path / "child.yaml").write_text(CHILD)
    return "whole.yaml", "child.yaml"


@pytest.fixture
def chain(tmp_path):
    (tmp_path / "chain.yaml").write_text(CHAIN)
    return "chain.yaml"


def definitions(texts):
    """What a coordinator answers that has these sagas, by name and version."""

    def published(request):
        text = texts.get((request.name, request.version))
        if text is None:
            return NOT_FOUND
        return admin_pb2.SagaDefinition(
            name=request.name, version=request.version, digest="d", text=text
        )

    return published


CATALOGUE = admin_pb2.ListOperationsReply(
    operations=[
        types_pb2.Operation(
            name=name,
            kind=kind,
            participant=name.partition(".")[0],
            compensable=True,
            output_schema=schema,
        )
        for name, kind, schema in (
            ("a.do", types_pb2.OPERATION_ACTION, '{"type": "object"}'),
            ("a.undo", types_pb2.OPERATION_ACTION, ""),
            ("b.reserve", types_pb2.OPERATION_TCC, ""),
            ("c.do", types_pb2.OPERATION_ACTION, ""),
            ("c.undo", types_pb2.OPERATION_ACTION, ""),
        )
    ]
)

# ---- plan -------------------------------------------------------------------------


def test_plan_shows_waves_inputs_and_what_is_not_known(run, whole):
    """A line a step, with what it is called with and what undoes it."""
    result = run("saga", "plan", *whole, "--input", GIVEN)

    assert result.exit_code == 0, result.output
    lines = [" ".join(line.split()) for line in result.stdout.splitlines()]
    assert '1 reserve tcc treasury.funds yes {"a": 1} cancel' in lines
    assert '2 parts:0 - - {"part": "a"} -' in lines
    assert "3 cool wait 30s yes - -" in lines
    assert (
        "5 book call ledger.post yes {} "
        'ledger.reverse {"entry": "${steps.book.output.entry}"}' in lines
    )
    assert "6 pay call rails.transfer (pivot) yes {} -" in lines
    assert lines[-1].startswith("longest path: reserve -> parts -> cool -> approve")


def test_plan_as_json_marks_what_is_not_known(run, whole):
    """Values, and the expressions in them that are open."""
    result = run("saga", "plan", *whole, "--input", GIVEN, "--output", "json")

    shown = json.loads(result.stdout)
    by_name = {step["step"]: step for step in shown["steps"]}
    assert shown["problems"] == []
    assert by_name["book"]["calls"][0]["compensation"]["input"] == {
        "value": {"entry": "${steps.book.output.entry}"},
        "unknown": ["steps.book.output.entry"],
        "problem": None,
    }
    assert by_name["parts"]["child"]["steps"][0]["step"] == "parts:hold"
    skipped = run(
        *("saga", "plan", *whole, "--output", "json"),
        *("--input", GIVEN.replace("true", "false")),
    )
    assert json.loads(skipped.stdout)["steps"][1]["skipped"] is True


def test_plan_says_what_will_fail(run, tmp_path):
    """Exit code 1: no participant's answer can make it right."""
    (tmp_path / "chain.yaml").write_text(
        CHAIN.replace("tcc: b.reserve", 'tcc: b.reserve\n  input: "${input.amount}"')
    )

    result = run("saga", "plan", "chain.yaml")

    assert result.exit_code == 1
    assert "will fail: second: ${input.amount}: input is a map without" in result.stdout


@pytest.mark.parametrize("command", ["plan", "test"])
def test_an_input_that_the_saga_would_refuse_is_code_2(run, whole, command):
    """The schema is checked first; the line names the field."""
    result = run("saga", command, *whole, "--input", '{"parts": []}')

    assert result.exit_code == 2
    assert result.stderr.startswith("error: --input: input.")


@pytest.mark.parametrize("command", ["plan", "graph", "test"])
def test_a_saga_with_findings_is_code_1(run, tmp_path, command):
    """The findings are told as lint tells them."""
    (tmp_path / "bad.yaml").write_text(CHAIN.replace("steps:", "stepz:"))

    result = run("saga", command, "bad.yaml")

    assert result.exit_code == 1
    assert result.stdout == ""
    assert "bad.yaml:6:1: SAGA010" in result.stderr


def test_a_server_gives_the_catalogue_and_the_children(ask, server, whole):
    """What is in no file is asked for; what is unknown there is a finding."""
    server.answers["ListOperations"] = CATALOGUE
    server.answers["GetSaga"] = definitions({("reserve-parts", "1.0.0"): CHILD})

    result = ask("saga", "lint", whole[0], "--server", server.address)

    assert result.exit_code == 1
    assert "the catalogue has no operation treasury.funds" in result.stdout
    assert [request.name for n, request in server.asked if n == "GetSaga"] == [
        "reserve-parts"
    ]


def test_without_server_nobody_is_asked(ask, server, whole):
    """Not even when the environment names a coordinator."""
    assert ask("saga", "lint", *whole).exit_code == 0
    assert ask("saga", "plan", *whole, "--input", GIVEN).exit_code == 0
    assert server.asked == []


# ---- graph ------------------------------------------------------------------------


def test_graph_writes_mermaid_and_svg(run, whole, tmp_path):
    """Mermaid on stdout, or an image in a file or on stdout."""
    assert "flowchart TB" in run("saga", "graph", *whole).stdout
    result = run("saga", "graph", *whole, "--svg", "out.svg")
    assert result.exit_code == 0, result.output
    drawn = (tmp_path / "out.svg").read_text()
    assert drawn.startswith("<svg ")
    assert run("saga", "graph", *whole, "--svg", "-").stdout == drawn
    shown = json.loads(run("saga", "graph", *whole, "--output", "json").stdout)
    assert shown["steps"][3] == {
        "step": "parts:hold",
        "kind": "tcc",
        "needs": [],
        "status": None,
        "note": None,
    }


def test_graph_of_a_gid_has_the_states(ask, server, loan):
    """The version that it runs is asked for, and each step has its state."""
    server.answers["Get"] = loan(
        types_pb2.COMPENSATING,
        types_pb2.Branch(branch_id="first", status=types_pb2.BRANCH_COMPENSATING),
        types_pb2.Branch(branch_id="third", status=types_pb2.BRANCH_REFUSED),
        definition_version="1.0.0",
        reason_code="TOO_LATE",
    )
    server.answers["GetSaga"] = definitions({("loan", "1.0.0"): CHAIN})

    result = ask("saga", "graph", "--gid", "l-1")

    assert result.exit_code == 0, result.output
    assert "title: 'loan 1.0.0, l-1: COMPENSATING (TOO_LATE)'" in result.stdout
    assert "class n0 back" in result.stdout
    assert "class n2 no" in result.stdout


def test_graph_wants_one_thing(run, ask, server, whole, transfer, tmp_path):
    """A file or a gid; a TCC transaction has no graph; a file that can be written."""
    assert run("saga", "graph").exit_code == 2
    assert run("saga", "graph", *whole, "--gid", "g").exit_code == 2
    server.answers["Get"] = coordinator_pb2.TransactionReply(transaction=transfer)
    refused = ask("saga", "graph", "--gid", "t-1")
    assert refused.exit_code == 4
    assert "has no graph" in refused.stderr
    assert run("saga", "graph", *whole, "--svg", "no/where.svg").exit_code == 2


# ---- test -------------------------------------------------------------------------


def test_test_prints_every_end_and_that_the_rules_were_kept(run, chain):
    """A line a scenario; exit code 0 when all is well."""
    result = run("saga", "test", chain)

    assert result.exit_code == 0, result.output
    lines = [" ".join(line.split()) for line in result.stdout.splitlines()]
    assert lines[1] == "nothing goes wrong COMPLETED - 4 kept"
    assert "third: action is refused COMPENSATED REFUSED_IN_TEST 5 kept" in lines, lines
    assert lines[-1] == "all rules kept"
    shown = json.loads(run("saga", "test", chain, "--output", "json").stdout)
    assert shown["ok"] is True
    assert shown["scenarios"][1]["faults"] == [
        {"branch": "first", "moment": "action", "kind": "REFUSED"}
    ]


def test_test_fails_when_an_end_is_never_reached(run, chain):
    """It says why, and what to do when the stubs are the cause."""
    result = run("saga", "test", chain, "--outputs", '{"a.do": {}}', "--scenarios", "2")

    assert result.exit_code == 1
    assert "COMPLETED was never reached; with nothing going wrong" in result.stdout
    assert "give --input or --outputs" in result.stdout
    assert "more were not run" in result.stdout


def test_test_fails_when_a_rule_is_broken(run, chain, monkeypatch):
    """With the rule and the scenario that broke it."""
    from coordinator.core import undo

    monkeypatch.setattr(undo, "is_undoable", lambda _place: False)
    result = run("saga", "test", chain)

    assert result.exit_code == 1
    assert "S3: first is in effect in a saga that is COMPENSATED" in result.stdout
    assert "rules broken in" in result.stdout


def test_test_takes_outputs_from_the_catalogue(ask, server, chain):
    """What the schema does not name, and the saga reads, is answered too."""
    server.answers["ListOperations"] = CATALOGUE

    result = ask("saga", "test", chain, "--server", server.address, "--scenarios", "1")

    assert result.exit_code == 1  # one scenario cannot reach both ends
    assert "COMPENSATED was never reached" in result.stdout
    assert "1 COMPLETED" in result.stdout


@pytest.mark.parametrize("given", ["[1]", "{", '"x"'])
def test_outputs_that_are_no_map_are_code_2(run, chain, given):
    """The line names the option."""
    result = run("saga", "test", chain, "--outputs", given)

    assert result.exit_code == 2
    assert result.stderr.startswith("error: --outputs: ")


# ---- versions, diff, schema -------------------------------------------------------


def published(name, version, at):
    return admin_pb2.SagaDefinition(
        name=name, version=version, digest=f"d{version}", published_at_ms=at
    )


def test_versions_mark_the_latest(ask, server):
    """Of one saga, each version; of all, the latest and how many."""
    server.answers["ListSagas"] = admin_pb2.ListSagasReply(
        definitions=[published("loan", "2", 2_000), published("loan", "1", 1_000)]
    )
    shown = json.loads(ask("saga", "versions", "loan", "--output", "json").stdout)
    assert [(one["version"], one["latest"]) for one in shown["versions"]] == [
        ("2", True),
        ("1", False),
    ]
    lines = ask("saga", "versions").stdout.splitlines()
    assert lines[1].split() == ["loan", "2", "1970-01-01T00:00:02.000Z", "2"]


def test_versions_of_nothing(ask, server):
    """An unknown name is code 3."""
    server.answers["ListSagas"] = admin_pb2.ListSagasReply()

    assert ask("saga", "versions", "loan").exit_code == 3
    assert ask("saga", "versions").stdout.startswith("no sagas")


def test_diff_compares_meaning_and_text(ask, server):
    """What changed, step by step; then the lines of the files."""
    server.answers["GetSaga"] = definitions(
        {
            ("chain", "1"): CHAIN,
            ("chain", "2"): CHAIN.replace("timeout: 5m", "timeout: 6m").replace(
                "- id: second\n  tcc: b.reserve\n", ""
            ),
        }
    )
    result = ask("saga", "diff", "chain", "1", "2")
    assert result.exit_code == 0, result.output
    lines = result.stdout.splitlines()
    assert lines[0] == "~ saga: timeout: 5m -> 6m"
    assert lines[1].startswith('- second: the step: {"id": "second"')
    assert lines[2] == '~ third: needs: ["second"] -> ["first"]'
    assert "-timeout: 5m" in lines
    assert "+timeout: 6m" in lines
    shown = json.loads(ask("saga", "diff", "chain", "1", "2", "--output=json").stdout)
    assert shown["differences"][0] == {
        "where": "saga",
        "what": "timeout",
        "before": 300_000,
        "after": 360_000,
    }


def test_diff_of_the_same_says_so(ask, server):
    """Another comment is a difference in the text alone."""
    server.answers["GetSaga"] = definitions(
        {("chain", "1"): CHAIN, ("chain", "2"): CHAIN + "# again\n"}
    )

    lines = ask("saga", "diff", "chain", "1", "2").stdout.splitlines()

    assert lines[0] == "no difference in what they mean"
    assert lines[-1] == "+# again"
    assert ask("saga", "diff", "chain", "1", "3").exit_code == 3


def test_schema_is_the_one_that_is_shipped(run):
    """So that an editor and lint know the same keys."""
    from coordinator.saga_yaml.schema import saga_schema

    assert json.loads(run("saga", "schema").stdout) == saga_schema()


# ---- signal -----------------------------------------------------------------------


def test_signal_sends_its_data_as_it_stands(ask, server, loan):
    """The bytes are those that were written; without data there is none."""
    server.answers["SignalSaga"] = loan(types_pb2.RUNNING)
    result = ask("saga", "signal", "l-1", "approved", "--data", '{"by": "ann"}')
    assert result.exit_code == 0, result.output
    assert server.request("SignalSaga") == coordinator_pb2.SignalSagaRequest(
        gid="l-1",
        name="approved",
        payload=types_pb2.Payload(
            data=b'{"by": "ann"}', content_type="application/json"
        ),
    )
    assert result.stdout.splitlines() == [
        "gid     l-1",
        "name    loan",
        "status  RUNNING",
    ]


def test_a_signal_that_nobody_awaits_is_code_2(ask, server):
    """The coordinator says which ones are awaited."""
    server.answers["SignalSaga"] = (
        grpc.StatusCode.INVALID_ARGUMENT,
        types_pb2.Error(field="name", message="awaited are: approved"),
    )
    result = ask("saga", "signal", "l-1", "aproved")

    assert result.exit_code == 2
    assert result.stderr == "error: name: awaited are: approved\n"


# ---- run, on a terminal -----------------------------------------------------------


def drawn(tx, now_ms=0.0):
    console = Console(file=sys.stdout, width=100, record=True)
    with console.capture() as captured:
        console.print(tree_of(tx, now_ms))
    return captured.get().splitlines()


def branch(branch_id, status, **fields):
    return types_pb2.Branch(branch_id=branch_id, status=status, **fields)


def test_the_tree_has_state_attempts_and_time():
    """Members stand below their group, under their own name."""
    tx = types_pb2.Transaction(
        gid="g",
        name="loan",
        status=types_pb2.RUNNING,
        created_at_ms=1_000,
        branches=[
            branch("parts", types_pb2.BRANCH_WAITING, started_at_ms=1_000),
            branch(
                "parts:0",
                types_pb2.BRANCH_RUNNING,
                operation="a.do",
                parent_branch_id="parts",
                attempts=2,
                started_at_ms=1_500,
                error_code="TIMEOUT",
            ),
            branch(
                "book:fallback-1",
                types_pb2.BRANCH_SUCCEEDED,
                started_at_ms=1_000,
                finished_at_ms=1_250,
            ),
            branch(
                ":signal:approved",
                types_pb2.BRANCH_SUCCEEDED,
                kind=types_pb2.KIND_SIGNAL,
            ),
        ],
    )
    lines = drawn(tx, 3_000)
    assert lines == [
        "loan g RUNNING  2.0 s",
        "├── ▸ parts WAITING  2.0 s",
        "│   └── ▸ 0 a.do RUNNING  2 failed attempts  1.5 s  TIMEOUT",
        "├── ✓ book:fallback-1 SUCCEEDED  0.2 s",
        "└── ✓ signal approved SUCCEEDED  ",
    ]


def test_a_long_list_shows_what_matters():
    """What is under way or failed first, and a count of the others."""
    done = [
        branch(f"l:{n}", types_pb2.BRANCH_SUCCEEDED, parent_branch_id="l")
        for n in range(40)
    ]
    done[3].status = types_pb2.BRANCH_REFUSED
    tx = types_pb2.Transaction(
        branches=[branch("l", types_pb2.BRANCH_WAITING), *done],
        branches_omitted=5,
    )
    *lines, omitted = drawn(tx)

    assert omitted == "└── and 5 that had no room"
    assert len(lines) == MEMBERS_SHOWN_MAX + 3
    assert "✕ 3 REFUSED" in lines[2]
    assert lines[-1].strip("│└─ ") == f"and {40 - MEMBERS_SHOWN_MAX} more: 28 SUCCEEDED"
