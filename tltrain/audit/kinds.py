"""A way to report failure in plain text; `statements` and `languages` hold the tables of them."""

from __future__ import annotations

import re
from dataclasses import KW_ONLY, dataclass


@dataclass(frozen=True, slots=True)
class Kind:
    """A way to report failure: its name in reasons, its pattern (over lower-cased text unless `cased`), its reach.

    `longest` is the longest text, in characters, to which it is applied; `within` searches the whole text, not only
    its beginning. Every text that matches contains one of `needs` (parts of words, lower-cased): searching for
    those is many times faster than trying the pattern.
    """

    name: str
    pattern: re.Pattern[str]
    longest: int
    _: KW_ONLY
    cased: bool = False
    within: bool = False
    needs: tuple[str, ...] = ("",)

    def matches(self, text: str, lowered: str) -> bool:
        """Whether `text`, given with its lower-cased form, reports failure in this way."""
        if len(text) > self.longest:
            return False
        for part in self.needs:
            if part in lowered:
                break
        else:
            return False
        subject = text if self.cased else lowered
        return (self.pattern.search(subject) if self.within else self.pattern.match(subject)) is not None


def kind(name: str, *patterns: str, longest: int, cased: bool = False, within: bool = False, needs: str = "") -> Kind:
    """A kind that any of the patterns matches; `needs` are separated by `|`."""
    pattern = re.compile("|".join(f"(?:{pattern})" for pattern in patterns))
    return Kind(name, pattern, longest, cased=cased, within=within, needs=tuple(needs.split("|")))


def excerpt(text: str) -> str:
    """The beginning of `text` on one line, shortened for a reason."""
    line = " ".join(text[:400].split())
    return line if len(line) <= 120 else line[:117] + "..."
