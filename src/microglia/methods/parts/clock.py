"""How long networks take beside each other, and how many channels may stay for a share of it."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import torch
import torch.distributed as dist
from numpy.typing import NDArray
from scipy.optimize import isotonic_regression
from torch import Tensor, nn

from microglia.frameworks import reset
from microglia.methods.parts.budget import check_reachable
from microglia.structure import Keep, as_arguments

PLACES = 9  # numbers of channels that are timed
ROUNDS = 15


def channels_for_time(
    propose: Callable[[int], Keep],
    cut_to: Callable[[Keep], nn.Module],
    dense: nn.Module,
    *,
    example_input: Any,
    fraction: float,
    least: int,
    most: int,
) -> int:
    """The most channels whose network takes at most `fraction` of the dense one's time.

    A clock is noisy and time need not grow with every channel, so a few networks between `least`
    and `most` are timed side by side, and the rising curve nearest to their times is read.

    Raises:
        ConfigError: even the fewest channels take longer.
    """
    counts = np.unique(np.linspace(least, most, PLACES).round().astype(int))
    networks = [cut_to(propose(int(count))) for count in counts]
    curve = isotonic_regression(relative_times(networks, dense, example_input)).x
    check_reachable(
        float(curve[0]),
        whole=1.0,
        fraction=fraction,
        least=least,
        what="latency",
        units="channels",
    )
    every = np.arange(least, most + 1)
    return int(every[np.interp(every, counts, curve) <= fraction].max())


def relative_times(
    networks: Sequence[nn.Module], dense: nn.Module, example_input: Any
) -> NDArray[np.float64]:
    """Each network's time of a forward pass over the dense one's.

    All are run in turn, ROUNDS times; of each network the lower quartile counts, which other work
    on the machine disturbs least. Under torch.distributed the mean over the ranks, so that every
    rank chooses the same mask.
    """
    device = next((p.device for p in dense.parameters()), torch.device("cpu"))
    arguments = tuple(
        x.to(device) if isinstance(x, Tensor) else x for x in as_arguments(example_input)
    )
    times = np.empty((ROUNDS + 2, len(networks) + 1))
    with torch.inference_mode(), torch.random.fork_rng(devices=[]):
        for row in times:
            for place, model in enumerate((dense.eval(), *(n.eval() for n in networks))):
                reset(model)
                start = time.perf_counter()
                model(*arguments)
                if device.type == "cuda":
                    torch.cuda.synchronize(device)
                row[place] = time.perf_counter() - start
    quartiles = np.percentile(times[2:], 25, axis=0)  # the first two rounds warm up
    ratios = torch.tensor(quartiles[1:] / quartiles[0], device=device)
    if dist.is_available() and dist.is_initialized():
        dist.all_reduce(ratios)
        ratios /= dist.get_world_size()
    return ratios.cpu().numpy()
