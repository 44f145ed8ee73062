"""A power company's meters, tariffs and outages. Held out from training."""

from __future__ import annotations

from random import Random
from typing import Annotated, Literal

from tltrain.toolworld.service import Draw, Service, Slots, each
from tltrain.toolworld.styles import NESTED
from tltrain.toolworld.world import DAYS, MONTHS, Row, World, check_day, check_month

STREETS = tuple(
    f"{name} {kind}" for name in ("Ash", "Birch", "Cedar", "Elm", "Linden", "Oak") for kind in ("Lane", "Court")
)
TARIFFS = ("basic", "green", "night", "family")
Tariff = Literal["basic", "green", "night", "family"]
CENTS = {"basic": 31, "green": 34, "night": 27, "family": 29}
Day = Annotated[str, "YYYY-MM-DD"]
Month = Annotated[str, "YYYY-MM"]
MeterId = Annotated[str, "like M-700"]


def _tables(world: World, rng: Random) -> None:
    meters, months = [], []
    for number in range(60):
        meter, total = f"M-{700 + number}", rng.randint(2000, 9000)
        street = STREETS[number % len(STREETS)]
        meters.append((meter, f"{street} {rng.randint(1, 90)}", street, rng.choice(TARIFFS), total))
        months += [(meter, month, rng.randint(90, 420)) for month in MONTHS]
    outages = [
        (f"OUT-{100 + number}", rng.choice(STREETS), rng.choice(DAYS), rng.choice((20, 45, 90, 180)))
        for number in range(40)
    ]
    world.create("meters", "id, address, street, tariff, reading", meters)
    world.create("usage", "meter, month, kwh", months)
    world.create("outages", "id, street, day, minutes", outages)


energy = Service("energy", "power meters and outages", NESTED, _tables)


def _meter(world: World, meter_id: str) -> Row:
    return world.need(f"meter {meter_id} does not exist", "SELECT * FROM meters WHERE id = ?", meter_id)


def _used(world: World, meter_id: str, month: str) -> int:
    sql = "SELECT kwh FROM usage WHERE meter = ? AND month = ?"
    return int(world.need(f"no data for {month}", sql, meter_id, check_month(month))["kwh"])


def _id(d: Draw) -> Slots:
    return {"meter_id": d.row("SELECT id FROM meters")["id"]}


@energy.tool(
    draw=_id,
    asks=(
        "What does {meter_id} show at the moment?",
        "What was the last figure read off {meter_id}?",
        "At how many kWh does {meter_id} stand?",
        "Which count is stored for {meter_id}?",
        "What number of kilowatt hours is on the display of {meter_id}?",
        "I need the present kWh count of {meter_id}.",
    ),
    held_out=("What does the display of {meter_id} say?", "To what count has {meter_id} run up?"),
    answer=lambda a, r: f"{a['meter_id']} stands at {r['kwh']} kWh.",
)
def get_meter_reading(world: World, meter_id: MeterId) -> Row:
    """The last count read off a meter: what its display shows now, in kWh."""
    return {"kwh": _meter(world, meter_id)["reading"]}


@energy.tool(
    draw=lambda d: {**_id(d), "month": d.month()},
    asks=(
        "How much electricity was used through {meter_id} in {month}?",
        "How many kWh did {meter_id} consume in {month}?",
        "What was the consumption at {meter_id} during {month}?",
        "In {month}, how much power went through {meter_id}?",
        "Did {meter_id} use a lot of power in {month}? How much?",
        "For {month}, what amount of energy was drawn at {meter_id}?",
    ),
    held_out=("How much power did {meter_id} draw in {month}?", "{month}, {meter_id}: how many kWh were consumed?"),
    answer=lambda a, r: f"{a['meter_id']} used {r['kwh']} kWh in {a['month']}.",
)
def get_meter_usage(world: World, meter_id: MeterId, month: Month) -> Row:
    """Electricity consumption at a meter in one month: how many kWh were used."""
    _meter(world, meter_id)
    return {"kwh": _used(world, meter_id, month)}


