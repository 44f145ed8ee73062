"""Models by their name, each with the dialect of its own chat template."""

from __future__ import annotations

from pathlib import Path

from tltrain import dialects
from tltrain import model as models
from tltrain.chat.conversation import Speaker
from tltrain.config import EvaluationConfig
from tltrain.engine.devices import pick_device
from tltrain.errors import ModelError
from tltrain.evaluation.endpoint import Endpoint
from tltrain.evaluation.inference import EndpointBackend, local_backend

ENDPOINT_DIALECT = "hermes"
"""How calls are parsed that an endpoint does not return apart from the text, unless another dialect is given."""


def load_speaker(name: str, model: str | Endpoint, config: EvaluationConfig, dialect: str | None = None) -> Speaker:
    """A model ready to be asked.

    Args:
        name: what it is called.
        model: a folder, a hub name, the built-in model, or an endpoint.
        config: limits, dtype and device; its dialect does not count.
        dialect: how it writes calls; None: as its chat template does.

    Raises:
        ModelError: it cannot be loaded or reached, or its template writes calls in another or an unknown form.
        ConfigError: there is no such dialect.
    """
    if isinstance(model, Endpoint):
        model.reach()
        written = dialect or ENDPOINT_DIALECT
        return Speaker(name, EndpointBackend(model, written, config.max_new_tokens), written, dialects.get(written))
    tokenizer = models.load_tokenizer(model, dialect, config.allow_code)
    template = tokenizer.chat_template
    written = dialect or (dialects.detect(template) if isinstance(template, str) else None) or "native"
    try:
        form = dialects.get(written, tokenizer)
    except ModelError:
        if dialect is not None:
            raise
        known = ", ".join(dialects.NAMES)
        raise ModelError(f"model {name}: its chat template writes calls in no known form; name one with --dialect, of "
                         f"{known}") from None  # fmt: skip
    device = pick_device(config.device)
    dtype = models.resolve_dtype(config.dtype, device)
    loaded = models.load_model(model, dtype, device, allow_code=config.allow_code)
    return Speaker(name, local_backend(loaded, tokenizer, config), written, form)


def trained_model(name: str) -> str:
    """The model folder that `name` means: of a run directory that of the last stage that has trained one (PPO, else the
    arm of SFT trained last); any other name is returned as it is."""
    folder = Path(name)
    if not folder.is_dir() or (folder / "config.json").is_file():
        return name
    found = [folder / "ppo" / "model", *sorted(folder.glob("sft/*/model"), key=_modified, reverse=True)]
    return next((str(path) for path in found if (path / "config.json").is_file()), name)


def _modified(folder: Path) -> float:
    return folder.stat().st_mtime
