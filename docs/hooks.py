"""Hooks of MkDocs: add pages from the code and from `results/`, turn formulas into MathML, refuse foreign hosts."""

from __future__ import annotations

import html
import re
from pathlib import Path

import reference
from latex2mathml.converter import convert
from mkdocs.config.defaults import MkDocsConfig
from mkdocs.exceptions import PluginError
from mkdocs.structure.files import File, Files, InclusionLevel
from mkdocs.structure.pages import Page
from offline import foreign_hosts

RESULTS = ("ablation.md", "comparison.md", "figures/*.svg")
"""What of each folder of `results/` is part of the site."""
FORMULA = re.compile(r'<(span|div) class="arithmatex">\\[(\[](.*?)\\[)\]]</\1>', re.DOTALL)


def on_files(files: Files, config: MkDocsConfig) -> Files:
    """Add the reference, the changelog, and the tables and figures of `results/`."""
    root = Path(config.config_file_path).parent
    pages = {f"reference/{name}.md": text for name, text in reference.pages().items()}
    results = [path for pattern in RESULTS for path in sorted(root.glob(f"results/*/{pattern}"))]
    pages |= {path.relative_to(root).as_posix(): path.read_text("utf-8") for path in (root / "CHANGELOG.md", *results)}
    for name, text in pages.items():
        nav = InclusionLevel.NOT_IN_NAV if name.startswith("results/") else InclusionLevel.UNDEFINED
        files.append(File.generated(config, name, content=text, inclusion=nav))
    return files


def on_page_markdown(markdown: str, page: Page, config: MkDocsConfig, files: Files) -> str:
    """Links of the documents to `results/`, which is beside their folder, lead into the site."""
    return markdown.replace("](../results/", "](results/")


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
