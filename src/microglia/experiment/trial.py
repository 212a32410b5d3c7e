"""One network of a comparison: trained, pruned, compacted, saved, and loaded again."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor, nn

import microglia as mg
from microglia.errors import ConfigError
from microglia.experiment.bench import Bench
from microglia.experiment.config import DENSE, PruningConfig
from microglia.frameworks import fresh_copy
from microglia.methods import Pruner, method_named
from microglia.surgery import Certificate
from microglia.training import (
    History,
    TrainingConfig,
    build_optimizer,
    has_checkpoint,
    train,
)

COMPACT = "compact"


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
    if schedule is not None and schedule.first > bench.config.training.epochs * steps:
        raise ConfigError(
            f"pruning: the first change of structure would come after {schedule.first / steps:g} "
            f"epochs, and training ends after {bench.config.training.epochs}. Train longer, or "
            "lower pruning.every_epochs or pruning.warmup_epochs."
        )


def train_dense(bench: Bench, seed: int) -> Trial:
    """The network as it is, trained without any pruning."""
    model = bench.network(seed)
    history = _train(bench, model, seed, name=DENSE, config=bench.config.training)
    return Trial(DENSE, seed, model.eval(), history)


def train_pruned(bench: Bench, seed: int, *, trained: nn.Module | None = None) -> Trial:
    """The network pruned by the config's method.

    A method that acts on a trained network takes a copy of `trained` and fine-tunes it.
    """
    pruning, training = bench.config.pruning, bench.config.training
    cls = method_named(pruning.method)
    budget = _budget(pruning)
    if cls.needs == "initialisation":
        return _narrowed(bench, seed, name=pruning.method, budget=budget)
    if cls.needs == "training":
        model = bench.network(seed)
        return _pruned(bench, model, seed, name=pruning.method, budget=budget, config=training)
    assert trained is not None, f"'{pruning.method}' prunes a trained network"
    finetuning = dataclasses.replace(
        training,
        epochs=pruning.finetune_epochs,
        warmup_epochs=0.0,
        learning_rate=training.learning_rate * pruning.finetune_rate,
    )
    copy = fresh_copy(trained)
    return _pruned(bench, copy, seed, name=pruning.method, budget=budget, config=finetuning)


def train_control(bench: Bench, seed: int, *, name: str, parameters: float) -> Trial:
    """A control that keeps this fraction of the dense network's parameters."""
    return _narrowed(bench, seed, name=name, budget={"target": {"parameters": parameters}})


def _narrowed(bench: Bench, seed: int, *, name: str, budget: Mapping[str, Any]) -> Trial:
    """Pruned before training, compacted, and then trained at the size that is left.

    Closed channels reach no reader, so this is the same as training behind closed gates, for less.
    """
    config = bench.config.training
    model = bench.network(seed)
    pruner = _pruner(bench, model, None, name=name, seed=seed, budget=budget)
    small, kept = pruner.compact(), pruner.gates.keep()
    history = _train(bench, small.model, seed, name=name, config=config)
    file = mg.save(small, bench.folder(name, seed) / COMPACT)
    return Trial(name, seed, mg.load(file), history, kept)


def _budget(pruning: PruningConfig) -> dict[str, Any]:
    return {"sparsity": pruning.sparsity, "target": pruning.target or None}


def _pruned(
    bench: Bench,
    model: nn.Module,
    seed: int,
    *,
    name: str,
    budget: Mapping[str, Any],
    config: TrainingConfig,
) -> Trial:
    optimizer = build_optimizer(model, config)
    pruner = _pruner(bench, model, optimizer, name=name, seed=seed, budget=budget)
    if pruner.needs == "trained":
        pruner.calibrate(bench.training_batches(seed))
    history = _train(
        bench, model, seed, name=name, config=config, optimizer=optimizer, pruner=pruner
    )
    small = pruner.compact()
    kept, scores = pruner.gates.keep(), pruner.scores()
    pruner.detach()
    file = mg.save(small, bench.folder(name, seed) / COMPACT)
    return Trial(
        name=name,
        seed=seed,
        model=mg.load(file),
        history=history,
        kept=kept,
        scores=scores,
        certificate=small.certificate,
    )


def _train(
    bench: Bench,
    model: nn.Module,
    seed: int,
    *,
    name: str,
    config: TrainingConfig,
    optimizer: torch.optim.Optimizer | None = None,
    pruner: Pruner | None = None,
) -> History:
    torch.manual_seed(seed)
    folder = bench.folder(name, seed)
    return train(
        model,
        bench.training_batches(seed),
        config=config,
        optimizer=optimizer,
        pruner=pruner,
        validation=bench.validation_batches(),
        run_dir=folder,
        resume=bench.resume and has_checkpoint(folder),
        progress=bench.progress,
        title=f"{name}, seed {seed}",
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
) -> Pruner:
    pruning = bench.config.pruning
    settings: dict[str, Any] = {
        "example_input": bench.example(),
        "optimizer": optimizer,
        "protect": pruning.protect,
        "floor": pruning.floor,
        "residual": pruning.residual,
        "linear": pruning.linear,
        "seed": seed,
        **budget,
    }
    if name == pruning.method:
        settings |= {"round_to": pruning.round_to, **pruning.options}
    cls = method_named(name)
    if cls.needs == "training":
        settings |= _times(pruning, bench.steps_per_epoch)
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
