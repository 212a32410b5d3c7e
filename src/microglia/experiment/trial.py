"""One network of a comparison: trained, pruned, compacted, saved, and loaded again."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

import microglia as mg
from microglia.errors import ConfigError
from microglia.experiment.bench import Bench
from microglia.experiment.config import DENSE, PruningConfig
from microglia.frameworks import fresh_copy
from microglia.methods import Pruner, method_named
from microglia.metrics import measure_size
from microglia.networks import set_timesteps
from microglia.runtime import accelerate
from microglia.surgery import Certificate, Compact, Ledger
from microglia.training import (
    Distillation,
    History,
    TrainingConfig,
    build_optimizer,
    has_checkpoint,
    train,
)

COMPACT, TRAINED, FINETUNE = "compact", "trained", "finetune"


@dataclass(frozen=True)
class Trial:
    """A trained network as it will be measured: a compacted one comes from its file.

    The certificate is that of a compaction after training; one before it has nothing to prove.
    """

    name: str
    seed: int
    model: nn.Module
    history: History
    kept: Mapping[str, Tensor] = field(default_factory=dict)
    """Group -> which of its channels stayed, boolean `[size]`; empty where nothing was pruned."""
    scores: Mapping[str, Tensor] = field(default_factory=dict)
    """Group -> the last scores, `[size]`; empty for a method without any."""
    certificate: Certificate | None = None
    reached: float | None = None
    """The sparsity that an emergent method came to before it was projected to its budget."""
    file: Path | None = None
    """The folder that a network came from."""

    @property
    def prunes_weights(self) -> bool:
        """Whether single weights were closed, which stay in the network as zeros."""
        return bool(self.kept) and method_named(self.name).prunes == "weights"

    def parameters_kept(self, dense: nn.Module) -> float:
        """The fraction of the dense network's parameters that are left; closed weights are not."""
        whole = measure_size(dense).parameters
        if self.prunes_weights:
            return 1 - sum(int((~mask).sum()) for mask in self.kept.values()) / whole
        return measure_size(self.model).parameters / whole


def check_pruning(bench: Bench) -> None:
    """Find out that the method can't do what is asked before hours are spent on training.

    Raises:
        ConfigError: a setting is out of range or impossible for this network.
        StructureError: the network can't be analysed.
    """
    pruning, seed = bench.config.pruning, bench.config.seeds[0]
    model = bench.network(seed)
    optimizer = build_optimizer(model, bench.config.training)
    budget = _budget(pruning)
    pruner = _pruner(bench, model, optimizer, name=pruning.method, seed=seed, budget=budget)
    pruner.detach()
    schedule, steps = getattr(pruner, "schedule", None), bench.steps_per_epoch
    if isinstance(pruner, mg.LotteryTicket):
        _check_rounds(pruner, bench.config.training, steps)
    if schedule is not None and schedule.first >= bench.config.training.epochs * steps:
        raise ConfigError(
            f"pruning: the first change of structure would come after {schedule.first / steps:g} "
            f"epochs, and training ends after {bench.config.training.epochs}, so that what is left "
            "would not be trained. Train longer, or lower pruning.every_epochs or "
            "pruning.warmup_epochs."
        )


def _check_rounds(pruner: mg.LotteryTicket, training: TrainingConfig, steps: int) -> None:
    """Refuse rounds that don't fill the training, or that have ended when the rate has risen."""
    rounds, every = pruner.rounds, pruner.schedule.every
    if rounds * every != training.epochs * steps:
        raise ConfigError(
            f"pruning: {rounds} rounds of {every} steps (every_epochs = {every / steps:g}) make "
            f"{rounds * every} steps, and training.epochs = {training.epochs} makes "
            f"{training.epochs * steps}. Set pruning.every_epochs to epochs / rounds = "
            f"{training.epochs / rounds:g}, which must be a whole number of steps (an epoch has "
            f"{steps}), or choose other training.epochs or pruning.options.rounds."
        )
    if training.schedule != "one-cycle" and training.warmup_epochs >= every / steps:
        raise ConfigError(
            f"training.warmup_epochs = {training.warmup_epochs:g} takes up a whole round of "
            f"pruning.every_epochs = {every / steps:g}; the schedule starts again with each round, "
            "so warm up for less or make rounds longer."
        )


