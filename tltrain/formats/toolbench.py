"""ToolBench: search trees over real web APIs, and the conversations made from them.

A tree gives a trajectory for each path from the root to a leaf; paths that reach an answer come first. The fields of
`extra["branch"]` are `answer`, whether the path ends with an answer; `fork`, the index of the first message that is not
in an earlier trajectory of this tree; and `pruned`. The id is the number of the trajectory in its tree. The system
prompt and the first user message are taken from the training messages if there are any; otherwise the trajectory
starts with the query.

A conversation lists its tools in the system prompt as a Python literal; the prompt is kept unchanged.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

from tltrain.formats import conversations
from tltrain.formats.fields import FieldError, arguments_in, each, id_or_none, list_of, record_of, rest, text_of
from tltrain.formats.openai import message_of
from tltrain.formats.tools import choose_tools, tools_of
from tltrain.trajectory import Call, Message, Tool, Trajectory

_MARKER = "you have access to the following APIs:"
_ANSWERED = 3
"""The `observation_code` of a call to Finish that gives an answer."""
_GENERATION = frozenset(("function", "train_messages", "query"))

Path = tuple[dict[str, Any], ...]
"""The nodes from a child of the root to a leaf."""


def detect(record: Any) -> bool:
    """Whether the record is a search tree, or a conversation whose system prompt lists APIs."""
    if type(record) is dict and "answer_generation" in record and "tree" in record:
        return True
    turns = conversations.turns_of(record)
    return turns is not None and _MARKER in conversations.first_text(turns)


def read(record: Any, tools: Sequence[Tool] | None, source: str) -> list[Trajectory]:
    """The trajectories of the tree, or the single trajectory of the conversation, in `record`."""
    if type(record) is dict and "conversations" in record:
        return [_read_conversation(record, tools, source)]
    tree = record_of(record)
    generation = record_of(tree.get("answer_generation"))
    listed = tools_of(generation.get("function"), "answer_generation.function")
    opening = _opening(generation)
    root = record_of(record_of(tree.get("tree")).get("tree"))
    extra = {"win": tree.get("win"), **rest(generation, _GENERATION)}
    trajectories: list[Trajectory] = []
    seen: set[int] = set()
    for path in sorted(_paths(root), key=lambda path: not _answers(path)):
        fork = len(opening) + len(_messages(path[: _shared(path, seen)]))
        seen.update(map(id, path))
        branch = {"answer": _answers(path), "pruned": bool(path[-1].get("pruned")), "fork": fork}
        messages = (*opening, *_messages(path))
        trajectories.append(
            Trajectory(messages, listed, str(len(trajectories)), source, extra={**extra, "branch": branch})
        )
    return trajectories


def _opening(generation: dict[str, Any]) -> tuple[Message, ...]:
    training = generation.get("train_messages")
    if type(training) is list and training and type(training[0]) is list:
        first = each(message_of, training[0], "answer_generation.train_messages[0]")
        count = next((index for index, message in enumerate(first) if message.role == "assistant"), len(first))
        return first[:count]
    return (Message("user", text_of(generation, "query")),)


def _paths(root: dict[str, Any]) -> Iterator[Path]:
    """The paths to all leaves in depth-first order, without recursion."""
    stack: list[Path] = [(root,)]
    while stack:
        path = stack.pop()
        children = path[-1].get("children") or []
        if type(children) is not list or not all(type(child) is dict for child in children):
            raise FieldError("tree", "children: expected a list of objects")
        if not children and len(path) > 1:
            yield path[1:]
        stack.extend((*path, child) for child in reversed(children))


def _answers(path: Path) -> bool:
    return path[-1].get("observation_code") == _ANSWERED


def _shared(path: Path, seen: set[int]) -> int:
    """The number of leading nodes in `seen`, excluding a reply of which only a part (its thought) is in `seen`."""
    count = sum(id(node) in seen for node in path)
    while count > 0 and path[count - 1].get("node_type") != "Action Input":
        count -= 1
    return count


def _messages(path: Path) -> list[Message]:
    """The messages of a path. Thought, Action and Action Input form a reply; a thought without an action is a text
    reply."""
    messages: list[Message] = []
    thought: str | None = None
    name: str | None = None
    for node in path:
        kind, text = node.get("node_type"), text_of(node, "description")
        if kind == "Thought":
            if thought is not None:
                messages.append(Message("assistant", thought))
            thought = text
        elif kind == "Action":
            name = text
        elif kind == "Action Input" and name is not None:
            messages.append(Message("assistant", thought, (Call(name, arguments_in(text, "description")),)))
            messages.extend(_feedback(node, name))
            thought = name = None
        else:
            raise FieldError("node_type", f"expected Thought, or Action and Action Input, got {kind!r}")
    if name is not None:  # the search ended before the input
        messages.append(Message("assistant", thought, (Call(name, ""),)))
    elif thought is not None:
        messages.append(Message("assistant", thought))
    return messages


def _feedback(node: dict[str, Any], name: str) -> list[Message]:
    if node.get("observation") is None:
        return []
    extra = {"observation_code": node["observation_code"]} if "observation_code" in node else {}
    return [Message("tool", text_of(node, "observation"), name=name, extra=extra)]


def _read_conversation(record: dict[str, Any], tools: Sequence[Tool] | None, source: str) -> Trajectory:
    list_of(record, "conversations")
    messages = conversations.messages_of(record, conversations.react_message)
    listed = conversations.tools_in(messages[0].content or "", _MARKER, "conversations[0].value") if messages else None
    listed = choose_tools(listed, tools, messages)
    extra = rest(record, {"id", "conversations"})
    return Trajectory(messages, listed, id_or_none(record, "id"), source, extra=extra)
