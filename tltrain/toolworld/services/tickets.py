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
    return world.require(f"ticket {ticket_id} was not found", "SELECT * FROM tickets WHERE id = ?", ticket_id)


@tickets.tool(
    draw=lambda d: {"ticket_id": d.row("SELECT id FROM tickets")["id"]},
    wordings=(
        "What is the status of ticket {ticket_id}?",
        "Who handles the ticket {ticket_id}?",
        "Give me the subject and status of ticket {ticket_id}.",
        "Ticket {ticket_id}: subject, status and priority?",
        "What is ticket {ticket_id} about, and who handles it?",
        "When was the ticket {ticket_id} opened, and what is its status?",
        "Is ticket {ticket_id} still open? What's its status?",
        "I need the priority of the ticket {ticket_id}.",
    ),
    held_out=(
        "Tell me the current status of ticket {ticket_id}.",
        "Who is it that handles ticket {ticket_id}?",
        "Priority and status of this ticket, please: {ticket_id}.",
    ),
    answer=lambda a, r: (
        f"{a['ticket_id']} ({r['subject']}): {r['status']}, priority {r['priority']}, {r['assignee']}, "
        f"opened {r['opened']}."
    ),
)
def get_ticket(world: World, ticket_id: TicketId) -> Row:
    """Status and subject of a ticket: its priority, who handles it, when it was opened."""
    row = _ticket(world, ticket_id)
    return {key: row[key] for key in ("subject", "status", "priority", "assignee", "opened")}


@tickets.tool(
    draw=lambda d: {"ticket_id": d.row("SELECT id FROM tickets")["id"]},
    wordings=(
        "Which comments did people leave on {ticket_id}?",
        "Show me the comments on ticket {ticket_id}.",
        "Are there any comments on {ticket_id}?",
        "What do the comments on {ticket_id} say?",
        "Let me see all comments and remarks on {ticket_id}.",
        "Did anybody comment on ticket {ticket_id}?",
        "I'd like to follow the comments of {ticket_id}.",
        "What has been said so far about {ticket_id}?",
    ),
    held_out=(
        "What did people comment on {ticket_id}?",
        "The comments on ticket {ticket_id}, please.",
        "Has anything been said in the comments of {ticket_id}?",
    ),
    answer=lambda a, r: f"Comments on {a['ticket_id']}: {each(r, '{author}: {text}')}.",
)
def get_ticket_comments(world: World, ticket_id: TicketId) -> list[Row]:
    """Comments and remarks on a ticket: the discussion, what was said so far."""
    _ticket(world, ticket_id)
    return world.all("SELECT author, text FROM remarks WHERE ticket_id = ?", ticket_id)


@tickets.tool(
    draw=lambda d: {"assignee": d.row(AGENTS_SQL)["assignee"], "status": d.pick(("open", "closed"))},
    wordings=(
        "Which tickets have {assignee} as assignee?",
        "Show me the {status} tickets whose assignee is {assignee}.",
        "List the newest tickets with the assignee {assignee}.",
        "Only {status} tickets of the assignee {assignee}, please.",
        "Assignee {assignee}: which tickets are {status}?",
        "For which tickets is {assignee} the assignee?",
        "On which tickets is {assignee} named as assignee?",
        "Which {status} tickets is {assignee} responsible for?",
    ),
    held_out=(
        "Find the tickets of assignee {assignee}.",
        "Which {status} tickets still have {assignee} as their assignee?",
        "The assignee {assignee}'s newest tickets, please.",
    ),
    answer=lambda a, r: f"{a['assignee']} has {each(r, '{ticket_id} {subject}')}.",
)
def get_tickets_by_assignee(
    world: World, assignee: Annotated[str, "full name"], status: Literal["open", "closed"] | None = None
) -> list[Row]:
    """Newest tickets of one assignee: at most four cases a colleague is responsible for."""
    world.require(f"no colleague named {assignee}", "SELECT id FROM tickets WHERE assignee = ?", assignee)
    sql = "SELECT id AS ticket_id, subject FROM tickets WHERE assignee = ? AND status LIKE ? ORDER BY id DESC LIMIT 4"
    return world.all(sql, assignee, status or "%")


