"""Laws of the whole measurement: parts agree, ratios, JSON, the printed table, refusals."""

from __future__ import annotations

import json
from dataclasses import replace

import pytest
import torch
from spiking_networks import PlainNet, TwoConvs, batches, excite, networks
from torch import nn

import zoo
from microglia.errors import ConfigError, DataError, MicrogliaError
from microglia.metrics import (
    HOROWITZ_45NM,
    EnergyTable,
    Figures,
    count_operations,
    measure,
    measure_accuracy,
    measure_activity,
    measure_size,
)

IMAGES = batches(seed=0, shape=(2, 8, 8))


@pytest.fixture(scope="module")
def dense() -> Figures:
    return measure(excite(TwoConvs("multi", T=3), seed=0, kept=1.0), IMAGES, latency_repeats=2)


@pytest.fixture(scope="module")
def sparse() -> Figures:
    return measure(excite(TwoConvs("multi", T=3), seed=0, kept=0.4), IMAGES, latency_repeats=0)


def test_one_pass_gives_what_the_parts_give() -> None:
    for model, data, T in networks(seed=3):
        figures = measure(model, iter(data), latency_repeats=0)
        assert figures.accuracy == measure_accuracy(model, data)
        assert figures.operations == count_operations(model, data)
        assert figures.activity == measure_activity(model, data)
        assert figures.size == measure_size(model)
        assert figures.samples == 8
        assert figures.operations.T == T
        assert figures.latency is None
        assert figures.peak_memory_bytes is None


def test_accuracy_by_hand() -> None:
    class Echo(nn.Module):
        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return x

    logits = torch.tensor([[2.0, 1.0], [0.0, 1.0], [5.0, -1.0]])
    labels = torch.tensor([0, 1, 1])
    assert measure_accuracy(Echo(), [(logits, labels), (logits[:1], labels[:1])]) == 3 / 4


def test_size_by_hand() -> None:
    model = nn.Sequential(nn.Linear(4, 3), nn.BatchNorm1d(3))
    model.append(model[0])
    with torch.no_grad():
        model[0].weight.fill_(1.0)[0] = 0.0
        model[0].bias.fill_(1.0)
    size = measure_size(model)
    assert size.parameters == 15 + 6
    assert size.nonzero_parameters == 11 + 3  # the norm's biases begin at 0
    assert size.bytes == 4 * (15 + 6 + 6) + 8


def test_energy_by_hand(dense: Figures) -> None:
    assert HOROWITZ_45NM.nanojoules(1000, 0) == pytest.approx(0.9)
    assert HOROWITZ_45NM.nanojoules(0, 1000) == pytest.approx(4.6)
    once, summary = dense.operations.once, dense.summary()
    assert summary["energy_nj_once"] == pytest.approx(
        (0.9 * once.accumulates + 4.6 * once.multiply_accumulates) / 1000
    )
    assert summary["energy_nj_times_T"] > summary["energy_nj_once"]
    with pytest.raises(ConfigError, match="accumulate_pj"):
        EnergyTable("wrong", accumulate_pj=-1, multiply_accumulate_pj=1)


def test_operations_on_fewer_batches() -> None:
    model = excite(TwoConvs("multi", T=2), seed=0)
    figures = measure(model, IMAGES, operation_batches=1, latency_repeats=0)
    assert figures.operations == count_operations(model, IMAGES[:1])
    assert (figures.operations.samples, figures.samples) == (5, 8)
    assert figures.activity == measure_activity(model, IMAGES)


def test_latency_and_memory_use_the_example_or_the_first_batch(dense: Figures) -> None:
    assert dense.latency is not None
    assert dense.latency.batch == (5, 2, 8, 8)
    assert len(dense.latency.times_ms) == 2
    one = measure(
        excite(TwoConvs("multi", T=3), seed=0),
        IMAGES,
        example_input=torch.rand(1, 2, 8, 8),
        latency_repeats=1,
    )
    assert one.latency is not None
    assert one.latency.batch == (1, 2, 8, 8)
    assert one.peak_memory_bytes is not None
    assert dense.peak_memory_bytes is not None
    assert 0 < one.peak_memory_bytes < dense.peak_memory_bytes


