"""Exchange rates, everyday sums, and a household's accounts."""

from __future__ import annotations

from random import Random
from typing import Annotated, Literal

from tltrain.toolworld.service import Service, Slots, ValueSampler, Worded
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


def _currencies(d: ValueSampler) -> Slots:
    source, target = d.rng.sample(tuple(PER_EURO), 2)
    return {"amount": d.decimal(5, 900), "source": _named(source), "target": _named(target)}


def _named(code: str) -> Worded:
    names = {"EUR": "euros", "USD": "US dollars", "GBP": "British pounds", "JPY": "yen", "CHF": "Swiss francs"}
    return Worded(code, code, names[code])


def _positive(name: str, value: float) -> None:
    if value <= 0:
        raise ValueError(f"{name} must be greater than 0")


@money.tool(
    draw=_currencies,
    wordings=(
        "Convert {amount} {source} to {target}.",
        "What are {amount} {source} in the currency {target}?",
        "At today's exchange rate, convert {amount} {source} to {target}.",
        "I want {amount} {source} converted to {target}. What do I get?",
        "The hotel takes {amount} {source}. Convert that to {target}.",
        "In another currency: what are {amount} {source} worth in {target}?",
        "I want to exchange {amount} {source} for {target}. What do I get?",
    ),
    held_out=(
        "Please convert the currency: {amount} {source}, in {target}.",
        "How many {target} do I get if I convert {amount} {source}?",
    ),
    answer=lambda a, r: f"{a['amount']} {a['source']} are {r} {a['target']}.",
)
def convert_currency(world: World, amount: float, source: Currency, target: Currency) -> float:
    """Convert money to another currency at the exchange rate: what it is worth."""
    _positive("amount", amount)
    return round(amount * PER_EURO[target] / PER_EURO[source], 2)


@money.tool(
    draw=lambda d: {"amount": d.decimal(5, 900), "percent": d.number(3, 25)},
    wordings=(
        "The net price is {amount}. Add {percent} percent tax.",
        "Add {percent} % tax to {amount}.",
        "What is the gross price of {amount} plus {percent} % tax?",
        "{amount} net, and the tax is {percent} percent: the gross price?",
        "Tax is {percent} %. What does something for {amount} net cost?",
        "How much is {amount} once {percent} percent tax is added?",
    ),
    held_out=(
        "Gross price of {amount} net at {percent} % tax?",
        "With {percent} percent tax added to it, what's {amount}?",
    ),
    answer=lambda a, r: f"With {a['percent']} % tax it is {r}.",
)
def add_tax(world: World, amount: float, percent: float) -> float:
    """Add tax in percent to a net price: the gross price to pay."""
    _positive("amount", amount)
    _positive("percent", percent)
    return round(amount * (1 + percent / 100), 2)


@money.tool(
    draw=lambda d: {"amount": d.decimal(20, 400), "people": d.number(2, 9), "tip": d.number(5, 20, 5)},
    wordings=(
        "Split the bill of {amount} among {people} people.",
        "The bill was {amount} for {people} people. What does each pay?",
        "Split a bill of {amount} {people} ways, with a {tip} percent tip.",
        "Split {amount} among {people} of us, with a tip of {tip} %.",
        "Can you split our bill? {amount} between {people} guests.",
        "We are {people} people with a bill of {amount}. Everybody's share?",
        "Share {amount} equally among {people} persons.",
    ),
    held_out=(
        "{people} of us split {amount}. What is each one's share?",
        "A bill of {amount} split among {people}, with {tip} percent tip: how much each?",
    ),
    answer=lambda a, r: f"Everybody pays {r}.",
)
def split_bill(world: World, amount: float, people: int, tip: Annotated[float, "percent"] = 0) -> float:
    """Split a bill equally among people, with a tip: each person's share."""
    _positive("amount", amount)
    _positive("people", people)
    return round(amount * (1 + tip / 100) / people, 2)


@money.tool(
    draw=lambda d: {"account": d.pick(ACCOUNTS)},
    wordings=(
        "What is the balance of the {account} account?",
        "My {account} account: how high is the balance?",
        "What's today's balance on my {account} account?",
        "Tell me the balance of my {account} account.",
        "Balance, {account} account?",
        "How much money does the {account} account hold?",
    ),
    held_out=(
        "Show the balance on the {account} account.",
        "Balance of the {account} account, please.",
    ),
    answer=lambda a, r: f"The {a['account']} account holds {r} EUR.",
)
def get_balance(world: World, account: Account) -> int:
    """Balance of a bank account: how much money it holds, in euros."""
    return int(world.require(f"no account {account}", "SELECT euros FROM accounts WHERE name = ?", account)["euros"])


