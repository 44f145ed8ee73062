"""Multi-turn logs out of toolworld, and the token sequences that both trainers learn from."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from itertools import islice, pairwise, takewhile
from random import Random
from typing import Literal

from tltrain.encode import Encoder
from tltrain.toolworld.agents import Agent
from tltrain.toolworld.library import SERVICES, TRAINING_SERVICES
from tltrain.toolworld.trajectories import logs_of
from tltrain.trajectory import Message, Trajectory

Name = Literal["shared", "own"]
NAMES: tuple[Name, ...] = ("shared", "own")
QUERIES = (1, 2)
"""Of a user in one log and the next, in turn; each with its calls, their feedback and an answer."""
PROMPT = "You are the assistant of a small company. Make independent calls in one reply."
SHARED_SERVICES = ("orders", "contacts", "calendar")
OWN_SERVICES = 2
OWN_TOOLS = 12
IGNORED = -100
"""Label of a token out of the loss, as `transformers` has it."""


@dataclass(frozen=True, slots=True)
class Row:
    """A log as one sequence: token ids, and for each its own id where it is trained on, `IGNORED` elsewhere."""

    input_ids: list[int]
    labels: list[int]

    @property
    def trained(self) -> int:
        """Number of tokens in the loss."""
        return sum(label != IGNORED for label in self.labels)


def make_logs(name: Name, count: int, seed: int) -> list[Trajectory]:
    """Multi-turn logs: about 2,160 tokens each if `shared` and 1,330 if `own`, 7 to 10 % of them in replies.

    Args:
        name: `shared`, all with one tool set (1,850 tokens), or `own`, each with another (1,080).
        count: number of logs.
        seed: of tools, tasks and order.
    """
    rng = Random(f"{name} {seed}")
    queries = [QUERIES[number % len(QUERIES)] for number in range(count)]
    if name == "own":
        tasks = iter([task for number in queries for task in logs_of(_own_agent(rng), number, rng.randrange(2**31))])
    else:
        tasks = iter(logs_of(_shared_agent(), sum(queries), seed))
    return [_joined(list(islice(tasks, number)), f"{name}-{place}") for place, number in enumerate(queries)]


def _shared_agent() -> Agent:
    return Agent("shared", PROMPT, tuple(tool for service in SHARED_SERVICES for tool in SERVICES[service].functions))


def _own_agent(rng: Random) -> Agent:
    """An agent with tools of its own: a part of those of two services, in any order."""
    while True:
        services = rng.sample(TRAINING_SERVICES, OWN_SERVICES)
        names = [tool for service in services for tool in service.functions]
        agent = Agent("own", PROMPT, tuple(rng.sample(names, min(OWN_TOOLS, len(names)))))
        if agent.chains:
            return agent


def _joined(tasks: Sequence[Trajectory], name: str) -> Trajectory:
    """One log of several tasks for the same agent, its calls numbered anew."""
    messages = [tasks[0].messages[0]]
    for number, task in enumerate(tasks, 1):
        messages += [_numbered(message, number) for message in task.messages[1:]]
    return Trajectory(tuple(messages), tasks[0].tools, name)


def _numbered(message: Message, task: int) -> Message:
    calls = tuple(replace(call, id=f"{call.id}_{task}") for call in message.calls)
    return replace(message, calls=calls, call_id=message.call_id and f"{message.call_id}_{task}")


def make_row(log: Trajectory, encoder: Encoder) -> Row:
    """The log as one sequence, with the very positions in the loss that its steps have.

    Needs a chat template whose rendering of a step begins the rendering of the next one.
    """
    steps = encoder.steps(log)
    sequences = [step.prompt_ids + step.reply_ids for step in steps]
    for earlier, later in pairwise(sequences):
        assert later[: len(earlier)] == earlier, f"{log.id}: the chat template rewrites history"
    labels = [IGNORED] * len(sequences[-1])
    for step in steps:
        start = len(step.prompt_ids)
        for place, (token, weight) in enumerate(zip(step.reply_ids, step.weights, strict=True), start):
            labels[place] = token if weight else IGNORED
    return Row(sequences[-1], labels)


def distinct_tokens(rows: Sequence[Row], batch: int) -> int:
    """Tokens left where the rows of each batch, taken in their order, are merged by common prefixes."""
    total = 0
    for start in range(0, len(rows), batch):
        ordered = sorted(row.input_ids for row in rows[start : start + batch])
        shared = sum(_common(earlier, later) for earlier, later in pairwise(ordered))
        total += sum(map(len, ordered)) - shared
    return total


def _common(earlier: list[int], later: list[int]) -> int:
    """Length of the common prefix."""
    return sum(1 for _ in takewhile(lambda pair: pair[0] == pair[1], zip(earlier, later, strict=False)))
