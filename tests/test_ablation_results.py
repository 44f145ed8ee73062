"""Tables from records: effects derived by hand, sweeps, costs, and pages that need nothing but `ablation.json`."""

from __future__ import annotations

import json
import re
from dataclasses import replace
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import pytest
from support.ablation_sample import record, right, write_sample
from support.pages import assert_self_contained

from tltrain.ablation.grid import BASE
from tltrain.ablation.records import read_record, record_path, write_record
from tltrain.ablation.results import Results, ablation_json, effects, pairs, scores, sweep, write_results
from tltrain.errors import DataError
from tltrain.evaluation.significance import holm
from tltrain.report.ablation.files import write_ablation
from tltrain.report.ablation.headline import headline
from tltrain.report.ablation.page import html


def results(*records: Any) -> Results:
    return Results({one.run: one for one in records})


def row(rows: Any, **wanted: Any) -> dict[str, Any]:
    (found,) = [one for one in rows if all(one.get(name) == value for name, value in wanted.items())]
    return dict(found)


TWO_SEEDS = results(
    record(BASE, None, {"seen": right(0, 0, 0, 1)}),
    record("sft", 0, {"seen": right(1, 0, 0, 0)}),
    record("sft", 1, {"seen": right(1, 1, 0, 0)}),
    record("mae", 0, {"seen": right(1, 1, 0, 0)}),
    record("mae", 1, {"seen": right(1, 1, 1, 1)}),
)


def test_a_record_is_read_as_it_was_written_and_equal_records_give_equal_bytes(tmp_path: Path) -> None:
    made = record("pkt", 1, {"seen": right(1, 0), "unseen": [["TS"]]}, (("eval.bench", ("bfcl",)),))
    write_record(tmp_path, made)
    path = record_path(tmp_path, made.run)
    assert path == tmp_path / "runs/eval.bench=--bfcl---/seed-1/pkt.jsonl.gz"
    first = path.read_bytes()
    assert first[4:8] == bytes(4), "no time of writing"
    found = read_record(path)
    assert found.run == made.run
    assert found.outcomes[("toolworld", "unseen"), "TS"] == {0: True}
    assert found.outcomes[("toolworld", "unseen"), "CF"] == {0: False}
    write_record(tmp_path, found)
    assert path.read_bytes() == first


