"""The contract of a Pruner, on every registered method and several networks."""

from __future__ import annotations

import copy
from collections.abc import Iterator
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.nn.functional import cross_entropy

import microglia as mg
from microglia.methods import METHODS, Change, Pruner
from microglia.methods.parts import clock
from microglia.structure.cost import macs, parameters
from zoo import CASES, make

NETWORKS = ["chain", "pre-activation", "snnTorch"]
EVERY = 3


@pytest.fixture(params=sorted(METHODS))
def method(request: pytest.FixtureRequest) -> type[Pruner]:
    return METHODS[request.param]


class Loop:
    """A network, its data, its optimizer and a pruner, stepped by hand."""

    def __init__(self, cls: type[Pruner], network: str, *, seed: int = 0, **settings: Any) -> None:
        self.model, _ = make(network, T=2, seed=seed)
        g = torch.Generator().manual_seed(seed)
        shape = (6, *CASES[network].shape[1:])
        self.x, self.y = torch.rand(shape, generator=g), torch.randint(5, (6,), generator=g)
        self.optimizer = torch.optim.AdamW(self.model.parameters(), lr=1e-2)
        if cls.needs == "training":
            settings.setdefault("every", EVERY)
        settings = {"example_input": self.x[:2], "seed": seed} | settings
        self.pruner = cls(self.model, optimizer=self.optimizer, **settings)

    def logits(self, model: nn.Module) -> Tensor:
        mg.reset(model)
        out = model(self.x)
        return out[1].mean(0) if isinstance(out, tuple) else out

    def backward(self) -> None:
        loss = cross_entropy(self.logits(self.model), self.y) + self.pruner.penalty()
        self.optimizer.zero_grad()
        loss.backward()

    def run(self, steps: int) -> list[Change]:
        changes = []
        for _ in range(steps):
            self.backward()
            self.optimizer.step()
            changes.append(self.pruner.step())
        return [c for c in changes if c is not None]

    def prune(self) -> Pruner:
        """As far as it takes for the masks to be at the budget."""
        if self.pruner.needs == "trained":
            self.pruner.calibrate([self.x])
        else:
            self.run(EVERY)
        return self.pruner


def masks(pruner: Pruner) -> dict[str, list[bool]]:
    return {name: mask.tolist() for name, mask in pruner.gates.keep().items()}


def count(model: nn.Module) -> int:
    return sum(p.numel() for p in model.parameters())


def state(module: nn.Module) -> Iterator[Tensor]:
    return iter(module.state_dict().values())


@pytest.mark.parametrize("network", NETWORKS)
@pytest.mark.parametrize("sparsity", [0.0, 0.3, 0.5, 0.8])
def test_the_budget_is_exact_and_no_layer_is_emptied(
    method: type[Pruner], network: str, sparsity: float
) -> None:
    pruner = Loop(method, network, sparsity=sparsity).prune()
    total = sum(g.size for g in pruner.structure.groups)
    assert sum(pruner.kept().values()) == total - round(sparsity * total)
    assert min(pruner.kept().values()) >= 1


@pytest.mark.parametrize("network", NETWORKS)
def test_floor_multiples_and_protected_layers(method: type[Pruner], network: str) -> None:
    first = mg.analyse(*make(network)).groups[0]
    pruner = Loop(method, network, sparsity=0.5, floor=3, protect=[first.layers[0]]).prune()
    assert first.name not in pruner.kept()
    assert min(pruner.kept().values()) >= 3

    pruner = Loop(method, network, sparsity=0.4, round_to=4).prune()
    sizes = {g.name: g.size for g in pruner.structure.groups}
    assert all(n % 4 == 0 or n == sizes[name] for name, n in pruner.kept().items())


def test_a_sparsity_for_each_group(method: type[Pruner]) -> None:
    pruner = Loop(method, "chain", sparsity={"body.4": 0.5}).prune()
    assert pruner.kept() == {"body.4": 6}


