"""A model that says what it is told to say, and keeps what it was asked."""

from __future__ import annotations

from collections.abc import Container, Iterator, Mapping
from typing import Any

from tltrain.chat.conversation import Speaker
from tltrain.dialects import hermes
from tltrain.evaluation.predictions import Prediction, no_reply
from tltrain.trajectory import Call, Trajectory


class Scripted:
    """An inference backend. A line of its script is the text of a reply, a list of calls that an endpoint told apart,
    or a finished prediction; at the end of the script it has nothing to say."""

    def __init__(self, *script: str | list[dict[str, Any]] | Prediction) -> None:
        self.script = list(script)
        self.prompts: list[Trajectory] = []

    def complete(self, prompts: Mapping[int, Trajectory], done: Container[int]) -> Iterator[list[Prediction]]:
        for index, prompt in prompts.items():
            assert index not in done
            self.prompts.append(prompt)
            line = self.script.pop(0) if self.script else no_reply(index, "hermes", "the script has ended")
            if isinstance(line, str):
                line = Prediction(index, line)
            elif isinstance(line, list):
                line = Prediction(index, calls=tuple(line))
            yield [line]


def scripted(*script: str | list[dict[str, Any]] | Prediction, name: str = "scripted") -> Speaker:
    return Speaker(name, Scripted(*script), "hermes", hermes)


def calling(name: str, text: str = "", **arguments: Any) -> str:
    """A reply with one call."""
    return hermes.format([Call(name, arguments)], text)
