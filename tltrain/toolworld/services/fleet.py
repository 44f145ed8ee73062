"""A company's vehicles. Held out from training."""

from __future__ import annotations

from random import Random
from typing import Annotated, Literal

from tltrain.toolworld.service import Service, Slots, ValueSampler, each
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
    return world.require(f"no vehicle with plate {plate}", "SELECT * FROM vehicles WHERE plate = ?", plate)


def _plate(d: ValueSampler) -> Slots:
    return d.row("SELECT plate FROM vehicles")


@fleet.tool(
    draw=_plate,
    wordings=(
        "What model is the vehicle {plate}?",
        "Give me the details of the vehicle {plate}.",
        "What kind of vehicle is {plate}? I need the model.",
        "Details on vehicle {plate}, please.",
        "I'd like to know model and driver of vehicle {plate}.",
        "Vehicle {plate} is blocking the gate. Show its details.",
        "What is the home depot of {plate}?",
    ),
    held_out=(
        "Tell me more details about the vehicle {plate}.",
        "Which model of vehicle is {plate}?",
    ),
    answer=lambda a, r: f"{a['plate']} is a {r['model']} at the {r['depot']} depot; driver: {r['driver'] or 'nobody'}.",
)
def get_vehicle(world: World, plate: Plate) -> Row:
    """Details of one vehicle: its model, home depot and present driver."""
    row = _vehicle(world, plate)
    return {key: row[key] for key in ("model", "depot", "driver")}


@fleet.tool(
    draw=_plate,
    wordings=(
        "What is the mileage of {plate}?",
        "Tell me the mileage of the vehicle {plate}.",
        "How high is {plate}'s mileage in km?",
        "Has the mileage of {plate} passed 100,000 km yet?",
        "I want to sell {plate}. What mileage has the vehicle?",
        "Mileage of {plate}, please.",
        "How many kilometres has {plate} run?",
    ),
    held_out=(
        "What mileage does {plate}'s odometer show?",
        "I need to know the mileage of vehicle {plate}.",
    ),
    answer=lambda a, r: f"{a['plate']} has run {r['mileage_km']} km.",
)
def get_vehicle_mileage(world: World, plate: Plate) -> Row:
    """Mileage of a vehicle: how many kilometres (km) it has run, off its odometer."""
    return {"mileage_km": _vehicle(world, plate)["mileage"]}


@fleet.tool(
    draw=_plate,
    wordings=(
        "When was the last service of {plate}?",
        "Show me the service record of {plate}.",
        "What was done in each service of {plate}?",
        "When was the vehicle {plate} serviced?",
        "Which service has {plate} had in the garage?",
        "Did {plate} get new tyres? Check its service record.",
        "What repairs has {plate} had?",
    ),
    held_out=(
        "Go through the service history of vehicle {plate}.",
        "What does the service record say about {plate}'s brakes?",
    ),
    answer=lambda a, r: f"Work on {a['plate']}: {each(r, '{work} ({day})')}.",
)
def get_vehicle_service(world: World, plate: Plate) -> list[Row]:
    """Service record of a vehicle: repairs and maintenance the garage did, by day."""
    _vehicle(world, plate)
    return world.all("SELECT day, work FROM vehicle_work WHERE plate = ? ORDER BY day DESC", plate)


@fleet.tool(
    draw=_plate,
    wordings=(
        "What is the fuel history of {plate}?",
        "How much fuel did {plate} take in the past?",
        "Show me the past fuel fill-ups of vehicle {plate}.",
        "When did the vehicle {plate} get fuel?",
        "Which fuel fill-ups are known for {plate}?",
        "How thirsty is {plate}? Show its fuel history.",
        "On which days was {plate} fuelled?",
        "What were the past fill-ups of {plate}?",
    ),
    held_out=(
        "The history of fuel for {plate}, please.",
        "Fuel of the vehicle {plate}: which days, how many litres?",
    ),
    answer=lambda a, r: f"Fuel for {a['plate']}: {each(r, '{litres} l on {day}')}.",
)
def get_vehicle_fuel(world: World, plate: Plate) -> list[Row]:
    """Fuel history of a vehicle: its past fill-ups, with days and litres."""
    _vehicle(world, plate)
    return world.all("SELECT day, litres FROM vehicle_fuel WHERE plate = ? ORDER BY day DESC", plate)


