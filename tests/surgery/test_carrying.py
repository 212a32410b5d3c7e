"""The optimizer, the schedule and the average go on as if nothing had been removed."""

from __future__ import annotations

import copy
from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.optim import SGD, Adam, AdamW, Optimizer, RMSprop
from torch.optim.lr_scheduler import (
    CosineAnnealingLR,
    LambdaLR,
    LinearLR,
    LRScheduler,
    MultiStepLR,
    OneCycleLR,
    SequentialLR,
)
from torch.optim.swa_utils import AveragedModel, get_ema_multi_avg_fn

import microglia as mg
import zoo
from microglia.gates import Gates
from microglia.structure import Structure
from microglia.surgery import compact, regrow
from microglia.surgery.cut import narrowed, tensor_at

OPTIMIZERS: dict[str, Callable[[Any], Optimizer]] = {
    "SGD": lambda p: SGD(p, lr=0.05),
    "SGD, momentum": lambda p: SGD(p, lr=0.05, momentum=0.9, weight_decay=1e-3, nesterov=True),
    "Adam": lambda p: Adam(p, lr=0.01),
    "Adam, amsgrad": lambda p: Adam(p, lr=0.01, amsgrad=True),
    "AdamW": lambda p: AdamW(p, lr=0.01, weight_decay=0.1),
    "AdamW, foreach": lambda p: AdamW(p, lr=0.01, foreach=True),
    "RMSprop": lambda p: RMSprop(p, lr=0.01, momentum=0.5, centered=True),
}


def learn(model: nn.Module, optimizer: Optimizer, x: Tensor, *, steps: int, seed: int = 0) -> None:
    model.train()
    for i in range(steps):
        torch.manual_seed(seed * 100 + i)
        mg.reset(model)
        out = model(x)
        out = out[1] if isinstance(out, tuple) else out
        target = torch.linspace(-1, 1, out.numel(), dtype=out.dtype).view(out.shape)
        optimizer.zero_grad()
        (out - target).square().mean().backward()
        optimizer.step()


def narrow(structure: Structure, keep: dict[str, Tensor], name: str, value: Tensor) -> Tensor:
    """The kept positions of a tensor that belongs to the leaf of this name."""
    leaf = next(i for i, names in enumerate(structure.leaves) if name in names)
    return narrowed(value, {d: p for (i, d), p in structure.positions(keep).items() if i == leaf})


# Without dropout, and without what couples channels: then a removed channel changes nothing.
PLAIN = ["adaptive pooling, PLIF", "pre-activation", "recurrent, single-step", "decoder", "dense"]


@pytest.mark.parametrize("name", PLAIN)
@pytest.mark.parametrize(
    "kind",
    zoo.whole_or_sampled(["SGD, momentum", "Adam", "AdamW"], OPTIMIZERS),
)
def test_the_next_steps_are_those_of_the_masked_network(name: str, kind: str) -> None:
    """Three more steps of the compacted network and of the masked one agree on what is kept."""
    model, x = zoo.make(name, T=3)
    model, x = model.double(), x.double()
    structure = zoo.structure_of(name, T=3)
    optimizer = OPTIMIZERS[kind](model.parameters())
    learn(model, optimizer, x, steps=2)
    keep = zoo.random_keep(structure, 0.4, seed=3)
    Gates(model, structure).set(keep)
    learn(model, optimizer, x, steps=2, seed=1)
    small = compact(model, structure, keep, example_input=x, optimizer=optimizer)
    assert small.optimizer is not None
    assert type(small.optimizer) is type(optimizer)
    before = copy.deepcopy(optimizer.state_dict())
    learn(small.model, small.optimizer, x, steps=3, seed=2)
    assert zoo.same(optimizer.state_dict()["state"], before["state"]), "the old one was stepped"
    learn(model, optimizer, x, steps=3, seed=2)
    for key, value in small.model.state_dict().items():
        full = tensor_at(model, key)
        expected = narrow(structure, keep, key, full)
        assert torch.allclose(value.double(), expected.double(), rtol=1e-9, atol=1e-11), key
    for (key, p), (_, wide) in zip(
        small.model.named_parameters(), model.named_parameters(), strict=True
    ):
        for entry, value in small.optimizer.state[p].items():
            theirs = optimizer.state[wide][entry]
            if isinstance(value, Tensor) and value.dim():
                theirs = narrow(structure, keep, key, theirs)
                assert value.shape == p.shape
            if isinstance(value, Tensor):
                assert torch.allclose(value, theirs, rtol=1e-8, atol=1e-11), (key, entry)


