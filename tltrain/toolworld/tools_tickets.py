"""A help desk's tickets."""

from __future__ import annotations

from random import Random
from typing import Annotated, Literal

from tltrain.toolworld.service import Service, each
from tltrain.toolworld.styles import HTTP_TEXT
from tltrain.toolworld.world import DAYS, Row, World, people

SUBJECTS = tuple(
    f"{thing} {trouble}"
    for thing in ("Printer", "Laptop", "VPN", "Badge reader", "Projector", "Mailbox", "Headset", "Intranet page")
    for trouble in ("not responding", "very slow", "shows a blank screen", "asks for a password", "makes noise")
)
REMARKS = (
    *("Restarted, no change", "Waiting for a spare part", "User is on holiday", "Works again after the update"),
    *("Needs a new cable", "Sent to the vendor", "Could not reproduce it", "Called the user, no answer"),
    *("Replaced the battery", "Settings were reset", "A licence is missing", "Fixed by a colleague"),
)
PRIORITIES = ("low", "normal", "high", "urgent")
Priority = Literal["low", "normal", "high", "urgent"]
AGENTS_SQL = "SELECT DISTINCT assignee FROM tickets"
TicketId = Annotated[str, "like T-500"]


def _tables(world: World, rng: Random) -> None:
    staff = people(rng, 15)
    tickets, remarks = [], []
    for number in range(500, 640):
        ticket = f"T-{number}"
        subject, status = rng.choice(SUBJECTS), rng.choice(("open", "open", "closed"))
        tickets.append((ticket, subject, status, rng.choice(PRIORITIES), rng.choice(staff), rng.choice(DAYS)))
        remarks += [(ticket, rng.choice(staff), rng.choice(REMARKS)) for _ in range(rng.randint(0, 2))]
    world.create("tickets", "id, subject, status, priority, assignee, opened", tickets)
    world.create("remarks", "ticket_id, author, text", remarks)


tickets = Service("tickets", "help desk tickets", HTTP_TEXT, _tables)


def _ticket(world: World, ticket_id: str) -> Row:
    return world.need(f"ticket {ticket_id} was not found", "SELECT * FROM tickets WHERE id = ?", ticket_id)


@tickets.tool(
    draw=lambda d: {"ticket_id": d.row("SELECT id FROM tickets")["id"]},
    asks=(
        "What is {ticket_id} about, and who is on it?",
        "Who is working on {ticket_id}?",
        "Is {ticket_id} still open?",
        "How urgent is {ticket_id}?",
        "Give me the subject and status of {ticket_id}.",
        "When was {ticket_id} opened?",
    ),
    held_out=("Has {ticket_id} been closed by now?", "To whom is {ticket_id} assigned at present?"),
    answer=lambda a, r: (
        f"{a['ticket_id']} ({r['subject']}) is {r['status']}, priority {r['priority']}, with {r['assignee']} "
        f"since {r['opened']}."
    ),
)
def get_ticket(world: World, ticket_id: TicketId) -> Row:
    """What a ticket is about: subject, status, urgency, who works on it, opening date."""
    row = _ticket(world, ticket_id)
    return {key: row[key] for key in ("subject", "status", "priority", "assignee", "opened")}


@tickets.tool(
    draw=lambda d: {"ticket_id": d.row("SELECT id FROM tickets")["id"]},
    asks=(
        "What has been written under {ticket_id} so far?",
        "Which remarks did colleagues leave on {ticket_id}?",
        "Show me the discussion on {ticket_id}.",
        "Did anybody note anything on {ticket_id}?",
        "Read me the notes attached to {ticket_id}.",
        "I'd like to see what people said about {ticket_id}.",
    ),
    held_out=("What do the remarks on {ticket_id} say?", "Has someone written anything below {ticket_id}?"),
    answer=lambda a, r: f"Comments on {a['ticket_id']}: {each(r, '{author}: {text}')}.",
)
def get_ticket_comments(world: World, ticket_id: TicketId) -> list[Row]:
    """Read the comments written on a ticket: the remarks and notes of colleagues."""
    _ticket(world, ticket_id)
    return world.all("SELECT author, text FROM remarks WHERE ticket_id = ?", ticket_id)


