"""`tltrain score`: prediction files, golds in their place, and what is refused."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from support.commands import call, mistake
from support.scoring import score_file, score_golds
from support.testset_samples import alpaca_record, lines_of, react, rotbench_record, step, write_alpaca, write_rotbench

from tltrain import dialects
from tltrain.errors import ConfigError, DataError
from tltrain.evaluation.scoring import load
from tltrain.testsets.base import TestSet
from tltrain.trajectory import Call

SPLIT = "First_Turn/clean"
BEDS = tuple(react("water", f'{{"bed": "{number}", "litres": "None"}}') for number in range(5))


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Five items of RoTBench, six of ToolAlpaca of which one is left out and one repaired."""
    write_rotbench(tmp_path, [rotbench_record([text]) for text in BEDS])
    golds: list[Any] = [[step("waterBed", f'{{"bed": "{number}", "litres": {number}}}')] for number in range(4)]
    garbled = [[step("waterBed", "no JSON")], [step("waterBed", '{"bed": ${any}}')]]
    write_alpaca(tmp_path, [alpaca_record(golds + garbled)])
    return tmp_path


@pytest.fixture
def garden(folder: Path) -> TestSet:
    return load("rotbench", SPLIT, folder)


def metrics(row: dict[str, Any]) -> tuple[float, float, float]:
    return row["TS"], row["PI"], row["CF"]


# Golds


@pytest.mark.parametrize("dialect", [None, "hermes", "python", "react"])
@pytest.mark.parametrize(("bench", "split", "n"), [("rotbench", SPLIT, 5), ("toolalpaca", "eval_real", 5)])
def test_golds_are_right_in_any_dialect(folder: Path, bench: str, split: str, n: int, dialect: str | None) -> None:
    row = score_golds(load(bench, split, folder), dialect=dialect)
    assert (row["n"], metrics(row), row["errors"], row["missing"], row["unparseable"]) == (n, (100, 100, 100), {}, 0, 0)
    assert row["calls"] == {"n": n, "TS": n, "PI": n, "CF": n}


def test_what_was_repaired_and_left_out_is_told(folder: Path) -> None:
    row = score_golds(load("toolalpaca", "eval_real", folder))
    assert (row["bench"], row["split"], row["protocol"], row["items"]) == ("toolalpaca", "eval_real", "default", 6)
    assert row["excluded"] == {"4": "the arguments of its first gold are not a JSON object"}
    assert row["repaired"] == {"5": "placeholder quoted"}
    assert "not the pinned data" in row["warnings"][0]


@pytest.mark.parametrize("corrupt", ["tool", "name", "value", "cut"])
@pytest.mark.parametrize("bench", ["rotbench", "toolalpaca"])
def test_corrupted_golds_are_wrong(folder: Path, bench: str, corrupt: str) -> None:
    check_corrupted(load(bench, SPLIT if bench == "rotbench" else "eval_real", folder), corrupt)


@pytest.mark.parametrize(("split", "corrupt"), [("exec", "value"), ("exec", "name"), ("ast", "tool"), ("live", "cut")])
def test_corrupted_golds_of_bfcl_are_wrong(bfcl_data: Path, split: str, corrupt: str) -> None:
    check_corrupted(load("bfcl", split, bfcl_data), corrupt)


def check_corrupted(test: TestSet, how: str) -> None:
    """k of n golds corrupted give exactly n - k, in the metrics that see the corruption."""
    golds = {item.index: item.golds[0] for item in test.items}
    chosen = [index for index, gold in golds.items() if index % 3 == 0 and gold[0].arguments]
    golds |= {index: (corrupted(golds[index][0], how), *golds[index][1:]) for index in chosen}
    write = dialects.get("hermes").format
    lines = [
        {"index": index, "text": write(gold), "dialect": "hermes", "finished": how != "cut" or index not in chosen}
        for index, gold in golds.items()
    ]
    row = score_file(test, map(json.dumps, lines))
    n, k = len(golds), len(chosen)
    assert 0 < k < n
    left = 100 * (n - k) / n
    seen = {"tool": (left,) * 3, "name": (100, left, left), "value": (100, 100, left), "cut": (left,) * 3}
    assert metrics(row) == pytest.approx(seen[how])
    assert sum(row["errors"].values()) == k
    assert row["unparseable"] == (k if how == "cut" else 0)