@fleet.tool(
    draw=lambda d: {"depot": d.pick(DEPOTS), "model": d.pick(MODELS)},
    wordings=(
        "Which vehicles are parked at the {depot} depot?",
        "List all vehicles at the {depot} depot.",
        "Is a {model} among the vehicles parked at the {depot} depot?",
        "Show the vehicles that are parked at the {depot} depot.",
        "I need a {model}. List those at the {depot} depot.",
        "What vehicles do we have parked at the {depot} depot?",
        "The {depot} depot: which vehicles are parked there?",
    ),
    held_out=(
        "List the vehicles parked at the {depot} depot.",
        "Any {model} parked at the {depot} depot?",
    ),
    answer=lambda a, r: f"At the {a['depot']} depot: {each(r, '{plate}')}.",
)
def list_vehicles_by_depot(world: World, depot: Depot, model: str | None = None) -> list[Row]:
    """Vehicles parked at a depot: a list of all, optionally only one make."""
    if model is not None and model not in MODELS:
        raise ValueError(f"unknown model '{model}'")
    sql = "SELECT plate, model FROM vehicles WHERE depot = ? AND model LIKE ? AND retired = 0 ORDER BY plate"
    return world.all(sql, depot, model or "%")


_DRIVERS = "SELECT DISTINCT driver FROM vehicles WHERE driver IS NOT NULL"


@fleet.tool(
    draw=lambda d: d.row(_DRIVERS),
    wordings=(
        "Which vehicles does the driver {driver} use?",
        "List the vehicles that {driver} drives.",
        "What vehicle does {driver} drive? I need the plate.",
        "List all plates of the driver {driver}.",
        "Has the driver {driver} got a vehicle? Which plate?",
        "I'm looking for a list of our driver {driver}'s vehicles.",
        "Which plates go with {driver}?",
    ),
    held_out=(
        "What vehicles does {driver} use as a driver?",
        "Which plates does the driver {driver} use?",
    ),
    answer=lambda a, r: f"{a['driver']} drives {each(r, '{plate} ({model})')}.",
)
def list_vehicles_by_driver(world: World, driver: Annotated[str, "full name"]) -> list[Row]:
    """Vehicles of one driver: the list of plates that this person uses."""
    rows = world.all("SELECT plate, model FROM vehicles WHERE driver = ? AND retired = 0 ORDER BY plate", driver)
    if not rows:
        raise LookupError(f"no driver named {driver}")
    return rows


@fleet.tool(
    draw=lambda d: {**_plate(d), **d.row(_DRIVERS)},
    wordings=(
        "Assign {plate} to {driver}.",
        "Assign the vehicle {plate} to {driver}.",
        "{driver} needs a vehicle; assign {plate}.",
        "{plate} should be assigned to {driver}.",
        "Can you assign {plate} to the driver {driver}?",
        "{driver} is the new driver of {plate}; assign it.",
        "Hand {plate} over to {driver}.",
    ),
    held_out=(
        "From now on, {plate} is assigned to {driver}.",
        "Please assign the vehicle {plate} to {driver}.",
    ),
    answer=lambda a, r: f"{a['plate']} is now driven by {a['driver']}.",
)
def assign_vehicle(world: World, plate: Plate, driver: Annotated[str, "full name"]) -> Row:
    """Assign a vehicle to a new driver: hand it over from now on."""
    previous = _vehicle(world, plate)["driver"]
    world.require(f"no driver named {driver}", "SELECT plate FROM vehicles WHERE driver = ?", driver)
    world.run("UPDATE vehicles SET driver = ? WHERE plate = ?", driver, plate)
    return {"plate": plate, "previous_driver": previous}


