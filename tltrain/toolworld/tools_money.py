"""Exchange rates, everyday sums, and a household's accounts."""

from __future__ import annotations

from random import Random
from typing import Annotated, Literal

from tltrain.toolworld.service import Draw, Said, Service, Slots
from tltrain.toolworld.styles import BARE
from tltrain.toolworld.world import DAYS, MONTHS, Row, World, check_day, check_month

Currency = Literal["EUR", "USD", "GBP", "JPY", "CHF"]
Category = Literal["food", "rent", "travel", "health", "leisure"]
Account = Literal["checking", "savings", "joint"]
PER_EURO = {"EUR": 1.0, "USD": 1.08, "GBP": 0.85, "JPY": 162.0, "CHF": 0.96}
CATEGORIES = ("food", "rent", "travel", "health", "leisure")
ACCOUNTS = ("checking", "savings", "joint")
Month = Annotated[str, "YYYY-MM"]


def _tables(world: World, rng: Random) -> None:
    world.create("accounts", "name, euros", [(name, rng.randint(300, 9000)) for name in ACCOUNTS])
    spent = [(rng.choice(DAYS), rng.choice(CATEGORIES), rng.randint(4, 300)) for _ in range(150)]
    world.create("expenses", "day, category, euros", spent)


money = Service("money", "money matters", BARE, _tables)


def _currencies(d: Draw) -> Slots:
    source, target = d.rng.sample(tuple(PER_EURO), 2)
    return {"amount": d.decimal(5, 900), "source": _named(source), "target": _named(target)}


def _named(code: str) -> Said:
    names = {"EUR": "euros", "USD": "US dollars", "GBP": "British pounds", "JPY": "yen", "CHF": "Swiss francs"}
    return Said(code, code, names[code])


def _positive(name: str, value: float) -> None:
    if value <= 0:
        raise ValueError(f"{name} must be greater than 0")


@money.tool(
    draw=_currencies,
    asks=(
        "How much is {amount} {source} in {target}?",
        "I want to change {amount} {source} into {target}. What do I get?",
        "What are {amount} {source} worth in {target}?",
        "{amount} {source}: how many {target} is that?",
        "If I swap {amount} {source} for {target}, how much will I hold?",
        "The bill is {amount} {source}. What's that in {target}?",
    ),
    held_out=(
        "Give me the value of {amount} {source} in {target}.",
        "How many {target} do I get for {amount} {source}?",
    ),
    answer=lambda a, r: f"{a['amount']} {a['source']} are {r} {a['target']}.",
)
def convert_currency(world: World, amount: float, source: Currency, target: Currency) -> float:
    """Change an amount of money from one currency into another: what it is worth."""
    _positive("amount", amount)
    return round(amount * PER_EURO[target] / PER_EURO[source], 2)


@money.tool(
    draw=lambda d: {"amount": d.decimal(5, 900), "percent": d.number(3, 25)},
    asks=(
        "The net price is {amount}. What is it with {percent} percent tax?",
        "Put {percent} % tax on top of {amount}.",
        "What do I pay in total for {amount} plus {percent} % tax?",
        "{amount} before tax, the rate is {percent} percent: the gross price?",
        "Tax is {percent} %. What does something for {amount} net cost gross?",
        "How much is {amount} once {percent} percent tax is included?",
    ),
    held_out=("Gross price of {amount} net at {percent} % tax?", "With {percent} percent tax on it, what's {amount}?"),
    answer=lambda a, r: f"With {a['percent']} % tax it is {r}.",
)
def add_tax(world: World, amount: float, percent: float) -> float:
    """Put tax in percent on a net price: the gross price to pay."""
    _positive("amount", amount)
    _positive("percent", percent)
    return round(amount * (1 + percent / 100), 2)


@money.tool(
    draw=lambda d: {"amount": d.decimal(20, 400), "people": d.number(2, 9), "tip": d.number(5, 20, 5)},
    asks=(
        "Dinner was {amount} and there were {people} of us. What does each one pay?",
        "Share {amount} equally among {people} persons.",
        "{people} friends, {amount} in total, plus a {tip} percent tip. How much each?",
        "We are {people} and owe {amount}. With a tip of {tip} %, what's everybody's part?",
        "Divide a restaurant check of {amount} between {people} guests.",
        "What's my part if {people} people pay {amount} together?",
        "Add a {tip} % tip to {amount} and tell me what each of {people} pays.",
    ),
    held_out=(
        "{people} of us ate for {amount}. How much does each owe?",
        "{amount} among {people}, with {tip} percent tip: each person's part?",
    ),
    answer=lambda a, r: f"Everybody pays {r}.",
)
def split_bill(world: World, amount: float, people: int, tip: Annotated[float, "percent"] = 0) -> float:
    """Share a restaurant bill equally among people, with a tip: what each pays."""
    _positive("amount", amount)
    _positive("people", people)
    return round(amount * (1 + tip / 100) / people, 2)


