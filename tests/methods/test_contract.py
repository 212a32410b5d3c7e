"""The contract of a Pruner, on every registered method and several networks."""

from __future__ import annotations

import copy
import inspect
from collections.abc import Iterator
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.nn.functional import cross_entropy

import microglia as mg
from microglia.methods import METHODS, Change, Pruner
from microglia.structure.cost import parameters
from zoo import CASES, make, same, snapshot

NETWORKS = ["chain", "pre-activation", "snnTorch"]
EVERY = 3
WITH_RECURRENCE = {
    "chain": "recurrent, multi-step",
    "pre-activation": "recurrent, hand-written",
    "snnTorch": "snnTorch",
    "recurrent, adaptive": "recurrent, hand-written",
}
"""What stands for each network with a method that prunes recurrent synapses alone."""

NO_NORM = {"chain": ["body.10"], "pre-activation": [], "snnTorch": ["conv2", "fc1"]}
"""Layers that a score of norms can't rank, and refuses."""

SOON: dict[str, dict[str, Any]] = {
    "ndsnn": {"until": EVERY},
    "lottery-ticket": {"rounds": 2},
}
"""By which a method comes to its budget after EVERY steps, where it doesn't at its first update."""


@pytest.fixture(params=sorted(METHODS))
def method(request: pytest.FixtureRequest) -> type[Pruner]:
    return METHODS[request.param]


class Loop:
    """A network, its data, its optimizer and a pruner, stepped by hand."""

    def __init__(self, cls: type[Pruner], network: str, *, seed: int = 0, **settings: Any) -> None:
        case = CASES[network_for(cls, network)]
        self.model, _ = make_for(cls, network, seed=seed)
        self.time_first = case.time_first
        g = torch.Generator().manual_seed(seed)
        shape = (2, 6, *case.shape[1:]) if case.time_first else (6, *case.shape[1:])
        self.x, self.y = torch.rand(shape, generator=g), torch.randint(5, (6,), generator=g)
        self.optimizer = torch.optim.AdamW(self.model.parameters(), lr=1e-2)
        if cls.needs == "training":
            settings.setdefault("every", EVERY)
        if emerges(cls) or "until" in required(cls):
            settings.setdefault("until", EVERY)
        if cls.name == "slimming":
            settings["protect"] = [*settings.get("protect", []), *NO_NORM[network]]
        settings = {"example_input": self.example, "seed": seed} | SOON.get(cls.name, {}) | settings
        self.pruner = cls(self.model, optimizer=self.optimizer, **settings)

    @property
    def example(self) -> Tensor:
        return self.x[:, :2] if self.time_first else self.x[:2]

    def logits(self, model: nn.Module) -> Tensor:
        mg.reset(model)
        out = model(self.x)
        out = out[1] if isinstance(out, tuple) else out
        return out.mean(0) if out.dim() > 2 else out

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


def network_for(method: type[Pruner], network: str) -> str:
    """The network of the zoo that a method is tried on."""
    return WITH_RECURRENCE[network] if method.recurrent_only else network


def make_for(method: type[Pruner], network: str, *, seed: int = 0) -> tuple[nn.Module, Tensor]:
    return make(network_for(method, network), T=2, seed=seed)


def emerges(method: type[Pruner]) -> bool:
    """Whether sparsity emerges while it trains, until a step at which it is projected."""
    return method.budget_kind == "emergent" and method.needs == "training"


def required(method: type[Pruner]) -> set[str]:
    """The settings that have no default."""
    parameters = [p for c in method.__mro__ for p in inspect.signature(c).parameters.values()]
    return {p.name for p in parameters if p.kind is p.KEYWORD_ONLY and p.default is p.empty}


def needed(method: type[Pruner], model: Any) -> dict[str, Any]:
    """What the method can't do without, beside a budget."""
    settings: dict[str, Any] = {"every": 1} if method.needs == "training" else {}
    settings |= SOON.get(method.name, {})
    if emerges(method) or "until" in required(method):
        settings["until"] = 1
    if "optimizer" in required(method) and isinstance(model, nn.Module):
        settings["optimizer"] = torch.optim.SGD(model.parameters(), lr=0.1)
    return settings


def masks(pruner: Pruner) -> dict[str, list[bool]]:
    return {name: mask.tolist() for name, mask in pruner.masks.keep().items()}


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
    total = sum(pruner.sizes().values())
    assert sum(pruner.kept().values()) == total - round(sparsity * total)
    assert min(pruner.kept().values()) >= 1


@pytest.mark.parametrize("network", NETWORKS)
def test_the_same_seed_gives_the_same_masks(method: type[Pruner], network: str) -> None:
    a, b = (masks(Loop(method, network, sparsity=0.5, seed=4).prune()) for _ in range(2))
    assert a == b


@pytest.mark.parametrize("network", NETWORKS)
def test_resume_equals_straight_run(method: type[Pruner], network: str) -> None:
    # A method that comes to its budget late is saved before it does.
    late = emerges(method) or "until" in {*SOON.get(method.name, {}), *required(method)}
    settings = {"until": 7} if late else {}
    straight = Loop(method, network, sparsity=0.5, **settings)
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

    resumed = Loop(method, network, sparsity=0.5, **settings)
    resumed.model.load_state_dict(saved["model"])
    resumed.optimizer.load_state_dict(saved["optimizer"])
    resumed.pruner.load_state_dict(saved["pruner"])
    torch.set_rng_state(saved["random"])
    resumed.run(5)
    assert masks(resumed.pruner) == masks(straight.pruner)
    assert resumed.pruner.steps == straight.pruner.steps == 9
    for a, b in zip(state(resumed.model), state(straight.model), strict=True):
        assert torch.equal(a, b)


