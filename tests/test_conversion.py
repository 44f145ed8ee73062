"""`tltrain convert`: formats of messages and of tokens, with masks where they belong."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import pytest
from support.commands import call
from support.micro import save_micro
from support.order_sample import SAMPLE

from tltrain import formats
from tltrain import model as models
from tltrain.conversion import convert_file, failed_replies
from tltrain.encode import Encoder
from tltrain.errors import ConfigError, DataError


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> str:
    return str(save_micro(tmp_path_factory.mktemp("micro")))


@pytest.fixture
def data(tmp_path: Path) -> str:
    path = tmp_path / "data.jsonl"
    path.write_text(json.dumps(SAMPLE, ensure_ascii=False) + "\n", encoding="utf-8")
    return str(path)


def lines(path: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]


def test_to_the_same_format_nothing_changes(data: str, tmp_path: Path) -> None:
    done = convert_file(data, "openai", str(tmp_path / "out.jsonl"))
    assert lines(tmp_path / "out.jsonl") == [SAMPLE]
    assert (done.written, done.problems, done.encoding) == (1, [], None)
    assert done.to_json() == {
        "written": 1,
        "skipped": [],
        **dict.fromkeys(("encoding", "left_out", "dropped_texts", "dataset_info", "usage")),
    }


@pytest.mark.parametrize(
    ("to", "mask", "marked"),
    [("openai", None, False), ("openai", True, True), ("ms-swift", None, True), ("ms-swift", False, False)],
)
def test_failed_replies_are_marked_where_asked_or_usual(
    data: str, tmp_path: Path, to: str, mask: bool | None, marked: bool
) -> None:
    convert_file(data, to, str(tmp_path / "out.jsonl"), mask=mask)
    (back,) = formats.read(tmp_path / "out.jsonl")
    weights = [message.weight for message in back.messages if message.role == "assistant"]
    assert weights[0] == (0 if marked else None)
    assert not any(weight == 0 for weight in weights[1:])


def test_the_failed_reply_is_the_first(data: str) -> None:
    (trajectory,) = formats.read(data)
    assert failed_replies(trajectory) == {1}


def test_steps_are_those_of_training(data: str, model: str, tmp_path: Path) -> None:
    done = convert_file(data, "steps", str(tmp_path / "out.jsonl"), model=model)
    (trajectory,) = formats.read(data)
    encoder = Encoder(models.load_tokenizer(model))
    expected = [(step.prompt_ids, step.reply_ids, step.weights) for step in encoder.steps(trajectory)]
    written = [(line["prompt_ids"], line["reply_ids"], line["weights"]) for line in lines(tmp_path / "out.jsonl")]
    assert written == expected
    assert done.encoding is not None
    assert (done.written, done.encoding.replies, done.encoding.masked) == (3, 3, 1)
    assert set(written[0][2]) == {0.0}
    assert max(written[1][2]) > 1, "the name's key token"
    assert done.summary() == "3 of 3 replies written: 1 failed and weigh 0, 0 dropped; 0 records skipped"


def test_steps_without_masks(data: str, model: str, tmp_path: Path) -> None:
    convert_file(data, "steps", str(tmp_path / "out.jsonl"), model=model, mask=False)
    assert all(min(line["weights"]) == 1 for line in lines(tmp_path / "out.jsonl"))


def test_trl_labels(data: str, model: str, tmp_path: Path) -> None:
    convert_file(data, "trl", str(tmp_path / "out.jsonl"), model=model)
    convert_file(data, "steps", str(tmp_path / "steps.jsonl"), model=model)
    for line, step in zip(lines(tmp_path / "out.jsonl"), lines(tmp_path / "steps.jsonl"), strict=True):
        assert line["input_ids"] == step["prompt_ids"] + step["reply_ids"]
        learned = [token if weight else -100 for token, weight in zip(step["reply_ids"], step["weights"], strict=True)]
        assert line["labels"] == [-100] * len(step["prompt_ids"]) + learned


def test_what_cannot_be_read_is_listed(data: str, tmp_path: Path) -> None:
    with Path(data).open("a", encoding="utf-8") as stream:
        stream.write('{"messages": 1}\n')
    done = convert_file(data, "openai", str(tmp_path / "out.jsonl"))
    assert done.written == 1
    (skipped,) = done.to_json()["skipped"]
    assert (skipped["path"], skipped["line"]) == (data, 2)
    assert done.summary().splitlines() == [
        "1 trajectory written, 1 skipped",
        "  1 skipped: messages: expected list, got number",
    ]
    assert str(done.problems[0]) == f"{data}:2: messages: expected list, got number"
    assert str(formats.Problem("logs.jsonl", None, "the file is empty")) == "logs.jsonl: the file is empty"
    with pytest.raises(DataError, match=f"{data}:2: "):
        convert_file(data, "openai", str(tmp_path / "out.jsonl"), strict=True)
    assert len(lines(tmp_path / "out.jsonl")) == 1, "the old file stays"


def test_nothing_at_all_is_no_conversion(tmp_path: Path) -> None:
    path, out = tmp_path / "data.jsonl", tmp_path / "out.jsonl"
    for text, reason in (("", "the file is empty"), ('{"a": 1}\n', "no known format"), ('{"messages": 1}', "")):
        path.write_text(text)
        with pytest.raises(DataError, match=f"{path}.*: no trajectory could be read: {reason}"):
            convert_file(str(path), "openai", str(out))
        assert not out.exists()


def test_the_input_is_never_overwritten(data: str, tmp_path: Path) -> None:
    for out in (data, f"{tmp_path}/./data.jsonl"):
        with pytest.raises(ConfigError, match="is part of the input"):
            convert_file(data, "openai", out)
    with pytest.raises(ConfigError, match="is part of the input"):
        convert_file(str(tmp_path), "openai", str(tmp_path / "out.jsonl"))
    assert lines(Path(data)) == [SAMPLE]


def test_tokens_need_a_model(data: str, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="--to trl: needs --model"):
        convert_file(data, "trl", str(tmp_path / "out.jsonl"))


# Text beside calls


def with_text(path: Path) -> str:
    """Two samples, of which the first has text beside a call."""
    chatty: dict[str, Any] = json.loads(json.dumps(SAMPLE))
    chatty["messages"][1]["content"] = "I will look."
    path.write_text("".join(json.dumps(sample) + "\n" for sample in (chatty, SAMPLE)), encoding="utf-8")
    return str(path)


def test_text_that_llama_factory_cannot_store_is_skipped_or_dropped(tmp_path: Path) -> None:
    data, out = with_text(tmp_path / "data.jsonl"), tmp_path / "out.jsonl"
    done = convert_file(data, "llama-factory", str(out))
    assert (done.written, done.dropped_texts) == (1, None)
    assert done.summary().splitlines() == [
        "1 trajectory written, 1 skipped",
        "  1 skipped: messages[…].content: LLaMA-Factory cannot store text beside calls",
        "  --drop-text writes these calls without the text",
    ]
    done = convert_file(data, "llama-factory", str(out), drop_text=True)
    assert (done.written, done.problems, done.dropped_texts) == (2, [], 1)
    assert done.summary().splitlines() == ["2 trajectories written, 0 skipped", "  dropped 1 text beside calls"]
    first, second = formats.read(out)
    assert first.messages == second.messages
    assert first.messages[1].calls and first.messages[-1].content == "It was sent.", "other texts stay"


def test_the_entry_of_dataset_info(data: str, tmp_path: Path) -> None:
    done = convert_file(data, "llama-factory", str(tmp_path / "orders.jsonl"))
    columns = {"messages": "conversations", "system": "system", "tools": "tools"}
    entry = {"file_name": "orders.jsonl", "formatting": "sharegpt", "columns": columns}
    assert done.to_json()["dataset_info"] == {"orders": entry}
    (line,) = lines(tmp_path / "orders.jsonl")
    assert set(line) <= {*columns.values(), "id"}


# Prompts


def test_prompts_with_golds(data: str, model: str, tmp_path: Path) -> None:
    done = convert_file(data, "trl-grpo", str(tmp_path / "out.jsonl"), model=model)
    assert done.summary() == "2 prompts written; 1 reply left out (failed or labelled 0); 0 records skipped"
    assert done.usage is not None and "reward_funcs=ToolCallReward(tokenizer)" in done.usage
    rows = lines(tmp_path / "out.jsonl")
    assert [json.loads(row["golds"]) for row in rows] == [
        [[{"name": "get_order", "arguments": {"order_id": "A-1001"}}]],
        [[]],
    ]
    assert all(list(map(type, row.values())) == [str] * 5 for row in rows), "Arrow keeps text as it is"
    convert_file(data, "verl", str(tmp_path / "verl.jsonl"), model=model)
    assert [row["extra_info"]["index"] for row in lines(tmp_path / "verl.jsonl")] == [0, 1]
    with pytest.raises(ConfigError, match="--no-mask: verl holds golds"):
        convert_file(data, "verl", str(tmp_path / "verl.jsonl"), model=model, mask=False)


@pytest.mark.parametrize("to", ["trl", "trl-grpo"])
def test_what_a_template_cannot_render_is_skipped(data: str, model: str, tmp_path: Path, to: str) -> None:
    tokenizer = models.load_tokenizer(model)
    template = tokenizer.chat_template
    refusal = "{% for m in messages if m.content == 'Where?' %}{{ raise_exception('no such order') }}{% endfor %}"
    tokenizer.chat_template = refusal + template
    shutil.copytree(model, tmp_path / "model")
    tokenizer.save_pretrained(tmp_path / "model")
    odd: dict[str, Any] = json.loads(json.dumps(SAMPLE))
    odd["messages"][0]["content"] = "Where?"
    out = tmp_path / "out.jsonl"
    for number, samples in enumerate(([odd], [SAMPLE, odd])):
        Path(data).write_text("".join(json.dumps(sample) + "\n" for sample in samples), encoding="utf-8")
        if number == 0:
            with pytest.raises(DataError, match=f"{data}:1: nothing could be written: message .*no such order"):
                convert_file(data, to, str(out), model=str(tmp_path / "model"))
            assert not out.exists()
    done = convert_file(data, to, str(out), model=str(tmp_path / "model"))
    assert done.written == len(lines(out)) > 0
    assert "skipped: message […]: the chat template fails: no such order" in done.summary()
    assert all(str(problem).startswith(f"{data}:2: message ") for problem in done.problems)
    with pytest.raises(DataError, match=f"{data}:2: message .*no such order"):
        convert_file(data, to, str(out), model=str(tmp_path / "model"), strict=True)


def test_what_to_do_next_is_printed_as_it_is(data: str, tmp_path: Path) -> None:
    code, out, err = call("convert", data, "--to", "llama-factory", "--out", tmp_path / "[b]orders.jsonl")
    assert (code, out) == (0, "")
    start = 'entry for dataset_info.json: {"[b]orders": {"file_name": "[b]orders.jsonl", '
    assert sum(line.startswith(start) for line in err.splitlines()) == 1
    code, out, err = call("convert", data, "--to", "ms-swift-grpo", "--out", tmp_path / "rows.jsonl", "--json")
    assert code == 0 and err.count("\n") == 1, "what was found in the data"
    plugins, path, *rest = json.loads(out)["usage"].split()
    assert (plugins, rest) == ("--external_plugins", ["--reward_funcs", "tool_call"])
    assert Path(path).is_file()
