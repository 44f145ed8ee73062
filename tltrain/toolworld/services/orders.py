"""Orders of a small web shop, and its customers."""

from __future__ import annotations

from random import Random
from typing import Annotated, Literal

from tltrain.toolworld.service import Service, each
from tltrain.toolworld.styles import HTTP
from tltrain.toolworld.world import DAYS, Row, World, people

PRODUCTS = (
    *("desk lamp", "office chair", "notebook", "water bottle", "backpack", "phone stand", "coffee grinder"),
    *("wall clock", "rain jacket", "travel mug", "keyboard", "headphones", "yoga mat", "tea kettle", "bike light"),
)
STATUSES = ("pending", "shipped", "delivered", "cancelled")
PLACES = ("the depot", "the sorting centre", "the local hub", "the delivery van")
OrderId = Annotated[str, "like O-1000"]
CustomerId = Annotated[str, "like C-100"]


def _tables(world: World, rng: Random) -> None:
    names = people(rng, 60)
    world.create("customers", "id, name", [(f"C-{100 + i}", name) for i, name in enumerate(names)])
    orders, items, parcels = [], [], []
    for number in range(1000, 1240):
        order, total = f"O-{number}", 0
        for product in rng.sample(PRODUCTS, rng.randint(1, 3)):
            quantity, price = rng.randint(1, 4), rng.randint(6, 90)
            total += quantity * price
            items.append((order, product, quantity, price))
        status = STATUSES[number % 4]
        customer = f"C-{100 + number % 60}"
        orders.append((order, customer, status, rng.choice(DAYS), total, f"{rng.randint(1, 99)} Mill Road"))
        if status in ("shipped", "delivered"):
            place = "the customer" if status == "delivered" else rng.choice(PLACES)
            parcels.append((order, rng.choice(("DHL", "UPS", "FedEx")), f"TR{number * 7919 % 100000:05d}", place))
    world.create("orders", "id, customer, status, placed, total, address", orders)
    world.create("order_items", "order_id, product, quantity, price", items)
    world.create("parcels", "order_id, carrier, tracking, place", parcels)


orders = Service("orders", "shop orders", HTTP, _tables)


def _order(world: World, order_id: str) -> Row:
    return world.require(f"order {order_id} does not exist", "SELECT * FROM orders WHERE id = ?", order_id)


@orders.tool(
    draw=lambda d: {"order_id": d.row("SELECT id FROM orders")["id"]},
    wordings=(
        "What is the status of order {order_id}?",
        "Is order {order_id} still pending, or has it been shipped?",
        "Has my order {order_id} been delivered yet?",
        "When was the order {order_id} placed, and what was its total?",
        "How large is the total amount of order {order_id}?",
        "Date and total of order {order_id}, please.",
        "Order {order_id}: pending, shipped or delivered?",
    ),
    held_out=(
        "I'd like to know the current status of order {order_id}.",
        "What's the total amount on the order {order_id}?",
    ),
    answer=lambda a, r: f"{a['order_id']} was placed on {r['placed']}, is {r['status']} and comes to {r['total']} EUR.",
)
def get_order(world: World, order_id: OrderId) -> Row:
    """Status of an order (pending, shipped or delivered), its date and total amount."""
    row = _order(world, order_id)
    return {key: row[key] for key in ("status", "placed", "total")}


@orders.tool(
    draw=lambda d: {"order_id": d.row("SELECT id FROM orders")["id"]},
    wordings=(
        "Which items are in order {order_id}?",
        "List the items of {order_id} with their quantities.",
        "I'm packing order {order_id}. Which items go in the box?",
        "What items does {order_id} contain?",
        "Items of {order_id} with unit prices, please.",
        "I need the unit price of each item in order {order_id}.",
        "What goods are inside {order_id}?",
    ),
    held_out=(
        "Read me the items in {order_id}.",
        "What does {order_id} consist of, item by item?",
    ),
    answer=lambda a, r: f"{a['order_id']} holds {each(r, '{quantity} x {product}')}.",
)
def get_order_items(world: World, order_id: OrderId) -> list[Row]:
    """Items of an order: the goods inside, with quantities and unit prices."""
    _order(world, order_id)
    return world.all("SELECT product, quantity, price FROM order_items WHERE order_id = ?", order_id)


