"""Laws of the clock and of the memory; no time is asserted."""

from __future__ import annotations

import pytest
import torch
from spiking_networks import PlainLIF, PlainNet, TwoConvs
from torch import Tensor, nn

from microglia.errors import ConfigError
from microglia.metrics import Latency, compare_latency, measure_latency, measure_peak_memory


def test_networks_take_turns_and_each_run_starts_reset() -> None:
    calls: list[str] = []
    fresh: list[bool] = []
    models = {name: PlainNet(T=2) for name in "abc"}
    names = {id(model): name for name, model in models.items()}

    def watch(model: nn.Module, x: Tensor) -> Tensor:
        calls.append(names[id(model)])
        fresh.append(model.lif.v is None)
        assert not model.training
        assert torch.is_inference_mode_enabled()
        return model(x)

    results = compare_latency(models, torch.rand(4, 6), repeats=5, warmup=1, forward=watch)

    rounds = ["".join(calls[i : i + 3]) for i in range(0, len(calls), 3)]
    assert rounds == ["abc", "bca", "cab", "abc", "bca", "cab"]
    assert all(fresh)
    for result in results.values():
        assert len(result.times_ms) == 5
        assert min(result.times_ms) > 0
        assert result.batch == (4, 6)
        assert result.device == "cpu"
        assert result.threads == torch.get_num_threads()


def test_median_quartiles_and_speedup() -> None:
    dense = Latency((2.0, 4.0, 6.0, 8.0, 100.0), device="cpu", threads=1, batch=(1,))
    small = Latency((1.0, 2.0, 2.0, 2.0, 10.0), device="cpu", threads=1, batch=(1,))
    assert dense.median_ms == 6
    assert dense.quartiles_ms == (4, 8)
    assert small.speedup_over(dense) == (3, 2, 4)
    with pytest.raises(ConfigError, match="compare_latency"):
        small.speedup_over(Latency((1.0,), device="cpu", threads=1, batch=(1,)))


@pytest.mark.parametrize(("repeats", "warmup"), [(0, 0), (1, -1)])
def test_settings_out_of_range(repeats: int, warmup: int) -> None:
    with pytest.raises(ConfigError, match="latency: wanted"):
        measure_latency(PlainNet(T=1), torch.rand(1, 6), repeats=repeats, warmup=warmup)


def test_no_networks() -> None:
    with pytest.raises(ConfigError, match="at least one network"):
        compare_latency({}, torch.rand(1, 6))


class Chain(nn.Module):
    """x [N, 8] -> a [N, 16] -> b [N, 32] -> view -> c [N, 4]; a is freed before c is made."""

    def __init__(self) -> None:
        super().__init__()
        self.a, self.b, self.c = (
            nn.Linear(8, 16, bias=False),
            nn.Linear(16, 32, bias=False),
            nn.Linear(32, 4, bias=False),
        )

    def forward(self, x: Tensor) -> Tensor:
        x = self.a(x.view(-1, 8)[:])
        x = self.b(x)
        return self.c(x.view(-1, 32))


@pytest.mark.parametrize("n", [1, 5])
def test_peak_of_a_chain_by_hand(n: int) -> None:
    assert measure_peak_memory(Chain(), torch.rand(n, 8)) == 4 * n * (16 + 32)


def test_weights_and_input_are_not_in_the_peak() -> None:
    big = nn.Linear(1000, 2, bias=False)
    assert measure_peak_memory(big, torch.rand(50, 1000)) == 50 * 2 * 4


def test_states_are_in_the_peak() -> None:
    class Charge(PlainLIF):
        def forward(self, x: Tensor) -> Tensor:
            self.v = x + 1
            self.h = x + 2
            return x

    assert measure_peak_memory(Charge(), torch.rand(10)) == 2 * 10 * 4


def test_more_timesteps_hold_more() -> None:
    x = torch.rand(2, 2, 8, 8)
    short, long = (measure_peak_memory(TwoConvs("multi", T=T), x) for T in (1, 8))
    assert long > 4 * short
