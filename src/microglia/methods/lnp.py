"""Lyapunov noise pruning of the recurrent synapses of any network, before training."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any, ClassVar

import numpy as np
import torch
from torch import Tensor, nn

from microglia.errors import ConfigError
from microglia.lyapunov.betweenness import Criterion
from microglia.lyapunov.calibrate import calibrate_gain
from microglia.lyapunov.config import Calibrate, LNPConfig
from microglia.lyapunov.covariance import Method as CovarianceMethod
from microglia.lyapunov.keep import Reading
from microglia.lyapunov.memory import memory_capacity
from microglia.lyapunov.sampling import Rescale
from microglia.lyapunov.sparsify import Left, Worth, draw_in_rounds, worth
from microglia.methods.parts.recurrence import recurrences
from microglia.methods.parts.removed import Readers, Removed, readers_of
from microglia.methods.weights import WeightPruner
from microglia.structure import Keep


class LNP(WeightPruner):
    """Close recurrent synapses at initialisation, drawn by Lyapunov noise pruning.

        p_ij = min(1, K |w_ij| (C_ii + C_jj − 2 sgn(w_ij) C_ij) / L_ij),   Σ p = synapses that stay

    C is the covariance of the linearised, noise-driven network, L_ij the harmonic mean of the
    Lyapunov rates of the two neurons (`lyapunov.keep.keep_scores` has this and other readings).
    Then, if asked, the neurons of lowest betweenness go. Every recurrent layer of SpikingJelly,
    snnTorch, or registered by `register_recurrent(..., weight=...)`, whose synapses are a dense
    parameter, is pruned at the same sparsity; nothing else of the network is touched. A layer that
    the network uses twice has its synapses once; of layers inside each other that have one weight
    the outer says what the network is.

    Units are the recurrent synapses: the weights that aren't zero, without the input's columns of a
    joint weight, and without a reset that a layer's reader writes as synapses. A weight that was
    zero stays zero. A removed neuron has its synapses closed, which count, and the weights of all
    its readers, which `sizes()` and `sparsity_reached` leave out; `compact()` takes it out.

    Step III adds synapses beyond the budget, step IV and a matched leak change the neurons: they
    are no pruner's, see `lyapunov.lyapunov_noise_pruning`. The steps are the paper's, every formula
    is a reconstruction, the default the reading that beat random pruning when measured on
    reservoirs; magnitude pruning is about as good, and nobody has measured networks that are
    trained afterwards.

    Args:
        sparsity: fraction of the recurrent synapses to take away.
        neurons: fraction of each recurrent layer's neurons to remove; they are part of `sparsity`'s
            budget, not beyond it.
        reading, eta, covariance, rescale: of step I; `criterion` of step II; see `LNPConfig`.
        rounds: how often steps I and II follow each other, the network linearised anew each time.
        calibrate: one factor on the synapses that stay, in place: "memory" or "deviation", as in
            `lyapunov.calibrate_gain`; "none" leaves them as they were drawn.
        drive: standard deviation of the noise at each input of a layer while it is looked at.
        dt: the length of a time step in seconds, where a layer doesn't know it.
        The others: see `WeightPruner`.

    Raises:
        ConfigError: no recurrence; a layer that is silent or saturated under the drive; a budget
            that the neurons which stay can't fill; layers that share a weight, or one inside
            another that has another.

    Source: Chakraborty et al., ICLR 2024.
    """

    name = "lnp"
    needs = "initialisation"
    source = "Chakraborty et al. 2024"
    recurrent_only: ClassVar[bool] = True

    def __init__(
        self,
        model: nn.Module,
        *,
        neurons: float = 0.0,
        reading: Reading = "R2w",
        eta: float = 1.0,
        covariance: CovarianceMethod = "auto",
        rescale: Rescale = "none",
        criterion: Criterion = "betweenness",
        rounds: int = 1,
        calibrate: Calibrate = "none",
        drive: float = 1.0,
        dt: float = 1e-3,
        **settings: Any,
    ) -> None:
        self.config = LNPConfig(
            neurons=neurons,
            reading=reading,
            eta=eta,
            covariance=covariance,
            rescale=rescale,
            criterion=criterion,
            rounds=rounds,
            calibrate=calibrate,
        )
        for setting, value in (("drive", drive), ("dt", dt)):
            if not 0 < value < np.inf:
                raise ConfigError(f"{setting}: wanted a finite number above 0, got {value}")
        self._drive, self._layers = drive, {}
        if isinstance(model, nn.Module):  # else the Pruner says what it wants
            self._layers = recurrences(model, dt=dt, drive=drive)
        self._readers: dict[str, Readers] = {}
        super().__init__(model, scope="layer", **settings)
        with self._detached_if_refused():
            self._prune_layers()

    def _units(self, names: Sequence[str]) -> dict[str, Tensor]:
        found, self._layers = self._layers, {n: self._layers[n] for n in self._layers if n in names}
        if not self._layers:
            raise ConfigError(
                f"'{self.name}' finds nothing to prune: there is {', '.join(found)}, and protect= "
                "or sparsity= leaves it out"
            )
        units = {name: layer.units for name, layer in self._layers.items()}
        if self.config.neurons:
            for name, layer in self._layers.items():
                N = len(layer.network)
                self._readers[name] = readers_of(self.model, self._whole, name, N=N)
                for reader in self._readers[name]:
                    weight = self.model.get_parameter(reader)
                    units.setdefault(reader, torch.zeros(weight.shape, dtype=torch.bool))
        return units

    def _prune_layers(self) -> None:
        seeds = {n: int(torch.randint(2**31, (), generator=self.generator)) for n in self._layers}
        worths = {name: self._worth(name, seeds[name]) for name in self._layers}
        self.last_scores = {name: torch.from_numpy(w.scores) for name, w in worths.items()}
        drawn: dict[str, Left] = {}

        def propose(count: int) -> Keep:
            for (name,), stay in self._shares(count):
                drawn[name] = self._draw(name, worths[name], stay, seeds[name])
            return {name: torch.from_numpy(left.kept) for name, left in drawn.items()}

        keep = self._within_budget(propose)
        for name, layer in self._layers.items():
            open_ = self.masks.mask(name).cpu()
            self.masks.put(name, open_ & (layer.units | ~layer.block))
        if self._readers:
            removed = Removed(self.masks, self._readers)
            for name, left in drawn.items():
                removed.close(name, torch.from_numpy(~left.stay))
            self._parts["removed"] = removed
        self._apply(keep)
        for name, left in drawn.items():
            self._multiply(name, left)

    def _worth(self, name: str, seed: int) -> Worth:
        layer = self._layers[name]
        with _naming(name, f" (drive={self._drive:g})"):
            generator = np.random.default_rng([seed, 0])
            return worth(layer.network, self.config, generator, besides=layer.besides)

    def _draw(self, name: str, first: Worth, stay: int, seed: int) -> Left:
        layer = self._layers[name]
        network = layer.network
        with _naming(name):
            return draw_in_rounds(
                network,
                first,
                self.config,
                seed=seed,
                synapses_left=stay,
                neurons_left=max(1, len(network) - round(self.config.neurons * len(network))),
                besides=layer.besides,
            )

    @torch.no_grad()
    def _multiply(self, name: str, left: Left) -> None:
        """The synapses that stay, times what each grows by and their one gain."""
        layer = self._layers[name]
        small = layer.network.with_weights(left.synapses(layer.network.weights))
        with _naming(name):
            gain = calibrate_gain(
                small,
                layer.network,
                by=self.config.calibrate,
                metric=lambda network: memory_capacity(layer.acting(network)),
            ).gain
        times = torch.from_numpy(gain * left.growth)
        weight = self.masks.weights[name]
        weight[layer.units.to(weight.device)] *= times.to(weight)


@contextmanager
def _naming(layer: str, hint: str = "") -> Iterator[None]:
    """Errors of the steps say which layer they came upon."""
    try:
        yield
    except ConfigError as error:
        raise ConfigError(f"{layer}: {error}{hint}") from None
