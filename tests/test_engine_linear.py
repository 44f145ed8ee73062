"""Linear layers with adapters and gated networks as single functions compute what their modules compute."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from peft import LoraConfig as PeftConfig
from peft import get_peft_model
from support.micro import micro_model
from support.trees import models

from tltrain.config import LoraConfig
from tltrain.engine.adapters import add_adapters
from tltrain.engine.layers import fused_layers
from tltrain.engine.linear import Weights, gated_network, linear, weights_of


def adapted_model() -> Any:
    """A micro model with adapters of which no weight is zero."""
    model = micro_model()
    add_adapters(model, LoraConfig(rank=4, alpha=8), ("one",), 0)
    for key, value in model.named_parameters():
        if "lora_B" in key:
            torch.nn.init.normal_(value, std=0.1)
    return model


def gradients_of(module: torch.nn.Module, inputs: torch.Tensor) -> list[torch.Tensor]:
    trained = [value for value in module.parameters() if value.requires_grad]
    output = module(inputs)
    return [output.detach(), *torch.autograd.grad(output.sin().sum(), [inputs, *trained])]


@pytest.mark.parametrize("part", ["self_attn.q_proj", "self_attn.o_proj", "mlp"])
def test_adapted_layers_compute_what_peft_computes(part: str) -> None:
    model = adapted_model()
    module = model.model.layers[0].get_submodule(part)
    size = next(module.parameters()).shape[1]
    inputs = torch.randn(1, 20, size, generator=torch.Generator().manual_seed(0), requires_grad=True)
    expected = gradients_of(module, inputs)
    with fused_layers(model):
        assert "forward" in vars(module)
        found = gradients_of(module, inputs)
    assert len(found) == (8 if part == "mlp" else 4)
    torch.testing.assert_close(found, expected, rtol=1e-5, atol=1e-5)


def test_gradients_of_weights_and_biases() -> None:
    """By hand, from the formula: all parts of a layer may be trained."""
    torch.manual_seed(0)
    shapes = {"weight": (6, 5), "bias": (6,), "down": (3, 5), "up": (6, 3)}
    parts = {name: torch.randn(shape, dtype=torch.float64, requires_grad=True) for name, shape in shapes.items()}
    weights, inputs = Weights(**parts, scale=0.7), torch.randn(2, 4, 5, dtype=torch.float64, requires_grad=True)
    matrix = parts["weight"] + 0.7 * parts["up"] @ parts["down"]
    torch.testing.assert_close(linear(inputs, weights), inputs @ matrix.T + parts["bias"])
    assert torch.autograd.gradcheck(lambda x, *own: linear(x, Weights(*own, 0.7)), (inputs, *parts.values()))
    square = Weights(torch.randn(5, 5, dtype=torch.float64, requires_grad=True))

    def network(x: torch.Tensor, gate: torch.Tensor, *own: torch.Tensor) -> torch.Tensor:
        return gated_network(x, torch.nn.functional.silu, Weights(gate), square, Weights(*own, 0.7))

    assert torch.autograd.gradcheck(network, (inputs, square.weight, *parts.values()))


def test_the_active_adapter_is_used_and_none_if_they_are_disabled() -> None:
    model = micro_model()
    wrapped = add_adapters(model, LoraConfig(rank=4, alpha=8), ("one", "two"), 0)
    layer = model.model.layers[0].self_attn.q_proj
    for name in ("two", "one"):
        wrapped.set_adapter(name)
        found = weights_of(layer)
        assert found is not None
        assert found.down is layer.lora_A[name].weight
        assert found.scale == 2.0
    with wrapped.disable_adapter():
        found = weights_of(layer)
        assert found == Weights(layer.base_layer.weight, None)


@pytest.mark.filterwarnings("ignore:`lora_bias=True`")
@pytest.mark.filterwarnings("ignore:.*is_gradient_checkpointing:FutureWarning")
@pytest.mark.parametrize("settings", [{"lora_dropout": 0.1}, {"use_dora": True}, {"lora_bias": True}])
def test_other_kinds_of_adapters_keep_their_own_modules(settings: dict[str, Any]) -> None:
    model = micro_model()
    config = PeftConfig(r=4, lora_alpha=8, target_modules=["q_proj"], task_type="CAUSAL_LM", **settings)
    get_peft_model(model, config)
    layer = model.model.layers[0].self_attn.q_proj
    assert weights_of(layer) is None
    with fused_layers(model):
        assert "forward" not in vars(layer)
        assert "forward" in vars(model.model.layers[0].mlp)


def test_networks_that_do_more_keep_their_own_modules() -> None:
    model = models()["gemma3"]
    mlp = model.model.layers[0].mlp
    with fused_layers(model):
        assert "forward" in vars(mlp)
    changed = models()["gemma3"]
    clipped = type("Clipped", (type(mlp),), {"forward": lambda self, x: type(mlp).forward(self, x).clamp(-1e-3, 1e-3)})
    for layer in changed.model.layers:
        layer.mlp.__class__ = clipped
    with fused_layers(changed):
        assert all("forward" not in vars(layer.mlp) for layer in changed.model.layers)
