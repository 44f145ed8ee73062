"""What every dialect shares: the result of reading a reply, and the two functions a dialect is made of."""

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
    """A reply as read: its calls in order, and the text that stands beside them.

    Without call markup `calls` is empty and `text` is the whole reply. Where there is markup that cannot be read,
    `broken` says why, `calls` is empty and `text` is again the whole reply. Whoever cut a reply short sets `broken`.
    """

    calls: tuple[Call, ...]
    text: str
    broken: str | None = None


class Dialect(Protocol):
    """How calls are written in a reply's text, and read back. Each dialect is a module with these two functions."""

    def format(self, calls: Sequence[Call], text: str = "") -> str:
        """The reply. Raises ValueError for NaN and infinities; call ids are not written."""

    def parse(self, text: str, tools: Sequence[Tool] = (), tolerant: bool = False) -> Parsed:
        """The calls and the text beside them; never raises, evaluates nothing, takes time linear in `text`.

        `parse(format(calls, text))` gives `calls` and `text` back, where `text` holds no call markup itself.

        tolerant: reads what a lenient runtime would, code fences around calls and Python's literals in place of JSON
            (trailing commas, single quotes). Training and evaluation never set it.
        """


def unreadable(text: str, error: Exception) -> Parsed:
    """A reply whose markup cannot be read; the reason is one short line, whatever the text holds."""
    return Parsed((), text, " ".join(str(error).split())[:160])


def without_fences(text: str) -> str:
    """The text without the lines that open or close a code block."""
    return _FENCE.sub("", text)


def beside(pieces: Sequence[str]) -> str:
    """The text beside the calls. `pieces` stand before, between and after them.

    One newline before the first call belongs to the markup; blank pieces between and after calls are none.
    """
    later = (piece.strip("\n") for piece in pieces[1:] if piece and not piece.isspace())
    return "\n".join(piece for piece in (pieces[0].removesuffix("\n"), *later) if piece)


def above(text: str, written: str) -> str:
    """A reply of `text`, where there is any, and the written calls below it."""
    return "\n".join(part for part in (text, written) if part)


def read_blocks(
    text: str, opening: str, closing: str, read_call: Callable[[str, int], tuple[Call, int]], tolerant: bool
) -> Parsed:
    """The calls of all blocks between two tags, one or more in each.

    read_call: reads the call at a position and says where it ends, or raises ValueError.
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
    return Parsed(tuple(calls), beside(pieces)) if calls else Parsed((), whole)
