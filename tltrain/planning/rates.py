"""How fast a machine does each kind of work, and what its memory holds: measured, or computed for a named GPU."""

from __future__ import annotations

from dataclasses import dataclass

from tltrain.errors import ConfigError
from tltrain.planning.model_size import ModelSize


@dataclass(frozen=True, slots=True)
class Training:
    """Forward and backward passes, and updates."""

    flops: float
    """Floating-point operations of the *forward* pass a second, where the backward pass follows."""
    step_seconds: float
    """Of an update of the weights by the optimiser."""
    token_bytes: float
    """Memory per token of a pass."""


@dataclass(frozen=True, slots=True)
class Inference:
    """Forward passes, and steps of decoding."""

    flops: float
    """Floating-point operations a second of a pass without gradients."""
    token_bytes: float
    """Memory per token of such a pass."""
    step_seconds: float
    """Of a step of decoding, whatever the number of replies."""
    reply_seconds: float
    """Added by each reply that is decoded in the step."""


@dataclass(frozen=True, slots=True)
class Rates:
    """Speeds and memory of a machine with a model. Training or inference that the run does not need is None.

    Attributes:
        device: its name.
        full: training of all weights.
        lora: training of adapters.
        plain: inference without adapters.
        adapted: inference with adapters.
        load_seconds: to load the model.
        save_seconds: to save it.
        base_mb: memory of the process without a model.
        load_mb: peak memory added while loading.
        capacity_mb: memory that there is.
        item_bytes: of a weight of the model.
        shares_prefixes: whether the model computes shared prefixes once.
        measured: False if computed.
        gpu: whether the machine computes on a GPU.
    """

    device: str
    full: Training | None
    lora: Training | None
    plain: Inference
    adapted: Inference | None
    load_seconds: float
    save_seconds: float
    base_mb: float
    load_mb: float
    capacity_mb: float
    item_bytes: int
    shares_prefixes: bool = True
    measured: bool = True
    gpu: bool = False

    def training(self, lora: bool) -> Training:
        """Of adapters or of all weights; of the other kind where it has not been measured."""
        chosen = (self.lora or self.full) if lora else (self.full or self.lora)
        assert chosen is not None, "only asked for a run that trains"
        return chosen

    def inference(self, lora: bool) -> Inference:
        """With or without adapters."""
        return self.adapted or self.plain if lora else self.plain


@dataclass(frozen=True, slots=True)
class GPU:
    """A GPU as its data sheet describes it."""

    memory_gb: float
    tflops: float
    """Dense matrix products in bfloat16."""
    bandwidth: float
    """Of its memory, GB/s."""


GPUS = {
    "H200 141GB": GPU(141, 989, 4800),
    "H100 80GB": GPU(80, 989, 3350),
    "A100 80GB": GPU(80, 312, 2039),
    "A100 40GB": GPU(40, 312, 1555),
    "L40S 48GB": GPU(48, 362, 864),
    "A10G 24GB": GPU(24, 70, 600),
    "L4 24GB": GPU(24, 121, 300),
    "RTX 4090 24GB": GPU(24, 165, 1008),
    "RTX 3090 24GB": GPU(24, 71, 936),
}
TRAINING_SHARE = 0.35
"""Assumed share of the matrix peak in training and in forward passes of trees."""
DECODING_SHARE = 0.5
"""Assumed share of the memory's bandwidth in decoding."""
LAYER_SECONDS = 2e-4
"""Assumed time per layer of a decoding step for launching kernels."""
CONTEXT_MB = 1_000
"""Memory that CUDA and the libraries take."""


def gpu_named(name: str) -> tuple[str, GPU]:
    """The only GPU of the table whose name contains all the given words.

    Raises:
        ConfigError: there is none, or more than one.
    """
    words = name.lower().split()
    found = [known for known in GPUS if all(word in known.lower() for word in words)]
    if len(found) != 1:
        raise ConfigError(f"--gpu {name}: expected one of {', '.join(GPUS)}")
    return found[0], GPUS[found[0]]


def computed_rates(name: str, size: ModelSize, checkpointing: bool) -> Rates:
    """Rates in bfloat16 on a named GPU, from its data sheet and the assumed shares above.

    A backward pass costs twice its forward pass, or once where only adapters are trained; with gradient checkpointing
    the forward pass is repeated.

    Raises:
        ConfigError: the GPU is not in the table.
    """
    known, gpu = gpu_named(name)
    peak, again = gpu.tflops * 1e12 * TRAINING_SHARE, 1 if checkpointing else 0
    weights = 2 * size.parameters
    token = activation_bytes(size, 2, checkpointing)
    bandwidth = gpu.bandwidth * 1e9 * DECODING_SHARE
    inference = Inference(
        flops=peak,
        token_bytes=2.0 * (4 * size.hidden + 3 * size.feed_forward),
        step_seconds=weights / bandwidth + LAYER_SECONDS * size.layers,
        reply_seconds=2 * size.parameters / peak,
    )
    return Rates(
        device=known,
        full=Training(peak / (3 + again), 30 * size.parameters / bandwidth, token),
        lora=Training(peak / (2 + again), 0.01, token),
        plain=inference,
        adapted=inference,
        load_seconds=5 + weights / 1e9,
        save_seconds=weights / 1e9,
        base_mb=CONTEXT_MB,
        load_mb=weights / 1e6,
        capacity_mb=gpu.memory_gb * 1e3,
        item_bytes=2,
        measured=False,
        gpu=True,
    )


def activation_bytes(size: ModelSize, item: int, checkpointing: bool) -> float:
    """Bytes per token that a forward pass keeps for the backward pass: in each layer the inputs of the norms, of the
    matrix products and of the gate; with checkpointing only the input of each layer, and all of one layer."""
    layer = item * (6 * size.hidden + 2 * size.attention + 2 * size.key_value + 4 * size.feed_forward)
    return item * size.hidden * size.layers + layer if checkpointing else layer * size.layers