@tickets.tool(
    draw=lambda d: {"assignee": d.row(AGENTS_SQL)["assignee"], "status": d.pick(("open", "closed"))},
    asks=(
        "What is on {assignee}'s plate?",
        "Which cases is {assignee} responsible for?",
        "Show all the cases that were given to {assignee}.",
        "Show me the cases of {assignee} that are {status}.",
        "Only the {status} cases of {assignee}, please.",
        "Which {status} cases does {assignee} have?",
        "I want to see everything {assignee} handles.",
    ),
    held_out=("What does {assignee} have to look after?", "List {assignee}'s {status} cases."),
    answer=lambda a, r: f"{a['assignee']} has {each(r, '{ticket_id} {subject}')}.",
)
def get_tickets_by_assignee(
    world: World, assignee: Annotated[str, "full name"], status: Literal["open", "closed"] | None = None
) -> list[Row]:
    """Newest tickets a colleague is responsible for, at most four, optionally of one status."""
    world.need(f"no colleague named {assignee}", "SELECT id FROM tickets WHERE assignee = ?", assignee)
    sql = "SELECT id AS ticket_id, subject FROM tickets WHERE assignee = ? AND status LIKE ? ORDER BY id DESC LIMIT 4"
    return world.all(sql, assignee, status or "%")


@tickets.tool(
    draw=lambda d: {"subject": d.pick(SUBJECTS), "priority": d.pick(("low", "high", "urgent"))},
    asks=(
        'Open a case: "{subject}".',
        'Someone reports "{subject}". Please register that.',
        'New problem, priority {priority}: "{subject}".',
        'Log "{subject}" with {priority} priority.',
        'I want to report a problem: "{subject}".',
        'Please file "{subject}" as {priority}.',
    ),
    held_out=('Register a new problem, "{subject}".', 'Take down "{subject}", {priority} priority.'),
    answer=lambda a, r: f"I opened {r['ticket_id']} for {a['subject']}.",
)
def create_ticket(world: World, subject: str, priority: Priority = "normal") -> Row:
    """Report a new problem: open a ticket with a subject and a priority."""
    ticket = f"T-{400 + world.next_number('tickets')}"
    values = (ticket, subject, priority)
    world.run("INSERT INTO tickets VALUES (?, ?, 'open', ?, 'nobody', '2025-06-30')", *values)
    return {"ticket_id": ticket, "status": "open"}


@tickets.tool(
    draw=lambda d: {"ticket_id": d.row("SELECT id FROM tickets WHERE status = 'open'")["id"]},
    asks=(
        "{ticket_id} is solved, it can be shut.",
        "We're done with {ticket_id}. Mark it as finished.",
        "Please set {ticket_id} to done.",
        "The user confirmed that {ticket_id} works again. Wrap it up.",
        "{ticket_id} needs no more work; finish it off.",
        "Shut {ticket_id}, please.",
    ),
    held_out=("{ticket_id} has been dealt with, finish it.", "Mark {ticket_id} as resolved."),
    answer=lambda a, r: f"{a['ticket_id']} is closed.",
)
def close_ticket(world: World, ticket_id: TicketId) -> Row:
    """Mark an open ticket as solved and done, by ticket ID."""
    if _ticket(world, ticket_id)["status"] == "closed":
        raise PermissionError(f"ticket {ticket_id} is already closed")
    world.run("UPDATE tickets SET status = 'closed' WHERE id = ?", ticket_id)
    return {"ticket_id": ticket_id, "status": "closed"}


@tickets.tool(
    draw=lambda d: {"ticket_id": d.row("SELECT id FROM tickets")["id"], "assignee": d.row(AGENTS_SQL)["assignee"]},
    asks=(
        "Give {ticket_id} to {assignee}.",
        "{assignee} should take over {ticket_id}.",
        "Hand {ticket_id} over to {assignee}, please.",
        "From now on {assignee} looks after {ticket_id}.",
        "{ticket_id} is one for {assignee}.",
        "Let {assignee} work on {ticket_id}.",
    ),
    held_out=("Pass {ticket_id} on to {assignee}.", "Make {assignee} responsible for {ticket_id}."),
    answer=lambda a, r: f"{a['ticket_id']} is now with {a['assignee']} (before: {r['previous']}).",
)
def assign_ticket(world: World, ticket_id: TicketId, assignee: Annotated[str, "full name"]) -> Row:
    """Hand a ticket over to a colleague who should work on it."""
    previous = _ticket(world, ticket_id)["assignee"]
    world.need(f"no colleague named {assignee}", "SELECT id FROM tickets WHERE assignee = ?", assignee)
    world.run("UPDATE tickets SET assignee = ? WHERE id = ?", assignee, ticket_id)
    return {"ticket_id": ticket_id, "previous": previous}


