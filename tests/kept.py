"""What a refused RPC leaves in memory until the collector of garbage comes."""

import asyncio
import gc
from collections.abc import Awaitable
from types import FrameType, ModuleType
from typing import Any

from google.protobuf.message import Message

LARGE_BYTES = 90_000
SECONDS_MAX = 20.0
"""Until the server is through with a call whose caller has its answer already. If
nothing is found by then, gRPC has no such circle any more."""


async def kept_after(
    refused: Awaitable[Any], module: ModuleType
) -> tuple[Any, list[str]]:
    """What the call came to, and the names under which frames of the module that
    serves it still have its bytes or its message, although it is over.
    """
    gc.collect()
    gc.disable()
    try:
        answer = await refused
        async with asyncio.timeout(SECONDS_MAX):
            while not (ours := _frames_of(module)):  # noqa: ASYNC110 - nothing rings
                await asyncio.sleep(0)
    finally:
        gc.enable()
    values = [item for frame in ours for item in frame.f_locals.items()]
    return answer, [name for name, value in values if _is_large(value)]


def _frames_of(module: ModuleType) -> list[FrameType]:
    frames = [found for found in gc.get_objects() if isinstance(found, FrameType)]
    return [frame for frame in frames if frame.f_code.co_filename == module.__file__]


def _is_large(value: object) -> bool:
    if isinstance(value, Message):
        return value.ByteSize() > LARGE_BYTES
    return isinstance(value, bytes) and len(value) > LARGE_BYTES
