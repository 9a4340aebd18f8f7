"""What one node's engine holds at most."""

from dataclasses import dataclass

from coordinator.core.model import Milliseconds
from coordinator.engine.committer import BATCH_MAX


@dataclass(frozen=True, slots=True)
class EngineLimits:
    """What one node holds at most.

    Attributes:
        resident_max: transactions in memory; new ones are refused beyond it. At about
            24 KiB each it bounds the process at some 2.4 GB, payloads aside.
        payload_bytes_max: of all transactions in memory; new ones are refused beyond
            it. Several copies of a payload exist while it travels.
        inbox_max: inputs that wait for a tick; requests are refused beyond it.
        changes_max: transactions that wait for what is to be stored of them; new ones
            are refused where there are more for longer than a stall. Twice what one
            commit takes: one is under way while the next one gathers.
        changes_stalled_max: beyond so many they are refused at once. Under three times
            the load of a fast machine a node took 46 to 73 MiB more with it than with
            ``changes_max`` alone. Who stores 15,000 a second has so many stored within
            0.6 s, who is ten times slower within 6 s.
        commits_in_flight_max: handed to the store at once.
        commit_share_min: changes for which one more of them is worth its price.
        commit_pace_ms: for so long after a commit began fewer changes than it carried
            wait for others to share the next one, where nothing else is under way. At
            half of what a node can do 6 and 8 made transactions take a third longer.
        let_go_max: transactions whose keys are kept for the next sweep.
        parked_after_ms: a transaction leaves memory when nothing has been heard of it
            for so long: an initiator that goes on is faster, and is spared a read,
        parked_for_ms: and when nothing is to be done for so much longer. It exceeds
            every back-off, so who waits for a participant is there when it returns.
        timers_max: beyond so many, at about 330 bytes each, nothing is kept of one that
            leaves memory; the sweep finds it when it is due.
    """

    resident_max: int = 100_000
    payload_bytes_max: int = 1024 * 1024 * 1024
    inbox_max: int = 200_000
    changes_max: int = 2 * BATCH_MAX
    changes_stalled_max: int = 8 * BATCH_MAX
    commits_in_flight_max: int = 1
    commit_share_min: int = 64
    commit_pace_ms: Milliseconds = 4
    let_go_max: int = 10_000
    parked_after_ms: Milliseconds = 5_000
    parked_for_ms: Milliseconds = 60_000
    timers_max: int = 200_000