@orders.tool(
    draw=lambda d: {"order_id": d.row("SELECT order_id AS id FROM parcels")["id"]},
    wordings=(
        "What does the tracking of order {order_id} say at present?",
        "Which carrier has {order_id}, and what's its tracking number?",
        "A customer wants to track {order_id}. Where is the parcel?",
        "Tracking number for {order_id}, please.",
        "Track order {order_id}: where is the package right now?",
        "DHL, UPS or FedEx? I'm trying to track {order_id}.",
        "Can you track the package for {order_id}?",
    ),
    held_out=(
        "How far has {order_id} got? Please track the parcel.",
        "Where is the parcel of {order_id}?",
    ),
    answer=lambda a, r: f"The parcel of {a['order_id']} is with {r['place']} ({r['carrier']}, {r['tracking']}).",
)
def get_order_tracking(world: World, order_id: OrderId) -> Row:
    """Tracking number, carrier and present location of an order's parcel or package."""
    _order(world, order_id)
    sql = "SELECT carrier, tracking, place FROM parcels WHERE order_id = ?"
    return world.require(f"order {order_id} has no parcel yet", sql, order_id)


@orders.tool(
    draw=lambda d: {"customer_id": d.row("SELECT id FROM customers")["id"], "status": d.pick(STATUSES)},
    wordings=(
        "What is the order history of customer {customer_id}?",
        "Show me all the orders of customer {customer_id}.",
        "Which orders has the customer {customer_id} placed so far?",
        "Which {status} orders does customer {customer_id} have?",
        "List the {status} orders from customer {customer_id}, newest first.",
        "I have customer {customer_id} on the line and need their orders.",
        "Does customer {customer_id} have any {status} orders?",
        "Which purchases has {customer_id} made?",
    ),
    held_out=(
        "Look up the orders that customer {customer_id} made.",
        "Are there {status} orders from customer {customer_id}?",
    ),
    answer=lambda a, r: f"Orders of {a['customer_id']}: {each(r, '{order_id} ({status}, {placed})')}.",
)
def get_orders_by_customer(
    world: World, customer_id: CustomerId, status: Literal["pending", "shipped", "delivered", "cancelled"] | None = None
) -> list[Row]:
    """Orders of a customer, newest first: their order history, all purchases they made."""
    world.require(f"customer {customer_id} does not exist", "SELECT id FROM customers WHERE id = ?", customer_id)
    sql = "SELECT id AS order_id, status, placed FROM orders WHERE customer = ?"
    if status is None:
        return world.all(f"{sql} ORDER BY placed DESC, id", customer_id)
    return world.all(f"{sql} AND status = ? ORDER BY placed DESC, id", customer_id, status)


@orders.tool(
    draw=lambda d: {"name": d.row("SELECT name FROM customers")["name"]},
    wordings=(
        "Find {name}'s customer number.",
        "Can you find {name} among our customers?",
        "Find the customer {name} for me, please.",
        "I have to find the customer ID for {name}.",
        "Is {name} registered with us? Find the customer number.",
        "{name} forgot the customer number. Can you find it?",
        "Which customer ID does {name} have?",
    ),
    held_out=(
        "Please find the ID of our customer {name}.",
        "I cannot find out which customer number {name} has.",
    ),
    answer=lambda a, r: f"{a['name']} is customer {r['customer_id']}.",
)
def find_customer(world: World, name: Annotated[str, "full name"]) -> Row:
    """Find the customer ID (customer number) under which a person is registered."""
    return world.require(f"no customer named {name}", "SELECT id AS customer_id FROM customers WHERE name = ?", name)


@orders.tool(
    draw=lambda d: {"order_id": d.row("SELECT id FROM orders WHERE status = 'pending'")["id"]},
    wordings=(
        "Please cancel my order {order_id}.",
        "Cancel the whole order {order_id}; nothing should be sent.",
        "The order {order_id} was a mistake. Cancel all of it, please.",
        "They want the whole order {order_id} cancelled.",
        "Can you still cancel the order {order_id} for me?",
        "Nobody wants order {order_id} any more: cancel it.",
        "Call off the whole of {order_id}, please.",
    ),
    held_out=(
        "I need order {order_id} cancelled as a whole.",
        "They changed their mind: cancel {order_id} completely.",
    ),
    answer=lambda a, r: f"{a['order_id']} is cancelled; {r['refund']} EUR will be refunded.",
)
def cancel_order(world: World, order_id: OrderId) -> Row:
    """Cancel a whole pending order: call it off, so that nothing is sent."""
    row = _order(world, order_id)
    if row["status"] != "pending":
        raise PermissionError(f"order {order_id} is already {row['status']}")
    world.run("UPDATE orders SET status = 'cancelled' WHERE id = ?", order_id)
    return {"cancelled": order_id, "refund": row["total"]}


_PENDING_ITEMS = (
    "SELECT order_id, product FROM order_items JOIN orders ON orders.id = order_id WHERE status = 'pending' "
    "AND (SELECT count(*) FROM order_items AS other WHERE other.order_id = orders.id) > 1"
)


