"""The kinds of test items that tables tell apart: whether a call is due, and whether its tool is easily confused."""

from __future__ import annotations

from typing import Literal, get_args

from tltrain.audit.confusable import likeness
from tltrain.testsets.base import Item

Kind = Literal["confusable", "distinct", "text"]
KINDS: tuple[Kind, ...] = get_args(Kind)


def item_kind(item: Item) -> Kind | None:
    """`text`: the first gold has no call; `confusable`: another tool of the prompt is easily confused with one that it
    calls, as the audit defines it (`audit.confusable.likeness`); `distinct`: none is; None without a gold."""
    if not item.golds:
        return None
    called = {call.name for call in item.golds[0]}
    if not called:
        return "text"
    described = {tool.name: tool.description for tool in item.prompt.tools}
    confused = any(
        likeness(name, other, described.get(name, ""), description)
        for name in called
        for other, description in described.items()
        if other != name
    )
    return "confusable" if confused else "distinct"
