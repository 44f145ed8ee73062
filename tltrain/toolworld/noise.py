"""Errors injected into the trajectories: calls that fail visibly, and calls that succeed but differ from the gold."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from random import Random
from typing import Any

from tltrain.toolworld.agents import Agent
from tltrain.toolworld.dispatch import Outcome, run
from tltrain.toolworld.library import FUNCTIONS
from tltrain.toolworld.world import World
from tltrain.trajectory import Call, Tool

VISIBLE_SHARE, SILENT_SHARE = 0.17, 0.03
"""Shares of all calls. A visible failure is an additional call; a silent error replaces a gold call."""
RETRY_FAILURE = 0.08
"""Probability that the corrected call fails as well."""
CORRECTION = 0.05
"""How much the error probability rises for each error below the target share, and falls for each above it."""
VERBS = {
    "add": ("create", "insert"),
    "assign": ("give", "set"),
    "book": ("reserve", "schedule"),
    "cancel": ("delete", "abort"),
    "change": ("set", "to"),
    "close": ("resolve", "finish"),
    "compute": ("calculate", "get"),
    "convert": ("change", "to"),
    "copy": ("duplicate", "clone"),
    "count": ("get", "number_of"),
    "create": ("add", "new"),
    "delete": ("remove", "erase"),
    "enrol": ("register", "add"),
    "find": ("search", "lookup", "locate"),
    "get": ("fetch", "lookup", "show"),
    "grade": ("mark", "rate"),
    "is": ("check", "test"),
    "list": ("get", "show", "fetch"),
    "log": ("record", "add"),
    "move": ("relocate", "transfer"),
    "read": ("open", "get"),
    "renew": ("extend", "prolong"),
    "replace": ("substitute", "swap"),
    "report": ("register", "log"),
    "reserve": ("hold", "book"),
    "return": ("accept", "finish"),
    "reverse": ("invert", "flip"),
    "send": ("write", "post"),
    "set": ("update", "change"),
    "split": ("divide", "share"),
    "submit": ("send", "store"),
    "sum": ("total", "get"),
    "update": ("set", "change"),
}
"""Plausible alternatives to the first word of a tool's name."""
SYNONYMS = {
    "amount": "value",
    "category": "type",
    "city": "location",
    "day": "date",
    "destination": "to",
    "dish": "recipe",
    "folder": "directory",
    "guest": "person",
    "month": "date",
    "name": "full_name",
    "origin": "from",
    "path": "file",
    "plate": "vehicle_id",
    "quantity": "amount",
    "source": "from",
    "start": "time",
    "street": "address",
    "target": "to",
    "text": "content",
    "title": "name",
    "value": "amount",
    "values": "numbers",
}
"""Plausible alternatives to argument names."""
UNKNOWN_ARGUMENTS: tuple[tuple[str, Any], ...] = (
    *(("format", "json"), ("verbose", True), ("limit", 10), ("language", "en"), ("details", True), ("page", 1)),
    *(("include_all", True), ("timezone", "UTC"), ("sort", "asc"), ("confirm", True), ("reason", "requested")),
)
"""Arguments that models make up, with a value; a tool that declares the name is left alone."""
Corruption = Callable[["Noise", Agent, Call], "Call | None"]
"""Turns a gold call into a wrong one; None where the call offers no opportunity for this kind of error."""


@dataclass(frozen=True, slots=True)
class Attempt:
    """A call as executed: the kind of its error, empty for a gold call, and its outcome."""

    call: Call
    error: str
    outcome: Outcome


