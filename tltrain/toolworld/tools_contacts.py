"""An address book."""

from __future__ import annotations

from random import Random
from typing import Annotated

from tltrain.toolworld.service import Said, Service, each
from tltrain.toolworld.styles import FLAG
from tltrain.toolworld.world import CITIES, Row, World, people

COMPANIES = (
    *("Northwind", "Acorn Labs", "Bluefin", "Cobalt Works", "Delta Foods", "Evergreen", "Foxglove", "Granite Bank"),
    *("Harbor Logistics", "Iris Media", "Juniper", "Kestrel Air"),
)
NOTES = (
    *("I will be ten minutes late", "The contract is signed", "Please call me back", "Lunch is moved to Friday"),
    *("The keys are at the front desk", "Thank you for the quick help", "The slides are ready", "See you in the lobby"),
    *("The invoice went out today", "We need two more chairs", "Your parcel has arrived", "The meeting room is taken"),
)
ContactId = Annotated[str, "like P-100"]


def _phone(rng: Random) -> str:
    return f"555-{rng.randint(0, 9999):04d}"


def _tables(world: World, rng: Random) -> None:
    rows = []
    for number, name in enumerate(people(rng, 70)):
        email = f"{name.split()[0].lower()}.{number}@example.org".replace("ö", "oe")
        birthday = f"{rng.randint(1, 12):02d}-{rng.randint(1, 28):02d}"
        company, city = rng.choice(COMPANIES), rng.choice(CITIES)
        rows.append((f"P-{100 + number}", name, email, _phone(rng), company, city, birthday))
    world.create("contacts", "id, name, email, phone, company, city, birthday", rows)


contacts = Service("contacts", "the address book", FLAG, _tables)


def _contact(world: World, contact_id: str) -> Row:
    return world.need(f"contact {contact_id} not found", "SELECT * FROM contacts WHERE id = ?", contact_id)


@contacts.tool(
    draw=lambda d: {"name": d.row("SELECT name FROM contacts")["name"]},
    asks=(
        "Is {name} in my address book, and for whom do they work?",
        "Which company does {name} work for?",
        "What is the contact ID of {name}?",
        "Where does {name} live, going by my address book?",
        "Do I know anyone called {name}?",
        "Look up {name} for me, I need the contact ID.",
    ),
    held_out=("Have I stored a person named {name}?", "Under which contact ID did I save {name}?"),
    answer=lambda a, r: f"{a['name']} is contact {r['contact_id']}, works for {r['company']} and lives in {r['city']}.",
)
def find_contact(world: World, name: Annotated[str, "full name"]) -> Row:
    """Look up a person by name: their contact ID, company and city."""
    sql = "SELECT id AS contact_id, company, city FROM contacts WHERE name = ?"
    return world.need(f"no contact named {name}", sql, name)


@contacts.tool(
    draw=lambda d: {"company": d.pick(COMPANIES), "city": d.city()},
    asks=(
        "Whom do I know at {company}?",
        "I'm meeting people from {company}. Which of my contacts work there?",
        "List all my contacts employed by {company}.",
        "Do I have anybody at {company} in my address book?",
        "Show me everyone who works for {company}.",
        "Who are my people at {company}?",
        "Who works for {company} in {city}, of those I know?",
        "I'm off to {city}. Do I know somebody from {company} there?",
    ),
    held_out=(
        "Which persons in my address book belong to {company}?",
        "Any acquaintances at {company}?",
        "Have I got contacts at {company} who live in {city}?",
    ),
    answer=lambda a, r: f"At {a['company']} you know {each(r, '{name}')}.",
)
def find_contacts_by_company(world: World, company: str, city: str | None = None) -> list[Row]:
    """People you know who work for a company, optionally in one city only."""
    if company not in COMPANIES:
        raise LookupError(f"no company called {company}")
    if city is not None and city not in CITIES:
        raise LookupError(f"city {city} is not known")
    sql = "SELECT id AS contact_id, name FROM contacts WHERE company = ? AND city LIKE ?"
    return world.all(sql, company, city or "%")


