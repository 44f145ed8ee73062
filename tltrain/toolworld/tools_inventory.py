"""Stock of a wholesaler with several warehouses."""

from __future__ import annotations

from random import Random
from typing import Annotated, Literal

from tltrain.toolworld.service import Draw, Service, Slots, each
from tltrain.toolworld.styles import FLAG
from tltrain.toolworld.world import Row, World

ARTICLES = tuple(
    f"{colour} {thing}"
    for colour in ("red", "blue", "green", "black", "white")
    for thing in ("bucket", "ladder", "hose", "toolbox", "rope", "tarp", "paint can", "bin")
)
WAREHOUSES = ("north", "south", "east", "west")
Warehouse = Literal["north", "south", "east", "west"]
Sku = Annotated[str, "like SKU-300"]


def _tables(world: World, rng: Random) -> None:
    articles, stock = [], []
    for number, name in enumerate(ARTICLES):
        sku = f"SKU-{300 + number}"
        articles.append((sku, name, rng.randint(3, 120), rng.choice((20, 30, 40)), rng.randint(2, 21)))
        stock += [(sku, place, rng.randint(12, 90)) for place in WAREHOUSES]
    world.create("articles", "sku, name, price, reorder_level, lead_days", articles)
    world.create("stock", "sku, warehouse, quantity", stock)


inventory = Service("inventory", "warehouse stock", FLAG, _tables)


def _article(world: World, sku: str) -> Row:
    return world.need(f"article {sku} is not in the catalogue", "SELECT * FROM articles WHERE sku = ?", sku)


def _quantity(world: World, sku: str, warehouse: str) -> int:
    sql = "SELECT quantity FROM stock WHERE sku = ? AND warehouse = ?"
    return int(world.need(f"no stock of {sku}", sql, sku, warehouse)["quantity"])


def _sku(d: Draw) -> str:
    return str(d.row("SELECT sku FROM articles")["sku"])


@inventory.tool(
    draw=lambda d: {"sku": _sku(d), "warehouse": d.pick(WAREHOUSES)},
    asks=(
        "How many of {sku} do we have?",
        "How many pieces of {sku} are left?",
        "How much {sku} is lying in the {warehouse} warehouse?",
        "Is there enough {sku}? I need the count.",
        "Count {sku} in the {warehouse} warehouse for me.",
        "What quantity of {sku} is on the shelves?",
        "How many {sku} are there in the {warehouse} building?",
    ),
    held_out=("Do we still hold any {sku}, and how many?", "What's the amount of {sku} in {warehouse}?"),
    answer=lambda a, r: f"There are {r['quantity']} of {a['sku']} ({a.get('warehouse', 'all warehouses')}).",
)
def get_stock(world: World, sku: Sku, warehouse: Warehouse | None = None) -> Row:
    """How many pieces of an article are left, in one warehouse or all."""
    _article(world, sku)
    sql = "SELECT sum(quantity) AS quantity FROM stock WHERE sku = ? AND warehouse LIKE ?"
    return world.all(sql, sku, warehouse or "%")[0]


@inventory.tool(
    draw=lambda d: {"sku": _sku(d)},
    asks=(
        "What does {sku} cost us per piece?",
        "At what price do we sell {sku}?",
        "How expensive is {sku}?",
        "Give me the unit price for {sku}.",
        "A client wants to know what one {sku} costs.",
        "What do we charge for {sku}?",
    ),
    held_out=("How much money is one piece of {sku}?", "Price of {sku}, please."),
    answer=lambda a, r: f"{a['sku']} costs {r['price']} EUR.",
)
def get_stock_price(world: World, sku: Sku) -> Row:
    """The unit price of an article: what one piece costs, by SKU."""
    return {"price": _article(world, sku)["price"]}