@money.tool(
    draw=lambda d: {"category": d.pick(CATEGORIES), "month": d.month()},
    wordings=(
        "How high were my expenses in the category {category} in {month}?",
        "What expenses fall into the category {category} for {month}?",
        "In {month}, what did I spend in the expense category {category}?",
        "Expenses for {month}, only the category {category}, please.",
        "Category {category}: how much did I spend in {month}?",
        "Give me the {month} expenses of the category {category}.",
        "How much did I spend on {category} in {month}?",
    ),
    held_out=(
        "What did I spend in the category {category} in {month}?",
        "My expenses in {month} for the category {category}?",
    ),
    answer=lambda a, r: f"You spent {r} EUR on {a['category']} in {a['month']}.",
)
def get_expenses_by_category(world: World, category: Category, month: Month) -> int:
    """Expenses in one category: how much you spend on it in a month, in euros."""
    sql = "SELECT coalesce(sum(euros), 0) AS total FROM expenses WHERE category = ? AND day LIKE ?"
    return int(world.all(sql, category, check_month(month) + "-%")[0]["total"])


@money.tool(
    draw=lambda d: {"month": d.pick(MONTHS)},
    wordings=(
        "What were my total expenses for the month {month}?",
        "All expenses of the month {month} together, please.",
        "How high were the whole month's expenses in {month}?",
        "Total expenses in the month of {month}?",
        "How much did I pay for everything in the month {month}?",
        "Give me the total of all my monthly expenses in {month}.",
        "What did I pay in {month} in total?",
    ),
    held_out=(
        "The month {month}: what is the total of my expenses?",
        "Everything I paid in the month of {month}, as one total?",
    ),
    answer=lambda a, r: f"In {a['month']} you spent {r} EUR in all.",
)
def get_expenses_by_month(world: World, month: Month) -> int:
    """Expenses of a whole month: the total of everything paid, in euros."""
    sql = "SELECT coalesce(sum(euros), 0) AS total FROM expenses WHERE day LIKE ?"
    return int(world.all(sql, check_month(month) + "-%")[0]["total"])


@money.tool(
    draw=lambda d: {"euros": d.decimal(3, 250), "category": d.pick(CATEGORIES), "day": d.day()},
    wordings=(
        "I paid {euros} euros for {category} on {day}. Add that expense.",
        "Add {euros} euros under {category} for {day}.",
        "On {day}, {euros} euros went to {category}; please add the expense.",
        "Add an expense of {euros} euros for {category}, dated {day}.",
        "New expense to add: {day}, {category}, {euros} euros.",
        "Can you add to my expenses {euros} euros for {category} on {day}?",
        "Record {euros} euros as {category}, dated {day}.",
    ),
    held_out=(
        "Add a record: {euros} euros, {category}, {day}.",
        "{day}: paid {euros} euros for {category}. Add this new expense.",
    ),
    answer=lambda a, r: f"Noted: {a['euros']} EUR for {a['category']} on {a['day']}.",
)
def add_expense(world: World, euros: float, category: Category, day: Annotated[str, "YYYY-MM-DD"]) -> Row:
    """Add a new expense to the record: euros paid on a day."""
    _positive("euros", euros)
    world.run("INSERT INTO expenses VALUES (?, ?, ?)", check_day(day), category, euros)
    return {"recorded": euros, "category": category}


money.chain(
    ("get_balance", lambda s, r: {"account": s["account"]}),
    ("convert_currency", lambda s, r: {"amount": r[0], "source": "EUR", "target": s["target"]}),
    draw=lambda d: {"account": d.pick(ACCOUNTS), "target": _named(d.pick(("USD", "GBP", "JPY", "CHF")))},
    wordings=(
        "Look up the balance of the {account} account first and convert it to {target}.",
        "Convert the balance of my {account} account to {target}.",
        "If I converted the whole balance of the {account} account to {target}, what would I get?",
        "Tell me the {account} account's balance, converted to {target}.",
    ),
    held_out=("In the currency {target}, what is the balance of the {account} account?",),
)
money.chain(
    ("get_expenses_by_category", lambda s, r: {"category": s["category"], "month": s["month"]}),
    ("convert_currency", lambda s, r: {"amount": r[0], "source": "EUR", "target": s["target"]}),
    draw=lambda d: {
        "category": d.pick(CATEGORIES),
        "month": d.month(),
        "target": _named(d.pick(("USD", "GBP", "JPY", "CHF"))),
    },
    wordings=(
        "Look up my expenses in the category {category} in {month} first, then convert them to {target}.",
        "What were my expenses in the category {category} in {month}, converted to {target}?",
        "Convert my {month} expenses of the category {category} to {target}.",
    ),
    held_out=("In another currency, {target}: what were my expenses in the category {category} in {month}?",),
)
money.small_talk = (
    ("What is inflation?", "A general rise in prices over time."),
    (
        "What's the difference between gross and net?",
        "Net is what remains after deductions; gross is the whole amount.",
    ),
    ("Why is it wise to have savings?", "They help in emergencies and make larger plans possible."),
    ("What is a mortgage?", "A loan for a home, with the home as security."),
)
money.unsupported_requests = (
    "Lend {person} {number} euros from your own pocket.",
    "Predict which share price will double by {day}.",
    "File my tax return with the office in {city}.",
    "Open a bank account for {person} in {city}.",
)
