"""The model card of each model that a run trained: `README.md` in its folder, from the files of the run directory."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import yaml

from tltrain.arms import ARMS, arm_after_ppo
from tltrain.config import DataConfig
from tltrain.evaluation.scores import Score
from tltrain.files import read_json, write_text
from tltrain.model import BUILTIN, CARD
from tltrain.report.gold_kinds import FEW_HELP, KINDS_HELP, columns, distinguishes, has_few, shares, sizes
from tltrain.report.run_files import parse_scores

BUILTIN_CARD = {"base_model": "HuggingFaceTB/SmolLM2-135M-Instruct", "license": "apache-2.0"}
"""What the hub calls the built-in model, and its licence."""
SETTINGS = ("dialect", "mode", "max_length", "dtype", "seed")
"""Settings of a run that concern every model of it."""
PARSERS: dict[str, tuple[tuple[str, str], ...]] = {
    "hermes": (("", "hermes"),),
    "qwen": (("<function=", "qwen3_coder"), ("", "hermes")),
    "llama3": (("", "llama3_json"),),
    "mistral": (("", "mistral"),),
    "gemma": (("<start_function_call>", "functiongemma"), ("<|tool_call>", "gemma4")),
}
"""vLLM's `--tool-call-parser` by dialect: the first whose text occurs in the template. Other dialects have none."""


def write_cards(run: Path) -> None:
    """Write the card of every trained model of a run directory; those that are up to date are left alone."""
    for name, folder in trained_models(run).items():
        text = model_card(run, name, folder)
        path = folder / CARD
        if not path.is_file() or path.read_text(encoding="utf-8") != text:
            write_text(path, text)


def trained_models(run: Path) -> dict[str, Path]:
    """The folders of a run's trained models, by their names in `scores.json`."""
    found = {path.parent.name: path for path in sorted(run.glob("sft/*/model"))}
    if (run / "ppo" / "model").is_dir():
        config = _config(run)
        arm = _section(config, "ppo").get("arm") if config.get("sft") else None
        found[arm_after_ppo(arm)] = run / "ppo" / "model"
    return found


def model_card(run: Path, name: str, folder: Path) -> str:
    """The card of one model in Markdown, with the metadata that the Hugging Face Hub reads.

    Args:
        run: the run directory.
        name: the model's name in `scores.json`.
        folder: the model's folder.
    """
    config, environment = _config(run), _document(run / "environment.json", {})
    base, arm = str(config.get("model", "")), ARMS.get(name)
    title = arm.title if arm else name
    versions = environment.get("versions", {})
    template = _text(folder / "chat_template.jinja")
    written = f"tltrain {versions.get('tltrain', '')}, transformers {versions.get('transformers', '')}"
    parts = [
        _metadata(base, name),
        f"# {_short(base)}, trained to call tools: {title}",
        f"`{base}` after {title}, trained with {written}.",
        "## Scores",
        _scores(_score_rows(run), name),
        "## Training data",
        _data(config, _document(run / "data.json", {}), _document(folder.parent / "encoding.json", {})),
        "## Settings",
        _settings(config, name),
        "## Load",
        _load(folder),
        "## Serve",
        _serve(str(config.get("dialect", "hermes")), template),
        "## Limits",
        _limits(template),
    ]
    return "\n\n".join(parts) + "\n"


def _metadata(base: str, name: str) -> str:
    irm = name.endswith(arm_after_ppo(None))
    known = BUILTIN_CARD if base == BUILTIN else {"base_model": _short(base)}
    tags = ["tool-calling", "function-calling", "tltrain", "ppo" if irm else "sft"]
    values = known | {"library_name": "transformers", "pipeline_tag": "text-generation", "tags": tags}
    return f"---\n{yaml.safe_dump(values, sort_keys=False, allow_unicode=True)}---"


def _short(base: str) -> str:
    """The model's name without the path of a local folder, which concerns one machine."""
    return Path(base).name if base.startswith((".", "/", "~")) or base.count("/") != 1 else base


def _scores(rows: Sequence[Score], name: str) -> str:
    shown = [row for row in rows if row.model in ("base", name)]
    if not any(row.model == name for row in shown):
        return "This model has not been evaluated yet."
    names = columns(shown)
    lines = [f"| test | model | {' | '.join(names)} | items |", "|---" * 2 + "|---:" * (len(names) + 1) + "|"]
    for row in sorted(shown, key=lambda row: (row.test, row.model != "base")):
        found = shares(row)
        cells = " | ".join(found[column].text if column in found else "–" for column in names)
        lines.append(f"| {row.test} | {'**this model**' if row.model == name else 'base'} | {cells} | {sizes(row)} |")
    notes = [
        "Per cent ± one standard error. TS: the right tool; PI: also the right argument names; CF: also all values.",
        *[KINDS_HELP] * any(map(distinguishes, shown)),
        *[FEW_HELP] * has_few(shown),
        "Replies were decoded greedily.",
    ]
    return "\n".join([*lines, "", " ".join(notes)])