def test_groups_settings_and_foreign_parameters_go_along() -> None:
    model, x = zoo.make("chain")
    structure = zoo.structure_of("chain")
    outside = nn.Parameter(torch.ones(3))
    norms = [p for m in model.modules() if isinstance(m, nn.BatchNorm2d) for p in m.parameters()]
    rest = [p for p in model.parameters() if all(p is not n for n in norms)]
    optimizer = SGD(
        [
            {"params": norms, "lr": 0.5, "weight_decay": 0.0},
            {"params": [*rest, outside], "lr": 0.1, "momentum": 0.9},
        ]
    )
    learn(model, optimizer, x, steps=1)
    keep = zoo.random_keep(structure, 0.5, 0)
    Gates(model, structure).set(keep)
    small = compact(model, structure, keep, example_input=x, optimizer=optimizer)
    assert small.optimizer is not None
    first, second = small.optimizer.param_groups
    assert (first["lr"], first["weight_decay"], second["momentum"]) == (0.5, 0.0, 0.9)
    assert any(p is outside for p in second["params"])
    mine = {id(p) for p in small.model.parameters()} | {id(outside)}
    assert {id(p) for g in small.optimizer.param_groups for p in g["params"]} == mine
    assert [len(g["params"]) for g in small.optimizer.param_groups] == [4, len(rest) + 1]
    optimizer.param_groups[0]["lr"] = 99.0
    assert first["lr"] == 0.5


def test_a_saved_state_of_the_carried_optimizer_loads_into_a_new_one() -> None:
    model, x = zoo.make("chain")
    structure = zoo.structure_of("chain")
    optimizer = AdamW(model.parameters(), lr=0.01)
    learn(model, optimizer, x, steps=2)
    keep = zoo.random_keep(structure, 0.5, 0)
    Gates(model, structure).set(keep)
    small = compact(model, structure, keep, example_input=x, optimizer=optimizer)
    assert small.optimizer is not None
    twin = copy.deepcopy(small.model)
    fresh = AdamW(twin.parameters(), lr=1.0)
    fresh.load_state_dict(copy.deepcopy(small.optimizer.state_dict()))
    learn(small.model, small.optimizer, x, steps=2, seed=5)
    learn(twin, fresh, x, steps=2, seed=5)
    assert zoo.same(small.model.state_dict(), twin.state_dict())


def test_a_state_of_another_shape_is_refused() -> None:
    class Odd(SGD):
        pass

    model, x = zoo.make("chain")
    structure = zoo.structure_of("chain")
    optimizer = Odd(model.parameters(), lr=0.1)
    weight = model.body[0].weight
    optimizer.state[weight]["rows"] = torch.zeros(weight.shape[0])
    keep = zoo.random_keep(structure, 0.5, 0)
    Gates(model, structure).set(keep)
    with pytest.raises(mg.ConfigError, match=r"'rows' for body\.0\.weight"):
        compact(model, structure, keep, example_input=x, optimizer=optimizer)


SCHEDULES: dict[str, Callable[[Optimizer], LRScheduler]] = {
    "cosine": lambda o: CosineAnnealingLR(o, T_max=12),
    "steps": lambda o: MultiStepLR(o, milestones=[2, 5, 7], gamma=0.3),
    "lambda": lambda o: LambdaLR(o, lambda i: 1 / (i + 1)),
    "one cycle": lambda o: OneCycleLR(o, max_lr=0.4, total_steps=20),
    "sequence": lambda o: SequentialLR(
        o, [LinearLR(o, 0.1, 1.0, 3), CosineAnnealingLR(o, 9)], milestones=[3]
    ),
}


@pytest.mark.parametrize("schedule", SCHEDULES)
@pytest.mark.parametrize("done", [1, 5])
def test_the_schedule_goes_on_at_the_same_rate(schedule: str, done: int) -> None:
    model, x = zoo.make("chain")
    structure = zoo.structure_of("chain")
    optimizer = SGD(model.parameters(), lr=0.2, momentum=0.9)
    scheduler = SCHEDULES[schedule](optimizer)
    for _ in range(done):
        learn(model, optimizer, x, steps=1)
        scheduler.step()
    keep = zoo.random_keep(structure, 0.5, 0)
    Gates(model, structure).set(keep)
    small = compact(
        model, structure, keep, example_input=x, optimizer=optimizer, scheduler=scheduler
    )
    assert small.optimizer is not None
    assert small.scheduler is not None
    assert small.optimizer.param_groups[0]["lr"] == optimizer.param_groups[0]["lr"]
    rates: list[list[float]] = []
    for net, opt, sch in (
        (small.model, small.optimizer, small.scheduler),
        (model, optimizer, scheduler),
    ):
        rates.append([])
        for _ in range(4):
            learn(net, opt, x, steps=1)
            sch.step()
            rates[-1].append(opt.param_groups[0]["lr"])
            assert sch.get_last_lr() == [opt.param_groups[0]["lr"]]
    assert rates[0] == rates[1]
    assert len(set(rates[0])) > 1 or schedule == "steps"


