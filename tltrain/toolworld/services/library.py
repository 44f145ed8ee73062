"""A public library."""

from __future__ import annotations

from random import Random
from typing import Annotated

from tltrain.toolworld.service import Service, Slots, ValueSampler, each
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
    return world.require(f"there is no book {book_id}", "SELECT * FROM books WHERE id = ?", book_id)


def _check_member(world: World, member_id: str) -> None:
    world.require(f"member {member_id} is unknown", "SELECT id FROM members WHERE id = ?", member_id)


def _id(d: ValueSampler) -> Slots:
    return d.row("SELECT id AS book_id FROM books")


@library.tool(
    draw=lambda d: {"title": d.pick(TITLES)},
    wordings=(
        'Find the book "{title}" in the catalogue.',
        'Can you find a book with the title "{title}"?',
        'I need to find the ID of the book "{title}".',
        'Find the title "{title}" for me, please.',
        'Who wrote the book "{title}"? Please find out.',
        'My teacher recommended "{title}". Can you find that book?',
        'Who wrote "{title}"?',
    ),
    held_out=(
        'I\'m trying to find a book, its title is "{title}".',
        'Is the book "{title}" in the catalogue? Find its ID.',
    ),
    answer=lambda a, r: f"{a['title']} is by {r['author']} ({r['book_id']}).",
)
def find_book(world: World, title: str) -> Row:
    """Find a book by its title: who wrote it, and its ID in the catalogue."""
    return world.require(
        f"no book is called '{title}'", "SELECT id AS book_id, author FROM books WHERE title = ?", title
    )


@library.tool(
    draw=lambda d: d.row("SELECT DISTINCT author FROM books"),
    wordings=(
        "Which books has the author {author} written?",
        "Find the books of author {author}.",
        "Which books by the author {author} are in the library?",
        "Show me all books of the author {author}.",
        "My favourite author is {author}. Find their books.",
        "Author {author}: what works are there?",
        "What has {author} written?",
    ),
    held_out=(
        "I'd like to read a book by the author {author}.",
        "Books written by the author {author}, please.",
    ),
    answer=lambda a, r: f"By {a['author']}: {each(r, '{title}')}.",
)
def find_books_by_author(world: World, author: Annotated[str, "full name"]) -> list[Row]:
    """Books of one author: all works in the library written by this person."""
    rows = world.all("SELECT id AS book_id, title FROM books WHERE author = ? ORDER BY id", author)
    if not rows:
        raise LookupError(f"no author is called {author}")
    return rows


@library.tool(
    draw=lambda d: {"subject": d.pick(SUBJECTS), "since": d.number(1960, 2010, 5)},
    wordings=(
        "Which books on the subject of {subject} were published since {since}?",
        "Find some books on the subject {subject}, published in {since} or later.",
        "I want to read about the subject {subject}. Which books are there?",
        "What books do you have on the subject of {subject}?",
        "My daughter needs books on the subject of {subject}.",
        "Subject {subject}: which books can you find?",
        "Is there a book with the subject {subject}?",
        "Show me something about {subject}.",
    ),
    held_out=(
        "Find a book on the subject {subject}, please.",
        "What is there on the subject of {subject}?",
        "The subject is {subject}; find me books from {since} or later.",
    ),
    answer=lambda a, r: f"On {a['subject']}: {each(r, '{title}')}.",
)
def find_books_by_subject(
    world: World, subject: str, since: Annotated[int, "earliest year"] | None = None
) -> list[Row]:
    """Books about a subject or topic, optionally only those published since a year."""
    if subject not in SUBJECTS:
        raise LookupError(f"there is no section on {subject}")
    sql = "SELECT id AS book_id, title FROM books WHERE subject = ? AND year >= ? ORDER BY id"
    return world.all(sql, subject, since or 0)


