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
    return world.need(f"order {order_id} does not exist", "SELECT * FROM orders WHERE id = ?", order_id)


@orders.tool(
    draw=lambda d: {"order_id": d.row("SELECT id FROM orders")["id"]},
    asks=(
        "Is {order_id} marked as shipped yet, or still as pending?",
        "What state is {order_id} in at the moment?",
        "Does {order_id} count as delivered by now? Check its state.",
        "On which day was {order_id} placed, and for how much in total?",
        "How much did the customer pay for {order_id} altogether?",
        "Tell me the current status of {order_id}.",
        "{order_id}: pending, shipped or delivered?",
    ),
    held_out=("Is {order_id} cancelled or still alive?", "What's the total amount on {order_id}?"),
    answer=lambda a, r: f"{a['order_id']} was placed on {r['placed']}, is {r['status']} and comes to {r['total']} EUR.",
)
def get_order(world: World, order_id: OrderId) -> Row:
    """State of an order (pending, shipped, delivered), the day placed and the total paid."""
    row = _order(world, order_id)
    return {key: row[key] for key in ("status", "placed", "total")}


@orders.tool(
    draw=lambda d: {"order_id": d.row("SELECT id FROM orders")["id"]},
    asks=(
        "Which products are in {order_id}?",
        "What exactly did the customer buy with {order_id}?",
        "List everything in {order_id} with the quantities, please.",
        "I'm packing {order_id}. What has to go in the box?",
        "How many pieces of each article does {order_id} contain?",
        "What's inside {order_id}?",
        "Which articles, and at what unit price, make up {order_id}?",
    ),
    held_out=("Read me the contents of {order_id}.", "What goods does {order_id} consist of?"),
    answer=lambda a, r: f"{a['order_id']} holds {each(r, '{quantity} x {product}')}.",
)
def get_order_items(world: World, order_id: OrderId) -> list[Row]:
    """List the products in an order: what was bought, quantities and unit prices."""
    _order(world, order_id)
    return world.all("SELECT product, quantity, price FROM order_items WHERE order_id = ?", order_id)


@orders.tool(
    draw=lambda d: {"order_id": d.row("SELECT order_id AS id FROM parcels")["id"]},
    asks=(
        "Where is the parcel of {order_id} right now?",
        "Who carries the parcel for {order_id}, and what is the tracking number?",
        "A customer wants to follow the package from {order_id}. Which tracking number do I give?",
        "Which carrier has {order_id}?",
        "Can you locate the shipment of {order_id}?",
        "I need the DHL, UPS or FedEx number for {order_id}.",
    ),
    held_out=("How far has the package for {order_id} got?", "What's the parcel number of {order_id}?"),
    answer=lambda a, r: f"The parcel of {a['order_id']} is with {r['place']} ({r['carrier']}, {r['tracking']}).",
)
def get_order_tracking(world: World, order_id: OrderId) -> Row:
    """Where the parcel of an order is: carrier, tracking number and present place."""
    _order(world, order_id)
    sql = "SELECT carrier, tracking, place FROM parcels WHERE order_id = ?"
    return world.need(f"order {order_id} has no parcel yet", sql, order_id)


@orders.tool(
    draw=lambda d: {"customer_id": d.row("SELECT id FROM customers")["id"], "status": d.pick(STATUSES)},
    asks=(
        "What has {customer_id} bought from us so far?",
        "Show me everything {customer_id} has ordered.",
        "Which purchases belong to customer {customer_id}?",
        "Which of {customer_id}'s orders are {status}?",
        "Only the {status} ones, please: what did customer {customer_id} order?",
        "I have {customer_id} on the line and need their order history.",
        "Does {customer_id} have any {status} orders?",
    ),
    held_out=("Look up all orders of {customer_id}.", "Are there {status} orders from customer {customer_id}?"),
    answer=lambda a, r: f"Orders of {a['customer_id']}: {each(r, '{order_id} ({status}, {placed})')}.",
)
def get_orders_by_customer(
    world: World, customer_id: CustomerId, status: Literal["pending", "shipped", "delivered", "cancelled"] | None = None
) -> list[Row]:
    """All orders placed by a customer, newest first, optionally only those of one status."""
    world.need(f"customer {customer_id} does not exist", "SELECT id FROM customers WHERE id = ?", customer_id)
    sql = "SELECT id AS order_id, status, placed FROM orders WHERE customer = ?"
    if status is None:
        return world.all(f"{sql} ORDER BY placed DESC, id", customer_id)
    return world.all(f"{sql} AND status = ? ORDER BY placed DESC, id", customer_id, status)


@orders.tool(
    draw=lambda d: {"name": d.row("SELECT name FROM customers")["name"]},
    asks=(
        "What is {name}'s customer number?",
        "Is {name} a customer of ours, and under which number?",
        "Which C number belongs to {name}?",
        "I need the customer ID for {name}.",
        "Under what ID is {name} registered in the shop?",
        "{name} forgot the customer number. What is it?",
    ),
    held_out=("Give me {name}'s shop ID.", "Who is {name} in our customer list? I need the ID."),
    answer=lambda a, r: f"{a['name']} is customer {r['customer_id']}.",
)
def find_customer(world: World, name: Annotated[str, "full name"]) -> Row:
    """Look up the customer ID under which a person, by full name, is registered."""
    return world.need(f"no customer named {name}", "SELECT id AS customer_id FROM customers WHERE name = ?", name)


