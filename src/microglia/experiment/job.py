"""One network trained, pruned, compacted and measured: one line of a results file."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from filelock import FileLock
from torch import nn

from microglia.errors import ConfigError, DataError
from microglia.experiment.bench import Bench
from microglia.experiment.clocked import clocked
from microglia.experiment.config import DENSE, PruningConfig, RunConfig
from microglia.experiment.provenance import provenance
from microglia.experiment.run_dir import LOCK, hold_config
from microglia.experiment.trial import (
    Trial,
    check_pruning,
    train_control,
    train_dense,
    train_pruned,
)
from microglia.experiment.worth import worth_of
from microglia.methods import method_named
from microglia.metrics import Figures, measure
from microglia.training import TrainingConfig

Record = dict[str, Any]

KEYS = set(
    "name experiment label method sparsity seed date machine python versions commit config figures "
    "epochs changes kept scores seconds certificate".split()
)
"""What every record has."""
LATER_KEYS = {"parameters_kept", "sparsity_reached", "activity", "search"}
"""What earlier records lack."""
REMEDY = "Another version of microglia wrote it: use that one, or name another results file."


@dataclass(frozen=True)
class Search:
    """How a method's settings were found on the validation images."""

    trials: int
    epochs: int
    """Trained in all trials."""


@dataclass(frozen=True, kw_only=True)
class Job:
    """What to train, and what to call it.

    `config` has one seed; its controls don't count. With `like`, the label of another job of the
    same experiment, sparsity and seed, the network keeps the parameters that that one reached.
    """

    experiment: str
    """The setting that jobs are compared in, such as "cifar10-conv5"."""
    label: str
    """What is compared, such as "SCA" or "prune-only"; "dense" is the network as it is."""
    config: RunConfig
    like: str | None = None
    dense_training: TrainingConfig | None = None
    """How the dense network of the seed is trained; None for as this one."""
    search: Search | None = None
    """What its settings come from; None where nothing was searched."""

    def __post_init__(self) -> None:
        if len(self.config.seeds) != 1:
            raise ConfigError(f"{self.experiment}: a job has one seed, got {self.config.seeds}")

    @property
    def seed(self) -> int:
        return self.config.seeds[0]

    @property
    def sparsity(self) -> float:
        """Of the channels; 0 for the dense network."""
        return 0.0 if self.label == DENSE else (self.config.pruning.sparsity or 0.0)

    @property
    def name(self) -> str:
        """Unique in a results file."""
        return name_of(self.experiment, self.label, self.sparsity, self.seed)

    @property
    def builds_on(self) -> list[str]:
        """Names of the jobs whose records it needs."""
        if self.label == DENSE:
            return []
        dense = name_of(self.experiment, DENSE, 0.0, self.seed)
        if self.like is None:
            return [dense]
        return [dense, name_of(self.experiment, self.like, self.sparsity, self.seed)]

    def do(self, done: Mapping[str, Record], *, folder: Path, progress: bool) -> Record:
        """See `do`."""
        return do(self, done, folder=folder, progress=progress)

    def differs_from(self, record: Record, *, where: str) -> list[str]:
        """In what settings its config is not that of a record."""
        return self.config.differs_from(read_config(record["config"], where=where))


def name_of(experiment: str, label: str, sparsity: float, seed: int) -> str:
    """The name of a job."""
    what = label if label == DENSE else f"{label}-{sparsity:g}"
    return f"{experiment}/{what}-seed{seed}"


def read_config(table: dict[str, Any], *, where: str) -> RunConfig:
    """The config of a record.

    Raises:
        DataError: it has settings that this version doesn't know.
    """

    def without_none(value: Any) -> Any:
        if isinstance(value, dict):
            return {k: without_none(v) for k, v in value.items() if v is not None}
        return value

    try:
        return RunConfig.from_table(without_none(table))
    except ConfigError as error:
        raise DataError(f"{where}: its config can't be read ({error}). {REMEDY}") from error


