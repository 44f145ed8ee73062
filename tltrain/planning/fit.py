"""Refuses configurations whose weights alone exceed a device's memory, before anything is loaded."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from tltrain import model as models
from tltrain.config import RunConfig
from tltrain.errors import ConfigError
from tltrain.planning.costs import ADAM_BYTES, lora_parameters
from tltrain.planning.measuring import capacity_mb
from tltrain.planning.model_size import ModelSize, model_size

QUANTISED_BYTES = {"4bit": 0.5, "8bit": 1.0}


@dataclass(frozen=True, slots=True)
class Held:
    """A model that a stage keeps in the memory of each process."""

    name: str
    parameters: int
    bytes_each: float
    """Bytes of a parameter."""
    parts: str
    """What these bytes are."""

    @property
    def gigabytes(self) -> float:
        """Of all parameters."""
        return self.parameters * self.bytes_each / 1e9


def check_memory(config: RunConfig, stages: Sequence[str], *, device: str, ranks: int) -> None:
    """Refuse the stages (`sft`, `ppo`) of a run whose weights do not fit into the device's memory.

    Raises:
        ConfigError: see `check_fits`; or the model cannot be quantised on this device, as `sft.lora.base` wants.
    """
    if "sft" in stages and config.sft is not None and config.sft.lora is not None and config.sft.lora.base:
        models.quantisation_options(config.sft.lora.base, models.resolve_dtype(config.dtype, device), device)
    trained = {"sft": config.sft, "ppo": config.ppo}
    for stage in [stage for stage in stages if trained[stage] is not None]:
        check_fits(
            config,
            stage,
            size=model_size(config.model, config.allow_code),
            item_bytes=models.resolve_dtype(config.dtype, device).itemsize,
            capacity=capacity_mb(device) * 1e6,
            ranks=ranks,
        )


def check_fits(config: RunConfig, stage: str, *, size: ModelSize, item_bytes: int, capacity: float, ranks: int) -> None:
    """Refuse a stage whose weights, gradients and moments do not fit, whatever its batches.

    Args:
        config: of the run.
        stage: `sft` or `ppo`.
        size: of the model.
        item_bytes: of a weight in the run's dtype.
        capacity: bytes of memory for each process.
        ranks: number of processes.

    Raises:
        ConfigError: with the arithmetic, and the setting that needs less.
    """
    held = (_sft if stage == "sft" else _ppo)(config, size, item_bytes, ranks)
    needed = sum(model.gigabytes for model in held)
    if needed * 1e9 <= capacity:
        return
    terms = " + ".join(
        f"{model.name} {model.parameters / 1e9:.3g}e9 x {model.bytes_each:.3g} bytes ({model.parts})" for model in held
    )
    raise ConfigError(
        f"{stage}: each process needs {needed:.0f} GB for weights alone, and there are {capacity / 1e9:.0f} GB: "
        f"{terms}; {_remedy(config, stage, ranks)}"
    )


def _trained(name: str, size: ModelSize, item_bytes: int, shards: int = 1) -> Held:
    """A model of which all weights are trained. A shard holds no weights in the run's dtype beside the fp32 ones: they
    are gathered layer by layer."""
    copies = 4 if item_bytes < 4 else 0
    weights = item_bytes + copies if shards == 1 else 4
    parts = (
        f"weights {item_bytes}" + (f", fp32 weights {copies}" if copies else "") if shards == 1 else "fp32 weights 4"
    )
    return Held(name, size.parameters, (weights + ADAM_BYTES) / shards, f"{parts}, gradients 4, Adam 8{_over(shards)}")


def _frozen(name: str, size: ModelSize, item_bytes: float, shards: int = 1) -> Held:
    return Held(name, size.parameters, item_bytes / shards, f"frozen weights{_over(shards)}")


def _over(shards: int) -> str:
    return f", over {shards} processes" if shards > 1 else ""


def _adapters(size: ModelSize, rank: int, count: int, shards: int = 1) -> Held:
    parts = f"weights 4, gradients 4, Adam 8{_over(shards)}"
    return Held("adapters", count * lora_parameters(size, rank), (4.0 + ADAM_BYTES) / shards, parts)


def _sft(config: RunConfig, size: ModelSize, item_bytes: int, ranks: int) -> list[Held]:
    assert config.sft is not None, "only called for a run with SFT"
    lora, shards = config.sft.lora, ranks if config.sft.fsdp else 1
    if lora is None:
        return [_trained("model", size, item_bytes, shards)]
    base = QUANTISED_BYTES.get(lora.base or "", item_bytes)
    return [_frozen("model", size, base, shards), _adapters(size, lora.rank, 1, shards)]


def _ppo(config: RunConfig, size: ModelSize, item_bytes: int, ranks: int) -> list[Held]:
    assert config.ppo is not None, "only called for a run with PPO"
    critic, shards = config.ppo.advantage == "gae", ranks if config.ppo.fsdp else 1
    if config.ppo.lora is not None:
        held = [_frozen("model, also the reference", size, item_bytes, shards)]
        if critic and config.ppo.critic_start == "random":
            held.append(_frozen("the critic's random model", size, item_bytes, shards))
        held.append(_adapters(size, config.ppo.lora.rank, 1 + critic, shards))
    else:
        held = [_trained("policy", size, item_bytes, shards)]
        held += [_trained("critic", size, item_bytes, shards)] if critic else []
        held += [_frozen("reference", size, item_bytes, shards)] if config.ppo.needs_reference else []
    if shards > 1 and config.ppo.sampler is None:
        held.append(Held("policy while it samples", size.parameters, item_bytes, "gathered weights"))
    return held


def _remedy(config: RunConfig, stage: str, ranks: int) -> str:
    settings = config.sft if stage == "sft" else config.ppo
    assert settings is not None, "the stage is part of the run"
    sharded = settings.fsdp and ranks > 1
    if settings.lora is None:
        more = "more processes" if sharded else f"{stage}.fsdp: true with several processes"
        return f"set {stage}.lora: {{rank: 16}} or use {more}"
    if stage == "sft" and not settings.lora.base:
        return "use a smaller model or sft.lora.base: 4bit"
    if stage == "ppo" and sharded and config.ppo is not None and config.ppo.sampler is None:
        return "use a smaller model or sample with a server (ppo.sampler), for which nothing is gathered"
    return "use a smaller model" + ("" if settings.fsdp else f" or {stage}.fsdp: true with several processes")
