"""ToolEyes: queries, and ReAct turns if there are any, after a system prompt with the tool list. `path` names the tool
library. The system prompt is kept unchanged, including the tool list.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from tltrain.formats import conversations, rotbench
from tltrain.trajectory import Tool, Trajectory


def detect(record: Any) -> bool:
    """Whether the system prompt contains the tool list."""
    turns = conversations.turns_of(record)
    return turns is not None and rotbench.MARKER in conversations.first_text(turns)


def read(record: Any, tools: Sequence[Tool] | None, source: str) -> list[Trajectory]:
    """The query in `record` and the turns after it."""
    return [rotbench.read_turns(record, tools, source, conversations.react_message)]
