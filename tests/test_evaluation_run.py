"""`tltrain eval --bench` and `tltrain analyze` on a model that has learnt a few calls by heart."""

from __future__ import annotations

import json
import shutil
from collections import Counter
from pathlib import Path
from typing import Any

import pytest
from support.micro import FILE_TOOLS, micro_tokenizer, save_micro
from support.scoring import score_file
from support.small_run import call, mistake
from support.trained_micro import known, save_trained, write_bfcl

from tltrain.config import EvaluationConfig, read_config
from tltrain.dialects import hermes
from tltrain.encode import Encoder
from tltrain.errors import ConfigError, DataError
from tltrain.evaluation.episodes import run_episodes
from tltrain.evaluation.inference import LocalBackend
from tltrain.evaluation.predictions import Prediction
from tltrain.evaluation.scoring import score, with_verdicts
from tltrain.evaluation.selection import load_test_sets, name_models
from tltrain.evaluation.token_importance import corrections
from tltrain.files import append_json_line, read_json, read_json_lines
from tltrain.testsets.base import Item, TestSet
from tltrain.testsets.bfcl import BFCL
from tltrain.testsets.simulator import Simulator
from tltrain.testsets.toolalpaca import ToolAlpaca
from tltrain.testsets.tooleyes import ToolEyes
from tltrain.trajectory import Call, Message, Tool, Trajectory

WRONG = [
    ("Order A-1!", "cancel_order(order_id='A-1')"),  # another first token
    ("Order A-2!", "get_order_items(order_id='A-2')"),  # another token after a shared beginning
    ("What is in order A-1?", "get_order(order_id='A-1')"),  # the same, the gold's name the shorter one
    ("Please cancel A-1.", "cancel_order(order='A-1')"),  # another argument name
    ("Please cancel A-2.", "cancel_order(order_id='A-1')"),  # another value
]
OPTIONS = ("--bench", "bfcl/exec", "--max-new-tokens", 48, "--dtype", "float32", "--batch-size", 4)
FILE = "predictions/learnt.bfcl.exec.jsonl"


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """`learnt` and `random`, two models, the data, and `run`, an evaluation of both."""
    folder = tmp_path_factory.mktemp("bench")
    save_trained(folder / "learnt")
    save_micro(folder / "random")
    write_bfcl(folder, known() + WRONG)
    code, out, err = call("eval", folder / "learnt", folder / "random", *options(folder), "--json")
    assert code == 0, err
    (folder / "said.json").write_text(out)
    return folder


def options(folder: Path, out: str | Path = "run") -> list[object]:
    return [*OPTIONS, "--data", folder, "--out", folder / out]


def test_scores_count_every_item(place: Path) -> None:
    rows = read_json(place / "run/scores.json")
    assert rows == json.loads((place / "said.json").read_text())
    learnt, random = rows
    assert (learnt["model"], learnt["bench"], learnt["split"]) == ("learnt", "bfcl", "exec")
    assert learnt["n"] == learnt["items"] == len(known()) + len(WRONG)
    assert learnt["errors"] == {"tool_wrong": 3, "argument_missing": 1, "value": 1}
    assert learnt["CF"] == pytest.approx(100 * 6 / 11)
    assert learnt["accuracy"] == learnt["CF"]
    assert random["CF"] == 0
    assert learnt["too_long"] == learnt["refused"] == 0
    assert learnt["usage"]["tokens"] > 0


def test_predictions_stand_in_the_items_order_and_score_the_same_again(place: Path) -> None:
    lines = read_json_lines(place / "run" / FILE)
    assert [line["index"] for line in lines] == list(range(11))
    assert {"index", "text", "dialect", "finished", "query", "gold", "verdict"} <= lines[0].keys()
    test = BFCL.load(place, "exec")
    row = read_json(place / "run/scores.json")[0]
    again = score_file(test, (place / "run" / FILE).read_text().splitlines())
    assert (again.pop("protocol"), again.pop("missing")) == ("default", 0)
    assert again == {name: row[name] for name in again}


