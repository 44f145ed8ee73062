"""tau-bench logs: OpenAI messages in `traj`, with the task, the trial and the final reward in `extra`.

The logs list no tools: these are given by the caller, or inferred from the calls.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from tltrain.formats.fields import each, list_of, record_of, rest
from tltrain.formats.openai import message_of
from tltrain.formats.tools import choose_tools
from tltrain.trajectory import Tool, Trajectory

_KNOWN = frozenset(("traj",))


def detect(record: Any) -> bool:
    """Whether the record has a `traj`, and a `reward` or `task_id`."""
    return type(record) is dict and type(record.get("traj")) is list and ("reward" in record or "task_id" in record)


def read(record: Any, tools: Sequence[Tool] | None, source: str) -> list[Trajectory]:
    """The log in `record`; its id is `TASK/TRIAL`."""
    log = record_of(record)
    messages = each(message_of, list_of(log, "traj"), "traj")
    name = "/".join(str(log[field]) for field in ("task_id", "trial") if field in log) or None
    chosen = choose_tools(None, tools, messages)
    return [Trajectory(messages, chosen, name, source, extra=rest(log, _KNOWN))]
