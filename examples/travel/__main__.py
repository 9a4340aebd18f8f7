"""Four journeys: by air, by rail, by coach, and one with a stay that is too long."""

from examples.stage import play
from participant_sdk import Client

JOURNEYS = (("Lisbon", 3), ("Vienna", 3), ("Ghent", 3), ("Vienna", 30), ("Atlantis", 3))


async def story(tercet: Client) -> None:
    """Ask for each journey, and say how it is made."""
    for number, (to, nights) in enumerate(JOURNEYS, 1):
        gid = f"travel-{number}"
        saga = tercet.saga("travel", {"to": to, "nights": nights}, gid=gid)
        result = await saga.wait()
        told = result.output["by"] if result.output else result.reason_code
        print(f"{gid}: {to}: {result.status} {told}")


if __name__ == "__main__":
    play(
        "examples.travel",
        ["travel.yaml"],
        ["air.book", "rail.book", "coach.book", "hotel.room", "desk.print"],
        story,
    )