def test_ratios_to_dense(dense: Figures, sparse: Figures) -> None:
    kept = sparse.relative_to(dense)
    assert kept["parameters"] == 1  # masked, nothing removed
    for name in ("nonzero_parameters", "synapses"):
        assert 0 < kept[name] < 1
    assert kept["synapses"] == sparse.operations.synapses / dense.operations.synapses
    assert kept["synops_once"] == sparse.operations.once.synops / dense.operations.once.synops
    assert kept["macs_once"] == kept["macs_times_T"] == 1
    assert "latency_ms" not in kept
    assert set(dense.relative_to(dense).values()) == {1.0}
    assert all(value != 0 for value in dense.relative_to(dense).values())


def test_latencies_of_other_inputs_do_not_compare(dense: Figures) -> None:
    assert dense.latency is not None
    alike = replace(dense, latency=replace(dense.latency, times_ms=(1.0, 2.0)))
    assert {"latency_ms", "peak_memory_bytes"} <= set(alike.relative_to(dense))
    for change in ({"batch": (1, 2, 8, 8)}, {"threads": 1 + dense.latency.threads}):
        other = replace(dense, latency=replace(dense.latency, **change))
        kept = other.relative_to(dense)
        assert not {"latency_ms", "peak_memory_bytes"} & set(kept)
        assert kept["accumulates_once"] == 1


def test_energies_by_different_tables_do_not_compare(dense: Figures) -> None:
    other = measure(
        excite(TwoConvs("multi", T=3), seed=0),
        IMAGES,
        energy=EnergyTable("one", 1, 1),
        latency_repeats=0,
    )
    assert other.summary()["energy_nj_once"] == other.operations.once.synops / 1000
    with pytest.raises(ConfigError, match="'one' and 'Horowitz 45 nm, float32'"):
        other.relative_to(dense)


@pytest.mark.parametrize("which", ["dense", "sparse"])
def test_json_round_trip(which: str, request: pytest.FixtureRequest) -> None:
    figures: Figures = request.getfixturevalue(which)
    again = Figures.from_json(figures.to_json())
    assert again == figures
    assert again.to_json() == figures.to_json()
    assert json.loads(figures.to_json())["energy"]["name"] == "Horowitz 45 nm, float32"


@pytest.mark.parametrize("text", ["", "{", "[]", "{}", "null", '{"accuracy": 1}'])
def test_a_damaged_file_is_refused(text: str) -> None:
    with pytest.raises(DataError, match="aren't figures"):
        Figures.from_json(text)


def test_the_table_shows_both_columns_and_both_conventions(dense: Figures) -> None:
    text = str(dense)
    for label in (
        "parameters",
        "synapses",
        "SynOps, accumulates",
        "SynOps, multiply-accumulates",
        "energy, Horowitz 45 nm, float32",
        "x T:",
        "dead",
        "saturated",
        "firing rate",
        "peak memory",
    ):
        assert label in text
    assert "not counted" not in text
    assert max(map(len, text.splitlines())) <= 110


def test_every_figure_has_a_number(dense: Figures) -> None:
    assert all(isinstance(value, (int, float)) for value in dense.summary().values())


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"operation_batches": 0}, "operation_batches"),
        ({"latency_repeats": -1}, "latency_repeats"),
        ({"T": 0}, "T: wanted"),
    ],
)
def test_settings_out_of_range(settings: dict[str, int], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        measure(PlainNet(T=2), batches(seed=0, shape=(6,)), **settings)


def test_no_batches() -> None:
    with pytest.raises(MicrogliaError, match="no batches"):
        measure(PlainNet(T=2), [])


def test_labels_of_other_samples() -> None:
    inputs, labels = batches(seed=0, shape=(6,))[0]
    with pytest.raises(MicrogliaError, match="as many labels as samples"):
        measure(PlainNet(T=2), [(inputs, labels[:-1])])


@pytest.mark.parametrize("name", ["snnTorch", "snnTorch, hidden inside", "chain"])
def test_the_size_is_that_of_the_network_at_rest(name: str) -> None:
    model, x = zoo.make(name, T=3)
    before = measure_size(model)
    model(torch.cat([x] * 20))
    assert measure_size(model) == before
