"""Writing the files of an ablation."""

from __future__ import annotations

from pathlib import Path

from tltrain.files import discard, read_json, write_text
from tltrain.report.ablation.charts import FIGURES, charts
from tltrain.report.ablation.markdown import markdown
from tltrain.report.ablation.page import html
from tltrain.report.charts import svg_file


def write_ablation(folder: Path) -> list[Path]:
    """Write `ablation.md`, `ablation.html` and a file of each chart under `figures/`, and return their paths.

    Raises:
        DataError: `ablation.json` is missing or malformed.
    """
    found = read_json(folder / "ablation.json")
    write_text(folder / "ablation.md", markdown(found))
    write_text(folder / "ablation.html", html(found))
    discard(folder / FIGURES)  # those of tests and sweeps that are there no more
    drawn = charts(found)
    for chart in drawn:
        write_text(folder / chart.path, svg_file(chart.draw(), chart.title))
    return [folder / "ablation.md", folder / "ablation.html", *([folder / FIGURES] if drawn else [])]
