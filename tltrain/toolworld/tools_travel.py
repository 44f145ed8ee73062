"""Flights, trains, and bookings."""

from __future__ import annotations

from random import Random
from typing import Annotated

from tltrain.toolworld.service import Draw, Service, Slots, each
from tltrain.toolworld.styles import HTTP_TEXT
from tltrain.toolworld.world import CITIES, DAYS, Row, World, check_day, people

Day = Annotated[str, "YYYY-MM-DD"]
Person = Annotated[str, "full name"]
FlightId = Annotated[str, "like F-1000"]
TrainId = Annotated[str, "like R-1000"]
BookingId = Annotated[str, "like B-100"]


def _tables(world: World, rng: Random) -> None:
    connections = []
    for number in range(300):
        kind, prefix = (("flight", "F"), ("train", "R"))[number % 2]
        origin, target = rng.sample(CITIES, 2)
        day = rng.choice(DAYS)
        for extra in range(rng.randint(1, 2)):
            start = f"{rng.randint(6, 21):02d}:{rng.choice(('05', '20', '40'))}"
            price = rng.randint(19, 320)
            name = f"{prefix}-{1000 + number * 2 + extra}"
            connections.append((name, kind, origin, target, day, start, price))
    world.create("connections", "id, kind, origin, destination, day, start, price", connections)
    passengers = people(rng, 30)
    rows = [
        (
            f"B-{100 + number}",
            rng.choice(connections)[0],
            passengers[number % 30],
            f"{rng.randint(1, 30)}{rng.choice('ABCD')}",
        )
        for number in range(50)
    ]
    world.create("bookings", "id, connection, passenger, seat", rows)


travel = Service("travel", "flights and trains", HTTP_TEXT, _tables)


def _trip(kind: str) -> str:
    return f"SELECT DISTINCT origin, destination, day FROM connections WHERE kind = '{kind}'"


def _search(world: World, kind: str, origin: str, destination: str, day: str, max_price: int) -> list[Row]:
    for city in (origin, destination):
        if city not in CITIES:
            raise LookupError(f"unknown city {city}")
    sql = (
        f"SELECT id AS {kind}_id, start, price FROM connections "
        "WHERE kind = ? AND origin = ? AND destination = ? AND day = ? AND price <= ? ORDER BY price, id"
    )
    return world.all(sql, kind, origin, destination, check_day(day), max_price)


def _book(world: World, kind: str, connection: str, passenger: str) -> Row:
    sql = "SELECT day, price FROM connections WHERE id = ? AND kind = ?"
    row = world.need(f"{kind} {connection} does not exist", sql, connection, kind)
    booking = f"B-{world.next_number('bookings')}"
    world.run("INSERT INTO bookings VALUES (?, ?, ?, '1A')", booking, connection, passenger)
    return {"booking_id": booking, **row}


def _traveller(d: Draw) -> Slots:
    return d.row("SELECT DISTINCT passenger FROM bookings")


@travel.tool(
    draw=lambda d: {**d.row(_trip("flight")), "max_price": d.number(60, 300, 20)},
    asks=(
        "What can I fly with from {origin} to {destination} on {day} for {max_price} euros at most?",
        "My limit is {max_price} euros: which planes go from {origin} to {destination} on {day}?",
        "Which planes go from {origin} to {destination} on {day}?",
        "I want to fly from {origin} to {destination} on {day}. What is there?",
        "By air from {origin} to {destination}, {day}: what are my options?",
        "Is there a plane to {destination} leaving {origin} on {day}?",
        "What does it cost to fly to {destination} from {origin} on {day}?",
        "On {day} I have to get from {origin} to {destination} by plane. What's available?",
    ),
    held_out=(
        "Can I fly {origin} to {destination} on {day}?",
        "Show me planes to {destination} from {origin} on {day}.",
        "By plane, {origin} to {destination}, {day}, not above {max_price} euros: what is there?",
    ),
    answer=lambda a, r: f"Flights: {each(r, '{flight_id} at {start} for {price} EUR')}.",
)
def find_flights(world: World, origin: str, destination: str, day: Day, max_price: int = 999) -> list[Row]:
    """Planes between two cities on a day, cheapest first, optionally within a price."""
    return _search(world, "flight", origin, destination, day, max_price)


