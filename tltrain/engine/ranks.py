"""The processes of one launch, called ranks: one where nothing launched several; values and tensors over all of them.

`torchrun` and `accelerate launch` tell each process its rank by the environment. Rank 0 alone writes files.
"""

from __future__ import annotations

import atexit
import os
from collections.abc import Callable, Sequence
from typing import TypeVar

import torch
from torch import distributed

from tltrain.errors import ConfigError, TLTrainError

T = TypeVar("T")


def join(device: str) -> str:
    """Join the other processes of the launch, if there are any; returns this process's device.

    Raises:
        ConfigError: `accelerate launch` was told to shard by itself.
    """
    if int(os.environ.get("WORLD_SIZE", "1")) < 2:
        return device
    for name in ("ACCELERATE_USE_FSDP", "ACCELERATE_USE_DEEPSPEED"):
        if os.environ.get(name, "false").lower() == "true":
            raise ConfigError(f"launched with {name}=true: launch plainly, and set `sft.fsdp: true` to shard the model")
    from accelerate import PartialState

    if not distributed.is_initialized():
        atexit.register(_leave)
    state = PartialState(cpu=torch.device(device).type == "cpu")
    return str(state.device)


def _leave() -> None:
    if distributed.is_initialized():
        distributed.destroy_process_group()


def count() -> int:
    """Number of ranks."""
    return distributed.get_world_size() if distributed.is_initialized() else 1


def rank() -> int:
    """This process's number, from 0."""
    return distributed.get_rank() if distributed.is_initialized() else 0


def wait() -> None:
    """Until every rank is here."""
    if count() > 1:
        distributed.barrier()


def shared(value: T) -> T:
    """Rank 0's value, on every rank."""
    if count() == 1:
        return value
    values = [value]
    distributed.broadcast_object_list(values)
    return values[0]


def on_first(act: Callable[[], T]) -> T | None:
    """What `act` gives on rank 0, None elsewhere; an error of the user's there is every rank's, so that none waits."""
    result, error = None, None
    if rank() == 0:
        try:
            result = act()
        except TLTrainError as raised:
            error = raised
    if said := shared(None if error is None else str(error)):
        raise error or TLTrainError(said)
    return result


def summed(values: Sequence[float], device: torch.device) -> list[float]:
    """The sums over all ranks."""
    if count() == 1:
        return list(values)
    return _reduced(values, device, distributed.ReduceOp.SUM)


def largest(value: int, device: torch.device) -> int:
    """The largest value of all ranks."""
    return value if count() == 1 else int(_reduced([value], device, distributed.ReduceOp.MAX)[0])


def _reduced(values: Sequence[float], device: torch.device, how: distributed.ReduceOp.RedOpType) -> list[float]:
    numbers = torch.tensor(values, dtype=torch.float64, device=device)
    distributed.all_reduce(numbers, how)
    return [float(number) for number in numbers]


def sum_gradients(weights: Sequence[torch.Tensor]) -> None:
    """Sum the gradients over all ranks, where no sharding has done so. A weight without a gradient on every rank keeps
    none; one without on some counts as zero there."""
    own = [weight for weight in weights if not is_sharded(weight)]
    if count() == 1 or not own:
        return
    present = torch.tensor([weight.grad is not None for weight in own], dtype=torch.uint8, device=own[0].device)
    distributed.all_reduce(present, distributed.ReduceOp.MAX)
    pending = []
    for weight, anywhere in zip(own, present.tolist(), strict=True):
        if anywhere:
            weight.grad = torch.zeros_like(weight) if weight.grad is None else weight.grad
            pending.append(distributed.all_reduce(weight.grad, async_op=True))
    for reduction in pending:
        reduction.wait()


def is_sharded(tensor: torch.Tensor) -> bool:
    """Whether each rank holds a part of it."""
    if count() == 1:
        return False
    from torch.distributed.tensor import DTensor

    return isinstance(tensor, DTensor)


def whole(tensor: torch.Tensor) -> torch.Tensor | None:
    """All of a tensor on the CPU of rank 0, None elsewhere; every rank has to call this for a sharded one."""
    full = tensor.detach()
    full = full.full_tensor() if is_sharded(full) else full  # type: ignore[attr-defined]
    return full.cpu() if rank() == 0 else None


def placed_like(full: torch.Tensor, tensor: torch.Tensor) -> torch.Tensor:
    """`full`, which every rank has, sharded as `tensor` is."""
    if not is_sharded(tensor) or full.shape != tensor.shape:
        return full
    from torch.distributed.tensor import distribute_tensor

    mesh, placements = tensor.device_mesh, tensor.placements  # type: ignore[attr-defined]
    return distribute_tensor(full.to(tensor.device), mesh, placements, src_data_rank=None)