def _data(config: Mapping[str, Any], digests: Mapping[str, str], encoding: Mapping[str, Any]) -> str:
    data = _section(config, "data")
    train = str(data.get("train"))
    if train == "toolworld":
        size, noise = data.get("size"), DataConfig.model_validate({"noise": data.get("noise")}).noise
        seed = data.get("seed") if data.get("seed") is not None else config.get("seed")
        lines = [f"- toolworld, generated: {size} trajectories, noise {noise}, seed {seed}"]
    else:
        root = Path(train).resolve()
        own = {path: digest for path, digest in digests.items() if Path(path).resolve().is_relative_to(root)}
        lines = [f"- `{Path(path).name}`, SHA-256 `{digest}`" for path, digest in own.items()] or [f"- `{root.name}`"]
    counts = [f"{key.replace('_', ' ')}: {value:,}" for key, value in encoding.items() if isinstance(value, int)]
    return "\n".join([*lines, *(["- of its replies and tokens: " + ", ".join(counts)] if counts else [])])


def _settings(config: Mapping[str, Any], name: str) -> str:
    arm = ARMS.get(name)
    values: dict[str, Any] = {key: config[key] for key in SETTINGS if key in config}
    if arm is None or arm.sft:
        values["sft"] = {key: value for key, value in _section(config, "sft").items() if key != "arms"}
    if arm is not None and arm.irm:
        values["ppo"] = _section(config, "ppo")
    return f"```yaml\n{yaml.safe_dump(values, sort_keys=False, allow_unicode=True)}```"


def _load(folder: Path) -> str:
    lines = [
        "```python",
        "from transformers import AutoModelForCausalLM, AutoTokenizer",
        "",
        'model = AutoModelForCausalLM.from_pretrained("path/to/this/folder")',
        'tokenizer = AutoTokenizer.from_pretrained("path/to/this/folder")',
        'messages = [{"role": "user", "content": "…"}]',
        "inputs = tokenizer.apply_chat_template(",
        '    messages, tools=tools, add_generation_prompt=True, return_tensors="pt", return_dict=True',
        ")",
        "reply = model.generate(**inputs, max_new_tokens=512)",
        "```",
        "",
        "The generation settings are greedy decoding, as in the scores.",
    ]
    if (folder.parent / "adapter").is_dir():
        lines[-1] += " The adapter before merging is in `adapter/`, beside this folder."
    return "\n".join(lines)


def _serve(dialect: str, template: str) -> str:
    parser = vllm_parser(dialect, template)
    if parser is None:
        return (
            f"Calls are written in tltrain's dialect `{dialect}`, for which vLLM has no parser: a server returns the "
            f"calls as text, which `tltrain eval URL --dialect {dialect}` and `tltrain.dialects` can read."
        )
    own_server = "transformers serve path/to/this/folder\n" if dialect in ("hermes", "qwen") else ""
    return (
        f"```sh\n{own_server}"
        f"vllm serve path/to/this/folder --enable-auto-tool-choice --tool-call-parser {parser}\n```\n\n"
        f"Calls are written in tltrain's dialect `{dialect}`. tltrain's `docs/SERVING.md` says how to serve with "
        "llama.cpp and Ollama, and which server parses which dialect."
    )


def vllm_parser(dialect: str, template: str) -> str | None:
    """vLLM's `--tool-call-parser` for the calls that a chat template writes in a dialect; None if there is none."""
    return next((parser for text, parser in PARSERS.get(dialect, ()) if text in template), None)


def _limits(template: str) -> str:
    marked = (
        "The chat template marks replies as `{% generation %}`, so `return_assistant_tokens_mask` works."
        if "generation -%}" in template or "generation %}" in template
        else "The chat template is the base model's and marks no replies (`{% generation %}`): trainers that mask by "
        "`return_assistant_tokens_mask` need a marked one."
    )
    return (
        "The scores are for the tools and tests named above; measure on your own tools before relying on the model. It "
        f"may call a tool that was not offered, so check calls before you execute them. {marked}"
    )


def _score_rows(run: Path) -> Sequence[Score]:
    path = run / "scores.json"
    return parse_scores(_document(path, []), path)


def _config(run: Path) -> dict[str, Any]:
    values = yaml.safe_load(_text(run / "config.yaml"))
    return values if isinstance(values, dict) else {}


def _section(config: Mapping[str, Any], name: str) -> dict[str, Any]:
    values = config.get(name)
    return values if isinstance(values, dict) else {}


def _document(path: Path, default: Any) -> Any:
    return read_json(path) if path.is_file() else default


def _text(path: Path) -> str:
    return path.read_text(encoding="utf-8") if path.is_file() else ""
