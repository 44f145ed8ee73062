"""How much of what an adapter learned a saved bf16 model keeps: `python benchmarks/saved_change.py MODEL ADAPTER`.

The log-probabilities of logged replies, to fresh tasks of toolworld, are computed with the base model in bf16, with the
adapter over it, with the adapter merged by stochastic rounding as tltrain saves it, and with it merged by rounding to
nearest. All arithmetic is in fp32, so that only the weights differ. What is kept is the slope of a merged model's
change of these log-probabilities on the adapter's change: 1 if nothing is lost.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from peft import PeftModel
from speed.workload import make_logs

from tltrain import model as models
from tltrain.encode import Encoder
from tltrain.engine.adapters import merged
from tltrain.engine.memory import set_up_memory
from tltrain.engine.outputs import LogProbs
from tltrain.engine.passes import measure
from tltrain.engine.tree import TokenSequence
from tltrain.sft import step_sequence

if TYPE_CHECKING:
    from transformers import PreTrainedModel

MAX_TREE_TOKENS = 2_000


def arguments() -> argparse.Namespace:
    """Parse the command line."""
    parser = argparse.ArgumentParser(description="How much of what an adapter learned a saved bf16 model keeps.")
    parser.add_argument("model", help="the adapter's base: built-in model, folder, or hub name")
    parser.add_argument("adapter", type=Path, help="folder of the adapter")
    parser.add_argument("--logs", type=int, default=4, help="logs whose replies are measured (default 4)")
    parser.add_argument("--seeds", type=int, default=1, help="random seeds of the stochastic rounding (default 1)")
    parser.add_argument("--json", type=Path, help="output file")
    return parser.parse_args()


def variants(base: Callable[[], PreTrainedModel], adapter: Path, seeds: int) -> dict[str, Callable[[], Any]]:
    """Functions that load each model, in fp32."""

    def adapted(model: PreTrainedModel) -> PeftModel:
        return PeftModel.from_pretrained(model, adapter)

    def nearest() -> PreTrainedModel:
        return merged(adapted(base().float()), "default", 0).to(torch.bfloat16).float()

    def stochastic(seed: int) -> PreTrainedModel:
        return merged(adapted(base()), "default", seed).float()

    return {
        "base": lambda: base().float(),
        "adapter": lambda: adapted(base()).float().get_base_model(),
        **{f"stochastic rounding, seed {seed}": partial(stochastic, seed) for seed in range(seeds)},
        "rounding to nearest": nearest,
    }


def main() -> None:
    """Measure, write the JSON file, and print what is kept."""
    options = arguments()
    set_up_memory()
    folder = models.resolve(options.model)
    encoder = Encoder(models.load_tokenizer(folder, "hermes"))
    logs = make_logs("own", options.logs, seed=1)
    sequences: list[TokenSequence] = [step_sequence(step) for log in logs for step in encoder.steps(log)]
    measured: dict[str, torch.Tensor] = {}
    for name, load in variants(
        lambda: models.load_model(folder, torch.bfloat16), options.adapter, options.seeds
    ).items():
        measured[name] = torch.cat(measure(load().eval(), sequences, LogProbs(), MAX_TREE_TOKENS))
    before = measured.pop("base")
    change = measured.pop("adapter") - before
    kept = {name: float((found - before) @ change / (change @ change)) for name, found in measured.items()}
    figures = {"tokens": len(change), "mean_absolute_change": change.abs().mean().item(), "kept": kept}
    if options.json:
        options.json.write_text(json.dumps(figures, indent=1) + "\n", encoding="utf-8")
    print(f"{len(change)} tokens, mean absolute change of their log-probabilities {change.abs().mean():.4f}")
    for name, slope in kept.items():
        print(f"{name:32}{slope:.3f}")


if __name__ == "__main__":
    main()
