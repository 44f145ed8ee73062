"""Untrusted text (replies of a model, output of tools) for a terminal: nothing in it acts, everything in it shows."""

from __future__ import annotations

import unicodedata

_KEPT = "\n\t\u200c\u200d"
"""Line ends and tabs; the joiners of emoji and of Persian and Indic scripts."""
_ESCAPED = ("Cc", "Cf", "Cs", "Zl", "Zp")
"""Unicode categories of control and format characters (escape sequences, reversed text, invisible tags), surrogates and
separators."""
MAX_CHARACTERS, MAX_LINES = 1_200, 14


def visible(text: str) -> str:
    """The text with control and format characters written as escapes, such as `\\x1b`."""
    text = text.replace("\r\n", "\n")
    if text.isascii() and text.isprintable():
        return text
    return "".join(_escape(character) for character in text)


def _escape(character: str) -> str:
    if character in _KEPT or unicodedata.category(character) not in _ESCAPED:
        return character
    return character.encode("unicode_escape").decode("ascii")


def excerpt(text: str, characters: int = MAX_CHARACTERS, lines: int = MAX_LINES) -> str:
    """The beginning of a text, and how many characters follow."""
    start = "\n".join(text[:characters].split("\n")[:lines])
    left = len(text) - len(start)
    return start if not left else f"{start} … ({left:,} more characters)"


def one_line(error: BaseException | str, length: int = 200) -> str:
    """An error's beginning in one line, for messages; its kind where it has no text."""
    text = " ".join(visible(str(error)).split()) or type(error).__name__
    return text if len(text) <= length else f"{text[: length - 2]} …"


def without_surrogates(text: str) -> str:
    """The text as UTF-8 can write it: files and tokenizers reject lone surrogates."""
    return text.encode("utf-8", "replace").decode("utf-8")
