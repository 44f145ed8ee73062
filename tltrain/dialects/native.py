"""A model's own form, written by its chat template and read by its tokenizer's response template (`transformers` 5.17).

Few tokenizers have such a template yet. How strict it is, and how long it takes, is its author's choice.
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
"""Characters of a reply. The templates are regular expressions, which may take very long on longer hostile texts."""


class Native:
    """The dialect of one tokenizer. Raises ModelError where it has no response template."""

    def __init__(self, tokenizer: PreTrainedTokenizerBase) -> None:
        if getattr(tokenizer, "response_template", None) is None:
            raise ModelError("dialect native: the tokenizer has no response template: name a text form")
        self.tokenizer = tokenizer

    def format(self, calls: Sequence[Call], text: str = "") -> str:
        """The reply as the chat template writes it, whatever ends it included."""
        user, reply = Message("user", "").to_json(), Message("assistant", text, tuple(calls)).to_json()
        prompt: str = self.tokenizer.apply_chat_template([user], add_generation_prompt=True, tokenize=False)
        whole: str = self.tokenizer.apply_chat_template([user, reply], tokenize=False)
        return whole.removeprefix(prompt)

    def parse(self, text: str, tools: Sequence[Tool] = (), tolerant: bool = False) -> Parsed:
        """The calls and content that the tokenizer finds; `tools` give its values their types."""
        try:
            if len(text) > MAX_LENGTH:
                raise ValueError(f"more than {MAX_LENGTH} characters")
            given = [tool.to_json() for tool in tools]
            message = self.tokenizer.parse_response(text, prefix="", tools=given)
            calls = tuple(_call(item) for item in message.get("tool_calls") or [])
        except Exception as error:  # a template may fail on anything that a model writes
            return unreadable(text, error)
        return Parsed(calls, str(message.get("content") or "")) if calls else Parsed((), text)


def _call(value: Any) -> Call:
    function = value.get("function", value)
    call = strict.read_call({key: function[key] for key in ("name", "arguments") if key in function})
    strict.check([call.name, call.arguments])
    return call
