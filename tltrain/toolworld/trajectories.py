"""Trajectories of toolworld: tasks are drawn, their calls are executed, and the tools' output is the feedback."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from random import Random
from typing import Any, Literal

from tltrain.errors import ConfigError
from tltrain.toolworld.agents import TRAINING_AGENTS, UNSEEN_AGENTS, Agent
from tltrain.toolworld.dispatch import Outcome, run
from tltrain.toolworld.library import FUNCTIONS, TRAINING_SERVICES, UNSEEN_SERVICES, open_world
from tltrain.toolworld.noise import VISIBLE_SHARE, Attempt, Noise, plain_arguments
from tltrain.toolworld.service import ValueSampler, fill, plain_values
from tltrain.toolworld.small_talk import CLOSINGS, GENERAL, OPENINGS, PAIRS, REFUSALS, TRIPLES
from tltrain.toolworld.world import FIRST_NAMES, LAST_NAMES, World
from tltrain.trajectory import Call, Message, Trajectory

Split = Literal["train", "test_seen", "test_unseen"]
Kind = Literal["single", "chain", "parallel", "none", "refusal"]
SHARES: dict[Kind, float] = {"single": 0.64, "chain": 0.12, "parallel": 0.08, "none": 0.09, "refusal": 0.07}
TEST_SIZE = 200
_ID = re.compile(r"[A-Z]+-\d+|/")
PlannedCall = tuple[str, Callable[[list[Any]], dict[str, Any]]]
"""A tool's name, and its arguments given the results so far."""


@dataclass(frozen=True, slots=True)
class ToolWorld:
    """Three splits. No query of a test split occurs in another, no tool of `test_unseen` elsewhere."""

    train: list[Trajectory]
    test_seen: list[Trajectory]
    test_unseen: list[Trajectory]

    def write(self, folder: str | Path) -> list[Path]:
        """Write `train.jsonl`, `test_seen.jsonl`, `test_unseen.jsonl` in OpenAI's form; returns their paths."""
        target = Path(folder)
        target.mkdir(parents=True, exist_ok=True)
        splits = {"train": self.train, "test_seen": self.test_seen, "test_unseen": self.test_unseen}
        paths = []
        for name, trajectories in splits.items():
            path = target / f"{name}.jsonl"
            with path.open("w", encoding="utf-8") as file:
                for trajectory in trajectories:
                    file.write(json.dumps(trajectory.to_json(), ensure_ascii=False) + "\n")
            paths.append(path)
        return paths


def generate(size: int = 1217, seed: int = 0, test_size: int = TEST_SIZE, noise: float = VISIBLE_SHARE) -> ToolWorld:
    """Generate `size` training trajectories and `test_size` for each test split by executing calls in a seeded world.

    `Trajectory.extra["toolworld"]` describes each: `agent`, `kind`, `split`, `seed` (of the world, for
    `open_world`), and `sites`, the wrong calls, as `{"message": …, "index": …, "error": …}` with the kinds of
    `noise.VISIBLE` (their feedback reports it, the next reply corrects it) and of `noise.SILENT` (training split only).

    `noise` is the share of training calls that fail visibly, 0 to 0.8. Test splits do not depend on it.

    Raises:
        ConfigError: a size is negative, or `noise` is out of range.
    """
    if not 0 <= noise <= 0.8:
        raise ConfigError(f"toolworld: noise must be between 0 and 0.8, got {noise}")
    if size < 0 or test_size < 0:
        raise ConfigError(f"toolworld: sizes must not be negative, got {size} and {test_size}")
    world = open_world(seed)
    used_queries: set[str] = set()
    seen = _SplitGenerator("test_seen", TRAINING_AGENTS, world, seed).write(test_size, used_queries)
    unseen = _SplitGenerator("test_unseen", UNSEEN_AGENTS, world, seed).write(test_size, used_queries)
    return ToolWorld(
        _SplitGenerator("train", TRAINING_AGENTS, world, seed, noise).write(size, used_queries), seen, unseen
    )


def agent_trajectories(agent: Agent, count: int, seed: int = 0) -> list[Trajectory]:
    """Generate `count` training trajectories of one agent, which may have any number of tools but needs a chain's."""
    assert agent.chains, f"{agent.name} has the tools of no chain"
    return _SplitGenerator("train", [agent], open_world(seed), seed).write(count, set())


@dataclass(slots=True)
class _Task:
    kind: Kind
    query: str
    stages: list[list[PlannedCall]] = field(default_factory=list)
    answer: str = ""