@pytest.fixture(scope="session")
def bfcl_data() -> Path:
    from tltrain.model import cache_folder

    folders = [Path(os.environ.get("TLTRAIN_DATA", ".")), cache_folder() / "data"]
    found = next((folder for folder in folders if (folder / "bfcl").is_dir()), None)
    return found or pytest.skip("needs BFCL's data (`tltrain fetch bfcl`)")


def corrupted(gold: Call, how: str) -> Call:
    if how == "tool":
        return Call(gold.name + "_x", gold.arguments)
    if how == "name":
        return Call(gold.name, {**dict(gold.arguments), "zzz": 1})
    if how == "value":
        return Call(gold.name, {key: {"wrong": value} for key, value in dict(gold.arguments).items()})
    return gold


def test_golds_of_the_papers_protocol(folder: Path) -> None:
    write_rotbench(folder, [rotbench_record([react("dig", "{}")]), rotbench_record([BEDS[0]])])
    row = score_golds(load("rotbench", SPLIT, folder), "paper")
    assert (row["protocol"], row["n"], metrics(row), row["se"]["CF"]) == (
        "paper",
        2,
        (50, 50, 50),
        pytest.approx(35.355339),
    )
    assert (row["errors"], row["unparseable"], row["missing"]) == ({"format": 1}, 1, 0)
    assert row["calls"] == {"n": 2, "TS": 1, "PI": 1, "CF": 1}


# Files of predictions


def test_missing_and_other_predictions(garden: TestSet) -> None:
    lines = [
        json.dumps({"index": 3, "text": BEDS[3]}),
        "",
        json.dumps({"index": 0, "calls": [{"name": "water", "arguments": {"bed": "0", "litres": 9}}]}),
        json.dumps({"index": 1, "text": "water(bed='9', litres='2')", "dialect": "python", "verdict": {}}),
        json.dumps({"index": 4, "text": "Action: water"}),
    ]
    row = score_file(garden, lines)
    assert (row["n"], row["items"], row["missing"], row["unparseable"]) == (5, 5, 1, 1)
    assert metrics(row) == (60, 60, 40)
    assert row["errors"] == {"format": 1, "missing": 1, "value": 1}
    paper = score_file(garden, lines, "paper")
    assert (metrics(paper), paper["unparseable"], paper["missing"]) == ((60, 60, 40), 1, 1)
    assert paper["errors"] == {"format": 1, "missing": 1, "value": 1}
    assert (paper["protocol"], paper["bench"], paper["split"]) == ("paper", "rotbench", SPLIT)


def test_the_dialect_of_a_whole_file(garden: TestSet) -> None:
    texts = [f"water(bed='{number}', litres='5')" for number in range(5)]
    assert metrics(score_file(garden, lines_of(texts), dialect="python")) == (100, 100, 100)
    assert metrics(score_file(garden, lines_of(texts))) == (0, 0, 0)
    assert metrics(score_file(garden, lines_of(texts, dialect="python"), "paper")) == (100, 100, 100)


def test_lines_of_excluded_items_are_not_looked_at(folder: Path) -> None:
    test = load("toolalpaca", "eval_real", folder)
    row = score_file(test, [json.dumps({"index": 4, "text": "anything"})])
    assert (row["n"], row["missing"], row["TS"]) == (5, 5, 0)


@pytest.mark.parametrize(
    ("line", "reason"),
    [
        ({"index": 5, "text": ""}, "index: there is no item 5: the split has 5, from 0"),
        ({"index": -1, "text": ""}, "index: there is no item -1: the split has 5, from 0"),
        ({"index": 0, "text": ""}, "index: 0 already has an earlier line"),
        ({"text": ""}, "index: expected a whole number"),
        ({"index": True, "text": ""}, "index: expected a whole number"),
        ({"index": 1}, "text: expected text, but it is missing"),
        ({"index": 1, "text": None}, "text: expected text, got null"),
        (
            {"index": 1, "text": "", "dialect": "klingon"},
            "unknown dialect 'klingon': expected one of hermes, python, react,",
        ),
        ({"index": 1, "calls": [{"arguments": {}}]}, "calls[0].name: expected text, but it is missing"),
        (
            {"index": 1, "calls": [{"name": "a", "arguments": 1}]},
            "calls[0].arguments: expected text or object, got number",
        ),
        ({"index": 1, "text": "", "finished": 1}, "finished: expected true or false, got number"),
        ([], "expected object, got list"),
        ("nothing", "expected object, got text"),
    ],
)
def test_lines_that_are_refused(garden: TestSet, line: Any, reason: str) -> None:
    with pytest.raises(DataError) as error:
        score_file(garden, [json.dumps({"index": 0, "text": ""}), "", json.dumps(line)], path="p.jsonl")
    assert str(error.value).startswith(f"p.jsonl:3: {reason}")


