"""Plans, gates and figures of a run."""

import random
from collections import Counter
from dataclasses import replace
from itertools import islice
from pathlib import Path

import pytest

from tests.chaos.doctored import TCC, good
from tests.chaos.evidence import Evidence
from tests.chaos.faults import kinds_of
from tests.chaos.figures import rejected_writes, unavailable_seconds
from tests.chaos.gates import check_gates
from tests.chaos.history import History, Line, read_lines
from tests.chaos.nemesis import TAIL_SECONDS, plan, rounds_of
from tests.chaos.network import Network
from tests.chaos.transfer import draw

KINDS = kinds_of(has_server=True, has_disk=True, has_tracer=True)


def busy(count: int) -> Evidence:
    """So many transfers of each end."""
    evidence = good()
    records = {
        f"{gid}-{number}": replace(record, gid=f"{gid}-{number}")
        for number in range(count)
        for gid, record in evidence.records.items()
    }
    return replace(evidence, records=records)


def gates(
    seconds: float = 60, *, evidence: Evidence | None = None, **changed: int
) -> list[str]:
    """What is missed by a run in which every kind happened often."""
    counts = Counter({kind.name: 100 for kind in KINDS})
    rejected = changed.pop("rejected", 1)
    counts.update({name: count - 100 for name, count in changed.items()})
    return list(
        check_gates(
            seconds=seconds,
            kinds=KINDS,
            counts=counts,
            evidence=evidence or busy(1_000),
            rejected_writes=rejected,
        )
    )


def test_plan_is_the_seed_s_alone() -> None:
    """The same seed gives the same faults at the same times, another one others."""
    first, again, other = (plan(KINDS, seconds=60, seed=seed) for seed in (7, 7, 8))

    assert first == again
    assert [b.kind.name for b in first] != [b.kind.name for b in other]


@pytest.mark.parametrize("seconds", [20, 60, 600])
def test_plan_has_every_kind_in_every_round(seconds: float) -> None:
    """Nothing depends on luck, and nothing begins too late to be over in time."""
    blows = plan(KINDS, seconds=seconds, seed=1)
    counts = Counter(blow.kind.name for blow in blows)

    assert set(counts) == {kind.name for kind in KINDS}
    assert set(counts.values()) == {rounds_of(seconds)}
    assert max(b.at for b in blows) <= max(seconds - TAIL_SECONDS, seconds / 2)
    assert [b.at for b in blows] == sorted(b.at for b in blows)


def test_kinds_are_those_that_can_be_injected() -> None:
    """A file has no links and no crash of its own; without root no disk is filled."""
    everything = {kind.name for kind in KINDS}
    poor = kinds_of(has_server=False, has_disk=False, has_tracer=False)
    without = {kind.name for kind in poor}

    assert len(everything) == 39
    assert "store_sync_failed" in everything - without
    assert "disk_full" in everything - without
    assert "store_crashed" in everything - without
    assert not any(name.startswith("store_link") for name in without)


async def test_every_link_that_can_be_hit_leads_through_a_proxy() -> None:
    """From clients and banks to nodes, from nodes to a bank that is called, and to the
    store; and none is spared.
    """
    victims = {v for kind in KINDS for v in kind.victims if ">" in v}

    async with Network() as network:
        await network.add_store(1)
        links = {link.name for link in network.links.values()}
        to_bank = network.push_address("node-1", "bank-2")

    assert victims == links
    assert "node-1>bank-2" in links
    assert "bank-2>node-1" not in links
    assert not to_bank.endswith(f":{network.bank_ports['bank-2']}")


def test_busy_run_passes_all_gates() -> None:
    """Short or long."""
    assert gates(60) == []
    assert gates(600) == []


def test_each_gate_is_missed_by_name() -> None:
    """Too few transfers, a kind of fault too rare, an end that never came, and in a
    long run no rejected write.
    """
    evidence = busy(1_000)
    no_saga = {g: r for g, r in evidence.records.items() if r.status != "COMPLETED"}

    assert gates(evidence=busy(10)) == [
        "throughput: 40 transfers, expected at least 60"
    ]
    assert gates(600, node_frozen=7) == ["fault node_frozen: 7 times, expected 8"]
    assert gates(evidence=replace(evidence, records=no_saga)) == [
        "end COMPLETED: 0 times, expected 1"
    ]
    assert gates(60, rejected=0) == []
    assert gates(600, rejected=0) == [
        "zombie: no write of a node that was thought dead was rejected"
    ]


def test_unavailable_seconds_are_those_without_an_answer() -> None:
    """Asking is no answer, giving up is none, and what is outside does not count."""
    lines = [
        Line("ok", "g", 10.2),
        Line("read", "g", 10.9),
        Line("invoke", "g", 11.5),
        Line("info", "g", 12.5),
        Line("begun", "g", 13.0),
        Line("ok", "g", 99.0),
    ]

    assert unavailable_seconds(lines, 10.0, 14.5) == 2


def test_rejected_writes_are_counted_from_the_logs(tmp_path: Path) -> None:
    """All of them, over all nodes; a line that a kill has cut off is left out."""
    log = tmp_path / "node.log"
    one = '{"event": "commit_conflicted", "count": 2}\n'
    log.write_text(one + "tercet is ready\n" + one + '{"event": "node_ready"}\n{"eve')

    assert rejected_writes([log, log]) == 8


def test_history_outlives_its_writer(tmp_path: Path) -> None:
    """Each line is there at once; only a last one that is torn is left out."""
    path = tmp_path / "history.jsonl"
    with History(path) as history:
        history.invoke(TCC)
        history.note("ok", TCC.gid, status="CONFIRMED")
        with path.open("a") as torn:
            torn.write('{"word": "inv')
        lines = list(read_lines([path]))

    assert [line.word for line in lines] == ["invoke", "ok"]
    assert lines[0].transfer == TCC
    assert lines[1].status == "CONFIRMED"


def test_transfers_are_of_every_sort() -> None:
    """All kinds, some refused, some aborted, never within one bank."""
    drawn = list(islice(draw(random.Random(1), "c"), 2_000))
    aborted = sum(t.is_aborted for t in drawn)
    refused = sum(
        t.payee == "closed" or not t.is_signed or t.amount > 500 for t in drawn
    )

    assert {t.kind for t in drawn} == {"tcc", "saga", "nested"}
    assert all(t.source != t.target for t in drawn)
    assert len({t.gid for t in drawn}) == 2_000
    assert 70 < aborted < 130
    assert 70 < refused < 130