class _SplitGenerator:
    """Draws the tasks of one split and generates their trajectories."""

    def __init__(
        self, split: Split, agents: Sequence[Agent], world: World, seed: int, noise: float = VISIBLE_SHARE
    ) -> None:
        self.split, self.agents, self.world = split, agents, world
        self.rng = Random(f"{split} {seed}")
        self.draw = ValueSampler(self.rng, world, held_out=split == "test_seen")
        self.noise = Noise(self.rng, silent=split == "train", share=noise)

    def write(self, count: int, used_queries: set[str]) -> list[Trajectory]:
        """`count` trajectories. A task whose query was used before is drawn again, up to a hundred times."""
        trajectories = []
        for number in range(1, count + 1):
            agent, task = self._unused_task(used_queries)
            used_queries.add(task.query)
            name = f"toolworld-{self.split.replace('_', '-')}-{number:04d}"
            with self.world.scratch():
                trajectories.append(_Episode(agent, self.world, self.noise).run(name, task, self.split))
        return trajectories

    def _unused_task(self, used_queries: set[str]) -> tuple[Agent, _Task]:
        kind = self.rng.choices(list(SHARES), list(SHARES.values()))[0]
        agents = [agent for agent in self.agents if agent.chains] if kind == "chain" else self.agents
        for _ in range(100):
            agent = self.rng.choice(agents)
            task = self._task(kind, agent)
            if task.query not in used_queries:
                break
        return agent, task

    def _task(self, kind: Kind, agent: Agent) -> _Task:
        kinds: dict[Kind, Callable[[Agent], _Task]] = {
            "single": self._single,
            "chain": self._chain,
            "parallel": self._parallel,
            "none": self._none,
            "refusal": self._refusal,
        }
        task = kinds[kind](agent)
        opening = self.rng.choice(OPENINGS) if self.rng.random() < 0.25 else ""
        closing = self.rng.choice(CLOSINGS) if self.rng.random() < 0.25 and kind != "none" else ""
        task.query = f"{opening}{task.query}{closing}"
        return task

    def _wordings(self, wordings: tuple[str, ...], held_out: tuple[str, ...]) -> tuple[str, ...]:
        return {"train": wordings, "test_seen": held_out, "test_unseen": wordings + held_out}[self.split]

    def _share(self, *groups: Sequence[Any]) -> Any:
        """Draw a value. Every fourth of a group is reserved for the test splits, and so are all of unseen domains."""
        if self.split == "test_unseen" and groups != (GENERAL,):
            return self.rng.choice([value for group in groups for value in group])
        reserved = self.split != "train"
        return self.rng.choice([value for group in groups for i, value in enumerate(group) if (i % 4 == 3) == reserved])

    def _request(self, name: str) -> tuple[str, PlannedCall]:
        function = FUNCTIONS[name]
        slots = function.draw(self.draw)
        wording = self.rng.choice(self._wordings(function.wordings, function.held_out))
        arguments = function.arguments(wording, slots)
        query = fill(wording, slots, self.rng)
        return query + "." * query.endswith('"'), (name, lambda results: arguments)

    def _single(self, agent: Agent) -> _Task:
        query, planned = self._request(self.rng.choice(agent.names))
        return _Task("single", query, [[planned]])

    def _chain(self, agent: Agent) -> _Task:
        chain = self.rng.choice(agent.chains)
        slots = chain.draw(self.draw)
        wording = self.rng.choice(self._wordings(chain.wordings, chain.held_out))
        values = plain_values(slots)
        stages: list[list[PlannedCall]] = [[(name, partial(make, values))] for name, make in chain.steps]
        return _Task("chain", fill(wording, slots, self.rng), stages)

    def _parallel(self, agent: Agent) -> _Task:
        count = 2 if self.rng.random() < 0.8 else 3
        first = self.rng.choice(agent.names)
        names = [first] * count if self.rng.random() < 0.4 else self.rng.sample(agent.names, count)
        requests = [self._request(name) for name in names]
        if self._interdependent(agent, [Call(name, make([])) for _, (name, make) in requests]):
            return self._parallel(agent)
        frame = self.rng.choice(PAIRS if count == 2 else TRIPLES)
        return _Task(
            "parallel", frame.format(*[query for query, _ in requests]), [[planned for _, planned in requests]]
        )

    def _interdependent(self, agent: Agent, calls: list[Call]) -> bool:
        """Whether calls depend on each other: equal, about the same object, or failing in some order."""
        named: list[str] = []
        for call in calls:
            named += {value for value in plain_arguments(call).values() if isinstance(value, str) and _ID.match(value)}
        if len(set(named)) < len(named) or any(call in calls[:index] for index, call in enumerate(calls)):
            return True
        for order in (calls, calls[::-1]):
            with self.world.scratch():
                if any(run(agent.tools, self.world, call).failed for call in order):
                    return True
        return False

    def _none(self, agent: Agent) -> _Task:
        if self.rng.random() < 0.5:
            question, answer = self._share(*[service.small_talk for service in agent.services])
        else:
            question, answer = self._share(GENERAL)
        return _Task("none", question, answer=answer)

    def _refusal(self, agent: Agent) -> _Task:
        if self.rng.random() < 0.5:
            wording = self._share(*[service.unsupported_requests for service in agent.services])
            query = fill(wording, self._common_slots(), self.rng)
        else:
            query, _ = self._request(self.rng.choice(self._tools_of_others(agent)))
        topics = " and ".join(service.topic for service in agent.services)
        return _Task("refusal", query, answer=self.rng.choice(REFUSALS).format(topics=topics))

    def _tools_of_others(self, agent: Agent) -> list[str]:
        """Tools of other services, except those that look up a name: the agent's own tools may be able to do that."""
        services = UNSEEN_SERVICES if self.split == "test_unseen" else TRAINING_SERVICES
        foreign = [service for service in services if service not in agent.services]
        functions = [function for service in foreign for function in service.functions.values()]
        return [function.name for function in functions if function.tool.required != ("name",)]

    def _common_slots(self) -> dict[str, Any]:
        person = f"{self.draw.pick(FIRST_NAMES)} {self.draw.pick(LAST_NAMES)}"
        draw = self.draw
        return {"person": person, "city": draw.city(), "day": draw.day(), "number": draw.number(5, 40, 5)}