@travel.tool(
    draw=lambda d: {**d.row(_trip("train")), "max_price": d.number(60, 300, 20)},
    asks=(
        "Which trains from {origin} to {destination} on {day} cost {max_price} euros or less?",
        "For no more than {max_price} euros, how do I get from {origin} to {destination} by rail on {day}?",
        "Which rail connections are there from {origin} to {destination} on {day}?",
        "I'd like to go by rail from {origin} to {destination} on {day}. What is there?",
        "On {day}, how can I take the train from {origin} to {destination}?",
        "I don't like flying. How do I get to {destination} from {origin} by rail on {day}?",
        "When do trains leave {origin} for {destination} on {day}?",
        "What does the train to {destination} cost from {origin} on {day}?",
    ),
    held_out=(
        "Is there a train that goes to {destination} from {origin} on {day}?",
        "By rail: {origin} to {destination}, {day}. What can I take?",
        "Rail, {origin} to {destination}, {day}, not above {max_price} euros: what is there?",
    ),
    answer=lambda a, r: f"Trains: {each(r, '{train_id} at {start} for {price} EUR')}.",
)
def find_trains(world: World, origin: str, destination: str, day: Day, max_price: int = 999) -> list[Row]:
    """Rail connections between two cities on a day, cheapest first, optionally within a price."""
    return _search(world, "train", origin, destination, day, max_price)


@travel.tool(
    draw=lambda d: {**d.row("SELECT id AS flight_id FROM connections WHERE kind = 'flight'"), **_traveller(d)},
    asks=(
        "Get {passenger} a seat on the plane {flight_id}.",
        "{passenger} will fly with {flight_id}. Please reserve it.",
        "Buy a plane ticket on {flight_id} for {passenger}.",
        "I want {passenger} to be on {flight_id}, the plane.",
        "Reserve a place in the plane {flight_id} in the name of {passenger}.",
        "Plane {flight_id}, one ticket, passenger {passenger}.",
    ),
    held_out=(
        "{passenger} takes the plane {flight_id}; buy the ticket.",
        "One seat in plane {flight_id} for {passenger}.",
    ),
    answer=lambda a, r: f"{a['passenger']} is booked on {a['flight_id']} ({r['booking_id']}, {r['price']} EUR).",
)
def book_flight(world: World, flight_id: FlightId, passenger: Person) -> Row:
    """Reserve a seat on a plane for a passenger, by flight ID."""
    return _book(world, "flight", flight_id, passenger)


@travel.tool(
    draw=lambda d: {**d.row("SELECT id AS train_id FROM connections WHERE kind = 'train'"), **_traveller(d)},
    asks=(
        "Get {passenger} a seat on the train {train_id}.",
        "{passenger} will go by rail with {train_id}. Please reserve it.",
        "Buy a rail ticket on {train_id} for {passenger}.",
        "I want {passenger} to be on {train_id}, the train.",
        "Reserve a place on the train {train_id} in the name of {passenger}.",
        "Train {train_id}, one ticket, passenger {passenger}.",
    ),
    held_out=(
        "{passenger} takes the train {train_id}; buy the ticket.",
        "One seat in train {train_id} for {passenger}.",
    ),
    answer=lambda a, r: f"{a['passenger']} is booked on {a['train_id']} ({r['booking_id']}, {r['price']} EUR).",
)
def book_train(world: World, train_id: TrainId, passenger: Person) -> Row:
    """Reserve a seat on a train for a passenger, by train ID."""
    return _book(world, "train", train_id, passenger)


@travel.tool(
    draw=lambda d: {"booking_id": d.row("SELECT id FROM bookings")["id"]},
    asks=(
        "Which seat do I have with {booking_id}?",
        "For whom is {booking_id}, and on what connection?",
        "What's reserved under {booking_id}?",
        "Tell me passenger and seat of {booking_id}.",
        "I found a note saying {booking_id}. What trip is that?",
        "Whose ticket is {booking_id}?",
    ),
    held_out=("What does {booking_id} stand for?", "What seat belongs to {booking_id}?"),
    answer=lambda a, r: f"{a['booking_id']} is {r['passenger']}'s, seat {r['seat']} on {r['connection']}.",
)
def get_booking(world: World, booking_id: BookingId) -> Row:
    """What is reserved under a booking ID: the connection, passenger and seat."""
    sql = "SELECT connection, passenger, seat FROM bookings WHERE id = ?"
    return world.need(f"booking {booking_id} does not exist", sql, booking_id)


