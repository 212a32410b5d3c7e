"""The config of `microglia lnp`."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, Literal

from microglia.errors import ConfigError, is_number, is_whole, nearest
from microglia.experiment.recurrent.files import load_pruned
from microglia.experiment.toml import from_table
from microglia.frameworks import RecurrentNetwork
from microglia.lyapunov import LNPConfig
from microglia.networks.population import CHRSNNConfig, HRSNNConfig

CONTROLS = ("random", "fresh", "magnitude", "activity", "none")


@dataclass(frozen=True, kw_only=True)
class NetworkFile:
    """A network that `save_pruned` wrote, the same for every seed."""

    file: str

    def draw(self, seed: int = 0) -> RecurrentNetwork:
        return load_pruned(Path(self.file)).network


@dataclass(frozen=True, kw_only=True)
class LNPOutput:
    directory: str = "runs/lnp"
    overwrite: bool = False


@dataclass(frozen=True, kw_only=True)
class LNPRun:
    """One run of `microglia lnp`.

    Args:
        network: what it is drawn from, keys of `HRSNNConfig`, or `clusters` of them, or a `file`.
        pruning: the budget, and how each step is read.
        controls: what is pruned by other rules to equal size; see `controlled`.
        task: "lorenz" forecasts it too, with a network of three inputs.
        seeds: of the draw and of every step.
        seconds: of network time for exponents, rate and SynOps; exponents of less than 5 scatter.
        values: of the white noise by which memory capacity is measured.
    """

    network: HRSNNConfig | CHRSNNConfig | NetworkFile = field(default_factory=HRSNNConfig)
    pruning: LNPConfig = field(default_factory=LNPConfig)
    controls: tuple[str, ...] = CONTROLS
    task: Literal["none", "lorenz"] = "none"
    seeds: tuple[int, ...] = (0,)
    seconds: float = 5.0
    values: int = 3000
    output: LNPOutput = field(default_factory=LNPOutput)

    def __post_init__(self) -> None:
        for name in self.controls:
            if name not in CONTROLS:
                raise ConfigError(f"controls: '{name}' is unknown.{nearest(name, list(CONTROLS))}")
        if self.task not in ("none", "lorenz"):
            raise ConfigError(f"task: 'none' or 'lorenz' expected, got '{self.task}'")
        whole = all(is_whole(seed) and seed >= 0 for seed in self.seeds)
        if not self.seeds or not whole or len(set(self.seeds)) < len(self.seeds):
            raise ConfigError(f"seeds: wanted different whole numbers from 0 on, got {self.seeds}")
        if not is_number(self.seconds) or not 0.2 <= self.seconds < 1e4:
            raise ConfigError(f"seconds: wanted at least 0.2, got {self.seconds!r}")
        if not is_whole(self.values) or self.values < 400:
            raise ConfigError(f"values: wanted a whole number from 400 on, got {self.values!r}")

    @classmethod
    def from_table(cls, table: Mapping[str, Any]) -> LNPRun:
        """Raises ConfigError for a key or value that can't be."""
        return from_table(cls, table)

    def words(self) -> str:
        """All that decides the result, as JSON."""
        return json.dumps({k: v for k, v in asdict(self).items() if k != "output"}, indent=1) + "\n"


DEMO = LNPRun(
    network=HRSNNConfig(neurons=500, inputs=3),
    pruning=LNPConfig(sparsity=0.8, calibrate="deviation"),
    controls=("random",),
    task="lorenz",
    values=1500,
    output=LNPOutput(directory="runs/lnp-demo", overwrite=True),
)
"""Lorenz' system, forecast by a dense network, by what is left of it, and by a random fifth."""