class _Episode:
    """Executes a task call by call, including wrong calls and their corrections."""

    def __init__(self, agent: Agent, world: World, noise: Noise) -> None:
        self.agent, self.world, self.noise = agent, world, noise
        self.messages: list[Message] = [Message("system", agent.prompt)]
        self.sites: list[dict[str, Any]] = []
        self.calls = 0

    def run(self, name: str, task: _Task, split: Split) -> Trajectory:
        """The complete trajectory."""
        self.messages.append(Message("user", task.query))
        results: list[Any] = []
        answers: list[str] = []
        for position, stage in enumerate(task.stages):
            calls = [Call(tool, make(results)) for tool, make in stage]
            done = self._stage(calls, last=position == len(task.stages) - 1)
            results += [outcome.result for _, outcome in done]
            answers = [FUNCTIONS[call.name].answer(plain_arguments(call), outcome.result) for call, outcome in done]
        self.messages.append(Message("assistant", self._answer(answers, task)))
        label = {
            "agent": self.agent.name,
            "kind": task.kind,
            "split": split,
            "seed": self.world.seed,
            "sites": self.sites,
        }
        return Trajectory(tuple(self.messages), self.agent.tools, name, extra={"toolworld": label})

    def _answer(self, answers: list[str], task: _Task) -> str:
        """The last reply, in the style of all agents: a fixed opening for results and for small talk."""
        if answers:
            return f"Here you go: {' '.join(answers)}"
        return task.answer if task.kind == "refusal" else f"Sure. {task.answer}"

    def _stage(self, golds: list[Call], last: bool) -> list[tuple[Call, Outcome]]:
        """Execute the calls of a reply; failed calls are corrected in further replies."""
        done: list[tuple[Call, Outcome] | None] = [None] * len(golds)
        pending = list(range(len(golds)))
        again = False
        while pending:
            wrong = self._failing_call([golds[index] for index in pending], again)
            attempts = [wrong.get(position) or self._gold(golds[index], last) for position, index in enumerate(pending)]
            self._reply(attempts)
            for attempt, index in zip(attempts, pending, strict=True):
                if not attempt.outcome.failed:
                    done[index] = (attempt.call, attempt.outcome)
            pending = [index for index in pending if done[index] is None]
            again = True
        return [item for item in done if item is not None]

    def _failing_call(self, calls: list[Call], again: bool) -> dict[int, Attempt]:
        """At most one failing call of a reply, by its position."""
        for position, call in enumerate(calls):
            attempt = self.noise.visible_error(self.agent, self.world, call, again)
            if attempt is not None:
                return {position: attempt}
        return {}

    def _gold(self, call: Call, last: bool) -> Attempt:
        """Execute the gold call, or occasionally a silently wrong one, and keep its effects on the world."""
        wrong = self.noise.silent_error(self.agent, self.world, call, last)
        chosen, error = (wrong.call, wrong.error) if wrong else (call, "")
        outcome = run(self.agent.tools, self.world, chosen)
        assert not outcome.failed, f"a gold call failed: {chosen} {outcome.feedback}"
        return Attempt(chosen, error, outcome)

    def _reply(self, attempts: list[Attempt]) -> None:
        position = len(self.messages)
        calls = []
        for index, attempt in enumerate(attempts):
            self.calls += 1
            calls.append(Call(attempt.call.name, attempt.call.arguments, f"call_{self.calls}"))
            if attempt.error:
                self.sites.append({"message": position, "index": index, "error": attempt.error})
        self.messages.append(Message("assistant", None, tuple(calls)))
        for call, attempt in zip(calls, attempts, strict=True):
            self.messages.append(Message("tool", attempt.outcome.feedback, call_id=call.id, name=call.name))