def do(job: Job, done: Mapping[str, Record], *, folder: Path, progress: bool) -> Record:
    """Train (or go on training), prune, compact, reload from the file, and measure once.

    Args:
        done: the records of the jobs that this one builds on, by name.
        folder: where checkpoints and networks go, in a folder of each job's name.

    Raises:
        MicrogliaError: what went wrong.
    """
    bench = _bench(job, job.label, folder, progress=progress)
    if job.label == DENSE:
        trial = train_dense(bench, job.seed)
        dense = trial.model
    else:
        dense = dense_network(job, folder, progress=progress)
        trial = _pruned(job, bench, dense, done)
    output, device = job.config.output, bench.device
    models = {"dense": dense.to(device), "this": trial.model.to(device)}
    images = bench.example(output.latency_batch).to(device)
    sparse = "this" if trial.prunes_weights and device.type == "cpu" else None
    clocks = clocked(models, images, repeats=output.latency_repeats, sparse=sparse)
    figures = measure(trial.model, bench.test_batches(), latency_repeats=0)
    return {
        "name": job.name,
        "experiment": job.experiment,
        "label": job.label,
        "method": DENSE if job.label == DENSE else job.config.pruning.method,
        "sparsity": job.sparsity,
        "seed": job.seed,
        **provenance(device),
        "config": job.config.to_dict(),
        "parameters_kept": trial.parameters_kept(dense),
        "sparsity_reached": trial.reached,
        "search": dataclasses.asdict(job.search) if job.search else None,
        "figures": {
            **clocks["this"].on(figures).summary(),
            **worth_of(trial, dense, clocks),
        },
        "activity": activity_of(figures),
        **_history(trial),
    }


def dense_network(job: Job, folder: Path, *, progress: bool) -> nn.Module:
    """The dense network that all jobs of a seed share, trained by whoever comes first."""
    shared = folder / name_of(job.experiment, DENSE, 0.0, job.seed)
    shared.mkdir(parents=True, exist_ok=True)
    with FileLock(shared / LOCK):
        return train_dense(_bench(job, DENSE, folder, progress=progress), job.seed).model


def _pruned(job: Job, bench: Bench, dense: nn.Module, done: Mapping[str, Record]) -> Trial:
    method = job.config.pruning.method
    if job.like is None:
        if method_named(method).needs == "training":
            check_pruning(bench)
        return train_pruned(bench, job.seed, dense=dense)
    whole, like = (done[name] for name in job.builds_on)
    fraction = like.get("parameters_kept")
    if fraction is None:  # records of old
        fraction = like["figures"]["parameters"] / whole["figures"]["parameters"]
    return train_control(bench, job.seed, name=method, parameters=fraction, dense=dense)


def _bench(job: Job, label: str, folder: Path, *, progress: bool) -> Bench:
    """The job's own, or that of the dense network, which all jobs of the seed share."""
    name, config = name_of(job.experiment, label, job.sparsity, job.seed), job.config
    if label == DENSE:
        training = job.dense_training or config.training
        pruning = PruningConfig(sparsity=0.0)
        config = dataclasses.replace(config, training=training, pruning=pruning)
    bench = Bench.open(config, folder / name, progress=progress, resume=True)
    hold_config(config, folder / name, remedy="name another folder")
    return bench


def activity_of(figures: Figures) -> list[dict[str, Any]]:
    """The layers of spiking neurons, in the order in which they ran; neurons are counted."""
    return [
        {
            "name": layer.name,
            "neurons": layer.neurons,
            "firing_rate": round(layer.firing_rate, 6),
            "dead": layer.dead,
            "saturated": layer.saturated,
        }
        for layer in figures.activity.layers
    ]


def scores_of(trial: Trial) -> dict[str, list[float]]:
    """Group -> the importance of each of its channels at the last update."""
    return {g: [round(float(x), 4) for x in s] for g, s in trial.scores.items()}


def _history(trial: Trial) -> Record:
    """What figures of the training itself need: losses, channels and changes over time."""
    epochs = [
        {
            "loss": round(e.loss, 4),
            "accuracy": round(e.accuracy, 4),
            "validation": e.validation_accuracy,
            "kept": e.kept,
            "seconds": round(e.seconds, 2),
        }
        for e in trial.history.epochs
    ]
    changes = [
        {"step": c.step, "pruned": sum(c.pruned.values()), "regrown": sum(c.regrown.values())}
        for c in trial.history.changes
    ]
    return {
        "epochs": epochs,
        "changes": changes,
        "kept": {g: [int(mask.sum()), len(mask)] for g, mask in trial.kept.items()},
        "scores": scores_of(trial),
        "seconds": round(trial.history.seconds, 1),
        "certificate": dataclasses.asdict(trial.certificate) if trial.certificate else None,
    }
