"""Connections that stand and carry nothing any more, made in a network of our own."""

import subprocess
from collections.abc import Collection
from pathlib import Path

from tests.faults.verdict import Missing, need

_TABLE = "inet tercet_fault"
_ESTABLISHED = "01"


def connections_to(port: int) -> set[int]:
    """The local ports of connections to a port of loopback that stand now."""
    found = set()
    for name in ("/proc/net/tcp", "/proc/net/tcp6"):
        for line in Path(name).read_text().splitlines()[1:]:
            _, local, remote, state, *_ = line.split()
            if state == _ESTABLISHED and int(remote.rpartition(":")[2], 16) == port:
                found.add(int(local.rpartition(":")[2], 16))
    return found


class Firewall:
    """Drops packets without a word, as one that has forgotten a connection does."""

    def __init__(self) -> None:
        need("nft")
        self._nft(f"add table {_TABLE}")
        self._nft(
            f"add chain {_TABLE} out "
            "{ type filter hook output priority 0 ; policy accept ; }"
        )

    def forget(self, server_port: int, client_ports: Collection[int]) -> None:
        """These connections carry nothing any more, in neither direction."""
        ports = ", ".join(map(str, sorted(client_ports)))
        for there, here in (("dport", "sport"), ("sport", "dport")):
            self._nft(
                f"add rule {_TABLE} out tcp {there} {server_port}"
                f" tcp {here} {{ {ports} }} drop"
            )

    def heal(self) -> None:
        """Everything passes again."""
        self._nft(f"flush chain {_TABLE} out")

    def _nft(self, command: str) -> None:
        done = subprocess.run(
            ["nft", command], capture_output=True, text=True, check=False
        )
        if done.returncode:
            raise Missing(f"nft cannot drop packets here: {done.stderr.strip()}")
