"""Whether a run proves anything: a quiet one that finds nothing is red as well."""

from collections import Counter
from collections.abc import Iterator, Sequence

from tests.chaos.evidence import Evidence
from tests.chaos.faults import Kind
from tests.chaos.nemesis import rounds_of

TRANSFERS_PER_SECOND_MIN = 1.0
"""Two idle cores make ten times as many; two runs beside other work, a few."""

LONG_SECONDS = 300.0
"""From then on a zombie's write has to have been rejected, and no end may be rare."""

END_PART_MIN = 0.01
ENDS = ("CONFIRMED", "CANCELLED", "COMPLETED", "COMPENSATED")


def check_gates(
    *,
    seconds: float,
    kinds: Sequence[Kind],
    counts: Counter[str],
    evidence: Evidence,
    rejected_writes: int,
) -> Iterator[str]:
    """What this run did not do enough of."""
    ended = Counter(record.status for record in evidence.records.values())
    wanted = TRANSFERS_PER_SECOND_MIN * seconds
    if ended.total() < wanted:
        yield f"throughput: {ended.total()} transfers, expected at least {wanted:.0f}"
    least = least_of_each(seconds)
    for kind in kinds:
        if counts[kind.name] < least:
            yield f"fault {kind.name}: {counts[kind.name]} times, expected {least}"
    is_long = seconds >= LONG_SECONDS
    least_ended = max(1, round(ended.total() * END_PART_MIN)) if is_long else 1
    for end in ENDS:
        if ended[end] < least_ended:
            yield f"end {end}: {ended[end]} times, expected {least_ended}"
    if is_long and not rejected_writes:
        yield "zombie: no write of a node that was thought dead was rejected"


def least_of_each(seconds: float) -> int:
    """How often each kind has to happen: two of three that are planned."""
    return max(1, rounds_of(seconds) * 2 // 3)
