"""What a refused RPC leaves in memory until the collector of garbage comes."""

import gc
from collections.abc import Awaitable
from types import FrameType, ModuleType
from typing import Any

from google.protobuf.message import Message

LARGE_BYTES = 90_000


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
        frames = [o for o in gc.get_objects() if isinstance(o, FrameType)]
    finally:
        gc.enable()
    ours = [f for f in frames if f.f_code.co_filename == module.__file__]
    assert ours, "nothing shows that frames of refused calls are found"
    kept = [
        name for f in ours for name, value in f.f_locals.items() if _is_large(value)
    ]
    return answer, kept


def _is_large(value: object) -> bool:
    if isinstance(value, Message):
        return value.ByteSize() > LARGE_BYTES
    return isinstance(value, bytes) and len(value) > LARGE_BYTES
