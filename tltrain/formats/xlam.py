"""xLAM / APIGen: `query`, `tools` and `answers`; `tools` and `answers` are JSON or strings of JSON.

The answers are the calls of a single reply; if there are none, there is no reply. Parameters are tables of arguments
with Python type names, which become JSON Schemas: arguments without a default that are not declared as optional are
required.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from tltrain.formats.fields import each, id_or_none, json_in, record_of, rest, text_of
from tltrain.formats.replies import call_of
from tltrain.formats.tools import choose_tools, tools_of
from tltrain.trajectory import Message, Tool, Trajectory

_KNOWN = frozenset(("id", "query", "tools", "answers"))


def detect(record: Any) -> bool:
    """Whether the record has a `query` and `answers`."""
    return type(record) is dict and "query" in record and type(record.get("answers")) in (str, list)


def read(record: Any, tools: Sequence[Tool] | None, source: str) -> list[Trajectory]:
    """The query in `record` and its answers."""
    sample = record_of(record)
    calls = each(call_of, _decoded(sample, "answers"), "answers")
    query = Message("user", text_of(sample, "query"))
    messages = (query, Message("assistant", calls=calls)) if calls else (query,)
    own = None if sample.get("tools") is None else tools_of(_decoded(sample, "tools"))
    listed = choose_tools(own, tools, messages)
    return [Trajectory(messages, listed, id_or_none(sample, "id"), source, extra=rest(sample, _KNOWN))]


def _decoded(sample: dict[str, Any], field: str) -> Any:
    value = sample.get(field)
    return json_in(value, field) if type(value) is str else value
