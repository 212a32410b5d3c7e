"""A method for trained networks that has a penalty is given a network trained with it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from records import record
from torch import Tensor, nn

from microglia.experiment import RunConfig, compare_table
from microglia.experiment.bench import Bench
from microglia.experiment.compare import CompareConfig
from microglia.experiment.trial import Trial, train_dense, train_pruned


def table(method: str, **options: float) -> dict[str, Any]:
    return {
        "network": {"name": "digits", "width": 0.25, "T": 1},
        "data": {"source": "digits", "train_rows": [0, 200], "batch_size": 20},
        "training": {"epochs": 2, "learning_rate": 1e-2, "device": "cpu"},
        "pruning": {
            "method": method,
            "sparsity": 0.25,
            "finetune_epochs": 0,
            "options": options,
        },
    }


def trial(method: str, folder: Path, **options: float) -> Trial:
    bench = Bench.open(RunConfig.from_table(table(method, **options)), folder, progress=False)
    dense = None
    if bench.config.pruning.needs_dense:
        dense = train_dense(bench, 0).model
    return train_pruned(bench, 0, dense=dense)


def largest(model: nn.Module, kind: type[nn.Module]) -> float:
    def magnitude(layer: nn.Module) -> float:
        assert isinstance(layer.weight, Tensor)
        return float(layer.weight.detach().abs().mean())

    return sum(magnitude(layer) for layer in model.modules() if isinstance(layer, kind))


@pytest.mark.parametrize(
    ("method", "kind"), [("slimming", nn.BatchNorm2d), ("magnitude", nn.Conv2d)]
)
def test_the_penalty_has_shrunk_what_it_is_on(
    method: str, kind: type[nn.Module], tmp_path: Path
) -> None:
    bare = trial(method, tmp_path / "bare")
    weak = trial(method, tmp_path / "weak", penalty=1e-9)
    strong = trial(method, tmp_path / "strong", penalty=1e-2)
    assert [len(t.history.epochs) for t in (bare, weak, strong)] == [0, 2, 2]
    assert strong.history.epochs[-1].penalty > 1e5 * weak.history.epochs[-1].penalty > 0
    assert largest(strong.model, kind) < 0.9 * largest(weak.model, kind)
    for one in (bare, weak, strong):
        assert sum(int(mask.sum()) for mask in one.kept.values()) < sum(
            len(mask) for mask in one.kept.values()
        )


def test_comparisons_train_for_slimming_and_say_where_they_do_not() -> None:
    def rates(**settings: Any) -> set[float | None]:
        compare = {"methods": ["slimming", "pca"], "settings": settings}
        config = CompareConfig.from_table({**table("sca"), "pruning": {}, "compare": compare})
        pruning = [job.config.pruning for job in config.jobs()]
        return {p.options.get("penalty") for p in pruning if p.method == "slimming"}

    assert rates() == {1e-4}
    assert rates(slimming={"penalty": 1e-5}) == {1e-5}

    def label(method: str, **options: float) -> str:
        mine = record(method, 0.5, 0, 0.7)
        mine["config"]["pruning"] |= {"method": method, "options": options}
        return str(compare_table.rows([record("dense", 0.0, 0, 0.8), mine])[1]["method"])

    assert label("slimming", penalty=1e-4) == "slimming"
    assert label("slimming", penalty=0.0) == "slimming, without sparsity training"
    assert label("slimming") == "slimming, without sparsity training"
    assert label("pca") == "pca"
