"""Shared by all dialects: the result of parsing a reply, the interface of a dialect, and helpers."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Protocol

from tltrain.dialects.strict import skip_blank
from tltrain.trajectory import Call, Tool

_FENCE = re.compile(r"^[ \t]*+```[^`\n]*+(?:\n|\Z)", re.MULTILINE)


@dataclass(frozen=True, slots=True)
class Parsed:
    """A parsed reply: its calls in order, and the text outside the calls.

    Without call markup, `calls` is empty and `text` is the whole reply. If the markup cannot be parsed, `broken` is the
    reason, `calls` is empty and `text` is the whole reply. Code that truncates a reply sets `broken` itself.
    """

    calls: tuple[Call, ...]
    text: str
    broken: str | None = None


class Dialect(Protocol):
    """How calls are written in the text of a reply, and parsed. Most dialects are modules with these two functions."""

    def format(self, calls: Sequence[Call], text: str = "") -> str:
        """The text of a reply. Call ids are not written. Raises ValueError for NaN and infinities."""

    def parse(self, text: str, tools: Sequence[Tool] = (), tolerant: bool = False) -> Parsed:
        """The calls and the text outside them; never raises, evaluates nothing, takes time linear in the length of
        `text`.

        `parse(format(calls, text))` returns `calls` and `text`, provided that `text` contains no call markup.

        Args:
            text: the reply. tools: the tools of the trajectory. tolerant: accept what a lenient runtime would: code
            fences around calls, and Python literals in place of JSON (trailing commas, single quotes). Training and
            evaluation never set it.
        """


def unreadable(text: str, error: Exception) -> Parsed:
    """A reply whose markup cannot be parsed; the reason is a single line of at most 160 characters."""
    return Parsed((), text, " ".join(str(error).split())[:160])


def without_fences(text: str) -> str:
    """The text without the lines that open or close a code block."""
    return _FENCE.sub("", text)


def text_outside(pieces: Sequence[str]) -> str:
    """The text outside the calls, from the pieces before, between and after them.

    A newline before the first call belongs to the markup; blank pieces between and after calls are dropped.
    """
    later = (piece.strip("\n") for piece in pieces[1:] if piece and not piece.isspace())
    return "\n".join(piece for piece in (pieces[0].removesuffix("\n"), *later) if piece)


def text_then_calls(text: str, calls: str) -> str:
    """A reply of `text`, if there is any, and the written calls on the lines below it."""
    return "\n".join(part for part in (text, calls) if part)


def read_blocks(
    text: str, opening: str, closing: str, read_call: Callable[[str, int], tuple[Call, int]], tolerant: bool
) -> Parsed:
    """Parse the calls of all blocks between two tags; a block contains at least one call.

    `read_call` parses the call at a position and returns it and its end position, or raises ValueError.
    """
    whole, calls, pieces, position = text, list[Call](), list[str](), 0
    text = without_fences(text) if tolerant else text
    try:
        while (start := text.find(opening, position)) >= 0:
            pieces.append(text[position:start])
            position = start + len(opening)
            while not text.startswith(closing, position := skip_blank(text, position)):
                if position == len(text):
                    raise ValueError(f"{opening} without {closing}")
                call, position = read_call(text, position)
                calls.append(call)
            if not text[start + len(opening) : position].strip():
                raise ValueError(f"nothing between {opening} and {closing}")
            position += len(closing)
        pieces.append(text[position:])
        if any(closing in piece for piece in pieces):
            raise ValueError(f"{closing} without {opening}")
    except (ValueError, RecursionError) as error:
        return unreadable(whole, error)
    return Parsed(tuple(calls), text_outside(pieces)) if calls else Parsed((), whole)
