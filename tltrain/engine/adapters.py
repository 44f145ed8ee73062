"""Low-rank adapters: added to a model in place with `peft`, saved separately, and merged into its weights.

Sources: Hu et al. 2021 (arXiv 2106.09685) for the adapters, Gupta et al. 2015 (arXiv 1502.02551) for the rounding.
"""

from __future__ import annotations

import copy
import hashlib
import warnings
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from peft import LoraConfig as PeftConfig
from peft import PeftModel, get_peft_model, get_peft_model_state_dict
from peft.tuners.lora import LoraLayer
from safetensors.torch import save_file

from tltrain.engine import ranks
from tltrain.files import equal_modes, replacing

if TYPE_CHECKING:
    import torch
    from transformers import PreTrainedModel

    from tltrain.config import LoraConfig


def add_adapters(model: PreTrainedModel, lora: LoraConfig, names: tuple[str, ...], seed: int) -> PeftModel:
    """Add one adapter per name to every linear layer of `model`, in place.

    Args:
        model: is modified: from now on it computes with the active adapter.
        lora: rank and scaling of the adapters.
        names: the adapters to add; the first becomes the active adapter.
        seed: of the initial weights. `lora_B` is zero, so that a new adapter does not change the model's output.

    Returns:
        `peft`'s wrapper around `model`. The adapters have the model's dtype, since `Optimiser` holds fp32 copies of the
        trained weights.
    """
    import torch

    torch.manual_seed(seed % 2**63)
    settings = PeftConfig(r=lora.rank, lora_alpha=lora.alpha, target_modules="all-linear", task_type="CAUSAL_LM")
    with warnings.catch_warnings():  # peft reads a property of transformers under its old name
        warnings.filterwarnings("ignore", ".*is_gradient_checkpointing", FutureWarning)
        wrapped = get_peft_model(model, settings, adapter_name=names[0], autocast_adapter_dtype=False)
    for name in names[1:]:
        wrapped.add_adapter(name, settings, autocast_adapter_dtype=False)
    return wrapped


def adapter_state(wrapped: PeftModel, name: str) -> dict[str, torch.Tensor | None]:
    """The complete weights of an adapter on the CPU of rank 0 and None elsewhere, by the names that `peft` gives them.
    All ranks must call this if the model is sharded."""
    state = get_peft_model_state_dict(wrapped, adapter_name=name, save_embedding_layers=False)
    return {key: ranks.gathered(value) for key, value in state.items()}


def save_adapter(
    wrapped: PeftModel,
    name: str,
    base: str | None,
    folder: Path,
    state: Mapping[str, torch.Tensor | None] | None = None,
) -> None:
    """Save an adapter as a folder that `peft.PeftModel.from_pretrained` loads on top of the base model.

    Args:
        wrapped: the model with its adapters.
        name: the adapter to save.
        base: base model to name in `adapter_config.json`; by default the path or hub name that the model was loaded
            from.
        folder: is created or replaced atomically.
        state: result of `adapter_state` on rank 0; needed if the model is sharded.

    Raises:
        RunError: the disk is full.
    """
    config = copy.copy(wrapped.peft_config[name])
    config.base_model_name_or_path = base or config.base_model_name_or_path
    config.inference_mode = True
    state = adapter_state(wrapped, name) if state is None else state
    with replacing(folder) as temporary:
        temporary.mkdir()
        weights = {key: value.contiguous() for key, value in state.items() if value is not None}
        save_file(weights, temporary / "adapter_model.safetensors", metadata={"format": "pt"})
        config.save_pretrained(temporary)
        equal_modes(temporary)


def merged(wrapped: PeftModel, name: str, seed: int) -> PreTrainedModel:
    """Merge an adapter into the weights of the base model and remove all adapters.

    The sum is computed in fp32. For a bf16 model it is rounded stochastically, since most of the changes that an
    adapter makes are smaller than half a unit in the last place, and rounding to nearest would discard them. The random
    numbers depend only on the seed and the layer's name, so that equal training runs save equal files.

    Args:
        wrapped: the model with its adapters; its weights are modified.
        name: the adapter to merge.
        seed: of the stochastic rounding.

    Returns:
        The model without `peft`'s wrapper.
    """
    import torch

    with torch.no_grad():
        for module_name, layer in wrapped.named_modules():
            if isinstance(layer, LoraLayer):
                weight = layer.get_base_layer().weight
                total = weight.float() + _change(layer, name)
                digest = hashlib.sha256(f"{seed} {module_name}".encode()).digest()
                rng = torch.Generator().manual_seed(int.from_bytes(digest[:8], "big") >> 1)
                weight.copy_(round_stochastically(total, rng) if weight.dtype == torch.bfloat16 else total)
    model: PreTrainedModel = wrapped.unload()
    return model


def _change(layer: LoraLayer, name: str) -> torch.Tensor:
    """What an adapter adds to its layer's weight, in fp32 and in the weight's shape."""
    change: torch.Tensor
    change = layer.lora_B[name].weight.float() @ layer.lora_A[name].weight.float() * layer.scaling[name]
    return change.T if getattr(layer, "fan_in_fan_out", False) else change


@contextmanager
def merged_while(wrapped: PeftModel, name: str) -> Iterator[None]:
    """Inside the block, the base weights of an fp32 model include an adapter, whose layers then take no time of their
    own. Afterwards they are the same bits as before.

    Args:
        wrapped: the model with its adapters, not sharded.
        name: the adapter.
    """
    import torch

    layers = [layer for layer in wrapped.modules() if isinstance(layer, LoraLayer)]
    before = [layer.get_base_layer().weight.data for layer in layers]
    with torch.no_grad(), wrapped.disable_adapter():
        for layer, weight in zip(layers, before, strict=True):
            layer.get_base_layer().weight.data = weight + _change(layer, name)
        try:
            yield
        finally:
            for layer, weight in zip(layers, before, strict=True):
                layer.get_base_layer().weight.data = weight


def round_stochastically(values: torch.Tensor, rng: torch.Generator) -> torch.Tensor:
    """Round fp32 values to bf16 of the same shape so that the expected result equals the input.

    Each value is rounded to one of its two bf16 neighbours, with a probability that falls linearly with the distance.
    bf16 is the upper half of fp32: adding a uniform 16-bit integer to the lower half carries into the upper half with
    exactly that probability. Values that bf16 represents exactly, infinities and NaN are unchanged.
    """
    import torch

    noise = torch.randint(0, 2**16, values.shape, generator=rng, dtype=torch.int32).to(values.device)
    bits = (values.contiguous().view(torch.int32) + noise) & ~0xFFFF
    return torch.where(values.isfinite(), bits.view(torch.float32), values).to(torch.bfloat16)
