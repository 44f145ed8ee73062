"""Statistics of number lists, and a few stored series."""

from __future__ import annotations

import statistics as stats
from random import Random

from tltrain.toolworld.service import Draw, Said, Service, Slots
from tltrain.toolworld.styles import PYTHON
from tltrain.toolworld.world import Row, World

Numbers = list[float]
SERIES = tuple(
    f"{what} {where}"
    for what in ("visitors", "sales", "rainfall", "accidents", "births")
    for where in ("north", "south", "coast", "centre")
)


def _tables(world: World, rng: Random) -> None:
    rows = [(name, rng.randint(2001, 2020), ",".join(str(rng.randint(1, 60)) for _ in range(5))) for name in SERIES]
    world.create("series", "name, first_year, numbers", rows)


statistics = Service("statistics", "statistics", PYTHON, _tables)


def _list(d: Draw) -> Slots:
    numbers = [d.decimal(1, 60) for _ in range(d.number(4, 6))]
    if len(set(numbers)) == len(numbers):
        numbers[-1] = numbers[0]
    return {"values": _said(numbers), "digits": d.number(1, 2)}


def _said(numbers: list[float]) -> Said:
    texts = [str(number) for number in numbers]
    return Said(numbers, ", ".join(texts), f"{', '.join(texts[:-1])} and {texts[-1]}")


def _some(values: Numbers) -> Numbers:
    if not values:
        raise ValueError("values must not be empty")
    return values


@statistics.tool(
    draw=_list,
    asks=(
        "What is the average of {values}?",
        "On average, how large are {values}?",
        "I measured {values}. What's the arithmetic average?",
        "Average these for me: {values}.",
        "Take {values}. What do they come to on average?",
        "My marks are {values}. What's my average?",
        "Average {values} and round to {digits} decimals.",
        "With {digits} decimals: what is the average of {values}?",
    ),
    held_out=(
        "The average over {values}, please.",
        "If I average {values}, what comes out?",
        "What's the average of {values}, to {digits} decimals?",
    ),
    answer=lambda a, r: f"The mean is {r}.",
)
def compute_mean(world: World, values: Numbers, digits: int = 3) -> float:
    """The average (arithmetic mean) of a list of numbers, rounded to some digits."""
    return round(stats.fmean(_some(values)), digits)


@statistics.tool(
    draw=_list,
    asks=(
        "What's the median of {values}?",
        "Which value lies in the middle when {values} are sorted?",
        "Half of {values} lie below which value?",
        "Sort {values} and tell me the middle one, the median.",
        "I don't trust outliers: the median of {values}, please.",
        "Tell me the middle value, in order of size, of {values}.",
    ),
    held_out=("Median for {values}?", "When {values} are put in order, what is in the middle?"),
    answer=lambda a, r: f"The median is {r}.",
)
def compute_median(world: World, values: Numbers) -> float:
    """The median of a list of numbers: the middle value when sorted."""
    return round(stats.median(_some(values)), 3)


@statistics.tool(
    draw=_list,
    asks=(
        "Which number occurs most often in {values}?",
        "What's the most frequent value among {values}?",
        "Among {values}, which comes up the most?",
        "Which of {values} is repeated the most?",
        "In {values}, what is the commonest number?",
        "What value turns up most frequently here: {values}?",
    ),
    held_out=("Which one is the most common in {values}?", "What number is most frequent in {values}?"),
    answer=lambda a, r: f"The most frequent value is {r}.",
)
def compute_mode(world: World, values: Numbers) -> float:
    """The value that occurs most often in a list of numbers."""
    return stats.mode(_some(values))


@statistics.tool(
    draw=_list,
    asks=(
        "How far apart are the smallest and the largest of {values}?",
        "What's the distance between minimum and maximum of {values}?",
        "By how much does the biggest exceed the smallest in {values}?",
        "The span from lowest to highest in {values}, please.",
        "How wide do {values} spread, from minimum to maximum?",
        "Largest minus smallest of {values}?",
    ),
    held_out=("What lies between the lowest and the highest of {values}?", "Highest less lowest in {values}?"),
    answer=lambda a, r: f"The range is {r}.",
)
def compute_range(world: World, values: Numbers) -> float:
    """The span of a list of numbers, from the smallest to the largest."""
    return round(max(_some(values)) - min(values), 3)


