"""Three orders: charged, sold out in one line, over the limit at the very end."""

from examples.stage import play
from participant_sdk import Client

ORDERS = {
    "order-1": {"apple": 10, "book": 2},
    "order-2": {"apple": 10, "book": 1, "chair": 2},
    "order-3": {"apple": 10, "book": 1, "chair": 1},
}


async def story(tercet: Client) -> None:
    """Place the orders one after the other."""
    for gid, wanted in ORDERS.items():
        lines = [{"sku": sku, "count": count} for sku, count in wanted.items()]
        result = await tercet.saga("order", {"lines": lines}, gid=gid).wait()
        print(f"{gid}: {result.status} {result.reason_code}".rstrip())


if __name__ == "__main__":
    play(
        "examples.order_items",
        ["line.yaml", "order.yaml"],
        ["stock.pick", "stock.price", "billing.charge"],
        story,
    )