@money.tool(
    draw=lambda d: {"account": d.pick(ACCOUNTS)},
    asks=(
        "How much money is in the {account} account?",
        "What do I have left on my {account} account?",
        "Is there anything on the {account} account?",
        "Tell me the current sum on the {account} account.",
        "How rich is the {account} account today?",
        "What does the {account} account hold?",
    ),
    held_out=("How many euros are on the {account} account?", "What's left in the {account} account?"),
    answer=lambda a, r: f"The {a['account']} account holds {r} EUR.",
)
def get_balance(world: World, account: Account) -> int:
    """How much money is left on one of your accounts today, in euros."""
    return int(world.need(f"no account {account}", "SELECT euros FROM accounts WHERE name = ?", account)["euros"])


@money.tool(
    draw=lambda d: {"category": d.pick(CATEGORIES), "month": d.month()},
    asks=(
        "How much did I spend on {category} in {month}?",
        "What went out for {category} during {month}?",
        "In {month}, what did {category} cost me?",
        "How expensive was {category} for me in {month}?",
        "Tell me what I paid for {category} in {month}.",
        "What sum did {category} swallow in {month}?",
    ),
    held_out=("My {category} costs for {month}?", "How much money was spent on {category} in {month}?"),
    answer=lambda a, r: f"You spent {r} EUR on {a['category']} in {a['month']}.",
)
def get_expenses_by_category(world: World, category: Category, month: Month) -> int:
    """What you spent on one category, such as food, in a month, in euros."""
    sql = "SELECT coalesce(sum(euros), 0) AS total FROM expenses WHERE category = ? AND day LIKE ?"
    return int(world.all(sql, category, check_month(month) + "-%")[0]["total"])


@money.tool(
    draw=lambda d: {"month": d.pick(MONTHS)},
    asks=(
        "How much did I spend in {month} altogether?",
        "What did I pay for everything in {month}?",
        "All costs of {month} together, please.",
        "How much money left my pocket in {month}, all in all?",
        "What do all my costs for {month} add up to?",
        "Was {month} an expensive month? Give me the overall sum.",
    ),
    held_out=("Everything I spent in {month}, as one number?", "Total of my spending for {month}?"),
    answer=lambda a, r: f"In {a['month']} you spent {r} EUR in all.",
)
def get_expenses_by_month(world: World, month: Month) -> int:
    """What you spent in a month altogether, all costs of every category in euros."""
    sql = "SELECT coalesce(sum(euros), 0) AS total FROM expenses WHERE day LIKE ?"
    return int(world.all(sql, check_month(month) + "-%")[0]["total"])


@money.tool(
    draw=lambda d: {"euros": d.decimal(3, 250), "category": d.pick(CATEGORIES), "day": d.day()},
    asks=(
        "I paid {euros} euros for {category} on {day}. Write that down.",
        "Note {euros} euros under {category} for {day}.",
        "On {day}, {euros} euros went to {category}; please record it.",
        "Book {euros} euros as {category}, dated {day}.",
        "Enter this: {day}, {category}, {euros} euros.",
        "{category} cost me {euros} euros on {day}, put it on the list.",
    ),
    held_out=("Keep a record: {euros} euros, {category}, {day}.", "{day}: spent {euros} euros on {category}. Note it."),
    answer=lambda a, r: f"Noted: {a['euros']} EUR for {a['category']} on {a['day']}.",
)
def add_expense(world: World, euros: float, category: Category, day: Annotated[str, "YYYY-MM-DD"]) -> Row:
    """Write down euros you paid on a day, under a category."""
    _positive("euros", euros)
    world.run("INSERT INTO expenses VALUES (?, ?, ?)", check_day(day), category, euros)
    return {"recorded": euros, "category": category}


money.chain(
    ("get_balance", lambda s, r: {"account": s["account"]}),
    ("convert_currency", lambda s, r: {"amount": r[0], "source": "EUR", "target": s["target"]}),
    draw=lambda d: {"account": d.pick(ACCOUNTS), "target": _named(d.pick(("USD", "GBP", "JPY", "CHF")))},
    asks=(
        "How much is on the {account} account, in {target}?",
        "What's the money on my {account} account worth in {target}?",
        "If I changed the whole {account} account into {target}, what would I get?",
        "Tell me in {target} what the {account} account holds.",
    ),
    held_out=("In {target}, how much do I have on the {account} account?",),
)
money.chain(
    ("get_expenses_by_category", lambda s, r: {"category": s["category"], "month": s["month"]}),
    ("convert_currency", lambda s, r: {"amount": r[0], "source": "EUR", "target": s["target"]}),
    draw=lambda d: {
        "category": d.pick(CATEGORIES),
        "month": d.month(),
        "target": _named(d.pick(("USD", "GBP", "JPY", "CHF"))),
    },
    asks=(
        "What did I spend on {category} in {month}, expressed in {target}?",
        "How many {target} did {category} cost me in {month}?",
        "My {category} costs of {month}, but in {target}, please.",
    ),
    held_out=("In {target}: what went out for {category} in {month}?",),
)
money.talk = (
    ("What is inflation?", "A general rise in prices over time."),
    (
        "What's the difference between gross and net?",
        "Net is what remains after deductions; gross is the whole amount.",
    ),
    ("Why is it wise to have savings?", "They help in emergencies and make larger plans possible."),
    ("What is a mortgage?", "A loan for a home, with the home as security."),
)
money.beyond = (
    "Lend {person} {number} euros from your own pocket.",
    "Predict which share price will double by {day}.",
    "File my tax return with the office in {city}.",
    "Open a bank account for {person} in {city}.",
)