@pytest.mark.parametrize("content", [b"", b"{}", b"\x1f\x8b\x08\x00"])
def test_a_broken_record_is_named(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "runs/plain/seed-0/sft.jsonl.gz"
    path.parent.mkdir(parents=True)
    path.write_bytes(content)
    with pytest.raises(DataError, match=r"sft\.jsonl\.gz: not the record of a run"):
        Results.read(tmp_path)


def test_a_folder_without_records_is_a_mistake(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="no records of runs"):
        Results.read(tmp_path)


def test_scores_are_means_over_seeds_with_their_standard_error() -> None:
    """SFT is right in 25 and 50 %: mean 37.5, deviation 12.5 √2, divided by √2 seeds."""
    found = list(scores(TWO_SEEDS, {}))
    sft = row(found, arm="sft", metric="CF")
    assert (sft["mean"], sft["se"], sft["by_seed"], sft["seeds"], sft["n"]) == (37.5, 12.5, [25.0, 50.0], 2, 4)
    base = row(found, arm=BASE, metric="CF")
    assert (base["mean"], base["se"], base["seeds"]) == (25.0, None, 1)


def test_the_interval_of_a_share_stays_within_its_range() -> None:
    """Two seeds that differ leave an interval of t with a single degree of freedom."""
    found = results(record("sft", 0, {"seen": right(0, 0, 0, 1)}), record("sft", 1, {"seen": right(1, 1, 1, 1)}))
    sft = row(list(scores(found, {})), arm="sft", metric="CF")
    assert (sft["low"], sft["mean"], sft["high"]) == (0.0, 62.5, 100.0)


def test_an_effect_is_the_mean_paired_difference() -> None:
    """Differences 0 1 0 0 and 0 0 1 1: 3 of 8."""
    effect = row(effects(TWO_SEEDS, {}), part="MAE", arm="mae", metric="CF")
    assert (effect["against"], effect["points"], effect["seeds"], effect["n"]) == ("sft", 37.5, 2, 4)
    assert effect["low"] < 37.5 < effect["high"]


def test_only_seeds_and_items_of_both_arms_are_paired() -> None:
    partial = results(
        record("sft", 0, {"seen": right(1, 0, 1)}),
        record("sft", 1, {"seen": right(0, 0, 0)}),
        record("pkt", 0, {"seen": right(1, 1)}),
        record("pkt", 2, {"seen": right(1, 1)}),
    )
    effect = row(effects(partial, {}), part="PKT", metric="CF")
    assert (effect["points"], effect["seeds"], effect["n"]) == (50.0, 1, 2)


def test_each_part_has_four_pairs() -> None:
    assert pairs("IRM") == [(f"{arm}+irm", arm) for arm in ("sft", "mae", "pkt", "mae+pkt")]
    assert pairs("MAE") == [("mae", "sft"), ("mae+pkt", "pkt"), ("mae+irm", "sft+irm"), ("mae+pkt+irm", "pkt+irm")]
    assert len(pairs("PKT")) == 4


def test_several_parts_together_are_compared_with_the_arm_that_lacks_them_all() -> None:
    assert pairs("MAE+PKT") == [("mae+pkt", "sft"), ("mae+pkt+irm", "sft+irm")]
    assert pairs("MAE+PKT+IRM") == [("mae+pkt+irm", "sft")]
    found = effects(
        results(
            record("sft", 0, {"seen": right(1, 0, 0, 0)}),
            record("mae+pkt", 0, {"seen": right(1, 1, 1, 0)}),
            record("mae+pkt+irm", 0, {"seen": right(1, 1, 1, 1)}),
        ),
        {},
    )
    assert row(found, arm="mae+pkt", metric="CF")["points"] == 50.0
    assert row(found, part="MAE+PKT+IRM", metric="CF")["points"] == 75.0
    assert not [one for one in found if one["arm"] is None], "no mean over pairs of different size"


def test_a_pair_that_lacks_seeds_does_not_make_the_others_count_less() -> None:
    """The mean is over the pairs and seeds that are most together: 2 pairs x 2 seeds, not 3 x 1."""
    plain, better = right(1, 0, 0, 0), right(1, 1, 0, 0)
    arms = {"sft": plain, "mae": better, "pkt": plain, "mae+pkt": better}
    records = [record(arm, seed, {"seen": outcome}) for arm, outcome in arms.items() for seed in (0, 1)]
    more = [record("sft+irm", 0, {"seen": better}), record("mae+irm", 0, {"seen": plain})]

    def mean(*records: Any) -> tuple[float, int, int]:
        found = row(effects(results(*records), {}), part="MAE", arm=None, metric="CF")
        return found["points"], found["pairs"], found["seeds"]

    assert mean(*records) == mean(*records, *more) == (25.0, 2, 2)
    assert mean(*records[::2], *more) == (pytest.approx(25 / 3, abs=1e-3), 3, 1)
    second = [record("sft+irm", 1, {"seen": better}), record("mae+irm", 1, {"seen": plain})]
    assert mean(*records, *more, *second) == (pytest.approx(25 / 3, abs=1e-3), 3, 2)


def test_the_mean_over_pairs_and_holm_s_families() -> None:
    """MAE adds 50 points to SFT and takes 25 from PKT: 12.5 on average."""
    four = results(
        record("sft", 0, {"seen": right(1, 0, 0, 0)}),
        record("mae", 0, {"seen": right(1, 1, 1, 0)}),
        record("pkt", 0, {"seen": right(1, 1, 1, 1)}),
        record("mae+pkt", 0, {"seen": right(1, 1, 1, 0)}),
    )
    found = effects(four, {})
    mean = row(found, part="MAE", arm=None, metric="CF")
    assert (mean["points"], mean["pairs"]) == (12.5, 2)
    together = [one for one in found if one["part"] == "MAE+PKT"]
    assert len(together) == 3, "one for each metric"
    alone = [one for one in found if one not in together]
    for family in ([one for one in alone if one["arm"] is None], [one for one in alone if one["arm"]], together):
        own = [one for one in family if one["metric"] == "TS"]
        assert [one["p_holm"] for one in own] == pytest.approx(holm([one["p"] for one in own]), abs=1e-5)


def test_a_sweep_has_the_configuration_s_own_value_and_only_effects_that_it_changes() -> None:
    found = results(
        record("sft", 0, {"seen": right(1, 0, 0, 0)}),
        record("mae", 0, {"seen": right(1, 0, 0, 0)}),
        record("pkt", 0, {"seen": right(1, 1, 0, 0)}),
        record("pkt", 0, {"seen": right(1, 1, 1, 0)}, (("sft.w_max", 3.0),)),
    )
    curve = sweep(found, "sft.w_max")
    points = [(one["value"], one["mean"]) for one in curve["scores"] if one["arm"] == "pkt" and one["metric"] == "CF"]
    assert points == [(3.0, 75.0), (9.0, 50.0)]
    flat = [one["mean"] for one in curve["scores"] if one["arm"] == "sft" and one["metric"] == "CF"]
    assert flat == [25.0, 25.0]
    measured = [(one["value"], one["part"], one["points"]) for one in curve["effects"] if one["metric"] == "CF"]
    assert measured == [(3.0, "PKT", 50.0), (9.0, "PKT", 25.0)]
    steps = [
        (one["arm"], one["before"], one["value"], one["points"]) for one in curve["changes"] if one["metric"] == "CF"
    ]
    assert steps == [("pkt", 3.0, 9.0, -25.0)], "arms without PKT are the same at every value"


def test_a_record_from_before_a_field_was_added_has_its_default() -> None:
    old = record("sft", 0, {"seen": right(1, 0)})
    config = {**old.config, "data": {name: value for name, value in old.config["data"].items() if name != "noise"}}
    noisy = record("sft", 0, {"seen": right(1, 1)}, (("data.noise", 0.4),))
    curve = sweep(results(replace(old, config=config), noisy), "data.noise")
    assert [one["value"] for one in curve["scores"] if one["metric"] == "CF"] == [0.17, 0.4]


def test_the_headline_tells_effects_of_a_single_seed_among_several() -> None:
    ones, zeros = right(*[1] * 30), right(*[0] * 30)
    both = [record("sft", seed, {"seen": zeros}) for seed in (0, 1)]
    both += [record("mae", seed, {"seen": ones}) for seed in (0, 1)]
    found = ablation_json(results(*both, record("pkt", 1, {"seen": ones})))
    assert headline(found) == "Points of CF on toolworld seen: mae − sft +100.0, pkt − sft +100.0 (one seed)"
    assert row(found["effects"], arm="pkt", metric="CF")["seeds"] == 1


def test_costs_of_an_arm_with_ppo_include_its_sft() -> None:
    found = ablation_json(results(record("mae", 0, {"seen": right(1)}), record("mae+irm", 0, {"seen": right(1)})))
    cost = row(found["costs"], arm="mae+irm")
    assert cost["minutes"] == {"sft": 2.0, "ppo": 4.0, "eval": 1.5}
    assert cost["replies"] == {"trained": 100, "masked": 7, "sampled": 64, "evaluated": 1}
    assert row(found["costs"], arm="mae")["minutes"] == {"sft": 2.0, "ppo": None, "eval": 1.5}


def test_pages_are_made_from_the_json_alone_and_need_no_other_file(tmp_path: Path) -> None:
    found = write_results(write_sample(tmp_path, items=20))
    helps = row(found["effects"], part="MAE", arm=None, split="seen", metric="CF")
    assert helps["points"] > 0
    for path in (tmp_path / "runs").rglob("*.gz"):
        path.unlink()
    write_ablation(tmp_path)
    page = (tmp_path / "ablation.html").read_text()
    assert_self_contained(page)
    assert page.count('role="img"') == 6  # effects, curves, and effects by value, on two tests each
    text = (tmp_path / "ablation.md").read_text()
    assert "| mae | SFT with MAE |" in text
    assert "## Sweep of `sft.w_max`" in text
    assert "Kinds of items" not in text + page, "they are not known in these records"
    assert html(found) == page


def test_each_chart_is_a_file_that_the_tables_show(tmp_path: Path) -> None:
    write_results(write_sample(tmp_path, items=20))
    gone = tmp_path / "figures/of-an-earlier-sweep.svg"
    gone.parent.mkdir()
    gone.touch()
    assert tmp_path / "figures" in write_ablation(tmp_path)
    files = {str(path.relative_to(tmp_path)): path for path in tmp_path.glob("figures/*")}
    shown = re.findall(r"!\[(.*?)\]\((.*?)\)", (tmp_path / "ablation.md").read_text())
    assert len(files) == 6 and {path for _, path in shown} == set(files)
    for title, path in shown:
        root = ElementTree.fromstring(files[path].read_text())
        assert root.tag == "{http://www.w3.org/2000/svg}svg", "an image needs the namespace"
        assert float(root.attrib["width"]) > 0 < float(root.attrib["height"])
        texts = [element.text for element in root.iter("{http://www.w3.org/2000/svg}text")]
        assert title in texts


def test_kinds_of_items_are_told_apart(tmp_path: Path) -> None:
    kinds = ["confusable", "confusable", "distinct", "text"]
    arms = {"sft": right(0, 1, 1, 1, 1), "pkt": right(1, 1, 0, 1, 0), "mae": right(0, 0, 1, 1, 1)}
    records = [record(arm, 0, {"seen": held}, kinds=kinds) for arm, held in (*arms.items(), ("mae+pkt", arms["pkt"]))]
    (tmp_path / "ablation.json").write_text(json.dumps(found := ablation_json(results(*records))))
    shares = {
        (one["arm"], one["kind"]): (one["mean"], one["n"]) for one in found["kinds"]["scores"] if one["metric"] == "CF"
    }
    assert shares["sft", "confusable"] == (50, 2) and shares["pkt", "confusable"] == (100, 2)
    assert shares["sft", "distinct"] == (100, 1) and shares["pkt", "distinct"] == (0, 1)
    assert {kind for _, kind in shares} == {"confusable", "distinct", "text"}, "an item of unknown kind is in none"
    points = {
        one["kind"]: one["points"] for one in found["kinds"]["effects"] if (one["part"], one["metric"]) == ("PKT", "CF")
    }
    assert points == {"confusable": 75, "distinct": -100, "text": 0}  # 100 - 50 and 100 - 0
    write_ablation(tmp_path)
    for name in ("ablation.md", "ablation.html"):
        assert "Kinds of items" in (tmp_path / name).read_text()


def test_the_levels_of_rotbench_are_a_curve() -> None:
    levels = {f"First_Turn/{level}": right(1, 0, int(level == "clean")) for level in ("union", "clean", "heavy")}
    records = [record(arm, seed, levels, bench="rotbench") for arm, seed in ((BASE, None), ("sft", 0))]
    page = html(ablation_json(results(*records)))
    (chart,) = re.findall(r"<svg.*?</svg>", page, re.DOTALL)
    assert "CF by noise level, rotbench First_Turn" in page
    assert [name for name in re.findall(r">(\w+)<", chart) if name in ("clean", "heavy", "union")] == [
        "clean",
        "heavy",
        "union",
    ]


def test_a_sweep_of_names_has_a_table_and_no_curve(tmp_path: Path) -> None:
    changed = record("sft", 0, {"seen": right(1, 0)}, (("dialect", "qwen"),))
    found = ablation_json(results(record("sft", 0, {"seen": right(1, 1)}), changed))
    assert [one["value"] for one in found["sweeps"][0]["scores"] if one["metric"] == "CF"] == ["hermes", "qwen"]
    assert 'role="img"' not in html(found)
