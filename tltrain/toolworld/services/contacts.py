"""An address book."""

from __future__ import annotations

from random import Random
from typing import Annotated

from tltrain.toolworld.service import Service, Worded, each
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
    return world.require(f"contact {contact_id} not found", "SELECT * FROM contacts WHERE id = ?", contact_id)


@contacts.tool(
    draw=lambda d: {"name": d.row("SELECT name FROM contacts")["name"]},
    wordings=(
        "Find {name} among my contacts.",
        "What's the contact ID of {name}? I can't find it.",
        "Can you find the person {name} in my contacts?",
        "I want to find my contact {name}.",
        "Find the employer of my contact {name}.",
        "Is {name} a contact of mine? Please find out.",
        "Which town is {name} from? Find that contact.",
        "Which employer does {name} have?",
    ),
    held_out=(
        "Find out whether {name} is in my contacts.",
        "Please find the contact named {name}.",
    ),
    answer=lambda a, r: f"{a['name']} is contact {r['contact_id']}, works for {r['company']} and lives in {r['city']}.",
)
def find_contact(world: World, name: Annotated[str, "full name"]) -> Row:
    """Find a contact by name: their contact ID, employer and home town."""
    sql = "SELECT id AS contact_id, company, city FROM contacts WHERE name = ?"
    return world.require(f"no contact named {name}", sql, name)


@contacts.tool(
    draw=lambda d: {"company": d.pick(COMPANIES), "city": d.city()},
    wordings=(
        "Whom do I know at the company {company}?",
        "Find the contacts who work for the company {company}.",
        "Who in my contacts is with that company, {company}?",
        "Find everybody I know at the company {company} in {city}.",
        "I'm visiting {company}. Who at that company is a contact of mine?",
        "Do any contacts of mine work for the company {company}?",
        "Which company contacts have I got at {company} in {city}?",
        "Who works for {company}?",
    ),
    held_out=(
        "The company is {company}. Which contacts of mine work there?",
        "Find people working for the company {company} in {city}.",
        "List everybody I know at the company {company}.",
    ),
    answer=lambda a, r: f"At {a['company']} you know {each(r, '{name}')}.",
)
def find_contacts_by_company(world: World, company: str, city: str | None = None) -> list[Row]:
    """Everybody you know who works for a company, optionally within one city."""
    if company not in COMPANIES:
        raise LookupError(f"no company called {company}")
    if city is not None and city not in CITIES:
        raise LookupError(f"city {city} is not known")
    sql = "SELECT id AS contact_id, name FROM contacts WHERE company = ? AND city LIKE ?"
    return world.all(sql, company, city or "%")


@contacts.tool(
    draw=lambda d: {"city": d.city()},
    wordings=(
        "Which of my contacts live in the city of {city}?",
        "Find acquaintances living in the city of {city}.",
        "Who lives in that city, {city}?",
        "I'm off to {city}. Find the contacts I have in this city.",
        "Do any friends of mine live in the city of {city}?",
        "List the contacts based in the city {city}.",
        "Which acquaintances of mine live in {city}?",
    ),
    held_out=(
        "Find everyone who lives in the city of {city}.",
        "The city is {city}. Which contacts live there?",
    ),
    answer=lambda a, r: f"In {a['city']} you know {each(r, '{name}')}.",
)
def find_contacts_by_city(world: World, city: str) -> list[Row]:
    """Contacts and acquaintances who live in a city or are based there."""
    if city not in CITIES:
        raise LookupError(f"city {city} is not known")
    return world.all("SELECT id AS contact_id, name FROM contacts WHERE city = ?", city)


