"""Whether a built site loads anything from other hosts."""

from __future__ import annotations

import re
from pathlib import Path

LOADED = re.compile(
    r"""<(?:script|img|iframe|source|video|audio|embed|object)\b[^>]*?\b(?:src|data|srcset)\s*=\s*["']?(?:https?:)?//([^"'/\s>]+)"""
    r"""|<link\b(?![^>]*\brel=["']?(?:canonical|next|prev))[^>]*?\bhref\s*=\s*["']?(?:https?:)?//([^"'/\s>]+)"""
    r"""|(?:@import\s+|url\()\s*["']?(?:https?:)?//([^"'/\s)]+)""",
    re.IGNORECASE,
)
"""What a browser fetches by itself; links that a reader follows are allowed."""


def foreign_hosts(site: Path) -> list[str]:
    """Files of a site that load something from another host, with the host."""
    found = []
    for path in sorted(site.rglob("*")):
        if path.suffix in (".html", ".css"):
            text = path.read_text("utf-8")
            found += [f"{path.relative_to(site)}: {next(filter(None, hosts))}" for hosts in LOADED.findall(text)]
    return found
