"""The command `tltrain try`: dialects and options, with a micro model and with a scripted one."""

from __future__ import annotations

import io
import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from support.commands import call, mistake
from support.micro import micro_model, micro_tokenizer, save_micro
from support.scripted import calling, scripted

from tltrain import formats
from tltrain.chat.conversation import Speaker
from tltrain.chat.loading import load_speaker, trained_model
from tltrain.config import EvaluationConfig
from tltrain.dialects import hermes, python
from tltrain.errors import ModelError

CALL = calling("get_weather", city="Oslo", day="2025-03-14")


# Models and their dialects


@pytest.fixture(scope="module")
def micro(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return save_micro(tmp_path_factory.mktemp("try") / "model")


def test_the_dialect_is_that_of_the_models_template(micro: Path, tmp_path: Path) -> None:
    config = EvaluationConfig(max_new_tokens=4, dtype="float32", device="cpu")
    assert load_speaker("m", str(micro), config).dialect is hermes
    tokenizer = micro_tokenizer()
    tokenizer.chat_template = python.CHAT_TEMPLATE
    micro_model(len(tokenizer)).save_pretrained(tmp_path)
    tokenizer.save_pretrained(tmp_path)
    found = load_speaker("m", str(tmp_path), config)
    assert (found.dialect_name, found.dialect) == ("python", python)
    with pytest.raises(ModelError, match="writes calls as python"):
        load_speaker("m", str(tmp_path), config, "hermes")


def test_the_model_of_a_run_directory(tmp_path: Path) -> None:
    assert trained_model(str(tmp_path)) == str(tmp_path)
    assert trained_model("smollm2-135m") == "smollm2-135m"
    for part in ("sft/sft/model", "ppo/model"):
        (tmp_path / part).mkdir(parents=True)
        (tmp_path / part / "config.json").write_text("{}")
        assert trained_model(str(tmp_path)) == str(tmp_path / part)


# The command


FAST = ("--max-new-tokens", 6, "--dtype", "float32", "--tools", "get_weather")


@pytest.fixture
def spoken(monkeypatch: pytest.MonkeyPatch) -> Iterator[list[Any]]:
    """Scripts for the models that the command loads, in order."""
    scripts: list[Any] = []

    def load(name: str, model: Any, config: Any, dialect: str | None) -> Speaker:
        return scripted(*scripts.pop(0), name=name)

    monkeypatch.setattr("tltrain.chat.loading.load_speaker", load)
    yield scripts


def test_one_query_with_a_real_model(micro: Path) -> None:
    code, out, err = call("try", micro, "--query", "How was the weather?", "--json", *FAST)
    result = json.loads(out)
    assert code == 1 and result["models"][0]["answer"] is None, err
    end = result["models"][0]["events"][-1]
    assert (end["event"], end["end"]) == ("end", "truncated") and end["text"]


def test_a_prompt_without_room_says_so(micro: Path) -> None:
    code, out, _ = call("try", micro, "--query", "Hello", "--max-length", 20, *FAST)
    assert code == 1 and re.search(r"no answer: .*the prompt has \d+ tokens, and the limit is 20", out)


def test_json_has_the_whole_exchange(spoken: list[Any]) -> None:
    spoken.append((CALL, "It was grey."))
    code, out, err = call("try", "m", "--query", "How was it?", "--tools", "weather", "--json")
    result = json.loads(out)
    assert code == 0 and result["query"] == "How was it?", err
    (one,) = result["models"]
    assert one["answer"] == "It was grey." and one["events"][0]["well_formed"] is True
    assert [message["role"] for message in one["trajectory"]["messages"][1:]] == [
        "user",
        "assistant",
        "tool",
        "assistant",
    ]
    assert isinstance(one["events"][0]["result"], str)


def test_two_models_answer_the_same_turns(spoken: list[Any], tmp_path: Path) -> None:
    spoken += [(CALL, "Grey."), ("I do not know.",)]
    save = tmp_path / "both.jsonl"
    code, out, err = call("try", "tuned=m", "--compare", "base=n", "--query", "How was it?", "--tools", "weather",
                          "--save", save)  # fmt: skip
    assert code == 0 and out.index("tuned") < out.index("Grey.") < out.index("base") < out.index("I do not know.")
    assert [one.extra["model"] for one in formats.read(save)] == ["tuned", "base"]
    assert "saved: 2 trajectories" in err


def test_lines_of_the_standard_input_are_turns(spoken: list[Any], monkeypatch: pytest.MonkeyPatch) -> None:
    spoken.append(("One.", "Two."))
    monkeypatch.setattr("sys.stdin", io.StringIO("a\n\n/tools\nb\n"))
    code, out, _ = call("try", "m", "--tools", "get_weather")
    assert code == 0 and re.fullmatch(r"answer  One\.\ntool    get_weather\(.*\n.*\nanswer  Two\.\n", out)


@pytest.mark.parametrize("error", [KeyboardInterrupt, EOFError])
def test_ctrl_c_and_ctrl_d_end_cleanly_and_save(
    spoken: list[Any], monkeypatch: pytest.MonkeyPatch, tmp_path: Path, error: type[BaseException]
) -> None:
    spoken.append(("One.",))
    typed = iter(["Hello"])

    def type_line(prompt: str) -> str:
        try:
            return next(typed)
        except StopIteration:
            raise error from None

    monkeypatch.setattr("builtins.input", type_line)
    code, out, err = call("try", "m", "--save", tmp_path / "mine.jsonl")
    assert code == (130 if error is KeyboardInterrupt else 0) and "One." in out
    assert len(list(formats.read(tmp_path / "mine.jsonl"))) == 1 and "saved: 1 trajectory" in err


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("m", "--json"), "needs --query"),
        (("m", "--tools", "a.py", "--mcp", "b"), "exclude each other"),
        (("m", "--tools", "wether", "--query", "a"), "did you mean weather"),
        (("m", "--tools", "missing.py", "--query", "a"), "missing.py: no such file"),
        (("no-such-model", "--query", "a"), "no such folder"),
        (("m", "--dialect", "esperanto", "--query", "a"), "unknown dialect"),
        (("m", "--save", "/dev/null/x", "--query", "a"), "/dev/null"),
        (("m", "--max-calls", "0"), "--max-calls"),
    ],
)
def test_mistakes_are_one_line(arguments: tuple[str, ...], message: str) -> None:
    assert message in mistake("try", *arguments)
