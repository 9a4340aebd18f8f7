"""How a push target is reached: this address and no other, and by nobody's detour."""

import grpc
import grpc.aio

from coordinator.api.limits import KIB, Limits
from coordinator.config import PushTarget

_OVERHEAD_BYTES = 64 * KIB
"""A reply's head beside its payload."""

_NEVER_MS = 2**31 - 1


def open_channel(target: PushTarget, limits: Limits) -> grpc.aio.Channel:
    """A channel that connects when it is asked to, and again when it has to."""
    uri, options = uri_of(target.address), _options(limits)
    if not target.has_tls:
        return grpc.aio.insecure_channel(uri, options=options)
    credentials = grpc.ssl_channel_credentials(root_certificates=target.authorities)
    return grpc.aio.secure_channel(uri, credentials, options=options)


def uri_of(address: str) -> str:
    """``HOST:PORT`` as nothing else: gRPC takes ``unix:7800`` for a socket's path."""
    host = address.rpartition(":")[0]
    if host.startswith("["):
        return f"ipv6:{address}"
    is_ipv4 = all(part.isdecimal() for part in host.split("."))
    return f"ipv4:{address}" if is_ipv4 else f"dns:///{address}"


def _options(limits: Limits) -> list[tuple[str, int]]:
    return [
        # Neither the environment nor a domain's owner says where calls go.
        ("grpc.enable_http_proxy", 0),
        ("grpc.service_config_disable_resolution", 1),
        # Retries are the core's.
        ("grpc.enable_retries", 0),
        ("grpc.max_receive_message_length", limits.message_bytes_max + _OVERHEAD_BYTES),
        ("grpc.max_send_message_length", -1),
        # A connection of its own, that stays, and whose end is noticed within 20 s.
        ("grpc.use_local_subchannel_pool", 1),
        ("grpc.client_idle_timeout_ms", _NEVER_MS),
        ("grpc.keepalive_time_ms", 15_000),
        ("grpc.keepalive_timeout_ms", 5_000),
        ("grpc.keepalive_permit_without_calls", 1),
        ("grpc.http2.max_pings_without_data", 0),
        # As often as an attached participant tries to come back.
        ("grpc.initial_reconnect_backoff_ms", 100),
        ("grpc.min_reconnect_backoff_ms", 5_000),
        ("grpc.max_reconnect_backoff_ms", 2_000),
    ]
