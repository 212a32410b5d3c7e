"""What a network cost to train: the dense one counts where it was started, or learned, from."""

from __future__ import annotations

import math
from types import SimpleNamespace
from typing import Any, cast

import pytest
from records import record

from microglia.experiment import compare_table
from microglia.experiment.config import PruningConfig
from microglia.experiment.run import _epochs_before

COSTS = [
    ("stds", {"until_epochs": 1.0}, 1.0),
    ("random", {}, 1.0),
    ("weight-magnitude", {}, 2.0),
    ("pca", {}, 2.0),
    ("slimming", {}, 2.0),
    ("slimming", {"options": {"penalty": 1e-4}}, 1.0),
    ("spike-thrift", {}, 2.0),
    ("sca", {"finetune_epochs": 1, "distill": 0.5}, 2.0),
]


@pytest.mark.parametrize(("method", "pruning", "cost"), COSTS)
def test_the_dense_network_counts_where_it_is_built_on(
    method: str, pruning: dict[str, Any], cost: float
) -> None:
    mine = record(method, 0.5, 0, 0.7)
    mine["config"]["pruning"] |= pruning
    dense, found = compare_table.rows([record("dense", 0.0, 0, 0.8), mine])
    assert (dense["cost"], found["cost"]) == (1.0, cost)

    config = PruningConfig(method=method, sparsity=0.5, **pruning)
    bench = cast(Any, SimpleNamespace(config=SimpleNamespace(pruning=config)))
    trials = cast(Any, {"dense": SimpleNamespace(history=SimpleNamespace(epochs=[1, 2, 3]))})
    assert _epochs_before(bench, trials, method) == 3 * (cost - 1)
    assert (
        _epochs_before(bench, trials, "dense") == _epochs_before(bench, trials, "uniform-slim") == 0
    )


def test_what_a_record_lacks_is_no_number() -> None:
    mine = record("stds", 0.5, 0, 0.7)
    del mine["figures"]["energy_nj_once"]
    _, found = compare_table.rows([record("dense", 0.0, 0, 0.8), mine])
    assert math.isnan(found["energy"])
    assert found["synapses kept"] == 0.5
