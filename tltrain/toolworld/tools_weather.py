"""Weather records of some cities."""

from __future__ import annotations

from random import Random
from typing import Annotated

from tltrain.toolworld.service import Draw, Service, Slots
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
    return world.need(f"no record for {city} on {day}", sql, city, check_day(day))


def _check_city(city: str) -> None:
    if city not in CITIES:
        raise LookupError(f"unknown city: {city}")


def _month(world: World, city: str, month: str, order: str) -> Row:
    _check_city(city)
    sql = f"SELECT * FROM weather WHERE city = ? AND day LIKE ? ORDER BY {order}, day"
    return world.need(f"no records for {month}", sql, city, check_month(month) + "-%")


def _place_and_day(d: Draw) -> Slots:
    return {"city": d.city(), "day": d.day()}


def _place_and_month(d: Draw) -> Slots:
    return {"city": d.city(), "month": d.pick(MONTHS)}


@weather.tool(
    draw=_place_and_day,
    asks=(
        "How warm was it in {city} on {day}?",
        "Was it sunny in {city} on {day}?",
        "What was the sky like over {city} on {day}?",
        "Tell me the high and low temperature in {city} on {day}.",
        "On {day}, was it cloudy in {city}?",
        "What were the conditions in {city} on {day}, sky and temperature?",
    ),
    held_out=("Did {city} see sunshine on {day}?", "How cold did it get in {city} on {day}?"),
    answer=lambda a, r: f"{a['city']} on {a['day']}: {r['sky']}, {r['low']} to {r['high']} °C.",
)
def get_weather(world: World, city: str, day: Day) -> Row:
    """Was it sunny: a city's sky, low and high temperature on a day."""
    row = _record(world, city, day)
    return {key: row[key] for key in ("sky", "low", "high")}


@weather.tool(
    draw=_place_and_day,
    asks=(
        "How many millimetres of rain fell in {city} on {day}?",
        "How much did it rain in {city} on {day}?",
        "I need the precipitation for {city} on {day}, in mm.",
        "What amount of rain came down over {city} on {day}?",
        "How wet was {day} in {city}, in millimetres?",
        "For {city}, how much rain was measured on {day}?",
    ),
    held_out=("How many mm of precipitation did {city} get on {day}?", "{day} in {city}: how much rain was there?"),
    answer=lambda a, r: f"{r['rain_mm']} mm of rain fell in {a['city']} on {a['day']}.",
)
def get_weather_rain(world: World, city: str, day: Day) -> Row:
    """How much rain fell in a city on one day, in millimetres."""
    return {"rain_mm": _record(world, city, day)["rain_mm"]}


@weather.tool(
    draw=_place_and_day,
    asks=(
        "How hard did the wind blow in {city} on {day}?",
        "Was it stormy in {city} on {day}? I need the wind speed.",
        "How many km/h did the wind reach in {city} on {day}?",
        "What was the wind speed in {city} on {day}?",
        "Could one have sailed near {city} on {day}? How fast was the wind?",
        "How windy was {day} in {city}?",
    ),
    held_out=("How strong was the wind over {city} on {day}?", "Was {day} a windy day in {city}?"),
    answer=lambda a, r: f"The wind in {a['city']} reached {r['wind_kmh']} km/h on {a['day']}.",
)
def get_weather_wind(world: World, city: str, day: Day) -> Row:
    """How hard the wind blew in a city on a day, in km/h."""
    return {"wind_kmh": _record(world, city, day)["wind_kmh"]}


@weather.tool(
    draw=_place_and_month,
    asks=(
        "Which day of {month} was the hottest in {city}?",
        "When was it warmest in {city} during {month}?",
        "What was the top temperature in {city} in {month}, and on which day?",
        "On what day did {city} reach its highest temperature in {month}?",
        "In {month}, when did the thermometer climb highest in {city}?",
        "I'm looking for the warmest day {city} had in {month}.",
    ),
    held_out=("When did {month} bring the most heat to {city}?", "{city}, {month}: which was the warmest day?"),
    answer=lambda a, r: f"The hottest day in {a['city']} in {a['month']} was {r['day']} with {r['high']} °C.",
)
def find_hottest_day(world: World, city: str, month: Month) -> Row:
    """The warmest day of a month in a city, with its highest temperature."""
    row = _month(world, city, month, "high DESC")
    return {"day": row["day"], "high": row["high"]}


