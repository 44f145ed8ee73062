"""Flights, trains, and bookings."""

from __future__ import annotations

from random import Random
from typing import Annotated

from tltrain.toolworld.service import Service, Slots, ValueSampler, each
from tltrain.toolworld.styles import HTTP_TEXT
from tltrain.toolworld.world import CITIES, DAYS, Row, World, check_day, people

Day = Annotated[str, "YYYY-MM-DD"]
Person = Annotated[str, "full name"]
Euros = Annotated[int, "highest price in euros"]
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


def _search(world: World, kind: str, *, origin: str, destination: str, day: str, max_price: int) -> list[Row]:
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
    row = world.require(f"{kind} {connection} does not exist", sql, connection, kind)
    booking = f"B-{world.next_number('bookings')}"
    world.run("INSERT INTO bookings VALUES (?, ?, ?, '1A')", booking, connection, passenger)
    return {"booking_id": booking, **row}


def _traveller(d: ValueSampler) -> Slots:
    return d.row("SELECT DISTINCT passenger FROM bookings")


@travel.tool(
    draw=lambda d: {**d.row(_trip("flight")), "max_price": d.number(60, 300, 20)},
    wordings=(
        "Find the flights from {origin} to {destination} on {day} for {max_price} euros at most.",
        "Find me a flight from {origin} to {destination} on {day}, at most {max_price} euros.",
        "Can you find a cheap flight from {origin} to {destination} on {day}?",
        "Flights from {origin} to {destination}, {day}: find the cheapest.",
        "I want to fly on {day}. Find a flight from {origin} to {destination}.",
        "What flights can you find from {origin} to {destination} on {day}?",
        "Which flights leave {origin} for {destination} on {day}?",
        "When can I fly to {destination}, leaving {origin} on {day}?",
    ),
    held_out=(
        "Find a flight {origin} to {destination} on {day}.",
        "To {destination} from {origin} on {day}: please find the flights and prices.",
        "Which flights from {origin} to {destination} on {day} cost {max_price} euros or less?",
    ),
    answer=lambda a, r: f"Flights: {each(r, '{flight_id} at {start} for {price} EUR')}.",
)
def find_flights(world: World, origin: str, destination: str, day: Day, max_price: Euros = 999) -> list[Row]:
    """Find flights from one city to another on a day: planes to fly with, cheapest first."""
    return _search(world, "flight", origin=origin, destination=destination, day=day, max_price=max_price)


@travel.tool(
    draw=lambda d: {**d.row(_trip("train")), "max_price": d.number(60, 300, 20)},
    wordings=(
        "Find the trains from {origin} to {destination} on {day} that cost {max_price} euros or less.",
        "Please find me a train from {origin} to {destination} on {day}.",
        "What trains do you find from {origin} to {destination} on {day}?",
        "I'd like to go by train. Find one from {origin} to {destination}, {day}.",
        "Train connections from {origin} to {destination} on {day}: find them, please.",
        "Which trains go from {origin} to {destination} on {day}?",
        "To {destination} from {origin} on {day} by train: find the cheapest.",
        "By rail, when can I leave {origin} for {destination} on {day}?",
    ),
    held_out=(
        "Is there a train to {destination} from {origin} on {day}? Find one.",
        "On {day} I travel from {origin} to {destination}; find a train.",
        "Find me a train, {origin} to {destination}, {day}, not above {max_price} euros.",
    ),
    answer=lambda a, r: f"Trains: {each(r, '{train_id} at {start} for {price} EUR')}.",
)
def find_trains(world: World, origin: str, destination: str, day: Day, max_price: Euros = 999) -> list[Row]:
    """Find trains from one city to another on a day: rail connections, cheapest first."""
    return _search(world, "train", origin=origin, destination=destination, day=day, max_price=max_price)


