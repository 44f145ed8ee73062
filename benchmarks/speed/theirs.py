"""TRL's SFTTrainer on the same token ids and labels, in a separate process. Does not import tltrain."""

from __future__ import annotations

import time
from typing import Any

import torch
from datasets import Dataset
from transformers import AutoTokenizer, TrainerCallback
from trl import SFTConfig, SFTTrainer

from speed.process import Job, Outcome, load_model, peak_memory_mb, read_lines, run, versions

SETTINGS: dict[str, Any] = {
    "load_dtype": "bfloat16",
    "bf16": False,
    "per_device_train_batch_size": 1,
    "gradient_checkpointing": False,
}
"""One log a pass, no layer computed twice, weights and optimiser in bf16: less memory and work than fp32 weights with
autocast. `load_dtype` and `attn_implementation` are for loading the model; the rest goes to `trl.SFTConfig`. The
gradient is accumulated to the batch."""


class Clock(TrainerCallback):  # type: ignore[misc]
    """The time from the beginning of update `skipped` (from 0) to the end of the last one."""

    def __init__(self, skipped: int) -> None:
        self.skipped = skipped
        self.started = self.ended = 0.0

    def on_step_begin(self, args: Any, state: Any, control: Any, **_: Any) -> None:
        """Before an update's first forward pass."""
        if state.global_step == self.skipped:
            self.started = _now()

    def on_step_end(self, args: Any, state: Any, control: Any, **_: Any) -> None:
        """After the optimiser's step."""
        self.ended = _now()


def _now() -> float:
    if torch.cuda.is_available():
        torch.cuda.synchronize()
    return time.perf_counter()


def theirs(job: Job) -> Outcome:
    """Train on all rows in their order; the first updates are the warm-up."""
    settings = SETTINGS | job.trl
    rows = read_lines(job.rows)
    clock = Clock(job.warmup // job.batch)
    options = {name: settings[name] for name in ("attn_implementation",) if name in settings}
    model = load_model(job.model, getattr(torch, settings["load_dtype"]), job.device, **options)
    trainer = SFTTrainer(
        model=model,
        args=_config(job, settings),
        train_dataset=Dataset.from_list(rows),
        processing_class=AutoTokenizer.from_pretrained(job.model),
        callbacks=[clock],
    )
    trainer.train()
    return Outcome(
        seconds=clock.ended - clock.started,
        losses=[line["loss"] for line in trainer.state.log_history if "loss" in line][clock.skipped :],
        trained=_trained(list(trainer.train_dataset)),
        tokens=sum(len(row["input_ids"]) for row in rows[job.warmup :]),
        scored=sum(len(row["input_ids"]) - 1 for row in rows[job.warmup :])
        if job.device == "cpu"  # there TRL scores every position
        else _trained(rows[job.warmup :]),
        peak_mb=peak_memory_mb(job.device),
        versions=versions(),
        settings=settings,
    )


def _trained(rows: list[dict[str, Any]]) -> int:
    return sum(label != -100 for row in rows for label in row["labels"])


def _config(job: Job, settings: dict[str, Any]) -> SFTConfig:
    given = {name: value for name, value in settings.items() if name not in ("load_dtype", "attn_implementation")}
    return SFTConfig(
        output_dir=job.folder,
        gradient_accumulation_steps=job.batch // settings["per_device_train_batch_size"],
        num_train_epochs=1,
        max_length=None,
        optim="adamw_torch_fused",
        learning_rate=job.learning_rate,
        lr_scheduler_type="cosine",
        weight_decay=0.01,
        adam_beta2=0.95,
        train_sampling_strategy="sequential",
        use_cpu=job.device == "cpu",
        dataloader_pin_memory=job.device != "cpu",
        logging_steps=1,
        save_strategy="no",
        report_to="none",
        disable_tqdm=True,
        seed=job.seed,
        **given,
    )


if __name__ == "__main__":
    run(theirs)
