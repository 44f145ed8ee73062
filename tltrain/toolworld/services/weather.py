"""Weather records of some cities."""

from __future__ import annotations

from random import Random
from typing import Annotated

from tltrain.toolworld.service import Service, Slots, ValueSampler
from tltrain.toolworld.styles import JSON
from tltrain.toolworld.world import CITIES, DAYS, MONTHS, Row, World, check_day, check_month

Day = Annotated[str, "YYYY-MM-DD"]
Month = Annotated[str, "YYYY-MM"]


def _tables(world: World, rng: Random) -> None:
    rows = []
    for city in CITIES:
        for day in DAYS:
            low = rng.randint(-3, 17)
            rain = rng.choice((0, 0, rng.randint(1, 30)))
            sky = "rain" if rain else rng.choice(("sunny", "cloudy", "partly cloudy"))
            rows.append((city, day, sky, low, low + rng.randint(3, 14), rain, rng.randint(2, 60)))
    world.create("weather", "city, day, sky, low, high, rain_mm, wind_kmh, PRIMARY KEY (city, day)", rows)


weather = Service("weather", "weather records", JSON, _tables)


def _record(world: World, city: str, day: str) -> Row:
    _check_city(city)
    sql = "SELECT * FROM weather WHERE city = ? AND day = ?"
    return world.require(f"no record for {city} on {day}", sql, city, check_day(day))


def _check_city(city: str) -> None:
    if city not in CITIES:
        raise LookupError(f"unknown city: {city}")


def _month(world: World, city: str, month: str, order: str) -> Row:
    _check_city(city)
    sql = f"SELECT * FROM weather WHERE city = ? AND day LIKE ? ORDER BY {order}, day"
    return world.require(f"no records for {month}", sql, city, check_month(month) + "-%")


def _city_and_day(d: ValueSampler) -> Slots:
    return {"city": d.city(), "day": d.day()}


def _city_and_month(d: ValueSampler) -> Slots:
    return {"city": d.city(), "month": d.pick(MONTHS)}


@weather.tool(
    draw=_city_and_day,
    wordings=(
        "How warm was the weather in {city} on {day}?",
        "Was the weather sunny in {city} on {day}?",
        "What was the weather like in {city} on {day}?",
        "Tell me the weather and whether it was warm in {city} on {day}.",
        "On {day}, did {city} have cloudy weather?",
        "Was it warm or cold weather in {city} on {day}?",
        "{city} on {day}: what did the sky look like?",
        "What weather did {city} have on {day}?",
    ),
    held_out=(
        "How cold did the weather get in {city} on {day}?",
        "Weather of {day} in {city}, please.",
        "Was the weather in {city} sunny on {day}?",
    ),
    answer=lambda a, r: f"{a['city']} on {a['day']}: {r['sky']}, {r['low']} to {r['high']} °C.",
)
def get_weather(world: World, city: str, day: Day) -> Row:
    """Weather in a city on one day: sky (sunny, cloudy) and temperature (warm, cold)."""
    row = _record(world, city, day)
    return {key: row[key] for key in ("sky", "low", "high")}


@weather.tool(
    draw=_city_and_day,
    wordings=(
        "How many millimetres of rain fell in {city} on {day}?",
        "How much did it rain in {city} on {day}?",
        "I need the rain in {city} on {day}, in millimetres.",
        "What amount of rain fell in {city} on {day}?",
        "On {day}, how much rain did they have in {city}?",
        "Was there rain in {city} on {day}?",
        "Rain in {city} on the single day {day}, please.",
        "Precipitation in {city} on the single day {day}?",
    ),
    held_out=(
        "How much rain did {city} see on {day}?",
        "{day} in {city}: how much rain fell?",
        "Did any rain fall in {city} on {day}?",
    ),
    answer=lambda a, r: f"{r['rain_mm']} mm of rain fell in {a['city']} on {a['day']}.",
)
def get_weather_rain(world: World, city: str, day: Day) -> Row:
    """How much rain fell in a city on a single day: precipitation in millimetres."""
    return {"rain_mm": _record(world, city, day)["rain_mm"]}


@weather.tool(
    draw=_city_and_day,
    wordings=(
        "How hard did the wind blow in {city} on {day}?",
        "Was there a stormy wind in {city} on {day}?",
        "How windy was it in {city} on {day}?",
        "What was the wind speed in {city} on {day}?",
        "How many km/h did the wind reach in {city} on {day}?",
        "On {day}, was the wind strong in {city}?",
        "I need the speed of the wind in {city}, {day}.",
        "Was there much wind near {city} on {day}?",
    ),
    held_out=(
        "How strong was the wind in {city} on {day}?",
        "Wind on {day} in {city}, please.",
        "{city}, {day}: wind speed in km/h?",
    ),
    answer=lambda a, r: f"The wind in {a['city']} reached {r['wind_kmh']} km/h on {a['day']}.",
)
def get_weather_wind(world: World, city: str, day: Day) -> Row:
    """Wind in a city on one day: its speed in km/h, how windy or stormy."""
    return {"wind_kmh": _record(world, city, day)["wind_kmh"]}