@travel.tool(
    draw=lambda d: {**d.row("SELECT id AS flight_id FROM connections WHERE kind = 'flight'"), **_traveller(d)},
    wordings=(
        "Book the flight {flight_id} for {passenger}.",
        "Book {passenger} on flight {flight_id}.",
        "Please book a place on flight {flight_id} for {passenger}.",
        "I'd like to book {passenger} a flight, number {flight_id}.",
        "{passenger} needs the flight {flight_id}; please book it.",
        "Can you book {flight_id} for {passenger}? It's a flight.",
        "Flight {flight_id} should be booked in the name of {passenger}.",
        "Reserve a place on flight {flight_id} for {passenger}.",
    ),
    held_out=(
        "{passenger} takes the flight {flight_id}; book a place.",
        "Book one place for {passenger} on the flight {flight_id}.",
        "Get {passenger} booked on flight {flight_id}.",
    ),
    answer=lambda a, r: f"{a['passenger']} is booked on {a['flight_id']} ({r['booking_id']}, {r['price']} EUR).",
)
def book_flight(world: World, flight_id: FlightId, passenger: Person) -> Row:
    """Book a flight for somebody: reserve a place on it, by flight number."""
    return _book(world, "flight", flight_id, passenger)


@travel.tool(
    draw=lambda d: {**d.row("SELECT id AS train_id FROM connections WHERE kind = 'train'"), **_traveller(d)},
    wordings=(
        "Book the train {train_id} for {passenger}.",
        "{passenger} would like a place on train {train_id}; book it.",
        "Please book {passenger} on the train {train_id}.",
        "Book one place on the train {train_id} for {passenger}.",
        "{passenger} wants the train {train_id} booked.",
        "I need to book {train_id}, a train, for {passenger}.",
        "Can the train {train_id} be booked for {passenger}?",
        "Reserve {train_id}, a train, for {passenger}.",
    ),
    held_out=(
        "{passenger} takes the train {train_id}; please book.",
        "Make sure {passenger} is booked on train {train_id}.",
        "Book {passenger} a train, number {train_id}.",
    ),
    answer=lambda a, r: f"{a['passenger']} is booked on {a['train_id']} ({r['booking_id']}, {r['price']} EUR).",
)
def book_train(world: World, train_id: TrainId, passenger: Person) -> Row:
    """Book a train for somebody: reserve a place on it, by train number."""
    return _book(world, "train", train_id, passenger)


@travel.tool(
    draw=lambda d: {"booking_id": d.row("SELECT id FROM bookings")["id"]},
    wordings=(
        "Give me the details of booking {booking_id}.",
        "Whom does the booking {booking_id} belong to?",
        "Which seat does booking {booking_id} have?",
        "What seat is in the booking {booking_id}?",
        "Show me the details of the booking {booking_id}.",
        "Booking {booking_id}: which connection and what seat?",
        "Whose seat is it in the booking {booking_id}?",
        "I found a note saying {booking_id}. What are the details?",
    ),
    held_out=(
        "The details of the booking {booking_id}, please.",
        "Which seat and connection does booking {booking_id} cover?",
        "To which person does the booking {booking_id} belong?",
    ),
    answer=lambda a, r: f"{a['booking_id']} is {r['passenger']}'s, seat {r['seat']} on {r['connection']}.",
)
def get_booking(world: World, booking_id: BookingId) -> Row:
    """Details of one booking: whom it belongs to, for which connection, what seat."""
    sql = "SELECT connection, passenger, seat FROM bookings WHERE id = ?"
    return world.require(f"booking {booking_id} does not exist", sql, booking_id)


@travel.tool(
    draw=_traveller,
    wordings=(
        "Which bookings does the passenger {passenger} have?",
        "List all bookings of passenger {passenger}.",
        "Show me every booking in the name of the passenger {passenger}.",
        "Bookings of the passenger {passenger}, please: all trips.",
        "Passenger {passenger}: what bookings are there?",
        "Does the passenger {passenger} have any bookings with us?",
        "For which trips does passenger {passenger} have bookings?",
        "What trips and tickets does {passenger} hold?",
    ),
    held_out=(
        "All bookings in the passenger {passenger}'s name, please.",
        "What bookings has passenger {passenger} got?",
        "I need all the trips in the bookings of passenger {passenger}.",
    ),
    answer=lambda a, r: f"{a['passenger']} has {each(r, '{booking_id} on {connection}')}.",
)
def get_bookings_by_passenger(world: World, passenger: Person) -> list[Row]:
    """All bookings of a passenger: every trip, journey and ticket in one person's name."""
    rows = world.all(
        "SELECT id AS booking_id, connection, seat FROM bookings WHERE passenger = ? ORDER BY id", passenger
    )
    if not rows:
        raise LookupError(f"no passenger named {passenger}")
    return rows