@contacts.tool(
    draw=lambda d: {"city": d.city()},
    asks=(
        "I'm going to {city}. Whom do I know there?",
        "Which of my contacts live in {city}?",
        "Is there anybody I could visit in {city}?",
        "List the people in my address book who are based in {city}.",
        "Show me my acquaintances from {city}.",
        "Who among my contacts lives in {city}?",
    ),
    held_out=("I'd like to meet people I know in {city}. Who is there?", "Have I got contacts living in {city}?"),
    answer=lambda a, r: f"In {a['city']} you know {each(r, '{name}')}.",
)
def find_contacts_by_city(world: World, city: str) -> list[Row]:
    """People in your address book who live in a city, whatever their company."""
    if city not in CITIES:
        raise LookupError(f"city {city} is not known")
    return world.all("SELECT id AS contact_id, name FROM contacts WHERE city = ?", city)


@contacts.tool(
    draw=lambda d: {"contact_id": d.row("SELECT id FROM contacts")["id"]},
    asks=(
        "What number can I reach {contact_id} at?",
        "I want to ring {contact_id}. What do I dial?",
        "Give me the phone number stored for {contact_id}.",
        "How do I reach {contact_id} by telephone?",
        "I need to call {contact_id}, which number is it?",
        "Which telephone number belongs to contact {contact_id}?",
    ),
    held_out=("What do I dial to speak to {contact_id}?", "Telephone number of {contact_id}, please."),
    answer=lambda a, r: f"You can call {a['contact_id']} at {r['phone']}.",
)
def get_contact_phone(world: World, contact_id: ContactId) -> Row:
    """The telephone number at which to call a contact, by contact ID."""
    return {"phone": _contact(world, contact_id)["phone"]}


@contacts.tool(
    draw=lambda d: {"contact_id": d.row("SELECT id FROM contacts")["id"]},
    asks=(
        "What is the e-mail address of {contact_id}?",
        "I'm writing an e-mail to {contact_id}. Which address do I use?",
        "To which mail address should I send the file for {contact_id}?",
        "Where do I mail {contact_id}? I need the address with the @.",
        "Give me {contact_id}'s e-mail.",
        "Which e-mail did I note down for contact {contact_id}?",
    ),
    held_out=("How can I reach {contact_id} by e-mail?", "I lost the e-mail address of {contact_id}. What is it?"),
    answer=lambda a, r: f"The e-mail address of {a['contact_id']} is {r['email']}.",
)
def get_contact_email(world: World, contact_id: ContactId) -> Row:
    """The e-mail address of a contact, to write or mail to, by contact ID."""
    return {"email": _contact(world, contact_id)["email"]}


@contacts.tool(
    draw=lambda d: {"contact_id": d.row("SELECT id FROM contacts")["id"]},
    asks=(
        "When is {contact_id}'s birthday?",
        "On which day do I have to congratulate {contact_id}?",
        "I'd like to send {contact_id} a birthday card. On what date?",
        "When was contact {contact_id} born (day and month)?",
        "What day does {contact_id} celebrate their birthday?",
        "Remind me: what's the birthday of {contact_id}?",
    ),
    held_out=(
        "On what day does {contact_id} turn a year older?",
        "Which date is the birthday of contact {contact_id}?",
    ),
    answer=lambda a, r: f"{a['contact_id']} has their birthday on {r['birthday']} (month-day).",
)
def get_contact_birthday(world: World, contact_id: ContactId) -> Row:
    """The birthday of a contact, by contact ID: the date as MM-DD."""
    return {"birthday": _contact(world, contact_id)["birthday"]}


