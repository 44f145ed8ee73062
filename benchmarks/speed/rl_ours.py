"""The process of tltrain: PPO with `tltrain.PPOTrainer`."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import torch

from speed.process import peak_memory_mb, read_lines, run, versions
from speed.rl_process import RLJob, RLOutcome, pseudo_reward
from tltrain import PPOTrainer, read
from tltrain import model as models
from tltrain.config import LoraConfig, OptimiserConfig, PPOConfig
from tltrain.encode import Encoder, Prompt
from tltrain.engine.generate import Generated
from tltrain.judging import Verdict


class _PseudoRewarded(PPOTrainer):
    """PPO with `pseudo_reward` in place of the judge's reward; the judge runs all the same."""

    def reply(
        self, prompts: Sequence[Prompt], temperature: float, seeds: Sequence[int] = ()
    ) -> tuple[list[Generated], list[Verdict]]:
        """See `PPOTrainer`."""
        replies, verdicts = super().reply(prompts, temperature, seeds)
        rewarded = zip(verdicts, replies, strict=True)
        return replies, [replace(verdict, reward=pseudo_reward(reply.ids)) for verdict, reply in rewarded]


def ours(job: RLJob) -> RLOutcome:
    """Run all rollouts; the first are not timed."""
    tokenizer = models.load_tokenizer(job.model, "hermes")
    encoder = Encoder(tokenizer)
    wanted = {tuple(row["ids"]) for row in read_lines(job.prompts)}
    prompts = [prompt for log in read(job.logs) for prompt in encoder.prompts(log) if tuple(prompt.ids) in wanted]
    rate = OptimiserConfig(learning_rate=job.learning_rate, weight_decay=0.0)
    settings = {
        "rollouts": job.warmup + job.rollouts,
        "prompts": job.size,
        "group_size": job.size,
        "samples": job.samples,
        "temperature": job.temperature,
        "max_new_tokens": job.new_tokens,
        "beta": job.beta,
        "policy": rate,
        "critic": rate,
        "lora": LoraConfig(rank=job.rank, alpha=job.rank),
        "checkpoint_every": job.warmup + job.rollouts,
        **job.settings,
    }
    trainer = _PseudoRewarded(
        models.load_model(job.model, getattr(torch, job.dtype), job.device),
        tokenizer,
        prompts=prompts,
        stop_ids=[],
        config=PPOConfig(**settings),
        folder=Path(job.folder),
        max_tree_tokens=job.max_tree_tokens,
        seed=job.seed,
    )
    trainer.train()
    timed = read_lines(str(Path(job.folder) / "metrics.jsonl"))[job.warmup :]
    return RLOutcome(
        seconds=sum(line["seconds"] for line in timed),
        replies=sum(line["replies"] for line in timed),
        reply_tokens=round(sum(line["reply_length"] * line["replies"] for line in timed)),
        peak_mb=peak_memory_mb(job.device),
        versions=versions(),
        settings={"max_tree_tokens": job.max_tree_tokens, **job.settings},
    )


if __name__ == "__main__":
    run(RLJob, ours)
