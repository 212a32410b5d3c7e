"""Loggers by name get what the history holds, once an epoch, also after a resumption."""

from __future__ import annotations

import csv
import importlib.util
from pathlib import Path
from typing import Any

import pytest
import torch
from small_classifiers import NETWORKS, Stripes

import microglia as mg
from microglia.errors import ConfigError, TrainingError
from microglia.training import History, TrainingConfig, build_optimizer, train


def trained(folder: Path | None, *names: str, epochs: int = 3, resume: bool = False) -> History:
    config = TrainingConfig(epochs=epochs, learning_rate=2e-2, schedule="constant", loggers=names)
    torch.manual_seed(0)
    model = NETWORKS["spikingjelly"]()
    optimizer = build_optimizer(model, config)
    pruner = mg.SCA(
        model, sparsity=0.5, example_input=torch.randn(2, 1, 6, 6), optimizer=optimizer, every=4
    )
    return train(
        model,
        Stripes(),
        config=config,
        optimizer=optimizer,
        pruner=pruner,
        run_dir=folder,
        resume=resume,
        progress=False,
        labels={"seed": 7},
    )


def csv_rows(folder: Path) -> list[dict[str, str]]:
    with (folder / "csv" / "metrics.csv").open() as file:
        return list(csv.DictReader(file))


def tensorboard_rows(folder: Path, tag: str) -> list[tuple[int, float]]:
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    events = EventAccumulator(str(folder / "tensorboard"))
    events.Reload()
    return [(event.step, event.value) for event in events.Scalars(tag)]


@pytest.mark.parametrize("resumed", [False, True], ids=["straight", "resumed"])
def test_they_hold_each_epoch_once(tmp_path: Path, resumed: bool) -> None:
    names = ("csv", "tensorboard")
    if resumed:
        trained(tmp_path, *names, epochs=2)
    history = trained(tmp_path, *names, resume=resumed)
    rows = csv_rows(tmp_path)
    assert [int(row["step"]) for row in rows] == [e.step for e in history.epochs]
    assert [float(row["loss"]) for row in rows] == pytest.approx([e.loss for e in history.epochs])
    for group, kept in (history.epochs[-1].kept or {}).items():
        assert float(rows[-1][f"kept/{group}"]) == kept
    accuracies = tensorboard_rows(tmp_path, "accuracy")
    assert [step for step, _ in accuracies] == [e.step for e in history.epochs]
    assert [a for _, a in accuracies] == pytest.approx([e.accuracy for e in history.epochs])


def test_they_change_nothing(tmp_path: Path) -> None:
    plain, logged = (
        trained(tmp_path / str(names), *names).to_dict() for names in ((), ("csv", "tensorboard"))
    )
    for history in (plain, logged):
        for epoch in history["epochs"]:
            del epoch["seconds"]
    assert plain == logged


def test_what_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(ConfigError, match="Did you mean 'tensorboard'"):
        TrainingConfig(loggers=("tensorbord",))
    with pytest.raises(ConfigError, match="twice"):
        TrainingConfig(loggers=("csv", "csv"))
    with pytest.raises(TrainingError, match="run_dir"):
        trained(None, "csv")
    found = importlib.util.find_spec

    def without_mlflow(name: str) -> Any:
        return None if name == "mlflow" else found(name)

    monkeypatch.setattr("microglia.training.loggers.find_spec", without_mlflow)
    with pytest.raises(TrainingError, match="pip install mlflow"):
        trained(tmp_path, "mlflow")
