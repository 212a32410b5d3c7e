"""A network's figures, its time and memory on the package's fastest path."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from dataclasses import dataclass

from torch import Tensor, nn

from microglia.metrics import Figures, Latency, compare_latency, measure_peak_memory
from microglia.runtime import accelerate


@dataclass(frozen=True)
class Clock:
    """Time and memory of one forward pass, norms folded and neurons scanned."""

    latency: Latency
    peak_memory_bytes: int

    def on(self, figures: Figures) -> Figures:
        """The figures with this time and memory."""
        return dataclasses.replace(
            figures, latency=self.latency, peak_memory_bytes=self.peak_memory_bytes
        )


def clocked(models: Mapping[str, nn.Module], images: Tensor, *, repeats: int) -> dict[str, Clock]:
    """The clocks of several networks on one batch, interleaved; the networks are untouched."""
    fast = {name: accelerate(model, example_input=images) for name, model in models.items()}
    latencies = compare_latency(fast, images, repeats=repeats)
    return {
        name: Clock(latencies[name], measure_peak_memory(fast[name], images)) for name in models
    }
