"""A whole run small enough for a test: a few toolworld trajectories with few, short tools, and a configuration."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import yaml

from support.commands import call, mistake
from support.micro import save_micro
from tltrain.toolworld import generate
from tltrain.trajectory import Trajectory

__all__ = ["SETTINGS", "call", "mistake", "write_run"]

SETTINGS: dict[str, Any] = {
    "dtype": "float32",
    "device": "cpu",
    "sft": {
        "arms": ["sft", "mae+pkt"],
        "batch_size": 3,
        "group_size": 2,
        "checkpoint_every": 1,
        "optimiser": {"learning_rate": 1e-2},
    },
    "ppo": {
        "arm": "mae+pkt",
        "rollouts": 2,
        "prompts": 2,
        "samples": 2,
        "max_new_tokens": 8,
        "checkpoint_every": 1,
        "policy": {"learning_rate": 1e-2},
        "critic": {"learning_rate": 1e-2},
        "lora": {"rank": 4, "alpha": 8},
    },
    "eval": {"max_new_tokens": 8},
}


def write_world(folder: Path, noise: float = 0.17) -> Path:
    """`train.jsonl`, `seen.jsonl` and `unseen.jsonl`; `noise` is the share of training calls that failed."""
    world = generate(size=12, test_size=4, noise=noise)
    folder.mkdir(parents=True, exist_ok=True)
    for name, split in (("train", world.train), ("seen", world.test_seen), ("unseen", world.test_unseen)):
        lines = [json.dumps(_shortened(trajectory).to_json(), ensure_ascii=False) for trajectory in split]
        (folder / f"{name}.jsonl").write_text("\n".join(lines) + "\n", encoding="utf-8")
    return folder


def _shortened(trajectory: Trajectory) -> Trajectory:
    called = {site.call.name for site in trajectory.call_sites()}
    kept = [tool for tool in trajectory.tools if tool.name in called] or list(trajectory.tools[:1])
    return replace(
        trajectory,
        tools=tuple(replace(tool, description="", parameters=_short_schema(tool.parameters)) for tool in kept),
        messages=tuple(message for message in trajectory.messages if message.role != "system"),
    )


def _short_schema(schema: dict[str, Any]) -> dict[str, Any]:
    properties = {name: {"type": one["type"]} for name, one in schema["properties"].items()}
    return {"type": "object", "properties": properties, "required": schema.get("required", [])}


def write_run(folder: Path, noise: float = 0.17, **changes: Any) -> Path:
    """The model, the data and a configuration in `folder`; returns the configuration's path."""
    if not (folder / "model").exists():
        save_micro(folder / "model")
        write_world(folder / "data", noise)
    files = {name: str(folder / "data" / f"{name}.jsonl") for name in ("train", "seen", "unseen")}
    data = {"train": files.pop("train"), "test": files}
    path = folder / "small.yaml"
    path.write_text(yaml.safe_dump({"model": str(folder / "model"), "data": data, **SETTINGS, **changes}))
    return path