@weather.tool(
    draw=_city_and_month,
    wordings=(
        "Which day of {month} was the hottest in {city}?",
        "When was {city} hottest during {month}? I need the date.",
        "What was the hottest day in {city} in {month}, with which temperature?",
        "On what day in {month} was {city} at its hottest?",
        "The hottest day of {month} in {city}, please.",
        "I'm looking for the hottest day {city} had in {month}.",
        "Find the hottest date of {month} in {city}.",
        "Highest temperature of {city} in {month}: when was it?",
    ),
    held_out=(
        "{city}, {month}: which was the hottest day?",
        "When was {city} hottest in {month}?",
        "Find the day in {month} that was hottest in {city}.",
    ),
    answer=lambda a, r: f"The hottest day in {a['city']} in {a['month']} was {r['day']} with {r['high']} °C.",
)
def find_hottest_day(world: World, city: str, month: Month) -> Row:
    """Find the hottest day of a month in a city: its date and highest temperature."""
    row = _month(world, city, month, "high DESC")
    return {"day": row["day"], "high": row["high"]}


@weather.tool(
    draw=_city_and_month,
    wordings=(
        "Which day of {month} was the coldest in {city}?",
        "Find the coldest day {city} had in {month}.",
        "In {month}, when was it coldest in {city}?",
        "I'm looking for the coldest day of {month} in {city}.",
        "The coldest date of {month} in {city}, please.",
        "How cold was the coldest day of {month} in {city}, and when?",
        "On which day in {month} was it coldest in {city}?",
        "On what day was the lowest temperature of {month} measured in {city}?",
    ),
    held_out=(
        "When was {city} at its coldest in {month}?",
        "{city}, {month}: which was the coldest day?",
        "Find the date in {month} on which {city} was coldest.",
    ),
    answer=lambda a, r: f"The coldest day in {a['city']} in {a['month']} was {r['day']} with {r['low']} °C.",
)
def find_coldest_day(world: World, city: str, month: Month) -> Row:
    """Find the coldest day of a month in a city: its date and lowest temperature."""
    row = _month(world, city, month, "low")
    return {"day": row["day"], "low": row["low"]}


@weather.tool(
    draw=_city_and_month,
    wordings=(
        "What is the sum of all rain of {city} in {month}?",
        "What is the monthly rain of {city} for {month}?",
        "Rain in {city} over the whole month of {month}?",
        "What is the sum of rain in {city} for the whole month {month}?",
        "How many millimetres of rain fell on {city} in the whole month {month}?",
        "Sum up the rain for {city} in {month}, in millimetres.",
        "Give me {city}'s monthly rain in {month}, as one sum.",
        "What is the total rainfall of {city} in {month}?",
    ),
    held_out=(
        "Sum of the rain for {city} in the month {month}?",
        "{city}'s monthly rain for {month}, please.",
        "How much rain did {city} have in total in the whole month {month}?",
    ),
    answer=lambda a, r: f"In {a['month']}, {a['city']} got {r['total_mm']} mm of rain on {r['rainy_days']} days.",
)
def sum_monthly_rain(world: World, city: str, month: Month) -> Row:
    """Sum of the monthly rain of a city: total rainfall over a whole month, in millimetres."""
    _month(world, city, month, "day")
    sql = "SELECT sum(rain_mm) AS total_mm, sum(rain_mm > 0) AS rainy_days FROM weather WHERE city = ? AND day LIKE ?"
    return world.all(sql, city, f"{month}-%")[0]


weather.chain(
    ("find_hottest_day", lambda s, r: {"city": s["city"], "month": s["month"]}),
    ("get_weather_wind", lambda s, r: {"city": s["city"], "day": r[0]["day"]}),
    draw=_city_and_month,
    wordings=(
        "Find the hottest day of {month} in {city} first: how strong was the wind then?",
        "On the hottest day of {month} in {city}, what was the wind speed?",
        "How hard did the wind blow in {city} on the hottest day of {month}?",
    ),
    held_out=("Wind in {city} on {month}'s hottest day? Find that day first.",),
)
weather.chain(
    ("find_coldest_day", lambda s, r: {"city": s["city"], "month": s["month"]}),
    ("get_weather_rain", lambda s, r: {"city": s["city"], "day": r[0]["day"]}),
    draw=_city_and_month,
    wordings=(
        "How much rain fell in {city} on the coldest day of {month}?",
        "Find {city}'s coldest day in {month} first: how many millimetres of rain fell then?",
        "Did it rain on the coldest day {city} had in {month}? How much?",
    ),
    held_out=("Find the coldest day {city} had in {month}, then tell me the rain of that day.",),
)
weather.small_talk = (
    ("Why is the sky blue?", "Air scatters blue light more than red light, so blue reaches us from all sides."),
    (
        "What is the difference between weather and climate?",
        "Weather is what happens today; climate is the long-run average.",
    ),
    ("At what temperature does water freeze?", "At 0 °C under normal pressure."),
    ("What do meteorologists study?", "The atmosphere and the weather."),
)
weather.unsupported_requests = (
    "Make it stop raining in {city}.",
    "Send an umbrella to {person} in {city}.",
    "How high were the waves near {city} on {day}?",
    "How strong was the earthquake in {city} on {day}?",
)
