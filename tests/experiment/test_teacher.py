"""A method that learns from a dense network is given the seed's."""

from __future__ import annotations

from pathlib import Path

import pytest

from microglia.experiment import RunConfig
from microglia.experiment.bench import Bench
from microglia.experiment.trial import train_dense, train_pruned


@pytest.mark.parametrize("attention", [0.1, 0.0])
def test_spike_thrift_hears_its_seeds_dense_network(tmp_path: Path, attention: float) -> None:
    """Its maps are in the loss, and the dense network stays as it was."""
    config = RunConfig.from_table(
        {
            "network": {"name": "digits", "width": 0.25, "T": 2},
            "data": {"source": "digits", "batch_size": 64},
            "training": {"epochs": 1},
            "pruning": {
                "method": "spike-thrift",
                "sparsity": 0.5,
                "every_epochs": 0.5,
                "options": {"attention": attention},
            },
        }
    )
    assert config.pruning.needs_dense
    bench = Bench.open(config, tmp_path, progress=False)
    dense = train_dense(bench, 0).model
    before = {name: value.clone() for name, value in dense.state_dict().items()}
    (epoch,) = train_pruned(bench, 0, dense=dense).history.epochs
    assert (epoch.penalty > 0) == (attention > 0)
    for name, value in dense.state_dict().items():
        assert value.equal(before[name])
