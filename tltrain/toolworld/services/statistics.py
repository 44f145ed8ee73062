"""Statistics of number lists, and a few stored series."""

from __future__ import annotations

import statistics as stats
from random import Random

from tltrain.toolworld.service import Service, Slots, ValueSampler, Worded
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


def _list(d: ValueSampler) -> Slots:
    numbers = [d.decimal(1, 60) for _ in range(d.number(4, 6))]
    if len(set(numbers)) == len(numbers):
        numbers[-1] = numbers[0]
    return {"values": _worded(numbers), "digits": d.number(1, 2)}


def _worded(numbers: list[float]) -> Worded:
    texts = [str(number) for number in numbers]
    return Worded(numbers, ", ".join(texts), f"{', '.join(texts[:-1])} and {texts[-1]}")


def _non_empty(values: Numbers) -> Numbers:
    if not values:
        raise ValueError("values must not be empty")
    return values


@statistics.tool(
    draw=_list,
    wordings=(
        "What is the mean of the numbers {values}?",
        "Compute the mean of {values}.",
        "I measured {values}. What's their arithmetic mean?",
        "Take the list {values}. What is its mean?",
        "My marks are {values}. What do I average?",
        "Mean of {values}, please.",
        "Compute the mean of {values} with {digits} decimals.",
        "Rounded to {digits} decimals, what's the mean of {values}?",
    ),
    held_out=(
        "I'd like the arithmetic mean of {values}.",
        "If you compute the mean of {values}, what comes out?",
        "What's the mean of {values}, to {digits} decimals?",
    ),
    answer=lambda a, r: f"The mean is {r}.",
)
def compute_mean(world: World, values: Numbers, digits: int = 3) -> float:
    """Arithmetic mean of a list of numbers: their average, rounded to some decimals."""
    return round(stats.fmean(_non_empty(values)), digits)


@statistics.tool(
    draw=_list,
    wordings=(
        "What's the median of {values}?",
        "Compute the median of {values}.",
        "{values}: what would the median be?",
        "I don't trust outliers: the median of {values}, please.",
        "Tell me the median, the middle value of {values}.",
        "Sort {values} and find the median.",
        "Which value lies in the middle when {values} are sorted?",
    ),
    held_out=(
        "Median for {values}?",
        "With {values} sorted by size, what is the median?",
    ),
    answer=lambda a, r: f"The median is {r}.",
)
def compute_median(world: World, values: Numbers) -> float:
    """Median of a list of numbers: the middle value when they are sorted."""
    return round(stats.median(_non_empty(values)), 3)


@statistics.tool(
    draw=_list,
    wordings=(
        "What is the mode of {values}?",
        "Compute the mode of {values}.",
        "Which number is the mode, the most frequent, among {values}?",
        "Mode of {values}, please.",
        "I need the mode of the list {values}.",
        "Some of {values} are repeated. Which one is the mode?",
        "Which number occurs most often in {values}?",
    ),
    held_out=(
        "Find the mode: which one occurs the most in {values}?",
        "What's the mode of the numbers {values}?",
    ),
    answer=lambda a, r: f"The most frequent value is {r}.",
)
def compute_mode(world: World, values: Numbers) -> float:
    """Mode of a list of numbers: the most frequent one, which occurs most often."""
    return stats.mode(_non_empty(values))


@statistics.tool(
    draw=_list,
    wordings=(
        "What's the range of {values}?",
        "Compute the range of {values}.",
        "How wide is the range from the smallest to the largest of {values}?",
        "Range of the list {values}, please.",
        "I measured {values}. How big is their range?",
        "{values}: I need the range, largest minus smallest.",
        "What is the difference between the largest and smallest of {values}?",
    ),
    held_out=(
        "How big is the range of the numbers {values}?",
        "Over what range do {values} spread?",
    ),
    answer=lambda a, r: f"The range is {r}.",
)
def compute_range(world: World, values: Numbers) -> float:
    """Range of a list of numbers: the difference between the largest and smallest."""
    return round(max(_non_empty(values)) - min(values), 3)


