"""A network's figures, its time and memory on the package's fastest path."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from dataclasses import dataclass

from torch import Tensor, nn

from microglia.metrics import Figures, Latency, compare_latency, measure_peak_memory
from microglia.runtime import accelerate, sparsify

CSR = "csr"


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


def clocked(
    models: Mapping[str, nn.Module], images: Tensor, *, repeats: int, sparse: str | None = None
) -> dict[str, Clock]:
    """The clocks of several networks on one batch, interleaved; the networks are untouched.

    Args:
        sparse: the one that is clocked once more, as "csr", with its sparsest layers as CSR
            matrices; on the CPU.
    """
    fast = {name: accelerate(model, example_input=images) for name, model in models.items()}
    if sparse is not None:
        fast[CSR] = sparsify(fast[sparse])
    latencies = compare_latency(fast, images, repeats=repeats)
    return {name: Clock(latencies[name], measure_peak_memory(fast[name], images)) for name in fast}
