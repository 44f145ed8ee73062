"""Small test sets in the public ones' forms, and replies to them."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

SYSTEM = """You use tools for gardeners.

Desired format:
Thought: <The thought>
Action: <The tool>
Action Input: <The parameters>

Remember:
1. Think.
2. The "Action Input" needs to provide a dict to call action.
3. Stay polite.

Task description: Water what is dry. Specifically, you have access of the following tools:
{tools}

Let's Begin!"""


def react(name: str, arguments: str) -> str:
    return f"Thought:\nAction: {name}\nAction Input: {arguments}"


def garden_tool(name: str, *arguments: str) -> dict[str, Any]:
    properties = {argument: {"type": "string", "description": ""} for argument in arguments}
    return {"name": name, "description": "", "parameters": {"type": "object", "properties": properties}}


def noisy_tools(ask: str = "ask_to_user", finish: str = "finish") -> list[dict[str, Any]]:
    water = [garden_tool("water", "bed", "litres"), garden_tool("dig", "bed")]
    return [*water, garden_tool(ask, "question"), garden_tool(finish, "answer")]


def rotbench_record(golds: Sequence[str], tools: Any = None, history: Sequence[tuple[str, str]] = ()) -> dict[str, Any]:
    turns = [("system", SYSTEM.format(tools=json.dumps(tools or noisy_tools()))), ("user", "Water bed 3.\nBegin!\n")]
    said = [{"from": who, "value": text} for who, text in [*turns, *history]]
    return {"id": "g", "scenario": "garden", "conversations": [*said, {"from": "assistant", "value": list(golds)}]}


def write_rotbench(folder: Path, records: Sequence[Any], split: str = "First_Turn/clean") -> Path:
    path = folder / "rotbench" / f"{split}.json"
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(records))
    return folder


def alpaca_record(golds: Sequence[Any], name: str = "Garden", **fields: Any) -> dict[str, Any]:
    described = {
        "waterBed": 'Water a bed.\nParameters: {"bed": "Required. string. Which.", "litres": "integer. How much."}\n'
        "Output: Successful response.\n - Format: text",
        "listBeds": "List all beds.\nParameters: {}\nOutput: Successful response.",
        "components": "",
    }
    asked = [f"Query {number} about the {name.lower()}." for number in range(len(golds))]
    record = {"Name": name, "Function_Description": described, "Instructions": asked, "Golden_Answers": list(golds)}
    return {**record, **fields}


def step(action: str, written: Any) -> dict[str, Any]:
    return {"Action": action, "Action_Input": written}


def write_alpaca(folder: Path, records: Sequence[Any], split: str = "eval_real") -> Path:
    path = folder / "toolalpaca" / f"{split}.json"
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(records))
    return folder


def lines_of(texts: Sequence[str], **fields: Any) -> list[str]:
    return [json.dumps({"index": index, "text": text, **fields}) for index, text in enumerate(texts)]