@statistics.tool(
    draw=_list,
    wordings=(
        "What's the standard deviation of {values}?",
        "Compute the standard deviation of {values}.",
        "How strongly do {values} scatter? Give me the standard deviation.",
        "Standard deviation of the list {values}, please.",
        "I need the deviation, sigma, for {values}.",
        "Sigma of {values}, please.",
        "Standard deviation of {values}, rounded to {digits} decimals.",
        "With {digits} decimals: what's the standard deviation of {values}?",
    ),
    held_out=(
        "Standard deviation for {values}?",
        "How large is the standard deviation of {values}?",
        "Give me the deviation of {values} to {digits} decimals.",
    ),
    answer=lambda a, r: f"The standard deviation is {r}.",
)
def compute_deviation(world: World, values: Numbers, digits: int = 3) -> float:
    """Standard deviation (sigma) of a list of numbers: how strongly they scatter, to some decimals."""
    return round(stats.stdev(values), digits)


@statistics.tool(
    draw=lambda d: {"name": d.pick(SERIES)},
    wordings=(
        'What are the figures of the series "{name}"?',
        'Show me the series "{name}".',
        'Which figures are kept in the series "{name}"?',
        'I\'d like to see the data of the series "{name}".',
        'Fetch the stored series "{name}".',
        'Series "{name}", please: all its figures.',
        'Data of "{name}", please.',
    ),
    held_out=(
        'Let me see the figures in the series "{name}".',
        'Which data are stored as the series "{name}"?',
    ),
    answer=lambda a, r: f"{a['name']}: {', '.join(map(str, r))}.",
)
def get_series(world: World, name: str) -> list[int]:
    """Figures of a stored series: the data kept under its name."""
    row = world.first("SELECT numbers FROM series WHERE name = ?", name)
    if row is None:
        raise KeyError(name)
    return [int(number) for number in row["numbers"].split(",")]


@statistics.tool(
    draw=lambda d: {"name": d.pick(SERIES)},
    wordings=(
        'Which years does the series "{name}" cover?',
        'In what year does the series "{name}" begin?',
        'What are the first and last years of "{name}"?',
        'From which years are the numbers in the series "{name}"?',
        'When does the series "{name}" end, in what year?',
        '"{name}": from what year to what year does it run?',
        'Which period does "{name}" cover?',
    ),
    held_out=(
        'Years covered by the series "{name}", please.',
        'In which year does the series "{name}" end?',
    ),
    answer=lambda a, r: f"{a['name']} covers {r['first_year']} to {r['last_year']}.",
)
def get_series_years(world: World, name: str) -> Row:
    """Years that a stored series covers: the period from beginning to end."""
    row = world.first("SELECT first_year, first_year + 4 AS last_year FROM series WHERE name = ?", name)
    if row is None:
        raise KeyError(name)
    return row


def _add_series_chain(tool: str, wordings: tuple[str, ...], held_out: tuple[str, ...]) -> None:
    statistics.chain(
        ("get_series", lambda s, r: {"name": s["name"]}),
        (tool, lambda s, r: {"values": r[0]}),
        draw=lambda d: {"name": d.pick(SERIES)},
        wordings=wordings,
        held_out=held_out,
    )


_add_series_chain(
    "compute_mean",
    (
        'Fetch the series "{name}" first, then compute its mean.',
        'What is the mean of the figures in the stored series "{name}"?',
        'Take the series "{name}" and tell me the mean of its figures.',
    ),
    ('I want the mean of the stored series "{name}".',),
)
_add_series_chain(
    "compute_median",
    (
        'Fetch the series "{name}" first, then compute its median.',
        'What is the median of the stored series "{name}"?',
        'Look up the figures of the series "{name}" and find their median.',
    ),
    ('Median of the data in the series "{name}"?',),
)
_add_series_chain(
    "compute_deviation",
    (
        'Fetch the series "{name}" first, then compute its standard deviation.',
        'How large is the standard deviation of the stored series "{name}"?',
        'Take the series "{name}" and tell me the standard deviation of its figures.',
    ),
    ('I need the standard deviation of the data in the series "{name}".',),
)
statistics.small_talk = (
    ("Why is the median less sensitive to outliers?", "Because only the order of the values counts, not their size."),
    ("What does 'statistically significant' mean?", "That chance alone would rarely produce such a result."),
    ("What's the difference between a sample and a population?", "A sample is the part that was looked at."),
    ("What is a histogram?", "A bar chart of how often values fall into each interval."),
)
statistics.unsupported_requests = (
    "Interview {number} people in {city} about their holidays.",
    "Tell me who will win the election in {city}.",
    "Present our results at the conference on {day}.",
    "Draw tomorrow's lottery numbers for {person}.",
)