@contacts.tool(
    draw=lambda d: {"contact_id": d.row("SELECT id FROM contacts")["id"], "phone": _phone(d.rng)},
    asks=(
        "{contact_id} has a new number: {phone}. Please save it.",
        "Replace the phone number of {contact_id} by {phone}.",
        "From now on {contact_id} is reachable at {phone}; note that.",
        "Correct the telephone entry of contact {contact_id} to {phone}.",
        "Please store {phone} as the number of {contact_id}.",
        "The number I have for {contact_id} is wrong, it should be {phone}.",
    ),
    held_out=("{contact_id} now answers at {phone}. Put that in.", "Change {contact_id}'s telephone to {phone}."),
    answer=lambda a, r: f"The number of {a['contact_id']} is now {a['phone']} (it was {r['previous']}).",
)
def update_contact_phone(world: World, contact_id: ContactId, phone: Annotated[str, "like 555-0123"]) -> Row:
    """Change the phone number stored for a contact to a new one."""
    previous = _contact(world, contact_id)["phone"]
    if not phone.startswith("555-"):
        raise ValueError(f"'{phone}' is not a phone number like 555-0123")
    world.run("UPDATE contacts SET phone = ? WHERE id = ?", phone, contact_id)
    return {"contact_id": contact_id, "previous": previous}


@contacts.tool(
    draw=lambda d: {
        "contact_id": d.row("SELECT id FROM contacts")["id"],
        "text": d.pick(NOTES),
        "urgent": Said(True, "urgent"),
    },
    asks=(
        'Text {contact_id} this: "{text}"',
        'Let {contact_id} know: "{text}"',
        'Drop {contact_id} a line saying "{text}"',
        'Write to {contact_id}: "{text}"',
        'Could you pass "{text}" on to {contact_id}?',
        'I want {contact_id} to read this from me: "{text}"',
        'Mark this as {urgent} and text it to {contact_id}: "{text}"',
        'Tell {contact_id} "{text}", flagged as {urgent}.',
    ),
    held_out=(
        'Tell {contact_id}: "{text}"',
        'Forward the words "{text}" to contact {contact_id}.',
        'As an {urgent} text for {contact_id}: "{text}"',
    ),
    answer=lambda a, r: f"Your message to {a['contact_id']} is on its way.",
)
def send_message(world: World, contact_id: ContactId, text: str, urgent: bool = False) -> Row:
    """Send a short text message to a contact now, urgent or not."""
    _contact(world, contact_id)
    if not text.strip():
        raise ValueError("the text is empty")
    return {"sent_to": contact_id, "length": len(text), "urgent": urgent}


_NAME = "SELECT name FROM contacts"

contacts.chain(
    ("find_contact", lambda s, r: {"name": s["name"]}),
    ("get_contact_phone", lambda s, r: {"contact_id": r[0]["contact_id"]}),
    draw=lambda d: d.row(_NAME),
    asks=(
        "What is {name}'s phone number?",
        "I need to call {name}. Which number?",
        "How can I reach {name} by telephone?",
        "Get me the number of {name}, I want to ring them.",
    ),
    held_out=("What do I dial to talk to {name}?", "Give me a telephone number for {name}."),
)
contacts.chain(
    ("find_contact", lambda s, r: {"name": s["name"]}),
    ("get_contact_email", lambda s, r: {"contact_id": r[0]["contact_id"]}),
    draw=lambda d: d.row(_NAME),
    asks=(
        "What is {name}'s e-mail address?",
        "To which address do I mail the report for {name}?",
        "Where can I e-mail {name}?",
    ),
    held_out=("Which e-mail does {name} use?",),
)
contacts.chain(
    ("find_contact", lambda s, r: {"name": s["name"]}),
    ("send_message", lambda s, r: {"contact_id": r[0]["contact_id"], "text": s["text"]}),
    draw=lambda d: {**d.row(_NAME), "text": d.pick(NOTES)},
    asks=(
        'Text {name}: "{text}"',
        'Please let {name} know: "{text}"',
        'Write this to {name} for me: "{text}"',
    ),
    held_out=('{name} should get this from me: "{text}"',),
)
contacts.talk = (
    ("Is it rude to phone someone after nine in the evening?", "Many people think so; a short text first is kinder."),
    ("What's a polite way to end a business e-mail?", "'Kind regards' followed by your name always works."),
    ("What does CC mean in an e-mail?", "Carbon copy: those people get the mail too and everyone can see it."),
    ("Should I shake hands with my left or right hand?", "With the right hand, in most countries."),
)
contacts.beyond = (
    "Record a video greeting for {person}.",
    "Block every call that comes from {city}.",
    "Translate my last letter to {person} into Finnish.",
    "Find out how much money {person} earns.",
)