@pytest.mark.parametrize("use_buffers", [False, True])
@pytest.mark.parametrize("gated_first", [True, False])
def test_the_moving_average_is_cut_and_goes_on(use_buffers: bool, gated_first: bool) -> None:
    if use_buffers and not gated_first:
        pytest.skip("torch pairs buffers by position, so gates must be there from the start")
    model, x = zoo.make("chain, single-step", T=3)
    structure = zoo.structure_of("chain, single-step", T=3)
    settings = {"multi_avg_fn": get_ema_multi_avg_fn(0.8), "use_buffers": use_buffers}
    gates = Gates(model, structure) if gated_first else None
    average = AveragedModel(model, **settings)
    optimizer = SGD(model.parameters(), lr=0.1)
    for _ in range(3):
        learn(model, optimizer, x, steps=1)
        average.update_parameters(model)
    keep = zoo.random_keep(structure, 0.5, 0)
    (gates or Gates(model, structure)).set(keep)
    small = compact(model, structure, keep, example_input=x, optimizer=optimizer, average=average)
    carried = small.average
    assert isinstance(carried, AveragedModel)
    assert int(carried.n_averaged) == 3
    for key, p in carried.module.named_parameters():
        assert torch.equal(p, narrow(structure, keep, key, tensor_at(average.module, key)))
        assert tensor_at(small.model, key).shape == p.shape
    assert all("channel_gate" not in k for k in carried.state_dict())
    expected = {
        k: 0.8 * p.detach() + 0.2 * tensor_at(small.model, k).detach()
        for k, p in carried.module.named_parameters()
    }
    carried.update_parameters(small.model)
    for key, p in carried.module.named_parameters():
        assert torch.allclose(p, expected[key], atol=1e-6)
    mg.reset(carried)
    carried(x)


def test_compacting_leaves_the_training_as_it_was() -> None:
    model, x = zoo.make("chain", T=3)
    structure = zoo.structure_of("chain", T=3)
    optimizer = AdamW(model.parameters(), lr=0.01)
    scheduler = CosineAnnealingLR(optimizer, 10)
    learn(model, optimizer, x, steps=2)
    scheduler.step()
    keep = zoo.random_keep(structure, 0.5, 0)
    Gates(model, structure).set(keep)
    mg.reset(model)
    before = zoo.snapshot(model)
    states = copy.deepcopy((optimizer.state_dict(), scheduler.state_dict()))
    compact(model, structure, keep, example_input=x, optimizer=optimizer, scheduler=scheduler)
    after = zoo.snapshot(model)
    assert before.keys() == after.keys()
    assert not [k for k in before if not zoo.same(before[k], after[k])]
    assert zoo.same(states[0], optimizer.state_dict())
    assert zoo.same(states[1], scheduler.state_dict())


@pytest.mark.parametrize("kind", ["SGD, momentum", "AdamW"])
def test_what_is_regrown_starts_with_no_momentum_and_the_rest_keeps_its_own(kind: str) -> None:
    model, x = zoo.make("chain", T=3)
    structure = zoo.structure_of("chain", T=3)
    optimizer = OPTIMIZERS[kind](model.parameters())
    learn(model, optimizer, x, steps=2)
    keep = zoo.random_keep(structure, 0.5, 0)
    Gates(model, structure).set(keep)
    small = compact(model, structure, keep, example_input=x, optimizer=optimizer)
    back = int((~keep["body.4"]).nonzero()[0])
    grown = regrow(
        small.model, small.ledger, channels={"body.4": [back]}, optimizer=small.optimizer
    )
    assert grown.optimizer is not None
    assert small.optimizer is not None
    key = "momentum_buffer" if "SGD" in kind else "exp_avg"
    weight = grown.model.body[4].weight
    state = grown.optimizer.state[weight][key]
    row = grown.ledger.ids()["body.4"].index(back)
    assert not state[row].any()
    others = torch.arange(len(state)) != row
    theirs = small.optimizer.state[small.model.body[4].weight][key]
    assert torch.equal(state[others], theirs)
    learn(grown.model, grown.optimizer, x, steps=2)
