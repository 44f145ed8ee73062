"""Gradients of token trees against those of separate sequences by the model's own attention."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Sequence
from functools import partial
from typing import TYPE_CHECKING

import torch
from torch.nn.functional import cross_entropy

from gpu.data import joined, logs, sequences
from gpu.part import Job, Row, timed
from gpu.shapes import make_model
from tltrain.engine.flex import uses_flex
from tltrain.engine.passes import backward, nll
from tltrain.engine.tree import TokenSequence, TokenTree

if TYPE_CHECKING:
    from transformers import PreTrainedModel

LOGS = 4
FP32_ERROR = 1e-4
"""Largest relative error of the gradients in fp32."""
BF16_FACTOR = 1.5
"""The error in bf16 may be at most this many times that of separate sequences in bf16."""

Gradients = dict[str, torch.Tensor]


def run(job: Job) -> list[Row]:
    """Errors relative to the gradients of separate sequences in fp32, `|g - g_ref| / |g_ref|` over all weights."""
    model = make_model(job, torch.bfloat16).float()  # weights that are equal in both dtypes
    own = joined(sequences(logs("shared", LOGS, job), job))
    whole = len(TokenTree(own))
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        attention = "FlexAttention" if uses_flex(model) else "segments"
    remarks = [str(one.message) for one in caught]
    seconds, reference = timed(job.device, partial(gradients, model, partial(separate, model, own)))
    rows = [Row("fp32, separate sequences", {"seconds": seconds, "tokens": sum(len(one.ids) for one in own)})]
    for budget, passes in ((whole, "one pass"), (whole // 3, "several passes")):
        seconds, found = timed(job.device, partial(gradients, model, partial(trees, model, own, budget)))
        error = difference(found, reference)
        rows.append(
            Row(
                f"fp32, tree in {passes}, {attention}",
                {"seconds": seconds, "tokens": whole, "error": error},
                error <= FP32_ERROR,
                remarks,
            )
        )
    model = model.to(torch.bfloat16)
    seconds, found = timed(job.device, partial(gradients, model, partial(separate, model, own)))
    baseline = difference(found, reference)
    rows.append(Row("bf16, separate sequences", {"seconds": seconds, "error": baseline}))
    seconds, found = timed(job.device, partial(gradients, model, partial(trees, model, own, whole)))
    error = difference(found, reference)
    return [
        *rows,
        Row(
            f"bf16, tree in one pass, {attention}",
            {"seconds": seconds, "error": error},
            error <= BF16_FACTOR * baseline,
        ),
    ]


def gradients(model: PreTrainedModel, work: Callable[[], object]) -> Gradients:
    """The gradients that some backward passes add up to."""
    work()
    found = {name: weight.grad.float() for name, weight in model.named_parameters() if weight.grad is not None}
    model.zero_grad(set_to_none=True)
    return found


def separate(model: PreTrainedModel, own: Sequence[TokenSequence]) -> None:
    """Each sequence by itself, with the model's own attention."""
    for sequence in own:
        ids = torch.tensor([sequence.ids], device=model.device)
        count = len(sequence.ids) - sequence.start
        logits = model(input_ids=ids, use_cache=False, logits_to_keep=count + 1).logits[0, :-1].float()
        losses = cross_entropy(logits, ids[0, sequence.start :], reduction="none")
        (losses * torch.tensor(sequence.weights, device=model.device)).sum().backward()  # type: ignore[no-untyped-call]


def trees(model: PreTrainedModel, own: Sequence[TokenSequence], max_tokens: int) -> None:
    """The tree of all sequences."""
    backward(model, own, nll, max_tokens)


def difference(found: Gradients, reference: Gradients) -> float:
    """Norm of the difference relative to the reference's."""
    assert found.keys() == reference.keys()
    squares = sum((found[name] - value).double().square().sum().item() for name, value in reference.items())
    norm = sum(value.double().square().sum().item() for value in reference.values())
    return float((squares / norm) ** 0.5)