def test_lines_that_are_no_json(garden: TestSet) -> None:
    with pytest.raises(DataError, match=r"^p\.jsonl:1: invalid JSON"):
        score_file(garden, ["{"], path="p.jsonl")


def test_wrong_options(garden: TestSet, folder: Path) -> None:
    with pytest.raises(ConfigError, match="--protocol papers: expected one of default, paper"):
        score_file(garden, [], "papers")
    with pytest.raises(ConfigError, match="--protocol paper: toolalpaca has the default protocol only"):
        score_golds(load("toolalpaca", "eval_real", folder), "paper")
    with pytest.raises(ConfigError, match="unknown dialect 'klingon'"):
        score_file(garden, [], dialect="klingon")
    with pytest.raises(ConfigError, match="rotbench has several splits: name one of First_Turn/clean,"):
        load("rotbench", None, folder)


# ToolEyes


def test_tooleyes_has_no_golds(folder: Path) -> None:
    path = folder / "tooleyes/scenario_data_zero_processed.json"
    path.parent.mkdir()
    turns = rotbench_record([])["conversations"][:2]
    path.write_text(json.dumps([{"id": "1", "path": "a", "scenario": "b", "conversations": turns}]))
    test = load("tooleyes", None, folder)
    with pytest.raises(ConfigError, match="tooleyes has no golds to score"):
        score_golds(test)
    reply = react("finish", '{"answer": "Bed 3 is dry."}')
    row = score_file(test, [json.dumps({"index": 0, "replies": [reply]})])
    assert (row["protocol"], row["split"], row["n"], row["VA"], row["missing"]) == ("default", "all", 1, 100, 0)
    with pytest.raises(DataError, match=r"^p\.jsonl:1: "):
        score_file(test, ["{}"], path="p.jsonl")


# The command


def test_the_command(folder: Path, tmp_path: Path) -> None:
    path = tmp_path / "mine.jsonl"
    path.write_text("\ufeff" + "\r\n".join(lines_of(BEDS[:4])))  # as Windows writes it
    asked = ["score", "rotbench", "--split", SPLIT, "--data", folder, "--predictions", path]
    code, out, err = call(*asked, "--json")
    row = json.loads(out)
    warning = "warning: 1 of 5 items without a prediction, which counts as wrong\n"
    assert (code, err, row["missing"]) == (1, warning, 1)
    assert metrics(row) == (80, 80, 80)
    code, out, err = call(*asked)
    assert code == 1 and "mine" in out and "4 of 5" in out
    assert err.count(warning) == 1 and "5 of 5 items scored" in err
    assert "warning: rotbench First_Turn/clean: not the" in err
    path.write_text("\n".join(lines_of(BEDS)))
    code, _, err = call(*asked)
    assert code == 0 and "no prediction" not in err
    code, out, err = call("score", "toolalpaca", "--split", "eval_real", "--data", folder, "--gold")
    assert code == 0 and "5 of 5" in out and "repaired: 1 (5: placeholder quoted)" in err


def test_mistakes_at_the_command(folder: Path, tmp_path: Path) -> None:
    asked = ["score", "rotbench", "--split", SPLIT, "--data", folder]
    assert mistake(*asked) == "expected either --predictions FILE or --gold"
    assert mistake(*asked, "--gold", "--predictions", "x") == "expected either --predictions FILE or --gold"
    assert mistake(*asked, "--predictions", tmp_path / "none") == f"{tmp_path}/none: No such file or directory"
    (tmp_path / "latin").write_bytes(b'{"index": 0, "text": "\xe9"}')
    assert mistake(*asked, "--predictions", tmp_path / "latin").startswith(f"{tmp_path}/latin:1: not UTF-8")
    assert "no such test set" in mistake("score", "rotbank", "--gold")


def test_no_torch_is_loaded(folder: Path) -> None:
    script = (
        "import sys; from tltrain.cli.main import app\n"
        f"app(['score', 'rotbench', '--split', '{SPLIT}', '--data', {str(folder)!r}, '--gold', '--json'],"
        " standalone_mode=False)\n"
        "print([m for m in ('torch', 'transformers', 'numpy') if m in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, timeout=120)
    assert done.stdout.endswith("[]\n"), done.stderr
