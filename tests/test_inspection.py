"""One sample as the model sees it: the JSON that the page is made of."""

from __future__ import annotations

import io
import json
import sys
from pathlib import Path

import pytest
from support.micro import save_micro
from support.order_sample import SAMPLE

from tltrain import formats
from tltrain import model as models
from tltrain.encode import Encoder
from tltrain.errors import DataError
from tltrain.inspection import inspect_sample, sample_at
from tltrain.report.inspect_page import inspect_page


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> str:
    return str(save_micro(tmp_path_factory.mktemp("micro")))


@pytest.fixture
def data(tmp_path: Path) -> str:
    path = tmp_path / "data.jsonl"
    path.write_text("".join(json.dumps({"id": f"n{number}", **SAMPLE}) + "\n" for number in range(3)))
    return str(path)


def test_the_sample_of_an_index(data: str) -> None:
    assert [sample_at(data, index).id for index in range(3)] == ["n0", "n1", "n2"]
    for index, reason in (
        (3, "index 3: the data contain 3 trajectories, numbered from 0"),
        (-1, "index -1: expected 0"),
    ):
        with pytest.raises(DataError, match=f"{data}: {reason}"):
            sample_at(data, index)


def test_the_input_is_read_once(data: str, monkeypatch: pytest.MonkeyPatch) -> None:
    content = Path(data).read_bytes()
    for index in (2, 5):
        monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(content)))
        if index == 2:
            assert sample_at("-", index).id == "n2"
        else:
            with pytest.raises(DataError, match="the data contain 3 trajectories"):
                sample_at("-", index)


def test_later_samples_need_not_be_readable(data: str) -> None:
    with Path(data).open("a") as stream:
        stream.write("{\n")
    assert sample_at(data, 2).id == "n2"
    with pytest.raises(DataError, match=f"{data}:4: "):
        sample_at(data, 3)


def test_tokens_weights_and_reasons(data: str, model: str) -> None:
    (trajectory, *_) = formats.read(data)
    sample = inspect_sample(trajectory, model)
    assert sample.keys() == {"id", "source", "model", "settings", "steps", "dropped"}
    assert (sample["id"], sample["source"], sample["model"]) == ("n0", f"{data}:1", model)
    expected = list(Encoder(models.load_tokenizer(model)).steps(trajectory))
    assert [step["message"] for step in sample["steps"]] == [1, 3, 5]
    assert [step["failed"] for step in sample["steps"]] == [True, False, False]
    for step, encoded in zip(sample["steps"], expected, strict=True):
        assert all(
            token.keys() == {"token", "id", "weight", "reason", "part", "key", "struck"} for token in step["tokens"]
        )
        prompt = [token["id"] for token in step["tokens"] if token["part"] == "prompt"]
        reply = [token for token in step["tokens"] if token["part"] == "reply"]
        assert prompt == encoded.prompt_ids
        assert [token["id"] for token in reply] == encoded.reply_ids
        assert [token["weight"] for token in reply] == encoded.weights
        assert [token["struck"] for token in reply] == [weight == 0 for weight in encoded.weights]
        assert [token["key"] for token in reply] == [weight > 1 for weight in encoded.weights]


def test_a_masked_reply_says_why(data: str, model: str) -> None:
    (trajectory, *_) = formats.read(data)
    first, second, _ = inspect_sample(trajectory, model)["steps"]
    (reason,) = first["reasons"]
    assert "ordr_id" in reason
    assert {token["reason"] for token in first["tokens"] if token["part"] == "reply"} == {reason}
    assert second["reasons"] == []


def test_the_page_shows_it(data: str, model: str) -> None:
    (trajectory, *_) = formats.read(data)
    page = inspect_page(inspect_sample(trajectory, model))
    assert "1 of 3 replies masked" in page
    assert "ordr_id" in page
