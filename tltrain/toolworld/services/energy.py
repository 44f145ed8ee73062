"""A power company's meters, tariffs and outages. Held out from training."""

from __future__ import annotations

from random import Random
from typing import Annotated, Literal

from tltrain.toolworld.service import Service, Slots, ValueSampler, each
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
    return world.require(f"meter {meter_id} does not exist", "SELECT * FROM meters WHERE id = ?", meter_id)


def _used(world: World, meter_id: str, month: str) -> int:
    sql = "SELECT kwh FROM usage WHERE meter = ? AND month = ?"
    return int(world.require(f"no data for {month}", sql, meter_id, check_month(month))["kwh"])


def _id(d: ValueSampler) -> Slots:
    return {"meter_id": d.row("SELECT id FROM meters")["id"]}


@energy.tool(
    draw=_id,
    wordings=(
        "What is the current reading of {meter_id}?",
        "What reading does the meter {meter_id} show?",
        "Tell me the meter's reading now: {meter_id}.",
        "I need the reading of meter {meter_id} in kWh.",
        "Which reading is on the display of {meter_id}?",
        "How high is the reading on {meter_id} at the moment?",
        "How many kWh does the display of {meter_id} show?",
    ),
    held_out=(
        "Current reading on the meter {meter_id}, please.",
        "Let me know what the reading of {meter_id} is.",
    ),
    answer=lambda a, r: f"{a['meter_id']} stands at {r['kwh']} kWh.",
)
def get_meter_reading(world: World, meter_id: MeterId) -> Row:
    """Current reading of a meter: the count its display shows now, in kWh."""
    return {"kwh": _meter(world, meter_id)["reading"]}


@energy.tool(
    draw=lambda d: {**_id(d), "month": d.month()},
    wordings=(
        "What was the usage of {meter_id} in {month}?",
        "How high was the electricity usage at meter {meter_id} in {month}?",
        "Usage in {month} for {meter_id}, please.",
        "Show me the {month} usage of the meter {meter_id}.",
        "I'd like to know the usage at {meter_id} for {month}.",
        "In {month}, was the usage of {meter_id} high? How much?",
        "What was the consumption at {meter_id} in {month}?",
    ),
    held_out=(
        "Which usage did {meter_id} have in {month}?",
        "For {month}, what electricity usage does meter {meter_id} have?",
    ),
    answer=lambda a, r: f"{a['meter_id']} used {r['kwh']} kWh in {a['month']}.",
)
def get_meter_usage(world: World, meter_id: MeterId, month: Month) -> Row:
    """Usage of a meter: the electricity consumption in one month, in kWh."""
    _meter(world, meter_id)
    return {"kwh": _used(world, meter_id, month)}


@energy.tool(
    draw=_id,
    wordings=(
        "Which tariff is {meter_id} on?",
        "Is {meter_id} on the green or the basic tariff?",
        "What tariff does the meter {meter_id} have?",
        "Tell me the tariff and the rate of {meter_id}.",
        "How many cents per kWh is {meter_id}'s tariff?",
        "I'd like to check the tariff of meter {meter_id}.",
        "What is the price per kWh at {meter_id}?",
    ),
    held_out=(
        "Under which tariff does {meter_id} run?",
        "Tariff and price plan of {meter_id}, please.",
    ),
    answer=lambda a, r: f"{a['meter_id']} is on the {r['tariff']} tariff at {r['cents_per_kwh']} cents per kWh.",
)
def get_meter_tariff(world: World, meter_id: MeterId) -> Row:
    """Tariff or price plan of a meter: its rate in cents per kWh."""
    tariff = _meter(world, meter_id)["tariff"]
    return {"tariff": tariff, "cents_per_kwh": CENTS[tariff]}


