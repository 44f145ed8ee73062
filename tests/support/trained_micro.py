"""A micro model that has learnt a handful of calls by heart, and a small test set in BFCL's form to ask it."""

from __future__ import annotations

import json
from dataclasses import replace
from functools import cache
from pathlib import Path
from typing import Any

import torch
from transformers import Qwen2Config, Qwen2ForCausalLM

from support.micro import micro_model, micro_tokenizer
from tltrain.encode import Encoder
from tltrain.engine.passes import tree_nll
from tltrain.engine.tree import TokenTree
from tltrain.sft import step_sequence
from tltrain.testsets import bfcl
from tltrain.trajectory import Call, Message, Tool, Trajectory

NAMES = ("get_order", "get_order_items", "cancel_order")
ASKED = {
    "What is order {}?": "get_order",
    "What is in order {}?": "get_order_items",
    "Please cancel {}.": "cancel_order",
}
AMBIGUOUS = "Order {}!"
"""Learnt with each of the tools, mostly with the first: the model says that one, and knows how the others go on."""
LESSONS = [(query, name, 1.0) for query, name in ASKED.items()]
LESSONS += [(AMBIGUOUS, name, share) for name, share in zip(NAMES, (0.7, 0.3, 0.3), strict=True)]
ORDERS = ("A-1", "A-2")
STEPS = 160


def functions() -> list[dict[str, Any]]:
    """The tools as BFCL writes them."""
    schema = {"type": "dict", "properties": {"order_id": {"type": "string"}}, "required": ["order_id"]}
    return [{"name": name, "description": "", "parameters": schema} for name in NAMES]


def write_bfcl(folder: Path, golds: list[tuple[str, str]]) -> Path:
    """`exec` with an item for each pair of query and gold call in the simple part, and nothing in the others."""
    for place, (asked, answered) in enumerate(bfcl.files("exec")):
        rows = list(enumerate(golds if place == 0 else []))
        lines = {
            asked: [
                {"id": f"{at}", "question": [[{"role": "user", "content": query}]], "function": functions()}
                for at, (query, _) in rows
            ],
            answered: [{"id": f"{at}", "ground_truth": [gold]} for at, (_, gold) in rows],
        }
        for name, written in lines.items():
            path = folder / "bfcl" / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text("".join(json.dumps(line) + "\n" for line in written))
    return folder


def known() -> list[tuple[str, str]]:
    """Queries and the calls that the model has learnt for them."""
    return [(query.format(order), f"{name}(order_id='{order}')") for query, name in ASKED.items() for order in ORDERS]


@cache
def trained(kind: str = "llama") -> tuple[Any, Any]:
    """The model and its tokenizer; `qwen2` is one whose calls `transformers serve` tells apart."""
    tokenizer = micro_tokenizer()
    model = micro_model(len(tokenizer)) if kind == "llama" else _qwen2(len(tokenizer))
    encoder = Encoder(tokenizer, mae=False, pkt=False)
    sequences = []
    for query, name, share in LESSONS:
        steps = [step for order in ORDERS for step in encoder.steps(_lesson(query, name, order))]
        sequences += [replace(one, weights=[share] * len(one.weights)) for one in map(step_sequence, steps)]
    tree = TokenTree(sequences)
    total = sum(sum(one.weights) for one in sequences)
    optimiser = torch.optim.AdamW(model.parameters(), lr=1e-2, weight_decay=0.0)
    for number in range(STEPS):
        for group in optimiser.param_groups:
            group["lr"] = 1e-2 * min(1.0, (number + 1) / 20, (STEPS - number) / 40)
        loss = tree_nll(model, tree) / total
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
    return model.eval(), tokenizer


def save_trained(folder: Path, kind: str = "llama") -> Path:
    """The model as a folder."""
    model, tokenizer = trained(kind)
    model.save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return folder


def _lesson(query: str, name: str, order: str) -> Trajectory:
    schema = {"type": "object", "properties": {"order_id": {"type": "string"}}, "required": ["order_id"]}
    asked = Message("user", query.format(order))
    reply = Message("assistant", None, (Call(name, {"order_id": order}),))
    return Trajectory((asked, reply), tuple(Tool(one, "", schema) for one in NAMES))


def _qwen2(vocabulary: int) -> Any:
    torch.manual_seed(0)
    return Qwen2ForCausalLM(
        Qwen2Config(
            vocab_size=vocabulary,
            hidden_size=32,
            intermediate_size=64,
            num_hidden_layers=2,
            num_attention_heads=4,
            num_key_value_heads=2,
            max_position_embeddings=4096,
            initializer_range=0.15,
            tie_word_embeddings=True,
            bos_token_id=None,
            eos_token_id=2,
            pad_token_id=2,
        )
    ).eval()
