"""Queries of several steps, many at a time: each round asks for the next reply of every query still under way."""

from __future__ import annotations

from collections.abc import Container, Iterator
from itertools import islice
from typing import Any

from tltrain.evaluation.inference import Asker, Line
from tltrain.evaluation.outcomes import read_line
from tltrain.testsets.base import TestSet
from tltrain.testsets.episodes import Episode, Executor
from tltrain.testsets.tooleyes import is_valid


def play(
    asker: Asker, test: TestSet, done: Container[int], executor: Executor, together: int, max_steps: int
) -> Iterator[list[Line]]:
    """Lines of the queries whose index is not in `done`, as they end; `together` of them are under way at a time.

    A line is `{"index", "replies", "feedback", "executor", "dialect", "valid", "tokens"}`; it has a `reason` where the
    model could not be asked for the last reply, which ends a query.
    """
    left = (item for item in test.items if item.index not in done)
    under_way: dict[int, _Play] = {}
    while True:
        fresh = islice(left, together - len(under_way))
        under_way |= {item.index: _Play(Episode(item, executor, max_steps)) for item in fresh}
        if not under_way:
            return
        for lines in asker.ask({index: one.prompt for index, one in under_way.items()}, frozenset()):
            for line in lines:
                under_way[line["index"]].take(line)
        ended = [index for index, one in under_way.items() if one.prompt is None]
        yield [under_way.pop(index).line(index) for index in ended]


class _Play:
    """An episode and the replies it was given."""

    def __init__(self, episode: Episode) -> None:
        self.episode = episode
        self.replies: list[Line] = []

    @property
    def prompt(self) -> Any:
        """The next prompt, None at the end."""
        stopped = self.replies and "reason" in self.replies[-1]
        return None if stopped else self.episode.prompt

    def take(self, line: Line) -> None:
        """Give a reply to the episode."""
        self.replies.append(line)
        if "reason" not in line:
            self.episode.reply(read_line(line, self.episode.item.prompt.tools))

    def line(self, index: int) -> Line:
        """The episode as saved."""
        kept = ("text", "calls", "finished")
        last = self.replies[-1]
        told: dict[str, Any] = {name: last[name] for name in ("reason", "too_long") if name in last}
        given = self.replies[:-1] if told else self.replies
        return {
            "index": index,
            "replies": [{name: one[name] for name in kept if name in one} for one in given],
            "feedback": self.episode.feedback,
            "executor": self.episode.executor.name,
            "dialect": last["dialect"],
            "valid": is_valid(self.episode.answer),
            "tokens": sum(one["tokens"] for one in self.replies),
            "prompt_tokens": sum(one.get("prompt_tokens", 0) for one in self.replies),
            **told,
        }
