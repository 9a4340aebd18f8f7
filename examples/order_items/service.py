"""Stock and billing."""

from dataclasses import dataclass

from sqlalchemy import Engine, text

from examples.stage import serve
from participant_sdk import Context, Participant, Refused

CREDIT_CENTS = 10_000
SHELF = {"apple": (50, 30), "book": (10, 2_500), "chair": (1, 9_000)}
"""By article: how many there are, and what one costs."""


@dataclass(frozen=True, slots=True)
class Line:
    """So many of an article."""

    sku: str
    count: int


@dataclass(frozen=True, slots=True)
class Price:
    """Of one line."""

    cents: int


@dataclass(frozen=True, slots=True)
class Bill:
    """All lines of an order."""

    lines: list[Price]


def build(engine: Engine) -> list[Participant]:
    """Both of them, on one database."""
    with engine.begin() as connection:
        connection.execute(
            text(
                "CREATE TABLE IF NOT EXISTS shelf (sku TEXT PRIMARY KEY,"
                " pieces INTEGER)"
            )
        )
        for sku, (pieces, _) in SHELF.items():
            connection.execute(
                text("INSERT OR IGNORE INTO shelf VALUES (:sku, :pieces)"),
                {"sku": sku, "pieces": pieces},
            )
    return [_stock(engine), _billing(engine)]


def _stock(engine: Engine) -> Participant:
    stock = Participant("stock", database=engine)

    @stock.action("pick")
    def pick(ctx: Context, line: Line) -> None:
        taken = ctx.connection.execute(
            text(
                "UPDATE shelf SET pieces = pieces - :count"
                " WHERE sku = :sku AND pieces >= :count"
            ),
            {"sku": line.sku, "count": line.count},
        )
        if not taken.rowcount:
            raise Refused("SOLD_OUT", f"there are not {line.count} of {line.sku}")

    @pick.compensate
    def put_back(ctx: Context, line: Line, _: None) -> None:
        ctx.connection.execute(
            text("UPDATE shelf SET pieces = pieces + :count WHERE sku = :sku"),
            {"sku": line.sku, "count": line.count},
        )

    @stock.action("price")
    def price(_ctx: Context, line: Line) -> Price:
        return Price(SHELF[line.sku][1] * line.count)

    return stock


def _billing(engine: Engine) -> Participant:
    billing = Participant("billing", database=engine)

    @billing.action("charge")
    def charge(_ctx: Context, bill: Bill) -> Price:
        cents = sum(line.cents for line in bill.lines)
        if cents > CREDIT_CENTS:
            raise Refused("OVER_LIMIT", f"{cents} cents are more than {CREDIT_CENTS}")
        return Price(cents)

    return billing


if __name__ == "__main__":
    serve(build)
