"""Prompts with golds, a row per step, as TRL, verl and ms-swift read them for reinforcement learning.

A row belongs to a reply that is neither failed nor labelled 0: the messages before it are the prompt, and its calls are
the gold. Golds and tools are JSON text, as the columns of Arrow tables would otherwise give every call all the argument
names of the file, null where it has none.

TRL and verl show all prompts of a training the same tools. A row here has its own, so they are part of the prompt:
in TRL's rows the prompt is the text that the chat template writes, in verl's the tools are in the system message.
ms-swift takes tools from the row.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from functools import cached_property
from itertools import count
from typing import TYPE_CHECKING, Any

from tltrain import dialects
from tltrain.audit.failure_detectors import assess_calls
from tltrain.dialects import Dialect
from tltrain.encode.rendering import Renderer
from tltrain.errors import ConfigError, DataError
from tltrain.formats import jsonio, msswift
from tltrain.formats.replies import thought_before
from tltrain.trajectory import Call, Message, Tool, Trajectory

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

_PROBE = "zqprobe"
"""Replaces a system message to find out what a template writes around it; occurs in no natural text."""
_PROBE_CALL = Call("zqname", {"zqkey": "zqvalue"})


@dataclass(frozen=True, slots=True)
class Question:
    """The messages before a step, with the tools, and the calls of the reply that is known to be right."""

    trajectory: Trajectory
    """Tools and messages up to the reply; the id is `trajectory#message`."""
    gold: tuple[Call, ...]

    @property
    def golds(self) -> str:
        """The acceptable replies, of which a trajectory has one, as JSON."""
        return jsonio.dumps([[{"name": call.name, "arguments": call.arguments} for call in self.gold]])

    @property
    def tools(self) -> str:
        """The specifications of the tools, as JSON."""
        return jsonio.dumps([tool.to_json(with_extra=True) for tool in self.trajectory.tools])


def questions(trajectory: Trajectory) -> Iterator[Question]:
    """A question for every reply that is neither failed nor labelled 0."""
    failed = {reading.message for reading in assess_calls(trajectory) if reading.failed}
    for index, reply in trajectory.replies():
        if index not in failed and reply.weight != 0:
            messages = tuple(replace(message, weight=None) for message in trajectory.messages[:index])
            name = f"{trajectory.id or trajectory.source}#{index}"
            yield Question(replace(trajectory, messages=messages, id=name), reply.calls)


class PromptTemplate:
    """The chat template of a model, for prompts with the tools inside.

    Args:
        tokenizer: of the model that will be trained.

    Raises:
        ConfigError: the template writes calls in no known text form.
    """

    def __init__(self, tokenizer: PreTrainedTokenizerBase) -> None:
        self.tokenizer, self.renderer = tokenizer, Renderer(tokenizer)
        template = tokenizer.chat_template
        name = dialects.detect(template) if isinstance(template, str) else None
        if name is None:
            raise ConfigError(f"the chat template writes calls in no known form ({', '.join(dialects.TEXT_FORMS)})")
        self.dialect: str = name

    def text(self, trajectory: Trajectory) -> str:
        """The messages with tools and generation prompt, without the token that the tokenizer puts before any text.

        Raises:
            TemplateError: the chat template cannot render the messages.
        """
        text = self.renderer.prompt(trajectory, len(trajectory.messages))
        start = self.tokenizer.bos_token
        added = start is not None and self.tokenizer("a")["input_ids"][0] == self.tokenizer.bos_token_id
        return text.removeprefix(start) if added and start is not None else text

    def messages(self, trajectory: Trajectory) -> list[dict[str, str]]:
        """Messages of role and text, which the chat template renders, without tools, to the prompt of the trajectory:
        the tools are part of the system message, and calls are text.

        Raises:
            TemplateError: the chat template cannot render the messages.
            DataError: no such messages exist, because the template lists tools elsewhere, or renders calls otherwise.
        """
        rest = [self._plain(message) for message in trajectory.messages]
        system = self._system(trajectory)
        if system is not None:
            rest = [Message("system", system), *rest[trajectory.messages[0].role == "system" :]]
        expected = self.renderer.prompt(trajectory, len(trajectory.messages))
        if self.renderer.prompt(Trajectory(tuple(rest), source=trajectory.source), len(rest)) != expected:
            raise DataError("the chat template needs tools or calls as such: they cannot be written as plain messages")
        return [{"role": message.role, "content": message.content or ""} for message in rest]

    def _plain(self, message: Message) -> Message:
        text = thought_before(message) + (message.content or "")
        return Message(message.role, self._form.format(message.calls, text) if message.calls else text)

    def _system(self, trajectory: Trajectory) -> str | None:
        """What the template writes as the system message where it lists the tools; None if it writes none."""
        user = Message("user", "a")
        own = trajectory.messages[:1] if trajectory.messages and trajectory.messages[0].role == "system" else ()
        shown = self.renderer.prompt(replace(trajectory, messages=(*own, user)), len(own) + 1)
        before, _, after = self.renderer.prompt(Trajectory((Message("system", _PROBE), user)), 2).partition(_PROBE)
        if len(shown) < len(before) + len(after) or not (shown.startswith(before) and shown.endswith(after)):
            return None
        return shown[len(before) : len(shown) - len(after)]

    @cached_property
    def _form(self) -> Dialect:
        return dialects.get(self.dialect)

    def calls_survive_decoding(self) -> bool:
        """Whether calls can be parsed in a text decoded without special tokens, as verl and TRL decode replies."""
        ids = self.renderer.token_ids(self._form.format([_PROBE_CALL]))
        text = self.tokenizer.decode(ids, skip_special_tokens=True)
        return self._form.parse(text, [Tool(_PROBE_CALL.name)]).calls == (_PROBE_CALL,)


def trl_row(question: Question, template: PromptTemplate) -> dict[str, Any]:
    """TRL's `prompt` as text, and the columns that `ToolCallReward` reads."""
    return {
        "id": question.trajectory.id,
        "prompt": template.text(question.trajectory),
        "golds": question.golds,
        "tools": question.tools,
        "dialect": template.dialect,
    }


