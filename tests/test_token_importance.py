"""`tltrain analyze`: which tokens decide whether a call is right, by correcting them one after another."""

from __future__ import annotations

import json
from collections import Counter
from pathlib import Path

import pytest
from support.evaluated import options, write_models
from support.micro import micro_tokenizer
from support.small_run import call

from tltrain.config import EvaluationConfig, read_config
from tltrain.dialects import hermes
from tltrain.encode import Encoder
from tltrain.evaluation.inference import LocalBackend
from tltrain.evaluation.predictions import Prediction
from tltrain.evaluation.token_importance import corrections
from tltrain.files import read_json
from tltrain.testsets.base import Item
from tltrain.testsets.toolalpaca import ToolAlpaca
from tltrain.trajectory import Call, Message, Tool, Trajectory


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_models(tmp_path_factory.mktemp("bench"))


def test_the_analysis_shows_which_tokens_decide(folder: Path) -> None:
    code, out, err = call("analyze", folder / "learnt", *options(folder), "--json")
    assert code == 0, err
    (row,) = json.loads(out)
    assert (row["n"], row["right"], sum(row["categories"].values())) == (11, 6, 5)
    assert (row["gold_with_call"]["n"], row["gold_without_call"]["n"]) == (11, 0)
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
    assert read_json(folder / "run/analysis.json") == [row]
    assert "<svg" in (folder / "run/analysis.html").read_text()
    code, out, err = call("analyze", folder / "learnt", *options(folder))
    first, second = out.splitlines()
    assert first == "learnt, bfcl exec: 6 of 11 replies are right, 3 wrong tool, 1 argument missing, 1 wrong value"
    assert second.startswith("  corrected and became right: first name token 1 of 1, later key token ")


NAMES = ("get_order", "get_order_items", "cancel_order")


def trials(gold: Call, called: Call) -> list[tuple[str, list[str]]]:
    """The kind of each correction in a reply to three tools, and the tokens that are forced, as text."""
    return counted(gold, called, NAMES)[0]


def counted(gold: Call, called: Call, names: tuple[str, ...]) -> tuple[list[tuple[str, list[str]]], Counter[str]]:
    """The corrections of a reply to tools of these names, and the counts of wrong calls."""
    tokenizer = micro_tokenizer()
    backend = LocalBackend(
        None,  # type: ignore[arg-type]
        tokenizer,
        Encoder(tokenizer),
        dialect="hermes",
        max_new_tokens=48,
        batch_size=4,
    )
    counts: Counter[str] = Counter()
    tools = tuple(Tool(name, "", {"type": "object", "properties": {"id": {}, "unit": {}}}) for name in names)
    item = Item(0, Trajectory((Message("user", "?"),), tools), ((gold,),))
    prediction = Prediction(0, hermes.format([called]))
    found = corrections(backend, ToolAlpaca("toolalpaca", "eval_real", [item], 1), item, prediction, counts)
    return [(one.kind, [tokenizer.decode([token]) for token in one.forced]) for one in found], counts


def forced(called: Call, *names: tuple[str, str]) -> str:
    """The reply as the dialect writes it, up to and with the last of the names, each put in place of another."""
    text, end = hermes.format([called]), 0
    for there, right in names:
        start = text.index(there, end)
        text, end = text[:start] + right + text[start + len(there) :], start + len(right)
    return text[:end]


def test_a_correction_is_the_reply_as_it_was_up_to_the_first_wrong_token_and_the_right_one() -> None:
    called = Call("cancel_order", {"id": "A"})
    ((kind, tokens),) = trials(Call("get_order", {"id": "A"}), called)
    before = hermes.format([called]).partition("cancel_order")[0]
    assert kind == "first name token"
    assert "".join(tokens[:-1]) == before or "".join(tokens).startswith(before)
    assert "".join(tokens).removeprefix(before) and "get_order".startswith("".join(tokens).removeprefix(before))
    called = Call("get_order", {"id": "A"})
    ((kind, tokens),) = trials(Call("get_order_items", {"id": "A"}), called)
    name = "".join(tokens).removeprefix(before)
    assert kind == "later key token"
    assert len(name) > len("get_order") and "get_order_items".startswith(name)


@pytest.mark.parametrize(("names", "others"), [(("a", "b"), 0), (NAMES, 1)])
def test_a_name_of_key_tokens_only_has_no_other_token(names: tuple[str, ...], others: int) -> None:
    _, counts = counted(Call(names[0], {}), Call(names[1], {}), names)
    assert (counts["wrong_calls"], counts["first name token"], counts["other name token"]) == (1, 1, others)


def test_each_wrong_argument_name_is_corrected_apart_and_those_before_it_too() -> None:
    gold = Call("get_order", {"id": "A", "unit": "kg"})
    called = Call("get_order", {"number": "A", "measure": "kg"})
    found = [(kind, "".join(tokens)) for kind, tokens in trials(gold, called)]
    first, both = forced(called, ("number", "id")), forced(called, ("number", "id"), ("measure", "unit"))
    assert found == [("argument name", first), ("argument name", both)]
    assert trials(gold, Call("get_order", {"id": "B", "unit": "kg"})) == []
    left_out = Call("get_order", {"id": "A"})
    ((_, tokens),) = trials(gold, left_out)
    assert "".join(tokens).endswith('"id": "A", "unit')


def test_an_analysis_joins_an_evaluation_of_fewer_steps(folder: Path, tmp_path: Path) -> None:
    arguments = options(folder, tmp_path / "run")
    code, _, err = call("eval", folder / "learnt", *arguments, "--max-steps", 3, "--limit", 2)
    assert code == 0, err
    assert read_config(tmp_path / "run/config.yaml", EvaluationConfig).max_steps == 3
    code, _, err = call("analyze", folder / "learnt", *arguments, "--limit", 2)
    assert code == 0, err
