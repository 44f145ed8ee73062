"""Hooks of MkDocs: adds the pages that are made from the code, turns formulas into MathML, and refuses foreign hosts."""

from __future__ import annotations

import html
import re
from pathlib import Path

import reference
from latex2mathml.converter import convert
from mkdocs.config.defaults import MkDocsConfig
from mkdocs.exceptions import PluginError
from mkdocs.structure.files import File, Files
from mkdocs.structure.pages import Page

FORMULA = re.compile(r'<(span|div) class="arithmatex">\\[(\[](.*?)\\[)\]]</\1>', re.DOTALL)
LOADED = re.compile(
    r"""<(?:script|img|iframe|source|video|audio|embed|object)\b[^>]*?\b(?:src|data|srcset)\s*=\s*["']?(?:https?:)?//([^"'/\s>]+)"""
    r"""|<link\b(?![^>]*\brel=["']?(?:canonical|next|prev))[^>]*?\bhref\s*=\s*["']?(?:https?:)?//([^"'/\s>]+)"""
    r"""|(?:@import\s+|url\()\s*["']?(?:https?:)?//([^"'/\s)]+)""",
    re.IGNORECASE,
)
"""What a browser fetches by itself; links that a reader follows are allowed."""


def on_files(files: Files, config: MkDocsConfig) -> Files:
    """Add the reference and the changelog."""
    root = Path(config.config_file_path).parent
    pages = {f"reference/{name}.md": text for name, text in reference.pages().items()}
    pages["CHANGELOG.md"] = (root / "CHANGELOG.md").read_text("utf-8")
    for name, text in pages.items():
        files.append(File.generated(config, name, content=text))
    return files


def on_page_content(content: str, page: Page, config: MkDocsConfig, files: Files) -> str:
    """Formulas as MathML, which browsers draw without a script."""
    return FORMULA.sub(lambda found: _formula(found[2], found[1] == "div"), content)


def _formula(tex: str, display: bool) -> str:
    return convert(html.unescape(tex).strip(), display="block" if display else "inline")


def on_post_build(config: MkDocsConfig) -> None:
    """Refuse a site that loads anything from another host.

    Raises:
        PluginError: it does.
    """
    if found := foreign_hosts(Path(config.site_dir)):
        raise PluginError("the site loads from other hosts:\n" + "\n".join(found))


def foreign_hosts(site: Path) -> list[str]:
    """Files of a site that load something from another host, with the host."""
    found = []
    for path in sorted(site.rglob("*")):
        if path.suffix in (".html", ".css"):
            text = path.read_text("utf-8")
            found += [f"{path.relative_to(site)}: {next(filter(None, hosts))}" for hosts in LOADED.findall(text)]
    return found
