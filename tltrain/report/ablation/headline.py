"""What an ablation found, in a sentence."""

from __future__ import annotations

from tltrain.evaluation.significance import LEVEL
from tltrain.progress import quantity
from tltrain.report.ablation.rows import Row, Rows, effect_name, grouped, main_metric, signed, split_name

_MOST_TESTS = 2
"""In the headline."""


def headline(found: Row) -> str:
    """What the parts change in CF on the first tests, as a sentence."""
    rows = _main_effects(found)
    if not rows:
        return quantity(len(_arms(found["scores"])), "arm")
    tests = list(grouped(rows, split_name).items())
    several = len(found["seeds"]) > 1
    shown = [f"{test}: {', '.join(_part_text(row, several) for row in own)}" for test, own in tests[:_MOST_TESTS]]
    return f"Points of {main_metric(rows)} on {'; on '.join(shown)}"


def seeds_text(found: Row) -> str:
    """The random seeds; of a single one also what that leaves out."""
    seeds = found["seeds"]
    if len(seeds) == 1:
        return f"random seed {seeds[0]} only: the intervals do not contain the variation between seeds"
    return f"random seeds {', '.join(map(str, seeds))}"


def _part_text(row: Row, several: bool) -> str:
    """An effect in words; `several`: the ablation has more than one seed, so that an effect of one has to be told."""
    part = row["part"] if row["arm"] is None else effect_name(row)
    remarks = ["within noise"] * (row["p_holm"] >= LEVEL) + ["one seed"] * (several and row["seeds"] == 1)
    return f"{part} {signed(row['points'])}" + (f" ({', '.join(remarks)})" if remarks else "")


def _main_effects(found: Row) -> list[Row]:
    """The means over the pairs of arms in the main metric; single pairs where there are no means."""
    own = [row for row in found["effects"] if row["metric"] == main_metric(found["effects"])]
    return [row for row in own if row["arm"] is None] or own[:3]


def _arms(rows: Rows) -> list[str]:
    return list(dict.fromkeys(row["arm"] for row in rows if row["arm"] != "base"))