@orders.tool(
    draw=lambda d: {"order_id": d.row("SELECT id FROM orders WHERE status = 'pending'")["id"]},
    asks=(
        "The customer changed their mind, please call off {order_id}.",
        "{order_id} should not be sent at all. Stop the whole thing.",
        "Please annul {order_id}, it was placed by mistake.",
        "Drop {order_id} completely; it's no longer wanted.",
        "Can you void {order_id} before it ships?",
        "Nobody wants {order_id} any more. Call it off, please.",
    ),
    held_out=("Please withdraw {order_id} as a whole.", "{order_id} was a mistake, get rid of the entire order."),
    answer=lambda a, r: f"{a['order_id']} is cancelled; {r['refund']} EUR will be refunded.",
)
def cancel_order(world: World, order_id: OrderId) -> Row:
    """Call off a whole order that is still pending, so nothing is sent."""
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
    asks=(
        "Take the {product} out of {order_id}, the rest stays.",
        "The customer of {order_id} no longer needs the {product}, but wants everything else.",
        "Remove just the {product} from {order_id}, please.",
        "{order_id} is fine except for the {product}; strike that line.",
        "Please drop the {product} from {order_id} and keep the other things.",
        "Leave {order_id} as it is, only without the {product}.",
    ),
    held_out=("Strike the {product} off {order_id}.", "In {order_id}, the {product} has to go; nothing else changes."),
    answer=lambda a, r: f"I took the {a['product']} out of {a['order_id']}; the new total is {r['total']} EUR.",
)
def cancel_order_item(world: World, order_id: OrderId, product: str) -> Row:
    """Remove just one product from a pending order and keep the rest."""
    row = _order(world, order_id)
    if row["status"] != "pending":
        raise PermissionError(f"order {order_id} is already {row['status']}")
    sql = "SELECT quantity * price AS worth FROM order_items WHERE order_id = ? AND product = ?"
    worth = world.need(f"order {order_id} has no product '{product}'", sql, order_id, product)["worth"]
    world.run("DELETE FROM order_items WHERE order_id = ? AND product = ?", order_id, product)
    world.run("UPDATE orders SET total = total - ? WHERE id = ?", worth, order_id)
    return {"removed": product, "total": row["total"] - worth}


orders.chain(
    ("find_customer", lambda s, r: {"name": s["name"]}),
    ("get_orders_by_customer", lambda s, r: {"customer_id": r[0]["customer_id"]}),
    draw=lambda d: {"name": d.row("SELECT name FROM customers")["name"]},
    asks=(
        "What has {name} ordered from us?",
        "I only have a name, {name}. Which orders are theirs?",
        "List the orders of {name}, please.",
        "{name} is on the phone and asks what they bought here. What do we have?",
    ),
    held_out=("Which purchases has {name} made in the shop?", "Pull up the order history of {name}."),
)
orders.chain(
    ("find_customer", lambda s, r: {"name": s["name"]}),
    ("get_orders_by_customer", lambda s, r: {"customer_id": r[0]["customer_id"], "status": "shipped"}),
    ("get_order_tracking", lambda s, r: {"order_id": r[1][0]["order_id"]}),
    draw=lambda d: d.row(
        "SELECT DISTINCT name FROM customers JOIN orders ON customer = customers.id WHERE status = 'shipped'"
    ),
    asks=(
        "List only the shipped orders of {name} and tell me where the parcel of the newest one is.",
        "{name} is waiting for a parcel. Look at just their shipped orders and track the newest.",
        "Filter {name}'s orders by shipped; which tracking number does the most recent have?",
    ),
    held_out=("Of {name}'s shipped orders, and only those, take the newest: which carrier has it?",),
)
orders.chain(
    ("get_orders_by_customer", lambda s, r: {"customer_id": s["customer_id"]}),
    ("get_order_items", lambda s, r: {"order_id": r[0][0]["order_id"]}),
    draw=lambda d: {"customer_id": d.row("SELECT DISTINCT customer FROM orders")["customer"]},
    asks=(
        "What products were in the latest order of {customer_id}?",
        "{customer_id} wants to know what they bought most recently. Which articles?",
        "List the contents of the newest order placed by customer {customer_id}.",
        "What's in the last thing {customer_id} ordered?",
    ),
    held_out=("Which goods did {customer_id} buy in their most recent order?",),
)
orders.talk = (
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
orders.beyond = (
    "Please print a return label for {person} and post it today.",
    "Give {person} a {number} percent discount on everything.",
    "Launch a newsletter about our summer sale for {city}.",
    "Open a second shop account for {person} with a new password.",
)
