"""The kinds of test items that an ablation tells apart."""

from __future__ import annotations

import pytest

from tltrain.ablation.kinds import item_kind
from tltrain.testsets.base import Gold, Item
from tltrain.trajectory import Call, Message, Tool, Trajectory

SCHEMA = {"type": "object", "properties": {}}
TOOLS = tuple(
    Tool(name, description, SCHEMA)
    for name, description in (
        ("get_order_status", "Where an order is."),
        ("get_order_total", "What an order costs."),
        ("send_mail", "Send a mail to someone."),
    )
)


@pytest.mark.parametrize(
    ("golds", "kind"),
    [
        ([["get_order_total"]], "confusable"),
        ([["send_mail", "get_order_total"]], "confusable"),  # one of several calls
        ([["send_mail"]], "distinct"),
        ([["unknown_tool"]], "distinct"),
        ([[], ["get_order_total"]], "text"),  # the first gold decides, as in the tables
        ([], None),
    ],
)
def test_the_kind_of_an_item(golds: list[list[str]], kind: str | None) -> None:
    calls: tuple[Gold, ...] = tuple(tuple(Call(name, {}) for name in names) for names in golds)
    prompt = Trajectory((Message("user", "Where is my order?"),), TOOLS, "t")
    assert item_kind(Item(0, prompt, calls)) == kind
