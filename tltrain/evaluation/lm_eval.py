"""General ability, measured with `lm-eval`, to check that training for tools does not reduce it."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from importlib.util import find_spec
from math import isclose
from pathlib import Path
from statistics import fmean
from typing import Any

from tltrain import model as models
from tltrain.config import EvaluationConfig
from tltrain.errors import ConfigError
from tltrain.evaluation.endpoint import Endpoint
from tltrain.evaluation.general_tasks import PRESET, write_tasks
from tltrain.evaluation.selection import Model
from tltrain.model_folder import refuse_code


def require_lm_eval() -> None:
    """Raises ConfigError where `lm-eval` is not installed, before any work is done."""
    if find_spec("lm_eval") is None:
        raise ConfigError("--general needs lm-eval: pip install 'tltrain[general]'")


def run_tasks(name: str, model: Model, tasks: str, config: EvaluationConfig) -> list[dict[str, Any]]:
    """Rows `{model, task, metric, value, se, n, items}` of a model on lm-eval's tasks; values as lm-eval gives them,
    see `rows`.

    `local` stands for the tasks of `general_tasks`, which need no download.

    Raises:
        ConfigError: lm-eval is not installed, or cannot run one of the tasks.
    """
    require_lm_eval()
    import lm_eval
    from lm_eval.tasks import TaskManager

    chosen: list[str] = []
    for task in filter(None, map(str.strip, tasks.split(","))):
        chosen += map(str, write_tasks(models.cache_folder() / "general")) if task == PRESET else [task]
    try:
        # Reading the settings of all tasks of lm-eval takes half a minute, and files need none of them.
        known = TaskManager(include_defaults=not all(Path(task).is_file() for task in chosen))
        found = lm_eval.simple_evaluate(tasks=chosen, limit=config.limit, task_manager=known, **_model(model, config))
    except Exception as error:  # whatever a task, its data set or its download may raise
        raise ConfigError(f"--general {tasks}: {type(error).__name__}: {str(error).strip()[:200]}") from error
    return [{"model": name, **row} for row in rows(found)]


def rows(found: Mapping[str, Any]) -> Iterator[dict[str, Any]]:
    """The numbers of lm-eval's result: it writes metrics as `acc,none`, and their errors as `acc_stderr,none`. `items`
    has the value of each item in order, or is None where the metric is not a mean of such values."""
    for task, values in found["results"].items():
        counts = found.get("n-samples", {}).get(task, {})
        for key, value in values.items():
            metric, _, kind = key.partition(",")
            if isinstance(value, int | float) and kind and not metric.endswith("_stderr"):
                error = values.get(f"{metric}_stderr,{kind}")
                yield {
                    "task": task,
                    "metric": metric if kind == "none" else f"{metric} ({kind})",
                    "value": value,
                    "se": error if isinstance(error, int | float) else None,
                    "n": counts.get("effective"),
                    "items": _items(found.get("samples", {}).get(task, ()), metric, kind, value),
                }


def _items(samples: Iterable[Mapping[str, Any]], metric: str, kind: str, mean: float) -> list[float] | None:
    own = sorted((one for one in samples if one.get("filter", "none") == kind), key=lambda one: int(one["doc_id"]))
    values = [one.get(metric) for one in own]
    numbers = [float(value) for value in values if isinstance(value, int | float)]
    complete = numbers and len(numbers) == len(values)
    return numbers if complete and isclose(fmean(numbers), mean, rel_tol=1e-6, abs_tol=1e-9) else None


def _model(model: Model, config: EvaluationConfig) -> dict[str, Any]:
    if isinstance(model, Endpoint):
        arguments: dict[str, Any] = {"model": model.model, "base_url": f"{model.url.rstrip('/')}/chat/completions"}
        arguments |= {"num_concurrent": model.concurrency}
        return {"model": "local-chat-completions", "model_args": arguments, "apply_chat_template": True}
    from tltrain.engine.devices import pick_device

    folder = models.resolve(model)
    if Path(folder).is_dir() and not config.allow_code:
        refuse_code(model, Path(folder))
    arguments = {"pretrained": folder, "dtype": config.dtype, "trust_remote_code": config.allow_code}
    return {
        "model": "hf",
        "model_args": arguments,
        "device": pick_device(config.device),
        "batch_size": config.batch_size,
    }
