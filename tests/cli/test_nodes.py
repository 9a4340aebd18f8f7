"""``tercet nodes``: who is there."""

import json

import pytest

from protos.v1 import admin_pb2

ALL = admin_pb2.ListNodesReply(
    nodes=[
        admin_pb2.Node(
            node_id="n-1",
            address="h:1",
            heartbeat=12,
            alive=True,
            answers=True,
            version="1.2.3",
        ),
        admin_pb2.Node(node_id="n-2", address="h:2", heartbeat=9, alive=True),
        admin_pb2.Node(node_id="n-3", address="h:3", heartbeat=4, silent_ms=7_900),
    ]
)


def test_nodes_are_a_table(run, server):
    """Who answers, who lives, and who is silent for how long."""
    server.answers["ListNodes"] = ALL
    result = run("nodes", "--server", server.address)
    assert result.exit_code == 0, result.output
    assert [line.split() for line in result.stdout.splitlines()] == [
        ["ADDRESS", "NODE", "STATE", "HEARTBEAT", "VERSION"],
        ["h:1", "n-1", "alive,", "answers", "12", "1.2.3"],
        ["h:2", "n-2", "alive", "9", "-"],
        ["h:3", "n-3", "silent", "for", "7", "s", "4", "-"],
    ]


def test_what_is_unsafe_stands_below_the_table(run, server):
    """An operator who asks is told again what was accepted at the start."""
    unsafe = "fsync=off: a crash loses commits; set it to on"
    node = admin_pb2.Node(address="h:1", alive=True, answers=True, warnings=[unsafe])
    server.answers["ListNodes"] = admin_pb2.ListNodesReply(nodes=[node])
    told = run("nodes", "--server", server.address).stdout.splitlines()
    assert told[-1] == f"WARNING: h:1 serves with {unsafe}"
    as_json = run("nodes", "--output", "json", "--server", server.address).stdout
    assert json.loads(as_json)["nodes"][0]["warnings"] == [unsafe]


def test_nodes_are_json(run, server):
    """Every field, for scripts."""
    server.answers["ListNodes"] = ALL
    result = run("nodes", "--output", "json", "--server", server.address)
    told = json.loads(result.stdout)["nodes"]
    assert [(n["address"], n["state"], n["answers"]) for n in told] == [
        ("h:1", "alive", True),
        ("h:2", "alive", False),
        ("h:3", "silent", False),
    ]
    assert told[0]["version"] == "1.2.3"
    assert told[2] == {
        "node_id": "n-3",
        "address": "h:3",
        "state": "silent",
        "answers": False,
        "heartbeat": 4,
        "silent_ms": 7_900,
        "version": None,
        "warnings": [],
    }


@pytest.mark.parametrize("form", ["table", "json"])
def test_a_node_that_has_just_started_knows_nobody(run, server, form):
    """Its first heartbeat is under way."""
    server.answers["ListNodes"] = admin_pb2.ListNodesReply()
    result = run("nodes", "--output", form, "--server", server.address)
    assert result.exit_code == 0
    assert ("no heartbeat yet" in result.stdout) == (form == "table")
