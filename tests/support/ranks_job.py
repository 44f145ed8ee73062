"""Trains the micro model, or runs the command line, as one of several processes: what `test_ranks.py` starts."""

from __future__ import annotations

import os
import signal
import sys
import traceback
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager, redirect_stderr, redirect_stdout
from pathlib import Path
from typing import Any

import torch
from transformers import PreTrainedModel

from support.micro import micro_model, micro_tokenizer, micro_trajectories
from support.rewarded import RewardedTrainer
from tltrain.cli import main
from tltrain.config import HeldOutConfig, LoraConfig, OptimiserConfig, PPOConfig, SFTConfig, ValidationConfig
from tltrain.encode import Encoder
from tltrain.ppo.trainer import PPOTrainer
from tltrain.sft import SFTTrainer

LORA = LoraConfig(rank=4, alpha=8)
FEW = {"batch_size": 1, "group_size": 1, "trajectories": 3}
"""Fewer trajectories an update than processes."""
JOBS: dict[str, dict[str, Any]] = {
    "plain": {},
    "lora": {"lora": LORA},
    "held-out": {"held_out": HeldOutConfig(share=0.3, every=1, patience=1), "epochs": 3},
    "few": FEW,
    "bf16": {"dtype": torch.bfloat16},
    "lora-bf16": {"lora": LORA, "dtype": torch.bfloat16},
    "fsdp": {"fsdp": True},
    "fsdp-lora": {"fsdp": True, "lora": LORA},
    "fsdp-held-out": {"fsdp": True, "held_out": HeldOutConfig(share=0.3, every=1, patience=1), "epochs": 3},
    "fsdp-few": {"fsdp": True, **FEW},
    "fsdp-bf16": {"fsdp": True, "dtype": torch.bfloat16},
    "fsdp-lora-bf16": {"fsdp": True, "lora": LORA, "dtype": torch.bfloat16},
    "fsdp-checkpointing": {"fsdp": True, "gradient_checkpointing": True},
    "fsdp-passes": {"fsdp": True, "max_tree_tokens": 200},
}
PPO_JOBS: dict[str, dict[str, Any]] = {
    "ppo": {"lora": LORA, "epochs": 2, "minibatches": 2, "critic_warmup": 1},
    "ppo-weights": {"lora": None},
    "ppo-leave-one-out": {
        "lora": LORA,
        "advantage": "leave_one_out",
        "samples": 4,
        "text_share": 0.25,
        "dynamic_sampling": True,
        "validation": ValidationConfig(share=0.3, every=1),
    },
    "ppo-few": {"lora": LORA, "prompts": 1, "group_size": 1},
    "ppo-fsdp": {"lora": None, "fsdp": True, "epochs": 2, "minibatches": 2, "gradient_checkpointing": True},
    "ppo-fsdp-leave-one-out": {
        "lora": None,
        "fsdp": True,
        "advantage": "leave_one_out",
        "samples": 4,
        "validation": ValidationConfig(share=0.3, every=1),
    },
    "ppo-fsdp-lora": {"lora": LORA, "fsdp": True},
    "ppo-fsdp-few": {"lora": None, "fsdp": True, "prompts": 1, "group_size": 1},
}
"""`ppo-few` and `ppo-fsdp-few` have fewer prompts a rollout than processes."""

SAMPLER = "TLTRAIN_TEST_SAMPLER"
"""Environment variable with the setting `sampler` of every PPO job."""
KILL = "TLTRAIN_TEST_KILL"
"""Environment variable with the moment, `HOOK NUMBER`, at which a process kills itself: see `kill_at`."""


