"""A personal calendar."""

from __future__ import annotations

from random import Random
from typing import Annotated

from tltrain.toolworld.service import Draw, Service, Slots, each
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
    return world.need(f"no event with id {event_id}", "SELECT * FROM events WHERE id = ?", event_id)


@calendar.tool(
    draw=lambda d: {"day": d.row("SELECT day FROM events")["day"] if d.rng.random() < 0.7 else d.day()},
    asks=(
        "What do I have planned on {day}?",
        "Am I busy on {day}?",
        "Show me my agenda for {day}.",
        "Which meetings are in my diary on {day}?",
        "What's on for {day}?",
        "I'd like an overview of {day}. Which appointments do I have?",
        "Do I have anything on {day}?",
    ),
    held_out=("How does my {day} look?", "What appointments are coming up on {day}?"),
    answer=lambda a, r: f"On {a['day']} you have: {each(r, '{title} at {start}')}.",
)
def list_events(world: World, day: Day) -> list[Row]:
    """Your agenda for one day: the meetings and appointments in your diary."""
    sql = "SELECT id AS event_id, title, start, minutes FROM events WHERE day = ? ORDER BY start, id"
    return world.all(sql, check_day(day))


@calendar.tool(
    draw=lambda d: {"guest": d.row("SELECT DISTINCT guest FROM events")["guest"]},
    asks=(
        "When am I meeting {guest}?",
        "Which of my appointments are with {guest}?",
        "What do I have coming up together with {guest}?",
        "Show me everything in my diary that involves {guest}.",
        "Do {guest} and I have anything planned?",
        "On what occasions will I see {guest}?",
    ),
    held_out=("Which meetings does {guest} share with me?", "Is there anything in my calendar with {guest}?"),
    answer=lambda a, r: f"With {a['guest']} you have: {each(r, '{title} on {day} at {start}')}.",
)
def list_events_by_guest(world: World, guest: Annotated[str, "full name"]) -> list[Row]:
    """Meetings and appointments in your diary with one person, by their name."""
    sql = "SELECT id AS event_id, title, day, start FROM events WHERE guest = ? ORDER BY day, start"
    rows = world.all(sql, guest)
    if not rows:
        raise LookupError(f"no guest named {guest}")
    return rows


@calendar.tool(
    draw=lambda d: {"title": d.pick(TITLES)},
    asks=(
        "When is the {title}?",
        "At what time does the {title} start, and on which day?",
        "I forgot the date of the {title}. When was it again?",
        "Who is joining me for the {title}?",
        "What is the event ID of the {title}?",
        "How long is the {title} going to take?",
    ),
    held_out=("On which date did I put the {title}?", "With whom do I have the {title}?"),
    answer=lambda a, r: (
        f"The {a['title']} ({r['event_id']}) is on {r['day']} at {r['start']}, {r['minutes']} min with {r['guest']}."
    ),
)
def find_event(world: World, title: str) -> Row:
    """Find an event by title: its event ID, date, time, length and guest."""
    sql = "SELECT id AS event_id, day, start, minutes, guest FROM events WHERE title = ?"
    return world.need(f"no event titled {title}", sql, title)


def _meeting(d: Draw) -> Slots:
    title = f"{d.pick(('Kick-off', 'Interview', 'Handover', 'Planning', 'Retrospective', 'Demo'))} {d.number(2, 60)}"
    return {"title": title, "day": d.day(), "start": d.time(), "minutes": d.pick((15, 30, 45, 75, 90, 120))}


@calendar.tool(
    draw=_meeting,
    asks=(
        'Put "{title}" into my diary on {day} at {start}.',
        'I have a new appointment, "{title}", on {day}, starting {start}.',
        'Please schedule "{title}" for {day}, {start}, lasting {minutes} minutes.',
        'Block {minutes} minutes on {day} from {start} for "{title}".',
        'Enter a meeting called "{title}": {day}, {start}.',
        'On {day} at {start} there will be "{title}". Note it in my calendar.',
        '"{title}" takes place on {day} at {start} and takes {minutes} minutes. Add it, please.',
    ),
    held_out=(
        'Plan "{title}" on {day} at {start} for me.',
        'Reserve {minutes} minutes in my calendar, {day} at {start}, for "{title}".',
    ),
    answer=lambda a, r: f"{a['title']} is in your calendar on {a['day']} at {a['start']} ({r['event_id']}).",
)
def create_event(world: World, title: str, day: Day, start: Time, minutes: int = 60) -> Row:
    """Schedule a new meeting or appointment in your calendar, at a day and time."""
    if minutes <= 0:
        raise ValueError(f"minutes must be positive, got {minutes}")
    event = f"E-{world.next_number('events')}"
    values = (event, title, check_day(day), check_time(start), minutes)
    world.run("INSERT INTO events VALUES (?, ?, ?, ?, ?, '')", *values)
    return {"event_id": event}