@energy.tool(
    draw=_id,
    asks=(
        "On which plan is {meter_id}?",
        "How many cents per kWh does {meter_id} pay?",
        "What does a kilowatt hour cost at {meter_id}?",
        "Is {meter_id} on the green or the basic plan?",
        "Which rate applies to {meter_id}?",
        "What price per kWh was agreed for {meter_id}?",
    ),
    held_out=("Which price plan does {meter_id} have?", "How much is one kWh for {meter_id}?"),
    answer=lambda a, r: f"{a['meter_id']} is on the {r['tariff']} tariff at {r['cents_per_kwh']} cents per kWh.",
)
def get_meter_tariff(world: World, meter_id: MeterId) -> Row:
    """The plan or rate a meter is on, and what one kWh costs."""
    tariff = _meter(world, meter_id)["tariff"]
    return {"tariff": tariff, "cents_per_kwh": CENTS[tariff]}


@energy.tool(
    draw=lambda d: {**_id(d), "month": d.month()},
    asks=(
        "How much money is due for {meter_id} in {month}?",
        "What will the customer with {meter_id} have to pay for {month}?",
        "What did the power at {meter_id} cost in {month}?",
        "How high is the bill for {meter_id}, {month}?",
        "Work out in euros what {meter_id} owes for {month}.",
        "In euros, what does {month} come to for {meter_id}?",
    ),
    held_out=("How many euros does {meter_id} owe for {month}?", "What is the {month} bill of {meter_id}?"),
    answer=lambda a, r: f"The bill of {a['meter_id']} for {a['month']} is {r['euros']} EUR.",
)
def get_meter_bill(world: World, meter_id: MeterId, month: Month) -> Row:
    """The bill for a meter in one month: euros to pay for its power."""
    tariff = _meter(world, meter_id)["tariff"]
    return {"euros": round(_used(world, meter_id, month) * CENTS[tariff] / 100, 2)}


@energy.tool(
    draw=lambda d: {"street": d.pick(STREETS)},
    asks=(
        "Which meters hang in {street}?",
        "What are the meter numbers in {street}?",
        "Our technician is in {street}. Which meters are there?",
        "List the meters installed along {street}.",
        "Do we have any meters in {street}? Which?",
        "I need all meter IDs for {street}.",
    ),
    held_out=("Which meter IDs belong to {street}?", "Tell me what meters there are along {street}."),
    answer=lambda a, r: f"In {a['street']}: {each(r, '{meter_id} ({address})')}.",
)
def find_meters(world: World, street: str) -> list[Row]:
    """List the meters installed in a street: their meter numbers."""
    rows = world.all("SELECT id AS meter_id, address FROM meters WHERE street = ?", street)
    if not rows:
        raise LookupError(f"no meters in {street}")
    return rows


@energy.tool(
    draw=lambda d: {**_id(d), "kwh": d.number(9100, 9900)},
    asks=(
        "{meter_id} now stands at {kwh} kWh. Please take that down.",
        "I read {kwh} on {meter_id}.",
        "My meter {meter_id} shows {kwh} today; please store it.",
        "New count for {meter_id}: {kwh}.",
        "Please enter {kwh} kWh for {meter_id}.",
        "The figure on {meter_id} is {kwh}, I'd like to report it.",
    ),
    held_out=("For {meter_id} I noted {kwh} kWh; save it.", "{kwh} is what {meter_id} shows. Pass that on."),
    answer=lambda a, r: f"Thank you, {a['kwh']} kWh is stored for {a['meter_id']} (before: {r['previous']}).",
)
def submit_meter_reading(world: World, meter_id: MeterId, kwh: int) -> Row:
    """Enter a new count that was read off a meter, in kWh."""
    previous = _meter(world, meter_id)["reading"]
    if kwh < previous:
        raise ValueError(f"the new count {kwh} is below the old one ({previous})")
    world.run("UPDATE meters SET reading = ? WHERE id = ?", kwh, meter_id)
    return {"previous": previous}


