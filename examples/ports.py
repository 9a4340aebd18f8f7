"""Ports of loopback for processes that are killed and started again on them.

Whoever is told a port does not listen there yet, or is dead for a while: nobody else
may be told it meanwhile, neither by this process nor by another one on the machine,
such as a demo beside a test. So the ports are cut into slices, the same ones for all,
and a process tells those of slices that are its own. They are its own because it holds
the first port of each: bound, as only one process has it, until it ends, however it
does.
"""

import os
import random
import socket
from collections import deque
from collections.abc import Sequence
from typing import TypeVar

T = TypeVar("T")

PORTS = range(20_000, 32_000)
"""Below what systems give to outgoing connections: a client that knocks at a port
while nobody listens could otherwise be connected with itself and occupy it."""

SLICE_PORTS = 250
"""More than most processes need, and enough slices for 48 processes at once."""


class NoPortLeft(Exception):
    """All ports were told, or belong to other processes."""


class Ports:
    """What one process tells, each port once.

    Args:
        ports: to be cut into slices; others have to cut the same.
        slice_ports: in each slice. The first one is held, the others are told.
    """

    def __init__(self, ports: range = PORTS, slice_ports: int = SLICE_PORTS) -> None:
        self._slices = [
            ports[at : at + slice_ports] for at in range(0, len(ports), slice_ports)
        ]
        self._holds: list[socket.socket] = []
        self._untold = deque[int]()

    def draw(self) -> int:
        """A port on which nothing listens, another one each time.

        Raises:
            NoPortLeft: there is no further one, and no further slice.
        """
        while True:
            while self._untold:
                port = self._untold.popleft()
                if (probe := _bound(port)) is not None:
                    probe.close()
                    return port
            self._take_slice()

    def leave(self) -> None:
        """Hold nothing any more, and begin with another slice."""
        for hold in self._holds:
            hold.close()
        self._holds.clear()
        self._untold.clear()

    def _take_slice(self) -> None:
        for first, *others in _shuffled(self._slices):
            if (hold := _bound(first)) is not None:
                self._holds.append(hold)
                self._untold.extend(_shuffled(others))
                return
        raise NoPortLeft(
            f"no port of 127.0.0.1 is left: of {len(self._slices)} slices this process"
            f" has used up {len(self._holds)}, and others hold the rest; end some of"
            " the demos, tests and benchmarks that run at the same time"
        )


def find_free_port() -> int:
    """A loopback port on which nothing listens, another one each time, and another one
    than in any other process that asks here.
    """
    return _ports.draw()


def _bound(port: int) -> socket.socket | None:
    """Holds the port until it is closed; ``None`` where somebody else has it.

    Programs that are started do not inherit it, so they cannot hold it any longer.
    """
    hold = socket.socket()
    try:
        hold.bind(("127.0.0.1", port))
    except OSError:
        hold.close()
        return None
    return hold


def _shuffled(some: Sequence[T]) -> list[T]:
    # Who follows a killed process rarely gets the ports at which others still knock.
    return random.SystemRandom().sample(some, len(some))


_ports = Ports()


def _leave_to_parent() -> None:
    """A fork has its parent's sockets and ports; both are the parent's alone."""
    _ports.leave()


os.register_at_fork(after_in_child=_leave_to_parent)
