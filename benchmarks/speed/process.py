"""Input, output and measurements of a side's process. Does not import tltrain, which TRL's environment may lack."""

from __future__ import annotations

import json
import platform
import sys
from collections.abc import Callable, Iterable
from dataclasses import asdict, dataclass
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

if TYPE_CHECKING:
    import torch
    from _typeshed import DataclassInstance
    from transformers import PreTrainedModel

J = TypeVar("J")
PACKAGES = ("torch", "transformers", "trl", "accelerate")


@dataclass(frozen=True, slots=True)
class Job:
    """The input of a process, passed as JSON."""

    logs: str
    """JSON Lines file of trajectories in OpenAI's format."""
    rows: str
    """JSON Lines file of the same trajectories as `{"input_ids", "labels"}`."""
    warmup: int
    """Number of logs at the start that are trained on but not timed."""
    batch: int
    """Logs per update."""
    model: str
    """Model folder; a model without weights is initialised randomly."""
    device: str
    """`cpu` or `cuda`."""
    folder: str
    """Output folder of the trainer."""
    learning_rate: float
    seed: int
    max_tree_tokens: int
    dtype: str
    """Of the model, and of what TRL trains: `bfloat16` or `float32`."""
    ours: dict[str, Any]
    """Fields of tltrain's `SFTConfig` that override its defaults."""
    trl: dict[str, Any]
    """Settings that override `speed.theirs.SETTINGS`."""


@dataclass(frozen=True, slots=True)
class Outcome:
    """The results of a process."""

    seconds: float
    """Duration of all updates after the warm-up."""
    losses: list[float]
    """Loss of each of these updates, before its step."""
    trained: int
    """Tokens in the loss, warm-up included."""
    tokens: int
    """Tokens that the model processed in the timed updates."""
    scored: int
    """Positions of these at which logits were computed."""
    peak_mb: float
    """Peak memory of the process, or on a GPU its peak allocation there."""
    versions: dict[str, str]
    settings: dict[str, Any]
    """The trainer's settings that differ between sides."""


def run(kind: type[J], side: Callable[[J], DataclassInstance]) -> None:
    """Entry point of `python -m speed.SIDE JOB RESULT`: read a job of this kind from its file, run it, and write the
    outcome to the result file."""
    job = kind(**json.loads(Path(sys.argv[1]).read_text(encoding="utf-8")))
    Path(sys.argv[2]).write_text(json.dumps(asdict(side(job))), encoding="utf-8")


def read_lines(path: str) -> list[dict[str, Any]]:
    """The values of a JSON Lines file."""
    return [json.loads(line) for line in Path(path).read_text(encoding="utf-8").splitlines()]


def write_lines(path: Path, values: Iterable[dict[str, Any]]) -> None:
    """Write values as JSON Lines."""
    path.write_text("".join(json.dumps(value, ensure_ascii=False) + "\n" for value in values), encoding="utf-8")


def without_weights(folder: str) -> bool:
    """Whether a path is a model folder that has no weights."""
    return Path(folder).is_dir() and not any(Path(folder).glob("*.safetensors"))


def load_model(folder: str, dtype: torch.dtype, device: str, **options: Any) -> PreTrainedModel:
    """Load a model from a folder or the hub. A model without weights is initialised randomly with a fixed seed."""
    import torch
    from transformers import AutoConfig, AutoModelForCausalLM

    if not without_weights(folder):
        model: PreTrainedModel = AutoModelForCausalLM.from_pretrained(folder, dtype=dtype, **options).to(device)
        return model
    torch.manual_seed(0)
    with torch.device(device):
        made: PreTrainedModel = AutoModelForCausalLM.from_config(
            AutoConfig.from_pretrained(folder), dtype=dtype, **options
        )
    return made


def peak_memory_mb(device: str) -> float:
    """Peak memory of this process in MB: resident, or allocated on the GPU."""
    if device != "cpu":
        import torch

        return torch.cuda.max_memory_allocated() / 1e6
    status = Path("/proc/self/status")
    if status.is_file():  # `ru_maxrss` would include the process that started this one
        line = next(line for line in status.read_text(encoding="ascii").splitlines() if line.startswith("VmHWM:"))
        return int(line.split()[1]) * 1024 / 1e6
    import resource

    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak / 1e6 if sys.platform == "darwin" else peak * 1024 / 1e6


def versions() -> dict[str, str]:
    """Versions of Python and of the installed packages among `PACKAGES`."""
    found = {"python": platform.python_version()}
    for name in PACKAGES:
        try:
            found[name] = version(name)
        except PackageNotFoundError:
            continue
    return found
