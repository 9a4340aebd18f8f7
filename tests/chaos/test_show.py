"""What a run says."""

import io
from pathlib import Path

import pytest

from tests.chaos.__main__ import last_line
from tests.chaos.doctored import TCC
from tests.chaos.history import History
from tests.chaos.judge import Violation
from tests.chaos.options import Options
from tests.chaos.run import Result
from tests.chaos.show import Counted, Show

OPTIONS = Options(store="mariadb", seconds=60, seed=7)


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


def result(**fields: object) -> Result:
    made = Result(transfers=9, unavailable_seconds=2)
    made.tally.counts.update({"node_killed": 2, "disk_full": 1})
    for name, value in fields.items():
        setattr(made, name, value)
    return made


def test_good_run_ends_with_its_figures() -> None:
    """One line that a script can read."""
    assert last_line(OPTIONS, result(), Path("kept")) == (
        "CHAOS OK store=mariadb transfers=9 faults=3 kinds=2 unavailable_seconds=2"
        " violations=0"
    )


@pytest.mark.parametrize(
    ("fields", "gids"),
    [
        (
            {"violations": [Violation("T7", "g-1", "lost")]},
            "violations=1 gates_missed=0",
        ),
        ({"missed": ["throughput"]}, "violations=0 gates_missed=1"),
    ],
)
def test_failed_run_says_where_to_look(fields: dict[str, object], gids: str) -> None:
    """Violations or a missed gate: the seed, the gids and the folder are named."""
    text = last_line(OPTIONS, result(**fields), Path("kept"))

    assert text.startswith("CHAOS FAILED store=mariadb ")
    assert gids in text
    assert ("gids=g-1" in text) == ("violations" in fields)
    assert text.endswith("kept=kept")
    assert "seed=7" in text


def test_terminal_has_no_line_for_each_fault() -> None:
    """There one line is renewed; elsewhere each event has a line of its own."""
    terminal, file = Terminal(), io.StringIO()
    for out in (terminal, file):
        show = Show(out)
        show.say("node_killed node-1")
        show.end("CHAOS OK")

    assert terminal.getvalue() == "\r\x1b[KCHAOS OK\n"
    assert file.getvalue().splitlines()[0].endswith(" s  node_killed node-1")
    assert file.getvalue().endswith("CHAOS OK\n")


def test_histories_are_counted_as_they_grow(tmp_path: Path) -> None:
    """Each line once, however often one looks, and a torn one not at all."""
    counted = Counted(tmp_path)
    path = tmp_path / "history-client-1-0.jsonl"
    with History(path) as history:
        history.invoke(TCC)
        assert counted.look() == {"invoke": 1}
        history.note("ok", TCC.gid)
        with path.open("a") as torn:
            torn.write('{"word"')
        assert counted.look() == {"invoke": 1, "ok": 1}
        assert counted.look() == {"invoke": 1, "ok": 1}