class Noise:
    """Chooses which calls are wrong, and how.

    An error that a call offers no opportunity for is made up for later, so that the target shares are reached.

    Args:
        rng: the random generator, shared with the tasks.
        silent: whether silent errors are injected.
        share: share of calls that fail visibly, corrected calls included.
    """

    def __init__(self, rng: Random, silent: bool, share: float = VISIBLE_SHARE) -> None:
        self.rng, self.share = rng, share
        self._visible = share / (1 - share)
        self._silent = SILENT_SHARE / (1 - VISIBLE_SHARE) if silent else 0.0
        self._visible_deficit = self._silent_deficit = 0.0
        """Number of errors still missing from the target shares."""
        self._pending_silent: list[int] = []
        """Kinds of the silent errors still to be injected, as indices into `SILENT`."""

    def visible_error(self, agent: Agent, world: World, call: Call, retry: bool) -> Attempt | None:
        """A call that fails visibly, to be made before the gold call; None if the gold call is next."""
        if not retry:
            self._visible_deficit += self._visible
        if self.share == VISIBLE_SHARE:  # older than other shares; experiments were made with its random sequence
            probability = RETRY_FAILURE if retry else self._visible + CORRECTION * self._visible_deficit
        else:
            probability = min(self.share + CORRECTION * self._visible_deficit, 0.95) if self.share else 0.0
        if self.rng.random() >= probability:
            return None
        for error, corrupt in self.rng.sample(VISIBLE, len(VISIBLE)):
            attempt = self._attempt(agent, world, corrupt(self, agent, call), error, failing=True)
            if attempt is not None:
                self._visible_deficit -= 1
                return attempt
        return None

    def silent_error(self, agent: Agent, world: World, call: Call, last: bool) -> Attempt | None:
        """A call that succeeds but is not the gold; None for no error. Its result differs in the `last` stage only."""
        self._silent_deficit += self._silent
        if self._silent and self.rng.random() < self._silent + CORRECTION * self._silent_deficit:
            self._silent_deficit -= 1
            self._pending_silent.append(self.rng.randrange(len(SILENT)))
        for kind in sorted(set(self._pending_silent)):
            error, corrupt = SILENT[kind]
            attempt = self._attempt(agent, world, corrupt(self, agent, call), error, failing=False)
            if attempt is not None and (last or attempt.outcome.result == self._result(agent, world, call)):
                self._pending_silent.remove(kind)
                return attempt
        return None

    def _result(self, agent: Agent, world: World, call: Call) -> Any:
        with world.scratch():
            return run(agent.tools, world, call).result

    def _attempt(self, agent: Agent, world: World, call: Call | None, error: str, failing: bool) -> Attempt | None:
        """The call and its outcome; None if it fails or succeeds against `failing`. The world does not change."""
        if call is None:
            return None
        with world.scratch():
            outcome = run(agent.tools, world, call)
        return Attempt(call, error, outcome) if outcome.failed is failing else None


def _hallucinated_tool(noise: Noise, agent: Agent, call: Call) -> Call | None:
    """A similar tool that the agent does not have, or a plausible made-up name."""
    service = FUNCTIONS[call.name].service
    verb, _, rest = call.name.partition("_")
    siblings = [name for name in service.functions if name not in agent.names and name.startswith(verb)]
    invented = [f"{other}_{rest}" for other in VERBS[verb]]
    if verb in ("get", "find", "list"):
        invented += [f"{call.name}_{suffix}" for suffix in ("details", "info", "data")]
    pool = siblings if siblings and noise.rng.random() < 0.3 else invented
    name = noise.rng.choice(pool)
    return None if name in agent.names else Call(name, call.arguments)


def _hallucinated_argument(noise: Noise, agent: Agent, call: Call) -> Call | None:
    name, value = noise.rng.choice(UNKNOWN_ARGUMENTS)
    if name in _tool(call).properties:
        return None
    return Call(call.name, {**plain_arguments(call), name: value})


def _missing_argument(noise: Noise, agent: Agent, call: Call) -> Call | None:
    required = [name for name in _tool(call).required if name in call.arguments]
    if not required:
        return None
    dropped = noise.rng.choice(required)
    return Call(call.name, {name: value for name, value in plain_arguments(call).items() if name != dropped})


def _misspelt_argument(noise: Noise, agent: Agent, call: Call) -> Call | None:
    arguments, properties = plain_arguments(call), _tool(call).properties
    if not arguments:
        return None
    old = noise.rng.choice(list(arguments))
    new = noise.rng.choice(list(_spellings(old)))
    if new in properties:
        return None
    return Call(call.name, {new if name == old else name: value for name, value in arguments.items()})


