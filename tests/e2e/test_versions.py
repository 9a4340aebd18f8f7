"""Two versions of a saga live at once, whatever is killed in between."""

import asyncio
import json
from pathlib import Path
from typing import Any

import pytest

from examples.fleet import Fleet
from participant_sdk import Context, Participant, connect


def loan(version: str, *step_ids: str) -> str:
    """A saga of these steps, whose output tells its version."""
    steps = [
        {"id": step_id, "call": "ledger.post", "input": {"step": step_id}}
        for step_id in step_ids
    ]
    return json.dumps(
        {
            "apiVersion": "tercet/v1",
            "kind": "Saga",
            "metadata": {"name": "loan", "version": version},
            "steps": [{**step, "compensate": "none"} for step in steps],
            "output": {"version": version},
        }
    )


class Ledger:
    """Posts when it may; tells what it was asked."""

    def __init__(self) -> None:
        self.asked = asyncio.Event()
        self.may_post = asyncio.Event()
        self.posted: list[tuple[str, str]] = []
        self.participant = Participant("ledger")

        @self.participant.action("post")
        async def post(ctx: Context, request: dict[str, Any]) -> None:
            self.asked.set()
            await self.may_post.wait()
            self.posted.append((ctx.gid, request["step"]))


@pytest.mark.timeout(120)
async def test_a_running_saga_ends_on_the_version_it_began_with(tmp_path: Path) -> None:
    """S7: version 2 is published while 1 runs, the node is killed and started again;
    what began on 1 ends on 1, and who asks for the latest gets 2.
    """
    ledger = Ledger()
    with Fleet(tmp_path) as fleet:
        fleet.start_coordinator()
        serving = asyncio.create_task(ledger.participant.serve(fleet.target))
        await fleet.ready(["ledger.post"])
        async with connect(fleet.target) as client:
            await client.publish_saga(loan("1.0.0", "book", "tell"))
            old = client.saga("loan", gid="l-1")
            await old.submit()
            await ledger.asked.wait()
            await client.publish_saga(loan("2.0.0", "check", "book"))
            fleet.kill("coordinator")
            ledger.may_post.set()
            new = client.saga("loan", gid="l-2")
            ends = await asyncio.gather(old.wait(), new.wait())
        ledger.participant.stop()
        await serving

    assert [(end.status, end.output) for end in ends] == [
        ("COMPLETED", {"version": "1.0.0"}),
        ("COMPLETED", {"version": "2.0.0"}),
    ]
    # Without a barrier a step may be asked twice around the kill.
    assert {step for gid, step in ledger.posted if gid == "l-1"} == {"book", "tell"}
    assert {step for gid, step in ledger.posted if gid == "l-2"} == {"check", "book"}
