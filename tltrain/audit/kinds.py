"""A kind of failure message in plain text; the tables of kinds are in `statements` and `languages`."""

from __future__ import annotations

import re
from dataclasses import KW_ONLY, dataclass


@dataclass(frozen=True, slots=True)
class Kind:
    """A kind of failure message.

    Attributes:
        name: the kind as shown in reasons.
        pattern: matches lower-cased text from its beginning.
        longest: longer texts, in characters, do not match.
        cased: apply the pattern to the text in its original case.
        within: search the whole text for the pattern.
        needs: lower-case parts of words, one of which every matching text contains. Searching for those first is many
            times faster than applying the pattern.
    """

    name: str
    pattern: re.Pattern[str]
    longest: int
    _: KW_ONLY
    cased: bool = False
    within: bool = False
    needs: tuple[str, ...] = ("",)

    def matches(self, text: str, lowered: str) -> bool:
        """Whether `text` is a failure message of this kind; `lowered` is the same text in lower case."""
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
    """A kind with several alternative patterns; the alternatives in `needs` are separated by `|`."""
    pattern = re.compile("|".join(f"(?:{pattern})" for pattern in patterns))
    return Kind(name, pattern, longest, cased=cased, within=within, needs=tuple(needs.split("|")))


def excerpt(text: str) -> str:
    """The beginning of `text` on one line, for use in a reason."""
    line = " ".join(text[:400].split())
    return line if len(line) <= 120 else line[:117] + "..."