def train_dense(bench: Bench, seed: int) -> Trial:
    """The network as it is, trained without any pruning, or read from its last checkpoint."""
    repeated = not bench.splits.train.frames and bench.config.data.encoder == "direct"
    if bench.config.network.final_T and not repeated:
        raise ConfigError("network.final_T: is for images that the network itself repeats")
    model = bench.network(seed)
    history = _train(bench, model, seed, name=DENSE)
    network, training = bench.config.network, bench.config.training
    short = dataclasses.replace(
        training, epochs=1, warmup_epochs=0.0, learning_rate=0.1 * training.learning_rate
    )
    for T in range(network.T - 1, (network.final_T or network.T) - 1, -1):
        set_timesteps(model, T)
        history += _train(bench, model, seed, name=DENSE, config=short, stage=f"T{T}")
    return Trial(DENSE, seed, model.eval(), history)


def save_trained(bench: Bench, trial: Trial) -> Path:
    """Write a network from which nothing was taken, as a compacted one is written: the folder."""
    structure = mg.analyse(trial.model, bench.example(2))
    whole = Compact(trial.model, None, Ledger.open(trial.model, structure), {})
    return mg.save(whole, bench.folder(trial.name, trial.seed) / TRAINED)


def train_pruned(bench: Bench, seed: int, *, dense: nn.Module | None = None) -> Trial:
    """The network pruned by the config's method, compacted, and fine-tuned if asked.

    A method that acts on a trained network takes a copy of `dense`, or a network trained with the
    method's own penalty; distillation has the dense one as teacher, and so has a method that learns
    from one.
    """
    pruning = bench.config.pruning
    cls, budget = method_named(pruning.method), _budget(pruning)
    if cls.needs == "initialisation" and cls.prunes == "channels":
        return _narrowed(bench, seed, name=pruning.method, budget=budget, teacher=dense)
    if cls.needs != "trained" or pruning.trains_for_it:
        model = bench.network(seed)
    else:
        assert dense is not None, f"'{pruning.method}' prunes a trained network"
        model = fresh_copy(dense)
    return _pruned(bench, model, seed, name=pruning.method, budget=budget, teacher=dense)


def train_control(
    bench: Bench, seed: int, *, name: str, parameters: float, dense: nn.Module | None = None
) -> Trial:
    """A control that keeps this fraction of the dense network's parameters."""
    budget = {"target": {"parameters": parameters}}
    if method_named(name).prunes == "channels":
        return _narrowed(bench, seed, name=name, budget=budget, teacher=dense)
    return _pruned(bench, bench.network(seed), seed, name=name, budget=budget, teacher=None)


def _narrowed(
    bench: Bench,
    seed: int,
    *,
    name: str,
    budget: Mapping[str, Any],
    teacher: nn.Module | None = None,
) -> Trial:
    """Pruned before training, compacted, and then trained at the size that is left.

    Closed channels reach no reader, so this is the same as training behind closed gates, for less.
    """
    model = bench.network(seed)
    pruner = _pruner(bench, model, None, name=name, seed=seed, budget=budget)
    small, kept = pruner.compact(), pruner.masks.keep()
    history = _train(bench, small.model, seed, name=name)
    if name == bench.config.pruning.method:
        history += _finetune(bench, small.model, seed, teacher=teacher)
    file = mg.save(small, bench.folder(name, seed) / COMPACT)
    return Trial(name, seed, mg.load(file), history, kept, file=file)


def _budget(pruning: PruningConfig) -> dict[str, Any]:
    return {"sparsity": pruning.sparsity, "target": pruning.target or None}


