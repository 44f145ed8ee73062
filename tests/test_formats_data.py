"""The public data sets are read whole: how many trajectories, calls and feedback messages each file has."""

from __future__ import annotations

from pathlib import Path

import pytest

from tltrain.formats import infer_tools, read, read_tools

COUNTS = {
    "rotbench/First_Turn/clean.json": (105, 105, 0),
    "rotbench/First_Turn/union.json": (105, 105, 0),
    "sealtools/dev.jsonl": (700, 1804, 0),
    "sealtools/test_in_domain.jsonl": (700, 1795, 0),
    "sealtools/test_out_domain.jsonl": (654, 1937, 0),
    "taubench/gpt-4o-airline.json": (200, 1164, 1164),
    "toolalpaca/eval_simulated.json": (100, 154, 0),
    "toolbench": (156, 742, 742),
    "tooleyes/scenario_data_zero_processed.json": (120, 0, 0),
    "toolrl/rlla_sft.json": (400, 628, 52),
}


def existing(folder: Path, name: str) -> Path:
    path = folder / name
    if not path.exists():
        pytest.skip(f"needs {name}")
    return path


@pytest.mark.parametrize("name", COUNTS)
def test_counts(name: str, shared_data: Path) -> None:
    found = list(read(existing(shared_data, name)))
    calls = sum(len(message.calls) for one in found for message in one.messages)
    feedback = sum(message.role == "tool" for one in found for message in one.messages)
    assert (len(found), calls, feedback) == COUNTS[name]


def test_toolbench_counts_every_call_of_its_trees_once(shared_data: Path) -> None:
    """Messages from `fork` on, over all branches: one call for each Action node of the trees."""
    found = read(existing(shared_data, "toolbench"))
    assert sum(len(m.calls) for one in found for m in one.messages[one.extra["branch"]["fork"] :]) == 328


def test_sealtools_calls_name_tools_of_its_list(shared_data: Path) -> None:
    tools = read_tools(existing(shared_data, "sealtools/tool.jsonl"))
    assert len(tools) == 4076
    found = list(read(existing(shared_data, "sealtools/dev.jsonl"), tools=tools))
    named = [call.name for one in found for message in one.messages for call in message.calls]
    known = {tool.name for one in found for tool in one.tools}
    assert sum(name in known for name in named) == len(named) == 1804


def test_taubench_tools_are_inferred_from_calls(shared_data: Path) -> None:
    found = list(read(existing(shared_data, "taubench/gpt-4o-airline.json")))
    together = infer_tools(message for one in found for message in one.messages)
    assert "book_reservation" in {tool.name for tool in together}
    assert all(tool.inferred for one in found for tool in one.tools)