@contacts.tool(
    draw=lambda d: {"contact_id": d.row("SELECT id FROM contacts")["id"]},
    wordings=(
        "What's the phone number of {contact_id}?",
        "I'd like to phone {contact_id}. Which number do I call?",
        "Phone number for {contact_id}, please.",
        "Which phone does contact {contact_id} have?",
        "Give me {contact_id}'s phone number.",
        "By phone, how do I reach my contact {contact_id}?",
        "I have to phone {contact_id} today. What's the number?",
        "At what number can I ring {contact_id}?",
    ),
    held_out=(
        "I need the phone number of contact {contact_id}.",
        "Can I phone {contact_id}, and at which number?",
    ),
    answer=lambda a, r: f"You can call {a['contact_id']} at {r['phone']}.",
)
def get_contact_phone(world: World, contact_id: ContactId) -> Row:
    """Phone number of a contact, at which you call or ring them."""
    return {"phone": _contact(world, contact_id)["phone"]}


@contacts.tool(
    draw=lambda d: {"contact_id": d.row("SELECT id FROM contacts")["id"]},
    wordings=(
        "What is the email address of {contact_id}?",
        "I'm writing an email to {contact_id}. Which address do I use?",
        "Give me {contact_id}'s email, please.",
        "Which email address does contact {contact_id} have?",
        "Can I reach {contact_id} by email? I need the address.",
        "Email address for {contact_id}?",
        "Where do my emails to contact {contact_id} have to go?",
    ),
    held_out=(
        "At what address can I email {contact_id}?",
        "I lost the email address of contact {contact_id}.",
    ),
    answer=lambda a, r: f"The e-mail address of {a['contact_id']} is {r['email']}.",
)
def get_contact_email(world: World, contact_id: ContactId) -> Row:
    """Email address of a contact, at which they get their mail."""
    return {"email": _contact(world, contact_id)["email"]}


@contacts.tool(
    draw=lambda d: {"contact_id": d.row("SELECT id FROM contacts")["id"]},
    wordings=(
        "When is {contact_id}'s birthday?",
        "What's the birthday of contact {contact_id}?",
        "I'd like to send {contact_id} a birthday card. On what date?",
        "Which date is {contact_id}'s birthday?",
        "Birthday of my contact {contact_id}, please.",
        "Did I note a birthday for {contact_id}?",
        "On what date was {contact_id} born?",
    ),
    held_out=(
        "Tell me the date of {contact_id}'s birthday.",
        "Is the birthday of {contact_id} soon? When?",
    ),
    answer=lambda a, r: f"{a['contact_id']} has their birthday on {r['birthday']} (month-day).",
)
def get_contact_birthday(world: World, contact_id: ContactId) -> Row:
    """Birthday of a contact: the date, as MM-DD, on which they were born."""
    return {"birthday": _contact(world, contact_id)["birthday"]}


@contacts.tool(
    draw=lambda d: {"contact_id": d.row("SELECT id FROM contacts")["id"], "phone": _phone(d.rng)},
    wordings=(
        "Update {contact_id}'s phone number to {phone}.",
        "{contact_id} has a new phone number, {phone}. Please update it.",
        "Update the number of {contact_id}: it is {phone} now.",
        "The phone of contact {contact_id} has changed, so update it to {phone}.",
        "Can you update my contact {contact_id} with the new number {phone}?",
        "New phone for {contact_id}: {phone}. Update that.",
        "Replace the number of {contact_id} with {phone}.",
    ),
    held_out=(
        "I have to update {contact_id}'s phone, the new number is {phone}.",
        "{contact_id} moved; update the phone number to {phone}.",
    ),
    answer=lambda a, r: f"The number of {a['contact_id']} is now {a['phone']} (it was {r['previous']}).",
)
def update_contact_phone(world: World, contact_id: ContactId, phone: Annotated[str, "like 555-0123"]) -> Row:
    """Update a contact: replace the phone number with a new one."""
    previous = _contact(world, contact_id)["phone"]
    if not phone.startswith("555-"):
        raise ValueError(f"'{phone}' is not a phone number like 555-0123")
    world.run("UPDATE contacts SET phone = ? WHERE id = ?", phone, contact_id)
    return {"contact_id": contact_id, "previous": previous}