@tickets.tool(
    draw=lambda d: {"subject": d.pick(SUBJECTS), "priority": d.pick(("low", "high", "urgent"))},
    wordings=(
        'Create a ticket: "{subject}".',
        'Please create a new ticket for "{subject}".',
        'Create a ticket with priority {priority}: "{subject}".',
        'Someone reports "{subject}". Create a ticket for that.',
        'A ticket must be created, {priority} priority: "{subject}".',
        'I want a ticket created about this problem: "{subject}".',
        'Can you create a {priority} ticket about "{subject}"?',
        'There is a new problem to register: "{subject}".',
    ),
    held_out=(
        'Create a new ticket, "{subject}".',
        'I need you to create a {priority} ticket: "{subject}".',
        'Our office has a problem, so create a ticket: "{subject}".',
    ),
    answer=lambda a, r: f"I opened {r['ticket_id']} for {a['subject']}.",
)
def create_ticket(world: World, subject: str, priority: Priority = "normal") -> Row:
    """Create a new ticket: report or register a problem that somebody has."""
    ticket = f"T-{400 + world.next_number('tickets')}"
    values = (ticket, subject, priority)
    world.run("INSERT INTO tickets VALUES (?, ?, 'open', ?, 'nobody', '2025-06-30')", *values)
    return {"ticket_id": ticket, "status": "open"}


@tickets.tool(
    draw=lambda d: {"ticket_id": d.row("SELECT id FROM tickets WHERE status = 'open'")["id"]},
    wordings=(
        "{ticket_id} is solved, close the ticket.",
        "We're done with {ticket_id}. You can close it.",
        "Please close {ticket_id}.",
        "Mark {ticket_id} as resolved and close it.",
        "You can close the ticket {ticket_id} now.",
        "Can the ticket {ticket_id} be closed? It's solved.",
        "Our work on {ticket_id} is finished, close it.",
        "Mark {ticket_id} as done.",
    ),
    held_out=(
        "{ticket_id} can be closed, everything is done.",
        "Close {ticket_id}, it was solved this morning.",
        "Ticket {ticket_id} should be closed now, it's finished.",
    ),
    answer=lambda a, r: f"{a['ticket_id']} is closed.",
)
def close_ticket(world: World, ticket_id: TicketId) -> Row:
    """Close a ticket: mark it as solved, resolved, finished or done."""
    if _ticket(world, ticket_id)["status"] == "closed":
        raise PermissionError(f"ticket {ticket_id} is already closed")
    world.run("UPDATE tickets SET status = 'closed' WHERE id = ?", ticket_id)
    return {"ticket_id": ticket_id, "status": "closed"}


@tickets.tool(
    draw=lambda d: {"ticket_id": d.row("SELECT id FROM tickets")["id"], "assignee": d.row(AGENTS_SQL)["assignee"]},
    wordings=(
        "Assign {ticket_id} to {assignee}.",
        "Please assign the ticket {ticket_id} to {assignee}.",
        "Assign {assignee} to the ticket {ticket_id}.",
        "{ticket_id} should be assigned to {assignee}.",
        "I'm on holiday, so assign {ticket_id} to {assignee}.",
        "Can {ticket_id} be assigned to {assignee} instead of me?",
        "Take {ticket_id} from me and assign it to {assignee}.",
        "Hand the ticket {ticket_id} over to {assignee}.",
    ),
    held_out=(
        "Let {assignee} be assigned to {ticket_id}.",
        "Ticket {ticket_id} must be assigned to {assignee}.",
        "Pass {ticket_id} on: assign it to {assignee}.",
    ),
    answer=lambda a, r: f"{a['ticket_id']} is now with {a['assignee']} (before: {r['previous']}).",
)
def assign_ticket(world: World, ticket_id: TicketId, assignee: Annotated[str, "full name"]) -> Row:
    """Assign a ticket to another colleague: hand or pass it over to them."""
    previous = _ticket(world, ticket_id)["assignee"]
    world.require(f"no colleague named {assignee}", "SELECT id FROM tickets WHERE assignee = ?", assignee)
    world.run("UPDATE tickets SET assignee = ? WHERE id = ?", assignee, ticket_id)
    return {"ticket_id": ticket_id, "previous": previous}