@pytest.mark.parametrize(("quantity", "cost"), [("parameters", parameters), ("macs", macs)])
def test_a_target_is_met_to_within_one_channel(
    method: type[Pruner], quantity: str, cost: Any
) -> None:
    pruner = Loop(method, "chain", target={quantity: 0.4}, linear=True).prune()
    structure, keep = pruner.structure, pruner.gates.keep()
    whole = cost(structure, structure.everything())
    matched = pruner.needs == "initialisation"  # a control comes as near as it can, also above
    assert cost(structure, keep) <= 0.4 * whole or matched
    assert cost(structure, keep) <= 0.45 * whole
    wider = []
    for group in structure.groups:
        if not keep[group.name].all():
            more = keep | {group.name: keep[group.name].clone()}
            more[group.name][(~more[group.name]).nonzero()[0]] = True
            wider.append(cost(structure, more))
    assert max(wider) > 0.4 * whole * 0.9


def test_synops_and_latency_are_targets_too(
    method: type[Pruner], monkeypatch: pytest.MonkeyPatch
) -> None:
    # A clock that counts parameters: nothing here may depend on how fast the machine is.
    monkeypatch.setattr(
        clock,
        "relative_times",
        lambda networks, dense, x: [count(small) / count(dense) for small in networks],
    )
    for quantity in ("synops", "latency"):
        if quantity == "synops" and method.needs == "initialisation":
            with pytest.raises(mg.ConfigError, match="before the network has run"):
                Loop(method, "chain", target={quantity: 0.6})
            continue
        loop = Loop(method, "chain", target={quantity: 0.6})
        pruner = loop.prune()
        assert 0 < pruner.sparsity_reached < 1
        if quantity == "latency":
            slack = 0.05 if method.needs == "initialisation" else 0.0
            assert count(pruner.compact().model) <= (0.6 + slack) * count(loop.model)


@pytest.mark.parametrize("network", NETWORKS)
def test_the_same_seed_gives_the_same_masks(method: type[Pruner], network: str) -> None:
    a, b = (masks(Loop(method, network, sparsity=0.5, seed=4).prune()) for _ in range(2))
    assert a == b


@pytest.mark.parametrize("network", NETWORKS)
def test_resume_equals_straight_run(method: type[Pruner], network: str) -> None:
    straight = Loop(method, network, sparsity=0.5)
    if method.needs == "trained":
        straight.pruner.calibrate([straight.x])
    straight.run(4)
    saved = copy.deepcopy(
        {
            "model": straight.model.state_dict(),
            "optimizer": straight.optimizer.state_dict(),
            "pruner": straight.pruner.state_dict(),
            "random": torch.get_rng_state(),  # dropout draws from it
        }
    )
    straight.run(5)

    resumed = Loop(method, network, sparsity=0.5)
    resumed.model.load_state_dict(saved["model"])
    resumed.optimizer.load_state_dict(saved["optimizer"])
    resumed.pruner.load_state_dict(saved["pruner"])
    torch.set_rng_state(saved["random"])
    resumed.run(5)
    assert masks(resumed.pruner) == masks(straight.pruner)
    assert resumed.pruner.steps == straight.pruner.steps == 9
    for a, b in zip(state(resumed.model), state(straight.model), strict=True):
        assert torch.equal(a, b)


@pytest.mark.parametrize("network", NETWORKS)
def test_compacted_computes_what_masked_computes(method: type[Pruner], network: str) -> None:
    loop = Loop(method, network, sparsity=0.5)
    pruner = loop.prune()
    before = copy.deepcopy(loop.model.state_dict())
    small = pruner.compact()
    assert small.certificate is not None
    assert small.certificate.spikes > 0
    loop.model.eval()
    assert torch.allclose(loop.logits(loop.model), loop.logits(small.model.eval()), atol=1e-5)
    for key, value in loop.model.state_dict().items():
        assert torch.equal(value, before[key])
    assert sum(p.numel() for p in small.model.parameters()) == parameters(
        pruner.structure, pruner.gates.keep()
    )


