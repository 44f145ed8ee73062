"""Queries of several steps, many at a time: each round requests the next reply of every query still in progress."""

from __future__ import annotations

from collections.abc import Container, Iterator
from itertools import islice
from typing import Any

from tltrain.evaluation.inference import InferenceBackend
from tltrain.evaluation.predictions import Prediction
from tltrain.testsets.base import TestSet
from tltrain.testsets.episodes import Episode, Executor
from tltrain.testsets.tooleyes import is_valid
from tltrain.trajectory import Trajectory


def run_episodes(
    backend: InferenceBackend,
    test: TestSet,
    *,
    done: Container[int],
    executor: Executor,
    batch_size: int,
    max_steps: int,
) -> Iterator[list[Prediction]]:
    """Predictions for the queries whose index is not in `done`, as they end; `batch_size` of them run at a time.

    A prediction has a `reason` if there was no last reply (see `Prediction.reason`), which ends its query.
    """
    waiting = (item for item in test.items if item.index not in done)
    running: dict[int, _Run] = {}
    while True:
        fresh = islice(waiting, batch_size - len(running))
        running |= {item.index: _Run(Episode(item, executor, max_steps)) for item in fresh}
        if not running:
            return
        prompts = {index: run.prompt for index, run in running.items() if run.prompt is not None}
        for replies in backend.complete(prompts, frozenset()):
            for reply in replies:
                running[reply.index].add(reply)
        ended = [index for index, run in running.items() if run.prompt is None]
        yield [running.pop(index).prediction(index) for index in ended]


class _Run:
    """An episode and its replies so far."""

    def __init__(self, episode: Episode) -> None:
        self.episode = episode
        self.replies: list[Prediction] = []

    @property
    def prompt(self) -> Trajectory | None:
        """The next prompt, None at the end."""
        stopped = self.replies and self.replies[-1].reason is not None
        return None if stopped else self.episode.prompt

    def add(self, reply: Prediction) -> None:
        """Pass a reply to the episode."""
        self.replies.append(reply)
        if reply.reason is None:
            self.episode.reply(reply.parse(self.episode.item.prompt.tools))

    def prediction(self, index: int) -> Prediction:
        """The whole episode, as it is saved."""
        last = self.replies[-1]
        given = self.replies if last.reason is None else self.replies[:-1]
        return Prediction(
            index,
            dialect=last.dialect,
            replies=tuple(_reply(reply) for reply in given),
            feedback=tuple(outcome.feedback for outcome in self.episode.outcomes),
            failed=tuple(outcome.failed for outcome in self.episode.outcomes),
            executor=self.episode.executor.name,
            valid=is_valid(self.episode.answer),
            reason=last.reason,
            too_long=last.too_long,
            tokens=sum(reply.tokens or 0 for reply in self.replies),
            prompt_tokens=sum(reply.prompt_tokens or 0 for reply in self.replies),
        )


def _reply(reply: Prediction) -> dict[str, Any]:
    calls = {} if reply.calls is None else {"calls": list(reply.calls)}
    return {"text": reply.text, **calls, "finished": reply.finished}
