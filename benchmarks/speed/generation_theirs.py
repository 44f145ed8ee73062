"""`transformers` on the same prompts, with static or with its continuous batching. Does not import tltrain."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

import torch
from transformers import ContinuousBatchingConfig, GenerationConfig

from speed.generation_process import GenerationJob, GenerationOutcome, cut
from speed.process import load_model, peak_memory_mb, read_lines, run, versions

if TYPE_CHECKING:
    from transformers import PreTrainedModel

PAGE = 256
"""Tokens of a page of the continuous cache, which is the default."""
PASS_TOKENS = 512
"""Most tokens of a pass of continuous batching. The attention mask of a pass has a column for every token of the cache:
with the default of 8,192 tokens and a cache of 60 % of a CPU's memory, it would take gigabytes and minutes."""
Replies = list[list[int]]


def theirs(job: GenerationJob) -> GenerationOutcome:
    """Reply greedily to all prompts; `job.settings` has `batching`, `static` or `continuous`, and fields of
    `ContinuousBatchingConfig` for the latter."""
    prompts = [line["ids"] for line in read_lines(job.prompts)]
    model = load_model(job.model, getattr(torch, job.dtype), job.device)
    model.generation_config = GenerationConfig()  # otherwise its sampling settings would be used where ours are unset
    settings = dict(job.settings)
    reply: Callable[..., Replies] = {"static": _static, "continuous": _continuous}[settings.pop("batching")]
    reply(model, [prompts[0][-8:]], job, _configuration(job, 2), settings)
    started = time.perf_counter()
    replies = reply(model, prompts, job, _configuration(job, job.new_tokens), settings)
    return GenerationOutcome(
        seconds=time.perf_counter() - started,
        replies=[cut(ids, job.stop_ids) for ids in replies],
        peak_mb=peak_memory_mb(job.device),
        versions=versions(),
        settings=job.settings,
    )


def _configuration(job: GenerationJob, new_tokens: int) -> GenerationConfig:
    return GenerationConfig(
        max_new_tokens=new_tokens,
        do_sample=False,
        eos_token_id=job.stop_ids or None,
        pad_token_id=job.stop_ids[0] if job.stop_ids else 0,
    )


def _static(
    model: PreTrainedModel,
    prompts: Sequence[Sequence[int]],
    job: GenerationJob,
    configuration: GenerationConfig,
    _: dict[str, Any],
) -> Replies:
    """Batches of prompts of similar length, padded on the left."""
    replies: Replies = [[] for _ in prompts]
    order = sorted(range(len(prompts)), key=lambda index: len(prompts[index]))
    for start in range(0, len(order), job.batch):
        batch = order[start : start + job.batch]
        width = max(len(prompts[index]) for index in batch)
        ids = torch.full((len(batch), width), configuration.pad_token_id)
        mask = torch.zeros_like(ids)
        for row, index in enumerate(batch):
            ids[row, width - len(prompts[index]) :] = torch.tensor(prompts[index])
            mask[row, width - len(prompts[index]) :] = 1
        output = model.generate(
            ids.to(model.device), attention_mask=mask.to(model.device), generation_config=configuration
        )
        for index, reply in zip(batch, output[:, width:].tolist(), strict=True):
            replies[index] = reply
    return replies


def _continuous(
    model: PreTrainedModel,
    prompts: Sequence[Sequence[int]],
    job: GenerationJob,
    configuration: GenerationConfig,
    settings: dict[str, Any],
) -> Replies:
    """`generate_batch` with a cache for `job.batch` requests, unless the settings say otherwise."""
    longest = max(map(len, prompts)) + job.new_tokens
    limits = {
        "page_size": PAGE,
        "num_blocks": job.batch * -(-longest // PAGE) + 1,
        "max_batch_tokens": PASS_TOKENS,
        "max_requests_per_batch": job.batch,
    }
    continuous = ContinuousBatchingConfig(**limits | settings)
    done = model.generate_batch(
        [list(prompt) for prompt in prompts],
        generation_config=configuration,
        continuous_batching_config=continuous,
    )
    if len(done) < len(prompts):
        raise RuntimeError(f"generate_batch returned {len(done)} of {len(prompts)} replies")
    return [list(reply.generated_tokens) for reply in done.values()]


if __name__ == "__main__":
    run(GenerationJob, theirs)
