"""ToolAlpaca: a record is an API with its functions and many queries; each query is a trajectory.

Training files have `Instances`: intermediate steps (thought, action, input, API response) and the final `output`. Test
files have `Instructions` and `Golden_Answers`: each gold call is a separate reply without feedback, since a later call
may use the result of an earlier call. Tools come from `Function_Description`, which gives types in prose (`Required.
string. …`). The allowed values of an argument are kept in its description only.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Any

from tltrain.formats.fields import FieldError, arguments_of, each, expected, json_in, list_of, record_of, rest, text_of
from tltrain.formats.tools import infer_tools, json_type
from tltrain.trajectory import Call, Message, Tool, Trajectory

_STEP = frozenset(("input", "output", "intermediate_steps"))
_PARAMETERS = re.compile(r"^Parameters: ?(.*)$", re.MULTILINE)
_ARGUMENT = re.compile(r"(Required\. |Optional\. )?([A-Za-z]+)", re.IGNORECASE)


def detect(record: Any) -> bool:
    """Whether the record has function descriptions, and instances or instructions."""
    if type(record) is not dict or not record.keys() & {"Function_Description", "NLDocumentation"}:
        return False
    return "Instances" in record or "Instructions" in record


def read(record: Any, tools: Sequence[Tool] | None, source: str) -> list[Trajectory]:
    """All queries of the API in `record`."""
    api = record_of(record)
    name = text_of(api, "Name")
    listed = _tools(api["Function_Description"]) if "Function_Description" in api else tools
    samples = _instances(api) if "Instances" in api else _golds(api)
    return [
        Trajectory(
            messages, infer_tools(messages) if listed is None else tuple(listed), f"{name}/{index}", source, extra=extra
        )
        for index, (messages, extra) in enumerate(samples)
    ]


_Sample = tuple[tuple[Message, ...], dict[str, Any]]


def _golds(api: dict[str, Any]) -> list[_Sample]:
    queries, golds = list_of(api, "Instructions"), list_of(api, "Golden_Answers")
    if len(queries) != len(golds):
        raise FieldError("Golden_Answers", f"expected {len(queries)} (one for each instruction), got {len(golds)}")
    users = each(_query, queries, "Instructions")
    replies = each(lambda calls: each(_gold, calls, ""), golds, "Golden_Answers")
    return [((user, *reply), {}) for user, reply in zip(users, replies, strict=True)]


def _query(value: Any) -> Message:
    if type(value) is not str:
        raise expected("text", value)
    return Message("user", value)


def _gold(value: Any) -> Message:
    record = record_of(value)
    call = Call(text_of(record, "Action"), arguments_of(record.get("Action_Input"), "Action_Input"))
    return Message("assistant", calls=(call,), extra=rest(record, {"Action", "Action_Input"}))


def _instances(api: dict[str, Any]) -> list[_Sample]:
    return list(each(_instance, api["Instances"], "Instances"))


def _instance(value: Any) -> _Sample:
    record = record_of(value)
    steps = each(_step, record.get("intermediate_steps"), "intermediate_steps")
    messages = [_query(record.get("input")), *(message for step in steps for message in step)]
    if record.get("output") is not None:
        messages.append(Message("assistant", text_of(record, "output")))
    return tuple(messages), rest(record, _STEP)


def _step(value: Any) -> tuple[Message, Message]:
    """The reply and its feedback from `[[action, input, log], feedback]`; the log contains the thought."""
    if type(value) is not list or len(value) != 2 or type(value[0]) is not list or len(value[0]) < 2:
        raise FieldError("", "expected [[action, input, log], feedback]")
    (name, arguments, *logs), feedback = value
    if type(name) is not str or type(feedback) is not str:
        raise expected("text", feedback if type(name) is str else name)
    thought = str(logs[0]).partition("Action:")[0].strip().removesuffix("ASSISTANT") if logs else ""
    thought = thought.removeprefix("ASSISTANT ").removeprefix("Thought:").strip()
    reply = Message("assistant", thought or None, (Call(name, arguments_of(arguments, "[0][1]")),))
    return reply, Message("tool", feedback, name=name)


def _tools(value: Any) -> tuple[Tool, ...]:
    """The functions as tools; an entry without parameters (`components`) describes results, not a function."""
    described = ((name, text) for name, text in record_of(value).items() if type(text) is str)
    return tuple(_tool(name, text, match[1]) for name, text in described if (match := _PARAMETERS.search(text)))


def _tool(name: str, text: str, parameters: str) -> Tool:
    table = record_of(json_in(parameters, f"Function_Description.{name}"))
    properties = {argument: _property(str(described)) for argument, described in table.items()}
    required = [argument for argument, described in table.items() if str(described).lower().startswith("required.")]
    schema = {"type": "object", "properties": properties, "required": required}
    description, _, results = text.partition("\nParameters:")
    return Tool(name, description, schema, extra={"output": results.partition("\n")[2]})


def _property(description: str) -> dict[str, Any]:
    match = _ARGUMENT.match(description)
    return {**(json_type(match[2]) if match else {}), "description": description}