@inventory.tool(
    draw=lambda d: {"sku": _sku(d)},
    asks=(
        "How long does a delivery of {sku} take from the supplier?",
        "If we reorder {sku} today, how many days until it arrives?",
        "How many days of lead time does {sku} have?",
        "When would a fresh supply of {sku} get here, in days?",
        "How slow is our supplier with {sku}?",
        "What waiting time should I plan for {sku} from the supplier?",
    ),
    held_out=("How many days does the supplier need for {sku}?", "What's the supplier's delivery time for {sku}?"),
    answer=lambda a, r: f"The supplier needs {r['lead_days']} days for {a['sku']}.",
)
def get_stock_lead_time(world: World, sku: Sku) -> Row:
    """How many days the supplier takes to deliver an article, by SKU."""
    return {"lead_days": _article(world, sku)["lead_days"]}


@inventory.tool(
    draw=lambda d: {"name": d.pick(ARTICLES)},
    asks=(
        "What is the article number of the {name}?",
        "Which SKU belongs to the {name}?",
        "Do we carry a {name}? Under which number?",
        "I'm looking for the SKU of a {name}.",
        "Under what number is the {name} in the catalogue?",
        "How is the {name} numbered with us?",
    ),
    held_out=("Tell me the catalogue number for the {name}.", "What SKU does a {name} have?"),
    answer=lambda a, r: f"The {a['name']} is {r['sku']}.",
)
def find_article(world: World, name: str) -> Row:
    """Look up the article number (SKU) of a product by its name."""
    return world.need(f"no article called {name}", "SELECT sku FROM articles WHERE name = ?", name)


@inventory.tool(
    draw=lambda d: {"warehouse": d.pick(WAREHOUSES), "below": d.number(16, 30)},
    asks=(
        "What is running out in the {warehouse} warehouse?",
        "Which articles are scarce in {warehouse}?",
        "In the {warehouse} warehouse, what has fewer than {below} pieces left?",
        "What should we reorder for the {warehouse} building soon?",
        "Show me everything below {below} pieces in {warehouse}.",
        "Which shelves are nearly empty in the {warehouse} warehouse?",
    ),
    held_out=("What are we short of in {warehouse}?", "Anything under {below} pieces in the {warehouse} warehouse?"),
    answer=lambda a, r: f"Low in {a['warehouse']}: {each(r, '{sku} ({quantity})')}.",
)
def list_low_stock(world: World, warehouse: Warehouse, below: int = 15) -> list[Row]:
    """Articles running out in a warehouse: those with fewer pieces left than a limit."""
    if below <= 0:
        raise ValueError("below must be at least 1")
    sql = "SELECT sku, quantity FROM stock WHERE warehouse = ? AND quantity < ? ORDER BY quantity, sku LIMIT 4"
    return world.all(sql, warehouse, below)


def _transfer(d: Draw) -> Slots:
    source, target = d.rng.sample(WAREHOUSES, 2)
    return {"sku": _sku(d), "quantity": d.number(2, 12), "source": source, "target": target}


@inventory.tool(
    draw=_transfer,
    asks=(
        "Bring {quantity} of {sku} from {source} to {target}.",
        "Please shift {quantity} pieces of {sku} out of the {source} warehouse into the {target} one.",
        "The {target} warehouse needs {quantity} {sku}; take them from {source}.",
        "Transfer {quantity} {sku}: {source} to {target}.",
        "From {source}, send {quantity} pieces of {sku} over to {target}.",
        "Get {quantity} {sku} to the {target} warehouse, {source} has plenty.",
    ),
    held_out=(
        "Haul {quantity} of {sku} over to {target} from {source}.",
        "{source} gives {quantity} pieces of {sku} to {target}.",
    ),
    answer=lambda a, r: f"{a['quantity']} of {a['sku']} went from {a['source']} to {a['target']}.",
)
def move_stock(world: World, sku: Sku, quantity: int, source: Warehouse, target: Warehouse) -> Row:
    """Transfer a number of pieces of an article from one warehouse to another."""
    _article(world, sku)
    left = _quantity(world, sku, source) - quantity
    if quantity <= 0 or left < 0:
        raise ValueError(f"cannot move {quantity} of {left + quantity} pieces")
    world.run("UPDATE stock SET quantity = ? WHERE sku = ? AND warehouse = ?", left, sku, source)
    sql = "UPDATE stock SET quantity = quantity + ? WHERE sku = ? AND warehouse = ?"
    world.run(sql, quantity, sku, target)
    return {"left_in_source": left, "now_in_target": _quantity(world, sku, target)}


