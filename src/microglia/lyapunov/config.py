"""What Lyapunov noise pruning is asked for."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Literal, get_args

from microglia.errors import ConfigError, is_number, is_whole, nearest
from microglia.lyapunov.betweenness import Criterion
from microglia.lyapunov.covariance import Method as CovarianceMethod
from microglia.lyapunov.delocalise import Candidates
from microglia.lyapunov.delocalise import Mode as Delocalise
from microglia.lyapunov.keep import Reading
from microglia.lyapunov.leak import Leak
from microglia.lyapunov.sampling import Rescale

Retune = Literal["off", "edge", "spectrum", "slow"]
Calibrate = Literal["memory", "deviation", "none"]


@dataclass(frozen=True, kw_only=True)
class LNPConfig:
    """How many synapses and neurons go, and which reading of each of the four steps takes them.

    Args:
        sparsity: fraction of the synapses that goes in all, in [0, 1).
        neurons: fraction of the neurons that goes (step II), in [0, 1).
        rounds: how often steps I and II follow each other; the paper's hundred gained nothing.
        reading, eta: of step I; see `keep_scores`.
        covariance: how C is found; see `covariance`.
        rescale: of what is kept; see `growth`.
        leak: of the neurons after step I, "kept" or "matched" to what is gone; see `match_leak`.
        criterion: of step II; see `importance`.
        stratified: excitatory and inhibitory neurons go in proportion.
        delocalise, candidates: step III; see `delocalise`.
        retune: step IV, an objective of `retune_time_constants`, or "off".
        evaluations: of that objective.
        calibrate: what the one gain of all weights is chosen by at the end; see `calibrate_gain`.

    Raises:
        ConfigError: a value out of range or unknown.
    """

    sparsity: float = 0.8
    neurons: float = 0.0
    rounds: int = 1
    reading: Reading = "R2w"
    eta: float = 1.0
    covariance: CovarianceMethod = "auto"
    rescale: Rescale = "none"
    leak: Leak = "kept"
    criterion: Criterion = "betweenness"
    stratified: bool = True
    delocalise: Delocalise = "off"
    candidates: Candidates = "two-paths"
    retune: Retune = "off"
    evaluations: int = 16
    calibrate: Calibrate = "memory"

    def __post_init__(self) -> None:
        for name in ("sparsity", "neurons"):
            value = getattr(self, name)
            if not is_number(value) or not 0 <= value < 1:
                raise ConfigError(f"{name}: wanted a fraction in [0, 1), got {value!r}")
        for name in ("rounds", "evaluations"):
            value = getattr(self, name)
            if not is_whole(value) or value < 1:
                raise ConfigError(f"{name}: wanted a whole number of at least 1, got {value!r}")
        if not is_number(self.eta) or not math.isfinite(self.eta):
            raise ConfigError(f"eta: wanted a finite number, got {self.eta!r}")
        if not isinstance(self.stratified, bool):
            raise ConfigError(f"stratified: wanted True or False, got {self.stratified!r}")
        for name, words in _WORDS.items():
            value = getattr(self, name)
            if value not in words:
                raise ConfigError(f"{name}: '{value}' is unknown.{nearest(str(value), words)}")

    @property
    def wants_metric(self) -> bool:
        """Whether a metric of networks decides on anything."""
        return self.calibrate == "memory" or self.retune != "off"


_WORDS: dict[str, list[str]] = {
    "reading": list(get_args(Reading)),
    "covariance": list(get_args(CovarianceMethod)),
    "rescale": list(get_args(Rescale)),
    "leak": list(get_args(Leak)),
    "criterion": list(get_args(Criterion)),
    "delocalise": list(get_args(Delocalise)),
    "candidates": list(get_args(Candidates)),
    "retune": list(get_args(Retune)),
    "calibrate": list(get_args(Calibrate)),
}
