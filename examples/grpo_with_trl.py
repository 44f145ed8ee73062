"""GRPO in TRL with tltrain's reward, on logs of any format:

    pip install 'tltrain[trl]'
    python examples/grpo_with_trl.py LOGS [MODEL] [STEPS]

Every reply of the logs that did not fail is a prompt with its gold; TRL samples replies, and the judge rewards them.
"""

from __future__ import annotations

import sys
from pathlib import Path

import torch
from datasets import load_dataset
from transformers import AutoModelForCausalLM
from trl import GRPOConfig, GRPOTrainer

from tltrain.conversion import convert_file
from tltrain.integrations.trl_reward import ToolCallReward
from tltrain.model import load_tokenizer, resolve


def main(logs: str, model: str = "smollm2-135m", steps: str = "10") -> None:
    """Convert the logs, train for a number of steps, and save the model in runs/grpo_with_trl/model."""
    out = Path("runs/grpo_with_trl")
    print(convert_file(logs, "trl-grpo", str(out / "prompts.jsonl"), model=model).summary())
    tokenizer = load_tokenizer(model)
    trainer = GRPOTrainer(
        model=AutoModelForCausalLM.from_pretrained(resolve(model)),
        reward_funcs=ToolCallReward(tokenizer),
        args=GRPOConfig(
            output_dir=str(out / "checkpoints"),
            max_steps=int(steps),
            per_device_train_batch_size=8,
            num_generations=4,
            max_completion_length=128,
            logging_steps=1,
            report_to="none",
            bf16=torch.cuda.is_available(),
            use_cpu=not torch.cuda.is_available(),
        ),
        train_dataset=load_dataset("json", data_files=str(out / "prompts.jsonl"), split="train"),
        processing_class=tokenizer,
    )
    trainer.train()
    trainer.save_model(str(out / "model"))


if __name__ == "__main__":
    main(*sys.argv[1:])