@weather.tool(
    draw=_place_and_month,
    asks=(
        "Which day of {month} was the coldest in {city}?",
        "When did {city} freeze the most in {month}?",
        "On what day was the lowest temperature of {month} measured in {city}?",
        "In {month}, when was it chilliest in {city}?",
        "How cold did {city} get at most in {month}, and when?",
        "I'm looking for the coldest day of {month} in {city}.",
    ),
    held_out=("When was {city} at its coldest in {month}?", "{city}, {month}: on which day was it coldest?"),
    answer=lambda a, r: f"The coldest day in {a['city']} in {a['month']} was {r['day']} with {r['low']} °C.",
)
def find_coldest_day(world: World, city: str, month: Month) -> Row:
    """The coldest day of a month in a city, with its lowest temperature."""
    row = _month(world, city, month, "low")
    return {"day": row["day"], "low": row["low"]}


@weather.tool(
    draw=_place_and_month,
    asks=(
        "How much rain did {city} get in {month} altogether?",
        "What is the monthly rainfall of {city} for {month}?",
        "Add up the rain in {city} over the whole of {month}.",
        "Was {month} a wet month in {city}? Give me the sum in millimetres.",
        "All in all, how many millimetres fell on {city} in {month}?",
        "I need the total precipitation for {city} in {month}.",
    ),
    held_out=("Sum of all the rain in {city} for {month}?", "How wet was {month} as a whole in {city}?"),
    answer=lambda a, r: f"In {a['month']}, {a['city']} got {r['total_mm']} mm of rain on {r['rainy_days']} days.",
)
def sum_monthly_rain(world: World, city: str, month: Month) -> Row:
    """Total rainfall of a city over a whole month, in millimetres."""
    _month(world, city, month, "day")
    sql = "SELECT sum(rain_mm) AS total_mm, sum(rain_mm > 0) AS rainy_days FROM weather WHERE city = ? AND day LIKE ?"
    return world.all(sql, city, f"{month}-%")[0]


weather.chain(
    ("find_hottest_day", lambda s, r: {"city": s["city"], "month": s["month"]}),
    ("get_weather_wind", lambda s, r: {"city": s["city"], "day": r[0]["day"]}),
    draw=_place_and_month,
    asks=(
        "How windy was it in {city} on the hottest day of {month}?",
        "On the warmest day of {month} in {city}, what was the wind speed?",
        "Take the day in {month} with the highest temperature in {city}: how fast was the wind then?",
    ),
    held_out=("Was there any wind on {city}'s warmest day in {month}? How strong was it?",),
)
weather.chain(
    ("find_coldest_day", lambda s, r: {"city": s["city"], "month": s["month"]}),
    ("get_weather_rain", lambda s, r: {"city": s["city"], "day": r[0]["day"]}),
    draw=_place_and_month,
    asks=(
        "How much rain fell in {city} on the coldest day of {month}?",
        "On {city}'s coldest day in {month}, how many millimetres came down?",
        "Did it rain on the chilliest day {city} had in {month}? How much?",
    ),
    held_out=("What was the rainfall in {city} on the day in {month} with the lowest temperature?",),
)
weather.talk = (
    ("Why is the sky blue?", "Air scatters blue light more than red light, so blue reaches us from all sides."),
    (
        "What is the difference between weather and climate?",
        "Weather is what happens today; climate is the long-run average.",
    ),
    ("At what temperature does water freeze?", "At 0 °C under normal pressure."),
    ("What do meteorologists study?", "The atmosphere and the weather."),
)
weather.beyond = (
    "Make it stop raining in {city}.",
    "Send an umbrella to {person} in {city}.",
    "How high were the waves near {city} on {day}?",
    "How strong was the earthquake in {city} on {day}?",
)
