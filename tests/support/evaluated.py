"""A folder to evaluate in: two models, one that has learnt a few calls by heart, and a test set in BFCL's form."""

from __future__ import annotations

from pathlib import Path

from support.micro import save_micro
from support.trained_micro import known, save_trained, write_bfcl

WRONG = [
    ("Order A-1!", "cancel_order(order_id='A-1')"),  # another first token
    ("Order A-2!", "get_order_items(order_id='A-2')"),  # another token after a shared beginning
    ("What is in order A-1?", "get_order(order_id='A-1')"),  # the same, and the gold's name is the shorter
    ("Please cancel A-1.", "cancel_order(order='A-1')"),  # another argument name
    ("Please cancel A-2.", "cancel_order(order_id='A-1')"),  # another value
]
"""Queries that the model has learnt with other calls than these golds."""
FILE = "predictions/learnt.bfcl.exec.jsonl"


def write_models(folder: Path) -> Path:
    """The models `learnt` and `random`, and `bfcl/exec` with 11 items, of which `learnt` gets 6 right."""
    save_trained(folder / "learnt")
    save_micro(folder / "random")
    return write_bfcl(folder, known() + WRONG)


def options(folder: Path, out: str | Path = "run") -> list[object]:
    """Of `tltrain eval` and `analyze` on that test set; `out` is relative to `folder`."""
    decoding = ("--max-new-tokens", 48, "--dtype", "float32", "--batch-size", 4)
    return ["--bench", "bfcl/exec", *decoding, "--data", folder, "--out", folder / out]
