"""A participant that does nothing: ``python -m bench.null_participant NAME TARGETS``.

``NAME.hold`` is for TCC and ``NAME.post`` for sagas. It has no database, so what is
measured is the coordinator.
"""

import argparse
import asyncio

from participant_sdk import Context, Participant


def main() -> None:
    """Serve until SIGTERM."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("name")
    parser.add_argument("targets", help="host:port of nodes, with commas between")
    parser.add_argument("--delay-ms", type=int, default=0, help="of every answer")
    options = parser.parse_args()
    participant = Participant(options.name)
    delay = options.delay_ms / 1_000

    async def take_time() -> None:
        if delay:
            await asyncio.sleep(delay)

    @participant.tcc("hold")
    async def hold(_ctx: Context, _request: object) -> None:
        await take_time()

    @hold.confirm
    async def _(_ctx: Context, _request: object, _output: None) -> None:
        await take_time()

    @hold.cancel
    async def _(_ctx: Context, _request: object, _output: None) -> None:
        await take_time()

    @participant.action("post")
    async def post(_ctx: Context, _request: object) -> None:
        await take_time()

    @post.compensate
    async def _(_ctx: Context, _request: object, _output: None) -> None:
        await take_time()

    participant.run(options.targets)


if __name__ == "__main__":
    main()
