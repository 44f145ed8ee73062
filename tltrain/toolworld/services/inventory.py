"""Stock of a wholesaler with several warehouses."""

from __future__ import annotations

from random import Random
from typing import Annotated, Literal

from tltrain.toolworld.service import Service, Slots, ValueSampler, each
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
    return world.require(f"article {sku} is not in the catalogue", "SELECT * FROM articles WHERE sku = ?", sku)


def _quantity(world: World, sku: str, warehouse: str) -> int:
    sql = "SELECT quantity FROM stock WHERE sku = ? AND warehouse = ?"
    return int(world.require(f"no stock of {sku}", sql, sku, warehouse)["quantity"])


def _sku(d: ValueSampler) -> str:
    return str(d.row("SELECT sku FROM articles")["sku"])


@inventory.tool(
    draw=lambda d: {"sku": _sku(d), "warehouse": d.pick(WAREHOUSES)},
    wordings=(
        "What is our stock of {sku}?",
        "How many pieces of {sku} do we have in stock?",
        "How much {sku} is in stock in the {warehouse} warehouse?",
        "Count the stock of {sku} for me.",
        "Do we still stock {sku} in {warehouse}? How many?",
        "Is enough {sku} in stock? I need the count.",
        "Stock of {sku} in the {warehouse} warehouse, please.",
        "How many of {sku} are left?",
    ),
    held_out=(
        "Is any {sku} left in stock, and how many?",
        "What's the stock of {sku} in {warehouse}?",
    ),
    answer=lambda a, r: f"There are {r['quantity']} of {a['sku']} ({a.get('warehouse', 'all warehouses')}).",
)
def get_stock(world: World, sku: Sku, warehouse: Warehouse | None = None) -> Row:
    """Stock of a SKU: the count left, in one warehouse or in all."""
    _article(world, sku)
    sql = "SELECT sum(quantity) AS quantity FROM stock WHERE sku = ? AND warehouse LIKE ?"
    return world.all(sql, sku, warehouse or "%")[0]


@inventory.tool(
    draw=lambda d: {"sku": _sku(d)},
    wordings=(
        "What's the price of {sku}?",
        "Which price do we charge for {sku}?",
        "A client asks for the price of {sku}.",
        "At what price do we sell one {sku}?",
        "Give me the price per piece for {sku}.",
        "How is {sku} priced?",
        "Price of {sku}, please.",
        "What does {sku} cost?",
    ),
    held_out=(
        "Tell me {sku}'s price for a client.",
        "What price does one piece of {sku} have?",
    ),
    answer=lambda a, r: f"{a['sku']} costs {r['price']} EUR.",
)
def get_stock_price(world: World, sku: Sku) -> Row:
    """Price of a SKU: what it costs, what we charge a client for one."""
    return {"price": _article(world, sku)["price"]}


@inventory.tool(
    draw=lambda d: {"sku": _sku(d)},
    wordings=(
        "What is the lead time of {sku}?",
        "How many days of lead time does {sku} have?",
        "Is {sku} slow to come? Give me its lead time.",
        "How much time does the supplier need for {sku}?",
        "I'm out of {sku}. What lead time does the supplier have?",
        "How much lead should I allow when I order {sku}?",
        "Lead time for {sku} in days, please.",
        "How long does the supplier take to deliver {sku}?",
    ),
    held_out=(
        "What lead time should I plan for {sku}?",
        "How much time passes until the supplier delivers {sku}?",
    ),
    answer=lambda a, r: f"The supplier needs {r['lead_days']} days for {a['sku']}.",
)
def get_stock_lead_time(world: World, sku: Sku) -> Row:
    """Lead time of a SKU: how many days the supplier takes to deliver it."""
    return {"lead_days": _article(world, sku)["lead_days"]}


@inventory.tool(
    draw=lambda d: {"name": d.pick(ARTICLES)},
    wordings=(
        "What is the article number of the {name}?",
        "Find the SKU of the {name}.",
        "Do we carry an article called {name}? Find its number.",
        "Find the {name} in our catalogue.",
        "I only know the name, {name}. Which article is it?",
        "Can you find the {name}? I need its SKU.",
        "Which SKU has the {name} in the catalogue?",
    ),
    held_out=(
        "Find out the catalogue number of the {name}.",
        "What article number does a {name} have?",
    ),
    answer=lambda a, r: f"The {a['name']} is {r['sku']}.",
)
def find_article(world: World, name: str) -> Row:
    """Find an article by name in the catalogue: its article number (SKU)."""
    return world.require(f"no article called {name}", "SELECT sku FROM articles WHERE name = ?", name)


@inventory.tool(
    draw=lambda d: {"warehouse": d.pick(WAREHOUSES), "below": d.number(16, 30)},
    wordings=(
        "What is running low in the {warehouse} warehouse?",
        "List the goods that are low in {warehouse}.",
        "Which goods are low in {warehouse}, below {below} pieces?",
        "Is anything low on the {warehouse} shelves?",
        "What are we running low on in {warehouse}?",
        "List everything below {below} pieces in the {warehouse} warehouse.",
        "In the {warehouse} warehouse, which items have got low?",
        "Anything scarce in {warehouse}?",
    ),
    held_out=(
        "Which goods run low in {warehouse}?",
        "I need a list of goods below {below} pieces in {warehouse}.",
    ),
    answer=lambda a, r: f"Low in {a['warehouse']}: {each(r, '{sku} ({quantity})')}.",
)
def list_low_stock(world: World, warehouse: Warehouse, below: int = 15) -> list[Row]:
    """List goods running low in a warehouse: what is scarce, below some pieces."""
    if below <= 0:
        raise ValueError("below must be at least 1")
    sql = "SELECT sku, quantity FROM stock WHERE warehouse = ? AND quantity < ? ORDER BY quantity, sku LIMIT 4"
    return world.all(sql, warehouse, below)