@inventory.tool(
    draw=lambda d: {"sku": _sku(d), "level": d.number(5, 60, 5)},
    asks=(
        "We want to be warned once {sku} drops to {level}.",
        "Reorder {sku} from {level} pieces on; change that threshold.",
        "The minimum for {sku} should be {level} in future.",
        "Raise or lower the reorder point of {sku} to {level}.",
        "Keep at least {level} of {sku} at all times: update the minimum.",
        "For {sku}, the threshold for reordering becomes {level}.",
    ),
    held_out=("Make {level} the new minimum for {sku}.", "Change the point where we reorder {sku} to {level}."),
    answer=lambda a, r: f"The reorder level of {a['sku']} is now {a['level']} (was {r['previous']}).",
)
def set_reorder_level(world: World, sku: Sku, level: int) -> Row:
    """Change the minimum of pieces at which an article is to be reordered."""
    previous = _article(world, sku)["reorder_level"]
    if level < 0:
        raise ValueError(f"level must not be negative: {level}")
    world.run("UPDATE articles SET reorder_level = ? WHERE sku = ?", level, sku)
    return {"sku": sku, "previous": previous}


inventory.chain(
    ("find_article", lambda s, r: {"name": s["name"]}),
    ("get_stock", lambda s, r: {"sku": r[0]["sku"]}),
    draw=lambda d: {"name": d.pick(ARTICLES)},
    asks=(
        "How many pieces of the {name} do we have in all?",
        "Is the {name} still available, and how often?",
        "Count the {name} across all warehouses.",
        "How much do we have left of the {name}?",
    ),
    held_out=("What quantity of the {name} is left in total?",),
)
inventory.chain(
    ("find_article", lambda s, r: {"name": s["name"]}),
    ("get_stock_price", lambda s, r: {"sku": r[0]["sku"]}),
    draw=lambda d: {"name": d.pick(ARTICLES)},
    asks=(
        "What does a {name} cost?",
        "How much do we charge for the {name}?",
        "A client asks for the price of the {name}.",
    ),
    held_out=("How expensive is a {name}?",),
)
inventory.chain(
    ("list_low_stock", lambda s, r: {"warehouse": s["warehouse"], "below": s["below"]}),
    ("get_stock_lead_time", lambda s, r: {"sku": r[0][0]["sku"]}),
    draw=lambda d: {"warehouse": d.pick(WAREHOUSES), "below": d.number(20, 40)},
    asks=(
        "Of what has fewer than {below} pieces in {warehouse}, take the scarcest: how long does its supplier need?",
        "Find what is below {below} pieces in the {warehouse} warehouse. When could the scarcest be delivered again?",
        "List what {warehouse} has fewer than {below} of. How many days does the supplier of the scarcest need?",
    ),
    held_out=("Which is scarcest among those under {below} pieces in {warehouse}, and what's its delivery time?",),
)
inventory.talk = (
    ("What does SKU stand for?", "Stock keeping unit: the number a shop gives to each article it sells."),
    ("Why do companies take stock once a year?", "To compare the books with what is really on the shelves."),
    ("What does 'first in, first out' mean?", "The oldest goods leave the shelves first."),
    ("What is a pallet?", "A flat wooden platform on which goods are stacked and carried."),
)
inventory.beyond = (
    "Hire {number} people for the packing line.",
    "Rent a new hall near {city} for our goods.",
    "Paint the loading dock in {city} green.",
    "Drive the forklift over to {person}.",
)
