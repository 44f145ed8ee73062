"""Conversions between units of measure."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, Literal

from tltrain.toolworld.service import Draw, Said, Service, Slots
from tltrain.toolworld.styles import PYTHON
from tltrain.toolworld.world import World

Length = Literal["km", "m", "mile", "foot"]
Mass = Literal["kg", "g", "pound", "ounce"]
Volume = Literal["litre", "ml", "gallon", "cup"]
Temperature = Literal["celsius", "fahrenheit", "kelvin"]
Speed = Literal["kmh", "mph", "knot"]
METRES = {"km": 1000.0, "m": 1.0, "mile": 1609.344, "foot": 0.3048}
GRAMS = {"kg": 1000.0, "g": 1.0, "pound": 453.592, "ounce": 28.3495}
LITRES = {"litre": 1.0, "ml": 0.001, "gallon": 3.78541, "cup": 0.236588}
KMH = {"kmh": 1.0, "mph": 1.609344, "knot": 1.852}
WORDS = {
    "km": ("km", "kilometres"),
    "m": ("m", "metres"),
    "mile": ("miles",),
    "foot": ("feet",),
    "kg": ("kg", "kilograms"),
    "g": ("g", "grams"),
    "pound": ("pounds",),
    "ounce": ("ounces",),
    "litre": ("litres",),
    "ml": ("ml", "millilitres"),
    "gallon": ("gallons",),
    "cup": ("cups",),
    "celsius": ("degrees Celsius",),
    "fahrenheit": ("degrees Fahrenheit",),
    "kelvin": ("kelvin",),
    "kmh": ("km/h", "kilometres per hour"),
    "mph": ("mph", "miles per hour"),
    "knot": ("knots",),
}


COMMON = (
    "How many {target} are {value} {source}?",
    "What's {value} {source} in {target}?",
    "I have {value} {source} and need that in {target}.",
    "Express {value} {source} in {target}.",
    "{value} {source}: how much is that in {target}?",
)
HELD_OUT = ("Give me {value} {source} in {target}.", "If something is {value} {source}, what is it in {target}?")


def _pair(names: tuple[str, ...], low: int = 2, high: int = 120) -> Callable[[Draw], Slots]:
    def draw(d: Draw) -> Slots:
        source, target = d.rng.sample(names, 2)
        said = {"source": Said(source, *WORDS[source]), "target": Said(target, *WORDS[target])}
        return {"value": d.decimal(low, high), **said}

    return draw


def _answer(arguments: Mapping[str, Any], result: Any) -> str:
    source, target = WORDS[arguments["source"]][0], WORDS[arguments["target"]][0]
    return f"{arguments['value']} {source} is {result} {target}."


def _scaled(value: float, source: str, target: str, factors: Mapping[str, float]) -> float:
    if value < 0:
        raise ValueError(f"value must not be negative, got {value}")
    return round(value * factors[source] / factors[target], 3)


units = Service("units", "units of measure", PYTHON)


@units.tool(
    draw=_pair(tuple(METRES)),
    asks=(*COMMON, "The path is {value} {source} long. In {target}?", "I ran {value} {source}. In {target}, please."),
    held_out=(*HELD_OUT, "The rope measures {value} {source}. What's its length in {target}?"),
    answer=_answer,
)
def convert_length(world: World, value: float, source: Length, target: Length) -> float:
    """Convert a length or distance, such as miles or feet, to another unit."""
    return _scaled(value, source, target, METRES)


@units.tool(
    draw=_pair(tuple(GRAMS)),
    asks=(
        *COMMON,
        "The parcel weighs {value} {source}. In {target}?",
        "My suitcase has {value} {source}; in {target}?",
    ),
    held_out=(*HELD_OUT, "It weighs {value} {source}. What's the weight in {target}?"),
    answer=_answer,
)
def convert_mass(world: World, value: float, source: Mass, target: Mass) -> float:
    """Convert a weight or mass, such as pounds or kilograms, to another unit."""
    return _scaled(value, source, target, GRAMS)


@units.tool(
    draw=_pair(tuple(LITRES)),
    asks=(*COMMON, "The bottle holds {value} {source}. In {target}?", "Recipe says {value} {source}. In {target}?"),
    held_out=(*HELD_OUT, "A tank takes {value} {source}. How many {target} fit in?"),
    answer=_answer,
)
def convert_volume(world: World, value: float, source: Volume, target: Volume) -> float:
    """Convert a volume of liquid, such as litres or cups, to another unit."""
    return _scaled(value, source, target, LITRES)


@units.tool(
    draw=_pair(("celsius", "fahrenheit", "kelvin")),
    asks=(*COMMON, "The oven is set to {value} {source}. In {target}?", "It is {value} {source} here. In {target}?"),
    held_out=(*HELD_OUT, "The thermometer shows {value} {source}. What would it be in {target}?"),
    answer=_answer,
)
def convert_temperature(world: World, value: float, source: Temperature, target: Temperature) -> float:
    """Convert a temperature in degrees between Celsius, Fahrenheit and Kelvin."""
    kelvin = {"celsius": value + 273.15, "fahrenheit": (value - 32) / 1.8 + 273.15, "kelvin": value}[source]
    if kelvin < 0:
        raise ValueError(f"{value} {source} is below absolute zero")
    return round({"celsius": kelvin - 273.15, "fahrenheit": (kelvin - 273.15) * 1.8 + 32, "kelvin": kelvin}[target], 2)


@units.tool(
    draw=_pair(tuple(KMH)),
    asks=(*COMMON, "The wind blows at {value} {source}. In {target}?", "I'm driving {value} {source}. In {target}?"),
    held_out=(*HELD_OUT, "The ship makes {value} {source}. How fast is that in {target}?"),
    answer=_answer,
)
def convert_speed(world: World, value: float, source: Speed, target: Speed) -> float:
    """Convert a speed, such as knots or km per hour, to another unit."""
    return _scaled(value, source, target, KMH)


@units.tool(
    draw=lambda d: {"km": d.decimal(5, 600), "hours": d.decimal(1, 12)},
    asks=(
        "I covered {km} km in {hours} hours. How fast was I on average, in km/h?",
        "How fast is somebody who needs {hours} hours for {km} km?",
        "A train takes {hours} hours for {km} km. What is its average speed in km/h?",
        "We rode {km} km and it took {hours} hours. Our average in km/h?",
        "What average pace in km/h gives {km} km in {hours} hours?",
        "{km} km, {hours} hours on the road: how many km/h is that?",
    ),
    held_out=(
        "After {hours} hours I had driven {km} km. What average in km/h is that?",
        "How many km/h does one drive when {km} km take {hours} hours?",
    ),
    answer=lambda a, r: f"That is {r} km/h on average.",
)
def compute_speed(world: World, km: float, hours: float) -> float:
    """Average speed in km/h of a trip, from its km and hours."""
    if km < 0:
        raise ValueError("km must not be negative")
    speed = km / hours
    if speed < 0:
        raise ValueError("hours must be positive")
    return round(speed, 2)


units.chain(
    ("compute_speed", lambda s, r: {"km": s["km"], "hours": s["hours"]}),
    ("convert_speed", lambda s, r: {"value": r[0], "source": "kmh", "target": s["target"]}),
    draw=lambda d: {
        "km": d.decimal(5, 600),
        "hours": d.decimal(1, 12),
        "target": d.pick((Said("mph", "miles per hour", "mph"), Said("knot", "knots"))),
    },
    asks=(
        "I covered {km} km in {hours} hours. What was my average in {target}?",
        "A boat needs {hours} hours for {km} km. How fast is it on average, in {target}?",
        "We rode {km} km and it took {hours} hours. Our average in {target}?",
        "How many {target} is it if {km} km take {hours} hours?",
    ),
    held_out=("After {hours} hours I had driven {km} km. Tell me the average in {target}.",),
)
units.talk = (
    ("Where was the metric system invented?", "In France, at the end of the 18th century."),
    ("Why do countries use different units?", "Mostly for historical reasons; trade and law kept old measures alive."),
    ("What does the prefix 'kilo' mean?", "A thousand."),
    ("Is a knot a measure of speed or of distance?", "Of speed: one nautical mile per hour."),
)
units.beyond = (
    "Measure the length of the garden fence for me.",
    "Weigh the parcel that {person} brought.",
    "Calibrate the thermometer in {city}.",
    "Build a {number} metre tower out of matches.",
)
