"""Multi-turn logs from toolworld, and the token sequences that both trainers use."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from itertools import islice, pairwise, takewhile
from random import Random
from typing import Literal

from tltrain.encode import Encoder
from tltrain.toolworld.agents import Agent
from tltrain.toolworld.library import SERVICES, TRAINING_SERVICES
from tltrain.toolworld.trajectories import agent_trajectories
from tltrain.trajectory import Message, Trajectory

Name = Literal["shared", "own"]
NAMES: tuple[Name, ...] = ("shared", "own")
QUERIES = (1, 2)
"""User queries of the logs, in rotation; each query is followed by its calls, their feedback and an answer."""
PROMPT = "You are the assistant of a small company. Make independent calls in one reply."
SHARED_SERVICES = ("orders", "contacts", "calendar")
OWN_SERVICES = 2
OWN_TOOLS = 12
IGNORED = -100
"""Label of a token that is not in the loss, as in `transformers`."""


@dataclass(frozen=True, slots=True)
class Row:
    """A log as a single sequence."""

    input_ids: list[int]
    labels: list[int]
    """The token's id if it is in the loss, otherwise `IGNORED`."""

    @property
    def trained(self) -> int:
        """Number of tokens in the loss."""
        return sum(label != IGNORED for label in self.labels)


def make_logs(name: Name, count: int, seed: int) -> list[Trajectory]:
    """Multi-turn logs of about 2,160 (`shared`) or 1,330 (`own`) tokens, 7 to 10 % of which are in replies.

    Args:
        name: `shared`: all logs have the same tool set (1,850 tokens); `own`: each has a different one (1,080).
        count: number of logs.
        seed: random seed of tools, tasks and order.
    """
    rng = Random(f"{name} {seed}")
    queries = [QUERIES[number % len(QUERIES)] for number in range(count)]
    if name == "own":
        tasks = iter(
            [task for number in queries for task in agent_trajectories(_own_agent(rng), number, rng.randrange(2**31))]
        )
    else:
        tasks = iter(agent_trajectories(_shared_agent(), sum(queries), seed))
    return [_joined(list(islice(tasks, number)), f"{name}-{index}") for index, number in enumerate(queries)]


def _shared_agent() -> Agent:
    return Agent("shared", PROMPT, tuple(tool for service in SHARED_SERVICES for tool in SERVICES[service].functions))


def _own_agent(rng: Random) -> Agent:
    """An agent with a random selection of the tools of two services, in random order."""
    while True:
        services = rng.sample(TRAINING_SERVICES, OWN_SERVICES)
        names = [tool for service in services for tool in service.functions]
        agent = Agent("own", PROMPT, tuple(rng.sample(names, min(OWN_TOOLS, len(names)))))
        if agent.chains:
            return agent


def _joined(tasks: Sequence[Trajectory], name: str) -> Trajectory:
    """Join tasks for the same agent to a single log; the ids of calls get the number of their task."""
    messages = [tasks[0].messages[0]]
    for number, task in enumerate(tasks, 1):
        messages += [_numbered(message, number) for message in task.messages[1:]]
    return Trajectory(tuple(messages), tasks[0].tools, name)


def _numbered(message: Message, task: int) -> Message:
    calls = tuple(replace(call, id=f"{call.id}_{task}") for call in message.calls)
    return replace(message, calls=calls, call_id=message.call_id and f"{message.call_id}_{task}")


def make_row(log: Trajectory, encoder: Encoder) -> Row:
    """The log as a single sequence, with the same tokens in the loss as in its separate steps.

    The chat template must render each step as a prefix of the next step.
    """
    steps = encoder.steps(log)
    sequences = [step.prompt_ids + step.reply_ids for step in steps]
    for earlier, later in pairwise(sequences):
        assert later[: len(earlier)] == earlier, f"{log.id}: the chat template rewrites history"
    labels = [IGNORED] * len(sequences[-1])
    for step in steps:
        start = len(step.prompt_ids)
        for position, (token, weight) in enumerate(zip(step.reply_ids, step.weights, strict=True), start):
            labels[position] = token if weight else IGNORED
    return Row(sequences[-1], labels)


def distinct_tokens(rows: Sequence[Row], batch: int) -> int:
    """Number of tokens after merging the rows of each batch of `batch` consecutive rows by common prefixes."""
    total = 0
    for start in range(0, len(rows), batch):
        ordered = sorted(row.input_ids for row in rows[start : start + batch])
        shared = sum(_common(earlier, later) for earlier, later in pairwise(ordered))
        total += sum(map(len, ordered)) - shared
    return total


def _common(earlier: list[int], later: list[int]) -> int:
    """Length of the common prefix."""
    return sum(1 for _ in takewhile(lambda pair: pair[0] == pair[1], zip(earlier, later, strict=False)))
