"""Records of an ablation with made-up verdicts, so that tables are tested without training."""

from __future__ import annotations

import random
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from tltrain.ablation.grid import BASE, Run
from tltrain.ablation.records import Record, write_record
from tltrain.config import RunConfig

ENVIRONMENT = {"commit": "0123456789abcdef", "hardware": {"cpu": "a processor", "threads": 2, "gpu": None}}


def record(
    arm: str,
    seed: int | None,
    verdicts: Mapping[str, Sequence[Sequence[str]]],
    overrides: tuple[tuple[str, Any], ...] = (),
    config: RunConfig | None = None,
    bench: str = "toolworld",
    kinds: Sequence[str] = (),
) -> Record:
    """A record: for each split, the metrics that hold for each item; `kinds` are those of its first items."""
    run = Run(arm, seed, overrides)
    rows: list[dict[str, Any]] = []
    for split, items in verdicts.items():
        for index, held in enumerate(items):
            row: dict[str, Any] = {"bench": bench, "split": split, "index": index, "known": ["TS", "PI", "CF"]}
            row |= {"kind": kinds[index]} if index < len(kinds) else {}
            rows.append(row | {"metrics": list(held), "category": "right" if "CF" in held else "tool"})
    minutes = {"eval": 1.5} | ({} if arm == BASE else {"ppo": 4.0} if run.parent else {"sft": 2.0})
    replies = {"evaluated": len(rows)} | ({"sampled": 64} if run.parent else {"trained": 100, "masked": 7})
    return Record(
        run=run,
        config=(config or RunConfig()).model_dump(),
        environment=ENVIRONMENT,
        tests=tuple({"bench": bench, "split": split, "digest": ""} for split in verdicts),
        minutes=minutes,
        replies=replies,
        items=tuple(rows),
    )


def right(*items: int) -> list[list[str]]:
    """The verdicts of items that are right in every metric (1) or in none (0)."""
    return [["TS", "PI", "CF"] if item else [] for item in items]


def write_sample(folder: Path, items: int = 120, sweep: str = "sft.w_max") -> Path:
    """The records of eight arms, three seeds and a sweep, with random verdicts: MAE helps, PKT does nothing, IRM
    harms."""
    shares = {BASE: 0.05, "sft": 0.5, "mae": 0.66, "pkt": 0.5, "mae+pkt": 0.68}
    shares |= {f"{arm}+irm": share - 0.12 for arm, share in list(shares.items()) if arm != BASE}
    for arm, share in shares.items():
        for seed in [None] if arm == BASE else [0, 1, 2]:
            write_record(folder, record(arm, seed, _random(f"{arm} {seed}", share, items)))
    for value in (1.0, 3.0):
        for seed in (0, 1, 2):
            verdicts = _random(f"{value} {seed}", 0.48 + value / 50, items)
            write_record(folder, record("pkt", seed, verdicts, ((sweep, value),)))
    return folder


def _random(name: str, share: float, items: int) -> dict[str, list[list[str]]]:
    difficulty = random.Random("items")
    rng = random.Random(name)
    own = share + rng.uniform(-0.02, 0.02)
    splits = {}
    for split in ("seen", "unseen"):
        found = []
        for _ in range(items):
            level = 0.5 * difficulty.random() + 0.5 * rng.random()
            held = [metric for metric, more in (("TS", 0.15), ("PI", 0.08), ("CF", 0.0)) if level < own + more]
            found.append(held)
        splits[split] = found
    return splits
