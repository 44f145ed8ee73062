"""What executes calls: the interface of all tools, and the built-in ones of toolworld."""

from __future__ import annotations

import difflib
import json
from collections.abc import Sequence
from dataclasses import dataclass
from random import Random
from typing import Protocol

from tltrain import toolworld
from tltrain.chat.text import without_surrogates
from tltrain.errors import ConfigError
from tltrain.toolworld.agents import TRAINING_AGENTS, UNSEEN_AGENTS, Agent
from tltrain.toolworld.library import FUNCTIONS, SERVICES
from tltrain.toolworld.service import ValueSampler, fill
from tltrain.toolworld.world import World
from tltrain.trajectory import Call, Tool

MAX_RESULT = 100_000
"""Maximum length in characters of a result that a model is given; a longer one is truncated, and says so."""
_AGENTS = {agent.name: agent for agent in (*TRAINING_AGENTS, *UNSEEN_AGENTS)}


class Toolbox(Protocol):
    """Tools with what executes their calls."""

    @property
    def name(self) -> str:
        """What the tools are, in a few words."""
        ...

    @property
    def tools(self) -> tuple[Tool, ...]:
        """The specifications that the model is given."""
        ...

    @property
    def system(self) -> str | None:
        """The system prompt that belongs to the tools; None if there is none."""
        ...

    @property
    def examples(self) -> tuple[str, ...]:
        """Requests that the tools can fulfil, to start with."""
        ...

    def execute(self, call: Call) -> str:
        """The feedback of a call, of an invalid or failing one too; `limited` bounds its length. Never raises, except
        for KeyboardInterrupt."""
        ...


def error_result(message: str) -> str:
    """The feedback of a call that could not be executed."""
    return json.dumps({"error": without_surrogates(message)}, ensure_ascii=False)


def limited(result: str) -> str:
    """A result as a model is given it: at most `MAX_RESULT` characters, all of them valid Unicode."""
    result = without_surrogates(result)
    if len(result) <= MAX_RESULT:
        return result
    return f"{result[:MAX_RESULT]}\n[truncated: the result has {len(result):,} characters]"


@dataclass(frozen=True, slots=True)
class ToolworldTools:
    """Tools of toolworld, executed in a world of their own."""

    name: str
    tools: tuple[Tool, ...]
    system: str | None
    world: World
    seed: int = 0

    @property
    def examples(self) -> tuple[str, ...]:
        """Requests in wordings and with values that do not occur in toolworld's training split."""
        rng = Random(f"examples {self.seed}")
        draw = ValueSampler(rng, self.world, held_out=True)
        functions = [FUNCTIONS[tool.name] for tool in rng.sample(self.tools, min(3, len(self.tools)))]
        return tuple(fill(rng.choice(one.held_out or one.wordings), one.draw(draw), rng) for one in functions)

    def execute(self, call: Call) -> str:
        """See `Toolbox`."""
        return limited(toolworld.execute(self.tools, self.world, call))


def toolworld_tools(names: Sequence[str] = (), seed: int = 0) -> ToolworldTools:
    """Tools of toolworld by the names of services, agents or tools; without names those of a random agent of the
    training split, with its system prompt.

    Raises:
        ConfigError: there is no such service, agent or tool.
    """
    world = toolworld.open_world()
    if not names:
        return _agent_tools(Random(seed).choice(TRAINING_AGENTS), world, seed)
    if len(names) == 1 and names[0] in _AGENTS:
        return _agent_tools(_AGENTS[names[0]], world, seed)
    found = {tool.name: tool for name in names for tool in _named(name)}
    services = dict.fromkeys(FUNCTIONS[name].service.topic for name in found)
    system = f"You help with {' and '.join(services)}. Make independent calls in one reply."
    return ToolworldTools(f"toolworld ({', '.join(names)})", tuple(found.values()), system, world, seed)


def _agent_tools(agent: Agent, world: World, seed: int) -> ToolworldTools:
    return ToolworldTools(f"toolworld ({agent.name})", agent.tools, agent.prompt, world, seed)


def _named(name: str) -> list[Tool]:
    if name in SERVICES:
        return [function.tool for function in SERVICES[name].functions.values()]
    if name in _AGENTS:
        return list(_AGENTS[name].tools)
    if name in FUNCTIONS:
        return [FUNCTIONS[name].tool]
    close = difflib.get_close_matches(name, [*SERVICES, *_AGENTS, *FUNCTIONS], 1)
    hint = f"did you mean {close[0]}?" if close else f"services are {', '.join(SERVICES)}"
    raise ConfigError(f"--tools {name}: neither a Python file nor a service, agent or tool of toolworld; {hint}")