def test_detach_gives_the_users_own_network_back(method: type[Pruner]) -> None:
    plain, _ = make("chain")
    loop = Loop(method, "chain", sparsity=0.5)
    loop.prune()
    loop.pruner.detach()
    assert list(loop.model.state_dict()) == list(plain.state_dict())
    for mine, theirs in zip(loop.model.modules(), plain.modules(), strict=True):
        assert type(mine) is type(theirs)
        assert not mine._forward_hooks
        assert not mine._forward_pre_hooks
    assert not loop.optimizer._optimizer_step_post_hooks
    pruner = loop.pruner
    for call in (pruner.step, pruner.calibrate, pruner.compact, pruner.penalty, pruner.kept):
        with pytest.raises(mg.ConfigError, match=r"detached.*compact\(\) before"):
            call()
    with pytest.raises(mg.ConfigError, match="detached"):
        pruner.state_dict()
    with pytest.raises(mg.ConfigError, match="detached"):
        _ = pruner.sparsity_reached
    assert "detached" in str(pruner)


def test_a_trained_networks_method_wants_to_see_it_before_it_compacts(
    method: type[Pruner],
) -> None:
    loop = Loop(method, "chain", sparsity=0.5)
    if method.needs == "trained":
        with pytest.raises(mg.ConfigError, match=r"call calibrate\(batches\)"):
            loop.pruner.compact()
        if method.name == "activity":
            with pytest.raises(mg.ConfigError, match="pass a list"):
                loop.pruner.calibrate(loop.x)
    else:
        loop.pruner.compact()


def test_only_optimizer_steps_count(method: type[Pruner]) -> None:
    loop = Loop(method, "chain", sparsity=0.5)
    for i in range(4):
        loop.backward()  # accumulated twice, and the last one skipped, as a GradScaler would
        if i in (1, 3):
            loop.optimizer.step()
        loop.pruner.step()
    loop.backward()
    assert loop.pruner.step() is None
    assert loop.pruner.steps == 2


def test_every_rank_gets_the_same_masks(monkeypatch: pytest.MonkeyPatch) -> None:
    """Two ranks see other data; their sums are added before a choice is made."""
    ranks = [Loop(METHODS["sca"], "chain", sparsity=0.5) for _ in range(2)]
    ranks[1].x = ranks[1].x.flip(0) * 0.7
    for rank in ranks:
        for group in rank.optimizer.param_groups:
            group["lr"] = 0.0  # weights stay equal, as data-parallel training keeps them
        rank.run(EVERY - 1)
        rank.backward()
        rank.optimizer.step()
    sums = [
        [
            tensor
            for part in rank.pruner._parts.values()
            for name in ("sums", "counts")
            for tensor in getattr(part, name, {}).values()
        ]
        for rank in ranks
    ]
    reduced = [a + b for a, b in zip(*sums, strict=True)]

    def all_reduce(tensor: Tensor) -> None:
        for own, total in zip([*sums[0], *sums[1]], reduced * 2, strict=True):
            if own.shape == tensor.shape and torch.equal(own, tensor):
                tensor.copy_(total)
                return
        raise AssertionError("a tensor that is no sum of a part was reduced")

    monkeypatch.setattr(torch.distributed, "is_initialized", lambda: True)
    monkeypatch.setattr(torch.distributed, "all_reduce", all_reduce)
    for rank in ranks:
        rank.pruner.step()
    assert masks(ranks[0].pruner) == masks(ranks[1].pruner)
    assert ranks[0].pruner.changes == 1


def test_settings_out_of_range_are_refused(method: type[Pruner]) -> None:
    for settings in (
        {"sparsity": 1.0},
        {"sparsity": -0.1},
        {},
        {"sparsity": 0.5, "target": {"macs": 0.5}},
        {"target": {"wings": 0.5}},
        {"target": {"macs": 0.0}},
        {"sparsity": 0.5, "floor": 0},
        {"sparsity": 0.5, "round_to": 0},
        {"sparsity": 0.5, "residual": "loose"},
        {"sparsity": 0.5, "protect": ["bodi.0"]},
        {"sparsity": {"nowhere": 0.5}},
        {"sparsity": 0.9, "floor": 8},
        {"target": {"parameters": 0.001}},
    ):
        with pytest.raises(mg.ConfigError):
            Loop(method, "chain", **settings).prune()  # type: ignore[arg-type]


