"""A run directory with invented numbers, for the tests of the report and for viewing the page in a browser."""

from __future__ import annotations

import json
import math
import random
import re
from pathlib import Path
from typing import Any

from tltrain.evaluation.significance import write_significance

MODELS = {"base": 2.0, "sft": 63.0, "mae+pkt": 71.5, "mae+pkt+irm": 73.0}
CATEGORIES = (
    "tool_wrong",
    "argument_missing",
    "value",
    "argument_hallucinated",
    "format",
    "tool_hallucinated",
)
CONFIG = "# invented for tests\nmodel: smollm2-135m\nsft:\n  learning_rate: 1.0e-4\n  weight: <b>9</b>\n"
GOLD = [[{"name": "get_order_items", "arguments": {"order_id": "A-104", "limit": 3}}]]


def score_rows(apart: bool = False) -> list[dict[str, Any]]:
    """Eight rows: four models on two splits; `apart`: with the metrics of items with and without a gold call."""
    rows = [
        score(model, split, ts=value + bonus, n=n)
        for split, bonus, n in (("seen", 6.0, 600), ("unseen", 0.0, 480))
        for model, value in MODELS.items()
    ]
    return (
        [row | by_gold({name: row[name] for name in ("TS", "PI", "CF")}, row["n"]) for row in rows] if apart else rows
    )


def score(model: str, split: str, ts: float, n: int = 400, **more: Any) -> dict[str, Any]:
    """A row with binomial standard errors, and its wrong items spread over the error categories."""
    metrics = {"TS": ts, "PI": 0.94 * ts, "CF": 0.8 * ts}
    errors, left = {}, n - round(n * metrics["CF"] / 100)
    for category in CATEGORIES:
        errors[category] = left // 2
        left -= left // 2
    standard = {name: math.sqrt(value * (100 - value) / n) for name, value in metrics.items()}
    row = {"model": model, "bench": "toolworld", "split": split, "items": n, "n": n, **metrics, "se": standard}
    return row | {"errors": errors, "unparseable": errors["format"], "excluded": [], "repaired": []} | more


def by_gold(metrics: dict[str, float], n: int) -> dict[str, Any]:
    """The two parts of a row: three quarters of the items have a call."""
    texts, calls = n // 4, n - n // 4
    right = {name: (value * n / 100 - 0.9 * texts) * 100 / calls for name, value in metrics.items()}
    right = {name: min(max(value, 0.0), 100.0) for name, value in right.items()}
    return {
        "gold_with_call": {"n": calls, **right, "se": dict.fromkeys(right, 2.2)},
        "gold_without_call": {"n": texts, **dict.fromkeys(right, 90.0), "se": dict.fromkeys(right, 2.7)},
    }


def write_sample(folder: Path) -> Path:
    """Every file of a run directory."""
    noise = random.Random(3)
    write(folder / "scores.json", score_rows(apart=True))
    write_significance(folder)
    write(folder / "stages.json", [
        {"stage": "model", "seconds": 21.4, "peak_memory_mb": 812, "note": "from the cache"},
        {"stage": "data", "seconds": 6.2, "peak_memory_mb": 240},
        {"stage": "sft", "seconds": 218.0, "peak_memory_mb": 3105},
        {"stage": "mae+pkt", "seconds": 221.7, "peak_memory_mb": 3110},
        {"stage": "ppo", "seconds": 260.3, "peak_memory_mb": 4890, "note": "24 rollouts"},
        {"stage": "evaluation", "seconds": 143.9, "peak_memory_mb": 2050},
    ])  # fmt: skip
    write(folder / "audit.json", {
        "headline": "213 of 1,217 calls failed; 61 % of them name an argument that does not exist.",
        "calls": {"total": 1217, "failed": 213, "by_category": {
            "unknown_tool": 12, "unknown_argument": 130, "missing_argument": 41, "bad_value": 30, "labelled": 0}},
    })  # fmt: skip
    write(folder / "environment.json", {
        "versions": {"tltrain": "0.1.0", "torch": "2.12.0", "transformers": "5.20.1"}, "commit": "0" * 40, "seed": 0,
        "hardware": {"cpu": "a test", "cores": 2, "memory_gb": 8, "gpu": None}, "started": "2026-01-01T00:00:00Z",
    })  # fmt: skip
    (folder / "config.yaml").write_text(CONFIG, encoding="utf-8")
    for arm, offset in (("sft", 0.0), ("mae+pkt", 0.2)):
        write_lines(folder / "sft" / arm / "metrics.jsonl", [
            {"step": step, "loss": offset + 0.25 + 1.8 * math.exp(-step / 30) + noise.gauss(0, 0.08),
             "grad_norm": 1 + noise.random(), "learning_rate": 1e-4, "tokens": 8000, "seconds": 1.4}
            for step in range(1, 151)
        ])  # fmt: skip
    write_lines(folder / "ppo" / "metrics.jsonl", [
        {"rollout": number, "reward": 0.2 + number / 60 + noise.gauss(0, 0.08), "kl": 0.004 * number,
         "call_rate": 0.97 - 0.001 * number, "reply_length": 31 + noise.gauss(0, 1), "policy_loss": -0.01,
         "value_loss": 0.3, "clip_fraction": 0.05, "seconds": 10.0, "call_share": 0.7 + noise.gauss(0, 0.03),
         "text_for_call": 0.05, "unparseable": 0.04, "varied": 0.5 + noise.gauss(0, 0.05), "replies_per_second": 3.2}
        for number in range(1, 25)
    ])  # fmt: skip
    write_lines(folder / "ppo" / "validation.jsonl", validation())
    for model in ("base", "mae+pkt+irm"):
        write_lines(folder / "predictions" / f"{model}.unseen.jsonl", list(predictions()))
    return folder


