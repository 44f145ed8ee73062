"""A personal calendar."""

from __future__ import annotations

from random import Random
from typing import Annotated

from tltrain.toolworld.service import Service, Slots, ValueSampler, each
from tltrain.toolworld.styles import NESTED
from tltrain.toolworld.world import DAYS, Row, World, check_day, check_time, people

TITLES = tuple(
    f"{subject} {form}"
    for subject in (
        "Budget",
        "Design",
        "Marketing",
        "Hiring",
        "Safety",
        "Product",
        "Quarterly",
        "Website",
        "Tax",
        "Team",
    )
    for form in ("review", "workshop", "call", "lunch", "briefing")
)
CHORES = (
    *("water the plants", "pay the rent", "renew the passport", "buy train tickets", "call the dentist"),
    *("return the library books", "send the invoice", "pick up the dry cleaning", "back up the laptop", "feed the cat"),
    *("book a table", "charge the camera"),
)
Day = Annotated[str, "YYYY-MM-DD"]
Time = Annotated[str, "HH:MM"]
EventId = Annotated[str, "like E-100"]


def _tables(world: World, rng: Random) -> None:
    guests = people(rng, 25)
    rows = []
    for number, title in enumerate(TITLES):
        start = f"{rng.randint(8, 16):02d}:{rng.choice(('00', '30'))}"
        rows.append((f"E-{100 + number}", title, rng.choice(DAYS), start, rng.choice((30, 60, 90)), rng.choice(guests)))
    world.create("events", "id, title, day, start, minutes, guest", rows)
    world.create("reminders", "id, text, day, time", [])


calendar = Service("calendar", "your calendar", NESTED, _tables)


def _event(world: World, event_id: str) -> Row:
    return world.require(f"no event with id {event_id}", "SELECT * FROM events WHERE id = ?", event_id)


@calendar.tool(
    draw=lambda d: {"day": d.row("SELECT day FROM events")["day"] if d.rng.random() < 0.7 else d.day()},
    wordings=(
        "List my events on {day}.",
        "Can you list the appointments in my diary for {day}?",
        "I need a list of all events planned for {day}.",
        "Which events does my diary list for {day}?",
        "List everything that's planned on {day}.",
        "What appointments are in my diary on {day}?",
        "Events on {day}: please send me the list.",
    ),
    held_out=(
        "Please list my plans for {day}.",
        "A list of the events in my diary on {day}, please.",
    ),
    answer=lambda a, r: f"On {a['day']} you have: {each(r, '{title} at {start}')}.",
)
def list_events(world: World, day: Day) -> list[Row]:
    """List the events of one day: all plans and appointments in the diary."""
    sql = "SELECT id AS event_id, title, start, minutes FROM events WHERE day = ? ORDER BY start, id"
    return world.all(sql, check_day(day))


@calendar.tool(
    draw=lambda d: {"guest": d.row("SELECT DISTINCT guest FROM events")["guest"]},
    wordings=(
        "Which events have {guest} as a guest?",
        "List the events where {guest} is the guest.",
        "When do I meet the guest {guest}?",
        "My guest {guest} asks which events we share.",
        "Show all meetings with {guest} as guest.",
        "At which of my events is {guest} a guest?",
        "When will I see my guest {guest}, and at which events?",
    ),
    held_out=(
        "I'd like the events that list {guest} as a guest.",
        "As a guest, which meetings does {guest} share with me?",
    ),
    answer=lambda a, r: f"With {a['guest']} you have: {each(r, '{title} on {day} at {start}')}.",
)
def list_events_by_guest(world: World, guest: Annotated[str, "full name"]) -> list[Row]:
    """Events with one guest: the meetings you share, where you see that person."""
    sql = "SELECT id AS event_id, title, day, start FROM events WHERE guest = ? ORDER BY day, start"
    rows = world.all(sql, guest)
    if not rows:
        raise LookupError(f"no guest named {guest}")
    return rows


