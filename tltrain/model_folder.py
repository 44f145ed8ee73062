"""The files of a model folder: those that could execute code when loaded are refused, and a saved folder is completed
for other programs (servers, converters, other trainers)."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tltrain.dialects import hermes
from tltrain.encode.rendering import Renderer
from tltrain.errors import ModelError, TemplateError
from tltrain.files import equal_modes, read_json, replacing, write_json

if TYPE_CHECKING:
    from transformers import GenerationConfig, PreTrainedModel, PreTrainedTokenizerBase

PICKLES = ("*.bin", "*.pt", "*.pth", "*.pkl", "*.pickle", "*.ckpt")
"""Names of files of weights that are unpickled, which can call any function."""
FOREIGN = ("_model_name_or_path", "_name_or_path", "name_or_path", "is_local", "local_files_only")
"""Entries of configuration files that say where and how the base model was loaded."""
CARD = "README.md"
"""The model card, which is written after the model and updated with its scores."""
ALLOW_CODE = "set allow_code (--allow-code) if you trust its author"
"""How a refused model can be loaded nevertheless."""
LONGEST = 10**9
"""A larger `model_max_length` means that none is known; `transformers` writes 1e30 then."""


def refuse_code(name: str, folder: Path) -> None:
    """Refuse a folder whose files could execute code when they are loaded.

    Pickles beside weights as safetensors are accepted, since they are not read (`training_args.bin`, optimisers).

    Args:
        name: what the user called the model, for the message.
        folder: the model folder.

    Raises:
        ModelError: the folder has Python code, refers to some (`auto_map`), or has weights only as pickles.
    """
    found = _code(folder) or _pickle(folder)
    if found is not None:
        raise ModelError(f"model {name}: {found}; {ALLOW_CODE}")


def _code(folder: Path) -> str | None:
    for path in sorted(folder.glob("*.json")):
        if path.name.endswith("config.json") and "auto_map" in _entries(path):
            return f"{path.name} has an auto_map to Python code, which loading would execute"
    code = next(iter(sorted(folder.rglob("*.py"))), None)
    return None if code is None else f"the folder has Python code ({code.relative_to(folder)}), which could be executed"


def _pickle(folder: Path) -> str | None:
    for safe, pickles in (("*.safetensors", PICKLES), ("adapter_model.safetensors", ("adapter_model.bin",))):
        unsafe = sorted(path for pattern in pickles for path in folder.glob(pattern))
        if unsafe and not any(folder.glob(safe)):
            return f"{unsafe[0].name} holds pickled weights, which can execute code when loaded; expected safetensors"
    return None


def _entries(path: Path) -> dict[str, Any]:
    """The JSON object in a file; empty if it is broken, which loading reports."""
    try:
        value = json.loads(path.read_bytes())
    except (ValueError, RecursionError, OSError):
        return {}
    return value if isinstance(value, dict) else {}


def save(model: PreTrainedModel, tokenizer: PreTrainedTokenizerBase, folder: Path) -> None:
    """Save as a Hugging Face folder, whole or not at all, with the settings that other programs need.

    These are: generation settings for greedy decoding up to any stop token, the model's context length as
    `model_max_length`, a response template if the chat template is tltrain's own for `hermes` (servers built on
    `transformers` return `tool_calls` with it), and equal permissions of all files.

    Raises:
        RunError: no space is left.
    """
    settings = model.generation_config
    with replacing(folder) as temporary:
        model.generation_config = greedy(model, tokenizer)
        try:
            model.save_pretrained(temporary)
        finally:
            model.generation_config = settings
        tokenizer.save_pretrained(temporary)
        _rewrite(temporary / "config.json", {})
        _rewrite(temporary / "tokenizer_config.json", _tokenizer_settings(model, tokenizer))
        equal_modes(temporary)


def greedy(model: PreTrainedModel, tokenizer: PreTrainedTokenizerBase) -> GenerationConfig:
    """Generation settings as in our evaluation: greedy, until any token that ends a reply. The base model's sampling
    settings (temperature, top_p, repetition_penalty …) do not apply to the trained model."""
    from transformers import GenerationConfig

    old = model.generation_config
    stop = stop_ids(model, tokenizer)
    return GenerationConfig(
        do_sample=False,
        bos_token_id=old.bos_token_id if old else None,
        eos_token_id=stop[0] if len(stop) == 1 else stop or None,
        pad_token_id=old.pad_token_id if old and old.pad_token_id is not None else tokenizer.pad_token_id,
    )


def stop_ids(model: PreTrainedModel, tokenizer: PreTrainedTokenizerBase) -> list[int]:
    """Ids that end a reply: those of the model's generation settings, of the tokenizer and of its chat template."""
    own = end_ids(model)
    try:
        return list(dict.fromkeys([*own, *Renderer(tokenizer).stop_ids]))
    except TemplateError:  # a template that cannot render two messages; training would have refused it
        return own


def end_ids(model: PreTrainedModel) -> list[int]:
    """Ids that end a reply, as the model's generation configuration names them."""
    end = model.generation_config.eos_token_id if model.generation_config else None
    return [] if end is None else end if isinstance(end, list) else [end]


def _tokenizer_settings(model: PreTrainedModel, tokenizer: PreTrainedTokenizerBase) -> dict[str, Any]:
    settings: dict[str, Any] = {}
    positions = getattr(model.config.get_text_config(), "max_position_embeddings", None)
    if tokenizer.model_max_length > LONGEST and positions is not None:
        settings["model_max_length"] = positions
    if tokenizer.chat_template == hermes.CHAT_TEMPLATE and getattr(tokenizer, "response_template", None) is None:
        settings["response_template"] = hermes.RESPONSE_TEMPLATE
    return settings


def _rewrite(path: Path, changes: dict[str, Any]) -> None:
    """Set entries of a JSON file and drop those of `FOREIGN`."""
    if path.exists():
        values = read_json(path)
        write_json(path, {key: value for key, value in (values | changes).items() if key not in FOREIGN})
