"""Reply tokens back to text."""

from __future__ import annotations

from collections.abc import Container, Sequence
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase


def decode_reply(tokenizer: PreTrainedTokenizerBase, ids: Sequence[int], stop_ids: Container[int]) -> str:
    """The text of a reply without its stop token. Other special tokens stay, since some dialects use them."""
    kept = ids[:-1] if ids and ids[-1] in stop_ids else ids
    text: str = tokenizer.decode(list(kept), skip_special_tokens=False)
    return text
