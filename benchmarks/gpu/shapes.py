"""Models with random weights in the shapes of known ones, and a tokenizer trained on the spot, without downloads.

`python -m gpu.shapes FOLDER SEED [tiny]` writes their configurations.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from speed.process import load_model
from speed.workload import NAMES, make_logs
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers
from transformers import LlamaConfig, PreTrainedTokenizerFast, Qwen3Config

from gpu.part import Job
from tltrain.dialects import hermes
from tltrain.trajectory import Trajectory

if TYPE_CHECKING:
    from transformers import PreTrainedModel

QWEN = {"num_hidden_layers": 28, "num_attention_heads": 16, "num_key_value_heads": 8, "head_dim": 128}
QWEN |= {"vocab_size": 151_936, "max_position_embeddings": 40_960}
SHAPES: dict[str, tuple[Any, dict[str, Any]]] = {
    "Qwen3-0.6B": (Qwen3Config, QWEN | {"hidden_size": 1024, "intermediate_size": 3072, "tie_word_embeddings": True}),
    "Qwen3-1.7B": (Qwen3Config, QWEN | {"hidden_size": 2048, "intermediate_size": 6144, "tie_word_embeddings": True}),
    "LLaMA-7B": (
        LlamaConfig,
        {
            "hidden_size": 4096,
            "intermediate_size": 11_008,
            "num_hidden_layers": 32,
            "num_attention_heads": 32,
            "num_key_value_heads": 32,
            "vocab_size": 32_000,
            "max_position_embeddings": 8192,
        },
    ),
}
TINY = {"hidden_size": 64, "intermediate_size": 128, "num_hidden_layers": 2, "num_attention_heads": 4}
TINY |= {"num_key_value_heads": 2, "vocab_size": 2048}
TOKENS = 2000
"""Size of the tokenizer's vocabulary. Other entries of a model's vocabulary are never used, but computed."""
TOKENIZER_LOGS = 40
"""Of each workload, for the tokenizer."""
SPECIAL = ("<|endoftext|>", "<|im_start|>", "<|im_end|>")


def write_models(folder: Path, logs: Iterable[Trajectory], tiny: bool) -> None:
    """A folder for each shape, with a configuration and a tokenizer and without weights."""
    tokenizer = train_tokenizer(logs)
    for name, (kind, shape) in SHAPES.items():
        smaller = TINY | ({"head_dim": 16} if "head_dim" in shape else {}) if tiny else {}
        ids = {"bos_token_id": None, "eos_token_id": tokenizer.eos_token_id, "pad_token_id": tokenizer.pad_token_id}
        kind(
            **{**shape, **smaller, **ids}, architectures=[kind.__name__.replace("Config", "ForCausalLM")]
        ).save_pretrained(folder / name)
        tokenizer.save_pretrained(folder / name)


def train_tokenizer(logs: Iterable[Trajectory]) -> PreTrainedTokenizerFast:
    """A byte-level BPE tokenizer for the logs, with the chat template of the `hermes` dialect."""
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=TOKENS,
        special_tokens=list(SPECIAL),
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    tokenizer.train_from_iterator((json.dumps(log.to_json(), ensure_ascii=False) for log in logs), trainer)
    wrapped = PreTrainedTokenizerFast(tokenizer_object=tokenizer, eos_token="<|im_end|>", pad_token="<|im_end|>")
    wrapped.chat_template = hermes.CHAT_TEMPLATE
    return wrapped


def make_model(job: Job, dtype: torch.dtype | None = None, **options: Any) -> PreTrainedModel:
    """The job's model with random weights, in evaluation mode."""
    folder = str(Path(job.folder) / job.model)
    return load_model(folder, dtype or getattr(torch, job.dtype), job.device, **options).eval()


def main() -> None:
    """Write the models of the command line."""
    folder, seed, *tiny = sys.argv[1:]
    logs = [log for workload in NAMES for log in make_logs(workload, TOKENIZER_LOGS, int(seed))]
    write_models(Path(folder), logs, bool(tiny))


if __name__ == "__main__":
    main()