def _spellings(name: str) -> Iterator[str]:
    head, *tail = name.split("_")
    yield f"{name}s" if not name.endswith("s") else name[:-1]
    if len(name) > 4:
        yield f"{name[0]}{name[2:]}"
    if tail:
        yield head + "".join(part.title() for part in tail)
        yield tail[-1]
        yield head
    else:
        yield SYNONYMS.get(name, f"{name}_name")


def _bad_value(noise: Noise, agent: Agent, call: Call) -> Call | None:
    arguments = plain_arguments(call)
    if not arguments:
        return None
    name = noise.rng.choice(list(arguments))
    value = _corrupted_value(noise.rng, arguments[name], _tool(call).properties[name])
    return Call(call.name, {**arguments, name: value})


def _corrupted_value(rng: Random, value: Any, schema: dict[str, Any]) -> Any:
    if isinstance(value, list):
        return rng.choice((", ".join(map(str, value)), [*value, "n/a"]))
    if isinstance(value, bool):
        return "yes"
    if isinstance(value, int | float):
        return rng.choice((f"{value} units", f"about {value}", -value))
    if "enum" in schema:
        return rng.choice((f"{value}s", f"{value[:-1]}", value.title() if value.islower() else value.lower() + "_"))
    if re.fullmatch(r"\d{4}-\d\d-\d\d", value):
        year, month, day = value.split("-")
        return rng.choice((f"{day}/{month}/{year}", f"{year}-13-{day}", f"{year}.{month}.{day}", f"{month}-{day}"))
    if re.fullmatch(r"\d{4}-\d\d", value):
        return rng.choice((value.replace("-", "/"), value[5:], f"{value[:5]}13", f"{value[5:]}-{value[:4]}"))
    if re.fullmatch(r"\d\d:\d\d", value):
        return rng.choice((value.replace(":", "h"), f"{value[:2]}", f"2{value[1]}:7{value[4]}"))
    if re.fullmatch(r"[A-Z]+-\d+", value):
        prefix, number = value.split("-")
        return rng.choice((number, f"{prefix}{number}", f"{prefix}-{number}0", f"#{number}"))
    return rng.choice((value[:-1], f"{value[:1]}{value[2:]}", "unknown", f"the {value}"))


def _wrong_tool(noise: Noise, agent: Agent, call: Call) -> Call | None:
    """Another tool of the agent that begins with the same word and takes the same arguments."""
    given, verb = set(call.arguments), call.name.split("_")[0]
    fitting = [
        tool.name
        for tool in agent.tools
        if tool.name != call.name and tool.name.startswith(verb) and set(tool.required) <= given <= set(tool.properties)
    ]
    return Call(noise.rng.choice(fitting), call.arguments) if fitting else None


def _redundant_argument(noise: Noise, agent: Agent, call: Call) -> Call | None:
    """An optional argument that the request does not mention, with a valid value."""
    properties, arguments = _tool(call).properties, plain_arguments(call)
    optional = [name for name in properties if name not in arguments]
    if not optional:
        return None
    name = noise.rng.choice(optional)
    schema = properties[name]
    values = schema.get("enum") or {"integer": (1, 2, 5, 10), "number": (1, 2, 5, 10), "boolean": (True,)}.get(
        schema["type"], ("all", "any", "other")
    )
    return Call(call.name, {**arguments, name: noise.rng.choice(values)})


def _tool(call: Call) -> Tool:
    return FUNCTIONS[call.name].tool


def plain_arguments(call: Call) -> dict[str, Any]:
    """The arguments of a generated call, which are always an object."""
    assert isinstance(call.arguments, dict)
    return call.arguments


VISIBLE: tuple[tuple[str, Corruption], ...] = (
    ("hallucinated_tool", _hallucinated_tool),
    ("hallucinated_argument", _hallucinated_argument),
    ("missing_argument", _missing_argument),
    ("misspelt_argument", _misspelt_argument),
    ("bad_value", _bad_value),
)
SILENT: tuple[tuple[str, Corruption], ...] = (
    ("wrong_tool_silent", _wrong_tool),
    ("redundant_argument_silent", _redundant_argument),
)
