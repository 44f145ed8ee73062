"""`tltrain eval --bench` on models that have learnt a few calls by heart: scores, resuming, refusals."""

from __future__ import annotations

import gc
import json
import shutil
import weakref
from pathlib import Path
from typing import Any

import pytest
import torch
from support.evaluated import FILE, WRONG, options, write_models
from support.scoring import score_file
from support.small_run import call, mistake
from support.testset_samples import react, rotbench_record, write_rotbench
from support.trained_micro import known, write_bfcl

from tltrain import model as models
from tltrain.files import append_json_line, read_json, read_json_lines
from tltrain.testsets.bfcl import BFCL


@pytest.fixture(scope="module")
def evaluated(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The models, the data, and `run`, an evaluation of both models; its output is in `output.json`."""
    folder = write_models(tmp_path_factory.mktemp("bench"))
    code, out, err = call("eval", folder / "learnt", folder / "random", *options(folder), "--json")
    assert code == 0, err
    (folder / "output.json").write_text(out)
    return folder


def test_scores_count_every_item(evaluated: Path) -> None:
    rows = read_json(evaluated / "run/scores.json")
    assert rows == json.loads((evaluated / "output.json").read_text())
    learnt, random = rows
    assert (learnt["model"], learnt["bench"], learnt["split"]) == ("learnt", "bfcl", "exec")
    assert learnt["n"] == learnt["items"] == len(known()) + len(WRONG)
    assert learnt["errors"] == {"tool_wrong": 3, "argument_missing": 1, "value": 1}
    assert learnt["CF"] == pytest.approx(100 * 6 / 11)
    assert learnt["accuracy"] == learnt["CF"]
    assert random["CF"] == 0
    assert learnt["too_long"] == learnt["refused"] == 0
    assert learnt["usage"]["tokens"] > 0


def test_predictions_are_in_the_order_of_the_items_and_score_the_same_again(evaluated: Path) -> None:
    lines = read_json_lines(evaluated / "run" / FILE)
    assert [line["index"] for line in lines] == list(range(11))
    assert {"index", "text", "dialect", "finished", "query", "gold", "verdict"} <= lines[0].keys()
    test = BFCL.load(evaluated, "exec")
    row = read_json(evaluated / "run/scores.json")[0]
    again = score_file(test, (evaluated / "run" / FILE).read_text().splitlines())
    assert (again.pop("protocol"), again.pop("missing")) == ("default", 0)
    assert again == {name: row[name] for name in again}


def test_truncated_replies_count_the_same_from_the_file(evaluated: Path) -> None:
    cut = ["--bench", "bfcl/exec", "--max-new-tokens", 12, "--dtype", "float32", "--data", evaluated, "--limit", 3]
    code, out, err = call("eval", evaluated / "learnt", *cut, "--out", evaluated / "cut", "--json")
    assert code == 0, err
    (row,) = json.loads(out)
    assert (row["n"], row["items"], row["unparseable"], row["CF"]) == (3, 11, 3, 0)
    lines = (evaluated / "cut" / FILE).read_text().splitlines()
    found = score_file(BFCL.load(evaluated, "exec"), lines)
    assert (found["n"], found["missing"], found["unparseable"]) == (11, 8, 3)


def test_tokens_and_pages_are_reported(evaluated: Path) -> None:
    code, out, err = call("eval", evaluated / "learnt", evaluated / "random", *options(evaluated))
    assert code == 0, err
    used = [row["usage"]["tokens"] for row in read_json(evaluated / "run/scores.json")]
    assert f"learnt: {used[0]} reply tokens\nrandom: {used[1]} reply tokens\n" in err
    assert "run/comparison.html, " in err and "run/comparison.md" in err
    assert "accuracy" in out


def test_the_pages_are_rebuilt(evaluated: Path, tmp_path: Path) -> None:
    shutil.copytree(evaluated / "run", tmp_path / "run")
    names = ("report.html", "comparison.html", "comparison.md")
    for name in names:
        (tmp_path / "run" / name).unlink()
    code, _, err = call("report", tmp_path / "run")
    assert code == 0, err
    assert all((tmp_path / "run" / name).read_bytes() == (evaluated / "run" / name).read_bytes() for name in names)


def test_both_models_are_compared_in_pairs(evaluated: Path) -> None:
    (test,) = read_json(evaluated / "run/comparison.json")["tests"]
    pair = next(pair for pair in test["pairs"] if pair["metric"] == "CF")
    assert (pair["model"], pair["against"], pair["only_first"], pair["only_second"]) == ("random", "learnt", 0, 6)
    assert pair["p"] == pytest.approx(2 / 64)
    assert "bfcl exec" in (evaluated / "run/comparison.md").read_text()
    assert "bfcl exec" in (evaluated / "run/report.html").read_text()


def test_a_second_call_uses_no_model(evaluated: Path) -> None:
    before = (evaluated / "run" / FILE).stat().st_mtime_ns
    code, out, err = call("eval", evaluated / "learnt", *options(evaluated), "--json")
    assert code == 0, err
    assert json.loads(out) == json.loads((evaluated / "output.json").read_text())
    assert (evaluated / "run" / FILE).stat().st_mtime_ns == before


def test_a_stopped_evaluation_resumes_after_the_last_whole_line(
    evaluated: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whatever was there when it was killed, in whatever order, with a torn line at its end: the file ends the same."""
    whole = (evaluated / "run" / FILE).read_bytes()
    kept = ("index", "text", "dialect", "finished", "tokens")
    lines = [{name: line[name] for name in kept} for line in read_json_lines(evaluated / "run" / FILE)]
    folder = evaluated / "killed"
    (folder / "predictions").mkdir(parents=True)
    for name in ("config.yaml", "environment.json", "data.json"):
        shutil.copy(evaluated / "run" / name, folder / name)
    text = "".join(json.dumps(line) + "\n" for line in (lines[7], lines[2], lines[3]))
    (folder / FILE).write_text(text + json.dumps(lines[5])[:30])
    appended: list[Any] = []

    def append_two(path: Path, line: Any) -> None:
        if len(appended) == 2:
            raise KeyboardInterrupt
        append_json_line(path, line)
        appended.append(line)

    with monkeypatch.context() as patched:
        patched.setattr("tltrain.evaluation.run.append_json_line", append_two)
        code, _, err = call("eval", evaluated / "learnt", *options(evaluated, "killed"))
    assert (code, "interrupted" in err) == (130, True)
    there = [line["index"] for line in read_json_lines(folder / FILE)]
    assert there == [7, 2, 3, *(line["index"] for line in appended)]
    code, _, err = call("eval", evaluated / "learnt", *options(evaluated, "killed"))
    assert code == 0, err
    assert (folder / FILE).read_bytes() == whole
    assert read_json(folder / "scores.json") == read_json(evaluated / "run/scores.json")[:1]


def test_a_stop_between_two_protocols_leaves_only_the_second_to_do(evaluated: Path, tmp_path: Path) -> None:
    """The row by RoTBench's own protocol comes after ours: a run that was killed between them writes it alone."""
    write_rotbench(tmp_path, [rotbench_record([react("dig", "{}")])])
    decoding = ("--max-new-tokens", 8, "--dtype", "float32", "--data", tmp_path, "--out", tmp_path / "run")
    arguments = ["eval", evaluated / "learnt", "--bench", "rotbench/First_Turn/clean", *decoding]
    assert call(*arguments)[0] == 0
    scores = tmp_path / "run/scores.json"
    whole = scores.read_text()
    ours, paper = json.loads(whole)
    assert (ours["protocol"], paper["protocol"]) == ("default", "paper")
    scores.write_text(json.dumps([ours]))
    code, _, err = call(*arguments)
    assert code == 0, err
    assert scores.read_text() == whole


def test_an_evaluation_without_any_reply_fails(evaluated: Path) -> None:
    lengths = [line["tokens"] for line in read_json_lines(evaluated / "run" / FILE)]
    assert max(lengths) < 48
    code, out, err = call("eval", evaluated / "learnt", *options(evaluated, "short"), "--max-length", 40, "--json")
    assert code == 2, out
    assert "none of 11 prompts was answered: the prompt has" in err


def test_prompts_that_are_too_long_count_as_wrong_and_are_reported(evaluated: Path, tmp_path: Path) -> None:
    """Some prompts fit and some do not: all are scored, and those that do not fit are counted apart too."""
    golds = [(f"{'please ' * 200}cancel A-1.", "cancel_order(order_id='A-1')"), *known()]
    write_bfcl(tmp_path, golds)
    arguments = [*options(tmp_path), "--max-length", 400]
    code, out, err = call("eval", evaluated / "learnt", *arguments, "--json")
    assert code == 0, err
    (row,) = json.loads(out)
    assert (row["n"], row["items"], row["too_long"], row["refused"]) == (7, 7, 1, 0)
    assert row["CF"] == pytest.approx(100 * 6 / 7)
    assert list(row["unanswered"]) == ["0"]
    assert row["unanswered"]["0"].endswith("tokens, and the limit is 400")
    long, *others = read_json_lines(tmp_path / "run" / FILE)
    assert (long["too_long"], long["finished"], long["verdict"]["CF"]) == (True, False, False)
    assert not any(line.get("too_long") for line in others)


def test_a_model_is_let_go_before_lm_eval_loads_it(
    evaluated: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    loaded: list[weakref.ref[torch.nn.Module]] = []
    load = models.load_model

    def watched(*given: Any, **named: Any) -> Any:
        model = load(*given, **named)
        loaded.append(weakref.ref(model))
        return model

    def tasks(*_: object) -> list[dict[str, Any]]:
        gc.collect()
        assert [model() for model in loaded] == [None]
        return []

    monkeypatch.setattr("tltrain.model.load_model", watched)
    monkeypatch.setattr("tltrain.evaluation.run.require_lm_eval", lambda: None)
    monkeypatch.setattr("tltrain.evaluation.run.run_tasks", tasks)
    arguments = [*options(evaluated, str(tmp_path / "run")), "--limit", 1, "--general", "mini"]
    code, _, err = call("eval", evaluated / "learnt", *arguments)
    assert (code, len(loaded)) == (0, 1), err


def test_another_configuration_or_a_changed_model_is_refused(evaluated: Path, tmp_path: Path) -> None:
    message = mistake("eval", evaluated / "learnt", *options(evaluated), "--seed", 3)
    assert message.endswith("holds a run of another configuration: seed was 0, is 3; use another --out")
    shutil.copytree(evaluated / "run", tmp_path / "run")
    (tmp_path / "run" / FILE).unlink()
    (tmp_path / "run/scores.json").write_text("[]")
    code, _, err = call("eval", f"learnt={evaluated / 'random'}", *options(evaluated, tmp_path / "run"))
    assert code == 2
    assert err.splitlines()[-1].endswith("input files changed since this run started: model learnt")
