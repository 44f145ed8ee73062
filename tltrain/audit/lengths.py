"""How many tokens a trajectory has for a model's tokenizer, and how many of them its failed replies hold.

Lengths are those of the trajectory rendered by the chat template, so they are exact. A reply's length is that of its
rendering after the generation prompt, up to its stop token: what a step is trained on. Speed comes from splitting the
rendered text at special tokens, across which no token reaches, and from caching the counts of repeated pieces,
mostly the tools.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

from jinja2 import TemplateError as JinjaError

from tltrain.audit.counting import common_prefix, digest, shorten
from tltrain.audit.failure_detectors import CallAssessment
from tltrain.errors import ModelError
from tltrain.trajectory import Message, Trajectory

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

MAX_REMEMBERED = 100_000
"""Pieces of text whose token counts are kept (about 10 MB)."""
_SPARE_USER = {"role": "user", "content": "Hello."}


@dataclass(frozen=True, slots=True)
class Lengths:
    """Lengths in one trajectory, in tokens or characters: the whole, each reply, and the masked part of each reply."""

    total: int
    replies: tuple[int, ...]
    masked: tuple[int, ...]


@dataclass(frozen=True, slots=True)
class Masking:
    """What MAE masks of one reply: all of it, some of its calls, or (`whole` False, no calls) nothing."""

    whole: bool
    calls: frozenset[int] = frozenset()


def maskings(trajectory: Trajectory, assessments: Iterable[CallAssessment]) -> list[Masking]:
    """One masking for each reply: a failed call masks its whole reply, but of parallel calls only itself."""
    failed: dict[int, set[int]] = {}
    for assessment in assessments:
        if assessment.failed:
            failed.setdefault(assessment.message, set()).add(assessment.index)
    return [_masking(reply, failed.get(position, set())) for position, reply in trajectory.replies()]


def _masking(reply: Message, failed: set[int]) -> Masking:
    if reply.weight is not None:
        return Masking(whole=reply.weight == 0)
    return Masking(whole=bool(failed) and len(failed) == len(reply.calls), calls=frozenset(failed))


def without_calls(reply: Message, calls: Iterable[int]) -> Message:
    """The reply as it would be without the calls at the given indices."""
    left_out = set(calls)
    return replace(reply, calls=tuple(call for index, call in enumerate(reply.calls) if index not in left_out))


class Characters:
    """Measures in characters, for an audit without a tokenizer: texts, calls and tools as JSON."""

    unit = "characters"

    def measure(self, work: Sequence[tuple[Trajectory, list[Masking]]]) -> list[Lengths]:
        """The lengths of each trajectory."""
        return [self._measure(trajectory, masked) for trajectory, masked in work]

    def _measure(self, trajectory: Trajectory, masked: list[Masking]) -> Lengths:
        sizes = [_characters(message) for message in trajectory.messages]
        total = sum(sizes) + sum(len(str(tool.to_json())) for tool in trajectory.tools)
        replies = [reply for _, reply in trajectory.replies()]
        lengths = tuple(sizes[position] for position, _ in trajectory.replies())
        cut = (
            _masked(length, reply, mask, _characters)
            for length, reply, mask in zip(lengths, replies, masked, strict=True)
        )
        return Lengths(total, lengths, tuple(cut))


def _characters(message: Message) -> int:
    calls = sum(len(call.name) + len(str(call.arguments)) for call in message.calls)
    return len(message.content or "") + len(message.thought or "") + calls


def _masked(length: int, reply: Message, mask: Masking, measure: Any) -> int:
    if mask.whole:
        return length
    return max(0, length - measure(without_calls(reply, mask.calls))) if mask.calls else 0


class Tokens:
    """Measures in tokens of a fast tokenizer with a chat template.

    Raises:
        ModelError: the tokenizer is not a fast one, or has no chat template.
    """

    unit = "tokens"

    def __init__(self, tokenizer: PreTrainedTokenizerBase) -> None:
        if not tokenizer.is_fast or not tokenizer.chat_template:
            raise ModelError("token lengths need a fast tokenizer with a chat template")
        self.tokenizer: Any = tokenizer
        self.remembered: dict[bytes, int] = {}
        added = self.tokenizer.added_tokens_decoder.values()
        plain = [token.content for token in added if token.special and not (token.lstrip or token.rstrip)]
        self.special = set(plain)
        ordered = sorted(plain, key=len, reverse=True)
        self.splitter = re.compile(f"({'|'.join(map(re.escape, ordered))})") if plain else None
        self.opening = self._render([_SPARE_USER], add_generation_prompt=True)
        if self.splitter is not None and not self._splits_exactly():
            self.splitter = None

    def measure(self, work: Sequence[tuple[Trajectory, list[Masking]]]) -> list[Lengths | str]:
        """The lengths of each trajectory, or why the template refuses it."""
        texts: list[list[str] | str] = []
        for trajectory, masked in work:
            try:
                texts.append(self._texts(trajectory, masked))
            except (JinjaError, TypeError, ValueError, KeyError) as error:  # a template may fail on any message
                texts.append(shorten(str(error) or type(error).__name__, 160))
        self._remember([text for group in texts if not isinstance(group, str) for text in group])
        return [
            group if isinstance(group, str) else self._lengths(group, trajectory, masked)
            for group, (trajectory, masked) in zip(texts, work, strict=True)
        ]

    def _texts(self, trajectory: Trajectory, masked: list[Masking]) -> list[str]:
        """The whole, each reply, then each reply that is masked in part without its failed calls."""
        messages = [_plain(message) for message in trajectory.messages]
        tools = [tool.to_json() for tool in trajectory.tools] or None
        replies = [reply for _, reply in trajectory.replies()]
        left = [without_calls(reply, mask.calls) for reply, mask in zip(replies, masked, strict=True) if _in_part(mask)]
        return [self._render(messages, tools=tools), *map(self._reply, replies), *map(self._reply, left)]

    def _lengths(self, texts: list[str], trajectory: Trajectory, masked: list[Masking]) -> Lengths:
        counts = [self._count(text) for text in texts]
        replies = counts[1 : 1 + len(masked)]
        left = iter(counts[1 + len(masked) :])
        cut = [
            length if mask.whole else max(0, length - next(left)) if _in_part(mask) else 0
            for length, mask in zip(replies, masked, strict=True)
        ]
        return Lengths(counts[0], tuple(replies), tuple(cut))

    def _reply(self, reply: Message) -> str:
        """A reply as a step is trained on it: rendered after the generation prompt, up to its stop token.

        Where the template writes none, training adds the tokenizer's own.
        """
        rendered = self._render([_SPARE_USER, _plain(reply)])
        text = rendered[len(common_prefix(rendered, self.opening)) :]
        ended = text.rstrip()
        if any(ended.endswith(token) for token in self.special):
            return ended
        return text + (self.tokenizer.eos_token or "")

    def _render(self, messages: list[dict[str, Any]], **options: Any) -> str:
        text: str = self.tokenizer.apply_chat_template(messages, tokenize=False, **options)
        return text

    def _pieces(self, text: str) -> list[str]:
        pieces = self.splitter.split(text) if self.splitter else [text]
        return [piece for piece in pieces if piece and piece not in self.special]

    def _remember(self, texts: Iterable[str]) -> None:
        """Count the tokens of all new pieces at once."""
        if len(self.remembered) > MAX_REMEMBERED:
            self.remembered.clear()
        new = {digest(piece): piece for text in texts for piece in self._pieces(text)}
        new = {key: piece for key, piece in new.items() if key not in self.remembered}
        self.remembered |= dict(zip(new, self._encode(list(new.values())), strict=True))

    def _encode(self, texts: list[str]) -> list[int]:
        encoded = self.tokenizer.backend_tokenizer.encode_batch_fast(texts, add_special_tokens=False)
        return [len(each) for each in encoded]

    def _count(self, text: str) -> int:
        pieces = self.splitter.split(text) if self.splitter else [text]
        return sum(1 if piece in self.special else self.remembered[digest(piece)] for piece in pieces if piece)

    def _splits_exactly(self) -> bool:
        """Whether the tokens of the pieces are those of the whole, for a text with all cases that matter at borders."""
        probe = self.opening + "".join(f"{token} A word\n{token}word  {token}" for token in self.special)
        self._remember([probe])
        return self._count(probe) == self._encode([probe])[0]


def _in_part(mask: Masking) -> bool:
    return bool(mask.calls) and not mask.whole


def _plain(message: Message) -> dict[str, Any]:
    """The message as chat templates expect it: an empty text if it has no content."""
    value = message.to_json()
    value.pop("weight", None)
    return value if message.content is not None else value | {"content": ""}
