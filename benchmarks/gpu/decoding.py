"""Speed of decoding: shared prefixes with and without CUDA graphs, and `transformers` in a static batch."""

from __future__ import annotations

import warnings
from typing import TYPE_CHECKING
from unittest.mock import patch

import torch
from transformers import GenerationConfig

from gpu.data import prompts
from gpu.part import Job, Row, timed
from gpu.shapes import make_model
from tltrain.engine import generate as generation
from tltrain.engine.decode_step import EagerStep
from tltrain.engine.generate import Generated, generate

if TYPE_CHECKING:
    from transformers import PreTrainedModel

REPLIES, TOKENS = 32, 128
TINY_REPLIES, TINY_TOKENS = 3, 4


def run(job: Job) -> list[Row]:
    """Tokens per second of all replies together, prefill included."""
    model = make_model(job)
    count, length = (TINY_REPLIES, TINY_TOKENS) if job.tiny else (REPLIES, TOKENS)
    texts = prompts("shared", count, job)

    def ours() -> list[Generated]:
        return generate(model, texts, [], length, batch_size=count)

    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        ours()  # compiles
        seconds, replies = timed(job.device, ours)
    remarks = sorted({str(one.message) for one in caught if "CUDA graphs" in str(one.message)})
    rows = [Row("shared tools, tltrain", {"tokens/s": count * length / seconds, "seconds": seconds}, None, remarks)]
    if job.device == "cuda" or job.tiny:
        with patch.object(generation, "decode_step", EagerStep):
            seconds, uncaptured = timed(job.device, ours)
        same = sum(one.ids == other.ids for one, other in zip(replies, uncaptured, strict=True)) / count
        figures = {"tokens/s": count * length / seconds, "seconds": seconds, "same replies": same}
        rows.append(Row("shared tools, tltrain without CUDA graphs", figures, same == 1))
    _static(model, texts, length)
    seconds, _ = timed(job.device, lambda: _static(model, texts, length))
    return [*rows, Row("shared tools, transformers", {"tokens/s": count * length / seconds, "seconds": seconds})]


def _static(model: PreTrainedModel, texts: list[list[int]], length: int) -> None:
    """All prompts in a batch, padded on the left."""
    longest = max(map(len, texts))
    ids = torch.tensor([[0] * (longest - len(text)) + text for text in texts], device=model.device)
    mask = torch.tensor([[0] * (longest - len(text)) + [1] * len(text) for text in texts], device=model.device)
    settings = GenerationConfig(max_new_tokens=length, min_new_tokens=length, do_sample=False, pad_token_id=0)
    with torch.no_grad():
        model.generate(ids, attention_mask=mask, generation_config=settings)
