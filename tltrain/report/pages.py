"""All pages of a run directory, from the JSON files in it."""

from __future__ import annotations

from pathlib import Path

from tltrain.report.analysis_page import write_analysis
from tltrain.report.comparison import write_comparison
from tltrain.report.model_card import write_cards
from tltrain.report.report import write_report


def write_pages(folder: Path) -> list[Path]:
    """Write `report.html`, and the pages of a comparison and of an analysis if the folder has their results; update the
    cards of its trained models.

    Returns:
        The paths of the pages.

    Raises:
        RunError: nothing in the folder to report, or a broken file.
        DataError: `comparison.json` or `analysis.json` is broken.
    """
    pages = [write_report(folder)]
    if (folder / "comparison.json").exists():
        pages += [write_comparison(folder), folder / "comparison.md"]
    if (folder / "analysis.json").exists():
        pages.append(write_analysis(folder))
    write_cards(folder)
    return pages
