"""Three ways to get there, a hotel and a desk."""

from dataclasses import dataclass

from sqlalchemy import Engine

from examples.stage import serve
from participant_sdk import Context, Participant, Refused

REACHED = {
    "air": {"Lisbon"},
    "rail": {"Lisbon", "Vienna"},
    "coach": {"Lisbon", "Vienna", "Ghent"},
}
NIGHTS_MAX = 14


@dataclass(frozen=True, slots=True)
class Trip:
    """Where to."""

    to: str


@dataclass(frozen=True, slots=True)
class Ticket:
    """How one gets there."""

    by: str


@dataclass(frozen=True, slots=True)
class Stay:
    """How long."""

    nights: int


@dataclass(frozen=True, slots=True)
class Page:
    """What the traveller takes along."""

    text: str


def build(engine: Engine) -> list[Participant]:
    """All of them, on one database."""
    ways = [_way(name, engine) for name in REACHED]
    return [*ways, _hotel(engine), _desk(engine)]


def _way(name: str, engine: Engine) -> Participant:
    way = Participant(name, database=engine)

    @way.action("book")
    def book(_ctx: Context, trip: Trip) -> Ticket:
        if trip.to not in REACHED[name]:
            raise Refused("NO_CONNECTION", f"{name} does not go to {trip.to}")
        return Ticket(name)

    @book.compensate
    def give_back(_ctx: Context, _trip: Trip, _ticket: Ticket | None) -> None:
        """The seat is free again."""

    return way


def _hotel(engine: Engine) -> Participant:
    hotel = Participant("hotel", database=engine)

    @hotel.tcc("room")
    def hold(_ctx: Context, stay: Stay) -> None:
        if stay.nights > NIGHTS_MAX:
            raise Refused("TOO_LONG", f"at most {NIGHTS_MAX} nights")

    @hold.confirm
    def check_in(_ctx: Context, _stay: Stay, _: None) -> None:
        """The room is theirs."""

    @hold.cancel
    def let_go(_ctx: Context, _stay: Stay, _: None) -> None:
        """The room is free again."""

    return hotel


def _desk(engine: Engine) -> Participant:
    desk = Participant("desk", database=engine)

    @desk.action("print")
    def print_page(_ctx: Context, _page: Page) -> None:
        raise Refused("OUT_OF_PAPER")

    return desk


if __name__ == "__main__":
    serve(build)
