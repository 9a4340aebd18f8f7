"""Requests that no connection has taken yet, and how many of them there may be.

They wait while there is no connection, or while the node owes as many answers as it
grants. Whoever finds no room asks again a little later. What has begun always finds
room for its further requests: each has a caller of its own, who waits for it, and
without them it could only run into its deadline.
"""

from collections import deque
from collections.abc import Iterable
from typing import Final, NamedTuple

from participant_sdk.errors import Overloaded
from protos.v1.coordinator_pb2 import Request

WAITING_MAX: Final = 16_384
"""Requests; a node that ends 2,000 a second needs eight seconds for them, which is as
long as an answer is waited for."""

WAITING_BYTES_MAX: Final = 64 * 1024 * 1024
RETRY_SECONDS: Final = 1.0

_BEGINNINGS: Final = frozenset({"begin", "submit_saga"})


def begins(request: Request) -> bool:
    """Whether it would begin a transaction."""
    return request.WhichOneof("request") in _BEGINNINGS


class Sized(NamedTuple):
    """A request, and its size in bytes."""

    request: Request
    size: int


class Waiting:
    """In the order in which they were asked."""

    def __init__(self) -> None:
        self._requests: deque[Sized] = deque()
        self._bytes = 0

    def __len__(self) -> int:
        return len(self._requests)

    def add(self, request: Request) -> None:
        """Behind all others.

        Raises:
            Overloaded: too many wait, and this one would begin a transaction.
        """
        if self._is_full and begins(request):
            raise Overloaded(
                f"{len(self._requests)} requests ({self._bytes} bytes) of this process"
                " wait for the coordinator, and the transaction was not begun: begin"
                " fewer at a time, or ask again later",
                retry_after_seconds=RETRY_SECONDS,
            )
        sized = Sized(request, request.ByteSize())
        self._bytes += sized.size
        self._requests.append(sized)

    def put_back(self, requests: Iterable[Sized]) -> None:
        """Before all others, in this order: they were admitted already."""
        returned = list(requests)
        self._bytes += sum(sized.size for sized in returned)
        self._requests.extendleft(reversed(returned))

    def take(self) -> Sized:
        """The first one. Raises ``IndexError`` when there is none."""
        sized = self._requests.popleft()
        self._bytes -= sized.size
        return sized

    def clear(self) -> None:
        """Forget all of them."""
        self._requests.clear()
        self._bytes = 0

    @property
    def _is_full(self) -> bool:
        return len(self._requests) >= WAITING_MAX or self._bytes >= WAITING_BYTES_MAX
