"""What one node's engine holds at most."""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class EngineLimits:
    """What one node holds at most.

    Attributes:
        resident_max: transactions in memory; new ones are refused beyond it. At about
            24 KiB each it bounds the process at some 2.4 GB, payloads aside.
        payload_bytes_max: of all transactions in memory; new ones are refused beyond
            it. Several copies of a payload exist while it travels.
        inbox_max: inputs that wait for a tick; requests are refused beyond it.
        commits_in_flight_max: 1 suits a database with one writer.
        let_go_max: transactions whose keys are kept for the next sweep.
    """

    resident_max: int = 100_000
    payload_bytes_max: int = 1024 * 1024 * 1024
    inbox_max: int = 200_000
    commits_in_flight_max: int = 1
    let_go_max: int = 10_000
