"""What the two trainers' processes share. Imports nothing of tltrain: TRL's may run in an environment without it."""

from __future__ import annotations

import json
import platform
import sys
from collections.abc import Callable
from dataclasses import asdict, dataclass
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import torch
    from transformers import PreTrainedModel

PACKAGES = ("torch", "transformers", "trl", "accelerate")


@dataclass(frozen=True, slots=True)
class Job:
    """The input of a process, as JSON."""

    logs: str
    """Trajectories in OpenAI's form, one a line."""
    rows: str
    """The same as token ids and labels, one `{"input_ids", "labels"}` a line."""
    warmup: int
    """The first so many logs are trained on but not timed."""
    batch: int
    """Logs per update."""
    model: str
    """Model folder; one without weights gets random ones."""
    device: str
    """`cpu` or `cuda`."""
    folder: str
    """Output folder of the trainer."""
    learning_rate: float
    seed: int
    max_tree_tokens: int
    ours: dict[str, Any]
    """Fields of our `SFTConfig` instead of their defaults."""
    trl: dict[str, Any]
    """Settings of TRL's side instead of its defaults here."""


@dataclass(frozen=True, slots=True)
class Outcome:
    """The results of a process."""

    seconds: float
    """Of all updates after the warm-up."""
    losses: list[float]
    """Of each of them, before its step."""
    trained: int
    """Tokens in the loss, warm-up included."""
    tokens: int
    """That went through the model in the timed updates."""
    scored: int
    """Positions of these that reached the output matrix."""
    peak_mb: float
    """Most memory of the process, or on a GPU the most it had allocated there."""
    versions: dict[str, str]
    settings: dict[str, Any]
    """The trainer's settings that differ between sides."""


def run(side: Callable[[Job], Outcome]) -> None:
    """`python -m speed.SIDE JOB RESULT`: do the job in one file, write the outcome to the other."""
    job = Job(**json.loads(Path(sys.argv[1]).read_text(encoding="utf-8")))
    Path(sys.argv[2]).write_text(json.dumps(asdict(side(job))), encoding="utf-8")


def read_lines(path: str) -> list[dict[str, Any]]:
    """The values of a JSON Lines file."""
    return [json.loads(line) for line in Path(path).read_text(encoding="utf-8").splitlines()]


def without_weights(folder: str) -> bool:
    """Whether a model is a folder with a configuration alone."""
    return Path(folder).is_dir() and not any(Path(folder).glob("*.safetensors"))


def load_model(folder: str, dtype: torch.dtype, device: str, **options: Any) -> PreTrainedModel:
    """The model of a folder or hub name; a folder that holds no weights gets random ones, for every caller the same."""
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
    """Most memory of this process so far, in MB: resident, or allocated on the GPU."""
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
    """Of Python and the packages that matter, where they are installed."""
    found = {"python": platform.python_version()}
    for name in PACKAGES:
        try:
            found[name] = version(name)
        except PackageNotFoundError:
            continue
    return found
