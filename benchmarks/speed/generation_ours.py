"""The process of tltrain: `tltrain.engine.generate`, which computes shared prefixes once."""

from __future__ import annotations

import time

import torch

from speed.generation_process import GenerationJob, GenerationOutcome
from speed.process import peak_memory_mb, read_lines, run, versions
from tltrain import model as models
from tltrain.engine.generate import generate
from tltrain.engine.memory import set_up_memory


def ours(job: GenerationJob) -> GenerationOutcome:
    """Reply greedily to all prompts."""
    set_up_memory()
    prompts = [line["ids"] for line in read_lines(job.prompts)]
    model = models.load_model(job.model, getattr(torch, job.dtype), job.device)
    generate(model, [prompts[0][-8:]], job.stop_ids, 2)
    started = time.perf_counter()
    replies = generate(model, prompts, job.stop_ids, job.new_tokens, batch_size=job.batch, **job.settings)
    return GenerationOutcome(
        seconds=time.perf_counter() - started,
        replies=[list(reply.ids) for reply in replies],
        peak_mb=peak_memory_mb(job.device),
        versions=versions(),
        settings=job.settings,
    )


if __name__ == "__main__":
    run(GenerationJob, ours)
