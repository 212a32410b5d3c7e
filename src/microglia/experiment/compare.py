"""Methods against each other on one network and data set, from one config."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from microglia.errors import ConfigError, nearest
from microglia.experiment.config import (
    CONTROLS,
    DENSE,
    DataConfig,
    NetworkConfig,
    OutputConfig,
    PruningConfig,
    RunConfig,
    check_seeds,
    method_options,
)
from microglia.experiment.job import Job
from microglia.experiment.toml import from_table, read_table
from microglia.methods import method_named
from microglia.training import TrainingConfig

SLIM, RANDOM_WEIGHTS = "uniform-slim", "random-weights"


@dataclass(frozen=True, kw_only=True)
class ContestConfig:
    """Which methods, how sparse, and by how many processes at once.

    Methods that prune channels are asked for each of `sparsities`, those that prune weights for
    each of `weight_sparsities`. Controls are there unasked: random channels and the evenly narrowed
    network at the parameters that SCA keeps, or else the first method that prunes channels; random
    weights wherever weights are pruned, and the narrowed network at their parameters ("uniform-slim
    as random-weights" where channels are pruned at that sparsity too).

    `settings` has a table for a method that wants its own, or for one of its sparsities
    ("stds-0.9"): its options, keys of the pruning section, or `epochs`.
    """

    methods: tuple[str, ...]
    sparsities: tuple[float, ...] = (0.5, 0.8)
    weight_sparsities: tuple[float, ...] = (0.9, 0.98)
    processes: int = 1
    settings: dict[str, dict[str, Any]] = field(default_factory=dict)

    def __post_init__(self) -> None:
        if not self.methods or len(set(self.methods)) < len(self.methods):
            raise ConfigError(
                f"compare.methods: wanted different methods, got {list(self.methods)}"
            )
        for method in self.methods:
            method_named(method)
        asked = {f"{m}-{s:g}": m for m in self.methods for s in self.sparsities_of(m)}
        asked |= {m: m for m in self.methods}
        for name in self.settings:
            if name not in asked:
                hint = nearest(name, list(asked))
                raise ConfigError(f"compare.settings.{name}: that isn't compared.{hint}")
            if self.reference is not None and asked[name] in CONTROLS:
                raise ConfigError(
                    f"compare.settings.{name}: it is trained as '{self.reference}' is, whose "
                    "control it is; take these settings away."
                )
        if self.processes < 1:
            raise ConfigError(f"compare.processes: wanted at least 1, got {self.processes}")

    @property
    def all_methods(self) -> tuple[str, ...]:
        """Those that are asked for, and random weights beside others that prune weights."""
        weights = any(method_named(m).prunes == "weights" for m in self.methods)
        return tuple(dict.fromkeys((*self.methods, *([RANDOM_WEIGHTS] if weights else []))))

    @property
    def reference(self) -> str | None:
        """What the controls of channel methods are matched to: SCA, else the first of them."""
        channels = [
            m for m in self.methods if method_named(m).prunes == "channels" and m not in CONTROLS
        ]
        return "sca" if "sca" in channels else next(iter(channels), None)

    def controls_of(self, label: str) -> tuple[str, ...]:
        """The controls at the parameters that this method keeps."""
        if label == self.reference:
            return CONTROLS
        return (SLIM,) if label == RANDOM_WEIGHTS else ()

    def sparsities_of(self, method: str) -> tuple[float, ...]:
        """Those that the method is asked for."""
        weights = method_named(method).prunes == "weights"
        return self.weight_sparsities if weights else self.sparsities


@dataclass(frozen=True, kw_only=True)
class CompareConfig:
    """A whole comparison. `pruning` has the keys that all methods share, such as `until_epochs`.

    Raises:
        ConfigError: a value is out of range in any of the runs that it stands for.
    """

    network: NetworkConfig
    data: DataConfig
    compare: ContestConfig
    training: TrainingConfig = field(default_factory=TrainingConfig)
    pruning: dict[str, Any] = field(default_factory=dict)
    output: OutputConfig = field(default_factory=OutputConfig)
    seeds: tuple[int, ...] = (0, 1, 2)

    def __post_init__(self) -> None:
        check_seeds(self.seeds)
        for taken in ("method", "sparsity", "target", "controls", "options"):
            if taken in self.pruning:
                raise ConfigError(f"pruning.{taken}: the comparison sets it; see [compare].")
        self.jobs()

    @classmethod
    def from_table(cls, table: Mapping[str, Any]) -> CompareConfig:
        """From nested dicts such as TOML gives; unknown keys are refused."""
        return from_table(cls, table)

    @classmethod
    def from_file(cls, path: str | Path) -> CompareConfig:
        """From a TOML file."""
        return from_table(cls, read_table(Path(path)))

    def jobs(self) -> list[Job]:
        """Each seed's dense network, then every method at every sparsity, with its controls.

        A control that is also asked for as a method is trained once, as the matched control.
        """
        found = [
            (job, [self._matched(job, c) for c in self.compare.controls_of(job.label)])
            for job in self._jobs()
        ]
        instead = {control.name for _, matched in found for control in matched}
        return [one for job, matched in found if job.name not in instead for one in (job, *matched)]

    def searched(self) -> list[Job]:
        """Of the first seed, the runs of methods that have settings to search."""
        first = self.seeds[0]
        return [
            job
            for job in self.jobs()
            if job.seed == first
            and job.label != DENSE
            and method_named(job.config.pruning.method).search
        ]

    def with_options(self, found: Mapping[str, Mapping[str, Any]]) -> CompareConfig:
        """The same with options for some methods at some sparsities, such as "stds-0.9"."""
        settings = {name: dict(table) for name, table in self.compare.settings.items()}
        for name, options in found.items():
            settings[name] = {**settings.get(name, {}), **options}
        return dataclasses.replace(
            self, compare=dataclasses.replace(self.compare, settings=settings)
        )

    def _jobs(self) -> Iterator[Job]:
        experiment = f"{Path(self.data.source).name}-{self.network.name}"
        for seed in self.seeds:
            yield Job(experiment=experiment, label=DENSE, config=self._dense(seed))
            for method in self.compare.all_methods:
                for sparsity in self.compare.sparsities_of(method):
                    config = self._config(seed, method=method, sparsity=sparsity)
                    yield Job(
                        experiment=experiment,
                        label=method,
                        config=config,
                        dense_training=self.training,
                    )

    def _dense(self, seed: int) -> RunConfig:
        return RunConfig(
            seeds=(seed,),
            network=self.network,
            data=self.data,
            training=self.training,
            pruning=PruningConfig(sparsity=0.0),
            output=self.output,
        )

    def _config(self, seed: int, *, method: str, sparsity: float) -> RunConfig:
        settings = self.compare.settings
        own = {**settings.get(method, {}), **settings.get(f"{method}-{sparsity:g}", {})}
        training = dataclasses.replace(
            self.training, epochs=own.pop("epochs", self.training.epochs)
        )
        known = method_options(method_named(method))
        usual = method_named(method).usual_penalty
        options = {"penalty": usual} if usual else {}
        options |= {k: own.pop(k) for k in list(own) if k in known}
        pruning = {**self.pruning, **own, "method": method, "sparsity": sparsity}
        pruning["options"] = options
        return dataclasses.replace(
            self._dense(seed),
            training=training,
            pruning=from_table(PruningConfig, pruning, where="pruning."),
        )

    def _matched(self, job: Job, control: str) -> Job:
        """A control at the parameters that a job's network keeps, trained as it is."""
        pruning = dataclasses.replace(
            job.config.pruning,
            method=control,
            options={},
            warmup_epochs=None,
            finetune_epochs=0,
            distill=0.0,
        )
        config = dataclasses.replace(job.config, pruning=pruning)
        twice = self.compare.reference and job.sparsity in self.compare.sparsities
        label = f"{control} as {job.label}" if twice and job.label == RANDOM_WEIGHTS else control
        return dataclasses.replace(job, label=label, config=config, like=job.label)
