"""A company's vehicles. Held out from training."""

from __future__ import annotations

from random import Random
from typing import Annotated, Literal

from tltrain.toolworld.service import Draw, Service, Slots, each
from tltrain.toolworld.styles import FLAG
from tltrain.toolworld.world import DAYS, Row, World, check_day, people

DEPOTS = ("harbour", "airport", "city", "ring road")
Depot = Literal["harbour", "airport", "city", "ring road"]
MODELS = ("Ford Transit", "VW Caddy", "Fiat Ducato", "Renault Kangoo", "Opel Vivaro")
WORK = ("oil change", "new tyres", "brake check", "inspection", "battery replaced", "windscreen repaired")
Day = Annotated[str, "YYYY-MM-DD"]
Plate = Annotated[str, "like KV-2100"]


def _tables(world: World, rng: Random) -> None:
    drivers = people(rng, 16)
    vans, work, fuel = [], [], []
    for number in range(32):
        plate = f"KV-{2100 + number * 37}"
        driver = drivers[number % 16] if number < 28 else None
        vans.append((plate, rng.choice(MODELS), rng.choice(DEPOTS), driver, rng.randint(8, 240) * 1000 + number, 0))
        work += [(plate, rng.choice(DAYS), task) for task in rng.sample(WORK, rng.randint(1, 3))]
        fuel += [(plate, rng.choice(DAYS), rng.randint(25, 70)) for _ in range(rng.randint(1, 3))]
    world.create("vehicles", "plate, model, depot, driver, mileage, retired", vans)
    world.create("vehicle_work", "plate, day, work", work)
    world.create("vehicle_fuel", "plate, day, litres", fuel)


fleet = Service("fleet", "company vehicles", FLAG, _tables)


def _vehicle(world: World, plate: str) -> Row:
    return world.need(f"no vehicle with plate {plate}", "SELECT * FROM vehicles WHERE plate = ?", plate)


def _plate(d: Draw) -> Slots:
    return d.row("SELECT plate FROM vehicles")


@fleet.tool(
    draw=_plate,
    asks=(
        "What model is {plate}, and who drives it?",
        "Who is driving {plate} these days?",
        "At which depot does {plate} stand?",
        "Which model and which depot belong to {plate}?",
        "What kind of van is {plate}?",
        "A van with the plate {plate} is blocking the gate. Whose is it?",
    ),
    held_out=("Tell me driver and model of {plate}.", "Where is {plate} stationed?"),
    answer=lambda a, r: f"{a['plate']} is a {r['model']} at the {r['depot']} depot; driver: {r['driver'] or 'nobody'}.",
)
def get_vehicle(world: World, plate: Plate) -> Row:
    """One van: which model it is, its depot and who drives it."""
    row = _vehicle(world, plate)
    return {key: row[key] for key in ("model", "depot", "driver")}


@fleet.tool(
    draw=_plate,
    asks=(
        "How many kilometres has {plate} got on the clock?",
        "What does the odometer of {plate} say?",
        "How far has {plate} been driven in its life?",
        "I want to sell {plate}. How many km has it done?",
        "Has {plate} passed 100,000 km yet? How many is it?",
        "How many kilometres did {plate} cover so far?",
    ),
    held_out=("What's the odometer reading for {plate}?", "How many km has {plate} run?"),
    answer=lambda a, r: f"{a['plate']} has run {r['mileage_km']} km.",
)
def get_vehicle_mileage(world: World, plate: Plate) -> Row:
    """Odometer of a van: how many kilometres (km) it has been driven so far."""
    return {"mileage_km": _vehicle(world, plate)["mileage"]}


@fleet.tool(
    draw=_plate,
    asks=(
        "What repairs has {plate} had?",
        "When did the garage last work on {plate}?",
        "Has {plate} got new tyres lately? Show me what the garage did.",
        "What was done to {plate} in the workshop?",
        "I'd like to see the workshop record of {plate}.",
        "Has anyone checked the brakes of {plate}? Look at its repairs.",
    ),
    held_out=("List the garage jobs done on {plate}.", "Which maintenance did {plate} get?"),
    answer=lambda a, r: f"Work on {a['plate']}: {each(r, '{work} ({day})')}.",
)
def get_vehicle_service(world: World, plate: Plate) -> list[Row]:
    """Repairs and maintenance the garage or workshop has done on a van, by day."""
    _vehicle(world, plate)
    return world.all("SELECT day, work FROM vehicle_work WHERE plate = ? ORDER BY day DESC", plate)


