"""ToolRL: `instruction` with a text description of the tools, `input` with the dialogue so far, `output` with the
reply.

The tags are `<user>`, `<think>` (`Message.thought`), `<tool_call>` (a JSON object on each line), `<response>`
(`Message.content`) and `<obs>` (the feedback of all calls of a reply; a JSON list that names each call in order becomes
one message per call). White space around the text of a tag is ignored. The instruction becomes the system message,
including the tool list.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import replace
from typing import Any

from tltrain.dialects import hermes
from tltrain.errors import DataError
from tltrain.formats import jsonio
from tltrain.formats.fields import FieldError, json_in, record_of, rest, text_of
from tltrain.formats.tools import choose_tools, tool_of
from tltrain.trajectory import Message, Tool, Trajectory

_KNOWN = frozenset(("instruction", "input", "output"))
_TOOL = re.compile(r"^\d+\. Name: ", re.MULTILINE)
_TAG = re.compile(r"\s*<(user|think|tool_call|response|obs)>")
_TITLE = "**Dialogue Records History**"


def detect(record: Any) -> bool:
    """Whether the record has instruction, input and output, with the title of the dialogue or a thought."""
    if type(record) is not dict or not record.keys() >= _KNOWN:
        return False
    return str(record["input"]).startswith(_TITLE) or str(record["output"]).lstrip().startswith("<think>")


def read(record: Any, tools: Sequence[Tool] | None, source: str) -> list[Trajectory]:
    """The dialogue in `record`; the output is its last reply."""
    sample = record_of(record)
    instruction = text_of(sample, "instruction")
    messages = [Message("system", instruction)]
    for field in ("input", "output"):
        for tag, text in _blocks(text_of(sample, field).removeprefix(_TITLE), field):
            _add(messages, tag, text, field)
    listed = choose_tools(_tools(instruction) or None, tools, messages)
    return [Trajectory(tuple(messages), listed, source=source, extra=rest(sample, _KNOWN))]


def _blocks(text: str, field: str) -> Iterator[tuple[str, str]]:
    """The tagged texts in order; a text may contain other tags, but not its own closing tag."""
    position = 0
    while match := _TAG.match(text, position):
        end = text.find(f"</{match[1]}>", match.end())
        if end < 0:
            raise FieldError(field, f"<{match[1]}> without </{match[1]}>")
        yield match[1], text[match.end() : end].strip()
        position = end + len(match[1]) + 3
    if left := text[position:].strip():
        raise FieldError(field, f"expected a tag, got {left[:40]!r}")


def _add(messages: list[Message], tag: str, text: str, field: str) -> None:
    """Add a block to the dialogue: a thought starts a reply; calls and response are added to the current reply."""
    if tag == "user":
        messages.append(Message("user", text))
    elif tag == "think":
        messages.append(Message("assistant", thought=text))
    elif tag == "obs":
        messages.extend(_feedback(text, messages[-1]))
    else:
        if messages[-1].role != "assistant":
            messages.append(Message("assistant"))
        messages[-1] = _with_calls(messages[-1], text, field) if tag == "tool_call" else _with_text(messages[-1], text)


def _with_calls(reply: Message, text: str, field: str) -> Message:
    parsed = hermes.parse(f"{hermes.OPEN}{text}{hermes.CLOSE}")
    if parsed.broken is not None:
        raise FieldError(f"{field}.tool_call", parsed.broken)
    return replace(reply, calls=reply.calls + parsed.calls)


def _with_text(reply: Message, text: str) -> Message:
    return replace(reply, content=text if reply.content is None else f"{reply.content}\n{text}")


def _feedback(text: str, reply: Message) -> list[Message]:
    try:
        values = jsonio.loads(text)
    except DataError:
        return [Message("tool", text)]
    names = [call.name for call in reply.calls]
    if len(names) > 1 and type(values) is list and [type(v) is dict and v.get("name") for v in values] == names:
        return [Message("tool", jsonio.dumps(value), name=value["name"]) for value in values]
    return [Message("tool", text)]


def _tools(instruction: str) -> tuple[Tool, ...]:
    """The numbered tools of the instruction: name, description, and the table of arguments on a separate line."""
    found = []
    for text in _TOOL.split(instruction)[1:]:
        name, described, after = text.partition("\nDescription: ")
        description, given, after = after.partition("\nParameters: ")
        if described and given:
            table = json_in(after.partition("\n")[0], "instruction")
            found.append(tool_of({"name": name, "description": description, "parameters": table}))
    return tuple(found)
