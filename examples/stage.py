"""What the small saga examples share: start everybody, publish, tell the story."""

import asyncio
import tempfile
from collections.abc import Awaitable, Callable, Sequence
from pathlib import Path
from typing import Annotated

import typer
from sqlalchemy import Engine, create_engine

from examples.fleet import Fleet
from participant_sdk import Client, Participant, connect, create_barrier_table

Story = Callable[[Client], Awaitable[None]]


def play(
    package: str, sagas: Sequence[str], operations: Sequence[str], story: Story
) -> None:
    """Run the services of a package and its story, in a directory that is gone
    afterwards.

    Args:
        package: such as ``examples.travel``; its module ``service`` is the services.
        sagas: files beside it, child sagas first.
        operations: what has to be there before anything is published.
    """
    with (
        tempfile.TemporaryDirectory(prefix="tercet-example-") as directory,
        Fleet(Path(directory)) as fleet,
    ):
        asyncio.run(_play(fleet, package, sagas, operations, story))


async def _play(
    fleet: Fleet,
    package: str,
    sagas: Sequence[str],
    operations: Sequence[str],
    story: Story,
) -> None:
    fleet.start_coordinator()
    fleet.start_participant(f"{package}.service", "services")
    await fleet.ready(tuple(operations))
    folder = Path(__file__).parent / package.rpartition(".")[2]
    async with connect(fleet.target) as tercet:
        for saga in sagas:
            await tercet.publish_saga((folder / saga).read_text())
        await story(tercet)


def serve(build: Callable[[Engine], Sequence[Participant]]) -> None:
    """Serve the participants of one process until it is told to stop."""

    def main(
        _name: Annotated[str, typer.Argument(help="What logs call it.")],
        database: Annotated[Path, typer.Option(help="Its SQLite file.")],
        target: Annotated[
            str, typer.Option(help="The coordinator.")
        ] = "127.0.0.1:7700",
    ) -> None:
        engine = create_engine(f"sqlite:///{database}")
        create_barrier_table(engine)
        asyncio.run(_serve(build(engine), target))

    typer.run(main)


async def _serve(participants: Sequence[Participant], target: str) -> None:
    async with asyncio.TaskGroup() as group:
        for participant in participants:
            group.create_task(participant.serve(target))
