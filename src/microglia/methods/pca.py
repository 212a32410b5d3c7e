"""PCA: as many channels as a layer's membrane potentials have significant dimensions."""

from __future__ import annotations

import math
from collections.abc import Iterable
from typing import Any, ClassVar, Literal

import torch
from torch import Tensor, nn

from microglia.errors import ConfigError
from microglia.methods.change import Change
from microglia.methods.channels import ChannelPruner
from microglia.methods.parts.covariance import MembraneCovariance
from microglia.methods.parts.scope import Scores, top
from microglia.methods.parts.trained import Forward, listening, run_over


class PCA(ChannelPruner):
    """Keep in each layer as many channels as components explain its membrane potential.

        Ū = mean over t of H_t,   C = cov(Ū) = Σ_i λ_i v_i v_iᵀ,   λ_1 ≥ λ_2 ≥ ...
        k = the fewest components with  Σ_{i≤k} λ_i ≥ (1 − ε) Σ_i λ_i
        keep the k channels of largest  A_c = (Σ_{i≤k} λ_i v_ic²)^½,  the norm of their loadings

    Call `calibrate(batches)` on the trained network, then fine-tune and compact. The paper trains
    the network of these widths from scratch; which channels stay, A_c, is a choice of this package.

    The channel of rank r in its layer (from 0) scores the variance that r components leave
    unexplained, and stays where that is more than ε. A budget is met by the same ranking: it is
    the ε at which the widths add up to it.

    Args:
        strength: ε, the fraction of a layer's variance that may be lost, in [0, 1).
        The others: see `ChannelPruner`.

    Raises:
        ConfigError: a setting out of range, or a neuron whose membrane potential isn't known.

    Source: Chowdhury, Garg, Roy, "Spatio-temporal pruning and quantization for low-latency spiking
    neural networks", IJCNN 2021. Its abstract names the PCA of the averaged accumulated membrane
    potential; ε = 0.001 and pixels as samples are those of Garg et al., 2020, whose method it is.
    """

    name = "pca"
    needs = "trained"
    budget_kind: ClassVar[Literal["exact", "emergent"]] = "emergent"
    source = "Chowdhury et al., IJCNN 2021"

    def __init__(self, model: nn.Module, *, strength: float = 1e-3, **settings: Any) -> None:
        if not isinstance(strength, (int, float)) or not 0 <= strength < 1:
            raise ConfigError(
                f"strength is the fraction of variance that may be lost, in [0, 1); "
                f"got {strength!r}"
            )
        self.strength = strength
        super().__init__(model, **settings)

    def _calibrated(self, batches: Iterable[Any], forward: Forward) -> Scores:
        seen = MembraneCovariance(self.model, self.structure)

        def run(model: nn.Module, inputs: Any) -> None:
            forward(model, inputs)
            seen.close()

        try:
            with listening(seen, *self._traffic()):
                run_over(self.model, batches, run, needed=True)
        finally:
            seen.remove()
        return {name: unexplained(C, self.strength) for name, C in seen.covariances().items()}

    def _settle(self, scores: Scores) -> Change:
        self.last_scores = {name: s.clone() for name, s in scores.items()}
        before = self.masks.keep()
        keep = {}
        for name, score in scores.items():
            width = int((score > self.strength).sum())
            keep[name] = top(score, max(width, self._least(name)))
        self._apply(self._in_multiples(keep, scores))
        if self.budget.given:
            self.finalize()
        return Change.between(before, self.masks.keep(), step=self.steps, units=self.prunes)

    def _importance(self) -> Scores:
        if not self.last_scores:
            raise ConfigError("'pca' has nothing to rank channels by: calibrate(batches) first")
        return self.last_scores


def unexplained(covariance: Tensor, strength: float) -> Tensor:
    """The score of each channel: the fraction of variance that components before its own leave.

    Channels rank by their loadings on the components that explain all but `strength`.
    """
    variance, vectors = torch.linalg.eigh(covariance)
    variance, vectors = variance.flip(0).clamp(min=0), vectors.flip(1)
    total = max(float(variance.sum()), math.ulp(0.0))
    left = variance.flip(0).cumsum(0).flip(0) / total  # before each component, the first has it all
    kept = left > strength
    loadings = (vectors[:, kept].square() * variance[kept]).sum(1).sqrt()
    score = torch.empty_like(left)
    score[torch.argsort(loadings, descending=True, stable=True)] = left
    return score