@tickets.tool(
    draw=lambda d: {"ticket_id": d.row("SELECT id FROM tickets")["id"], "text": d.pick(REMARKS)},
    wordings=(
        'Add a comment to {ticket_id}: "{text}"',
        'Please add "{text}" as a comment on {ticket_id}.',
        'Add this comment to the ticket {ticket_id}: "{text}"',
        'I want to add a comment on ticket {ticket_id}: "{text}"',
        'Add to the comments of {ticket_id}: "{text}"',
        'A new comment should be added to {ticket_id}: "{text}"',
        '{ticket_id}: please add the comment "{text}"',
        'Write "{text}" under {ticket_id}.',
    ),
    held_out=(
        'Add the comment "{text}" to ticket {ticket_id}.',
        'To {ticket_id}, add one more comment: "{text}"',
        'Add a new comment saying "{text}" on {ticket_id}.',
    ),
    answer=lambda a, r: f"Your remark is now on {a['ticket_id']}.",
)
def add_ticket_comment(world: World, ticket_id: TicketId, text: str) -> Row:
    """Add a comment or note to a ticket: write new text under it."""
    _ticket(world, ticket_id)
    world.run("INSERT INTO remarks VALUES (?, 'me', ?)", ticket_id, text)
    count = world.all("SELECT text FROM remarks WHERE ticket_id = ?", ticket_id)
    return {"ticket_id": ticket_id, "comments": len(count)}


tickets.chain(
    ("create_ticket", lambda s, r: {"subject": s["subject"]}),
    ("assign_ticket", lambda s, r: {"ticket_id": r[0]["ticket_id"], "assignee": s["assignee"]}),
    draw=lambda d: {"subject": d.pick(SUBJECTS), "assignee": d.row(AGENTS_SQL)["assignee"]},
    wordings=(
        'Create a ticket for "{subject}" and assign it to {assignee}.',
        'First create a ticket, "{subject}", then assign it to {assignee}.',
        '"{subject}" needs a ticket: create one and assign it to {assignee}.',
        'Please create a new ticket, "{subject}". Then assign {assignee} to it.',
    ),
    held_out=('Create a new ticket on "{subject}", which is then assigned to {assignee}.',),
)
tickets.chain(
    ("get_tickets_by_assignee", lambda s, r: {"assignee": s["assignee"], "status": "open"}),
    ("close_ticket", lambda s, r: {"ticket_id": r[0][0]["ticket_id"]}),
    draw=lambda d: d.row("SELECT DISTINCT assignee FROM tickets WHERE status = 'open'"),
    wordings=(
        "Look up the open tickets of assignee {assignee}, then close the first one listed.",
        "Of the open tickets with {assignee} as assignee, close the one at the top.",
        "The assignee {assignee} solved the first of their open tickets. Find it and close it.",
        "Which open tickets have the assignee {assignee}? Close the first.",
    ),
    held_out=("Find the open tickets whose assignee is {assignee} first, then close the topmost.",),
)
tickets.chain(
    ("get_ticket", lambda s, r: {"ticket_id": s["ticket_id"]}),
    ("get_tickets_by_assignee", lambda s, r: {"assignee": r[0]["assignee"]}),
    draw=lambda d: {"ticket_id": d.row("SELECT id FROM tickets")["id"]},
    wordings=(
        "Look at ticket {ticket_id} first: which tickets does its assignee have?",
        "Find out who handles ticket {ticket_id} and list all tickets of that assignee.",
        "Which tickets have the same assignee as ticket {ticket_id}? Look that one up first.",
    ),
    held_out=("Who handles ticket {ticket_id}, and for which tickets is this person the assignee?",),
)
tickets.small_talk = (
    ("What does 'SLA' stand for?", "Service level agreement: what was promised, and how fast."),
    ("Why do support people always ask me to restart?", "A restart clears faulty states, which solves many problems."),
    (
        "What's the difference between a bug and a feature request?",
        "A bug is something broken; a feature request asks for more.",
    ),
    ("Is 'urgent' more pressing than 'high'?", "Usually yes: urgent things come before those of high priority."),
)
tickets.unsupported_requests = (
    "Teach {person} to type with ten fingers.",
    "Get {number} pizzas delivered for the support team.",
    "Carry the old printers down to the cellar.",
    "Translate the user manual into Portuguese for {person}.",
)
