"""The report: one line that programs read, and what stands above it."""

import json
import re

import pytest

from bench.speed.figures import Window
from bench.speed.options import options_of
from bench.speed.report import Result, as_json, last_line, table


def window(ended: int, *, commits: int = 10) -> Window:
    return Window(
        seconds=2.0,
        ended=ended,
        refused=0,
        latency_ms={50.0: 10.04, 90.0: 20.0, 99.0: 30.0, 99.9: 40.0},
        cpu_seconds={"coordinator": 1.0, "participant": 0.25, "initiator": 0.75},
        commits=commits,
        rows=ended * 10,
        moves=ended * 3,
        rss_mib=80.0,
        sync_ms={99.0: 2.5, 100.0: 700.0},
        loop_us={50.0: 250.0, 90.0: 410.0},
        tenths={"p50 ms": [9.0, *[10.0] * 8, 12.0], "p99.9 ms": []},
    )


def result(*arguments: str, limit: bool = True) -> Result:
    windows = {"limit": [window(4_000), window(6_000), window(8_000)]} if limit else {}
    tercet = [window(2_000), window(1_000), window(3_000)]
    return Result(options_of(arguments), windows={**windows, "tercet": tercet})


def test_the_last_line_has_every_figure():
    """Medians over the rounds, and the ratio of the two that stand beside it."""
    assert last_line(result()) == (
        "BENCH workload=saga2 store=postgresql in_flight=256 tercet_per_s=1000"
        " limit_per_s=3000 ratio=0.333 p50_ms=10.0 p99_ms=30.0"
        " commits_per_tx=0.005 rows_per_tx=10.0 cpu_s_per_1000=1.00"
    )


def test_without_a_limit_program_the_line_says_so():
    """No figure is made up."""
    line = last_line(result("--store", "mariadb", limit=False))

    assert "store=mariadb" in line
    assert "limit_per_s=none ratio=none" in line


def test_what_differs_from_the_default_stands_in_the_line():
    """An open loop by its rate, another participant by its name."""
    line = last_line(result("--rate", "500", "--participant", "barrier"))

    assert "in_flight=open" in line
    assert line.endswith(" rate=500 participant=barrier")


def test_the_table_shows_both_sides_and_how_rounds_differ():
    """Processes that were not there (an embedded database) have no row."""
    text = "\n".join(table(result()))

    assert re.search(r"transactions/s +3000 +1000", text)
    assert re.search(r"CPU us/tx coordinator +167 +500", text)
    assert "CPU us/tx database" not in text
    assert re.search(r"disk sync p99 ms +2.5 +2.5", text)
    assert re.search(r"disk sync p100 ms +700.0 +700.0", text)
    assert re.search(r"loop us p90 +410 +410", text)
    assert "ratio, round by round: 0.17 to 0.50" in text


def test_the_table_shows_how_each_window_of_an_open_loop_went():
    """A queue that grows would show; what a short window has too few of does not."""
    lines = table(result("--rate", "500"))

    assert lines[-2:] == [
        "tercet, run 3, by tenths of the window",
        "  p50 ms                  9" + "     10" * 8 + "     12",
    ]
    assert not any("by tenths" in line for line in table(result()))


def test_a_rate_may_be_a_share_of_what_a_closed_loop_ended_right_before():
    """The line has both; at a fixed rate nobody asks for the most."""
    measured = result("--rate", "70%")
    measured.most = [window(1_800), window(2_000), window(2_400)]

    assert last_line(measured).endswith(" rate=70% most_per_s=1000")
    assert "tercet, closed loop, run 2, by tenths of the window" in table(measured)
    most = json.loads(as_json(measured))["most"]
    assert [w["per_second"] for w in most] == [900, 1_000, 1_200]
    assert options_of(["--rate", "70%"]).load(most=1_000).per_second == 700
    assert options_of(["--rate", "500"]).load(most=1_000).per_second == 500


def test_without_a_rate_the_loop_is_closed():
    """So it is for a share as long as the most is not known."""
    assert options_of([]).load(most=1_000).per_second == 0
    assert options_of(["--rate", "70%"]).load().per_second == 0


def test_json_keeps_every_window():
    """So that others can judge what the medians leave out."""
    content = json.loads(as_json(result()))

    assert [w["per_second"] for w in content["windows"]["tercet"]] == [1000, 500, 1500]
    assert content["options"]["workload"] == "saga2"
    assert content["line"] == last_line(result())


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        (["--workload", "saga3"], "argument --workload: expected one of saga2, tcc2,"),
        (["--store", "oracle"], "expected one of postgresql, sqlite, mariadb, got 'or"),
        (["--in-flight", "0"], "expected a whole number from 1 to 2000, got '0'"),
        (["--runs", "many"], "argument --runs: expected a whole number from 1 to 100"),
        (["--rate", "-1"], "argument --rate: expected transactions a second from 0"),
        (["--rate", "0%"], "from 0 to 1e+06, or a share from 1% to 100%, got '0%'"),
        (["--rate", "101%"], "a share from 1% to 100%, got '101%'"),
        (["--rate", "5%0"], "a share from 1% to 100%, got '5%0'"),
        (["--seconds", "0"], "expected a number from 0.2 to 600, got '0'"),
        (["--sweep", "1,x"], "expected none, or whole numbers from 1 to 2000 with"),
        (["--peer", "dbos", "--workload", "tcc2"], "argument --peer: dbos is measured"),
        (["--quick"], "unrecognized arguments: --quick"),
    ],
)
def test_wrong_arguments_are_said_in_one_line(arguments, expected, capsys):
    """What is wrong, what was expected and what came."""
    with pytest.raises(SystemExit) as caught:
        options_of(arguments)

    said = capsys.readouterr().err
    assert caught.value.code == 2
    assert said.startswith("bench: ")
    assert expected in said
    assert said.count("\n") == 1
