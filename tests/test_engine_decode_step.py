"""Steps of decoding: nothing waits for a device, and a captured step, replayed, does what an uncaptured one does.

CUDA graphs are replaced by a recording of the operators that a step calls. As a graph, a recording knows nothing of
Python: it runs the same operators on the same tensors again."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest
import torch
from support.trees import logs, models
from torch.utils import _pytree as pytree
from torch.utils._python_dispatch import TorchDispatchMode

from tltrain.engine import decode_layout, flex
from tltrain.engine import generate as generation
from tltrain.engine.decode_step import EagerStep, GraphStep
from tltrain.engine.flex import FlexLayout
from tltrain.engine.generate import generate
from tltrain.engine.memory import cache_bytes, own_bytes
from tltrain.engine.tree import TokenTree

SYNCHRONISING = {"aten::_local_scalar_dense", "aten::nonzero", "aten::equal", "aten::is_nonzero", "aten::unique"}
"""Operators whose result the host needs."""


class NoWaiting(TorchDispatchMode):
    """Fails where the host would wait for a GPU."""

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        assert func.name() not in SYNCHRONISING, f"{func} waits for the device"
        return func(*args, **kwargs or {})


class Recording(TorchDispatchMode):
    """The operators called inside a `with` block, to be called again by `replay`."""

    def __init__(self) -> None:
        super().__init__()
        self.calls: list[tuple[Any, Any, Any, Any]] = []

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        out = func(*args, **kwargs or {})
        self.calls.append((func, args, kwargs or {}, out))
        return out

    def replay(self) -> None:
        """Call the operators again; the tensors that they returned get the new values."""
        for func, args, kwargs, out in self.calls:
            inputs = {storage(value) for value in pytree.tree_leaves((args, kwargs)) if torch.is_tensor(value)}
            for old, new in zip(pytree.tree_leaves(out), pytree.tree_leaves(func(*args, **kwargs)), strict=True):
                if torch.is_tensor(old) and storage(old) not in inputs:
                    old.copy_(new)


def storage(tensor: torch.Tensor) -> int:
    return tensor.untyped_storage().data_ptr()


@pytest.fixture
def graphs(monkeypatch: pytest.MonkeyPatch) -> list[Recording]:
    """The graphs that were captured; decoding uses `GraphStep`."""
    made: list[Recording] = []
    layouts: list[Any] = []

    def make(model: Any, layout: Any) -> GraphStep:
        layouts.append(layout)
        return GraphStep(EagerStep(model, layout))

    def graph() -> Recording:
        made.append(Recording())
        return made[-1]

    @contextmanager
    def capture(recording: Recording) -> Iterator[None]:
        """A capture executes nothing: the lengths stay, and what is written at them is overwritten by the replay."""
        lengths = layouts[-1].lengths.clone()
        with recording:
            yield
        layouts[-1].lengths.copy_(lengths)

    monkeypatch.setattr(generation, "decode_step", make)
    monkeypatch.setattr(torch.cuda, "CUDAGraph", graph)
    monkeypatch.setattr(torch.cuda, "graph", capture)
    monkeypatch.setattr(decode_layout, "BUFFER_MULTIPLE", 16)
    return made


def prompts() -> list[list[int]]:
    return [list(sequence.ids[: sequence.start]) for sequence in logs()]


@pytest.mark.parametrize("name", ["qwen3", "gemma3"])
def test_replayed_steps_decode_as_uncaptured_ones(
    name: str, graphs: list[Recording], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Replies end at different lengths, so that finished ones are removed."""
    model = models()[name]
    whole = generate(model, prompts(), [], 40)
    assert graphs
    graphs.clear()
    stops = sorted({reply.ids[index] for reply, index in zip(whole, (2, 5, 9, 14, 20), strict=False)})
    found = generate(model, prompts(), stops, 40)
    assert len({len(reply.ids) for reply in found}) > 3
    assert len(graphs) > 1
    monkeypatch.undo()
    assert whole == generate(model, prompts(), [], 40)
    assert found == generate(model, prompts(), stops, 40)


def test_a_step_that_cannot_be_captured_runs_uncaptured(
    graphs: list[Recording], monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(_: Recording) -> None:
        raise RuntimeError("operation not permitted when stream is capturing\nmore")

    monkeypatch.setattr(torch.cuda, "graph", fail)
    with pytest.warns(UserWarning, match="without CUDA graphs: operation not permitted when stream is capturing$"):
        found = generate(models()["qwen3"], prompts(), [], 10)
    assert len(graphs) == 1
    monkeypatch.undo()
    assert found == generate(models()["qwen3"], prompts(), [], 10)


@pytest.mark.parametrize("name", ["llama", "mistral, sliding window", "gemma3"])
def test_no_step_waits_for_the_device(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    compute, steps = EagerStep.compute, 0

    def watched(step: EagerStep, tokens: torch.Tensor) -> torch.Tensor:
        nonlocal steps
        steps += 1
        with NoWaiting():
            return compute(step, tokens)

    monkeypatch.setattr(EagerStep, "compute", watched)
    generate(models()[name], prompts(), list(range(12)), 12)
    assert steps > 5


@pytest.mark.parametrize("window", [None, 7])
def test_no_layer_of_a_pass_waits_for_the_device(window: int | None, monkeypatch: pytest.MonkeyPatch) -> None:
    """The making of the mask included."""
    monkeypatch.setattr(flex, "flex_attention", lambda query, *_, **__: query)
    layout = FlexLayout(TokenTree(logs()), torch.device("cpu"))
    size = layout.inputs()[0].shape[1]
    with NoWaiting():
        layout.attend(0, torch.zeros(1, 4, size, 16), *torch.zeros(2, 1, 2, size, 16), scale=1.0, window=window)


@pytest.mark.parametrize(
    ("free", "held", "used", "expected"), [(60, 44, 4, 16), (61, 44, 4, 16), (140, 0, 0, 32), (1, 0, 0, 1)]
)
def test_prompts_and_own_buffers_may_take_a_quarter_of_the_free_memory_each(
    free: int, held: int, used: int, expected: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """In GiB, as a power of two: memory that torch's allocator holds and does not use is free too."""
    monkeypatch.setattr(torch.cuda, "mem_get_info", lambda _: (free * 2**30, 141 * 2**30))
    monkeypatch.setattr(torch.cuda, "memory_reserved", lambda _: held * 2**30)
    monkeypatch.setattr(torch.cuda, "memory_allocated", lambda _: used * 2**30)
    assert cache_bytes(torch.device("cuda")) == own_bytes(torch.device("cuda")) == expected * 2**30
    assert cache_bytes(torch.device("cpu")) == 2**30
