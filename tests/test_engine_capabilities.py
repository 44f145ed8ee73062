"""Architectures whose attention or hidden states differ from those of LLaMA: what each can do is found out."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from support.micro import micro_model
from support.trees import GEMMA, SIZES, logs, separate_nll
from transformers import (
    DeepseekV3Config,
    DeepseekV3ForCausalLM,
    DiffLlamaConfig,
    DiffLlamaForCausalLM,
    Gemma2Config,
    Gemma2ForCausalLM,
    Gemma3nForCausalLM,
    Gemma3nTextConfig,
    Gemma4ForCausalLM,
    Gemma4TextConfig,
    Llama4ForCausalLM,
    Llama4TextConfig,
    PreTrainedModel,
)

from tltrain.engine.attention import TreeLayout, tree_attention
from tltrain.engine.capabilities import Heads, layer_heads, linear_output, prefix_sharing_obstacle
from tltrain.engine.generate import generate
from tltrain.engine.outputs import LogProbs, Values
from tltrain.engine.passes import backward, measure, nll
from tltrain.engine.tree import TokenTree
from tltrain.errors import ModelError
from tltrain.planning.model_size import size_of


def multi_head_latent_attention() -> PreTrainedModel:
    ranks = {"q_lora_rank": 16, "kv_lora_rank": 8, "qk_rope_head_dim": 4, "qk_nope_head_dim": 8, "v_head_dim": 8}
    experts = {"n_routed_experts": 4, "num_experts_per_tok": 2, "n_group": 1, "topk_group": 1}
    config = DeepseekV3Config(**{**SIZES, **ranks, **experts, "num_key_value_heads": 4, "first_k_dense_replace": 2})
    return DeepseekV3ForCausalLM(config).eval()


def heads_of_two_sizes() -> PreTrainedModel:
    layers = {"layer_types": ["sliding_attention", "full_attention"], "num_hidden_layers": 2, "global_head_dim": 32}
    inputs = {"vocab_size_per_layer_input": 400, "hidden_size_per_layer_input": 8, "num_kv_shared_layers": 0}
    keys = {"attention_k_eq_v": True, "num_global_key_value_heads": 1}
    return Gemma4ForCausalLM(Gemma4TextConfig(**{**GEMMA, **layers, **inputs, **keys})).eval()


def hidden_states_unknown() -> PreTrainedModel:
    sizes = {"head_dim": 8, "num_local_experts": 2, "intermediate_size_mlp": 48, "interleave_moe_layer_step": 3}
    return Llama4ForCausalLM(Llama4TextConfig(**SIZES, **sizes)).eval()


@pytest.mark.parametrize(
    ("make", "reason"),
    [
        (lambda: DiffLlamaForCausalLM(DiffLlamaConfig(**SIZES)).eval(), "calls attention 2 times in a layer"),
        (multi_head_latent_attention, "has values of another head size than its keys"),
    ],
    ids=["diffllama", "deepseek-v3"],
)
def test_calls_of_attention_that_trees_cannot_hold_make_sequences_run_separately(
    make: Callable[[], PreTrainedModel], reason: str
) -> None:
    torch.manual_seed(0)
    model, sequences = make(), logs(count=3)
    assert reason in (prefix_sharing_obstacle(model) or "")
    done = backward(model, sequences, nll, 45)
    assert done.loss == pytest.approx(separate_nll(model, sequences).item(), rel=1e-5)
    assert done.tokens == done.separate_tokens


def test_an_argument_that_changes_attention_is_an_obstacle_by_whatever_name_it_is_configured() -> None:
    model = Gemma2ForCausalLM(Gemma2Config(**GEMMA)).eval()
    model.config.attn_logit_softcapping = None  # the layers have read it already
    assert "its attention has 'softcap'" in (prefix_sharing_obstacle(model) or "")


def test_obstacles_are_looked_for_once_without_disturbing_a_pass() -> None:
    model, layout = micro_model(), TreeLayout(TokenTree(logs()))
    calls: list[object] = []
    model.model.register_forward_hook(lambda *_: calls.append(None))
    with tree_attention(model, layout):
        assert prefix_sharing_obstacle(model) is prefix_sharing_obstacle(model) is None
        assert len(calls) == 1
        ids, positions = layout.inputs()
        found = model(input_ids=ids, position_ids=positions).logits
    with tree_attention(model, TreeLayout(TokenTree(logs()))):
        assert torch.equal(model(input_ids=ids, position_ids=positions).logits, found)


def test_a_model_whose_layers_have_heads_of_different_sizes() -> None:
    torch.manual_seed(0)
    model, sequences = heads_of_two_sizes(), logs(count=3)
    model.generation_config.eos_token_id = None
    assert prefix_sharing_obstacle(model) is None
    assert layer_heads(model.config) == [Heads(4, 2, 16), Heads(4, 1, 32)]
    assert (size_of(model).attention, size_of(model).key_value) == ((64 + 128) / 2, (32 + 32) / 2)
    done = backward(model, sequences, nll, 45)
    assert done.loss == pytest.approx(separate_nll(model, sequences).item(), rel=1e-5)
    prompts = [list(sequence.ids[: sequence.start]) for sequence in sequences]
    for prompt, reply in zip(prompts, generate(model, prompts, [], 6), strict=True):
        logits = model(input_ids=torch.tensor([[*prompt, *reply.ids]])).logits[0, len(prompt) - 1 : -1]
        chosen = logits.gather(1, torch.tensor(reply.ids)[:, None])[:, 0]
        assert (chosen >= logits.max(-1).values - 1e-4).all()


def test_the_size_of_a_model_that_lists_the_widths_of_its_layers() -> None:
    layers = {"layer_types": ["sliding_attention", "full_attention"] * 2, "num_hidden_layers": 4}
    inputs = {"vocab_size_per_layer_input": 400, "hidden_size_per_layer_input": 8, "num_kv_shared_layers": 2}
    network = {"intermediate_size": [48, 64, 64, 48], "activation_sparsity_pattern": [0.0] * 4, "laurel_rank": 4}
    with torch.device("meta"):
        model = Gemma3nForCausalLM(Gemma3nTextConfig(**{**GEMMA, **layers, **inputs, **network}))
    assert size_of(model).feed_forward == 64


def test_a_model_that_does_not_give_its_hidden_states_has_logprobs_but_no_critic() -> None:
    torch.manual_seed(0)
    model, sequences = hidden_states_unknown(), logs(count=2)
    assert not linear_output(model)
    found = measure(model, sequences, LogProbs(), 100)
    expected = separate_nll(model, sequences).item()
    weighted = zip(found, sequences, strict=True)
    assert -sum(float(row @ torch.tensor(one.weights)) for row, one in weighted) == pytest.approx(expected, rel=1e-5)
    with pytest.raises(ModelError, match=r"Llama4ForCausalLM has no base model .* `ppo.advantage: leave_one_out`"):
        measure(model, sequences, Values(torch.nn.Linear(32, 1)), 100)