def verl_row(question: Question, template: PromptTemplate, index: int) -> dict[str, Any]:
    """verl's `data_source`, `prompt`, `ability`, `reward_model` and `extra_info`; `index` is the row's number."""
    extra = {"index": index, "id": question.trajectory.id, "tools": question.tools, "dialect": template.dialect}
    return {
        "data_source": "tltrain",
        "prompt": template.messages(question.trajectory),
        "ability": "tool_calls",
        "reward_model": {"style": "rule", "ground_truth": question.golds},
        "extra_info": extra,
    }


def swift_row(question: Question, dialect: str) -> dict[str, Any]:
    """ms-swift's `messages` and `tools`, and the columns `solution` and `dialect`."""
    record = msswift.write(question.trajectory)
    return {**record, "solution": question.golds, "dialect": dialect}


PromptWriter = Callable[[Question], dict[str, Any]]

PROMPT_FORMATS = ("trl-grpo", "verl", "ms-swift-grpo")
"""Formats of prompts with golds, for `prompt_writer`."""


def prompt_writer(name: str, tokenizer: PreTrainedTokenizerBase | None) -> PromptWriter:
    """The function that turns a question into a row of a format in `PROMPT_FORMATS`.

    Raises:
        ConfigError: the format needs a tokenizer, or cannot hold prompts of this model.
    """
    if name == "ms-swift-grpo":
        dialect = "hermes" if tokenizer is None else PromptTemplate(tokenizer).dialect
        return lambda question: swift_row(question, dialect)
    if tokenizer is None:
        raise ConfigError(f"--to {name}: needs --model for its chat template, which writes the tools into the prompt")
    template = PromptTemplate(tokenizer)
    if name == "trl-grpo":
        return lambda question: trl_row(question, template)
    if not template.calls_survive_decoding():
        raise ConfigError("--to verl: this model marks calls by special tokens, which verl removes before the reward")
    numbers = count()
    return lambda question: verl_row(question, template, next(numbers))
