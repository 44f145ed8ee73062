"""A public library."""

from __future__ import annotations

from random import Random
from typing import Annotated

from tltrain.toolworld.service import Draw, Service, Slots, each
from tltrain.toolworld.styles import PROSE
from tltrain.toolworld.world import DAYS, Row, World, people

SUBJECTS = ("astronomy", "cooking", "history", "chess", "gardening", "music", "birds", "robots", "mountains", "trains")
TITLES = tuple(
    f"{start} {end}"
    for start in ("The Silent", "A Short Walk to the", "Beyond the", "Letters from the", "Our Last")
    for end in ("Harbour", "Orchard", "Lighthouse", "Glacier", "Market", "Station", "Meadow", "Canal")
)
BookId = Annotated[str, "like BK-100"]
MemberId = Annotated[str, "like MB-100"]
LoanId = Annotated[str, "like L-100"]


def _tables(world: World, rng: Random) -> None:
    authors, members = people(rng, 15), people(rng, 30)
    books, loans = [], []
    for number, title in enumerate(TITLES):
        year, copies = rng.randint(1950, 2024), rng.randint(0, 4)
        shelf = f"{rng.choice('ABCDE')}{rng.randint(1, 40)}"
        books.append((f"BK-{100 + number}", title, rng.choice(authors), rng.choice(SUBJECTS), year, copies, shelf))
    for number in range(60):
        book = f"BK-{100 + rng.randrange(len(TITLES))}"
        loans.append((f"L-{100 + number}", book, f"MB-{100 + number % 30}", rng.choice(DAYS), 0))
    world.create("books", "id, title, author, subject, year, copies, shelf", books)
    world.create("members", "id, name", [(f"MB-{100 + number}", name) for number, name in enumerate(members)])
    world.create("loans", "id, book, member, due, renewed", loans)


library = Service("library", "the public library", PROSE, _tables)


def _book(world: World, book_id: str) -> Row:
    return world.need(f"there is no book {book_id}", "SELECT * FROM books WHERE id = ?", book_id)


def _check_member(world: World, member_id: str) -> None:
    world.need(f"member {member_id} is unknown", "SELECT id FROM members WHERE id = ?", member_id)


def _id(d: Draw) -> Slots:
    return d.row("SELECT id AS book_id FROM books")


@library.tool(
    draw=lambda d: {"title": d.pick(TITLES)},
    asks=(
        'Who wrote "{title}"?',
        'Do you have "{title}", and under what number?',
        'I\'m looking for a novel called "{title}".',
        'What is the book number of "{title}"?',
        'By whom is "{title}"?',
        'My teacher recommended "{title}". Can you look it up?',
    ),
    held_out=('Which author is behind "{title}"?', 'Is "{title}" in your catalogue? I need its number.'),
    answer=lambda a, r: f"{a['title']} is by {r['author']} ({r['book_id']}).",
)
def find_book(world: World, title: str) -> Row:
    """Look up a book by title: its book ID and who wrote it."""
    return world.need(f"no book is called '{title}'", "SELECT id AS book_id, author FROM books WHERE title = ?", title)


@library.tool(
    draw=lambda d: d.row("SELECT DISTINCT author FROM books"),
    asks=(
        "What has {author} written?",
        "I enjoy {author}. What do you have?",
        "Which novels by {author} are in the library?",
        "Show me everything written by {author}.",
        "Are there any works of {author} here?",
        "Which titles did {author} publish?",
    ),
    held_out=("I'd like to read something by {author}. What is there?", "Which works are {author}'s?"),
    answer=lambda a, r: f"By {a['author']}: {each(r, '{title}')}.",
)
def find_books_by_author(world: World, author: Annotated[str, "full name"]) -> list[Row]:
    """Books and novels in the library written by one author."""
    rows = world.all("SELECT id AS book_id, title FROM books WHERE author = ? ORDER BY id", author)
    if not rows:
        raise LookupError(f"no author is called {author}")
    return rows