@calendar.tool(
    draw=lambda d: {"text": d.pick(CHORES), "day": d.day(), "time": d.time()},
    asks=(
        "Remind me on {day} at {time} to {text}.",
        "I must not forget to {text} on {day}. Ping me at {time}.",
        "Nudge me at {time} on {day}: {text}.",
        "On {day}, {time}, tell me to {text}.",
        "Make sure I {text} on {day}; alert me at {time}.",
        "Give me a shout on {day} at {time} so that I {text}.",
    ),
    held_out=("Don't let me forget to {text}: {day}, {time}.", "Alert me at {time} on {day} to {text}."),
    answer=lambda a, r: f"I will remind you on {a['day']} at {a['time']} to {a['text']}.",
)
def create_reminder(world: World, text: str, day: Day, time: Time) -> Row:
    """Remind you at a day and time not to forget something."""
    reminder = f"R-{world.next_number('reminders')}"
    world.run("INSERT INTO reminders VALUES (?, ?, ?, ?)", reminder, text, check_day(day), check_time(time))
    return {"reminder_id": reminder}


@calendar.tool(
    draw=lambda d: {"event_id": d.row("SELECT id FROM events")["id"], "day": d.day(), "start": d.time()},
    asks=(
        "Shift {event_id} to {day} at {start}.",
        "{event_id} has to take place on {day} at {start} instead.",
        "Please reschedule {event_id}: new date {day}, new time {start}.",
        "We agreed on {day}, {start} for {event_id}. Change it, please.",
        "Postpone {event_id} until {day}, {start}.",
        "Can {event_id} be put on {day} at {start} rather than where it is now?",
    ),
    held_out=("{event_id} will now be on {day} at {start}.", "Set a new time for {event_id}: {start} on {day}."),
    answer=lambda a, r: f"{r['title']} ({a['event_id']}) is now on {a['day']} at {a['start']}.",
)
def move_event(world: World, event_id: EventId, day: Day, start: Time) -> Row:
    """Reschedule an event, by its ID, to a new date and start time."""
    title = _event(world, event_id)["title"]
    sql = "UPDATE events SET day = ?, start = ? WHERE id = ?"
    world.run(sql, check_day(day), check_time(start), event_id)
    return {"title": title, "moved_to": f"{day} {start}"}


@calendar.tool(
    draw=lambda d: {"event_id": d.row("SELECT id FROM events")["id"]},
    asks=(
        "{event_id} is off. Take it out of my calendar.",
        "Delete {event_id}, please.",
        "I won't attend {event_id} and nobody else will. Remove it.",
        "Strike {event_id} from my diary.",
        "{event_id} is not going to happen; drop it.",
        "Please scrap {event_id}.",
    ),
    held_out=("Call off {event_id}.", "Get rid of {event_id} in my calendar."),
    answer=lambda a, r: f"{r['title']} ({a['event_id']}) is cancelled.",
)
def cancel_event(world: World, event_id: EventId) -> Row:
    """Call off an event and delete it from your calendar, by its ID."""
    title = _event(world, event_id)["title"]
    world.run("DELETE FROM events WHERE id = ?", event_id)
    return {"title": title, "cancelled": True}


calendar.chain(
    ("find_event", lambda s, r: {"title": s["title"]}),
    ("move_event", lambda s, r: {"event_id": r[0]["event_id"], "day": s["day"], "start": s["start"]}),
    draw=lambda d: {"title": d.pick(TITLES), "day": d.day(), "start": d.time()},
    asks=(
        "The {title} should be on {day} at {start} instead.",
        "Please shift the {title} to {day}, {start}.",
        "Can you put the {title} on {day} at {start}? It can't stay where it is.",
        "Reschedule my {title}: {day} at {start} works better.",
    ),
    held_out=(
        "Postpone the {title}; new date {day}, {start}.",
        "Let's have the {title} on {day} at {start} after all.",
    ),
)
calendar.chain(
    ("find_event", lambda s, r: {"title": s["title"]}),
    ("cancel_event", lambda s, r: {"event_id": r[0]["event_id"]}),
    draw=lambda d: {"title": d.pick(TITLES)},
    asks=(
        "The {title} is not taking place. Remove it.",
        "Delete the {title} from my calendar.",
        "I no longer need the {title}, please drop it.",
        "Scrap the {title}.",
    ),
    held_out=("Call off the {title}.", "Take the {title} off my schedule."),
)
calendar.chain(
    ("list_events", lambda s, r: {"day": s["day"]}),
    ("cancel_event", lambda s, r: {"event_id": r[0][0]["event_id"]}),
    draw=lambda d: d.row("SELECT DISTINCT day FROM events"),
    asks=(
        "Whatever comes first on {day}, cancel it.",
        "I'll sleep in on {day}. Drop my first appointment of that day.",
        "Remove the earliest meeting I have on {day}.",
    ),
    held_out=("Strike the first thing in my diary on {day}.",),
)
calendar.talk = (
    ("How many days does a leap year have?", "A leap year has 366 days."),
    ("What makes a good meeting agenda?", "A clear goal, few items, a time for each, and an owner for each item."),
    ("Which month comes after September?", "October."),
    ("Is noon 12 am or 12 pm?", "Noon is 12 pm."),
)
calendar.beyond = (
    "Join the video call on {day} in my place and take notes.",
    "Decorate the meeting room with flowers for {day}.",
    "Add more hours to {day}, I have too much to do.",
    "Order a taxi to {city} for {day}.",
)
