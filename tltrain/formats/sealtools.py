"""Seal-Tools: a query and the calls that answer it, all in a single reply.

The `responses` of a call (`["API_call_0"]`: the names of its results) are kept in its `extra`; a later argument that
refers to such a result keeps the name as its value. The file lists no tools: a trajectory gets those of the given tools
(`tool.jsonl`) that its calls name, in that order; if no tools are given, they are inferred.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from tltrain.formats.fields import arguments_of, each, id_or_none, list_of, record_of, rest, text_of
from tltrain.formats.tools import infer_tools
from tltrain.trajectory import Call, Message, Tool, Trajectory

_KNOWN = frozenset(("id", "query", "calling"))
_CALL = frozenset(("api", "parameters"))


def detect(record: Any) -> bool:
    """Whether the record has a `query` and a list of calls (`calling`)."""
    return type(record) is dict and "query" in record and type(record.get("calling")) is list


def read(record: Any, tools: Sequence[Tool] | None, source: str) -> list[Trajectory]:
    """The query in `record` and the reply that answers it."""
    sample = record_of(record)
    reply = Message("assistant", calls=each(_call, list_of(sample, "calling"), "calling"))
    messages = (Message("user", text_of(sample, "query")), reply)
    named = dict.fromkeys(call.name for call in reply.calls)
    chosen = infer_tools(messages) if tools is None else _named(named, tools)
    return [Trajectory(messages, chosen, id_or_none(sample, "id"), source, extra=rest(sample, _KNOWN))]


def _named(names: dict[str, None], tools: Sequence[Tool]) -> tuple[Tool, ...]:
    found = {tool.name: tool for tool in tools if tool.name in names}
    return tuple(found[name] for name in names if name in found)


def _call(value: Any) -> Call:
    record = record_of(value)
    return Call(text_of(record, "api"), arguments_of(record.get("parameters"), "parameters"), extra=rest(record, _CALL))