@contacts.tool(
    draw=lambda d: {
        "contact_id": d.row("SELECT id FROM contacts")["id"],
        "text": d.pick(NOTES),
        "urgent": Worded(True, "urgent"),
    },
    wordings=(
        'Send {contact_id} this message: "{text}"',
        'Please send "{text}" to {contact_id}.',
        'Message for {contact_id}: "{text}"',
        'Could you message {contact_id}: "{text}"',
        'Send an {urgent} message to {contact_id}: "{text}"',
        'I\'d like to send {contact_id} the text "{text}".',
        'Message {contact_id} "{text}" and flag it as {urgent}.',
        'Let {contact_id} know: "{text}"',
    ),
    held_out=(
        'Can you send {contact_id} a short text: "{text}"',
        'A message to {contact_id}, please: "{text}"',
        'As an {urgent} message to {contact_id}, send "{text}".',
    ),
    answer=lambda a, r: f"Your message to {a['contact_id']} is on its way.",
)
def send_message(world: World, contact_id: ContactId, text: str, urgent: bool = False) -> Row:
    """Send a contact a short text message, urgent or not."""
    _contact(world, contact_id)
    if not text.strip():
        raise ValueError("the text is empty")
    return {"sent_to": contact_id, "length": len(text), "urgent": urgent}


_NAME = "SELECT name FROM contacts"

contacts.chain(
    ("find_contact", lambda s, r: {"name": s["name"]}),
    ("get_contact_phone", lambda s, r: {"contact_id": r[0]["contact_id"]}),
    draw=lambda d: d.row(_NAME),
    wordings=(
        "Find {name} in my contacts first, then give me the phone number.",
        "I only know the name, {name}. Find the contact and their phone number.",
        "What's the phone number of {name}? Find the contact by name first.",
        "I have to phone {name}. Find that contact and tell me the number.",
    ),
    held_out=(
        "Find the contact named {name}: which phone number do they have?",
        "I want to phone {name}, but must find the contact first.",
    ),
)
contacts.chain(
    ("find_contact", lambda s, r: {"name": s["name"]}),
    ("get_contact_email", lambda s, r: {"contact_id": r[0]["contact_id"]}),
    draw=lambda d: d.row(_NAME),
    wordings=(
        "Find {name} in my contacts first, then give me the email address.",
        "I only know the name, {name}. Find the contact and their email address.",
        "I want to email {name}. Find that contact and tell me the address.",
        "What is {name}'s email? Find the contact by name first.",
    ),
    held_out=("Find the contact named {name}: which email address do they have?",),
)
contacts.chain(
    ("find_contact", lambda s, r: {"name": s["name"]}),
    ("send_message", lambda s, r: {"contact_id": r[0]["contact_id"], "text": s["text"]}),
    draw=lambda d: {**d.row(_NAME), "text": d.pick(NOTES)},
    wordings=(
        'Find {name} in my contacts first, then send this message: "{text}"',
        'I only know the name, {name}. Find the contact and send them: "{text}"',
        'Send {name} a message: "{text}" You have to find the contact by name.',
        'Find the contact named {name} and message them: "{text}"',
    ),
    held_out=('Find my contact {name}, then send the message "{text}".',),
)
contacts.small_talk = (
    ("Is it rude to phone someone after nine in the evening?", "Many people think so; a short text first is kinder."),
    ("What's a polite way to end a business e-mail?", "'Kind regards' followed by your name always works."),
    ("What does CC mean in an e-mail?", "Carbon copy: those people get the mail too and everyone can see it."),
    ("Should I shake hands with my left or right hand?", "With the right hand, in most countries."),
)
contacts.unsupported_requests = (
    "Record a video greeting for {person}.",
    "Block every call that comes from {city}.",
    "Translate my last letter to {person} into Finnish.",
    "Find out how much money {person} earns.",
)
