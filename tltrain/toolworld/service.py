"""Services: groups of tools implemented as Python functions, with templates of requests for them.

A tool's schema comes from its function's typed signature and docstring, so nothing is written twice. Each tool
has wordings of requests; the slots of a wording determine the arguments of the call.
"""

from __future__ import annotations

import inspect
import string
from collections.abc import Callable, Mapping, Sequence
from dataclasses import KW_ONLY, dataclass, field
from functools import cache
from random import Random
from typing import Any, Literal, TypeVar, get_args, get_origin, get_type_hints

from tltrain.toolworld.styles import Style
from tltrain.toolworld.world import CITIES, DAYS, MONTHS, Builder, Row, World
from tltrain.trajectory import Tool

Slots = dict[str, Any]
Answer = Callable[[Mapping[str, Any], Any], str]
T = TypeVar("T")
Function = TypeVar("Function", bound=Callable[..., Any])
_JSON_TYPES = {str: "string", int: "integer", float: "number", bool: "boolean"}
_LARGE_POOL = 10


@dataclass(frozen=True, slots=True)
class Worded:
    """A value and its natural-language forms, where these differ: `Worded("km", "kilometres")`."""

    value: Any
    words: tuple[str, ...]

    def __init__(self, value: Any, *words: str) -> None:
        object.__setattr__(self, "value", value)
        object.__setattr__(self, "words", words)