def _transfer(d: ValueSampler) -> Slots:
    source, target = d.rng.sample(WAREHOUSES, 2)
    return {"sku": _sku(d), "quantity": d.number(2, 12), "source": source, "target": target}


@inventory.tool(
    draw=_transfer,
    wordings=(
        "Move {quantity} of {sku} from {source} to {target}.",
        "Please move {quantity} pieces of {sku} from the {source} warehouse to the {target} one.",
        "The {target} warehouse needs {quantity} {sku}; move them over from {source}.",
        "Have {quantity} {sku} moved: {source} to {target}.",
        "Take {quantity} {sku} out of {source} and move them to {target}.",
        "I want {quantity} {sku} moved to {target}; {source} has plenty.",
        "Can we move {quantity} of {sku} to {target}, out of {source}?",
        "Transfer {quantity} {sku} from {source} to {target}.",
    ),
    held_out=(
        "{quantity} pieces of {sku} should move from {source} to {target}.",
        "To {target}, move {quantity} of {sku} from {source}.",
    ),
    answer=lambda a, r: f"{a['quantity']} of {a['sku']} went from {a['source']} to {a['target']}.",
)
def move_stock(world: World, sku: Sku, quantity: int, source: Warehouse, target: Warehouse) -> Row:
    """Move pieces of a SKU between warehouses: transfer them from one to another."""
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
    wordings=(
        "Set the level at which we reorder {sku} to {level}.",
        "Reorder {sku} from {level} pieces on; set that level.",
        "The minimum level for {sku} should be {level} in future.",
        "When {sku} drops to {level}, we reorder. Set it so.",
        "Make {level} the point where we reorder {sku}.",
        "For {sku}, the level becomes {level}.",
        "At {level} pieces of {sku} we want to reorder. Change the threshold.",
        "Keep at least {level} of {sku}: update the minimum.",
    ),
    held_out=(
        "Set {level} as the new minimum level of {sku}.",
        "Change the level where we reorder {sku} to {level}.",
    ),
    answer=lambda a, r: f"The reorder level of {a['sku']} is now {a['level']} (was {r['previous']}).",
)
def set_reorder_level(world: World, sku: Sku, level: int) -> Row:
    """Set a new reorder level for a SKU: the minimum or threshold to keep."""
    previous = _article(world, sku)["reorder_level"]
    if level < 0:
        raise ValueError(f"level must not be negative: {level}")
    world.run("UPDATE articles SET reorder_level = ? WHERE sku = ?", level, sku)
    return {"sku": sku, "previous": previous}


inventory.chain(
    ("find_article", lambda s, r: {"name": s["name"]}),
    ("get_stock", lambda s, r: {"sku": r[0]["sku"]}),
    draw=lambda d: {"name": d.pick(ARTICLES)},
    wordings=(
        "Find the article {name} first: how many are left in stock?",
        "I only know the name, {name}. Find the article and count its stock.",
        "What stock do we have of the {name}? Find its SKU first.",
        "How much of the article {name} is in stock? Find it by name.",
    ),
    held_out=("Find the {name} in the catalogue, then count our stock of it.",),
)
inventory.chain(
    ("find_article", lambda s, r: {"name": s["name"]}),
    ("get_stock_price", lambda s, r: {"sku": r[0]["sku"]}),
    draw=lambda d: {"name": d.pick(ARTICLES)},
    wordings=(
        "Find the article {name} first, then tell me its price.",
        "I only know the name, {name}. Find that article and its price.",
        "A client asks for the price of the {name}. Find its SKU first.",
        "What is the price of the article {name}? Find it by name.",
    ),
    held_out=("Find the {name} in the catalogue: what's the price?",),
)
inventory.chain(
    ("list_low_stock", lambda s, r: {"warehouse": s["warehouse"], "below": s["below"]}),
    ("get_stock_lead_time", lambda s, r: {"sku": r[0][0]["sku"]}),
    draw=lambda d: {"warehouse": d.pick(WAREHOUSES), "below": d.number(20, 40)},
    wordings=(
        "List the goods low in {warehouse}, below {below}. What lead time has the scarcest?",
        "List what is below {below} pieces in {warehouse} first, then give the scarcest's lead time.",
        "What runs low in {warehouse}, below {below}? How much lead time has the scarcest?",
    ),
    held_out=("Which goods run low in {warehouse}, below {below}, and what's the scarcest's lead time?",),
)
inventory.small_talk = (
    ("What does SKU stand for?", "Stock keeping unit: the number a shop gives to each article it sells."),
    ("Why do companies take stock once a year?", "To compare the books with what is really on the shelves."),
    ("What does 'first in, first out' mean?", "The oldest goods leave the shelves first."),
    ("What is a pallet?", "A flat wooden platform on which goods are stacked and carried."),
)
inventory.unsupported_requests = (
    "Hire {number} people for the packing line.",
    "Rent a new hall near {city} for our goods.",
    "Paint the loading dock in {city} green.",
    "Drive the forklift over to {person}.",
)