def test_a_refused_network_is_left_alone(method: type[Pruner]) -> None:
    model, x = make("chain")
    keys = list(model.state_dict())
    settings = {"every": 1} if method.needs == "training" else {}
    with pytest.raises(mg.ConfigError):
        method(model, example_input=x, sparsity=0.9, floor=8, **settings)
    assert list(model.state_dict()) == keys
    assert not any(m._forward_hooks or m._forward_pre_hooks for m in model.modules())


WRONG: dict[str, Any] = {
    "optimizer": "adam",
    "target": 0.4,
    "seed": "a",
    "protect": "body*",
    "example_input": None,
}


@pytest.mark.parametrize("name", WRONG)
def test_a_setting_of_the_wrong_kind_leaves_the_network_alone(
    method: type[Pruner], name: str
) -> None:
    model, x = make("chain")
    keys = list(model.state_dict())
    settings: dict[str, Any] = {"example_input": x, name: WRONG[name]}
    settings |= {"every": 1} if method.needs == "training" else {}
    settings |= {} if name == "target" else {"sparsity": 0.5}
    with pytest.raises(mg.ConfigError, match=name):
        method(model, **settings)
    assert list(model.state_dict()) == keys


def test_what_is_no_network_is_refused(method: type[Pruner]) -> None:
    settings = {"every": 1} if method.needs == "training" else {}
    with pytest.raises(mg.ConfigError, match="wanted a network"):
        method(None, example_input=torch.rand(2), sparsity=0.5, **settings)  # type: ignore[arg-type]


def test_an_optimizer_of_another_network_is_refused(method: type[Pruner]) -> None:
    (model, x), (other, _) = make("chain"), make("chain")
    settings = {"every": 1} if method.needs == "training" else {}
    with pytest.raises(mg.ConfigError, match="none of the network's parameters"):
        method(
            model,
            example_input=x,
            sparsity=0.5,
            optimizer=torch.optim.SGD(other.parameters(), lr=0.1),
            **settings,
        )


def test_an_optimizer_that_never_steps_is_noticed(method: type[Pruner]) -> None:
    loop = Loop(method, "chain", sparsity=0.5)
    for _ in range(99):
        loop.pruner.step()
    with pytest.warns(UserWarning, match="never stepped"):
        loop.pruner.step()


@pytest.mark.parametrize("seed", range(5))
def test_a_noisy_clock_moves_a_latency_target_little(
    method: type[Pruner], seed: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    dice = torch.Generator().manual_seed(seed)

    def noisy(networks: list[nn.Module], dense: nn.Module, x: Any) -> list[float]:
        noise = 0.2 * torch.randn(len(networks), generator=dice)
        return [
            count(small) / count(dense) * (1 + float(n))
            for small, n in zip(networks, noise, strict=True)
        ]

    monkeypatch.setattr(clock, "relative_times", noisy)
    loop = Loop(method, "chain", target={"latency": 0.6})
    reached = count(loop.prune().compact().model) / count(loop.model)
    assert 0.35 < reached < 0.85


def test_clocks_are_of_the_networks_in_their_order() -> None:
    class Slow(nn.Module):
        def __init__(self, loops: int) -> None:
            super().__init__()
            self.loops = loops

        def forward(self, x: Tensor) -> Tensor:
            for _ in range(self.loops):
                x = x @ x
            return x

    times = clock.relative_times([Slow(2), Slow(40)], Slow(200), torch.eye(60))
    assert times.shape == (2,)
    assert 0 < times[0] < times[1]


def test_a_network_holds_one_pruner_at_a_time(method: type[Pruner]) -> None:
    loop = Loop(method, "chain", sparsity=0.5)
    with pytest.raises(mg.ConfigError, match="detach"):
        mg.Random(loop.model, example_input=loop.x[:2], sparsity=0.5)
    loop.pruner.detach()
    mg.Random(loop.model, example_input=loop.x[:2], sparsity=0.5)


def test_a_state_of_another_method_is_refused(method: type[Pruner]) -> None:
    loop = Loop(method, "chain", sparsity=0.5)
    with pytest.raises(mg.ConfigError, match="state is of"):
        loop.pruner.load_state_dict({**loop.pruner.state_dict(), "method": "other"})