@energy.tool(
    draw=lambda d: {**_id(d), "month": d.month()},
    wordings=(
        "How high is the bill for {meter_id} in {month}?",
        "Work out the {month} bill of {meter_id}.",
        "What is on the bill of meter {meter_id} for {month}?",
        "The customer asks about the {month} bill for {meter_id}.",
        "How many euros is the bill of {meter_id} for {month}?",
        "I lost the bill of meter {meter_id} for {month}. How much was it?",
        "What do I have to pay for {meter_id} in {month}?",
    ),
    held_out=(
        "What is the bill of {meter_id} for {month}?",
        "In euros, the bill for meter {meter_id} in {month}, please.",
    ),
    answer=lambda a, r: f"The bill of {a['meter_id']} for {a['month']} is {r['euros']} EUR.",
)
def get_meter_bill(world: World, meter_id: MeterId, month: Month) -> Row:
    """Bill for a meter in one month: how many euros are due to pay."""
    tariff = _meter(world, meter_id)["tariff"]
    return {"euros": round(_used(world, meter_id, month) * CENTS[tariff] / 100, 2)}


@energy.tool(
    draw=lambda d: {"street": d.pick(STREETS)},
    wordings=(
        "Find the meters installed in {street}.",
        "Can you find all meters in {street}?",
        "Which meters can you find in {street}?",
        "I need to find the meters along {street}.",
        "Please find the addresses of the meters in {street}.",
        "A technician is in {street}; find the meters there.",
        "Which meters are installed in {street}?",
    ),
    held_out=(
        "What meters do you find for {street}?",
        "Find out which meters are installed in {street}.",
    ),
    answer=lambda a, r: f"In {a['street']}: {each(r, '{meter_id} ({address})')}.",
)
def find_meters(world: World, street: str) -> list[Row]:
    """Find the meters installed in a street, with their IDs and addresses."""
    rows = world.all("SELECT id AS meter_id, address FROM meters WHERE street = ?", street)
    if not rows:
        raise LookupError(f"no meters in {street}")
    return rows


@energy.tool(
    draw=lambda d: {**_id(d), "kwh": d.number(9100, 9900)},
    wordings=(
        "Submit {kwh} kWh for {meter_id}.",
        "I'd like to submit a reading of {meter_id}: {kwh}.",
        "Please submit {kwh} as the new reading for {meter_id}.",
        "The customer submits {kwh} kWh for the meter {meter_id}.",
        "Can you submit this? {meter_id} is at {kwh} kWh.",
        "New value for {meter_id} to submit: {kwh}.",
        "A customer reports {kwh} for the meter {meter_id}.",
    ),
    held_out=(
        "Can I submit a reading? {meter_id} is at {kwh}.",
        "For {meter_id}, submit {kwh} kWh.",
    ),
    answer=lambda a, r: f"Thank you, {a['kwh']} kWh is stored for {a['meter_id']} (before: {r['previous']}).",
)
def submit_meter_reading(world: World, meter_id: MeterId, kwh: int) -> Row:
    """Submit the new value, in kWh, that a customer reports for a meter."""
    previous = _meter(world, meter_id)["reading"]
    if kwh < previous:
        raise ValueError(f"the new count {kwh} is below the old one ({previous})")
    world.run("UPDATE meters SET reading = ? WHERE id = ?", kwh, meter_id)
    return {"previous": previous}


@energy.tool(
    draw=lambda d: {"street": d.pick(STREETS), "since": d.day()},
    wordings=(
        "List the outages in {street}.",
        "List all outages {street} has had since {since}.",
        "Please list the past outages in {street}.",
        "Can you list {street}'s outages since {since}?",
        "Residents of {street} complain about outages. List them.",
        "I need a list of the power outages in {street}.",
        "Which past outages are known in {street}?",
        "Were there any power cuts in {street} since {since}?",
    ),
    held_out=(
        "Please list the outages since {since} in {street}.",
        "A list of all past outages in {street}, please.",
    ),
    answer=lambda a, r: f"Outages in {a['street']}: {each(r, '{day} ({minutes} min)')}.",
)
def list_outages(world: World, street: str, since: Day | None = None) -> list[Row]:
    """List of past outages (power cuts) in a street, optionally since a day."""
    if street not in STREETS:
        raise LookupError(f"unknown street: {street}")
    sql = "SELECT id AS outage_id, day, minutes FROM outages WHERE street = ? AND day >= ? ORDER BY day DESC"
    return world.all(sql, street, "" if since is None else check_day(since))


