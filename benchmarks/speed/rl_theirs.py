"""TRL's GRPOTrainer on the same prompts, in a separate process. Does not import tltrain."""

from __future__ import annotations

from typing import Any

import torch
from datasets import Dataset
from peft import LoraConfig
from transformers import AutoTokenizer
from trl import GRPOConfig, GRPOTrainer

from speed.process import load_model, peak_memory_mb, read_lines, run, versions
from speed.rl_process import RLJob, RLOutcome, pseudo_reward
from speed.theirs import Clock

SETTINGS: dict[str, Any] = {"gradient_checkpointing": True, "per_device_train_batch_size": 8}
"""TRL's defaults. Without recomputed layers 8 replies of 1,900 tokens a pass, a 135M model in fp32, filled 23 GB."""


def theirs(job: RLJob) -> RLOutcome:
    """Run all rollouts; the first are not timed."""
    settings, lengths = SETTINGS | job.settings, list[int]()
    tokenizer = AutoTokenizer.from_pretrained(job.model)
    rows = read_lines(job.prompts)
    assert all(tokenizer(row["text"])["input_ids"] == row["ids"] for row in rows), "both sides need the same prompts"

    def reward(completion_ids: list[list[int]], **_: Any) -> list[float]:
        lengths.extend(map(len, completion_ids))
        return [pseudo_reward(ids) for ids in completion_ids]

    clock = Clock(job.warmup)
    trainer = GRPOTrainer(
        model=load_model(job.model, getattr(torch, job.dtype), job.device),
        reward_funcs=reward,
        args=_config(job, settings),
        train_dataset=Dataset.from_list([{"prompt": row["text"]} for row in rows]),
        processing_class=tokenizer,
        peft_config=LoraConfig(r=job.rank, lora_alpha=job.rank, target_modules="all-linear", task_type="CAUSAL_LM"),
        callbacks=[clock],
    )
    trainer.train()
    timed = lengths[job.warmup * job.size * job.samples :]
    return RLOutcome(
        seconds=clock.ended - clock.started,
        replies=len(timed),
        reply_tokens=sum(timed),
        peak_mb=peak_memory_mb(job.device),
        versions=versions(),
        settings=settings,
    )


def _config(job: RLJob, settings: dict[str, Any]) -> GRPOConfig:
    replies = job.size * job.samples
    return GRPOConfig(
        output_dir=job.folder,
        max_steps=job.warmup + job.rollouts,
        gradient_accumulation_steps=replies // settings["per_device_train_batch_size"],
        generation_batch_size=replies,
        num_generations=job.samples,
        max_completion_length=job.new_tokens,
        generation_kwargs={"min_new_tokens": job.new_tokens},
        temperature=job.temperature,
        beta=job.beta,
        learning_rate=job.learning_rate,
        lr_scheduler_type="cosine",
        adam_beta2=0.95,
        bf16=False,
        shuffle_dataset=False,
        use_cpu=job.device == "cpu",
        dataloader_pin_memory=job.device != "cpu",
        logging_steps=1,
        save_strategy="no",
        report_to="none",
        disable_tqdm=True,
        seed=job.seed,
        **settings,
    )


if __name__ == "__main__":
    run(RLJob, theirs)
