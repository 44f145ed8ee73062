"""TRL's SFTTrainer on the logs of `gpu.sft`."""

from __future__ import annotations

import gc
import json
import tempfile
from dataclasses import asdict
from pathlib import Path
from typing import Any

import torch
from speed.process import Job as SideJob
from speed.size import model_size
from speed.workload import NAMES, Name, make_row

from gpu.data import encoder, logs
from gpu.part import Job, Row
from gpu.sft import LEARNING_RATE, TIMED, batch_size, flops


def run(job: Job) -> list[Row]:
    """A row for each workload, from models of their own."""
    return [_measure(name, job) for name in NAMES]


def _measure(name: Name, job: Job) -> Row:
    from speed.theirs import theirs

    batch = batch_size(job)
    rows = [make_row(log, encoder(job.folder, job.model)) for log in logs(name, batch * (1 + TIMED), job)]
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "rows.jsonl"
        file.write_text("".join(json.dumps(asdict(row)) + "\n" for row in rows), encoding="utf-8")
        settings: dict[str, Any] = {} if job.rank is None else {"lora_rank": job.rank}
        side = SideJob(
            logs="",
            rows=str(file),
            warmup=batch,
            batch=batch,
            model=str(Path(job.folder) / job.model),
            device=job.device,
            folder=folder,
            learning_rate=LEARNING_RATE,
            seed=job.seed,
            max_tree_tokens=0,
            dtype=job.dtype,
            ours={},
            trl=settings,
        )
        outcome = theirs(side)
    gc.collect()  # frees the model
    if job.device == "cuda":
        torch.cuda.empty_cache()
        torch.cuda.reset_peak_memory_stats()
    done = flops(model_size(side.model), outcome.tokens, outcome.scored, job.rank)
    return Row(
        f"{name} tools, TRL",
        {
            "tokens/s": outcome.tokens / outcome.seconds,
            "MB": outcome.peak_mb,
            "of peak": done / outcome.seconds / job.peak_flops,
        },
    )
