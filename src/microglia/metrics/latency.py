"""How long a forward pass takes."""

from __future__ import annotations

import time
from collections.abc import Mapping
from contextlib import ExitStack
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from microglia.errors import ConfigError, memory_for
from microglia.frameworks import reset
from microglia.metrics.forward import INPUT_SAMPLES, Forward, call, device_of, to_device
from microglia.metrics.state import untouched


@dataclass(frozen=True)
class Latency:
    """Forward passes of one network on one input: wall time, reset of the neurons not included."""

    times_ms: tuple[float, ...]
    """One time a repeat; repeats of networks measured together belong to the same moment."""
    device: str
    threads: int
    """torch's CPU threads."""
    batch: tuple[int, ...]
    """Shape of the input."""

    @property
    def median_ms(self) -> float:
        return float(np.median(self.times_ms))

    @property
    def quartiles_ms(self) -> tuple[float, float]:
        """The interval that holds the middle half of the times."""
        low, high = np.percentile(self.times_ms, [25, 75])
        return float(low), float(high)

    def speedup_over(self, other: Latency) -> tuple[float, float, float]:
        """How many times as fast as the other: median and quartiles of the paired ratios.

        Raises:
            ConfigError: the two weren't measured together by `compare_latency`.
        """
        if len(self.times_ms) != len(other.times_ms):
            raise ConfigError(
                f"latencies of {len(self.times_ms)} and {len(other.times_ms)} repeats don't pair; "
                "measure both in one compare_latency call"
            )
        ratios = np.array(other.times_ms) / np.array(self.times_ms)
        low, median, high = np.percentile(ratios, [25, 50, 75])
        return float(median), float(low), float(high)


def measure_latency(
    model: nn.Module, x: Any, *, repeats: int = 20, warmup: int = 3, forward: Forward = call
) -> Latency:
    """Time of `forward(model, x)` in evaluation and inference mode, after a warm-up.

    The neurons are reset before each pass, outside the clock. Time and memory are those of the
    whole batch in `x`, which is moved to the network's device first.

    Raises:
        ConfigError: fewer than one repeat, or a negative warm-up.
    """
    return compare_latency({"": model}, x, repeats=repeats, warmup=warmup, forward=forward)[""]


def compare_latency(
    models: Mapping[str, nn.Module],
    x: Any,
    *,
    repeats: int = 20,
    warmup: int = 3,
    forward: Forward = call,
) -> dict[str, Latency]:
    """Times of several networks on one input, interleaved so that drift hits all alike.

    Each round runs every network once, and begins with another one than the round before.

    Raises:
        ConfigError: no networks, fewer than one repeat, or a negative warm-up.
        TrainingError: memory ran out.
    """
    if not models or repeats < 1 or warmup < 0:
        raise ConfigError(
            "latency: wanted at least one network, repeats of 1 or more and a warm-up of 0 or "
            f"more, got {len(models)} networks, repeats={repeats}, warmup={warmup}"
        )
    names = list(models)
    times: dict[str, list[float]] = {name: [] for name in names}
    with ExitStack() as stack:
        for model in models.values():
            stack.enter_context(untouched(model))
            model.eval()
        stack.enter_context(torch.inference_mode())
        stack.enter_context(memory_for("taking the time", lower=INPUT_SAMPLES))
        inputs = {name: to_device(x, device_of(model)) for name, model in models.items()}
        for turn in range(warmup + repeats):
            start = turn % len(names)
            for name in names[start:] + names[:start]:
                elapsed = _time_once(models[name], inputs[name], forward)
                if turn >= warmup:
                    times[name].append(elapsed)
    return {
        name: Latency(
            times_ms=tuple(times[name]),
            device=_device_name(device_of(models[name])),
            threads=torch.get_num_threads(),
            batch=tuple(x.shape) if isinstance(x, Tensor) else (),
        )
        for name in names
    }


def _time_once(model: nn.Module, x: Any, forward: Forward) -> float:
    device = device_of(model)
    reset(model)
    _wait_for(device)
    begin = time.perf_counter()
    forward(model, x)
    _wait_for(device)
    return (time.perf_counter() - begin) * 1000


def _wait_for(device: torch.device) -> None:
    if device.type != "cpu":
        torch.accelerator.synchronize(device)


def _device_name(device: torch.device) -> str:
    return torch.cuda.get_device_name(device) if device.type == "cuda" else device.type
