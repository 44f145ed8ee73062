"""A micro model in the cache in the place of the built-in model: commands that name the latter run in seconds."""

from __future__ import annotations

import json
from pathlib import Path

from support.micro import micro_model, micro_tokenizer
from tltrain.model import BUILTIN, CONVERSION
from tltrain.toolworld import generate

VOCABULARY = 1500


def save_standin(cache: Path) -> Path:
    """The stand-in below a folder for `TLTRAIN_CACHE`; its tokens are as long as those of a real model on toolworld."""
    text = [json.dumps(trajectory.to_json()) for trajectory in generate(20, test_size=0).train]
    tokenizer = micro_tokenizer(VOCABULARY, text)
    folder = cache / "models" / f"{BUILTIN}-{CONVERSION}"
    micro_model(len(tokenizer)).save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return folder
