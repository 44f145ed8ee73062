"""A micro model and its throwaway tokenizer: small enough to go through every entry point in seconds."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import torch
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers
from transformers import LlamaConfig, LlamaForCausalLM, PreTrainedTokenizerFast

from tltrain.dialects import hermes
from tltrain.trajectory import Call, Message, Tool, Trajectory

TEXT = [
    "get_order get_order_items get_orders_by_customer cancel_order find_contact list_files",
    '<tool_call>\n{"name": "get_order", "arguments": {"order_id": "A-1001", "limit": 12}}\n</tool_call>',
    '{"type": "function", "function": {"name": "x", "description": "text", "parameters": {"type": "object"}}}',
    "What is the weather in Oslo today, please? Error: unknown argument 'ordr_id'. Here is the answer.",
    "system user assistant tool name description parameters properties type string integer number boolean required",
]


ORDER = {"type": "object", "properties": {"order_id": {"type": "string"}}, "required": ["order_id"]}
ORDER_TOOLS = tuple(Tool(name, "", ORDER) for name in ("get_order", "get_order_items", "cancel_order"))
FILE_TOOLS = (Tool("list_files"), Tool("find_contact"))


def micro_trajectories(count: int = 8) -> list[Trajectory]:
    """In turn: one call; a failed call, then the right one; no call; two calls and an answer. Two tool sets."""
    return [_micro_trajectory(number) for number in range(count)]


def _micro_trajectory(number: int) -> Trajectory:
    order, user = {"order_id": f"A-{number}"}, Message("user", f"What is order A-{number}?")
    wrong = Message("assistant", None, (Call("get_order", {"ordr_id": f"A-{number}"}),))
    error = Message("tool", "Error: unknown argument 'ordr_id'")
    if number % 4 == 0:
        return Trajectory((user, Message("assistant", None, (Call("get_order", order),))), ORDER_TOOLS, f"{number}")
    if number % 4 == 1:
        right = Message("assistant", "Again:", (Call("get_order", order),))
        return Trajectory((user, wrong, error, right), ORDER_TOOLS, f"{number}")
    if number % 4 == 2:
        return Trajectory((user, Message("assistant", "Here is the answer.")), FILE_TOOLS, f"{number}")
    both = Message("assistant", None, (Call("get_order_items", order), Call("cancel_order", order)))
    done = (Message("tool", "[]"), Message("tool", "{}"), Message("assistant", "Here."))
    return Trajectory((user, both, *done), ORDER_TOOLS, f"{number}")


def micro_tokenizer(vocabulary: int = 400, text: Sequence[str] = TEXT) -> PreTrainedTokenizerFast:
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=vocabulary,
        special_tokens=["<|endoftext|>", "<|im_start|>", "<|im_end|>"],
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    tokenizer.train_from_iterator([*text] * 3, trainer)
    wrapped = PreTrainedTokenizerFast(tokenizer_object=tokenizer, eos_token="<|im_end|>", pad_token="<|im_end|>")
    wrapped.chat_template = hermes.CHAT_TEMPLATE
    return wrapped


def micro_model(vocabulary: int = 400, seed: int = 0, dtype: torch.dtype = torch.float32) -> LlamaForCausalLM:
    torch.manual_seed(seed)
    config = LlamaConfig(
        vocab_size=vocabulary,
        hidden_size=32,
        intermediate_size=64,
        num_hidden_layers=2,
        num_attention_heads=4,
        num_key_value_heads=2,
        max_position_embeddings=4096,
        tie_word_embeddings=True,
        initializer_range=0.15,
        bos_token_id=None,
        eos_token_id=2,
        pad_token_id=2,
    )
    return LlamaForCausalLM(config).to(dtype).eval()


def save_micro(folder: Path, seed: int = 0) -> Path:
    tokenizer = micro_tokenizer()
    micro_model(len(tokenizer), seed).save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return folder