def kill_at(hook: str, number: int) -> None:
    """From now on, kill this process where it gets to a hook for the `number`-th time.

    `step`: an update begins. `rollout`: replies are sampled and not yet trained on. `log`: its weights are changed, its
    line is not written. `checkpoint`: half of the state is written. `rename`: a file or folder is complete and still
    has its temporary name. `model`: the model's folder is written, without the tokenizer.
    """
    hooks: dict[str, tuple[Any, str, Callable[..., None]]] = {
        "step": (SFTTrainer, "training_step", lambda *_, **__: None),
        "rollout": (PPOTrainer, "update", lambda *_, **__: None),
        "log": (SFTTrainer, "log", lambda *_, **__: None),
        "checkpoint": (torch, "save", lambda state, path: Path(path).write_bytes(b"half")),
        "rename": (Path, "replace", lambda *_: None),
        "model": (PreTrainedModel, "save_pretrained", PreTrainedModel.save_pretrained),
    }
    owner, name, before = hooks[hook]
    original, calls = getattr(owner, name), 0

    def killing(*arguments: Any, **options: Any) -> Any:
        nonlocal calls
        if hook == "checkpoint" and not isinstance(arguments[1], str | Path):
            return original(*arguments, **options)  # tensors sent to another process, not a file
        calls += 1
        if calls == number:
            before(*arguments, **options)
            os.kill(os.getpid(), signal.SIGKILL)
        return original(*arguments, **options)

    setattr(owner, name, killing)


def train(folder: Path, dtype: torch.dtype = torch.float32, max_tree_tokens: int = 4096, **config: Any) -> SFTTrainer:
    """Sixteen trajectories, eight an update, two passes, a checkpoint after each update."""
    tokenizer = micro_tokenizer()
    settings = {"batch_size": 8, "group_size": 2, "epochs": 2, "checkpoint_every": 1}
    settings |= {"optimiser": OptimiserConfig(learning_rate=1e-2), **config}
    trainer = SFTTrainer(
        micro_model(len(tokenizer), dtype=dtype),
        tokenizer,
        trajectories=micro_trajectories(16),
        encoder=Encoder(tokenizer),
        config=SFTConfig(**settings),
        folder=folder,
        max_tree_tokens=max_tree_tokens,
        seed=5,
        reload=lambda: micro_model(len(tokenizer), dtype=dtype),
    )
    trainer.train()
    return trainer


def train_ppo(folder: Path, **config: Any) -> PPOTrainer:
    """Three rollouts of four prompts, by default with two replies each, a checkpoint after each."""
    tokenizer = micro_tokenizer()
    encoder, rate = Encoder(tokenizer), OptimiserConfig(learning_rate=1e-2, weight_decay=0.0)
    settings = {"rollouts": 3, "prompts": 4, "samples": 2, "group_size": 2, "max_new_tokens": 6, "checkpoint_every": 1}
    settings |= {"policy": rate, "critic": rate, "temperature": 1.0, **config}
    settings |= {"sampler": os.environ.get(SAMPLER)}
    trainer = RewardedTrainer(
        micro_model(len(tokenizer)),
        tokenizer,
        prompts=[prompt for trajectory in micro_trajectories(16) for prompt in encoder.prompts(trajectory)],
        stop_ids=encoder.stop_ids,
        config=PPOConfig(**settings),
        folder=folder,
        seed=5,
        reload=lambda: micro_model(len(tokenizer)),
    )
    trainer.train()
    return trainer


def train_as(environment: dict[str, str], folder: Path, jobs: list[str]) -> None:
    """In a process of its own, with the environment that a launcher gives; its output goes to a file."""
    warnings.simplefilter("error")
    if KILL in environment:
        hook, number = environment[KILL].split()
        kill_at(hook, int(number))
    with _launched(environment, folder):
        for job in jobs:
            if job in PPO_JOBS:
                train_ppo(folder / job, **PPO_JOBS[job])
            else:
                train(folder / job, **JOBS[job])


def call_as(environment: dict[str, str], folder: Path, arguments: list[str]) -> None:
    """The command line in a process of its own."""
    with _launched(environment, folder):
        main(arguments)


@contextmanager
def _launched(environment: dict[str, str], folder: Path) -> Iterator[None]:
    os.environ.update(environment)
    folder.mkdir(parents=True, exist_ok=True)
    said = folder / f"said.{environment.get('RANK', '0')}"
    with said.open("w", encoding="utf-8") as log, redirect_stdout(log), redirect_stderr(log):
        try:
            yield
        except Exception:
            traceback.print_exc()
            raise


if __name__ == "__main__":
    train_as({}, Path(sys.argv[1]), sys.argv[2:])
