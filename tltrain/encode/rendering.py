"""Renders trajectories with a chat template, tokenises the result, and locates calls and tool names in a reply."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from itertools import pairwise
from typing import TYPE_CHECKING, Any

from tltrain.errors import TemplateError
from tltrain.trajectory import Message, Tool, Trajectory

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

Span = tuple[int, int]
"""First character, and the one after the last."""
_PROBE = "zqprobe"
"""Replaces a name or a text to find out where a template writes it; occurs in no natural text."""


@dataclass(frozen=True, slots=True)
class RenderedReply:
    """The reply at message `index`: `prompt` is the rendering of everything before it, `text` that of the reply."""

    trajectory: Trajectory
    index: int
    prompt: str
    text: str

    @property
    def message(self) -> Message:
        """The message that was rendered."""
        return self.trajectory.messages[self.index]


class Renderer:
    """Renders and tokenises for one tokenizer.

    Args:
        tokenizer: a fast tokenizer whose chat template supports tools.
        extra_stop_ids: further ids that end a reply.
    """

    def __init__(self, tokenizer: PreTrainedTokenizerBase, extra_stop_ids: Sequence[int] = ()) -> None:
        self.tokenizer, self.extra_stop_ids = tokenizer, tuple(extra_stop_ids)
        self._last_tools: tuple[tuple[Tool, ...], list[dict[str, Any]]] | None = None

    def prompt(self, trajectory: Trajectory, index: int) -> str:
        """The messages before `index` with the generation prompt.

        Raises:
            TemplateError: the chat template cannot render them.
        """
        return self._render(trajectory, trajectory.messages[:index], generation_prompt=True)

    def reply(self, trajectory: Trajectory, index: int) -> RenderedReply:
        """The reply at message `index`.

        Raises:
            TemplateError: the template cannot render it, or its generation prompt is not a prefix of the rendering.
        """
        prompt = self.prompt(trajectory, index)
        full = self._render(trajectory, trajectory.messages[: index + 1])
        if not full.startswith(prompt):
            shared = _common_prefix(full, prompt)
            raise TemplateError(
                f"{_location(trajectory, index)}: the chat template's generation prompt is not a prefix of the full "
                f"rendering: after {shared} equal characters it has {prompt[shared : shared + 30]!r}, "
                f"the rendering {full[shared : shared + 30]!r}"
            )
        return RenderedReply(trajectory, index, prompt, full[len(prompt) :])

    def call_spans(self, reply: RenderedReply) -> list[Span]:
        """The characters of the reply that belong to each of its calls, found by rendering it with fewer calls.

        A call ends where the rendering with one more call starts to differ, or at the stop token, so the last call is
        also rendered twice. Whatever is written before a call only because of it (a separator, an opening bracket)
        belongs to the call. A token that overlaps two calls belongs to the later: tokens are assigned by their ends.
        """
        message = reply.message
        fewer = [self._variant(reply, replace(message, calls=message.calls[:count]))
                 for count in range(len(message.calls))]  # fmt: skip
        more = self._variant(reply, replace(message, calls=(*message.calls, message.calls[-1])))
        # A stop token may start like a call (`<`), so that the two texts differ only inside it.
        texts = pairwise([*fewer, reply.text, more])
        ends = [min(_common_prefix(a, b), self.reply_tokens(a)[1][-1][0]) for a, b in texts]
        return list(pairwise(ends))

    def name_offsets(self, reply: RenderedReply) -> list[int]:
        """The character of the reply at which each call's tool name starts, found by rendering other names.

        Raises:
            TemplateError: the chat template does not write the names.
        """
        message = reply.message
        probed = self._variant(reply, replace(message, calls=tuple(replace(c, name=_PROBE) for c in message.calls)))
        offsets, position, shift = [], 0, 0
        for call in message.calls:
            found = probed.find(_PROBE, position)
            if found < 0 or not reply.text.startswith(call.name, found + shift):
                location = _location(reply.trajectory, reply.index)
                raise TemplateError(f"{location}: the chat template does not write the name {call.name!r}")
            offsets.append(found + shift)
            position = found + len(_PROBE)
            shift += len(call.name) - len(_PROBE)
        return offsets

    def token_ids(self, text: str) -> list[int]:
        """Ids of a text, without added special tokens."""
        ids: list[int] = self.tokenizer(text, add_special_tokens=False)["input_ids"]
        return ids

    def reply_tokens(self, text: str) -> tuple[list[int], list[Span]]:
        """Ids and character spans of a reply up to its stop token, which is added if the template writes none.

        Raises:
            TemplateError: no stop token is known.
        """
        ids, spans = self._tokens([text])[0]
        for position in range(len(ids) - 1, -1, -1):
            if ids[position] in self.stop_ids and not text[spans[position][1] :].strip():
                return ids[: position + 1], spans[: position + 1]
        if not self.stop_ids:
            raise TemplateError("neither the tokenizer nor the chat template has a token that ends a reply")
        return [*ids, self.stop_ids[0]], [*spans, (len(text), len(text) + 1)]

    def substituted_names(self, text: str, offset: int, length: int, names: list[str]) -> list[list[int]]:
        """Token ids of each of `names` when it replaces `text[offset : offset + length]`."""
        if not names:
            return []
        tokens = self._tokens([text[:offset] + name + text[offset + length :] for name in names])
        return [
            [ids[token] for token in overlapping(spans, offset, offset + len(name))]
            for name, (ids, spans) in zip(names, tokens, strict=True)
        ]

    @cached_property
    def stop_ids(self) -> tuple[int, ...]:
        """Ids that end a reply: end of text, the special token the template writes after a reply, and the extra ids."""
        messages = [Message("user", "a"), Message("assistant", _PROBE)]
        _, found, tail = self._render(Trajectory(tuple(messages)), messages).partition(_PROBE)
        after = self.token_ids(tail.lstrip())[:1] if found else []
        special = [token for token in after if token in self.tokenizer.added_tokens_decoder]
        end = self.tokenizer.eos_token_id
        return tuple(dict.fromkeys([*([] if end is None else [end]), *special, *self.extra_stop_ids]))

    @cached_property
    def _lead(self) -> str:
        """Prepended to a reply before tokenisation, its tokens then removed, if the tokenizer adds a space at the start
        of every text (as Llama 2's does): a reply follows a prompt. Empty for other tokenizers."""
        tokens = self.tokenizer.convert_ids_to_tokens(self.token_ids("a"))
        return "" if "".join(tokens) == "a" else "\n"

    def _tokens(self, texts: list[str]) -> list[tuple[list[int], list[Span]]]:
        """Ids and character spans of texts that follow a prompt."""
        lead = self._lead
        encoded = self.tokenizer([lead + text for text in texts], add_special_tokens=False, return_offsets_mapping=True)
        tokens = []
        for ids, spans in zip(encoded["input_ids"], encoded["offset_mapping"], strict=True):
            first = sum(end <= len(lead) for _, end in spans) if lead else 0
            tokens.append((ids[first:], [(max(a - len(lead), 0), b - len(lead)) for a, b in spans[first:]]))
        return tokens

    def _variant(self, reply: RenderedReply, message: Message) -> str:
        """The text of another message rendered instead of the reply."""
        messages = (*reply.trajectory.messages[: reply.index], message)
        return self._render(reply.trajectory, messages)[len(reply.prompt) :]

    def _render(self, trajectory: Trajectory, messages: Sequence[Message], generation_prompt: bool = False) -> str:
        try:
            text: str = self.tokenizer.apply_chat_template(
                [template_message(self._plain(message)) for message in messages],
                tools=self._tools(trajectory.tools) or None,
                add_generation_prompt=generation_prompt,
                tokenize=False,
            )
        except Exception as error:  # Jinja's errors, and whatever a template raises itself
            reason = (str(error).strip().splitlines() or [type(error).__name__])[0]
            location = _location(trajectory, max(len(messages) - 1, 0))
            raise TemplateError(f"{location}: the chat template fails: {reason}") from error
        return text

    def _plain(self, message: Message) -> Message:
        """The message with special tokens in its text broken up if it comes from a user or a tool: such text must not
        end a turn or begin another. What a model writes, and the system prompt, stay as they are."""
        text = message.content
        if message.role not in ("user", "tool") or not text or self._special is None or not self._special.search(text):
            return message
        return replace(message, content=without_special_tokens(text, self._special))

    def _tools(self, tools: tuple[Tool, ...]) -> list[dict[str, Any]]:
        """The tools as templates expect them, without special tokens in their texts. Those of the last call are kept:
        all replies of a trajectory have the same tools."""
        if self._last_tools is None or self._last_tools[0] is not tools:
            values = [tool.to_json() for tool in tools]
            self._last_tools = (tools, [_without_special(value, self._special) for value in values])
        return self._last_tools[1]

    @cached_property
    def _special(self) -> re.Pattern[str] | None:
        """Matches the special tokens of more than a character, spaces around it aside; None if there are none."""
        added = [one.content for one in self.tokenizer.added_tokens_decoder.values() if one.special]
        names = sorted((name for name in added if len(name.strip()) > 1), key=len, reverse=True)
        return re.compile("|".join(map(re.escape, names))) if names else None


def without_special_tokens(text: str, special: re.Pattern[str]) -> str:
    """The text with a space after the first character of each special token that is not a space itself, so that it is
    tokenised as plain text."""
    while (found := special.search(text)) is not None:
        rest = found.end() - len(found[0].lstrip()) + 1
        text = f"{text[:rest]} {text[rest:]}"
    return text


def _without_special(value: Any, special: re.Pattern[str] | None) -> Any:
    """A JSON value whose strings hold no special tokens."""
    if special is None:
        return value
    if isinstance(value, str):
        return without_special_tokens(value, special) if special.search(value) else value
    if isinstance(value, dict):
        return {_without_special(key, special): _without_special(member, special) for key, member in value.items()}
    return [_without_special(member, special) for member in value] if isinstance(value, list) else value


def template_message(message: Message) -> dict[str, Any]:
    """A message as chat templates expect it: arguments as objects, no label, an empty string for missing content."""
    value = replace(message, weight=None, extra={}).to_json()
    return value | {"content": message.content or ""}


def overlapping(spans: Sequence[Span], begin: int, end: int) -> list[int]:
    """Indices of the tokens that share a character with `begin:end`."""
    return [token for token, (first, last) in enumerate(spans) if first < end and last > begin]


def _common_prefix(a: str, b: str) -> int:
    length = min(len(a), len(b))
    return next((offset for offset in range(length) if a[offset] != b[offset]), length)


def _location(trajectory: Trajectory, index: int) -> str:
    return f"{trajectory.source or trajectory.id or 'trajectory'}, message {index}"
