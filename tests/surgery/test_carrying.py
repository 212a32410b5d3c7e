"""Optimizer, scheduler, average, ledger and files go along with a cut."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.nn.functional import cross_entropy
from torch.optim import lr_scheduler
from torch.optim.swa_utils import AveragedModel

import microglia as mg
import zoo
from microglia.surgery import Compact, files

OPTIMIZERS: dict[str, Any] = {
    "SGD": lambda p: torch.optim.SGD(p, lr=0.05, momentum=0.9, nesterov=True),
    "Adam": lambda p: torch.optim.Adam(p, lr=0.01),
    "AdamW": lambda p: torch.optim.AdamW(p, lr=0.01),
}


class Trained:
    """A small network pruned after a few steps; dropout-free, so that two runs can be compared."""

    def __init__(self, optimizer: str = "AdamW", network: str = "pre-activation") -> None:
        self.model, _ = zoo.make(network, T=2)
        g = torch.Generator().manual_seed(0)
        self.x = torch.rand(4, *zoo.CASES[network].shape[1:], generator=g)
        self.y = torch.randint(5, (4,), generator=g)
        self.optimizer = OPTIMIZERS[optimizer](self.model.parameters())
        self.scheduler = torch.optim.lr_scheduler.StepLR(self.optimizer, 3, 0.5)
        self.pruner = mg.SCA(
            self.model,
            sparsity=0.5,
            example_input=self.x,
            optimizer=self.optimizer,
            every=2,
            until=4,
            penalty=0.0,
        )
        self.average = AveragedModel(self.model)
        for _ in range(5):
            self.step(self.model, self.optimizer)
            self.scheduler.step()
            self.pruner.step()

    def step(self, model: nn.Module, optimizer: torch.optim.Optimizer) -> float:
        mg.reset(model)
        loss = cross_entropy(model(self.x), self.y)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        return float(loss.detach())


@pytest.mark.parametrize("optimizer", sorted(OPTIMIZERS))
def test_training_goes_on_as_if_nothing_had_been_cut(optimizer: str) -> None:
    """The compacted network's steps are the masked network's, on the channels that are left."""
    run = Trained(optimizer)
    small = run.pruner.compact(scheduler=run.scheduler)
    assert small.optimizer is not None
    assert small.scheduler is not None
    assert small.scheduler.get_last_lr() == run.scheduler.get_last_lr()
    small.model.train()
    for _ in range(3):
        masked = run.step(run.model, run.optimizer)
        assert run.step(small.model, small.optimizer) == pytest.approx(masked, abs=1e-5)
        run.scheduler.step()
        small.scheduler.step()
        assert small.optimizer.param_groups[0]["lr"] == run.optimizer.param_groups[0]["lr"]
    again = run.pruner.compact()
    for name, value in again.model.state_dict().items():
        assert torch.allclose(value, small.model.state_dict()[name], atol=1e-4), name
    live = {id(p) for p in small.model.parameters()}
    assert {id(p) for g in small.optimizer.param_groups for p in g["params"]} == live


SCHEDULERS: dict[str, Any] = {
    "StepLR": lambda o: lr_scheduler.StepLR(o, 3, 0.5),
    "MultiStepLR": lambda o: lr_scheduler.MultiStepLR(o, [2, 6], 0.3),
    "CosineAnnealingLR": lambda o: lr_scheduler.CosineAnnealingLR(o, 12),
    "OneCycleLR": lambda o: lr_scheduler.OneCycleLR(o, 0.1, total_steps=20),
    "LambdaLR": lambda o: lr_scheduler.LambdaLR(o, [lambda s: 0.9**s, lambda s: 0.8**s]),
    "SequentialLR": lambda o: lr_scheduler.SequentialLR(
        o, [lr_scheduler.LinearLR(o, 0.1, total_iters=7), lr_scheduler.StepLR(o, 2)], [7]
    ),
    "ReduceLROnPlateau": lambda o: lr_scheduler.ReduceLROnPlateau(o, patience=2),
}


@pytest.mark.parametrize("name", SCHEDULERS)
def test_every_schedule_goes_on_at_its_place(name: str) -> None:
    """Two groups of parameters, each with a rate of its own."""
    model, x = zoo.make("chain")
    last = list(model.body[-1].parameters())
    first = [p for p in model.parameters() if all(p is not q for q in last)]
    optimizer = torch.optim.SGD([{"params": first}, {"params": last, "lr": 0.5}], lr=0.1)
    scheduler = SCHEDULERS[name](optimizer)

    def rates(o: torch.optim.Optimizer, s: Any) -> list[float]:
        o.step()
        s.step(1.0) if name == "ReduceLROnPlateau" else s.step()
        return [group["lr"] for group in o.param_groups]

    for _ in range(4):
        rates(optimizer, scheduler)
    pruner = mg.Magnitude(model, sparsity=0.5, example_input=x, optimizer=optimizer)
    pruner.calibrate()
    small = pruner.compact(scheduler=scheduler)
    assert small.optimizer is not None
    assert type(small.scheduler) is type(scheduler)
    theirs = [rates(small.optimizer, small.scheduler) for _ in range(6)]
    assert theirs == [rates(optimizer, scheduler) for _ in range(6)]
    assert theirs[0] != theirs[-1]


def test_the_moving_average_is_cut_alike() -> None:
    run = Trained()
    run.average.update_parameters(run.model)
    with torch.no_grad():
        for p in run.average.module.parameters():
            p.mul_(1.5)
    small = run.pruner.compact(average=run.average)
    assert isinstance(small.average, AveragedModel)
    assert torch.allclose(
        outputs(small.average.module.eval(), run.x), outputs(run.average.module.eval(), run.x)
    )
    assert not torch.allclose(
        outputs(small.average.module, run.x), outputs(small.model.eval(), run.x)
    )
    run.average.update_parameters(run.model)
    small.average.update_parameters(small.model)
    assert torch.allclose(outputs(small.average, run.x), outputs(run.average, run.x), atol=1e-6)


def test_an_average_from_before_the_pruner_is_refused() -> None:
    model, x = zoo.make("chain")
    average = AveragedModel(model)
    pruner = mg.Magnitude(model, sparsity=0.5, example_input=x)
    pruner.calibrate()
    with pytest.raises(mg.ConfigError, match="after the pruner"):
        pruner.compact(average=average)


def test_a_state_of_another_shape_is_refused() -> None:
    run = Trained("SGD")
    p = next(run.model.parameters())
    run.optimizer.state[p]["odd"] = torch.zeros(3, 7)
    with pytest.raises(mg.ConfigError, match="odd"):
        run.pruner.compact()


def outputs(model: nn.Module, x: Tensor) -> Tensor:
    mg.reset(model)
    with torch.no_grad():
        return model.eval()(x)


def test_remembered_channels_come_back_as_they_were() -> None:
    run = Trained()
    small = run.pruner.compact()
    removed = small.ledger.removed()
    assert any(removed.values())
    wide = mg.regrow(small.model, small.ledger, channels=removed, optimizer=small.optimizer)
    run.pruner.detach()
    assert torch.equal(outputs(wide.model, run.x), outputs(run.model, run.x))
    for (n, a), (m, b) in zip(
        wide.model.named_parameters(), run.model.named_parameters(), strict=True
    ):
        assert n == m
        assert torch.equal(a, b)
    wide.model.train()
    run.step(wide.model, wide.optimizer)


def test_fresh_channels_change_nothing_at_first() -> None:
    run = Trained(network="chain")
    small = run.pruner.compact()
    some = {n: ids[:2] for n, ids in small.ledger.removed().items()}
    grown = mg.regrow(small.model, small.ledger, channels=some, weights="fresh", seed=3)
    assert torch.allclose(outputs(grown.model, run.x), outputs(small.model, run.x), atol=1e-5)
    with pytest.raises(mg.ConfigError, match="can't be regrown"):
        mg.regrow(grown.model, grown.ledger, channels=some)
    with pytest.raises(mg.ConfigError, match="no group"):
        mg.regrow(grown.model, grown.ledger, channels={"nowhere": [0]})


def test_ids_stay_the_original_ones_over_two_cuts() -> None:
    run = Trained(network="chain")
    first = run.pruner.compact()
    again = mg.Random(first.model, example_input=run.x, sparsity=0.5, ledger=first.ledger, seed=5)
    second = again.compact()
    for name in again.kept():
        ids = second.ledger.ids()[name]
        assert set(ids) < set(first.ledger.ids()[name]) or len(ids) == 1
    back = mg.regrow(
        second.model,
        second.ledger,
        channels={
            n: sorted(set(first.ledger.ids()[n]) - set(ids))
            for n, ids in second.ledger.ids().items()
        },
    )
    again.detach()
    assert torch.equal(outputs(back.model, run.x), outputs(first.model, run.x))


@pytest.fixture
def saved(tmp_path: Path) -> tuple[Compact, Path]:
    run = Trained(network="chain")
    small = run.pruner.compact()
    return small, mg.save(small, tmp_path / "net")


@pytest.mark.parametrize(
    "name", ["chain", "snnTorch", "concatenation, groups", "plain PyTorch, shared"]
)
def test_saved_and_loaded_is_the_same(name: str, tmp_path: Path) -> None:
    model, x = zoo.make(name, T=4)
    pruner = mg.Random(model, example_input=x, sparsity=0.5, linear=True)
    small = pruner.compact()
    path = mg.save(small, tmp_path / "net")
    unpruned, _ = zoo.make(name, T=4, seed=9)
    loaded = mg.load(path, unpruned)
    a, b = outputs(small.model, x), outputs(loaded, x)
    first = lambda y: y[0] if isinstance(y, tuple) else y  # noqa: E731
    assert torch.equal(first(a), first(b))
    assert sorted(p.name for p in path.iterdir()) == [files.STRUCTURE, files.WEIGHTS]


def test_damaged_files_are_refused_by_name(saved: tuple[Compact, Path]) -> None:
    _, path = saved
    fresh = lambda: zoo.make("chain", seed=9)[0]  # noqa: E731
    with pytest.raises(mg.DataError, match="missing"):
        mg.load(path / "nowhere", fresh())
    with pytest.raises(mg.ConfigError, match="not of this network"):
        mg.load(path, zoo.make("pre-activation")[0])
    with pytest.raises(mg.ConfigError, match="pass an unpruned one"):
        mg.load(path)
    record = json.loads((path / files.STRUCTURE).read_text())
    (path / files.STRUCTURE).write_text("{")
    with pytest.raises(mg.DataError, match="can't be read"):
        mg.load(path, fresh())
    (path / files.STRUCTURE).write_text(json.dumps(record))
    whole = (path / files.WEIGHTS).read_bytes()
    (path / files.WEIGHTS).write_bytes(whole[: len(whole) // 2])
    with pytest.raises(mg.DataError, match="damaged"):
        mg.load(path, fresh())


def test_a_full_disk_leaves_nothing_behind(
    saved: tuple[Compact, Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    small, path = saved
    before = {p.name: p.read_bytes() for p in path.iterdir()}

    def full(*args: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(files, "save_file", full)
    for place in (path, path.parent / "other"):
        with pytest.raises(mg.DataError, match="nothing was left behind"):
            mg.save(small, place)
    assert [p.name for p in path.parent.iterdir()] == ["net"]
    assert {p.name: p.read_bytes() for p in path.iterdir()} == before