@tickets.tool(
    draw=lambda d: {"ticket_id": d.row("SELECT id FROM tickets")["id"], "text": d.pick(REMARKS)},
    asks=(
        'Note on {ticket_id}: "{text}"',
        'Write "{text}" under {ticket_id}.',
        'Please leave the remark "{text}" on {ticket_id}.',
        'For the record, on {ticket_id}: "{text}"',
        'Attach this note to {ticket_id}: "{text}"',
        'Put "{text}" into the history of {ticket_id}.',
    ),
    held_out=('Leave a note saying "{text}" on {ticket_id}.', 'Under {ticket_id}, jot down "{text}"'),
    answer=lambda a, r: f"Your remark is now on {a['ticket_id']}.",
)
def add_ticket_comment(world: World, ticket_id: TicketId, text: str) -> Row:
    """Write a new note or remark on a ticket, by ticket ID."""
    _ticket(world, ticket_id)
    world.run("INSERT INTO remarks VALUES (?, 'me', ?)", ticket_id, text)
    count = world.all("SELECT text FROM remarks WHERE ticket_id = ?", ticket_id)
    return {"ticket_id": ticket_id, "comments": len(count)}


tickets.chain(
    ("create_ticket", lambda s, r: {"subject": s["subject"]}),
    ("assign_ticket", lambda s, r: {"ticket_id": r[0]["ticket_id"], "assignee": s["assignee"]}),
    draw=lambda d: {"subject": d.pick(SUBJECTS), "assignee": d.row(AGENTS_SQL)["assignee"]},
    asks=(
        'Open a case "{subject}" and give it to {assignee}.',
        'New problem: "{subject}". {assignee} should handle it.',
        'Please register "{subject}" and hand it to {assignee}.',
    ),
    held_out=('File "{subject}", then make {assignee} responsible for it.',),
)
tickets.chain(
    ("get_tickets_by_assignee", lambda s, r: {"assignee": s["assignee"], "status": "open"}),
    ("close_ticket", lambda s, r: {"ticket_id": r[0][0]["ticket_id"]}),
    draw=lambda d: d.row("SELECT DISTINCT assignee FROM tickets WHERE status = 'open'"),
    asks=(
        "Look at the open cases of {assignee} and mark the first one listed as solved.",
        "Of {assignee}'s open cases, finish the one at the top of the list.",
        "{assignee} solved the first of their open cases. Find it and shut it.",
    ),
    held_out=("Take the first open case of {assignee} and set it to done.",),
)
tickets.chain(
    ("get_ticket", lambda s, r: {"ticket_id": s["ticket_id"]}),
    ("get_tickets_by_assignee", lambda s, r: {"assignee": r[0]["assignee"]}),
    draw=lambda d: {"ticket_id": d.row("SELECT id FROM tickets")["id"]},
    asks=(
        "Whoever has {ticket_id}: what else are they responsible for?",
        "Find out who works on {ticket_id} and show me all cases of that colleague.",
        "Which cases does the person in charge of {ticket_id} have altogether?",
    ),
    held_out=("Who looks after {ticket_id}, and what else do they have on their plate?",),
)
tickets.talk = (
    ("What does 'SLA' stand for?", "Service level agreement: what was promised, and how fast."),
    ("Why do support people always ask me to restart?", "A restart clears faulty states, which solves many problems."),
    (
        "What's the difference between a bug and a feature request?",
        "A bug is something broken; a feature request asks for more.",
    ),
    ("Is 'urgent' more pressing than 'high'?", "Usually yes: urgent things come before those of high priority."),
)
tickets.beyond = (
    "Teach {person} to type with ten fingers.",
    "Get {number} pizzas delivered for the support team.",
    "Carry the old printers down to the cellar.",
    "Translate the user manual into Portuguese for {person}.",
)
