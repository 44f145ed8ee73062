"""The form of a model, written by its chat template and parsed by the response template of its tokenizer
(`transformers` 5.17).

Few tokenizers have a response template yet. How strict and how fast it is depends on its author.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from tltrain.dialects import strict
from tltrain.dialects.base import Parsed, unreadable
from tltrain.errors import ModelError
from tltrain.trajectory import Call, Message, Tool

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

MAX_LENGTH = 2**18
"""Maximum length of a reply in characters. The templates are regular expressions, which may be very slow on longer
adversarial texts."""


class Native:
    """The dialect of a tokenizer. Raises ModelError if it has no response template."""

    def __init__(self, tokenizer: PreTrainedTokenizerBase) -> None:
        if getattr(tokenizer, "response_template", None) is None:
            raise ModelError("dialect native: the tokenizer has no response template: name a text form")
        self.tokenizer = tokenizer

    def format(self, calls: Sequence[Call], text: str = "") -> str:
        """The reply as the chat template writes it, including its end-of-turn markup."""
        user, reply = Message("user", "").to_json(), Message("assistant", text, tuple(calls)).to_json()
        prompt: str = self.tokenizer.apply_chat_template([user], add_generation_prompt=True, tokenize=False)
        whole: str = self.tokenizer.apply_chat_template([user, reply], tokenize=False)
        return whole.removeprefix(prompt)

    def parse(self, text: str, tools: Sequence[Tool] = (), tolerant: bool = False) -> Parsed:
        """The calls and content that the tokenizer parses; `tools` determine the types of values."""
        try:
            if len(text) > MAX_LENGTH:
                raise ValueError(f"more than {MAX_LENGTH} characters")
            specifications = [tool.to_json() for tool in tools]
            message = self.tokenizer.parse_response(text, prefix="", tools=specifications)
            calls = tuple(_call(item) for item in message.get("tool_calls") or [])
        except Exception as error:  # a template may raise anything on the output of a model
            return unreadable(text, error)
        return Parsed(calls, str(message.get("content") or "")) if calls else Parsed((), text)


def _call(value: Any) -> Call:
    function = value.get("function", value)
    call = strict.read_call({key: function[key] for key in ("name", "arguments") if key in function})
    strict.check([call.name, call.arguments])
    return call