def test_asking_whether_an_update_is_due_changes_nothing(method: type[Pruner]) -> None:
    """Before the first update, at it, and after the last."""
    settings = {"warmup": 2 * EVERY, "until": 3 * EVERY} if "warmup" in method.settings() else {}
    if method.name == "lottery-ticket":
        settings = {}  # its rounds say when
    loop = Loop(method, "chain", sparsity=0.5, **settings)
    for _ in range(4 * EVERY):
        loop.backward()
        loop.optimizer.step()
        before = snapshot(loop.model), copy.deepcopy(loop.pruner.state_dict())
        assert loop.pruner._due() == loop.pruner._due()
        assert same((snapshot(loop.model), loop.pruner.state_dict()), before)
        loop.pruner.step()


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
    if pruner.prunes == "channels":
        left = parameters(pruner.structure, pruner.masks.keep())
        assert count(small.model) == left


def test_detach_gives_the_users_own_network_back(method: type[Pruner]) -> None:
    plain, _ = make_for(method, "chain")
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


def test_a_loop_that_runs_the_network_within_the_step_prunes_the_same(
    method: type[Pruner],
) -> None:
    """As Lightning does: gradients come after the optimizer's step has begun."""
    plain, within = (Loop(method, "chain", sparsity=0.5) for _ in range(2))
    for loop in (plain, within):
        torch.manual_seed(0)  # of dropout
        if method.needs == "trained":
            loop.pruner.calibrate([loop.x])
        for _ in range(2 * EVERY - 1):
            if loop is plain:
                loop.backward()
                loop.optimizer.step()
            else:
                loop.optimizer.step(lambda loop=loop: loop.backward())
            loop.pruner.step()
    assert masks(plain.pruner) == masks(within.pruner)
    for a, b in zip(state(plain.model), state(within.model), strict=True):
        assert torch.equal(a, b)


def test_settings_out_of_range_are_refused(method: type[Pruner]) -> None:
    for settings in (
        {"sparsity": 1.0},
        {"sparsity": -0.1},
        {"sparsity": 0.5, "target": {"macs": 0.5}},
        {"target": {"wings": 0.5}},
        {"target": {"macs": 0.0}},
        {"sparsity": 0.5, "floor": 0},
        {"sparsity": 0.5, "round_to": 0},
        {"sparsity": 0.5, "residual": "loose"},
        {"sparsity": 0.5, "protect": ["bodi.0"]},
        {"sparsity": {"nowhere": 0.5}},
        {"sparsity": 0.9, "floor": 1000},
        {"target": {"parameters": 0.001}},
    ):
        with pytest.raises(mg.ConfigError):
            Loop(method, "chain", **settings).prune()  # type: ignore[arg-type]
    if method.budget_kind == "exact":
        with pytest.raises(mg.ConfigError, match="either sparsity= or target="):
            Loop(method, "chain")


def test_a_refused_network_is_left_alone(method: type[Pruner]) -> None:
    model, x = make_for(method, "chain")
    keys = list(model.state_dict())
    settings = needed(method, model)
    with pytest.raises(mg.ConfigError):
        method(model, example_input=x, sparsity=0.9, floor=1000, **settings)
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
    model, x = make_for(method, "chain")
    keys = list(model.state_dict())
    settings = needed(method, model) | {"example_input": x, name: WRONG[name]}
    settings |= {} if name == "target" else {"sparsity": 0.5}
    with pytest.raises(mg.ConfigError, match=name):
        method(model, **settings)
    assert list(model.state_dict()) == keys


def test_what_is_no_network_is_refused(method: type[Pruner]) -> None:
    settings = needed(method, make_for(method, "chain")[0])
    with pytest.raises(mg.ConfigError, match="wanted a network"):
        method(None, example_input=torch.rand(2), sparsity=0.5, **settings)  # type: ignore[arg-type]


def test_an_optimizer_of_another_network_is_refused(method: type[Pruner]) -> None:
    (model, x), (other, _) = make_for(method, "chain"), make_for(method, "chain")
    settings = needed(method, model) | {"optimizer": torch.optim.SGD(other.parameters(), lr=0.1)}
    with pytest.raises(mg.ConfigError, match="none of the network's parameters"):
        method(model, example_input=x, sparsity=0.5, **settings)


def test_an_optimizer_that_never_steps_is_noticed(method: type[Pruner]) -> None:
    loop = Loop(method, "chain", sparsity=0.5)
    for _ in range(99):
        loop.pruner.step()
    with pytest.warns(UserWarning, match="never stepped"):
        loop.pruner.step()


def test_a_network_holds_one_pruner_at_a_time(method: type[Pruner]) -> None:
    loop = Loop(method, "chain", sparsity=0.5)
    with pytest.raises(mg.ConfigError, match="detach"):
        mg.Random(loop.model, example_input=loop.example, sparsity=0.5, linear=True)
    loop.pruner.detach()
    mg.Random(loop.model, example_input=loop.example, sparsity=0.5, linear=True)


def test_a_state_of_another_method_is_refused(method: type[Pruner]) -> None:
    loop = Loop(method, "chain", sparsity=0.5)
    with pytest.raises(mg.ConfigError, match="state is of"):
        loop.pruner.load_state_dict({**loop.pruner.state_dict(), "method": "other"})
    state = loop.pruner.state_dict()
    del state["holding"]
    with pytest.raises(mg.ConfigError, match=r"another version.*holding"):
        loop.pruner.load_state_dict(state)