@calendar.tool(
    draw=lambda d: {"title": d.pick(TITLES)},
    wordings=(
        "Find the event titled {title}: what date is it?",
        "Can you find the {title} event and its start time?",
        "Find the ID of the event called {title}.",
        "I can't find the event {title}. When is it?",
        "Find out how long the event {title} is.",
        "Who is coming to the {title}? Find the event.",
        "Find me the date of the event {title}.",
        "At what time does the {title} start?",
    ),
    held_out=(
        "On what date is the event {title}? I can't find it.",
        "Find the {title} event for me: which date, what length?",
    ),
    answer=lambda a, r: (
        f"The {a['title']} ({r['event_id']}) is on {r['day']} at {r['start']}, {r['minutes']} min with {r['guest']}."
    ),
)
def find_event(world: World, title: str) -> Row:
    """Find an event by its title: ID, date, start time, length and guest."""
    sql = "SELECT id AS event_id, day, start, minutes, guest FROM events WHERE title = ?"
    return world.require(f"no event titled {title}", sql, title)


def _meeting(d: ValueSampler) -> Slots:
    title = f"{d.pick(('Kick-off', 'Interview', 'Handover', 'Planning', 'Retrospective', 'Demo'))} {d.number(2, 60)}"
    return {"title": title, "day": d.day(), "start": d.time(), "minutes": d.pick((15, 30, 45, 75, 90, 120))}


@calendar.tool(
    draw=_meeting,
    wordings=(
        'Create a calendar event "{title}" on {day} at {start}.',
        'New event: "{title}", {day}, {start}. Please create it.',
        'Please create "{title}" for {day}, {start}, lasting {minutes} minutes.',
        'Can you create a new entry "{title}" on {day} at {start}?',
        'Please have an event created for {day}, {start}, lasting {minutes} minutes: "{title}".',
        'On {day} at {start}, create "{title}" in my calendar.',
        'Schedule the new event "{title}": {day} at {start}.',
    ),
    held_out=(
        'Create the calendar entry "{title}", {day}, {start}.',
        '"{title}" is a new event, {day} at {start}, {minutes} minutes; create it.',
    ),
    answer=lambda a, r: f"{a['title']} is in your calendar on {a['day']} at {a['start']} ({r['event_id']}).",
)
def create_event(world: World, title: str, day: Day, start: Time, minutes: int = 60) -> Row:
    """Create a new event: an entry in the calendar, lasting 60 minutes by default."""
    if minutes <= 0:
        raise ValueError(f"minutes must be positive, got {minutes}")
    event = f"E-{world.next_number('events')}"
    values = (event, title, check_day(day), check_time(start), minutes)
    world.run("INSERT INTO events VALUES (?, ?, ?, ?, ?, '')", *values)
    return {"event_id": event}


@calendar.tool(
    draw=lambda d: {"text": d.pick(CHORES), "day": d.day(), "time": d.time()},
    wordings=(
        "Remind me on {day} at {time} to {text}.",
        "I must not forget to {text} on {day}. Remind me at {time}.",
        "Create a reminder for {day} at {time}: {text}.",
        "I need a reminder to {text}, {day} at {time}.",
        "Could you remind me at {time} on {day} to {text}?",
        "Set up a reminder: {text}, {day}, {time}.",
        "Please don't let me forget to {text}: {day}, {time}.",
    ),
    held_out=(
        "At {time} on {day}, remind me to {text}.",
        "New reminder for {day}, {time}: {text}.",
    ),
    answer=lambda a, r: f"I will remind you on {a['day']} at {a['time']} to {a['text']}.",
)
def create_reminder(world: World, text: str, day: Day, time: Time) -> Row:
    """Remind the user at a day and time, so as not to forget something."""
    reminder = f"R-{world.next_number('reminders')}"
    world.run("INSERT INTO reminders VALUES (?, ?, ?, ?)", reminder, text, check_day(day), check_time(time))
    return {"reminder_id": reminder}