def _pruned(
    bench: Bench,
    model: nn.Module,
    seed: int,
    *,
    name: str,
    budget: Mapping[str, Any],
    teacher: nn.Module | None,
) -> Trial:
    """Pruned while it trains, or as it is, trained already, or trained with the penalty first."""
    cls, history = method_named(name), History()
    tuned = name == bench.config.pruning.method
    trains = cls.needs != "trained" or (tuned and bench.config.pruning.trains_for_it)
    optimizer = build_optimizer(model, bench.config.training) if trains else None
    pruner = _pruner(bench, model, optimizer, name=name, seed=seed, budget=budget, teacher=teacher)
    if trains:
        history = _train(bench, model, seed, name=name, optimizer=optimizer, pruner=pruner)
    if cls.needs == "trained":
        pruner.calibrate(bench.training_batches(seed))
    if tuned and cls.prunes == "weights":  # closed weights are zero for as long as masks hold them
        history += _finetune(bench, model, seed, teacher=teacher, pruner=pruner)
    small = pruner.compact()
    kept = pruner.masks.keep()
    scores = pruner.scores() if cls.prunes == "channels" else {}
    pruner.detach()
    if tuned and cls.prunes == "channels":
        history += _finetune(bench, small.model, seed, teacher=teacher)
    file = mg.save(small, bench.folder(name, seed) / COMPACT)
    return Trial(
        name=name,
        seed=seed,
        model=mg.load(file),
        history=history,
        kept=kept,
        scores=scores,
        certificate=small.certificate,
        reached=pruner.reached,
        file=file,
    )


def _finetune(
    bench: Bench,
    model: nn.Module,
    seed: int,
    *,
    teacher: nn.Module | None,
    pruner: Pruner | None = None,
) -> History:
    """Train for the config's epochs of fine-tuning, if any, what a pruner may hold."""
    pruning, training = bench.config.pruning, bench.config.training
    if not pruning.finetuning:
        return History()
    distillation = None
    if pruning.distill:
        assert teacher is not None, "distillation wants the dense network"
        distillation = Distillation(
            teacher=accelerate(teacher, example_input=bench.example()),
            share=pruning.distill,
            temperature=pruning.temperature,
        )
    config = dataclasses.replace(
        training,
        epochs=pruning.finetuning,
        warmup_epochs=0.0,
        learning_rate=training.learning_rate * pruning.tuning_rate,
    )
    optimizer = None
    if pruner is not None:
        optimizer = build_optimizer(model, config)
        pruner.hold(optimizer)
    return _train(
        bench,
        model,
        seed,
        name=pruning.method,
        config=config,
        stage=FINETUNE,
        optimizer=optimizer,
        pruner=pruner,
        distillation=distillation,
    )


def _train(
    bench: Bench,
    model: nn.Module,
    seed: int,
    *,
    name: str,
    config: TrainingConfig | None = None,
    stage: str = "",
    optimizer: torch.optim.Optimizer | None = None,
    pruner: Pruner | None = None,
    distillation: Distillation | None = None,
) -> History:
    """Train by the experiment's config, or by that of a later stage; go on where it was left."""
    torch.manual_seed(seed)
    folder = bench.folder(name, seed) / stage
    return train(
        model,
        bench.training_batches(seed),
        config=config or bench.config.training,
        optimizer=optimizer,
        pruner=pruner,
        distillation=distillation,
        validation=bench.validation_batches(),
        run_dir=folder,
        resume=bench.resume and has_checkpoint(folder),
        progress=bench.progress,
        title=f"{name}, seed {seed}" + (f", {stage}" if stage else ""),
        labels={"network": name, "seed": seed},
    )


def _pruner(
    bench: Bench,
    model: nn.Module,
    optimizer: torch.optim.Optimizer | None,
    *,
    name: str,
    seed: int,
    budget: Mapping[str, Any],
    teacher: nn.Module | None = None,
) -> Pruner:
    pruning = bench.config.pruning
    cls = method_named(name)
    settings: dict[str, Any] = {
        "example_input": bench.example(),
        "optimizer": optimizer,
        "protect": pruning.protect,
        "floor": pruning.floor,
        "seed": seed,
        **budget,
    }
    if cls.prunes == "channels":
        settings |= {"residual": pruning.residual, "linear": pruning.linear}
    if name == pruning.method:
        settings |= {"round_to": pruning.round_to, **pruning.options}
    if cls.needs == "training":
        settings |= _times(pruning, bench.steps_per_epoch)
    if teacher is not None and "teacher" in cls.settings():
        settings["teacher"] = accelerate(teacher)
    return cls(model, **settings)


def _times(pruning: PruningConfig, steps_per_epoch: int) -> dict[str, int | None]:
    """The config's epochs in optimizer steps."""

    def in_steps(epochs: float | None) -> int | None:
        return None if epochs is None else max(1, round(epochs * steps_per_epoch))

    return {
        "every": in_steps(pruning.every_epochs),
        "warmup": in_steps(pruning.warmup_epochs),
        "until": in_steps(pruning.until_epochs),
    }
