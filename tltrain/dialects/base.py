"""What every dialect shares: the result of reading a reply, and the two functions a dialect is made of."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

from tltrain.trajectory import Call, Tool


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

    def parse(self, text: str, tools: Sequence[Tool] = ()) -> Parsed:
        """The calls and the text beside them; never raises, evaluates nothing, takes time linear in `text`.

        `parse(format(calls, text))` gives `calls` and `text` back, where `text` holds no call markup itself.
        """


def unreadable(text: str, error: ValueError) -> Parsed:
    """A reply whose markup cannot be read; the reason is one short line, whatever the text holds."""
    return Parsed((), text, " ".join(str(error).split())[:160])


def beside(pieces: Sequence[str]) -> str:
    """The text beside the calls. `pieces` stand before, between and after them.

    One newline before the first call belongs to the markup; blank pieces between and after calls are none.
    """
    later = (piece.strip("\n") for piece in pieces[1:] if piece and not piece.isspace())
    return "\n".join(piece for piece in (pieces[0].removesuffix("\n"), *later) if piece)


def above(text: str, written: str) -> str:
    """A reply of `text`, where there is any, and the written calls below it."""
    return "\n".join(part for part in (text, written) if part)
