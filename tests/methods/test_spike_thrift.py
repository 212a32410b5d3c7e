"""Spike-Thrift: counts exact, regrowth in proportion to the layers' momentum."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
from rewiring_by_hand import (
    Watched,
    assert_new_weights_start_at_zero,
    assert_smallest,
    seats,
)
from test_contract import NETWORKS
from torch import Tensor, nn

import microglia as mg
from microglia.frameworks import fresh_copy, spiking_neurons
from microglia.methods.parts import attention
from zoo import make


@pytest.mark.parametrize("network", NETWORKS)
@pytest.mark.parametrize("sparsity", [0.5, 0.9])
def test_layers_regrow_by_their_share_of_the_momentum(network: str, sparsity: float) -> None:
    loop = Watched(mg.SpikeThrift, network, sparsity=sparsity, rate=0.6, until=12)
    sizes = loop.pruner.sizes()
    total = sum(sizes.values()) - round(sparsity * sum(sizes.values()))
    for name, kept in loop.pruner.kept().items():
        assert abs(kept - (1 - sparsity) * sizes[name]) <= 1
    moved_between = False
    for update in (3, 6, 9, 12):
        seen = loop.next_update()
        assert sum(loop.pruner.kept().values()) == total
        p = min(0.6 * (1 - update / 12), (sum(sizes.values()) - total) / total)
        left = {n: max(1, k - int(p * k)) for n, k in count(seen.before).items()}
        mu = {n: float(m.abs()[seen.before[n]].mean()) for n, m in seen.momentum.items()}
        rooms = {n: int((~mask).sum()) for n, mask in seen.before.items()}
        owed = seats(mu, rooms, total - sum(left.values()))
        for name, before in seen.before.items():
            after, weight = seen.after[name], seen.weights[name].abs()
            closed, signal = int(before.sum()) - left[name], -seen.momentum[name].abs()
            assert_smallest(weight, before & ~after, among=before, count=closed)
            assert_smallest(signal, after & ~before, among=~before, count=owed[name])
        assert_new_weights_start_at_zero(loop, seen)
        moved_between |= count(seen.before) != count(seen.after)
    assert moved_between
    assert loop.run(6) == []


def count(masks: dict[str, Tensor]) -> dict[str, int]:
    return {name: int(mask.sum()) for name, mask in masks.items()}


def test_the_scope_layer_leaves_each_layer_its_number() -> None:
    loop = Watched(mg.SpikeThrift, "chain", sparsity=0.8, scope="layer", rate=0.5)
    kept = loop.pruner.kept()
    for _ in range(3):
        seen = loop.next_update()
        assert sum(len(opened) for opened in seen.change.regrown.values()) > 0
        assert loop.pruner.kept() == kept


def test_floors_hold_while_weights_move() -> None:
    loop = Watched(mg.SpikeThrift, "chain", sparsity=0.95, floor=20)
    for _ in range(4):
        loop.next_update()
        assert min(loop.pruner.kept().values()) >= 20


@pytest.mark.parametrize("rate", [-0.1, 1.1])
def test_settings_out_of_range(rate: float) -> None:
    model, x = make("chain")
    with pytest.raises(mg.ConfigError, match="rate"):
        mg.SpikeThrift(model, sparsity=0.5, every=1, rate=rate, example_input=x)


def taught(network: str, **settings: Any) -> tuple[Watched, nn.Module]:
    teacher, _ = make(network, T=2, seed=7)
    return Watched(mg.SpikeThrift, network, sparsity=0.8, teacher=teacher, **settings), teacher


def maps(network: nn.Module, run: Callable[[], object]) -> dict[str, Tensor]:
    """Activity maps of a run by the definition, from spikes that other hooks write down."""
    seen: dict[str, list[Tensor]] = {}
    handles = []
    for name, module in spiking_neurons(network).items():

        def write(module: nn.Module, args: Any, out: Any, name: str = name) -> None:
            spikes = out[0] if isinstance(out, tuple) else out
            seen.setdefault(name, []).append(spikes)

        handles.append(module.register_forward_hook(write))
    run()
    for handle in handles:
        handle.remove()
    found = {}
    for name, calls in seen.items():
        over_time = calls[0] if calls[0].dim() == 5 else torch.stack(calls)
        if over_time.dim() == 5:
            q = over_time.sum(0).square().sum(1).flatten(1)
            found[name] = q / q.norm(dim=1, keepdim=True).clamp(min=1e-12)
    return found


@pytest.mark.parametrize("network", NETWORKS)
def test_the_penalty_is_the_distance_of_the_activity_maps(network: str) -> None:
    loop, teacher = taught(network, attention=3.0)
    for _ in range(2):  # the second batch knows nothing of the first
        random = torch.get_rng_state()  # dropout draws from it
        mine = maps(loop.model, lambda: loop.logits(loop.model))
        loop.pruner.penalty()
        theirs = maps(teacher, lambda: loop.logits(teacher))
        distance = sum((mine[n] - theirs[n]).norm(dim=1).mean() for n in theirs)
        assert len(theirs) >= 2
        assert distance.item() > 0
        torch.set_rng_state(random)
        loop.logits(loop.model)
        penalty = loop.pruner.penalty()
        assert penalty.item() == pytest.approx(1.5 * distance.item(), rel=1e-4)
        penalty.backward()
        first = next(iter(loop.masks.weights.values()))
        assert bool(first.grad.any())
        assert all(p.grad is None for p in teacher.parameters())
        loop.run(1)


def test_a_network_is_no_distance_from_itself() -> None:
    teacher, x = make("chain", seed=0)
    model, _ = make("chain", seed=0)
    pruner = mg.SpikeThrift(model.eval(), sparsity=0.0, every=1, example_input=x, teacher=teacher)
    model.train()
    for module in model.modules():
        if isinstance(module, nn.modules.batchnorm._BatchNorm):
            module.eval()
    mg.reset(model)
    model(x)
    assert pruner.penalty().item() == 0.0
    model.eval()
    mg.reset(model)
    model(x)
    assert not any(pruner._parts["attention"].counts)  # only training counts


def test_layers_add_up_in_the_networks_order_in_every_process(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """A set has another order in each process, and so had a resumed run another sum."""
    loop, _ = taught("chain")
    maps = loop.pruner._parts["attention"]
    assert isinstance(maps, attention.Attention)
    for counts in maps.counts:
        counts.update({f"layer {i}": torch.full((1, 2, 3), 1.0 + i) for i in range(8)})
    seen: list[float] = []
    plain = attention._map
    monkeypatch.setattr(
        attention, "_map", lambda counts: (seen.append(float(counts.max())), plain(counts))[1]
    )
    maps.distance()
    assert seen == [1.0 + i for i in range(8) for _ in range(2)]


def test_a_copy_has_no_teacher_and_detach_lets_it_go() -> None:
    loop, teacher = taught("chain")
    loop.run(3)
    copied = fresh_copy(loop.model)
    mg.reset(copied)
    copied.train()(loop.x)
    assert not any(loop.pruner._parts["attention"].counts)
    loop.pruner.compact()
    loop.pruner.detach()
    for network in (loop.model, teacher):
        assert not any(m._forward_hooks or m._forward_pre_hooks for m in network.modules())


def test_a_teacher_of_another_shape_is_refused() -> None:
    model, x = make("chain")
    keys = list(model.state_dict())
    wrong = {
        "the network itself": model,
        "a str": "dense",
        r"'body\.0\.weight'.*missing there": nn.Linear(3, 4),
    }
    for named, teacher in wrong.items():
        with pytest.raises(mg.ConfigError, match=f"teacher: .*{named}"):
            mg.SpikeThrift(model, sparsity=0.5, every=1, example_input=x, teacher=teacher)
    with pytest.raises(mg.ConfigError, match="attention"):
        mg.SpikeThrift(model, sparsity=0.5, every=1, example_input=x, attention=-1.0)
    assert list(model.state_dict()) == keys