@fleet.tool(
    draw=_plate,
    asks=(
        "When and how much was {plate} refuelled?",
        "How many litres did {plate} take at the pump?",
        "How thirsty is {plate}? Show its fill-ups.",
        "Let me see what went into the tank of {plate}.",
        "Which fill-ups are on record for {plate}?",
        "On which days did someone fill the tank of {plate}?",
    ),
    held_out=(
        "How often was {plate} at the filling station, and for how many litres?",
        "Show the fill-ups of {plate}.",
    ),
    answer=lambda a, r: f"Fuel for {a['plate']}: {each(r, '{litres} l on {day}')}.",
)
def get_vehicle_fuel(world: World, plate: Plate) -> list[Row]:
    """Past fill-ups of a van: the days it was refuelled and the litres."""
    _vehicle(world, plate)
    return world.all("SELECT day, litres FROM vehicle_fuel WHERE plate = ? ORDER BY day DESC", plate)


@fleet.tool(
    draw=lambda d: {"depot": d.pick(DEPOTS), "model": d.pick(MODELS)},
    asks=(
        "Which vans stand at the {depot} depot?",
        "What do we have parked at the {depot} depot?",
        "Is there a {model} at the {depot} depot?",
        "List the plates of everything based at the {depot} depot.",
        "I need a {model} from the {depot} depot. Which ones are there?",
        "Show me the vans of the {depot} depot.",
    ),
    held_out=("Which plates belong to the {depot} depot?", "Does the {depot} depot have a {model}? Which plate?"),
    answer=lambda a, r: f"At the {a['depot']} depot: {each(r, '{plate}')}.",
)
def list_vehicles_by_depot(world: World, depot: Depot, model: str | None = None) -> list[Row]:
    """Plates of the vans that stand at a depot, optionally of one model only."""
    if model is not None and model not in MODELS:
        raise ValueError(f"unknown model '{model}'")
    sql = "SELECT plate, model FROM vehicles WHERE depot = ? AND model LIKE ? AND retired = 0 ORDER BY plate"
    return world.all(sql, depot, model or "%")


_DRIVERS = "SELECT DISTINCT driver FROM vehicles WHERE driver IS NOT NULL"


@fleet.tool(
    draw=lambda d: d.row(_DRIVERS),
    asks=(
        "What does {driver} drive?",
        "Which van does {driver} use?",
        "Has {driver} been given a van? Which plate?",
        "I'm looking for the plates that {driver} drives.",
        "Which of our vans are in {driver}'s hands?",
        "Show me whatever {driver} is driving.",
    ),
    held_out=("With which van is {driver} on the road?", "Which plates go with {driver}?"),
    answer=lambda a, r: f"{a['driver']} drives {each(r, '{plate} ({model})')}.",
)
def list_vehicles_by_driver(world: World, driver: Annotated[str, "full name"]) -> list[Row]:
    """Which vans one driver uses: their plates and models, by the driver's name."""
    rows = world.all("SELECT plate, model FROM vehicles WHERE driver = ? AND retired = 0 ORDER BY plate", driver)
    if not rows:
        raise LookupError(f"no driver named {driver}")
    return rows


@fleet.tool(
    draw=lambda d: {**_plate(d), **d.row(_DRIVERS)},
    asks=(
        "{driver} gets {plate} from now on.",
        "Hand {plate} over to {driver}.",
        "Let {driver} have {plate}, please.",
        "{plate} is now driven by {driver}; change that in the system.",
        "Put {driver} in {plate}.",
        "Please give the van {plate} to {driver}.",
    ),
    held_out=("{driver} should drive {plate} in future.", "Make {driver} the driver of {plate}."),
    answer=lambda a, r: f"{a['plate']} is now driven by {a['driver']}.",
)
def assign_vehicle(world: World, plate: Plate, driver: Annotated[str, "full name"]) -> Row:
    """Give a van to a driver who should drive it from now on."""
    previous = _vehicle(world, plate)["driver"]
    world.need(f"no driver named {driver}", "SELECT plate FROM vehicles WHERE driver = ?", driver)
    world.run("UPDATE vehicles SET driver = ? WHERE plate = ?", driver, plate)
    return {"plate": plate, "previous_driver": previous}


