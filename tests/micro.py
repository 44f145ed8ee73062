"""A micro model and its throwaway tokenizer: small enough to go through every entry point in seconds."""

from __future__ import annotations

from pathlib import Path

import torch
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers
from transformers import LlamaConfig, LlamaForCausalLM, PreTrainedTokenizerFast

from tltrain.dialects import hermes

TEXT = [
    "get_order get_order_items get_orders_by_customer cancel_order find_contact list_files",
    '<tool_call>\n{"name": "get_order", "arguments": {"order_id": "A-1001", "limit": 12}}\n</tool_call>',
    '{"type": "function", "function": {"name": "x", "description": "text", "parameters": {"type": "object"}}}',
    "What is the weather in Oslo today, please? Error: unknown argument 'ordr_id'. Here is the answer.",
    "system user assistant tool name description parameters properties type string integer number boolean required",
]


def micro_tokenizer(vocabulary: int = 400) -> PreTrainedTokenizerFast:
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=vocabulary,
        special_tokens=["<|endoftext|>", "<|im_start|>", "<|im_end|>"],
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    tokenizer.train_from_iterator(TEXT * 3, trainer)
    wrapped = PreTrainedTokenizerFast(tokenizer_object=tokenizer, eos_token="<|im_end|>", pad_token="<|im_end|>")
    wrapped.chat_template = hermes.CHAT_TEMPLATE
    return wrapped


def micro_model(vocabulary: int = 400, seed: int = 0) -> LlamaForCausalLM:
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
    return LlamaForCausalLM(config).eval()


def save_micro(folder: Path, seed: int = 0) -> Path:
    tokenizer = micro_tokenizer()
    micro_model(len(tokenizer), seed).save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return folder