@travel.tool(
    draw=lambda d: {"booking_id": d.row("SELECT id FROM bookings")["id"]},
    wordings=(
        "Please cancel {booking_id}.",
        "I'm not going after all, cancel my booking {booking_id}.",
        "Cancel the booking {booking_id}, please.",
        "Can the booking {booking_id} still be cancelled?",
        "I want booking {booking_id} cancelled.",
        "{booking_id} is no longer needed, cancel it.",
        "Our holiday fell through, please cancel {booking_id}.",
        "We changed our minds: call {booking_id} off.",
    ),
    held_out=(
        "Cancel {booking_id}, we stay at home.",
        "I have to cancel my booking {booking_id}, sorry.",
        "The booking {booking_id} must be cancelled.",
    ),
    answer=lambda a, r: f"{a['booking_id']} is cancelled.",
)
def cancel_booking(world: World, booking_id: BookingId) -> Row:
    """Cancel a booking: call it off, undo or annul it, by booking number."""
    world.require(f"booking {booking_id} does not exist", "SELECT id FROM bookings WHERE id = ?", booking_id)
    world.run("DELETE FROM bookings WHERE id = ?", booking_id)
    return {"booking_id": booking_id, "status": "cancelled"}


travel.chain(
    ("find_flights", lambda s, r: {key: s[key] for key in ("origin", "destination", "day")}),
    ("book_flight", lambda s, r: {"flight_id": r[0][0]["flight_id"], "passenger": s["passenger"]}),
    draw=lambda d: {**d.row(_trip("flight")), **_traveller(d)},
    wordings=(
        "Find the flights from {origin} to {destination} on {day} first, then book the cheapest for {passenger}.",
        "Book {passenger} on the cheapest flight you find from {origin} to {destination}, {day}.",
        "{passenger} flies from {origin} to {destination} on {day}: find the cheapest flight and book it.",
    ),
    held_out=("On {day}, {passenger} must fly {origin} to {destination}. Find and book the cheapest flight.",),
)
travel.chain(
    ("find_trains", lambda s, r: {key: s[key] for key in ("origin", "destination", "day")}),
    ("book_train", lambda s, r: {"train_id": r[0][0]["train_id"], "passenger": s["passenger"]}),
    draw=lambda d: {**d.row(_trip("train")), **_traveller(d)},
    wordings=(
        "Find the trains from {origin} to {destination} on {day} first, then book the cheapest for {passenger}.",
        "Book {passenger} on the cheapest train you can find from {origin} to {destination} on {day}.",
        "{passenger} goes by train from {origin} to {destination} on {day}: find the cheapest and book it.",
    ),
    held_out=("On {day}, {passenger} takes a train, {origin} to {destination}. Find the cheapest, then book it.",),
)
travel.chain(
    ("get_bookings_by_passenger", lambda s, r: {"passenger": s["passenger"]}),
    ("cancel_booking", lambda s, r: {"booking_id": r[0][0]["booking_id"]}),
    draw=_traveller,
    wordings=(
        "Find the bookings of passenger {passenger} first, then cancel the first one listed.",
        "Cancel the booking that comes first among those of the passenger {passenger}.",
        "The passenger {passenger} drops the first of their bookings: look it up and cancel it.",
    ),
    held_out=("Look up passenger {passenger}'s bookings and cancel whichever is listed first.",),
)
travel.small_talk = (
    ("How early should one be at the airport?", "About two hours before a flight within Europe."),
    ("What is jet lag?", "Tiredness after crossing time zones, because the body clock is out of step."),
    ("Which is greener, the train or the plane?", "The train, usually by far."),
    ("Can I take a pocket knife in my hand luggage?", "No, knives are not allowed in the cabin."),
)
travel.unsupported_requests = (
    "Renew {person}'s passport at the embassy in {city}.",
    "Carry my suitcases to the station in {city}.",
    "Rent a sailing boat for {day} near {city}.",
    "Knit {number} warm hats for the journey.",
)