def test_replies_that_were_cut_count_the_same_from_the_file(place: Path) -> None:
    cut = ["--bench", "bfcl/exec", "--max-new-tokens", 12, "--dtype", "float32", "--data", place, "--limit", 3]
    code, out, err = call("eval", place / "learnt", *cut, "--out", place / "cut", "--json")
    assert code == 0, err
    (row,) = json.loads(out)
    assert (row["n"], row["items"], row["unparseable"], row["CF"]) == (3, 11, 3, 0)
    lines = (place / "cut" / FILE).read_text().splitlines()
    found = score_file(BFCL.load(place, "exec"), lines)
    assert (found["n"], found["missing"], found["unparseable"]) == (11, 8, 11)


def test_tokens_and_pages_are_told(place: Path) -> None:
    code, out, err = call("eval", place / "learnt", place / "random", *options(place))
    assert code == 0, err
    used = [row["usage"]["tokens"] for row in read_json(place / "run/scores.json")]
    assert f"learnt: {used[0]} reply tokens\nrandom: {used[1]} reply tokens\n" in err
    assert "run/comparison.html, " in err and "run/comparison.md" in err
    assert "accuracy" in out


def test_the_pages_are_rebuilt(place: Path, tmp_path: Path) -> None:
    shutil.copytree(place / "run", tmp_path / "run")
    names = ("report.html", "comparison.html", "comparison.md")
    for name in names:
        (tmp_path / "run" / name).unlink()
    code, _, err = call("report", tmp_path / "run")
    assert code == 0, err
    assert all((tmp_path / "run" / name).read_bytes() == (place / "run" / name).read_bytes() for name in names)


def test_both_models_are_compared_in_pairs(place: Path) -> None:
    (test,) = read_json(place / "run/comparison.json")["tests"]
    pair = next(pair for pair in test["pairs"] if pair["metric"] == "CF")
    assert (pair["model"], pair["against"], pair["only_first"], pair["only_second"]) == ("random", "learnt", 0, 6)
    assert pair["p"] == pytest.approx(2 / 64)
    assert "bfcl exec" in (place / "run/comparison.md").read_text()
    assert "bfcl exec" in (place / "run/report.html").read_text()


def test_a_second_call_asks_no_model(place: Path) -> None:
    before = (place / "run" / FILE).stat().st_mtime_ns
    code, out, err = call("eval", place / "learnt", *options(place), "--json")
    assert code == 0, err
    assert json.loads(out) == json.loads((place / "said.json").read_text())
    assert (place / "run" / FILE).stat().st_mtime_ns == before