@library.tool(
    draw=lambda d: {"subject": d.pick(SUBJECTS), "since": d.number(1960, 2010, 5)},
    asks=(
        "What came out about {subject} from {since} on?",
        "I only want newer things on {subject}, published in {since} or later.",
        "I want to read about {subject}. What do you suggest from the shelves?",
        "What do you have about {subject}?",
        "My daughter is interested in {subject}. Which titles fit?",
        "Is there anything on {subject} in the library?",
        "Show me what deals with {subject}.",
        "Which titles treat {subject}?",
    ),
    held_out=(
        "Something to read on {subject}, please.",
        "Which titles are concerned with {subject}?",
        "What is there on {subject} from {since} or later?",
    ),
    answer=lambda a, r: f"On {a['subject']}: {each(r, '{title}')}.",
)
def find_books_by_subject(
    world: World, subject: str, since: Annotated[int, "earliest year"] | None = None
) -> list[Row]:
    """Books to read about a subject, optionally only those published since a year."""
    if subject not in SUBJECTS:
        raise LookupError(f"there is no section on {subject}")
    sql = "SELECT id AS book_id, title FROM books WHERE subject = ? AND year >= ? ORDER BY id"
    return world.all(sql, subject, since or 0)


@library.tool(
    draw=_id,
    asks=(
        "On which shelf is {book_id}, and are there copies left?",
        "Is {book_id} in at the moment?",
        "How many copies of {book_id} are available?",
        "Where in the building do I find {book_id}?",
        "In which year did {book_id} come out?",
        "Can I borrow {book_id} right now? Tell me the copies and the shelf.",
    ),
    held_out=("Where does {book_id} stand?", "Are any copies of {book_id} there?"),
    answer=lambda a, r: f"{a['book_id']} ({r['year']}) stands on {r['shelf']}; {r['copies']} copies are in.",
)
def get_book(world: World, book_id: BookId) -> Row:
    """On which shelf a book is, how many copies are available, and its year."""
    row = _book(world, book_id)
    return {key: row[key] for key in ("year", "shelf", "copies")}


@library.tool(
    draw=lambda d: d.row("SELECT id AS member_id FROM members"),
    asks=(
        "What has {member_id} borrowed?",
        "When does {member_id} have to bring their books back?",
        "Which books are at {member_id}'s home now?",
        "Does {member_id} still have any of our books?",
        "What's out on the card {member_id}?",
        "Show me everything lent to {member_id}.",
    ),
    held_out=("What is {member_id} reading at home, and until when?", "Which of our books has {member_id} got?"),
    answer=lambda a, r: f"{a['member_id']} has {each(r, '{book_id} until {due} ({loan_id})')}.",
)
def get_loans_by_member(world: World, member_id: MemberId) -> list[Row]:
    """Books a member has borrowed, with the loan IDs and due dates."""
    _check_member(world, member_id)
    sql = "SELECT id AS loan_id, book AS book_id, due FROM loans WHERE member = ? ORDER BY due, id"
    return world.all(sql, member_id)


@library.tool(
    draw=lambda d: {**d.row("SELECT id AS loan_id FROM loans"), "weeks": d.number(3, 6)},
    asks=(
        "I need more time for {loan_id}.",
        "Please extend {loan_id}.",
        "Can I keep {loan_id} for {weeks} more weeks?",
        "Prolong {loan_id} by {weeks} weeks.",
        "I haven't finished {loan_id}. Give me an extension.",
        "{loan_id} should be due {weeks} weeks later.",
    ),
    held_out=("Let me hold on to {loan_id} a bit longer.", "Extend {loan_id}, {weeks} weeks if possible."),
    answer=lambda a, r: f"{a['loan_id']} is extended by {r['weeks']} weeks.",
)
def renew_loan(world: World, loan_id: LoanId, weeks: int = 2) -> Row:
    """Extend a loan to keep the book longer, by two weeks unless told otherwise."""
    row = world.need(f"there is no loan {loan_id}", "SELECT renewed FROM loans WHERE id = ?", loan_id)
    if not 1 <= weeks <= 10:
        raise ValueError(f"a loan can be extended by 1 to 10 weeks, not {weeks}")
    if row["renewed"]:
        raise PermissionError(f"{loan_id} was extended before")
    world.run("UPDATE loans SET renewed = 1 WHERE id = ?", loan_id)
    return {"loan_id": loan_id, "weeks": weeks}