@fleet.tool(
    draw=lambda d: {**_plate(d), "litres": d.decimal(20, 75), "day": d.day()},
    wordings=(
        "Log {litres} litres of fuel for {plate} on {day}.",
        "Please log a fuel stop of {plate}: {day}, {litres} litres.",
        "Log this for {plate}: refuelled on {day}, {litres} litres.",
        "{plate} took {litres} litres on {day}; please log it.",
        "I need to log {litres} litres for the vehicle {plate}, {day}.",
        "Fuel to be logged for {plate}: {litres} litres, {day}.",
        "On {day} I refuelled {plate} with {litres} litres.",
    ),
    held_out=(
        "Can you log {litres} litres of diesel for {plate} on {day}?",
        "Put this in the log: {plate}, {litres} litres, {day}.",
    ),
    answer=lambda a, r: f"Noted: {a['litres']} litres for {a['plate']} on {a['day']}.",
)
def log_vehicle_fuel(world: World, plate: Plate, litres: float, day: Day) -> Row:
    """Log a new refuelling of a vehicle: the litres it took and the day."""
    _vehicle(world, plate)
    if not 0 < litres <= 120:
        raise ValueError(f"litres must be between 0 and 120, got {litres}")
    world.run("INSERT INTO vehicle_fuel VALUES (?, ?, ?)", plate, check_day(day), litres)
    return {"plate": plate, "entries": len(world.all("SELECT day FROM vehicle_fuel WHERE plate = ?", plate))}


fleet.chain(
    ("list_vehicles_by_driver", lambda s, r: {"driver": s["driver"]}),
    ("get_vehicle_mileage", lambda s, r: {"plate": r[0][0]["plate"]}),
    draw=lambda d: d.row(_DRIVERS),
    wordings=(
        "List the vehicles of the driver {driver}: what is the first one's mileage?",
        "I only know the driver, {driver}. What mileage has the first vehicle listed?",
        "List the vehicles {driver} drives, then tell me the mileage of the first.",
    ),
    held_out=("First list the vehicles of driver {driver}, then the first one's mileage.",),
)
fleet.chain(
    ("list_vehicles_by_driver", lambda s, r: {"driver": s["driver"]}),
    ("get_vehicle_service", lambda s, r: {"plate": r[0][0]["plate"]}),
    draw=lambda d: d.row(_DRIVERS),
    wordings=(
        "List the vehicles of the driver {driver}: when was the first one serviced?",
        "I only know the driver, {driver}. What service has the first vehicle listed had?",
        "List the vehicles {driver} drives, then show the service record of the first.",
    ),
    held_out=("First list the vehicles of driver {driver}, then the first one's service record.",),
)
fleet.chain(
    ("list_vehicles_by_depot", lambda s, r: {"depot": s["depot"]}),
    ("assign_vehicle", lambda s, r: {"plate": r[0][0]["plate"], "driver": s["driver"]}),
    draw=lambda d: {"depot": d.pick(DEPOTS), **d.row(_DRIVERS)},
    wordings=(
        "List the vehicles at the {depot} depot and assign the first to {driver}.",
        "{driver} needs a vehicle from the {depot} depot. Assign the first one listed.",
        "Look up which vehicles are at the {depot} depot; assign {driver} the first.",
    ),
    held_out=("First list the vehicles at the {depot} depot, then assign the first to {driver}.",),
)
fleet.small_talk = (
    ("What is a diesel engine?", "An engine that ignites its fuel by compression alone, without a spark."),
    ("How does ABS help a driver?", "It keeps the wheels from locking, so the car can be steered while braking."),
    ("Which side of the road do people drive on in Ireland?", "On the left."),
    ("Why do tyres need tread?", "So that they grip on wet roads."),
)
fleet.unsupported_requests = (
    "Sell our oldest van to {person} for {number} hundred euros.",
    "Pay the parking fine that {person} got in {city}.",
    "Book a driving lesson for {person} on {day}.",
    "Design a new logo for the doors of our vans.",
)
