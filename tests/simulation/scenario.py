"""What one seed means: sizes, knobs, and which faults may happen (swarm testing).

Each seed switches off a random half of the fault kinds: a world in which everything
goes wrong at once hides the bugs that need one thing to go wrong often.
"""

from dataclasses import dataclass, field

from coordinator.core import backoff, breaker, quarantine, recovery, tcc
from coordinator.core.backoff import RetryPolicy
from coordinator.engine import (
    committer,
    dispatcher,
    engine,
    leases,
    resident,
    sweeper,
    timers,
)
from tests.simulation.dice import Dice

_SWARM = (
    "drop",
    "duplicate",
    "delay",
    "cut",
    "unlink",
    "commit_lost",
    "commit_kept",
    "store_slow",
    "read_fail",
    "crash",
    "pause",
    "clock_skew",
    "clock_jump",
    "participant_crash",
    "participant_commit",
    "slow_handler",
    "handler_error",
    "refusal",
    "pending",
    "client_death",
    "client_cancel",
    "tight_deadline",
    "operator",
    "operator_hand",
    "check_back",
    "nested",
    "odd_client",
)
"""A seed allows about half of these."""

POISON_SHARE = 0.15
"""Of the seeds have a transaction that kills whoever drives it; drawn last, so that it
changes nothing else of a seed."""

TROUBLE = ("hang", "flap")
"""Participants that hang for long, or fail at all they are asked for a while; drawn
after everything else, for the same reason."""

TROUBLE_SHARE = 0.3
"""Of the seeds have each of them."""

CROWD_SHARE = 0.03
"""Of the seeds begin with many transactions in one namespace and one in another that
nobody drives; drawn behind them."""

QUARANTINE_DOUBLED = 4
"""A hold is at most so many times the first one."""

HELD_SHARE = 0.03
"""Of the seeds begin with several transactions that are quarantined; drawn last."""

FAULTS = (*_SWARM, "poison", *TROUBLE, "crowd", "held")
"""Every kind of fault."""


@dataclass(frozen=True, slots=True)
class Limits:
    """What a replay may make smaller than the seed asks for."""

    nodes: int = 5
    transactions: int = 8
    without: frozenset[str] = frozenset()

    def options(self) -> str:
        """As the command line says it."""
        default = Limits()
        text = ""
        if self.nodes != default.nodes:
            text += f" --nodes {self.nodes}"
        if self.transactions != default.transactions:
            text += f" --transactions {self.transactions}"
        if self.without:
            text += f" --without {','.join(sorted(self.without))}"
        return text


@dataclass(slots=True)
class Scenario:
    """One seed, drawn; what was thought of later is drawn later.

    Attributes:
        faults: the kinds that may happen.
        rate: how often a message or a commit meets its fault.
        heal_us: when all faults stop.
    """

    seed: int
    nodes: int
    participants: int
    transactions: int
    faults: frozenset[str]
    rate: float
    heal_us: int
    beat_ms: int
    ttl_ms: int
    batch_max: int
    commits_in_flight_max: int
    page: int
    attention_after: int
    pending_poll_ms: int
    foreign_poll_ms: int
    lazy_ms_max: int
    compact_above: int
    resident_max: int
    credits: int
    timeout_ms: int
    attempt_max: int
    forward: RetryPolicy = field(repr=False)
    phase_two: RetryPolicy = field(repr=False)
    haste_ms: int
    calls_min: int = 20
    window_ms: int = 10_000
    still_waiting_ms: int = 120_000
    parked_after_ms: int = 5_000
    parked_for_ms: int = 60_000
    timers_max: int = 200_000
    quarantine_ms: int = 600_000