@library.tool(
    draw=lambda d: d.row("SELECT id AS loan_id FROM loans"),
    asks=(
        "{loan_id} is back on the counter.",
        "The reader just handed in {loan_id}.",
        "I'm bringing back {loan_id}.",
        "Please check in {loan_id}.",
        "Mark {loan_id} as brought back.",
        "Here is the book from {loan_id}, I've finished it.",
    ),
    held_out=("{loan_id} has just been handed in.", "I'm done with the book from {loan_id}, here you are."),
    answer=lambda a, r: f"{a['loan_id']} is returned. Thank you!",
)
def return_loan(world: World, loan_id: LoanId) -> Row:
    """Check in a borrowed book that the reader brought back, by loan ID."""
    book = world.need(f"there is no loan {loan_id}", "SELECT book FROM loans WHERE id = ?", loan_id)["book"]
    world.run("DELETE FROM loans WHERE id = ?", loan_id)
    return {"returned": book}


@library.tool(
    draw=lambda d: {**_id(d), **d.row("SELECT id AS member_id FROM members")},
    asks=(
        "Keep {book_id} aside for {member_id}.",
        "{member_id} would like the next copy of {book_id}.",
        "Put {book_id} on hold for {member_id}.",
        "Please set {book_id} aside; {member_id} will pick it up.",
        "When {book_id} is free, {member_id} wants it.",
        "{member_id} asks you to hold {book_id}.",
    ),
    held_out=("Hold {book_id} back for {member_id}.", "{book_id} is wanted by {member_id}; put it aside."),
    answer=lambda a, r: f"{a['book_id']} will be kept for {a['member_id']}.",
)
def reserve_book(world: World, book_id: BookId, member_id: MemberId) -> Row:
    """Put a book on hold: keep the next copy aside for a member."""
    title = _book(world, book_id)["title"]
    _check_member(world, member_id)
    return {"reserved": title}


library.chain(
    ("find_book", lambda s, r: {"title": s["title"]}),
    ("get_book", lambda s, r: {"book_id": r[0]["book_id"]}),
    draw=lambda d: {"title": d.pick(TITLES)},
    asks=(
        'Is "{title}" in at the moment, and on which shelf?',
        'How many copies of "{title}" are available?',
        'Where in the building do I find "{title}"?',
        'In which year did "{title}" come out?',
    ),
    held_out=('On what shelf does "{title}" stand?',),
)
library.chain(
    ("find_book", lambda s, r: {"title": s["title"]}),
    ("reserve_book", lambda s, r: {"book_id": r[0]["book_id"], "member_id": s["member_id"]}),
    draw=lambda d: {"title": d.pick(TITLES), **d.row("SELECT id AS member_id FROM members")},
    asks=(
        'Keep "{title}" aside for {member_id}.',
        '{member_id} would like the next copy of "{title}".',
        'Put "{title}" on hold for {member_id}.',
    ),
    held_out=('{member_id} wants "{title}"; hold it back, please.',),
)
library.chain(
    ("get_loans_by_member", lambda s, r: {"member_id": s["member_id"]}),
    ("renew_loan", lambda s, r: {"loan_id": r[0][0]["loan_id"]}),
    draw=lambda d: d.row("SELECT DISTINCT member AS member_id FROM loans"),
    asks=(
        "Of the books that {member_id} has, extend the one that is due first.",
        "Find what {member_id} borrowed and prolong whatever is due earliest.",
        "{member_id} needs more time for the book with the earliest due date.",
    ),
    held_out=("Give {member_id} an extension for the book that has to be back first.",),
)
library.talk = (
    ("What's the difference between a novel and a short story?", "Mostly the length; a novel tells a longer story."),
    ("Why are libraries so quiet?", "So that people can read and study without being disturbed."),
    ("What does ISBN stand for?", "International Standard Book Number."),
    ("Who invented printing with movable type in Europe?", "Johannes Gutenberg, around 1450."),
)
library.beyond = (
    "Read the story aloud to {person} tonight.",
    "Translate the oldest book you have into Swedish.",
    "Let {person} work here as a volunteer from {day}.",
    "Build a new reading room in {city}.",
)
