"""Communication between the processes (ranks) of a distributed launch; without a launcher there is a single rank.

`torchrun` and `accelerate launch` set the rank of each process in its environment. Only rank 0 writes files.
"""

from __future__ import annotations

import atexit
import os
from collections.abc import Callable, Sequence
from datetime import timedelta
from typing import TypeVar, cast

import torch
from torch import distributed

from tltrain.errors import ConfigError, TLTrainError

T = TypeVar("T")
PATIENCE = timedelta(days=2)
"""How long ranks wait for each other: while rank 0 evaluates a model, the others do nothing."""


def join(device: str) -> str:
    """Join the process group, if several processes were launched.

    Args:
        device: device that a single process would use.

    Returns:
        The device of this process.

    Raises:
        ConfigError: `accelerate launch` is configured to shard the model itself.
    """
    if int(os.environ.get("WORLD_SIZE", "1")) < 2:
        return device
    for name in ("ACCELERATE_USE_FSDP", "ACCELERATE_USE_DEEPSPEED"):
        if os.environ.get(name, "false").lower() == "true":
            raise ConfigError(
                f"launched with {name}=true: launch without it and set `sft.fsdp: true` to shard the model"
            )
    from accelerate import PartialState

    if not distributed.is_initialized():
        atexit.register(_leave)
    state = PartialState(cpu=torch.device(device).type == "cpu", timeout=PATIENCE)
    return str(state.device)


def _leave() -> None:
    if distributed.is_initialized():
        distributed.destroy_process_group()


def count() -> int:
    """Number of ranks."""
    return distributed.get_world_size() if distributed.is_initialized() else 1


def rank() -> int:
    """The rank of this process, from 0."""
    return distributed.get_rank() if distributed.is_initialized() else 0


def wait() -> None:
    """Wait until every rank has called this."""
    if count() > 1:
        distributed.barrier()


def shared(value: T) -> T:
    """Rank 0's value, on every rank. All ranks must call this."""
    if count() == 1:
        return value
    values = [value]
    distributed.broadcast_object_list(values)
    return values[0]


def on_first(act: Callable[[], T]) -> T | None:
    """Call `act` on rank 0 only. All ranks must call this.

    Returns:
        The result of `act` on rank 0, None elsewhere.

    Raises:
        TLTrainError: `act` raised it on rank 0; it is raised on every rank, so that none is left waiting.
    """
    result, error = None, None
    if rank() == 0:
        try:
            result = act()
        except TLTrainError as raised:
            error = raised
    if message := shared(None if error is None else str(error)):
        raise error or TLTrainError(message)
    return result


def on_all(act: Callable[[], T]) -> T:
    """Call `act`, which may do something else on each rank. All ranks must call this.

    Raises:
        TLTrainError: `act` raised it on some rank; it is raised on every rank, so that none is left waiting.
    """
    try:
        result, error = act(), None
    except TLTrainError as raised:
        result, error = None, raised
    message = next((said for said in concatenated([None if error is None else str(error)]) if said), None)
    if message is not None:
        raise error or TLTrainError(message)
    return cast(T, result)


def concatenated(values: list[T]) -> list[T]:
    """The values of all ranks, in the order of the ranks. They must be picklable, tensors on the CPU."""
    if count() == 1:
        return values
    parts: list[list[T]] = [[] for _ in range(count())]
    distributed.all_gather_object(parts, values)
    return [value for part in parts for value in part]


def summed(values: Sequence[float], device: torch.device) -> list[float]:
    """The element-wise sum over all ranks."""
    if count() == 1:
        return list(values)
    return _reduced(values, device, distributed.ReduceOp.SUM)


def largest(value: int, device: torch.device) -> int:
    """The maximum over all ranks."""
    return value if count() == 1 else int(_reduced([value], device, distributed.ReduceOp.MAX)[0])


def _reduced(values: Sequence[float], device: torch.device, operation: distributed.ReduceOp.RedOpType) -> list[float]:
    numbers = torch.tensor(values, dtype=torch.float64, device=device)
    distributed.all_reduce(numbers, operation)
    return [float(number) for number in numbers]


def sum_gradients(weights: Sequence[torch.Tensor]) -> None:
    """Sum the gradients of unsharded weights over all ranks; those of sharded weights are already summed.

    A weight that has no gradient on some of the ranks counts as zero there; with none on any rank it is left without.
    """
    unsharded = [weight for weight in weights if not is_sharded(weight)]
    if count() == 1 or not unsharded:
        return
    present = torch.tensor(
        [weight.grad is not None for weight in unsharded], dtype=torch.uint8, device=unsharded[0].device
    )
    distributed.all_reduce(present, distributed.ReduceOp.MAX)
    pending = []
    for weight, anywhere in zip(unsharded, present.tolist(), strict=True):
        if anywhere:
            weight.grad = torch.zeros_like(weight) if weight.grad is None else weight.grad
            pending.append(distributed.all_reduce(weight.grad, async_op=True))
    for reduction in pending:
        reduction.wait()


def is_sharded(tensor: torch.Tensor) -> bool:
    """Whether each rank holds only a part of the tensor."""
    if count() == 1:
        return False
    from torch.distributed.tensor import DTensor

    return isinstance(tensor, DTensor)


def gathered(tensor: torch.Tensor) -> torch.Tensor | None:
    """The complete tensor on the CPU of rank 0, None elsewhere. All ranks must call this for a sharded tensor."""
    full = tensor.detach()
    full = full.full_tensor() if is_sharded(full) else full  # type: ignore[attr-defined]
    return full.cpu() if rank() == 0 else None


def sharded_like(full: torch.Tensor, tensor: torch.Tensor) -> torch.Tensor:
    """`full`, a complete tensor on every rank, sharded like `tensor` if that has the same shape and is sharded."""
    if not is_sharded(tensor) or full.shape != tensor.shape:
        return full
    from torch.distributed.tensor import distribute_tensor

    mesh, placements = tensor.device_mesh, tensor.placements  # type: ignore[attr-defined]
    return distribute_tensor(full.to(tensor.device), mesh, placements, src_data_rank=None)
