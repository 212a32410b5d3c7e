"""Which device a config means, refused while nothing has been started yet."""

from __future__ import annotations

import torch

from microglia.errors import TrainingError


def resolve_device(name: str) -> torch.device:
    """The device that `auto`, `cpu`, `cuda`, `cuda:<index>` or `mps` stands for on this machine.

    Raises:
        TrainingError: this machine has no such device.
    """
    if name == "auto":
        return torch.device("cuda", 0) if torch.cuda.is_available() else torch.device("cpu")
    device = torch.device(name)
    if device.type == "cuda":
        count = torch.cuda.device_count() if torch.cuda.is_available() else 0
        if (device.index or 0) >= count:
            raise TrainingError(
                f"device: '{name}' is not here; PyTorch sees {count} CUDA devices. "
                f"Set it to 'cpu' or 'auto'."
            )
        return torch.device("cuda", device.index or 0)
    if device.type == "mps" and not torch.backends.mps.is_available():
        raise TrainingError("device: 'mps' is not here. Set it to 'cpu' or 'auto'.")
    return device