@energy.tool(
    draw=lambda d: {"street": d.pick(STREETS), "day": d.day()},
    wordings=(
        "Report an outage in {street} since {day}.",
        "I have to report a new outage: {street}, {day}.",
        "I'm reporting an outage in {street} on {day}.",
        "Please report that {street} has an outage since {day}.",
        "A customer reports an outage: {street}, {day}.",
        "There is an outage in {street} since {day}; report it.",
        "The electricity failed in {street} on {day}.",
    ),
    held_out=(
        "Report that {street} is without electricity since {day}.",
        "Can you report the outage of {day} in {street}?",
    ),
    answer=lambda a, r: f"The outage in {a['street']} is registered as {r['outage_id']}.",
)
def report_outage(world: World, street: str, day: Day) -> Row:
    """Report a new outage: electricity has failed in a street since a day."""
    if street not in STREETS:
        raise LookupError(f"unknown street: {street}")
    outage = f"OUT-{world.next_number('outages')}"
    world.run("INSERT INTO outages VALUES (?, ?, ?, 0)", outage, street, check_day(day))
    return {"outage_id": outage}


energy.chain(
    ("find_meters", lambda s, r: {"street": s["street"]}),
    ("get_meter_reading", lambda s, r: {"meter_id": r[0][0]["meter_id"]}),
    draw=lambda d: {"street": d.pick(STREETS)},
    wordings=(
        "Find the meters in {street} and tell me the first one's reading.",
        "I only know the street, {street}: find its meters, then the first one's reading.",
        "What is the reading of the first meter you find in {street}?",
    ),
    held_out=("First find the meters in {street}; what reading has the first one?",),
)
energy.chain(
    ("find_meters", lambda s, r: {"street": s["street"]}),
    ("get_meter_bill", lambda s, r: {"meter_id": r[0][0]["meter_id"], "month": s["month"]}),
    draw=lambda d: {"street": d.pick(STREETS), "month": d.month()},
    wordings=(
        "Find the meters in {street}: what is the first one's bill for {month}?",
        "I only know the street, {street}. Find the first meter and its {month} bill.",
        "How high is the {month} bill of the first meter you find in {street}?",
    ),
    held_out=("First find the meters in {street}, then the first one's {month} bill.",),
)
energy.chain(
    ("find_meters", lambda s, r: {"street": s["street"]}),
    ("get_meter_usage", lambda s, r: {"meter_id": r[0][0]["meter_id"], "month": s["month"]}),
    draw=lambda d: {"street": d.pick(STREETS), "month": d.month()},
    wordings=(
        "Find the meters in {street}: what was the first one's usage in {month}?",
        "I only know the street, {street}. Find the first meter and its {month} usage.",
        "How high was the usage in {month} of the first meter you find in {street}?",
    ),
    held_out=("First find the meters in {street}, then the first one's {month} usage.",),
)
energy.small_talk = (
    ("What is a kilowatt hour?", "The energy that a device of one kilowatt uses in one hour."),
    ("How can I save electricity at home?", "Switch devices off fully, use LED lamps, and wash at low temperatures."),
    ("What does a fuse do?", "It cuts the current when too much flows, to prevent fires."),
    ("Is wind power renewable?", "Yes, wind doesn't run out."),
)
energy.unsupported_requests = (
    "Come to {city} and repair my socket.",
    "Build a wind turbine near {city} before {day}.",
    "Turn off {person}'s electricity for {number} minutes.",
    "Sell me {number} shares of your company.",
)
