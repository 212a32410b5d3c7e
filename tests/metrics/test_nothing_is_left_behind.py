"""Law: after any measurement, also one that failed, the network is as it was."""

from __future__ import annotations

import copy
from collections.abc import Callable
from typing import Any

import pytest
import torch
from spiking_networks import PlainNet, SnnTorchNet, TwoConvs, batches, excite
from torch import Tensor, nn

from microglia.errors import MicrogliaError
from microglia.metrics import (
    compare_latency,
    count_operations,
    measure,
    measure_accuracy,
    measure_activity,
    measure_latency,
    measure_peak_memory,
)
from microglia.metrics.state import untouched

MEASUREMENTS: dict[str, Callable[[nn.Module, list[tuple[Tensor, Tensor]]], object]] = {
    "measure": lambda model, data: measure(model, data, latency_repeats=1),
    "accuracy": lambda model, data: measure_accuracy(model, data),
    "operations": lambda model, data: count_operations(model, data),
    "activity": lambda model, data: measure_activity(model, data),
    "latency": lambda model, data: measure_latency(model, data[0][0], repeats=1),
    "compare": lambda model, data: compare_latency({"a": model, "b": model}, data[0][0], repeats=1),
    "memory": lambda model, data: measure_peak_memory(model, data[0][0]),
}
MODELS: dict[str, tuple[Callable[[], nn.Module], tuple[int, ...]]] = {
    "multi-step": (lambda: TwoConvs("multi", T=2), (2, 8, 8)),
    "single-step": (lambda: TwoConvs("single", T=2), (2, 8, 8)),
    "registered": (lambda: PlainNet(T=2), (6,)),
    "snnTorch": (lambda: SnnTorchNet(T=2), (6,)),
}


def everything(model: nn.Module) -> list[tuple[str, object]]:
    """Each attribute of each module, one container deep: its identity and its contents."""

    def look(name: str, value: Any) -> list[tuple[str, object]]:
        seen: list[tuple[str, object]] = [(name, id(value))]
        if isinstance(value, Tensor):
            seen.append((name, (value.requires_grad, value.detach().clone().tolist())))
        elif isinstance(value, dict):
            for key, item in value.items():
                seen += look(f"{name}.{key}", item)
        return seen

    found = []
    for path, module in model.named_modules():
        for name, value in vars(module).items():
            found += look(f"{path}.{name}", value)
    return found


def in_the_middle_of_training(model: nn.Module, x: Tensor, labels: Tensor) -> Tensor:
    """Mixed train/eval flags, a frozen weight, a user's hook, states with a graph, gradients."""
    model.train()
    first, *_ = (m for m in model.modules() if isinstance(m, (nn.Conv2d, nn.Linear)))
    first.eval()
    first.weight.requires_grad_(False)
    first.register_forward_hook(lambda *_: None)
    loss = nn.functional.cross_entropy(model(x), labels)
    loss.backward(retain_graph=True)
    return loss


@pytest.mark.parametrize("network", MODELS)
@pytest.mark.parametrize("measurement", MEASUREMENTS)
def test_a_network_in_training(network: str, measurement: str) -> None:
    make, shape = MODELS[network]
    model = excite(make(), seed=0)
    data = batches(seed=0, shape=shape)
    loss = in_the_middle_of_training(model, *data[0])
    before, random = everything(model), torch.get_rng_state()
    gradients = {n: copy.deepcopy(p.grad) for n, p in model.named_parameters()}

    MEASUREMENTS[measurement](model, data)

    assert everything(model) == before
    assert torch.equal(torch.get_rng_state(), random)
    for name, parameter in model.named_parameters():
        had = gradients[name]
        assert parameter.grad is None if had is None else torch.equal(parameter.grad, had)
    loss.backward()  # its graph is whole


@pytest.mark.parametrize("measurement", MEASUREMENTS)
def test_a_measurement_that_fails(measurement: str) -> None:
    model = excite(PlainNet(T=2), seed=0)
    data = batches(seed=0, shape=(6,))
    in_the_middle_of_training(model, *data[0])
    broken = [data[0], (torch.zeros(3, 7), data[1][1])]
    before, random = everything(model), torch.get_rng_state()
    if measurement in ("latency", "compare", "memory"):
        broken = broken[1:]

    with pytest.raises(RuntimeError):
        MEASUREMENTS[measurement](model, broken)
    assert everything(model) == before
    assert torch.equal(torch.get_rng_state(), random)


@pytest.mark.parametrize("measurement", ["measure", "accuracy", "operations", "activity"])
def test_a_measurement_that_refuses(measurement: str) -> None:
    model = excite(PlainNet(T=2), seed=0).train()
    before = everything(model)
    with pytest.raises(MicrogliaError):
        MEASUREMENTS[measurement](model, [(torch.zeros(2, 6), torch.zeros(2, 3))])
    assert everything(model) == before


class Careless(nn.Module):
    """Writes into its buffers and containers, and draws random numbers, even in evaluation."""

    def __init__(self) -> None:
        super().__init__()
        self.register_buffer("calls", torch.zeros(()))
        self.log: list[int] = [1]
        self.table = {"a": torch.zeros(2)}
        self.pair = (torch.zeros(2), torch.zeros(2))

    def forward(self, x: Tensor) -> Tensor:
        self.calls += 1
        self.log.append(2)
        self.table["a"] += 1
        self.table["b"] = torch.ones(1)
        self.pair[0].add_(1)
        self.extra = torch.rand(1)
        return x + torch.rand_like(x)


def test_contents_are_put_back_too() -> None:
    model = Careless()
    before, random = everything(model), torch.get_rng_state()
    with untouched(model):
        model(torch.rand(2))
        assert float(model.calls) == 1
    assert everything(model) == before
    assert model.log == [1]
    assert float(model.pair[0].sum()) == 0
    assert not hasattr(model, "extra")
    assert torch.equal(torch.get_rng_state(), random)
