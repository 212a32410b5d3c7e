"""Every method goes the whole way of a job, with the settings that the long comparison has."""

from __future__ import annotations

import dataclasses
import re
from pathlib import Path

import pytest

from microglia.errors import ConfigError
from microglia.experiment import compare_table, rivals
from microglia.experiment.config import DataConfig, NetworkConfig, OutputConfig
from microglia.experiment.job import Job
from microglia.experiment.published import PUBLISHED
from microglia.experiment.results import run_jobs
from microglia.experiment.tiers import Tier
from microglia.methods import METHODS

EPOCHS = 4
SAMPLED = ("lottery-ticket", "grad-r", "pca")
LABELS = sorted(
    name
    for name, cls in METHODS.items()
    if name not in ("random", "uniform-slim") and not cls.recurrent_only
)


def small_jobs() -> list[Job]:
    """The comparison's own jobs, of one seed, on a few digits."""
    config = rivals.comparison(Tier(train_rows=None, epochs=EPOCHS, width=0.5, seeds=1))
    return rivals.in_order(
        dataclasses.replace(
            config,
            seeds=(0,),
            network=NetworkConfig(name="digits", width=0.5, T=2),
            data=DataConfig(source="digits", train_rows=(0, 80), batch_size=20),
            training=dataclasses.replace(config.training, device="cpu"),
            output=OutputConfig(latency_repeats=1, latency_batch=4),
        )
    )


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("rivals")


@pytest.mark.parametrize(
    "label", [x if x in SAMPLED else pytest.param(x, marks=pytest.mark.full) for x in LABELS]
)
def test_every_method_goes_through(label: str, folder: Path) -> None:
    jobs = [job for job in small_jobs() if "dense" in job.name or label in (job.label, job.like)]
    done = run_jobs(jobs, results=folder / "r.jsonl", folder=folder, progress=False)
    records = {record["name"]: record for record in done}
    for job in jobs[1:]:
        record, cls = records[job.name], METHODS[job.config.pruning.method]
        kept = [sum(counts) for counts in zip(*record["kept"].values(), strict=True)]
        if job.like is None:
            assert abs(1 - kept[0] / kept[1] - job.sparsity) <= 1 / kept[1]
        else:
            alike = records[job.name.replace(job.label, job.like)]["parameters_kept"]
            assert record["parameters_kept"] == pytest.approx(alike, rel=0.15), "a small network"
        emergent = cls.budget_kind == "emergent"
        assert (record["sparsity_reached"] is not None) == emergent
        usual = 2 if cls.needs == "trained" else EPOCHS
        assert len(record["epochs"]) == (6 if label in ("lottery-ticket", "slimming") else usual)
    rows = compare_table.rows(records[job.name] for job in jobs)
    usual = 1.5 if METHODS[label].needs == "trained" else 1.0
    cost = {"lottery-ticket": 1.5, "spike-thrift": 2.0}.get(label, usual)  # which has a teacher
    assert [row["cost"] for row in rows if row["method"] == label] == [cost, cost]


@pytest.mark.parametrize("tier", ["s", "m"])
def test_the_list_is_complete_and_partial_results_are_useful(tier: str) -> None:
    jobs = rivals.jobs(tier)
    names = [job.name for job in jobs]
    assert len(set(names)) == len(names)
    for i, job in enumerate(jobs):
        assert set(job.builds_on) <= set(names[:i])
    wanted = {
        (label, sparsity, seed)
        for label, cls in METHODS.items()
        if not cls.recurrent_only
        for sparsity in ((0.9, 0.98) if cls.prunes == "weights" else (0.5, 0.8))
        for seed in range(3)
    }
    wanted |= {("uniform-slim", p, seed) for p in (0.9, 0.98) for seed in range(3)}
    wanted |= {("dense", 0.0, seed) for seed in range(3)}
    assert {(job.label, job.sparsity, job.seed) for job in jobs} == wanted
    controls = {"dense", "sca", "random", "uniform-slim", "random-weights"}
    first = [job for job in jobs if job.label in controls]
    assert jobs[: len(first)] == first
    for some in (first, jobs[len(first) :]):
        assert [job.seed for job in some] == sorted(job.seed for job in some)
    tickets = next(job.config for job in jobs if job.label == "lottery-ticket")
    assert tickets.training.epochs == 3 * tickets.pruning.every_epochs
    dense = jobs[0].config.training.epochs
    assert 1.5 <= tickets.training.epochs / dense <= 1.6


def test_there_is_no_comparison_for_a_gpu() -> None:
    with pytest.raises(ConfigError, match="s and m"):
        rivals.jobs("g")


def test_published_numbers_are_of_methods_that_exist_and_name_their_source() -> None:
    assert set(PUBLISHED) <= set(METHODS)
    for text in PUBLISHED.values():
        assert text.count("(") == text.count(")") >= 1
        assert re.search(r"20\d\d(, second-hand)?\)$", text), "the year of the source"
        assert re.match(r"(CIFAR-10|CIFAR-100|Tiny-ImageNet|N-MNIST|DVS128 Gesture): ", text)
