"""A session of one model, or of several on the same user turns, and its trajectories as training data."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import AbstractContextManager, nullcontext
from pathlib import Path
from typing import Any

from rich.text import Text

from tltrain.chat.conversation import Conversation, EndEvent, Event
from tltrain.chat.display import Display
from tltrain.files import append_json_line

HELP = "/tools lists the tools, /clear starts a new conversation, /exit or Ctrl-D ends"


def check_writable(path: Path) -> None:
    """Raise OSError now, not after the conversation, if the file cannot be written."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.open("a").close()


class Session:
    """Conversations that share the user's turns.

    Args:
        conversations: one for each model.
        display: prints what happens; None prints nothing.
        save: JSON Lines to which every conversation is appended when it ends.
    """

    def __init__(
        self, conversations: Sequence[Conversation], display: Display | None = None, save: Path | None = None
    ) -> None:
        self.conversations, self.display, self.save = tuple(conversations), display, save
        self.saved = 0
        """Trajectories written so far."""

    def ask(self, query: str) -> list[list[Event]]:
        """A user turn: the events of each model's turn."""
        if len(self.conversations) == 1:
            return [self._ask_one(query)]
        turns = []
        for conversation in self.conversations:
            with self._waiting(conversation.speaker.name):
                turns.append(list(conversation.ask(query)))
        if self.display:
            names = [conversation.speaker.name for conversation in self.conversations]
            self.display.pair(list(zip(names, turns, strict=True)))
        return turns

    def _ask_one(self, query: str) -> list[Event]:
        (conversation,) = self.conversations
        events, found = conversation.ask(query), list[Event]()
        while not (found and isinstance(found[-1], EndEvent)):
            with self._waiting(conversation.speaker.name):
                found.append(next(events))
            if self.display:
                self.display.event(found[-1])
        return found

    def _waiting(self, name: str) -> AbstractContextManager[Any]:
        """Shows that a model is at work."""
        if self.display is None or not self.display.console.is_terminal:
            return nullcontext()
        return self.display.console.status(Text(name, "dim"))

    def command(self, line: str) -> bool:
        """Obey a line that starts with a slash; returns False where it ends the session."""
        assert self.display is not None
        match line.strip():
            case "/exit" | "/quit" | "/bye":
                return False
            case "/clear":
                self.finish()
                self.display.note("new conversation")
            case "/tools":
                self.display.tools(self.conversations[0].toolbox.tools)
            case _:
                self.display.note(HELP)
        return True

    def finish(self) -> None:
        """Save the conversations as trajectories, those with a finished turn, and start new ones."""
        for conversation in self.conversations:
            trajectory = conversation.trajectory()
            if trajectory is not None and self.save is not None:
                append_json_line(self.save, trajectory.to_json())
                self.saved += 1
            conversation.clear()

    def greet(self) -> None:
        """Print models, tools, and what could be asked."""
        assert self.display is not None
        toolbox = self.conversations[0].toolbox
        for conversation in self.conversations:
            speaker = conversation.speaker
            self.display.note(f"{speaker.name} writes calls as {speaker.dialect_name}")
        self.display.note(f"{toolbox.name}: {', '.join(tool.name for tool in toolbox.tools)}")
        for number, example in enumerate(toolbox.examples):
            self.display.note(f"{'such as' if number == 0 else '       '} {example}")
        self.display.note(HELP)

    @staticmethod
    def answered(turn: Sequence[Event]) -> bool:
        """Whether a turn ended with an answer."""
        return isinstance(turn[-1], EndEvent) and turn[-1].end == "answer"

    def to_json(self, query: str, turns: Sequence[Sequence[Event]]) -> dict[str, Any]:
        """The exchange of one query: for each model the events of its turn, the answer, and the trajectory so far."""
        models = [self._model_json(*pair) for pair in zip(self.conversations, turns, strict=True)]
        return {"query": query, "tools": self.conversations[0].toolbox.name, "models": models}

    def _model_json(self, conversation: Conversation, turn: Sequence[Event]) -> dict[str, Any]:
        speaker, last, trajectory = conversation.speaker, turn[-1], conversation.trajectory()
        return {
            "model": speaker.name,
            "dialect": speaker.dialect_name,
            "answer": last.text if isinstance(last, EndEvent) and last.end == "answer" else None,
            "events": [event.to_json() for event in turn],
            "trajectory": None if trajectory is None else trajectory.to_json(),
        }