@statistics.tool(
    draw=_list,
    asks=(
        "What's the standard deviation of {values}?",
        "How strongly do {values} scatter around their mean, as a standard deviation?",
        "Sigma of {values}, please.",
        "I need the standard deviation for {values}.",
        "My measurements were {values}. What's their standard deviation?",
        "Tell me sigma, the standard deviation, for {values}.",
        "Standard deviation of {values}, rounded to {digits} decimals, please.",
        "With {digits} decimals: what's the standard deviation of {values}?",
    ),
    held_out=(
        "Standard deviation for {values}?",
        "How large is sigma for {values}?",
        "Give me sigma for {values} to {digits} decimals.",
    ),
    answer=lambda a, r: f"The standard deviation is {r}.",
)
def compute_deviation(world: World, values: Numbers, digits: int = 3) -> float:
    """The standard deviation of a list of numbers: how strongly they scatter, rounded."""
    return round(stats.stdev(values), digits)


@statistics.tool(
    draw=lambda d: {"name": d.pick(SERIES)},
    asks=(
        'What are the numbers of the series "{name}"?',
        'Show me the data stored as "{name}".',
        'Which values does "{name}" contain?',
        'I\'d like to see the data set "{name}".',
        'Fetch the figures we keep under "{name}".',
        'What figures are in "{name}"?',
    ),
    held_out=('Let me see the figures of "{name}".', 'Which numbers are stored under "{name}"?'),
    answer=lambda a, r: f"{a['name']}: {', '.join(map(str, r))}.",
)
def get_series(world: World, name: str) -> list[int]:
    """The stored data of a series: the numbers kept under its name."""
    row = world.one("SELECT numbers FROM series WHERE name = ?", name)
    if row is None:
        raise KeyError(name)
    return [int(number) for number in row["numbers"].split(",")]


@statistics.tool(
    draw=lambda d: {"name": d.pick(SERIES)},
    asks=(
        'From which years are the figures of "{name}"?',
        'In what year does "{name}" begin?',
        'Which period does the data set "{name}" cover?',
        'How old are the figures stored as "{name}", from what years?',
        'Since what year has "{name}" been recorded?',
        'What years does "{name}" span?',
    ),
    held_out=('What period is covered by "{name}"?', 'When do the records of "{name}" start, which year?'),
    answer=lambda a, r: f"{a['name']} covers {r['first_year']} to {r['last_year']}.",
)
def get_series_years(world: World, name: str) -> Row:
    """The period a stored series covers: the years its figures begin and end."""
    row = world.one("SELECT first_year, first_year + 4 AS last_year FROM series WHERE name = ?", name)
    if row is None:
        raise KeyError(name)
    return row


def _then(tool: str, asks: tuple[str, ...], held_out: tuple[str, ...]) -> None:
    statistics.chain(
        ("get_series", lambda s, r: {"name": s["name"]}),
        (tool, lambda s, r: {"values": r[0]}),
        draw=lambda d: {"name": d.pick(SERIES)},
        asks=asks,
        held_out=held_out,
    )


_then(
    "compute_mean",
    (
        'What is the average of the data stored as "{name}"?',
        'Take the figures of "{name}" and average them.',
        'On average, how large are the numbers in "{name}"?',
    ),
    ('The average over the series "{name}", please.',),
)
_then(
    "compute_median",
    (
        'What is the median of the data stored as "{name}"?',
        'Take the figures of "{name}" and find their median.',
        'Which value lies in the middle of "{name}" when it is sorted?',
    ),
    ('Median of what we keep under "{name}"?',),
)
_then(
    "compute_deviation",
    (
        'What is the standard deviation of the data stored as "{name}"?',
        'How large is sigma for the figures in "{name}"?',
        'Take the numbers of "{name}" and tell me their standard deviation.',
    ),
    ('I need sigma, the standard deviation, of what is in "{name}".',),
)
statistics.talk = (
    ("Why is the median less sensitive to outliers?", "Because only the order of the values counts, not their size."),
    ("What does 'statistically significant' mean?", "That chance alone would rarely produce such a result."),
    ("What's the difference between a sample and a population?", "A sample is the part that was looked at."),
    ("What is a histogram?", "A bar chart of how often values fall into each interval."),
)
statistics.beyond = (
    "Interview {number} people in {city} about their holidays.",
    "Tell me who will win the election in {city}.",
    "Present our results at the conference on {day}.",
    "Draw tomorrow's lottery numbers for {person}.",
)