@library.tool(
    draw=_id,
    wordings=(
        "On which shelf is the book {book_id}, and are copies available?",
        "Is the book {book_id} available at the moment?",
        "How many copies of book {book_id} are available?",
        "On which shelf does the book {book_id} stand?",
        "Book {book_id}: year and shelf, please.",
        "Can I have the book {book_id} right now? Are copies available?",
        "Tell me the year and the shelf of {book_id}.",
    ),
    held_out=(
        "On which shelf do I look for the book {book_id}?",
        "Are any copies of the book {book_id} available?",
    ),
    answer=lambda a, r: f"{a['book_id']} ({r['year']}) stands on {r['shelf']}; {r['copies']} copies are in.",
)
def get_book(world: World, book_id: BookId) -> Row:
    """Shelf where a book stands, copies available now, and the year it came out."""
    row = _book(world, book_id)
    return {key: row[key] for key in ("year", "shelf", "copies")}


@library.tool(
    draw=lambda d: d.row("SELECT id AS member_id FROM members"),
    wordings=(
        "Which loans does member {member_id} have?",
        "What are the loans of the member {member_id}?",
        "List the loans of member {member_id}.",
        "When are the loans of member {member_id} due?",
        "Show me the loans and due dates of the member {member_id}.",
        "Member {member_id} asks which loans are still open.",
        "What has {member_id} borrowed?",
    ),
    held_out=(
        "Due dates of member {member_id}'s loans, please.",
        "What loans are there for the member {member_id}?",
    ),
    answer=lambda a, r: f"{a['member_id']} has {each(r, '{book_id} until {due} ({loan_id})')}.",
)
def get_loans_by_member(world: World, member_id: MemberId) -> list[Row]:
    """Loans of a member: which books they have borrowed, and when each is due."""
    _check_member(world, member_id)
    sql = "SELECT id AS loan_id, book AS book_id, due FROM loans WHERE member = ? ORDER BY due, id"
    return world.all(sql, member_id)


@library.tool(
    draw=lambda d: {**d.row("SELECT id AS loan_id FROM loans"), "weeks": d.number(3, 6)},
    wordings=(
        "Please renew {loan_id}.",
        "Renew the loan {loan_id} by {weeks} weeks.",
        "Can I renew {loan_id} for {weeks} more weeks?",
        "I haven't finished {loan_id}. Can it be renewed?",
        "The loan {loan_id} should be renewed by {weeks} weeks.",
        "I'd like to renew my loan {loan_id}.",
        "May I keep {loan_id} a little longer?",
    ),
    held_out=(
        "Let me renew {loan_id}, I need it longer.",
        "{weeks} weeks longer for {loan_id}: renew the loan, if possible.",
    ),
    answer=lambda a, r: f"{a['loan_id']} is extended by {r['weeks']} weeks.",
)
def renew_loan(world: World, loan_id: LoanId, weeks: int = 2) -> Row:
    """Renew a loan: extend it to keep the book longer, by two weeks unless told otherwise."""
    row = world.require(f"there is no loan {loan_id}", "SELECT renewed FROM loans WHERE id = ?", loan_id)
    if not 1 <= weeks <= 10:
        raise ValueError(f"a loan can be extended by 1 to 10 weeks, not {weeks}")
    if row["renewed"]:
        raise PermissionError(f"{loan_id} was extended before")
    world.run("UPDATE loans SET renewed = 1 WHERE id = ?", loan_id)
    return {"loan_id": loan_id, "weeks": weeks}


@library.tool(
    draw=lambda d: d.row("SELECT id AS loan_id FROM loans"),
    wordings=(
        "{loan_id} was just returned.",
        "I'm returning {loan_id}.",
        "The loan {loan_id} is being returned.",
        "I've finished {loan_id} and want to return it.",
        "Please return {loan_id}, I brought it back.",
        "Mark the loan {loan_id} as returned.",
        "Check in the loan {loan_id}, please.",
    ),
    held_out=(
        "{loan_id} has just been returned; check it in.",
        "I'd like to return the loan {loan_id}.",
    ),
    answer=lambda a, r: f"{a['loan_id']} is returned. Thank you!",
)
def return_loan(world: World, loan_id: LoanId) -> Row:
    """Return a loan: check in a book that was brought back."""
    book = world.require(f"there is no loan {loan_id}", "SELECT book FROM loans WHERE id = ?", loan_id)["book"]
    world.run("DELETE FROM loans WHERE id = ?", loan_id)
    return {"returned": book}


