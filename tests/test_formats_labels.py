"""Loss labels of replies: every field of `LABELS`, in every format of messages."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from tltrain.errors import DataError
from tltrain.formats import FORMATS, read
from tltrain.formats.fields import LABELS, label_of

OPENAI = {"role": "assistant", "content": "Rain."}
SHAREGPT = {"from": "gpt", "value": "Rain."}
REPLIES: list[tuple[str, str, dict[str, Any]]] = [
    ("openai", "messages", OPENAI),
    ("tau-bench", "traj", OPENAI),
    ("tl-training", "conversations", OPENAI),
    ("anthropic", "messages", OPENAI),
    ("ms-swift", "messages", OPENAI),
    ("ms-swift", "messages", {"role": "tool_call", "content": '{"name": "get_time"}'}),
    ("llama-factory", "conversations", SHAREGPT),
    ("llama-factory", "conversations", {"from": "function_call", "value": '{"name": "get_time"}'}),
    ("hermes", "conversations", SHAREGPT),
    ("hermes", "conversations", {"from": "gpt", "value": '<tool_call>{"name": "get_time"}</tool_call>'}),
    ("toolbench", "conversations", SHAREGPT),
    ("tooleyes", "conversations", SHAREGPT),
    ("rotbench", "conversations", {"from": "gpt", "value": ["Rain.", "It rains."]}),
]


@pytest.mark.parametrize("label", LABELS)
@pytest.mark.parametrize(("format", "field", "reply"), REPLIES)
def test_every_format_of_messages_reads_every_label(format: str, field: str, reply: dict[str, Any], label: str) -> None:
    for value, weight in ((False, 0), (0.0, 0), (True, 1), (None, None)):
        (trajectory,) = FORMATS[format].read({field: [reply | {label: value}]}, None, "")
        (message,) = trajectory.messages
        assert (message.weight, message.extra) == (weight, {})


def test_of_labels_that_differ_the_smallest_counts() -> None:
    assert label_of({"weight": 1, "train": False, "loss": None}) == 0
    assert label_of({"loss_scale": 0.5, "loss": True}) == 0.5
    assert label_of({"content": "Rain."}) is None
    with pytest.raises(DataError, match=r"train: expected number, got text"):
        label_of({"train": "no"})


def test_labels_after_the_records_that_decide_the_format_count(tmp_path: Path) -> None:
    path = tmp_path / "logs.jsonl"
    records = [{"messages": [OPENAI]}] * 20 + [{"messages": [OPENAI | {"loss": False}]}]
    path.write_text("".join(json.dumps(record) + "\n" for record in records))
    assert [one.messages[0].weight for one in read(path)] == [None] * 20 + [0]