@orders.tool(
    draw=lambda d: dict(d.row(_PENDING_ITEMS)),
    wordings=(
        "Cancel only the item {product} in {order_id}.",
        "Cancel one item of {order_id}: the {product}.",
        "From order {order_id}, cancel just the {product} item.",
        "The item {product} in {order_id} is to be cancelled, the rest stays.",
        "{order_id} has one item too many: cancel the {product}.",
        "Please remove the item {product} from {order_id}, keep the rest.",
        "They no longer want one item of {order_id}; cancel the {product}.",
    ),
    held_out=(
        "Please cancel just the {product} in {order_id}; the other items stay.",
        "Drop only the product {product} from {order_id}.",
    ),
    answer=lambda a, r: f"I took the {a['product']} out of {a['order_id']}; the new total is {r['total']} EUR.",
)
def cancel_order_item(world: World, order_id: OrderId, product: str) -> Row:
    """Cancel one item of a pending order: remove or drop just this product."""
    row = _order(world, order_id)
    if row["status"] != "pending":
        raise PermissionError(f"order {order_id} is already {row['status']}")
    sql = "SELECT quantity * price AS worth FROM order_items WHERE order_id = ? AND product = ?"
    worth = world.require(f"order {order_id} has no product '{product}'", sql, order_id, product)["worth"]
    world.run("DELETE FROM order_items WHERE order_id = ? AND product = ?", order_id, product)
    world.run("UPDATE orders SET total = total - ? WHERE id = ?", worth, order_id)
    return {"removed": product, "total": row["total"] - worth}


orders.chain(
    ("find_customer", lambda s, r: {"name": s["name"]}),
    ("get_orders_by_customer", lambda s, r: {"customer_id": r[0]["customer_id"]}),
    draw=lambda d: {"name": d.row("SELECT name FROM customers")["name"]},
    wordings=(
        "Find the customer {name} first, then list their orders.",
        "I only know the name {name}. Find that customer and show me their orders.",
        "Which orders did the customer named {name} place? The customer ID is unknown to me.",
        "Look up the customer named {name}: what is their order history?",
    ),
    held_out=(
        "Only the name {name} is known: find the customer, then the order history.",
        "First find the customer ID of {name}, then show the orders.",
    ),
)
orders.chain(
    ("find_customer", lambda s, r: {"name": s["name"]}),
    ("get_orders_by_customer", lambda s, r: {"customer_id": r[0]["customer_id"], "status": "shipped"}),
    ("get_order_tracking", lambda s, r: {"order_id": r[1][0]["order_id"]}),
    draw=lambda d: d.row(
        "SELECT DISTINCT name FROM customers JOIN orders ON customer = customers.id WHERE status = 'shipped'"
    ),
    wordings=(
        "Find the customer {name} first, then track the newest of their shipped orders.",
        "Look up the customer named {name}: what's the newest shipped order's tracking number?",
        "I only know the customer's name, {name}. Track the newest of the shipped orders.",
    ),
    held_out=("First find the customer named {name}; of the shipped orders, track the newest.",),
)
orders.chain(
    ("get_orders_by_customer", lambda s, r: {"customer_id": s["customer_id"]}),
    ("get_order_items", lambda s, r: {"order_id": r[0][0]["order_id"]}),
    draw=lambda d: {"customer_id": d.row("SELECT DISTINCT customer FROM orders")["customer"]},
    wordings=(
        "Look at the orders of customer {customer_id}: which items are in the newest one?",
        "Which items did customer {customer_id} get with the newest of their orders?",
        "List the orders of customer {customer_id}, then the items of the newest one.",
        "From all orders of customer {customer_id}, take the newest. What items are in it?",
    ),
    held_out=("What items are in the newest of customer {customer_id}'s orders?",),
)
orders.small_talk = (
    (
        "What's the difference between a refund and an exchange?",
        "A refund returns the money; an exchange swaps the goods.",
    ),
    ("Why do shops give every order a number?", "So that two orders can never be confused, even from one customer."),
    (
        "Is 'dispatched' the same as 'delivered'?",
        "No: dispatched goods have left the shop, delivered ones have arrived.",
    ),
    ("What does a tracking number do, in general?", "It lets you follow a parcel on its way with the carrier."),
)
orders.unsupported_requests = (
    "Please print a return label for {person} and post it today.",
    "Give {person} a {number} percent discount on everything.",
    "Launch a newsletter about our summer sale for {city}.",
    "Open a second shop account for {person} with a new password.",
)