@library.tool(
    draw=lambda d: {**_id(d), **d.row("SELECT id AS member_id FROM members")},
    wordings=(
        "Reserve the book {book_id} for {member_id}.",
        "{member_id} would like to reserve the next copy of {book_id}.",
        "Put a hold on {book_id}: reserve it for {member_id}.",
        "Please reserve {book_id}; {member_id} will pick it up.",
        "{member_id} asks you to reserve the book {book_id}.",
        "{member_id} wants the book {book_id} reserved.",
        "Hold the next copy of the book {book_id} for {member_id}.",
    ),
    held_out=(
        "Reserve the next copy of the book {book_id} for {member_id}.",
        "{book_id} should be reserved for {member_id}.",
    ),
    answer=lambda a, r: f"{a['book_id']} will be kept for {a['member_id']}.",
)
def reserve_book(world: World, book_id: BookId, member_id: MemberId) -> Row:
    """Reserve a book for a member: put the next copy on hold."""
    title = _book(world, book_id)["title"]
    _check_member(world, member_id)
    return {"reserved": title}


library.chain(
    ("find_book", lambda s, r: {"title": s["title"]}),
    ("get_book", lambda s, r: {"book_id": r[0]["book_id"]}),
    draw=lambda d: {"title": d.pick(TITLES)},
    wordings=(
        'Find the book "{title}" first: on which shelf are its copies?',
        'Find the title "{title}": how many copies of the book are available?',
        'I only know the title, "{title}". Find the book and tell me its shelf.',
        'Is the book "{title}" available, and on which shelf? Find its ID first.',
    ),
    held_out=('First find the book with the title "{title}", then tell me its shelf and year.',),
)
library.chain(
    ("find_book", lambda s, r: {"title": s["title"]}),
    ("reserve_book", lambda s, r: {"book_id": r[0]["book_id"], "member_id": s["member_id"]}),
    draw=lambda d: {"title": d.pick(TITLES), **d.row("SELECT id AS member_id FROM members")},
    wordings=(
        'Find the book "{title}" and reserve it for {member_id}.',
        '{member_id} knows only the title, "{title}". Find that book and reserve it.',
        'First find "{title}", then reserve the book for {member_id}.',
    ),
    held_out=('{member_id} wants the book with the title "{title}" reserved; find it first.',),
)
library.chain(
    ("get_loans_by_member", lambda s, r: {"member_id": s["member_id"]}),
    ("renew_loan", lambda s, r: {"loan_id": r[0][0]["loan_id"]}),
    draw=lambda d: d.row("SELECT DISTINCT member AS member_id FROM loans"),
    wordings=(
        "Of the loans of member {member_id}, renew the one that is due first.",
        "Find the loans of member {member_id} first, then renew whatever is due earliest.",
        "Member {member_id} wants the loan that is due first renewed; look it up.",
    ),
    held_out=("Look up the member {member_id}'s loans and renew the one due first.",),
)
library.small_talk = (
    ("What's the difference between a novel and a short story?", "Mostly the length; a novel tells a longer story."),
    ("Why are libraries so quiet?", "So that people can read and study without being disturbed."),
    ("What does ISBN stand for?", "International Standard Book Number."),
    ("Who invented printing with movable type in Europe?", "Johannes Gutenberg, around 1450."),
)
library.unsupported_requests = (
    "Read the story aloud to {person} tonight.",
    "Translate the oldest book you have into Swedish.",
    "Let {person} work here as a volunteer from {day}.",
    "Build a new reading room in {city}.",
)
