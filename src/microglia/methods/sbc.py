"""SBC: a trained network's weights removed one by one, the others making up for it."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import torch
from torch import Tensor, nn

from microglia.errors import ConfigError
from microglia.methods.change import Change
from microglia.methods.parts import obs
from microglia.methods.parts.hessian import SpikeHessian, as_rows, from_rows
from microglia.methods.parts.scope import Scores
from microglia.methods.parts.scores import filters, lamp, norm_means
from microglia.methods.parts.trained import Forward, listening, run_over
from microglia.methods.weights import WeightPruner


class SBC(WeightPruner):
    """Spiking Brain Compression: optimal brain surgery on the membrane potential.

        H = E[2 (MX)ᵀ (MX)]                 M: the leak of the neuron that is driven
        remove  least  w_j² / [H⁻¹]_jj      of each output's weights, one after the other
        then    w_S = (H_SS)⁻¹ H_S: w       for those that stay, S

    so that the potential changes least (see `SpikeHessian` for H, and for where M is the identity:
    the read-out, and neurons whose leak isn't known). How many weights each layer loses is LAMP's,

        w_u² / Σ_{|v| ≥ |u|} w_v²           ranked over all layers

    or with `scope="layer"` the same fraction; which ones, the order of their losses, times the
    (γ/σ)² of the norm that follows, as if it were folded. Call `calibrate(batches)` on the trained
    network, `hold` an optimizer if it is fine-tuned, compact.

    Args:
        damping: added to H's diagonal, a share of its mean.
        samples: of calibration, at least, in whole batches; None for all that it is given.
        rounds: a row of more weights than this loses several at once, in so many rounds: time goes
            with rows · d² · rounds.
        The others: see `WeightPruner`.

    Raises:
        ConfigError: a setting out of range, or nothing to calibrate on.

    Source: Shi, Li, Ward-Cherrier, "Spiking Brain Compression", arXiv 2506.03996; LAMP: Lee et al.,
    ICLR 2021. Rounds are a choice of this package, and that streams take their norms' mean.
    """

    name = "sbc"
    needs = "trained"
    source = "Shi et al., arXiv 2506.03996"

    def __init__(
        self,
        model: nn.Module,
        *,
        damping: float = 0.01,
        samples: int | None = 512,
        rounds: int = 128,
        **settings: Any,
    ) -> None:
        self._check_settings(settings)
        if not isinstance(damping, (int, float)) or not 0 < damping < float("inf"):
            raise ConfigError(f"damping is a share of H's mean diagonal, above 0; got {damping!r}")
        for name, value in (("samples", samples), ("rounds", rounds)):
            if (value is not None or name == "rounds") and (type(value) is not int or value < 1):
                raise ConfigError(f"{name} is a whole number, at least 1; got {value!r}")
        self.damping, self.samples, self.rounds = damping, samples, rounds
        super().__init__(model, **settings)
        self._hessians: dict[str, Tensor] = {}

    def _calibrated(self, batches: Iterable[Any], forward: Forward) -> Scores:
        seen = SpikeHessian(self.model, self._whole, list(self.masks.weights))

        def run(model: nn.Module, inputs: Any) -> None:
            forward(model, inputs)
            seen.close()

        try:
            with listening(*self._traffic()):
                enough = lambda: self.samples is not None and seen.samples >= self.samples  # noqa: E731
                run_over(self.model, batches, run, enough=enough, needed=True)
        finally:
            seen.remove()
        self._hessians = {n: obs.damped(h, self.damping) for n, h in seen.mean().items()}
        return {name: self._allotted(name, w.detach()) for name, w in self.masks.weights.items()}

    def _allotted(self, name: str, weight: Tensor) -> Tensor:
        """LAMP's scores of a layer, the highest to the weight that it costs most to remove."""
        cost = weight.double().square()
        if name in self._hessians:
            layer = self.model.get_submodule(name.rpartition(".")[0])
            rows = as_rows(layer, weight.double())
            cost = torch.stack(
                [
                    obs.losses(w, h, rounds=self.rounds)
                    for w, h in zip(rows, self._hessians[name], strict=True)
                ]
            )
            cost = from_rows(layer, cost * self._fold(name, rows).square(), weight.shape)
        order = cost.flatten().argsort(descending=True, stable=True).cpu()
        highest_first = lamp(weight).sort(descending=True).values
        return torch.empty_like(highest_first).scatter_(0, order, highest_first)

    def _fold(self, name: str, rows: Tensor) -> Tensor:
        """|γ| / σ of the norm behind each output, `[groups, outputs, 1]`; 1 where there is none."""
        fold = torch.ones(rows.shape[0] * rows.shape[1])
        for group in self._whole.groups:
            scale = norm_means(self.model, group, _folded)
            for weight, _, channel in filters(self.model, self._whole, group):
                if weight == name and scale is not None and len(channel) == len(fold):
                    mine = channel >= 0
                    fold[mine] = scale[channel[mine]]
        return fold.reshape(*rows.shape[:2], 1).to(rows)

    def _settle(self, scores: Scores) -> Change:
        dense = {name: w.detach().clone() for name, w in self.masks.weights.items()}
        change = self._prune(scores)
        for name, hessians in self._hessians.items():
            layer = self.model.get_submodule(name.rpartition(".")[0])
            rows, keep = as_rows(layer, dense[name].double()), as_rows(layer, self.masks.mask(name))
            best = [obs.compensated(*g) for g in zip(rows, hessians, keep, strict=True)]
            with torch.no_grad():
                weight = from_rows(layer, torch.stack(best), dense[name].shape)
                self.masks.weights[name].copy_(weight)
        self._hessians = {}
        return change


def _folded(norm: nn.Module) -> Tensor:
    gamma, variance = norm.weight, norm.running_var
    assert isinstance(gamma, Tensor)
    if not isinstance(variance, Tensor):  # it takes its batch's
        return gamma.abs()
    sigma: Tensor = (variance + float(norm.eps)).sqrt()  # type: ignore[arg-type]
    return gamma.abs() / sigma