@energy.tool(
    draw=lambda d: {"street": d.pick(STREETS), "since": d.day()},
    asks=(
        "Which blackouts has {street} had since {since}?",
        "From {since} on, when was the power gone in {street}?",
        "How often was the power gone in {street}?",
        "Which blackouts have there been in {street}?",
        "When did the lights go out in {street}, and for how long?",
        "Residents of {street} complain about blackouts. Which ones are known?",
        "Was {street} ever without electricity? When?",
        "Show me all power cuts in {street}.",
    ),
    held_out=("On which days was {street} without power?", "What power failures did {street} have?"),
    answer=lambda a, r: f"Outages in {a['street']}: {each(r, '{day} ({minutes} min)')}.",
)
def list_outages(world: World, street: str, since: Day | None = None) -> list[Row]:
    """Blackouts a street has had: when the power was gone, optionally since a day."""
    if street not in STREETS:
        raise LookupError(f"unknown street: {street}")
    sql = "SELECT id AS outage_id, day, minutes FROM outages WHERE street = ? AND day >= ? ORDER BY day DESC"
    return world.all(sql, street, "" if since is None else check_day(since))


@energy.tool(
    draw=lambda d: {"street": d.pick(STREETS), "day": d.day()},
    asks=(
        "There is no power in {street} since {day}. Please pass that on.",
        "Since {day} the whole of {street} has been dark. Send word to the technicians.",
        "I want to notify you of a blackout in {street} on {day}.",
        "The electricity failed in {street} on {day}; please register that.",
        "Blackout in {street}, {day}. Make a note for the repair team.",
        "The lights in {street} went off on {day}. I'd like to file that.",
    ),
    held_out=("I'm letting you know: no electricity in {street} on {day}.", "File a blackout for {street}, {day}."),
    answer=lambda a, r: f"The outage in {a['street']} is registered as {r['outage_id']}.",
)
def report_outage(world: World, street: str, day: Day) -> Row:
    """Notify the technicians that there is no power in a street since a day."""
    if street not in STREETS:
        raise LookupError(f"unknown street: {street}")
    outage = f"OUT-{world.next_number('outages')}"
    world.run("INSERT INTO outages VALUES (?, ?, ?, 0)", outage, street, check_day(day))
    return {"outage_id": outage}


energy.chain(
    ("find_meters", lambda s, r: {"street": s["street"]}),
    ("get_meter_reading", lambda s, r: {"meter_id": r[0][0]["meter_id"]}),
    draw=lambda d: {"street": d.pick(STREETS)},
    asks=(
        "What does the first meter listed for {street} show right now?",
        "Find the meters in {street} and tell me the present count of the first one.",
        "Look up which meters hang in {street}. What does the display of the first say?",
    ),
    held_out=("At how many kWh does the first meter in the list of {street} stand?",),
)
energy.chain(
    ("find_meters", lambda s, r: {"street": s["street"]}),
    ("get_meter_bill", lambda s, r: {"meter_id": r[0][0]["meter_id"], "month": s["month"]}),
    draw=lambda d: {"street": d.pick(STREETS), "month": d.month()},
    asks=(
        "Take the first meter listed for {street}: what is the bill for {month}?",
        "How many euros are due for {month} at the first meter in the {street} list?",
        "Find the meters in {street}; how high is the first one's bill for {month}?",
    ),
    held_out=("Look up the meters of {street}. What does the first one owe for {month}?",),
)
energy.chain(
    ("find_meters", lambda s, r: {"street": s["street"]}),
    ("get_meter_usage", lambda s, r: {"meter_id": r[0][0]["meter_id"], "month": s["month"]}),
    draw=lambda d: {"street": d.pick(STREETS), "month": d.month()},
    asks=(
        "How many kWh did the first meter listed for {street} consume in {month}?",
        "Find the meters in {street}; how much power did the first use in {month}?",
        "For {month}, what amount of energy was drawn at the first meter listed for {street}?",
    ),
    held_out=("In {month}, what was the consumption at the first meter of the {street} list?",),
)
energy.talk = (
    ("What is a kilowatt hour?", "The energy that a device of one kilowatt uses in one hour."),
    ("How can I save electricity at home?", "Switch devices off fully, use LED lamps, and wash at low temperatures."),
    ("What does a fuse do?", "It cuts the current when too much flows, to prevent fires."),
    ("Is wind power renewable?", "Yes, wind doesn't run out."),
)
energy.beyond = (
    "Come to {city} and repair my socket.",
    "Build a wind turbine near {city} before {day}.",
    "Turn off {person}'s electricity for {number} minutes.",
    "Sell me {number} shares of your company.",
)
