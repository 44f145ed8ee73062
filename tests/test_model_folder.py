"""Model folders: what could execute code is refused, and a saved folder has what other programs need."""

from __future__ import annotations

import json
import os
import pickle
import re
import shutil
from pathlib import Path
from typing import Any
from unittest.mock import patch

import pytest
import torch
from support.commands import call, mistake
from support.micro import micro_model, micro_tokenizer, micro_trajectories, save_micro
from transformers import AutoModelForCausalLM, AutoTokenizer, GenerationConfig, LlamaConfig

from tltrain import dialects
from tltrain import model as models
from tltrain.config import LoraConfig, read_config
from tltrain.dialects import hermes, python
from tltrain.encode import Encoder
from tltrain.encode.rendering import template_message
from tltrain.engine.adapters import add_adapters, save_adapter
from tltrain.errors import ModelError
from tltrain.files import read_json
from tltrain.toolworld import generate

DATA = Path(__file__).parent / "data"
TEMPLATES = {"hermes": hermes.CHAT_TEMPLATE, "python": python.CHAT_TEMPLATE}


@pytest.fixture(scope="module")
def micro(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return save_micro(tmp_path_factory.mktemp("micro"))


# What a saved folder has


def saved(folder: Path) -> Path:
    """A model whose base had sampling settings and a name of its own."""
    model, tokenizer = micro_model(400), micro_tokenizer()
    model.config._model_name_or_path = "someone's experiment"
    model.generation_config = GenerationConfig(
        do_sample=True, temperature=0.6, top_p=0.9, repetition_penalty=1.1, eos_token_id=[2, 0], bos_token_id=1
    )
    models.save(model, tokenizer, folder / "model")
    assert model.generation_config.temperature == 0.6, "the model in memory is as before"
    return folder / "model"


def test_a_saved_model_decodes_greedily_up_to_any_stop_token(tmp_path: Path) -> None:
    settings = read_json(saved(tmp_path) / "generation_config.json")
    del settings["transformers_version"]
    assert settings == {"do_sample": False, "bos_token_id": 1, "eos_token_id": [2, 0], "pad_token_id": 2}


def test_a_saved_model_names_its_own_limit_and_no_foreign_folder(tmp_path: Path) -> None:
    folder = saved(tmp_path)
    assert read_json(folder / "tokenizer_config.json")["model_max_length"] == 4096
    assert AutoTokenizer.from_pretrained(folder).model_max_length == 4096
    written = "".join(path.read_text() for path in folder.glob("*config.json"))
    assert "name_or_path" not in written and "someone's" not in written and str(tmp_path) not in written


def test_a_known_limit_of_the_tokenizer_is_kept(tmp_path: Path) -> None:
    tokenizer = micro_tokenizer()
    tokenizer.model_max_length = 131_072  # as Qwen's: more than the model's positions, for scaled ones
    models.save(micro_model(400), tokenizer, tmp_path / "model")
    assert read_json(tmp_path / "model/tokenizer_config.json")["model_max_length"] == 131_072


def test_all_files_have_equal_permissions(tmp_path: Path) -> None:
    folder = saved(tmp_path)
    adapted = add_adapters(micro_model(400), LoraConfig(), ("sft",), 0)
    save_adapter(adapted, "sft", "base", tmp_path / "adapter")
    (tmp_path / "new").touch()
    files = [*folder.iterdir(), *(tmp_path / "adapter").iterdir()]
    assert len(files) >= 8
    assert {path.stat().st_mode for path in files} == {(tmp_path / "new").stat().st_mode}


def test_a_saved_tokenizer_parses_the_replies_that_the_template_writes(tmp_path: Path) -> None:
    """What servers built on transformers do."""
    tokenizer = AutoTokenizer.from_pretrained(saved(tmp_path))
    parsed = 0
    for trajectory in micro_trajectories():
        for index, message in enumerate(trajectory.messages):
            if message.role == "assistant":
                shown = [template_message(one) for one in trajectory.messages[: index + 1]]
                prompt = tokenizer.apply_chat_template(shown[:-1], add_generation_prompt=True, tokenize=False)
                reply = tokenizer.apply_chat_template(shown, tokenize=False).removeprefix(prompt).rstrip("\n")
                found = tokenizer.parse_response(reply, prefix=prompt)
                calls = [
                    (call["function"]["name"], call["function"]["arguments"]) for call in found.get("tool_calls", [])
                ]
                assert calls == [(call.name, call.arguments) for call in message.calls]
                assert found.get("content", "") == (message.content or "")
                parsed += len(calls)
    assert parsed > 5


def test_a_foreign_template_gets_no_response_template(tmp_path: Path) -> None:
    tokenizer = micro_tokenizer()
    tokenizer.chat_template = python.CHAT_TEMPLATE
    models.save(micro_model(400), tokenizer, tmp_path / "model")
    assert "response_template" not in read_json(tmp_path / "model/tokenizer_config.json")


# Marks of replies


def conversations() -> list[Any]:
    return [*generate(size=30, test_size=2).train, *micro_trajectories(12)]


@pytest.mark.parametrize("name", TEMPLATES)
def test_marks_do_not_change_what_a_template_renders(name: str) -> None:
    """Equal to the templates of versions without marks, for every beginning of a conversation."""
    tokenizer, unmarked = micro_tokenizer(), (DATA / f"{name}_unmarked.jinja").read_text()
    assert "generation -%}" in TEMPLATES[name] and "generation -%}" not in unmarked
    for trajectory in conversations():
        messages = [template_message(message) for message in trajectory.messages]
        tools = [tool.to_json() for tool in trajectory.tools] or None
        for count in range(1, len(messages) + 1):
            for prompt in (False, True):
                options = {"tools": tools, "tokenize": False, "add_generation_prompt": prompt}
                one, other = (
                    tokenizer.apply_chat_template(messages[:count], chat_template=template, **options)
                    for template in (unmarked, TEMPLATES[name])
                )
                assert one == other


@pytest.mark.parametrize("name", TEMPLATES)
def test_the_mask_of_assistant_tokens_is_that_of_our_replies(name: str) -> None:
    tokenizer = micro_tokenizer()
    tokenizer.chat_template = TEMPLATES[name]
    encoder = Encoder(tokenizer, mae=False, pkt=False)
    for trajectory in conversations():
        found = tokenizer.apply_chat_template(
            [template_message(message) for message in trajectory.messages],
            tools=[tool.to_json() for tool in trajectory.tools] or None,
            return_dict=True,
            return_assistant_tokens_mask=True,
        )
        expected = [0] * len(found["input_ids"])
        for step in encoder.steps(trajectory):
            begin, end = len(step.prompt_ids), len(step.prompt_ids) + len(step.reply_ids)
            assert found["input_ids"][:end] == [*step.prompt_ids, *step.reply_ids]
            expected[begin:end] = [1] * len(step.reply_ids)
        assert found["assistant_masks"] == expected
        assert 0 < sum(expected) < len(expected)


@pytest.mark.parametrize("name", TEMPLATES)
def test_an_unmarked_template_of_ours_gets_its_marks(name: str, micro: Path, tmp_path: Path) -> None:
    """Such as that of the built-in model in an older cache."""
    folder = shutil.copytree(micro, tmp_path / "m")
    shutil.copy(DATA / f"{name}_unmarked.jinja", folder / "chat_template.jinja")
    assert models.load_tokenizer(str(folder), name).chat_template == TEMPLATES[name]
    assert dialects.with_marks("{{ messages }}") == "{{ messages }}"


# Refusals


class Bomb:
    """Creates a file when it is unpickled."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> tuple[Any, ...]:
        return os.mkdir, (str(self.path),)


def unsafe(micro: Path, folder: Path, kind: str) -> Path:
    """A model folder that creates `folder/executed` if its code runs."""
    shutil.copytree(micro, folder)
    executed = folder.parent / "executed"
    code = f"import os\nos.mkdir({str(executed)!r})\nfrom transformers import LlamaConfig as Own\n"
    if kind == "pickle":
        (folder / "model.safetensors").unlink()
        (folder / "pytorch_model.bin").write_bytes(pickle.dumps(Bomb(executed)))
    elif kind == "adapter":
        (folder / "adapter_model.bin").write_bytes(pickle.dumps(Bomb(executed)))
    else:
        (folder / "own.py").write_text(code)
    if kind in ("config", "tokenizer"):
        path = folder / {"config": "config.json", "tokenizer": "tokenizer_config.json"}[kind]
        entry = {"AutoConfig": "own.Own"} if kind == "config" else {"AutoTokenizer": [None, "own.Own"]}
        changes: dict[str, Any] = {"auto_map": entry} | ({"model_type": "own"} if kind == "config" else {})
        path.write_text(json.dumps(read_json(path) | changes))
    return folder


@pytest.mark.parametrize(
    ("kind", "said"),
    [
        ("pickle", "pytorch_model.bin holds pickled weights"),
        ("adapter", "adapter_model.bin holds pickled weights"),
        ("config", "config.json has an auto_map to Python code"),
        ("tokenizer", "tokenizer_config.json has an auto_map to Python code"),
        ("file", r"the folder has Python code \(own.py\)"),
    ],
)
def test_a_folder_that_could_execute_code_is_refused(micro: Path, tmp_path: Path, kind: str, said: str) -> None:
    folder = unsafe(micro, tmp_path / "m", kind)
    for load in (models.load_tokenizer, models.load_model):
        with pytest.raises(ModelError, match=said) as raised:
            load(str(folder))
        assert str(raised.value).startswith(f"model {folder}: ")
        assert str(raised.value).endswith("set allow_code (--allow-code) if you trust its author")
    assert not (tmp_path / "executed").exists()


def test_code_runs_if_it_is_allowed(micro: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The other half of the test above: what it refuses would have been executed."""
    monkeypatch.setattr("transformers.dynamic_module_utils.HF_MODULES_CACHE", str(tmp_path / "modules"))
    folder = unsafe(micro, tmp_path / "m", "config")
    with patch.object(LlamaConfig, "_auto_class", None):  # loading sets it on the class
        models.load_model(str(folder), allow_code=True)
    assert (tmp_path / "executed").exists()


def test_pickles_that_are_not_read_are_accepted(micro: Path, tmp_path: Path) -> None:
    """Beside weights as safetensors, as other trainers leave them."""
    folder = shutil.copytree(micro, tmp_path / "m")
    for name in ("training_args.bin", "optimizer.pt", "pytorch_model.bin"):
        (folder / name).write_bytes(pickle.dumps(Bomb(tmp_path / "executed")))
    assert models.load_model(str(folder)).dtype == torch.float32
    assert models.load_tokenizer(str(folder)).is_fast
    assert not (tmp_path / "executed").exists()


def test_harmless_pickled_weights_load_if_they_are_allowed(micro: Path, tmp_path: Path) -> None:
    folder = shutil.copytree(micro, tmp_path / "m")
    state = AutoModelForCausalLM.from_pretrained(micro).state_dict()
    torch.save(state, folder / "pytorch_model.bin")
    (folder / "model.safetensors").unlink()
    loaded = models.load_model(str(folder), allow_code=True).state_dict()
    assert all(torch.equal(loaded[name], value) for name, value in state.items())


def test_evaluation_refuses_them_in_one_line(micro: Path, tmp_path: Path) -> None:
    folder = unsafe(micro, tmp_path / "m", "pickle")
    (tmp_path / "data.jsonl").write_text(json.dumps(micro_trajectories(1)[0].to_json()) + "\n")
    options = ("--data", tmp_path / "data.jsonl", "--out", tmp_path / "run")
    said = mistake("eval", folder, *options)
    assert re.match(rf"model {re.escape(str(folder))}: pytorch_model.bin holds pickled weights", said)
    assert not (tmp_path / "executed").exists()


@pytest.mark.parametrize("command", ["audit", "convert", "init", "inspect", "try"])
def test_the_other_commands_refuse_code_unless_it_is_allowed(micro: Path, tmp_path: Path, command: str) -> None:
    folder = unsafe(micro, tmp_path / "m", "file")
    data = tmp_path / "data.jsonl"
    data.write_text(json.dumps(micro_trajectories(1)[0].to_json()) + "\n")
    arguments: tuple[object, ...] = {
        "audit": ("audit", data, "--model", folder, "--out", tmp_path / "audit"),
        "convert": ("convert", data, "--to", "steps", "--model", folder, "--out", tmp_path / "steps.jsonl"),
        "init": ("init", data, "--model", folder, "--out", tmp_path / "data.yaml"),
        "inspect": ("inspect", folder, data, "--out", tmp_path / "inspect.html"),
        "try": ("try", folder, "--query", "?", "--max-new-tokens", 2),
    }[command]
    assert "the folder has Python code (own.py)" in mistake(*arguments)
    code, _, err = call(*arguments, "--allow-code")
    assert code in (0, 1) and "Python code" not in err, err


def test_a_run_on_logs_trusts_a_model_only_if_told_to(micro: Path, tmp_path: Path) -> None:
    """And so does the configuration that `init` writes, since the model was trusted when it was written."""
    folder = unsafe(micro, tmp_path / "m", "file")
    data, path = tmp_path / "data.jsonl", tmp_path / "data.yaml"
    data.write_text(json.dumps(micro_trajectories(1)[0].to_json()) + "\n")
    arguments = ("run", data, "--model", folder, "--set", "sft.epochs=no", "--out", tmp_path / "run")
    code, _, err = call(*arguments)
    assert code == 2 and "the folder has Python code (own.py)" in err
    code, _, err = call(*arguments, "--allow-code")
    assert code == 2 and "Python code" not in err and "sft.epochs" in err  # the next mistake
    assert call("init", data, "--model", folder, "--allow-code", "--out", path)[0] == 0
    assert read_config(path).allow_code
