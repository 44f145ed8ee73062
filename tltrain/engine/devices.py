"""Selection of the device that a model runs on."""

from __future__ import annotations

import torch

from tltrain.errors import ConfigError


def pick_device(name: str | None) -> str:
    """Check that the named device is usable; without a name, choose the GPU if there is one, otherwise the CPU.

    Raises:
        ConfigError: the device cannot be used.
    """
    if name is None:
        return "cuda" if torch.cuda.is_available() else "cpu"
    try:
        torch.zeros(1, device=name)
    except (RuntimeError, AssertionError) as error:
        raise ConfigError(f"device {name}: cannot be used: {str(error).splitlines()[0]}") from None
    return name
