"""Every rule that a recurrent network is made smaller by before training, at one budget."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import partial
from typing import Any, Literal, get_args

import numpy as np
from numpy.typing import NDArray

from microglia.errors import ConfigError, nearest
from microglia.frameworks.recurrent import RecurrentNetwork
from microglia.lyapunov import LNPConfig, lyapunov_noise_pruning
from microglia.lyapunov.betweenness import importance, least_important
from microglia.lyapunov.controls import (
    fresh_sparse,
    largest_synapses,
    no_recurrence,
    of_each_type,
    random_synapses,
)
from microglia.lyapunov.gain import estimate_gains
from microglia.lyapunov.keep import Reading

Array = NDArray[Any]
Control = Literal[
    "dense", "none", "fresh", "random", "magnitude", "magnitude of each type", "random as R2w"
]
Criterion = Literal["betweenness", "activity", "random"]

CONTROLS, READINGS = get_args(Control), get_args(Reading)


@dataclass(frozen=True, kw_only=True)
class Budget:
    """A rule and what it leaves.

    Args:
        rule: a `Control`, or a reading of `keep_scores`. "magnitude of each type" keeps the largest
            of the synapses from excitatory and from inhibitory neurons apart, as many of each as
            there were in proportion; "random as R2w" as many of each as R2w, at random.
        kept: the fraction of the dense network's synapses that stays.
        neurons: the fraction of the neurons that goes.
        criterion: which neurons; a control's go before its synapses, a reading's as step II.
        delocalise, retune: steps III and IV, after a reading.

    Raises:
        ConfigError: an unknown rule, a fraction out of range, a step that a control doesn't have.
    """

    rule: str
    kept: float = 1.0
    neurons: float = 0.0
    criterion: Criterion = "betweenness"
    delocalise: bool = False
    retune: bool = False

    def __post_init__(self) -> None:
        known = [*CONTROLS, *READINGS]
        if self.rule not in known:
            raise ConfigError(f"rule: '{self.rule}' is unknown.{nearest(self.rule, known)}")
        if not 0 < self.kept <= 1 or not 0 <= self.neurons < 1:
            raise ConfigError(
                f"kept, neurons: wanted fractions in (0, 1] and [0, 1), got {self.kept} and "
                f"{self.neurons}"
            )
        if self.rule in CONTROLS and (self.delocalise or self.retune):
            raise ConfigError(f"rule: '{self.rule}' has no steps III and IV")
        if self.rule in CONTROLS and self.neurons and self.criterion == "betweenness":
            raise ConfigError(
                f"criterion: the neurons of '{self.rule}' go by activity or at random"
            )

    def of(
        self,
        dense: RecurrentNetwork,
        *,
        seed: int,
        metric: Callable[[RecurrentNetwork], float],
        rates: Array | None = None,
    ) -> RecurrentNetwork:
        """What the rule leaves of a network, its weights as they were.

        Neurons with input stay, excitatory and inhibitory ones go in proportion, and exactly
        round(kept · E) synapses are left, with step III a few more.

        Args:
            seed: of every random choice.
            metric: what step IV is accepted by.
            rates: [N], what a control's least active neurons go by; under noise if None.

        Raises:
            ConfigError: rates for a rule that asks none.
        """
        if rates is not None and (self.rule in READINGS or self.criterion != "activity"):
            raise ConfigError(f"rates: '{self.rule}' by {self.criterion} asks none")
        if self.rule in CONTROLS:
            share = None
            if self.rule == "random as R2w":
                like = replace(self, rule="R2w").of(dense, seed=seed, metric=metric)
                share = inhibitory_share(like)
            return self._control(dense, np.random.default_rng([seed, 7]), rates, share)
        config = LNPConfig(
            sparsity=1 - self.kept,
            neurons=self.neurons,
            reading=self.rule,  # type: ignore[arg-type]
            criterion=self.criterion,
            delocalise="always" if self.delocalise else "off",
            retune="edge" if self.retune else "off",
            calibrate="none",
        )
        *_, last = lyapunov_noise_pruning(dense, config, seed=seed, metric=metric)
        return last.network

    def _control(
        self,
        dense: RecurrentNetwork,
        rng: np.random.Generator,
        rates: Array | None,
        share: float | None,
    ) -> RecurrentNetwork:
        """`share`: of the synapses that are left, those from inhibitory neurons; any if None."""
        budget = round(self.kept * dense.weights.nnz)
        if self.rule == "dense":
            return dense
        if self.rule == "none":
            return dense.with_weights(no_recurrence(dense.weights))
        network = dense
        if self.neurons:
            assert dense.inputs is not None
            if rates is None:
                rates = estimate_gains(dense, generator=rng).rate
            worth = importance(dense.weights, self.criterion, activity=rates, generator=rng)
            hear = np.asarray(abs(dense.inputs).sum(axis=1)).ravel() > 0
            go = least_important(
                worth,
                round(self.neurons * len(dense)),
                inhibitory=dense.inhibitory,
                protected=hear,
            )
            network = dense.of(np.setdiff1d(np.arange(len(dense)), go))
        W = network.weights
        if self.rule == "fresh":
            types = network.inhibitory
            return network.with_weights(fresh_sparse(W, budget, rng, inhibitory=types))
        largest = self.rule.startswith("magnitude")
        choose = largest_synapses if largest else partial(random_synapses, generator=rng)
        if self.rule == "magnitude of each type":
            share = inhibitory_share(network)
        if share is None:
            return network.with_weights(choose(W, budget))
        inhibition = round(share * budget)
        assert network.inhibitory is not None
        apart = of_each_type(choose, W, (budget - inhibition, inhibition), network.inhibitory)
        return network.with_weights(apart)


def inhibitory_share(network: RecurrentNetwork) -> float:
    """Of the synapses, those that come from inhibitory neurons.

    Raises:
        ConfigError: neurons have no types.
    """
    if network.inhibitory is None:
        raise ConfigError("inhibitory: the network doesn't tell which neurons inhibit")
    return float(network.inhibitory[network.weights.indices].mean())
