"""How calls are written in the text of a reply, and parsed. Independent of trainers and test sets."""

from __future__ import annotations

import hashlib
from typing import TYPE_CHECKING

from tltrain.dialects import detection, gemma, hermes, llama3, mistral, python, qwen, react, release
from tltrain.dialects.base import Dialect, Parsed
from tltrain.dialects.native import Native
from tltrain.errors import ConfigError

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

__all__ = [
    "CHAT_TEMPLATES",
    "NAMES",
    "PUBLISHED_TEMPLATE",
    "RELEASE_TEMPLATE",
    "TEXT_FORMS",
    "Dialect",
    "Parsed",
    "detect",
    "get",
    "reads",
    "with_marks",
]

TEXT_FORMS: dict[str, Dialect] = {
    "hermes": hermes,
    "python": python,
    "react": react,
    "qwen": qwen,
    "llama3": llama3,
    "mistral": mistral,
    "gemma": gemma,
}
NAMES = (*TEXT_FORMS, "native")
CHAT_TEMPLATES = {"hermes": hermes.CHAT_TEMPLATE, "python": python.CHAT_TEMPLATE}
"""For models without one; dialects that are not listed belong to models that have their own."""
RELEASE_TEMPLATE, PUBLISHED_TEMPLATE = release.CHAT_TEMPLATE, release.PUBLISHED
"""The prompts of the TL-Training release: that of its code, and that of its published model. Both write calls in the
dialect `python`."""
_UNMARKED = {
    "d58aca45e35edd0382f10a226b0abbae9ba45346e28a6a5d9de0827e68e94132": "hermes",
    "36a11d13b9488f94092e277f8ce4ac9a991b820c0093e4ec38e5f2db1eaf2681": "python",
}
"""SHA-256 of `CHAT_TEMPLATES` as earlier versions wrote them: they render the same text, but mark no replies."""


def get(name: str, tokenizer: PreTrainedTokenizerBase | None = None) -> Dialect:
    """The dialect of that name; `native` parses replies with the response template of the tokenizer.

    Raises:
        ConfigError: the dialect is unknown, or it needs a tokenizer and none is given.
        ModelError: the tokenizer has no response template.
    """
    if name == "native" and tokenizer is not None:
        return Native(tokenizer)
    if name == "native":
        raise ConfigError("the dialect 'native' needs a model's tokenizer: name a text form instead")
    if name not in TEXT_FORMS:
        raise ConfigError(f"unknown dialect {name!r}: expected one of {', '.join(NAMES)}")
    return TEXT_FORMS[name]


def with_marks(chat_template: str) -> str:
    """The template with replies marked as `{% generation %}` if it is an unmarked one of ours; others unchanged."""
    name = _UNMARKED.get(hashlib.sha256(chat_template.encode()).hexdigest())
    return chat_template if name is None else CHAT_TEMPLATES[name]


def detect(chat_template: str) -> str | None:
    """The name of the text form in which a chat template writes calls; None if it uses none of `TEXT_FORMS`."""
    return detection.detect(chat_template, TEXT_FORMS)


def reads(name: str, chat_template: str) -> bool:
    """Whether a text form can parse the calls that a chat template writes."""
    return detection.detect(chat_template, {name: TEXT_FORMS[name]}) is not None
