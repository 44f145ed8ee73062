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
    "bf16": False,
    "per_device_train_batch_size": 1,
    "gradient_checkpointing": False,
}
"""A single log per pass, no gradient checkpointing, weights and optimiser in the run's dtype: with bf16 that is less
memory and time than fp32 weights with autocast. `load_dtype` (by default the run's dtype) and `attn_implementation`
apply to loading the model, and `lora_rank` trains adapters; the other settings are passed to `trl.SFTConfig`. Gradients
are accumulated over the logs of a batch."""


class Clock(TrainerCallback):  # type: ignore[misc]
    """Measures the time from the start of update `skipped` (from 0) to the end of the last update."""

    def __init__(self, skipped: int) -> None:
        self.skipped = skipped
        self.started = self.ended = 0.0

    def on_step_begin(self, args: Any, state: Any, control: Any, **_: Any) -> None:
        """Start the clock at update `skipped`."""
        if state.global_step == self.skipped:
            self.started = _now()

    def on_step_end(self, args: Any, state: Any, control: Any, **_: Any) -> None:
        """Stop the clock, until the next update."""
        self.ended = _now()


def _now() -> float:
    if torch.cuda.is_available():
        torch.cuda.synchronize()
    return time.perf_counter()


def theirs(job: Job) -> Outcome:
    """Train on all rows in order; the first updates are the warm-up and are not timed."""
    settings = {"load_dtype": job.dtype, **SETTINGS, **job.trl}
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
        peft_config=_adapters(settings["lora_rank"]) if "lora_rank" in settings else None,
    )
    trainer.train()
    return Outcome(
        seconds=clock.ended - clock.started,
        losses=[line["loss"] for line in trainer.state.log_history if "loss" in line][clock.skipped :],
        trained=_trained(list(trainer.train_dataset)),
        tokens=sum(len(row["input_ids"]) for row in rows[job.warmup :]),
        scored=sum(len(row["input_ids"]) - 1 for row in rows[job.warmup :])
        if job.device == "cpu"  # where TRL computes logits at every position
        else _trained(rows[job.warmup :]),
        peak_mb=peak_memory_mb(job.device),
        versions=versions(),
        settings=settings,
    )


def _trained(rows: list[dict[str, Any]]) -> int:
    return sum(label != -100 for row in rows for label in row["labels"])


def _adapters(rank: int) -> Any:
    from peft import LoraConfig

    return LoraConfig(r=rank, lora_alpha=2 * rank, target_modules="all-linear", task_type="CAUSAL_LM")


def _config(job: Job, settings: dict[str, Any]) -> SFTConfig:
    ours = ("load_dtype", "attn_implementation", "lora_rank")
    options = {name: value for name, value in settings.items() if name not in ours}
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
        **options,
    )


if __name__ == "__main__":
    run(Job, theirs)