def validation() -> list[dict[str, Any]]:
    """Five validations of 64 prompts, the fourth the best."""
    scores = ((0, 60.0, 0.31), (6, 62.5, 0.38), (12, 65.6, 0.45), (18, 68.8, 0.52), (24, 67.2, 0.50))
    errors = {"TS": 5.0, "PI": 5.5, "CF": 6.0, "reward": 0.06}
    return [
        {"rollout": rollout, "prompts": 64, "TS": cf + 15, "PI": cf + 10, "CF": cf, "reward": reward, "se": errors}
        for rollout, cf, reward in scores
    ]


def predictions() -> list[dict[str, Any]]:
    """Wrong predictions of three categories, and a right prediction."""
    prompt = "system text " * 100 + "\nuser: Which three things were in parcel A-104? <script>alert(1)</script>"
    texts = {
        "tool_wrong": '<tool_call>{"name": "get_order", "arguments": {"order_id": "A-104"}}</tool_call>',
        "value": '<tool_call>{"name": "get_order_items", "arguments": {"order_id": "104"}}</tool_call>',
        "format": '<tool_call>{"name": "get_order_items", ' + "x" * 300,
        "right": '<tool_call>{"name": "get_order_items", "arguments": {"order_id": "A-104", "limit": 3}}</tool_call>',
    }
    return [
        {"item": number, "split": "unseen", "prompt": prompt, "text": text, "verdict": {"category": kind}, "gold": GOLD}
        for number, (kind, text) in enumerate(texts.items())
    ]


def inspected() -> dict[str, Any]:
    """A sample of three steps with invented token ids: a failed reply, its correction, an answer in text."""
    system = "<|im_start|>system\nYou can call these tools:\n" + "\tget_order(order_id) <b>one order</b>\n" * 40
    query = system + "<|im_end|>\n<|im_start|>user\nWhat was in A-104?\u200b<|im_end|>\n<|im_start|>assistant\n"
    wrong = '<tool_call>\n{"name": "get_order_item", "arguments": {"id": "A-104"}}\n</tool_call><|im_end|>'
    right = '<tool_call>\n{"name": "get_order_items", "arguments": {"order_id": "A-104"}}\n</tool_call><|im_end|>'
    feedback = "\n<|im_start|>tool\n{}<|im_end|>\n<|im_start|>assistant\n"
    first = query + wrong + feedback.format("Error: no tool get_order_item")
    second = first + right + feedback.format('["a lamp", "two chairs"]')
    why = "unknown tool get_order_item; the feedback reports an error"
    return {
        "id": "orders-17", "source": "train.jsonl:17", "model": "smollm2-135m",
        "steps": [
            step(0, 2, query, wrong, [why]),
            step(1, 4, first, right, []),
            step(2, 6, second, "A lamp and two chairs.<|im_end|>", []),
        ],
    }  # fmt: skip


def step(index: int, message: int, prompt: str, reply: str, reasons: list[str]) -> dict[str, Any]:
    """A step of `inspected`; a reply with reasons is masked."""
    tokens = [token(text, part) for part, whole in (("prompt", prompt), ("reply", reply)) for text in split(whole)]
    for each in tokens:
        key = each["part"] == "reply" and not reasons and each["token"] in ("get", "_items")
        each |= {"key": key, "weight": 9.0 if key else each["weight"], "reason": "tool name" if key else None}
        if each["part"] == "reply" and reasons:
            each |= {"struck": True, "weight": 0.0, "reason": reasons[0]}
    return {
        "index": index,
        "step": index + 1,
        "message": message,
        "failed": bool(reasons),
        "reasons": reasons,
        "tokens": tokens,
    }


def token(text: str, part: str) -> dict[str, Any]:
    """A token of weight 1 in a reply, 0 in a prompt."""
    number = sum(map(ord, text)) % 49152
    return {"token": text, "id": number, "weight": float(part == "reply"), "part": part, "key": False, "struck": False}


def split(text: str) -> list[str]:
    """Pieces as a tokenizer might make them."""
    return re.findall(r"<\|\w+\|>| ?_?[A-Za-z]+|\s|[^\w\s]|\w", text)


def write(path: Path, value: Any) -> None:
    """A JSON document."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(value), encoding="utf-8")


def write_lines(path: Path, values: list[Any]) -> None:
    """JSON Lines."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("".join(json.dumps(value) + "\n" for value in values), encoding="utf-8")