def test_a_stopped_evaluation_goes_on_after_the_last_whole_line(place: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Whatever was there when it was killed, in whatever order, with a torn line at its end: the file ends the same."""
    whole = (place / "run" / FILE).read_bytes()
    kept = ("index", "text", "dialect", "finished", "tokens")
    lines = [{name: line[name] for name in kept} for line in read_json_lines(place / "run" / FILE)]
    folder = place / "killed"
    (folder / "predictions").mkdir(parents=True)
    for name in ("config.yaml", "environment.json", "data.json"):
        shutil.copy(place / "run" / name, folder / name)
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
        code, _, err = call("eval", place / "learnt", *options(place, "killed"))
    assert (code, "interrupted" in err) == (130, True)
    there = [line["index"] for line in read_json_lines(folder / FILE)]
    assert there == [7, 2, 3, *(line["index"] for line in appended)]
    code, _, err = call("eval", place / "learnt", *options(place, "killed"))
    assert code == 0, err
    assert (folder / FILE).read_bytes() == whole
    assert read_json(folder / "scores.json") == read_json(place / "run/scores.json")[:1]


def test_prompts_that_are_too_long_are_counted_as_wrong(place: Path) -> None:
    lengths = [line["tokens"] for line in read_json_lines(place / "run" / FILE)]
    assert max(lengths) < 48
    code, out, err = call("eval", place / "learnt", *options(place, "short"), "--max-length", 40, "--json")
    assert code == 2, out
    assert "none of 11 prompts was answered: the prompt has" in err


def test_another_configuration_or_a_changed_model_is_refused(place: Path, tmp_path: Path) -> None:
    said = mistake("eval", place / "learnt", *options(place), "--seed", 3)
    assert said.endswith("holds a run of another configuration: seed was 0, is 3")
    shutil.copytree(place / "run", tmp_path / "run")
    (tmp_path / "run" / FILE).unlink()
    (tmp_path / "run/scores.json").write_text("[]")
    code, _, err = call("eval", f"learnt={place / 'random'}", *OPTIONS, "--data", place, "--out", tmp_path / "run")
    assert (code, err.splitlines()[-1].endswith("input files changed since this run started: model learnt")) == (
        2,
        True,
    )


def test_analysis_tells_which_tokens_decide(place: Path) -> None:
    code, out, err = call("analyze", place / "learnt", *options(place), "--json")
    assert code == 0, err
    (row,) = json.loads(out)
    assert (row["n"], row["right"], sum(row["categories"].values())) == (11, 6, 5)
    tokens = row["tokens"]
    assert (tokens["wrong_calls"], tokens["unlocated"], tokens["without_call"]) == (5, 0, 0)
    kinds = tokens["kinds"]
    corrected = {kind: (found["corrected"], found["right"]) for kind, found in kinds.items()}
    assert corrected["first name token"] == (1, 1)
    assert corrected["later key token"][0] == 2
    assert corrected["later key token"][1] >= 1
    assert corrected["other name token"] == (0, 0)
    assert corrected["argument name"][0] == 1
    assert kinds["first name token"]["of_wrong"] == pytest.approx(20)
    assert read_json(place / "run/analysis.json") == [row]
    assert "<svg" in (place / "run/analysis.html").read_text()
    code, out, err = call("analyze", place / "learnt", *options(place))
    first, second = out.splitlines()
    assert first == "learnt, bfcl exec: 6 of 11 replies are right, 3 wrong tool, 1 argument missing, 1 wrong value"
    assert second.startswith("  corrected and became right: first name token 1 of 1, later key token ")


def trials(gold: Call, said: Call) -> list[tuple[str, list[str]]]:
    """The kind of each correction in a reply to two tools, and the tokens that are forced, as text."""
    tokenizer = micro_tokenizer()
    backend = LocalBackend(None, tokenizer, Encoder(tokenizer), "hermes", 48, 4)  # type: ignore[arg-type]
    names = ("get_order", "get_order_items", "cancel_order")
    tools = tuple(Tool(name, "", {"type": "object", "properties": {"id": {}, "unit": {}}}) for name in names)
    item = Item(0, Trajectory((Message("user", "?"),), tools), ((gold,),))
    prediction = Prediction(0, hermes.format([said]))
    found = corrections(backend, ToolAlpaca("toolalpaca", "eval_real", [item], 1), item, prediction, Counter())
    return [(one.kind, [tokenizer.decode([token]) for token in one.forced]) for one in found]


def forced(said: Call, *names: tuple[str, str]) -> str:
    """The reply as the dialect writes it, up to and with the last of the names, each put in another's place."""
    text, end = hermes.format([said]), 0
    for there, right in names:
        place = text.index(there, end)
        text, end = text[:place] + right + text[place + len(there) :], place + len(right)
    return text[:end]


def test_a_correction_is_the_reply_as_it_was_up_to_the_first_wrong_token_and_the_right_one() -> None:
    said = Call("cancel_order", {"id": "A"})
    ((kind, tokens),) = trials(Call("get_order", {"id": "A"}), said)
    before = hermes.format([said]).partition("cancel_order")[0]
    assert kind == "first name token"
    assert "".join(tokens[:-1]) == before or "".join(tokens).startswith(before)
    assert "".join(tokens).removeprefix(before) and "get_order".startswith("".join(tokens).removeprefix(before))
    said = Call("get_order", {"id": "A"})
    ((kind, tokens),) = trials(Call("get_order_items", {"id": "A"}), said)
    name = "".join(tokens).removeprefix(before)
    assert kind == "later key token"
    assert len(name) > len("get_order") and "get_order_items".startswith(name)


def test_each_wrong_argument_name_is_corrected_apart_and_those_before_it_too() -> None:
    gold = Call("get_order", {"id": "A", "unit": "kg"})
    said = Call("get_order", {"number": "A", "measure": "kg"})
    found = [(kind, "".join(tokens)) for kind, tokens in trials(gold, said)]
    first, both = forced(said, ("number", "id")), forced(said, ("number", "id"), ("measure", "unit"))
    assert found == [("argument name", first), ("argument name", both)]
    assert trials(gold, Call("get_order", {"id": "B", "unit": "kg"})) == []
    left_out = Call("get_order", {"id": "A"})
    ((_, tokens),) = trials(gold, left_out)
    assert "".join(tokens).endswith('"id": "A", "unit')


def test_an_analysis_joins_an_evaluation_of_fewer_steps(place: Path, tmp_path: Path) -> None:
    asked = options(place, tmp_path / "run")
    code, _, err = call("eval", place / "learnt", *asked, "--max-steps", 3, "--limit", 2)
    assert code == 0, err
    assert read_config(tmp_path / "run/config.yaml", EvaluationConfig).max_steps == 3
    code, _, err = call("analyze", place / "learnt", *asked, "--limit", 2)
    assert code == 0, err


# Which tests and models are meant


def test_names_of_tests(place: Path) -> None:
    said: list[str] = []
    (test,) = load_test_sets("bfcl", place, said.append)
    assert (test.name, test.split) == ("bfcl", "exec")
    assert said[-1] == f"skipped: bfcl ast, live: not found in {place / 'bfcl'}"
    for names, error, text in (
        ("nothing", ConfigError, "no such test set"),
        ("bfcl/none", ConfigError, "no such split: expected one of exec, ast, live"),
        ("bfcl/ast", DataError, "no such file"),
        (",", ConfigError, "names no test set"),
        ("tooleyes", DataError, "no file of tooleyes there; `tltrain fetch tooleyes` gets them"),
    ):
        with pytest.raises(error, match=text):
            load_test_sets(names, place, said.append)


def test_a_set_that_the_folder_lacks_is_taken_from_where_fetch_puts_it(
    place: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TLTRAIN_CACHE", str(tmp_path))
    (tmp_path / "here").mkdir()
    with pytest.raises(DataError, match="no file of bfcl there"):
        load_test_sets("bfcl", tmp_path / "here", lambda text: None)
    shutil.copytree(place / "bfcl", tmp_path / "data/bfcl")
    said: list[str] = []
    (test,) = load_test_sets("bfcl/exec", tmp_path / "here", said.append)
    assert len(test.items) == 11
    assert said[0] == f"bfcl: read from {tmp_path / 'data/bfcl'}, since {tmp_path / 'here'} has none"
    said.clear()
    found = load_test_sets("all", place, said.append)
    assert [(test.name, test.split) for test in found] == [
        ("bfcl", "exec"),
        ("toolworld", "seen"),
        ("toolworld", "unseen"),
    ]
    assert f"skipped: tooleyes all: not found in {place / 'tooleyes'}" in said


def test_names_of_models() -> None:
    named: dict[str, Any] = dict(name_models(["runs/a/sft/mae+pkt/model", "x=Qwen/Qwen3-0.6B", "http://h/v1#Qwen/Q 3"]))
    assert list(named) == ["mae+pkt", "x", "Q-3"]
    assert (named["Q-3"].url, named["Q-3"].model) == ("http://h/v1", "Qwen/Q 3")
    with pytest.raises(ConfigError, match="two models are called model-a"):
        name_models(["x/model-a", "y/model-a/model"])
    with pytest.raises(ConfigError, match="URL#model-name"):
        name_models(["http://h/v1"])


@pytest.mark.parametrize(
    ("line", "broken", "calls"),
    [
        ({"text": '<tool_call>\n{"name": "a", "arguments": {}}\n</tool_call>'}, False, 1),
        ({"text": '<tool_call>\n{"name": "a", "arguments": {}}\n</tool_call>', "finished": False}, True, 0),
        ({"text": "", "calls": [{"name": "a", "arguments": {}}]}, False, 1),
        ({"text": "", "finished": False, "reason": "too long"}, True, 0),
    ],
)
def test_lines_are_read_as_they_were_meant(line: dict[str, Any], broken: bool, calls: int) -> None:
    parsed = Prediction.from_json({"index": 0, "dialect": "hermes", **line}).parse(())
    assert (bool(parsed.broken), len(parsed.calls)) == (broken, calls)


# Queries of several steps


class Scripted:
    """Stands in for a model: says the next of its texts to every prompt, cut where the text says so."""

    def __init__(self, *texts: str) -> None:
        self.texts = list(texts)
        self.asked: list[list[int]] = []

    def complete(self, prompts: Any, done: Any) -> Any:
        self.asked.append(sorted(prompts))
        text = self.texts.pop(0)
        reason = "too long" if text == "refused" else None
        yield [Prediction(index, text, "hermes", text != "cut", tokens=2, reason=reason) for index in prompts]


def stepwise(count: int) -> TestSet:
    tools = (FILE_TOOLS[0], Tool("finish", "", {"type": "object", "properties": {"answer": {"type": "string"}}}))
    prompt = Trajectory((Message("user", "Which files?"),), tools)
    return ToolEyes("tooleyes", "all", [Item(index, prompt, ()) for index in range(count)], count)


LIST = hermes.format([Call("list_files", {})])
FINISH = hermes.format([Call("finish", {"answer": "Two files."})])


def test_queries_of_several_steps_go_on_until_each_has_ended() -> None:
    backend = Scripted(LIST, "cut", FINISH, "An answer without a call.")
    batches = list(run_episodes(backend, stepwise(3), {1}, Simulator(), 1, 10))
    assert backend.asked == [[0], [0], [0], [2]]
    none, still_none, (first,), (last,) = batches
    assert none == still_none == []
    assert [reply["text"] for reply in first.replies] == [LIST, "cut", FINISH]
    assert (first.index, first.valid, first.tokens, len(first.feedback)) == (0, True, 6, 1)
    assert (last.index, last.valid) == (2, False)


def test_a_query_that_has_ended_is_saved_at_once_and_makes_room_for_another() -> None:
    class Uneven(Scripted):
        """Says to query 0 what it says first, to the others what ends them."""

        def complete(self, prompts: Any, done: Any) -> Any:
            self.asked.append(sorted(prompts))
            for index in prompts:
                text = LIST if index == 0 and len(self.asked) < 3 else FINISH
                yield [Prediction(index, text, tokens=2)]

    backend = Uneven()
    batches = [[line.index for line in lines] for lines in run_episodes(backend, stepwise(4), (), Simulator(), 2, 10)]
    assert backend.asked == [[0, 1], [0, 2], [0, 3]]
    assert batches == [[1], [2], [0, 3]]


def test_saved_episodes_score_as_they_were_played() -> None:
    backend = Scripted(LIST, "cut", FINISH)
    test = stepwise(2)
    lines = [line for lines in run_episodes(backend, test, (), Simulator(), 8, 10) for line in lines]
    row = score(test, lines).to_json()
    assert (row["n"], row["VA"], row["calls"], row["unparseable"]) == (2, 100, 4, 2)
    assert [line.verdict for line in with_verdicts(test, lines)] == [{"VA": True}, {"VA": True}]


def test_a_query_ends_where_the_model_cannot_be_asked() -> None:
    _, lines = run_episodes(Scripted(LIST, "refused"), stepwise(1), (), Simulator(), 8, 10)
    (line,) = lines
    assert (line.reason, line.valid, len(line.replies)) == ("too long", False, 1)
    assert score(stepwise(1), lines).VA == 0
