"""Hooks of MkDocs: add the pages that are made from the code, turn formulas into MathML, refuse foreign hosts."""

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
from offline import foreign_hosts

FORMULA = re.compile(r'<(span|div) class="arithmatex">\\[(\[](.*?)\\[)\]]</\1>', re.DOTALL)


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
    return str(convert(html.unescape(tex).strip(), display="block" if display else "inline"))


def on_post_build(config: MkDocsConfig) -> None:
    """Refuse a site that loads anything from another host.

    Raises:
        PluginError: it does.
    """
    if found := foreign_hosts(Path(config.site_dir)):
        raise PluginError("the site loads from other hosts:\n" + "\n".join(found))
