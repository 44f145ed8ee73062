"""Reads generated HTML pages: tags, attributes, ids, and whether a page is self-contained."""

from __future__ import annotations

import re
from html.parser import HTMLParser


class Reader(HTMLParser):
    """Tags, attributes and ids of a page."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.tags: list[str] = []
        self.attributes: list[tuple[str, str]] = []
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        self.attributes += [(key, value or "") for key, value in attrs]

    def values(self, *keys: str) -> list[str]:
        return [value for key, value in self.attributes if key in keys]


def assert_self_contained(text: str) -> None:
    """Assert that a page loads and links nothing from elsewhere, has one script, and that its ids are unique."""
    reader = Reader(text)
    assert all(link.startswith("#") for link in reader.values("href", "src", "xlink:href", "action", "data"))
    assert "http" not in text.replace("http-equiv", "")
    assert "@import" not in text
    assert not re.search(r"url\((?!#)", text)
    assert reader.tags.count("script") == 1
    ids = reader.values("id")
    assert len(ids) == len(set(ids))
