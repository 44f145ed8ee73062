"""Conversions between units of measure."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, Literal

from tltrain.toolworld.service import Service, Slots, ValueSampler, Worded
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


def _pair(names: tuple[str, ...], low: int = 2, high: int = 120) -> Callable[[ValueSampler], Slots]:
    def draw(d: ValueSampler) -> Slots:
        source, target = d.rng.sample(names, 2)
        said = {"source": Worded(source, *WORDS[source]), "target": Worded(target, *WORDS[target])}
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
    wordings=(
        "How many {target} are {value} {source}?",
        "Convert a length of {value} {source} to {target}.",
        "The path has a length of {value} {source}. In {target}?",
        "What length in {target} is {value} {source}?",
        "My kite line is {value} {source} long; convert its length to {target}.",
        "I ran {value} {source}. Convert that length to {target}, please.",
        "How far is a length of {value} {source} in {target}?",
        "A length of {value} {source} is how many {target}?",
        "Express the length {value} {source} in {target}.",
        "I have the length, {value} {source}, but need it in {target}.",
        "The next village is {value} {source} away; what length is that in {target}?",
    ),
    held_out=(
        "The rope measures {value} {source}. What's its length in {target}?",
        "Length: {value} {source}. Now in {target}.",
        "It's {value} {source} from here. Convert the length to {target}.",
    ),
    answer=_answer,
)
def convert_length(world: World, value: float, source: Length, target: Length) -> float:
    """Convert a length or distance, how long or far: kilometres, metres, miles, feet."""
    return _scaled(value, source, target, METRES)


@units.tool(
    draw=_pair(tuple(GRAMS)),
    wordings=(
        "How many {target} are {value} {source}?",
        "Convert a weight of {value} {source} to {target}.",
        "The parcel has a weight of {value} {source}. In {target}?",
        "What weight in {target} is {value} {source}?",
        "My suitcase weighs {value} {source}; convert the weight to {target}.",
        "Weight {value} {source}. In {target}, please.",
        "What is my cat's weight of {value} {source} in {target}?",
        "A weight of {value} {source} is how many {target}?",
        "The scales say the weight is {value} {source}; I need {target}.",
        "Express the weight of {value} {source} in {target}.",
        "It weighs {value} {source}. What weight is that in {target}?",
    ),
    held_out=(
        "The weight is {value} {source}. What's that in {target}?",
        "{value} {source} of weight: how much in {target}?",
        "I must give the weight, {value} {source}, in {target}.",
    ),
    answer=_answer,
)
def convert_weight(world: World, value: float, source: Mass, target: Mass) -> float:
    """Convert a weight or mass, what something weighs: kilograms, grams, pounds, ounces."""
    return _scaled(value, source, target, GRAMS)


@units.tool(
    draw=_pair(tuple(LITRES)),
    wordings=(
        "How many {target} are {value} {source}?",
        "Convert a volume of {value} {source} to {target}.",
        "The bottle's volume is {value} {source}. In {target}?",
        "What volume in {target} is {value} {source}?",
        "My tank holds {value} {source}; convert the volume to {target}.",
        "{value} {source} by volume. In {target}, please.",
        "How much is a volume of {value} {source}, in {target}?",
        "A volume of {value} {source} is how many {target}?",
        "The volume of the bucket is {value} {source}; give me that in {target}.",
        "Express the liquid volume of {value} {source} in {target}.",
        "How many {target} does a bottle of {value} {source} hold?",
    ),
    held_out=(
        "A tank has a volume of {value} {source}. How many {target} is that?",
        "Volume: {value} {source}. Now in {target}.",
        "I poured {value} {source} of liquid. What volume in {target} is it?",
    ),
    answer=_answer,
)
def convert_volume(world: World, value: float, source: Volume, target: Volume) -> float:
    """Convert a volume of liquid, what a bottle or tank holds: litres, millilitres, gallons, cups."""
    return _scaled(value, source, target, LITRES)


@units.tool(
    draw=_pair(("celsius", "fahrenheit", "kelvin")),
    wordings=(
        "How many {target} are {value} {source}?",
        "Convert a temperature of {value} {source} to {target}.",
        "The oven's temperature is {value} {source}. In {target}?",
        "Can you convert the temperature, {value} {source}, to {target}?",
        "My oven shows {value} {source}; which temperature is that in {target}?",
        "I'd like the temperature of {value} {source} converted to {target}.",
        "Which oven temperature in {target} is {value} {source}?",
        "For the oven I need the temperature, {value} {source}, in {target}.",
        "Please convert {value} {source}, the room's temperature, to {target}.",
        "A temperature of {value} {source}, please convert it: I need {target}.",
        "The oven is set to {value} {source}. In {target}?",
    ),
    held_out=(
        "The oven must reach {value} {source}. What temperature is it in {target}?",
        "Temperature: {value} {source}. Please convert to {target}.",
        "Is the temperature right at {value} {source}? Convert it to {target}.",
    ),
    answer=_answer,
)
def convert_temperature(world: World, value: float, source: Temperature, target: Temperature) -> float:
    """Convert a temperature or oven setting: degrees Celsius, degrees Fahrenheit, kelvin."""
    kelvin = {"celsius": value + 273.15, "fahrenheit": (value - 32) / 1.8 + 273.15, "kelvin": value}[source]
    if kelvin < 0:
        raise ValueError(f"{value} {source} is below absolute zero")
    return round({"celsius": kelvin - 273.15, "fahrenheit": (kelvin - 273.15) * 1.8 + 32, "kelvin": kelvin}[target], 2)


@units.tool(
    draw=_pair(tuple(KMH)),
    wordings=(
        "How many {target} are {value} {source}?",
        "Convert a speed of {value} {source} to {target}.",
        "The car's speed is {value} {source}. Convert it to {target}.",
        "What speed in {target} is {value} {source}?",
        "My boat's speed is {value} {source}; convert that to {target}.",
        "I'm travelling at a speed of {value} {source}. In {target}, please.",
        "Can you convert the speed, {value} {source}, to {target}?",
        "A speed of {value} {source}: how fast is it in {target}?",
        "A bird travels at {value} {source}; convert its speed to {target}.",
        "The speed limit is {value} {source}; please convert it to {target}.",
        "At a speed of {value} {source}, how many {target} do I make?",
    ),
    held_out=(
        "The ship makes {value} {source}. Convert that speed to {target}.",
        "Speed: {value} {source}. Now convert to {target}.",
        "Something travels at {value} {source}. What speed in {target} is it?",
    ),
    answer=_answer,
)
def convert_speed(world: World, value: float, source: Speed, target: Speed) -> float:
    """Convert a speed, how fast something travels: km/h, miles per hour (mph), knots."""
    return _scaled(value, source, target, KMH)


@units.tool(
    draw=lambda d: {"km": d.decimal(5, 600), "hours": d.decimal(1, 12)},
    wordings=(
        "I covered {km} km in {hours} hours. What was my average speed, in km/h?",
        "We rode {km} km and it took {hours} hours. Our average speed?",
        "A trip of {km} km took {hours} hours. What was its average speed?",
        "At what average speed are {km} km covered in {hours} hours?",
        "Compute the average speed of a train: {km} km covered in {hours} hours.",
        "On our trip we covered {km} km in {hours} hours. Compute the average speed.",
        "{km} km covered in {hours} hours: how many km/h is that?",
    ),
    held_out=(
        "After {hours} hours I had covered {km} km. What average speed is that?",
        "The trip was {km} km and took {hours} hours: average speed?",
    ),
    answer=lambda a, r: f"That is {r} km/h on average.",
)
def compute_average_speed(world: World, km: float, hours: float) -> float:
    """Average speed of a trip in km/h, from the km covered and hours it took."""
    if km < 0:
        raise ValueError("km must not be negative")
    speed = km / hours
    if speed < 0:
        raise ValueError("hours must be positive")
    return round(speed, 2)


units.chain(
    ("compute_average_speed", lambda s, r: {"km": s["km"], "hours": s["hours"]}),
    ("convert_speed", lambda s, r: {"value": r[0], "source": "kmh", "target": s["target"]}),
    draw=lambda d: {
        "km": d.decimal(5, 600),
        "hours": d.decimal(1, 12),
        "target": d.pick((Worded("mph", "miles per hour", "mph"), Worded("knot", "knots"))),
    },
    wordings=(
        "I covered {km} km in {hours} hours. Convert my average speed to {target}.",
        "A trip of {km} km took {hours} hours. Compute the average speed first, then convert it to {target}.",
        "We rode {km} km and it took {hours} hours. Our average speed, converted to {target}?",
        "Average speed for {km} km in {hours} hours: compute it and convert it to {target}.",
    ),
    held_out=("After {hours} hours I had covered {km} km. What was my average speed, converted to {target}?",),
)
units.small_talk = (
    ("Where was the metric system invented?", "In France, at the end of the 18th century."),
    ("Why do countries use different units?", "Mostly for historical reasons; trade and law kept old measures alive."),
    ("What does the prefix 'kilo' mean?", "A thousand."),
    ("Is a knot a measure of speed or of distance?", "Of speed: one nautical mile per hour."),
)
units.unsupported_requests = (
    "Measure the length of the garden fence for me.",
    "Weigh the parcel that {person} brought.",
    "Calibrate the thermometer in {city}.",
    "Build a {number} metre tower out of matches.",
)
