"""Untrained networks as jobs: budgets, pairing, records, bars and tables."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from scipy import stats

from microglia.errors import ConfigError, DataError
from microglia.experiment.recurrent import lnp_paper, lnp_tables, reservoir_job
from microglia.experiment.recurrent.lnp_bars import (
    CALIBRATED,
    DIGITS,
    EQUAL,
    MEMORY,
    Bar,
    bars,
    figure,
)
from microglia.experiment.recurrent.reservoir_job import ReservoirJob
from microglia.experiment.recurrent.sparse_networks import (
    CONTROLS,
    READINGS,
    Budget,
    inhibitory_share,
)
from microglia.experiment.results import read_results, run_jobs
from microglia.experiment.statistics import paired_difference
from microglia.frameworks import RecurrentNetwork
from microglia.networks import HRSNNConfig, SmallWorld

SMALL = HRSNNConfig(neurons=90, wiring=SmallWorld(neighbours=16), weight=0.15)


def no_metric(network: RecurrentNetwork) -> float:
    return 0.0


@pytest.mark.parametrize("seed", [0, 1])
@pytest.mark.parametrize("rule", [*CONTROLS[2:], *READINGS])
def test_every_rule_leaves_its_budget(rule: str, seed: int) -> None:
    dense = SMALL.draw(seed)
    for neurons, kept in ((0.0, 0.5), (0.3, 0.2)):
        criterion: Any = "random" if rule in CONTROLS else "betweenness"
        budget = Budget(rule=rule, kept=kept, neurons=neurons, criterion=criterion)
        sparse = budget.of(dense, seed=seed, metric=no_metric)
        assert sparse.weights.nnz == round(kept * dense.weights.nnz)
        assert len(sparse) == 90 - round(neurons * 90)
        assert sparse.inputs is not None
        assert dense.inputs is not None
        assert (abs(sparse.inputs).sum(1) > 0).sum() == (abs(dense.inputs).sum(1) > 0).sum()
        again = budget.of(dense, seed=seed, metric=no_metric)
        assert np.array_equal(again.weights.toarray(), sparse.weights.toarray())


@pytest.mark.parametrize("seed", [0, 1, 2])
def test_controls_that_keep_a_share_of_inhibition(seed: int) -> None:
    dense = SMALL.draw(seed)

    def left(rule: str, kept: float) -> RecurrentNetwork:
        return Budget(rule=rule, kept=kept).of(dense, seed=seed, metric=no_metric)

    for kept in (0.5, 0.1):
        budget = round(kept * dense.weights.nnz)
        for rule, like in (("random as R2w", left("R2w", kept)), ("magnitude of each type", dense)):
            wanted = round(inhibitory_share(like) * budget) / budget
            assert inhibitory_share(left(rule, kept)) == pytest.approx(wanted, abs=1e-9)
        largest = left("magnitude of each type", kept).weights.toarray()
        for types in (False, True):
            columns = np.flatnonzero(dense.inhibitory == types)
            stays = largest[:, columns] != 0
            sizes = np.abs(dense.weights.toarray()[:, columns])
            assert sizes[stays].min() >= sizes[~stays].max()
    assert inhibitory_share(left("magnitude", 0.1)) > 2 * inhibitory_share(dense)
    with pytest.raises(ConfigError, match="which neurons inhibit"):
        inhibitory_share(replace(dense, inhibitory=None))


def test_controls_that_prune_nothing() -> None:
    dense = SMALL.draw(0)
    assert Budget(rule="dense").of(dense, seed=0, metric=no_metric) is dense
    assert Budget(rule="none").of(dense, seed=0, metric=no_metric).weights.nnz == 0


def test_the_least_active_neurons_go() -> None:
    dense = SMALL.draw(1)
    bias = np.array(dense.bias)
    hear = np.asarray(abs(dense.inputs).sum(1)).ravel() > 0
    quiet = np.flatnonzero(~hear & ~dense.inhibitory)[:10]
    bias[quiet] = -50.0
    sparse = Budget(rule="random", kept=0.2, neurons=0.3, criterion="activity").of(
        replace(dense, bias=bias), seed=0, metric=no_metric
    )
    assert sparse.bias is not None
    assert (sparse.bias > -1).all()


@pytest.mark.parametrize(
    ("settings", "match"),
    [
        ({"rule": "R2x"}, "unknown"),
        ({"rule": "R2w", "kept": 0.0}, "fractions"),
        ({"rule": "R2w", "neurons": 1.0}, "fractions"),
        ({"rule": "random", "retune": True}, "no steps III and IV"),
        ({"rule": "random", "neurons": 0.3}, "by activity or at random"),
    ],
)
def test_budgets_that_cannot_be_are_refused(settings: dict[str, Any], match: str) -> None:
    with pytest.raises(ConfigError, match=match):
        Budget(**settings)


@pytest.mark.parametrize("tier", ["s", "m"])
def test_the_jobs_are_paired_and_each_has_a_name(tier: str) -> None:
    jobs = lnp_paper.jobs(tier)
    assert len({job.name for job in jobs}) == len(jobs)
    seeds = {job.seed for job in jobs}
    assert len(seeds) >= 6
    assert min(seeds) >= 10
    asked = {(job.experiment, job.label, job.seed) for job in jobs}
    assert {(e, lab) for e, lab, _ in asked} == {(e, lab) for e, lab, s in asked if s == min(seeds)}
    keys = {(e, lab) for e, lab, _ in asked}
    for bar in bars():
        assert bar.key in keys
        assert bar.to is None or bar.to in keys
    for experiment in {e for e, _ in keys} - {lnp_paper.REFERENCE}:
        assert (experiment, "random") in keys
    for other in ("g", "x"):
        with pytest.raises(ConfigError, match="tier"):
            lnp_paper.jobs(other)


def small_jobs(seed: int) -> list[ReservoirJob]:
    def job(experiment: str, label: str, budget: Budget) -> ReservoirJob:
        return ReservoirJob(
            experiment=experiment, label=label, budget=budget, seed=seed, tasks=("memory",)
        )

    return [
        job("reference", "no recurrence", Budget(rule="none")),
        job("kept 0.2", "random", Budget(rule="random", kept=0.2)),
        job("kept 0.2", "R2w", Budget(rule="R2w", kept=0.2)),
    ]


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("reservoirs")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(reservoir_job, "HRSNNConfig", lambda: SMALL)
        for seed in (10, 11):
            run_jobs(
                small_jobs(seed), results=folder / "r.jsonl", folder=folder / "work", progress=False
            )
    return folder


def test_each_network_leaves_one_line_and_is_not_run_twice(
    finished: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    records = read_results(finished / "r.jsonl")
    assert list(records) == [job.name for seed in (10, 11) for job in small_jobs(seed)]
    sparse = records["kept 0.2/R2w-seed10"]
    assert sparse["network"]["synapses_kept"] == pytest.approx(0.2, abs=1e-3)
    assert 0 < sparse["network"]["inhibition"] < 1
    assert records["reference/no recurrence-seed10"]["network"]["inhibition"] is None
    best = max(sparse["tried"], key=lambda part: sparse["tried"][part])
    unit = sparse["gains"]["0.8"] / 0.8
    assert sparse["gains"][CALIBRATED] / unit == pytest.approx(float(best), rel=1e-3)
    assert list(sparse["figures"]) == ["0.35", "0.8", CALIBRATED]
    assert sparse["gains"]["0.8"] / sparse["gains"]["0.35"] == pytest.approx(0.8 / 0.35, rel=1e-4)
    assert list(records["reference/no recurrence-seed10"]["figures"]) == [CALIBRATED]
    monkeypatch.setattr(reservoir_job, "HRSNNConfig", lambda: SMALL)
    monkeypatch.setattr(ReservoirJob, "do", lambda *_, **__: pytest.fail("done again"))
    run_jobs(small_jobs(10), results=finished / "r.jsonl", folder=finished, progress=False)


def test_gains_make_the_sum_of_weights_equal(finished: Path) -> None:
    """α Σ|w| is the same for every rule of a seed."""
    dense = SMALL.draw(10)
    record = read_results(finished / "r.jsonl")["kept 0.2/random-seed10"]
    sparse = Budget(rule="random", kept=0.2).of(dense, seed=10, metric=no_metric)
    total = record["gains"]["0.35"] * np.abs(sparse.weights.data).sum()
    assert total == pytest.approx(0.35 * np.abs(dense.weights.data).sum(), rel=1e-5)


def test_other_configs_and_other_kinds_are_refused(
    finished: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with pytest.raises(ConfigError, match="another config, in network"):
        run_jobs(small_jobs(10), results=finished / "r.jsonl", folder=tmp_path, progress=False)
    monkeypatch.setattr(reservoir_job, "HRSNNConfig", lambda: SMALL)
    line = json.loads((finished / "r.jsonl").read_text().splitlines()[0])
    for change, match in (({"kind": "beast"}, "unknown kind"), ({"colour": 1}, "unknown colour")):
        (tmp_path / "r.jsonl").write_text(json.dumps({**line, **change}) + "\n")
        with pytest.raises(DataError, match=match):
            read_results(tmp_path / "r.jsonl")
    with pytest.raises(ConfigError, match="tasks, gains"):
        ReservoirJob(
            experiment="e", label="l", budget=Budget(rule="none"), seed=0, tasks=("chess",)
        )


def test_a_task_that_a_network_fails_on_is_in_its_record(monkeypatch: pytest.MonkeyPatch) -> None:
    silent = HRSNNConfig(neurons=90, wiring=SmallWorld(neighbours=16), bias=-1e3)
    found = reservoir_job.asked("lorenz-x", silent.draw(0), 0, brief=True)
    assert "silent" in found["failed"]
    record = {**made("kept 0.2", "R2w", 10, {}), "figures": {"0.35": {"lorenz-x": found}}}
    assert "kept 0.2/R2w-seed10, gain 0.35, lorenz-x: the network is silent" in (
        lnp_tables.tables([record])
    )


def made(experiment: str, label: str, seed: int, at: dict[str, dict[str, Any]]) -> dict[str, Any]:
    name = f"{experiment}/{label}-seed{seed}"
    asked = {"experiment": experiment, "label": label, "seed": seed}
    network = {"neurons": 800, "synapses": 16_000}
    return {"kind": "reservoir", **asked, "figures": at, "name": name, "network": network}


def digits(*values: float) -> dict[str, dict[str, Any]]:
    points = ("0.35", "0.8", CALIBRATED)
    return {p: {"digits": {"accuracy": v}} for p, v in zip(points, values, strict=False)}


def test_a_figure_is_the_mean_over_gains_and_none_where_one_is_missing() -> None:
    record = made("kept 0.2", "R2w", 10, digits(0.8, 0.9, 0.5))
    assert figure(record, DIGITS, EQUAL) == pytest.approx(0.85)
    assert figure(record, DIGITS, (CALIBRATED,)) == 0.5
    assert figure(record, MEMORY, EQUAL) is None
    assert figure(made("e", "l", 1, digits(0.8)), DIGITS, EQUAL) is None
    alone = made("e", "l", 1, {CALIBRATED: {"digits": {"accuracy": 0.4}}})
    assert figure(alone, DIGITS, EQUAL) == 0.4, "without recurrence all gains are one"


@pytest.mark.parametrize(
    ("least", "shift", "word"),
    [
        (True, 0.0, "passes by the mean"),
        (True, -9.0, "clearly passes"),
        (True, 0.06, "falls short"),
        (False, 0.06, "passes by the mean"),
        (False, 9.0, "clearly passes"),
        (False, 0.04, "falls short"),
    ],
)
def test_bars_compare_means_of_the_same_seeds(least: bool, shift: float, word: str) -> None:
    key, to = ("kept 0.2", "R2w"), ("kept 0.2", "random")
    records = [
        made(*key, 10, digits(0.8, 0.8)),
        made(*key, 11, digits(0.9, 0.9)),
        made(*to, 10, digits(0.7, 0.7)),
        made(*to, 11, digits(0.9, 0.9)),
        made(*to, 12, digits(0.1, 0.1)),
    ]
    bar = Bar(key=key, metric=DIGITS, least=least, to=to, shift=shift)
    verdict = bar.judge(records)
    assert verdict.word == word
    assert verdict.limit == pytest.approx(0.8 + shift)
    assert verdict.difference is not None
    assert verdict.difference.mean == pytest.approx(0.05 - shift)
    assert bar.judge(records[2:]).word == "not run"


def test_the_tables_hold_paired_differences_and_every_bar(finished: Path) -> None:
    records = list(read_results(finished / "r.jsonl").values())
    text = lnp_tables.tables(records)
    mine, random = (
        [
            figure(r, MEMORY, EQUAL) or 0.0
            for r in records
            if (r["experiment"], r["label"]) == ("kept 0.2", label)
        ]
        for label in ("R2w", "random")
    )
    difference = np.subtract(mine, random).mean()
    assert f"| − random | {difference:+.2f} [" in text
    words = [f"| {word} |" for word in ("clearly passes", "passes by the mean", "falls short")]
    assert text.count("| not run |") == len(bars()) - sum(map(text.count, words))
    assert "nan" not in text


@pytest.mark.parametrize("seed", range(5))
def test_a_chance_is_that_of_students_test(seed: int) -> None:
    values = dict(enumerate(np.random.default_rng(seed).normal(0.3, 1, 3 + seed)))
    found = paired_difference(values, dict.fromkeys(values, 0.0))
    assert found is not None
    for above, word in ((True, "greater"), (False, "less")):
        wanted = stats.ttest_1samp(list(values.values()), 0, alternative=word).pvalue
        assert found.chance(above=above) == pytest.approx(wanted)
    same = paired_difference({0: 1.0, 1: 2.0}, {0: 0.5, 1: 1.5})
    assert same is not None
    assert (same.chance(above=True), same.chance(above=False)) == (0.0, 1.0)
    alone = paired_difference({0: 1.0}, {0: 0.5})
    assert alone is not None
    assert alone.chance(above=True) is None


def test_steps_are_told_apart_and_networks_that_are_not_pruned_have_their_band() -> None:
    third = lnp_paper.without(*lnp_paper.NEURONS[0])
    at = {**digits(0.8, 0.8, 0.9), "1": {"digits": {"accuracy": 0.84}}}
    records = [
        made("reference", "dense", 10, at),
        made(third, "I+II+III", 10, digits(0.8, 0.8, 0.9)),
        made(third, "I+II+III", 11, digits(0.8, 0.8, 0.9)),
        made(third, "I+II+III+IV", 10, digits(0.8, 0.8, 0.9)),
        made(third, "I+II+III+IV", 11, digits(0.8, 0.9, 0.9)),
    ]
    for record in records:
        record["network"] = {"neurons": 80, "synapses": 90 + record["seed"], "inhibition": 0.25}
    text = lnp_tables.tables(records)
    row = next(line for line in text.splitlines() if "I+II+III+IV − I+II+III | equal" in line)
    assert row.endswith("| 1 of 2 |")
    assert "+2.5 [" in row
    assert "| dense: digits accuracy | 0.8400 | 0.82 to 0.85 | inside |" in text
    assert f"| {third}: I+II+III | 80 ± 0 | 100 ± 1 | 25.0 ± 0.0 | – | – | 2 |" in text


def test_what_is_set_against_its_rivals_is_paired_with_each_and_with_the_dense_network() -> None:
    records = [
        made("kept 0.2", "R2w", 10, digits(0.8, 0.8, 0.9)),
        made("kept 0.2", "R2w", 11, digits(0.9, 0.9, 0.9)),
        made("kept 0.2", "magnitude", 10, digits(0.7, 0.7, 0.8)),
        made("kept 0.2", "magnitude", 11, digits(0.7, 0.7, 0.7)),
        made("kept 0.2", "magnitude", 12, digits(0.0, 0.0, 0.0)),
        made("kept 0.2", "|w|-probability", 11, digits(0.85, 0.85)),
        made("reference", "dense", 10, digits(0.9, 0.9, 0.9)),
    ]
    text = lnp_tables.tables(records).split("### kept 0.2, R2w less each rival")[1]
    assert "| magnitude | equal weights | +15.0 [" in text
    assert "| magnitude | own gain | +15.0 [" in text
    assert "| \\|w\\|-probability | equal weights | +5.0 | " in text
    assert "| \\|w\\|-probability | own gain" not in text, "it has no figure there"
    assert "| dense | equal weights | -10.0 | " in text
    assert "less each rival" not in text, "others weren't run"