class ValueSampler:
    """Draws the argument values of a task. Of ten values or more, every fifth is reserved for the test splits."""

    def __init__(self, rng: Random, world: World, held_out: bool) -> None:
        self.rng, self.world, self.held_out = rng, world, held_out

    def pick(self, values: Sequence[T]) -> T:
        """Draw a value from this split's share."""
        if len(values) >= _LARGE_POOL:
            return self._share(values)
        return self.rng.choice(values)

    def _share(self, values: Sequence[T]) -> T:
        block = self.rng.randrange((len(values) + 4) // 5) * 5
        if self.held_out:
            return values[block]
        rest = values[block + 1 : block + 5]
        return self.rng.choice(rest) if rest else values[1]

    def row(self, sql: str) -> Row:
        """Draw a row of a query on the unmodified world."""
        return self.pick(self.world.cached_rows(sql))

    def number(self, low: int, high: int, step: int = 1) -> int:
        """A whole number from `low` to `high`, both included."""
        return self.rng.randrange(low, high + 1, step)

    def decimal(self, low: int, high: int) -> float | int:
        """A number with at most one decimal; a whole number is an int, as people write it."""
        tenths = self.rng.choice((self.rng.randrange(low * 10, high * 10), self.rng.randrange(low, high) * 10))
        return tenths // 10 if tenths % 10 == 0 else tenths / 10

    def day(self) -> str:
        """A day as YYYY-MM-DD."""
        return self.pick(DAYS)

    def month(self) -> str:
        """A month as YYYY-MM."""
        return self.pick(MONTHS)

    def time(self) -> str:
        """A time of the working day as HH:MM."""
        return f"{self.rng.randrange(8, 18):02d}:{self.rng.choice((0, 15, 30, 45)):02d}"

    def city(self) -> str:
        """A city's name."""
        return self.pick(CITIES)


@cache
def _pieces(wording: str) -> tuple[tuple[str, str | None], ...]:
    return tuple((text, slot) for text, slot, _, _ in string.Formatter().parse(wording))


def slots_of(wording: str) -> list[str]:
    """Return the slots of a wording, in order."""
    return [slot for _, slot in _pieces(wording) if slot is not None]


def fill(wording: str, slots: Slots, rng: Random) -> str:
    """Fill the slots of a wording with text."""
    parts = []
    for text, slot in _pieces(wording):
        parts.append(text)
        if slot is not None:
            value = slots[slot]
            parts.append(rng.choice(value.words) if isinstance(value, Worded) else str(value))
    return "".join(parts)


def plain_values(slots: Slots) -> dict[str, Any]:
    """Return the values of the slots without their text forms."""
    return {name: value.value if isinstance(value, Worded) else value for name, value in slots.items()}


@dataclass(frozen=True, slots=True, kw_only=True)
class ToolFunction:
    """An executable tool. `wordings` are request templates, of which `held_out` are reserved for tests."""

    service: Service
    function: Callable[..., Any]
    tool: Tool
    draw: Callable[[ValueSampler], Slots]
    wordings: tuple[str, ...]
    held_out: tuple[str, ...]
    answer: Answer

    @property
    def name(self) -> str:
        """The tool's name."""
        return self.tool.name

    def arguments(self, wording: str, slots: Slots) -> dict[str, Any]:
        """Return the gold arguments: those in the wording's slots, in the order of the signature."""
        values, mentioned = plain_values(slots), set(slots_of(wording))
        return {name: values[name] for name in self.tool.properties if name in mentioned}


Step = tuple[str, Callable[[dict[str, Any], list[Any]], dict[str, Any]]]
"""A tool's name, and its arguments from the request's values and the results of the steps before."""


@dataclass(frozen=True, slots=True)
class Chain:
    """A request that takes several calls in sequence."""

    draw: Callable[[ValueSampler], Slots]
    steps: tuple[Step, ...]
    wordings: tuple[str, ...]
    held_out: tuple[str, ...]


@dataclass(slots=True)
class Service:
    """Tools of one domain with the same style of feedback, and related requests that need no tool or have none."""

    name: str
    topic: str
    style: Style
    tables: Builder | None = None
    _: KW_ONLY
    functions: dict[str, ToolFunction] = field(default_factory=dict)
    chains: list[Chain] = field(default_factory=list)
    small_talk: tuple[tuple[str, str], ...] = ()
    """Questions near the domain that need no tool, with their answers."""
    unsupported_requests: tuple[str, ...] = ()
    """Requests near the domain that none of its tools can do; slots: person, city, day, number."""

    def tool(
        self,
        *,
        draw: Callable[[ValueSampler], Slots],
        wordings: tuple[str, ...],
        held_out: tuple[str, ...],
        answer: Answer,
    ) -> Callable[[Function], Function]:
        """Declare a function `(world, …)` as a tool of this service."""

        def declare(function: Function) -> Function:
            tool = tool_of(function)
            self.functions[tool.name] = ToolFunction(
                service=self,
                function=function,
                tool=tool,
                draw=draw,
                wordings=wordings,
                held_out=held_out,
                answer=answer,
            )
            return function

        return declare

    def chain(
        self, *steps: Step, draw: Callable[[ValueSampler], Slots], wordings: tuple[str, ...], held_out: tuple[str, ...]
    ) -> None:
        """Declare a request that takes several calls."""
        self.chains.append(Chain(draw, steps, wordings, held_out))


def tool_of(function: Callable[..., Any]) -> Tool:
    """Derive a tool from a function: name, first docstring line, and schema of the signature without the world."""
    hints = get_type_hints(function, include_extras=True)
    properties, required = {}, []
    for parameter in list(inspect.signature(function).parameters.values())[1:]:
        properties[parameter.name] = _schema(hints[parameter.name])
        if parameter.default is inspect.Parameter.empty:
            required.append(parameter.name)
    parameters = {"type": "object", "properties": properties, "required": required}
    return Tool(function.__name__, (function.__doc__ or "").strip().splitlines()[0], parameters)


def _schema(hint: Any) -> dict[str, Any]:
    if hasattr(hint, "__metadata__"):
        return {**_schema(get_args(hint)[0]), "description": hint.__metadata__[0]}
    if get_origin(hint) is Literal:
        return {"type": "string", "enum": list(get_args(hint))}
    if get_origin(hint) is list:
        return {"type": "array", "items": _schema(get_args(hint)[0])}
    if type(None) in get_args(hint):
        return _schema(get_args(hint)[0])
    return {"type": _JSON_TYPES[hint]}


def each(rows: Sequence[Row], wording: str) -> str:
    """The rows as `a, b and c`, each in the given wording; `none` if there are none."""
    texts = [wording.format_map(row) for row in rows]
    if not texts:
        return "none"
    return texts[0] if len(texts) == 1 else f"{', '.join(texts[:-1])} and {texts[-1]}"