@travel.tool(
    draw=_traveller,
    asks=(
        "Which trips has {passenger} reserved?",
        "What tickets does {passenger} hold?",
        "Where do we have {passenger} travelling? Show all their tickets.",
        "List everything that is reserved for {passenger}.",
        "Does {passenger} have any tickets with us?",
        "Which journeys are in {passenger}'s name?",
    ),
    held_out=("All tickets in the name of {passenger}, please.", "What journeys has {passenger} got tickets for?"),
    answer=lambda a, r: f"{a['passenger']} has {each(r, '{booking_id} on {connection}')}.",
)
def get_bookings_by_passenger(world: World, passenger: Person) -> list[Row]:
    """All trips and tickets reserved for a passenger, by their full name."""
    rows = world.all(
        "SELECT id AS booking_id, connection, seat FROM bookings WHERE passenger = ? ORDER BY id", passenger
    )
    if not rows:
        raise LookupError(f"no passenger named {passenger}")
    return rows


@travel.tool(
    draw=lambda d: {"booking_id": d.row("SELECT id FROM bookings")["id"]},
    asks=(
        "I'm not travelling after all, give {booking_id} back.",
        "Please annul {booking_id}.",
        "{booking_id} is no longer needed, return the ticket.",
        "Call off the journey {booking_id}.",
        "Give up the seat reserved with {booking_id}.",
        "The trip {booking_id} is off; undo it.",
    ),
    held_out=("Undo {booking_id}, the trip won't happen.", "Please return the ticket {booking_id}."),
    answer=lambda a, r: f"{a['booking_id']} is cancelled.",
)
def cancel_booking(world: World, booking_id: BookingId) -> Row:
    """Call off a reserved journey and give the ticket back, by booking ID."""
    world.need(f"booking {booking_id} does not exist", "SELECT id FROM bookings WHERE id = ?", booking_id)
    world.run("DELETE FROM bookings WHERE id = ?", booking_id)
    return {"booking_id": booking_id, "status": "cancelled"}


travel.chain(
    ("find_flights", lambda s, r: {key: s[key] for key in ("origin", "destination", "day")}),
    ("book_flight", lambda s, r: {"flight_id": r[0][0]["flight_id"], "passenger": s["passenger"]}),
    draw=lambda d: {**d.row(_trip("flight")), **_traveller(d)},
    asks=(
        "Get {passenger} on the cheapest plane from {origin} to {destination} on {day}.",
        "{passenger} flies from {origin} to {destination} on {day}; buy the cheapest ticket.",
        "Reserve the least expensive plane to {destination} from {origin}, {day}, for {passenger}.",
    ),
    held_out=("On {day}, {passenger} must fly {origin} to {destination}. Take the cheapest one and reserve it.",),
)
travel.chain(
    ("find_trains", lambda s, r: {key: s[key] for key in ("origin", "destination", "day")}),
    ("book_train", lambda s, r: {"train_id": r[0][0]["train_id"], "passenger": s["passenger"]}),
    draw=lambda d: {**d.row(_trip("train")), **_traveller(d)},
    asks=(
        "Get {passenger} on the cheapest train from {origin} to {destination} on {day}.",
        "{passenger} goes by rail from {origin} to {destination} on {day}; buy the cheapest ticket.",
        "Reserve the least expensive train to {destination} from {origin}, {day}, for {passenger}.",
    ),
    held_out=("On {day}, {passenger} takes a train, {origin} to {destination}. Pick the cheapest and reserve it.",),
)
travel.chain(
    ("get_bookings_by_passenger", lambda s, r: {"passenger": s["passenger"]}),
    ("cancel_booking", lambda s, r: {"booking_id": r[0][0]["booking_id"]}),
    draw=_traveller,
    asks=(
        "{passenger} is not taking the first of their trips. Find it and give the ticket back.",
        "Return the ticket that comes first among those of {passenger}.",
        "Look up the journeys of {passenger} and undo the first one listed.",
    ),
    held_out=("Annul whichever trip is listed first for {passenger}.",),
)
travel.talk = (
    ("How early should one be at the airport?", "About two hours before a flight within Europe."),
    ("What is jet lag?", "Tiredness after crossing time zones, because the body clock is out of step."),
    ("Which is greener, the train or the plane?", "The train, usually by far."),
    ("Can I take a pocket knife in my hand luggage?", "No, knives are not allowed in the cabin."),
)
travel.beyond = (
    "Renew {person}'s passport at the embassy in {city}.",
    "Carry my suitcases to the station in {city}.",
    "Rent a sailing boat for {day} near {city}.",
    "Knit {number} warm hats for the journey.",
)