def draw(seed: int, limits: Limits) -> Scenario:
    """The scenario of a seed; smaller limits change nothing else of it."""
    rng = Dice(seed * 2 + 1)
    cap_ms = rng.choice((60, 200, 1_000, 5_000, 30_000))
    nodes = rng.choice((1, 1, 2, 2, 2, 2, 3, 3, 4, 5))
    transactions = rng.choice((1, 1, 1, 2, 2, 3))
    if rng.random() < 0.02:
        transactions = rng.randint(4, 8)
    faults = frozenset(name for name in _SWARM if rng.random() < 0.5)
    scenario = Scenario(
        seed=seed,
        nodes=min(nodes, limits.nodes),
        participants=rng.choice((1, 2, 2, 3, 3, 4, 8)),
        transactions=min(transactions, limits.transactions),
        faults=faults,
        rate=rng.choice((0.03, 0.1, 0.1, 0.3)),
        heal_us=rng.randint(200_000, 4_000_000),
        beat_ms=rng.choice((300, 1_000, 1_000)),
        ttl_ms=rng.choice((300, 1_000, 3_000)),
        batch_max=rng.choice((1, 2, 1_024)),
        commits_in_flight_max=rng.choice((1, 1, 3)),
        page=rng.choice((1, 2, 500)),
        attention_after=rng.choice((2, 3, 10)),
        pending_poll_ms=rng.choice((100, 1_000)),
        foreign_poll_ms=rng.choice((100, 400)),
        lazy_ms_max=rng.choice((20, 500)),
        compact_above=rng.choice((1, 4, 1_024)),
        resident_max=rng.choice((1, 2, 1_000, 1_000)),
        credits=rng.choice((1, 2, 16)),
        timeout_ms=rng.choice((50, 200, 600)),
        attempt_max=rng.choice((1, 2, 3, 6)),
        forward=RetryPolicy(
            initial_interval_ms=rng.choice((20, 100)), interval_max_ms=cap_ms
        ),
        phase_two=RetryPolicy(
            attempt_max=0,
            initial_interval_ms=rng.choice((20, 200)),
            interval_max_ms=cap_ms,
        ),
        haste_ms=rng.choice((20, 200, 4_000)),
    )
    poison = {"poison"} if rng.random() < POISON_SHARE else frozenset()
    trouble = frozenset(name for name in TROUBLE if rng.random() < TROUBLE_SHARE)
    scenario.calls_min = rng.choice((2, 3, 20))
    scenario.window_ms = rng.choice((1_000, 10_000))
    scenario.still_waiting_ms = rng.choice((300, 120_000))
    crowd = {"crowd"} if rng.random() < CROWD_SHARE else frozenset()
    scenario.parked_after_ms = rng.choice((20, 400, 5_000))
    scenario.parked_for_ms = rng.choice((50, 300, 60_000))
    scenario.timers_max = rng.choice((0, 2, 200_000))
    scenario.quarantine_ms = rng.choice((400, 2_000, 10_000))
    held = {"held"} if rng.random() < HELD_SHARE else frozenset()
    scenario.faults = (faults | poison | trouble | crowd | held) - limits.without
    return scenario


PAGES_PER_SWEEP = 8
"""Few enough that a crowd is more than a sweep takes up."""


def turn_knobs(scenario: Scenario) -> None:
    """Set the constants of the real modules; every schedule sets them all."""
    quarantine.QUARANTINE_MS = scenario.quarantine_ms
    quarantine.QUARANTINE_MS_MAX = QUARANTINE_DOUBLED * scenario.quarantine_ms
    leases.TTL_MS = scenario.ttl_ms
    leases.BEAT_EVERY_MS = scenario.beat_ms
    sweeper.SWEEP_EVERY_MS = scenario.beat_ms
    sweeper.PAGE, sweeper.PAGES_PER_SWEEP = scenario.page, PAGES_PER_SWEEP
    committer.BATCH_MAX = scenario.batch_max
    engine.FOREIGN_POLL_MS = scenario.foreign_poll_ms
    resident.LAZY_MS_MAX = scenario.lazy_ms_max
    resident.SURVIVED_MS = scenario.still_waiting_ms
    timers._COMPACT_ABOVE = scenario.compact_above
    tcc.ATTENTION_AFTER = scenario.attention_after
    tcc.PENDING_POLL_MS = scenario.pending_poll_ms
    tcc.CHECK_BACK_TIMEOUT_MS = scenario.timeout_ms
    tcc.CHECK_BACK_ATTEMPT_MAX = scenario.attempt_max
    backoff.FORWARD = scenario.forward
    backoff.PHASE_TWO = scenario.phase_two
    recovery.HASTE_MS = scenario.haste_ms
    breaker.CALLS_MIN = scenario.calls_min
    breaker.WINDOW_MS = scenario.window_ms
    breaker.BUDGET_MAX = 1.0
    dispatcher.STILL_WAITING_MS = scenario.still_waiting_ms
