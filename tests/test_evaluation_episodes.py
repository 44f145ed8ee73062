"""Queries of several steps: the calls of each reply are executed and answered until the query has ended."""

from __future__ import annotations

from typing import Any

from support.micro import FILE_TOOLS

from tltrain.dialects import hermes
from tltrain.evaluation.episodes import run_episodes
from tltrain.evaluation.predictions import Prediction
from tltrain.evaluation.scoring import score, with_verdicts
from tltrain.testsets.base import Item, TestSet
from tltrain.testsets.simulator import Simulator
from tltrain.testsets.tooleyes import ToolEyes
from tltrain.trajectory import Call, Message, Tool, Trajectory


class Scripted:
    """A backend that replies to every prompt with the next of its texts; the reply "cut" is truncated."""

    def __init__(self, *texts: str) -> None:
        self.texts = list(texts)
        self.prompts: list[list[int]] = []

    def complete(self, prompts: Any, done: Any) -> Any:
        self.prompts.append(sorted(prompts))
        text = self.texts.pop(0)
        reason = "too long" if text == "refused" else None
        yield [Prediction(index, text, "hermes", text != "cut", tokens=2, reason=reason) for index in prompts]


def stepwise(count: int) -> TestSet:
    tools = (FILE_TOOLS[0], Tool("finish", "", {"type": "object", "properties": {"answer": {"type": "string"}}}))
    prompt = Trajectory((Message("user", "Which files?"),), tools)
    return ToolEyes("tooleyes", "all", [Item(index, prompt, ()) for index in range(count)], count)


LIST = hermes.format([Call("list_files", {})])
FINISH = hermes.format([Call("finish", {"answer": "Two files."})])


def test_every_query_is_continued_until_it_has_ended() -> None:
    backend = Scripted(LIST, "cut", FINISH, "An answer without a call.")
    batches = list(run_episodes(backend, stepwise(3), done={1}, executor=Simulator(), batch_size=1, max_steps=10))
    assert backend.prompts == [[0], [0], [0], [2]]
    none, still_none, (first,), (last,) = batches
    assert none == still_none == []
    assert [reply["text"] for reply in first.replies] == [LIST, "cut", FINISH]
    assert (first.index, first.valid, first.tokens, len(first.feedback), first.failed) == (0, True, 6, 1, (None,))
    assert (last.index, last.valid) == (2, False)


def test_a_query_that_has_ended_is_saved_at_once_and_makes_room_for_another() -> None:
    class Uneven(Scripted):
        """Query 0 takes three replies, the others one."""

        def complete(self, prompts: Any, done: Any) -> Any:
            self.prompts.append(sorted(prompts))
            for index in prompts:
                text = LIST if index == 0 and len(self.prompts) < 3 else FINISH
                yield [Prediction(index, text, tokens=2)]

    backend = Uneven()
    batches = [
        [line.index for line in lines]
        for lines in run_episodes(backend, stepwise(4), done=(), executor=Simulator(), batch_size=2, max_steps=10)
    ]
    assert backend.prompts == [[0, 1], [0, 2], [0, 3]]
    assert batches == [[1], [2], [0, 3]]


def test_saved_episodes_score_as_they_were_played() -> None:
    backend = Scripted(LIST, "cut", FINISH)
    test = stepwise(2)
    lines = [
        line
        for lines in run_episodes(backend, test, done=(), executor=Simulator(), batch_size=8, max_steps=10)
        for line in lines
    ]
    row = score(test, lines).to_json()
    assert (row["n"], row["VA"], row["calls"], row["unparseable"]) == (2, 100, 4, 2)
    assert [line.verdict for line in with_verdicts(test, lines)] == [{"VA": True}, {"VA": True}]


def test_a_query_ends_where_its_prompt_is_refused() -> None:
    _, lines = run_episodes(
        Scripted(LIST, "refused"), stepwise(1), done=(), executor=Simulator(), batch_size=8, max_steps=10
    )
    (line,) = lines
    assert (line.reason, line.valid, len(line.replies)) == ("too long", False, 1)
    assert score(stepwise(1), lines).VA == 0