@calendar.tool(
    draw=lambda d: {"event_id": d.row("SELECT id FROM events")["id"], "day": d.day(), "start": d.time()},
    wordings=(
        "Move {event_id} to {day} at {start}.",
        "Please move my event {event_id} to {day}, {start}.",
        "{event_id} should be moved to {day} at {start}.",
        "Can we move {event_id}? {day} at {start} suits me better.",
        "The event {event_id} moves to another slot: {day}, {start}.",
        "Reschedule {event_id}: it is moving to {day} at {start}.",
        "We agreed on {day}, {start} for {event_id}, so move it.",
        "Postpone {event_id} until {day}, {start}.",
    ),
    held_out=(
        "Can you move {event_id} to {start} on {day}?",
        "I need event {event_id} moved to {day} at {start}.",
    ),
    answer=lambda a, r: f"{r['title']} ({a['event_id']}) is now on {a['day']} at {a['start']}.",
)
def move_event(world: World, event_id: EventId, day: Day, start: Time) -> Row:
    """Move an event: reschedule or postpone it to another slot."""
    title = _event(world, event_id)["title"]
    sql = "UPDATE events SET day = ?, start = ? WHERE id = ?"
    world.run(sql, check_day(day), check_time(start), event_id)
    return {"title": title, "moved_to": f"{day} {start}"}


@calendar.tool(
    draw=lambda d: {"event_id": d.row("SELECT id FROM events")["id"]},
    wordings=(
        "Cancel {event_id}, please.",
        "The event {event_id} is off, so cancel it.",
        "Could {event_id} be cancelled?",
        "I want to cancel {event_id} for good.",
        "Nobody is coming to {event_id}. Cancel it.",
        "My event {event_id} has to be cancelled.",
        "I no longer want {event_id}, so delete it.",
    ),
    held_out=(
        "Can you cancel the event {event_id}?",
        "{event_id} won't take place, please cancel.",
    ),
    answer=lambda a, r: f"{r['title']} ({a['event_id']}) is cancelled.",
)
def cancel_event(world: World, event_id: EventId) -> Row:
    """Cancel an event for good: it is off and gets deleted."""
    title = _event(world, event_id)["title"]
    world.run("DELETE FROM events WHERE id = ?", event_id)
    return {"title": title, "cancelled": True}


calendar.chain(
    ("find_event", lambda s, r: {"title": s["title"]}),
    ("move_event", lambda s, r: {"event_id": r[0]["event_id"], "day": s["day"], "start": s["start"]}),
    draw=lambda d: {"title": d.pick(TITLES), "day": d.day(), "start": d.time()},
    wordings=(
        "Find the event {title} first, then move it to {day} at {start}.",
        "I only know the title, {title}: find that event and move it to {day}, {start}.",
        "Find my {title} event and move it to {day} at {start}.",
        "Can you find the event titled {title} and move it to {day}, {start}?",
    ),
    held_out=(
        "Find the event titled {title}, then move it to {day}, {start}.",
        "Move the {title} to {day} at {start}; find the event by title first.",
    ),
)
calendar.chain(
    ("find_event", lambda s, r: {"title": s["title"]}),
    ("cancel_event", lambda s, r: {"event_id": r[0]["event_id"]}),
    draw=lambda d: {"title": d.pick(TITLES)},
    wordings=(
        "Find the event {title} first, then cancel it.",
        "I only know the title, {title}: find that event and cancel it.",
        "Find the event titled {title}; it has to be cancelled.",
        "Cancel the {title}. You have to find the event by its title first.",
    ),
    held_out=(
        "Find my {title} event and cancel it.",
        "Could you find the event titled {title}, then cancel it?",
    ),
)
calendar.chain(
    ("list_events", lambda s, r: {"day": s["day"]}),
    ("cancel_event", lambda s, r: {"event_id": r[0][0]["event_id"]}),
    draw=lambda d: d.row("SELECT DISTINCT day FROM events"),
    wordings=(
        "List my events on {day} first, then cancel the earliest.",
        "I'll sleep in on {day}: list my events and cancel the earliest one.",
        "Cancel my first event on {day}; list that day's events to see which.",
    ),
    held_out=("List the events of {day}, then cancel the first one.",),
)
calendar.small_talk = (
    ("How many days does a leap year have?", "A leap year has 366 days."),
    ("What makes a good meeting agenda?", "A clear goal, few items, a time for each, and an owner for each item."),
    ("Which month comes after September?", "October."),
    ("Is noon 12 am or 12 pm?", "Noon is 12 pm."),
)
calendar.unsupported_requests = (
    "Join the video call on {day} in my place and take notes.",
    "Decorate the meeting room with flowers for {day}.",
    "Add more hours to {day}, I have too much to do.",
    "Order a taxi to {city} for {day}.",
)
