"""The model card of every trained model: metadata that the hub reads, scores with their errors, how to serve."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest
import yaml

from tltrain import dialects
from tltrain.files import read_json, write_json
from tltrain.report.model_card import model_card, trained_models, vllm_parser, write_cards

SERVING = Path(__file__).parents[1] / "docs" / "SERVING.md"


def score(model: str, value: float) -> dict[str, Any]:
    rates = {"TS": value + 10, "CF": value}
    return {"model": model, "bench": "toolworld", "split": "seen", "n": 1234, **rates, "se": {"TS": 1.25, "CF": 1.5}}


@pytest.fixture
def run(tmp_path: Path) -> Path:
    """The files of a run that a card is made of."""
    config = {
        "model": "/home/someone/models/base-1b",
        "data": {"train": "logs.jsonl", "test": {"seen": "seen.jsonl"}},
        "dialect": "hermes",
        "seed": 3,
        "sft": {"arms": ["sft", "mae+pkt"], "epochs": 2},
        "ppo": {"arm": "mae+pkt", "rollouts": 4},
    }
    folder = tmp_path / "run"
    for model in ("sft/sft/model", "sft/mae+pkt/model", "ppo/model"):
        (folder / model).mkdir(parents=True)
        (folder / model / "chat_template.jinja").write_text("{% generation %}<tool_call>{% endgeneration %}")
    (folder / "sft/sft/adapter").mkdir()
    (folder / "config.yaml").write_text(yaml.safe_dump(config))
    write_json(folder / "environment.json", {"versions": {"tltrain": "0.9", "transformers": "5.23"}})
    write_json(folder / "data.json", {"logs.jsonl": "ab" * 32, "seen.jsonl": "cd" * 32})
    write_json(folder / "sft/sft/encoding.json", {"replies": 5000, "masked": 120})
    return folder


def metadata(card: str) -> dict[str, Any]:
    """The YAML front matter."""
    _, front, _ = card.split("---\n", 2)
    values: dict[str, Any] = yaml.safe_load(front)
    return values


def card_of(run: Path, name: str) -> str:
    return model_card(run, name, trained_models(run)[name])


def test_every_trained_model_is_found_by_its_name_in_scores(run: Path) -> None:
    folders = {"sft": "sft/sft/model", "mae+pkt": "sft/mae+pkt/model", "mae+pkt+irm": "ppo/model"}
    assert trained_models(run) == {name: run / folder for name, folder in folders.items()}


def test_metadata_are_what_the_hub_reads(run: Path) -> None:
    values = metadata(card_of(run, "mae+pkt+irm"))
    assert (values["base_model"], values["library_name"]) == ("base-1b", "transformers")
    assert {"tool-calling", "tltrain", "ppo"} <= set(values["tags"]) and "sft" not in values["tags"]
    assert "license" not in values, "that of a foreign model is not known"
    assert "sft" in metadata(card_of(run, "sft"))["tags"]


def test_the_built_in_model_has_its_name_and_licence(run: Path) -> None:
    config = yaml.safe_load((run / "config.yaml").read_text())
    for model, base in (("smollm2-135m", "HuggingFaceTB/SmolLM2-135M-Instruct"), ("owner/name", "owner/name")):
        (run / "config.yaml").write_text(yaml.safe_dump(config | {"model": model}))
        assert metadata(card_of(run, "sft"))["base_model"] == base


def test_the_card_names_data_settings_adapter_and_marks(run: Path) -> None:
    card = card_of(run, "sft")
    assert f"`logs.jsonl`, SHA-256 `{'ab' * 32}`" in card and "cd" * 32 not in card
    assert "replies: 5,000, masked: 120" in card
    assert "epochs: 2" in card and "rollouts" not in card
    assert "`adapter/`" in card and "marks replies" in card
    policy = card_of(run, "mae+pkt+irm")
    assert "rollouts: 4" in policy and "`adapter/`" not in policy
    (run / "ppo/model/chat_template.jinja").write_text("{{ messages }}")
    assert "marks no replies" in card_of(run, "mae+pkt+irm")


def test_scores_are_added_when_they_exist(run: Path) -> None:
    write_cards(run)
    path = run / "sft/sft/model/README.md"
    assert "has not been evaluated yet" in path.read_text()
    write_json(run / "scores.json", [score("base", 5.0), score("sft", 61.5), score("mae+pkt", 64.0)])
    write_cards(run)
    text = path.read_text()
    assert "| toolworld seen | base | 15.0 ± 1.2 | 5.0 ± 1.5 | 1,234 |" in text
    assert "| toolworld seen | **this model** | 71.5 ± 1.2 | 61.5 ± 1.5 | 1,234 |" in text
    assert "64.0" not in text, "another arm's"
    assert "has not been evaluated yet" in (run / "ppo/model/README.md").read_text()
    before = path.stat().st_mtime_ns
    write_cards(run)
    assert path.stat().st_mtime_ns == before, "up to date"


def test_items_that_need_no_call_are_shown_apart_and_few_are_counted(run: Path) -> None:
    """A model that never calls is right wherever a text is due, and says nothing about tools."""
    parts = {"gold_with_call": {"n": 9, "TS": 0.0, "CF": 0.0}, "gold_without_call": {"n": 8, "TS": 50.0}}
    write_json(run / "scores.json", [score(model, 23.5) | {"n": 17, **parts} for model in ("base", "sft")])
    write_cards(run)
    text = (run / "sft/sft/model/README.md").read_text()
    assert "| test | model | TS | CF | text | items |" in text
    assert "| toolworld seen | **this model** | 0 of 9 | 0 of 9 | 4 of 8 | 9+8 |" in text
    assert "text: of the items whose gold is a text" in text and "Of fewer than 30 items" in text


@pytest.mark.parametrize("noise", [0.17, None])  # null: the default, in runs before 2026-12-01
def test_generated_data_are_named_by_their_settings(run: Path, noise: float | None) -> None:
    config = yaml.safe_load((run / "config.yaml").read_text())
    data = {"train": "toolworld", "size": 1217, "noise": noise}
    (run / "config.yaml").write_text(yaml.safe_dump(config | {"data": data}))
    assert "toolworld, generated: 1217 trajectories, noise 0.17, seed 3" in card_of(run, "sft")


@pytest.mark.parametrize(
    ("dialect", "template", "parser"),
    [
        ("hermes", "", "hermes"),
        ("qwen", "<tool_call>", "hermes"),
        ("qwen", "<tool_call>\n<function=", "qwen3_coder"),
        ("llama3", "", "llama3_json"),
        ("mistral", "", "mistral"),
        ("gemma", "<start_function_call>", "functiongemma"),
        ("gemma", "<|tool_call>", "gemma4"),
        ("gemma", "```tool_code", None),
        ("python", "", None),
        ("react", "", None),
        ("native", "", None),
    ],
)
def test_the_parser_fits_dialect_and_template(dialect: str, template: str, parser: str | None) -> None:
    assert vllm_parser(dialect, template) == parser


def test_the_card_says_how_to_serve(run: Path) -> None:
    assert "vllm serve path/to/this/folder --enable-auto-tool-choice --tool-call-parser hermes" in card_of(run, "sft")
    config = yaml.safe_load((run / "config.yaml").read_text())
    (run / "config.yaml").write_text(yaml.safe_dump(config | {"dialect": "react"}))
    assert "vLLM has no parser" in card_of(run, "sft") and "--dialect react" in card_of(run, "sft")


def test_the_document_names_the_same_parsers() -> None:
    rows = dict(re.findall(r"^\| `(\w+)` \| [^|]* \| ([^|]*) \|", SERVING.read_text(encoding="utf-8"), re.MULTILINE))
    assert set(rows) == set(dialects.NAMES)
    for dialect in dialects.TEXT_FORMS:
        templates = ("", "<function=", "<start_function_call>", "<|tool_call>")
        parsers = {parser for text in templates if (parser := vllm_parser(dialect, text))}
        named = set(re.findall(r"`([a-z0-9_]+)`", rows[dialect])) - {"tool_code"}
        assert named == parsers


def test_a_run_directory_without_trained_models_gets_no_card(tmp_path: Path) -> None:
    write_cards(tmp_path)
    assert list(tmp_path.iterdir()) == []
    write_json(tmp_path / "scores.json", [])
    assert read_json(tmp_path / "scores.json") == []
