"""Typed values for tools, calls, messages and trajectories. Independent of models and file formats.

A trajectory is a list of tools and a conversation: a user query, then alternating replies and feedback. Values are
immutable; unknown fields of the source are kept, uninterpreted, in `extra`.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from dataclasses import KW_ONLY, dataclass, field
from typing import Any, Literal

Role = Literal["system", "user", "assistant", "tool"]
Arguments = dict[str, Any] | str
"""A JSON object, or the string that the model wrote if that is not a JSON object."""

EMPTY_PARAMETERS: dict[str, Any] = {"type": "object", "properties": {}}


@dataclass(frozen=True, slots=True)
class Tool:
    """A function that a model can call. `parameters` is the JSON Schema of its arguments."""

    name: str
    description: str = ""
    parameters: dict[str, Any] = field(default_factory=lambda: dict(EMPTY_PARAMETERS))
    inferred: bool = False
    """True if the specification was inferred from calls."""
    extra: dict[str, Any] = field(default_factory=dict)

    @property
    def properties(self) -> Mapping[str, Any]:
        """The schemas of the declared arguments by name; empty if the schema is malformed."""
        properties = self.parameters.get("properties") if isinstance(self.parameters, dict) else None
        return properties if isinstance(properties, dict) else {}

    @property
    def required(self) -> tuple[str, ...]:
        """The names of the required arguments; empty if the schema is malformed."""
        required = self.parameters.get("required") if isinstance(self.parameters, dict) else None
        return tuple(name for name in required if isinstance(name, str)) if isinstance(required, list) else ()

    def to_json(self, with_extra: bool = False) -> dict[str, Any]:
        """The OpenAI format, as chat templates expect it; `with_extra` adds `extra` and `inferred` to `function`."""
        function = {"name": self.name, "description": self.description, "parameters": self.parameters}
        if with_extra:
            function |= self.extra | ({"inferred": True} if self.inferred else {})
        return {"type": "function", "function": function}


@dataclass(frozen=True, slots=True)
class Call:
    """A call of a tool. `id` is that of the source; None if it has none."""

    name: str
    arguments: Arguments = field(default_factory=dict)
    id: str | None = None
    extra: dict[str, Any] = field(default_factory=dict)

    def to_json(self, arguments_as_text: bool = False) -> dict[str, Any]:
        """The OpenAI format, including `extra`; `arguments` as an object for chat templates, or as a string for the
        API."""
        arguments = self.arguments
        if arguments_as_text and not isinstance(arguments, str):
            arguments = json.dumps(arguments, ensure_ascii=False, allow_nan=False)
        value: dict[str, Any] = {"type": "function", "function": {"name": self.name, "arguments": arguments}}
        return (value if self.id is None else {"id": self.id, **value}) | self.extra


@dataclass(frozen=True, slots=True)
class Message:
    """A turn of the conversation. A *reply* is an assistant message; *feedback* is a tool message.

    `content` is None if it is null or absent in the source, which differs from an empty string.
    """

    role: Role
    content: str | None = None
    calls: tuple[Call, ...] = ()
    thought: str | None = None
    """Reasoning (`reasoning_content`), if the source separates it from the content."""
    _: KW_ONLY
    call_id: str | None = None
    """For feedback: the id of the call that it answers."""
    name: str | None = None
    """For feedback: the name of the tool that answered."""
    weight: float | None = None
    """Explicit loss weight of a reply (0 or 1, as in OpenAI's fine-tuning files); None if not given."""
    extra: dict[str, Any] = field(default_factory=dict)

    def to_json(self, arguments_as_text: bool = False) -> dict[str, Any]:
        """The OpenAI format, including `extra` and `weight`."""
        value: dict[str, Any] = {"role": self.role, "content": self.content}
        if self.thought is not None:
            value["reasoning_content"] = self.thought
        if self.calls:
            value["tool_calls"] = [call.to_json(arguments_as_text) for call in self.calls]
        if self.call_id is not None:
            value["tool_call_id"] = self.call_id
        if self.name is not None:
            value["name"] = self.name
        if self.weight is not None:
            value["weight"] = self.weight
        return value | self.extra | value


@dataclass(frozen=True, slots=True)
class CallSite:
    """A call with its position, `messages[message].calls[index]`, and its feedback, None if there is none."""

    message: int
    index: int
    call: Call
    feedback: Message | None


@dataclass(frozen=True, slots=True)
class Trajectory:
    """Tools and messages in order. `id` identifies it in reports; `source` is `path:line` if known."""

    messages: tuple[Message, ...]
    tools: tuple[Tool, ...] = ()
    id: str | None = None
    source: str | None = None
    _: KW_ONLY
    parallel_tool_calls: bool | None = None
    extra: dict[str, Any] = field(default_factory=dict)

    def to_json(self, arguments_as_text: bool = True) -> dict[str, Any]:
        """The record of an OpenAI-format file: `messages`, `tools`, and `id` if there is one."""
        value: dict[str, Any] = {} if self.id is None else {"id": self.id}
        value["messages"] = [message.to_json(arguments_as_text) for message in self.messages]
        value["tools"] = [tool.to_json(with_extra=True) for tool in self.tools]
        if self.parallel_tool_calls is not None:
            value["parallel_tool_calls"] = self.parallel_tool_calls
        return value | self.extra | value

    def replies(self) -> Iterator[tuple[int, Message]]:
        """The index and message of every reply."""
        return ((index, message) for index, message in enumerate(self.messages) if message.role == "assistant")

    def call_sites(self) -> Iterator[CallSite]:
        """Every call in order, with its feedback.

        Feedback belongs to the call with the same id; without an id, to the first call of the preceding reply that has
        no feedback yet.
        """
        for position, reply in self.replies():
            feedback: dict[int, Message] = {}
            for message in _feedback_after(self.messages, position):
                index = _answered(reply.calls, message, feedback)
                if index is not None:
                    feedback[index] = message
            for index, call in enumerate(reply.calls):
                yield CallSite(position, index, call, feedback.get(index))


def _feedback_after(messages: tuple[Message, ...], position: int) -> Iterator[Message]:
    for message in messages[position + 1 :]:
        if message.role == "assistant":
            return
        if message.role == "tool":
            yield message


def _answered(calls: tuple[Call, ...], message: Message, taken: Mapping[int, Message]) -> int | None:
    free = [index for index in range(len(calls)) if index not in taken]
    if message.call_id is not None:
        named = [index for index in free if calls[index].id == message.call_id]
        if named or any(call.id == message.call_id for call in calls):
            return named[0] if named else None
    unnamed = [index for index in free if message.call_id is None or calls[index].id is None]
    return unnamed[0] if unnamed else None