@fleet.tool(
    draw=lambda d: {**_plate(d), "litres": d.decimal(20, 75), "day": d.day()},
    asks=(
        "{plate} was filled up with {litres} litres on {day}. Please record it.",
        "Note for {plate}: {litres} litres of diesel on {day}.",
        "On {day} I put {litres} litres into {plate}.",
        "Fill-up of {plate}, {day}: {litres} litres. Write it down.",
        "Please enter {litres} litres for {plate}, tanked on {day}.",
        "I refuelled {plate} on {day}, {litres} litres.",
    ),
    held_out=(
        "{plate} took {litres} litres on {day}; put it on record.",
        "Record a fill-up: {day}, {plate}, {litres} l.",
    ),
    answer=lambda a, r: f"Noted: {a['litres']} litres for {a['plate']} on {a['day']}.",
)
def log_vehicle_fuel(world: World, plate: Plate, litres: float, day: Day) -> Row:
    """Record a new fill-up: litres of fuel put into a van on a day."""
    _vehicle(world, plate)
    if not 0 < litres <= 120:
        raise ValueError(f"litres must be between 0 and 120, got {litres}")
    world.run("INSERT INTO vehicle_fuel VALUES (?, ?, ?)", plate, check_day(day), litres)
    return {"plate": plate, "entries": len(world.all("SELECT day FROM vehicle_fuel WHERE plate = ?", plate))}


fleet.chain(
    ("list_vehicles_by_driver", lambda s, r: {"driver": s["driver"]}),
    ("get_vehicle_mileage", lambda s, r: {"plate": r[0][0]["plate"]}),
    draw=lambda d: d.row(_DRIVERS),
    asks=(
        "How many kilometres does {driver}'s van have? If there are several, take the first listed.",
        "Look at the first van {driver} drives. How far has it run?",
        "Which van does {driver} use (the first listed), and what does its odometer say?",
    ),
    held_out=("What does the odometer say in the first van listed for {driver}?",),
)
fleet.chain(
    ("list_vehicles_by_driver", lambda s, r: {"driver": s["driver"]}),
    ("get_vehicle_service", lambda s, r: {"plate": r[0][0]["plate"]}),
    draw=lambda d: d.row(_DRIVERS),
    asks=(
        "What did the garage do on the first van listed for {driver}?",
        "Find what {driver} drives and show me the repairs of the first one.",
        "Look up {driver}'s vans. What was done to the first one in the workshop?",
    ),
    held_out=("Which maintenance did the first of {driver}'s vans get?",),
)
fleet.chain(
    ("list_vehicles_by_depot", lambda s, r: {"depot": s["depot"]}),
    ("assign_vehicle", lambda s, r: {"plate": r[0][0]["plate"], "driver": s["driver"]}),
    draw=lambda d: {"depot": d.pick(DEPOTS), **d.row(_DRIVERS)},
    asks=(
        "Give {driver} the first van on the list of the {depot} depot.",
        "{driver} needs a van from the {depot} depot. Hand over the first on the list.",
        "Look up what stands at the {depot} depot and put {driver} in the first of them.",
    ),
    held_out=("Let {driver} have whichever van is listed first at the {depot} depot.",),
)
fleet.talk = (
    ("What is a diesel engine?", "An engine that ignites its fuel by compression alone, without a spark."),
    ("How does ABS help a driver?", "It keeps the wheels from locking, so the car can be steered while braking."),
    ("Which side of the road do people drive on in Ireland?", "On the left."),
    ("Why do tyres need tread?", "So that they grip on wet roads."),
)
fleet.beyond = (
    "Sell our oldest van to {person} for {number} hundred euros.",
    "Pay the parking fine that {person} got in {city}.",
    "Book a driving lesson for {person} on {day}.",
    "Design a new logo for the doors of our vans.",
)
