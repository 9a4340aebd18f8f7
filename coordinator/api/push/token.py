"""What this node adds to its calls, so that a participant knows whose they are."""

from typing import TypeAlias

from google.protobuf.message import Message

from coordinator.config import PushTarget
from coordinator.core.model import Milliseconds
from coordinator.ports import Clock
from protos import call_token
from protos.call_token import Claims
from protos.v1.participant_pb2 import BranchCall, DescribeRequest

Metadata: TypeAlias = tuple[tuple[str, bytes], ...]


class Signer:
    """Signs what goes to one target; where it has no secret, it goes unsigned."""

    def __init__(self, target: PushTarget, clock: Clock) -> None:
        self._participant = target.participant
        self._secret = target.secret
        self._clock = clock

    def to_describe(
        self, request: DescribeRequest, lifetime_ms: Milliseconds
    ) -> Metadata | None:
        """What lets the question in, for so long from now."""
        if self._secret is None:
            return None
        claims = call_token.to_describe(self._participant)
        return self._token(self._secret, claims, request, lifetime_ms)

    def to_execute(
        self, call: BranchCall, lifetime_ms: Milliseconds
    ) -> Metadata | None:
        """What lets the call in, for so long from now."""
        if self._secret is None:
            return None
        claims = call_token.to_execute(self._participant, call)
        return self._token(self._secret, claims, call, lifetime_ms)

    def _token(
        self, secret: bytes, claims: Claims, request: Message, lifetime_ms: Milliseconds
    ) -> Metadata:
        # As it will be sent: these messages have no maps, so they have one form.
        body = request.SerializeToString()
        expires_at = self._clock.now() + lifetime_ms
        token = call_token.sign(secret, claims, body, expires_at_ms=expires_at)
        return ((call_token.METADATA_KEY, token),)
