"""Networks that learn as jobs, networks pruned for each task, and their tables."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from microglia.errors import ConfigError, TrainingError
from microglia.experiment.recurrent import each_task_job, lnp_tables, reservoir_job, trained_job
from microglia.experiment.recurrent.each_task_job import EachTaskJob
from microglia.experiment.recurrent.files import load_pruned
from microglia.experiment.recurrent.lnp_paper import AFTER, EACH, LNP, NEURONS, without
from microglia.experiment.recurrent.reservoir_job import CALIBRATED, ReservoirJob
from microglia.experiment.recurrent.sparse_networks import Budget
from microglia.experiment.recurrent.trained_job import DENSE, NETWORK, Setting, TrainedJob
from microglia.experiment.results import read_results, run_jobs
from microglia.networks import HRSNNConfig, SmallWorld
from microglia.tasks.suite import WITH_DATA
from microglia.tasks.through_time import ThroughTime

SMALL = HRSNNConfig(neurons=50, wiring=SmallWorld(neighbours=12), weight=0.15, fed=0.3)
SMALL_BUDGET: dict[str, Any] = {"kept": 0.2, "neurons": 0.3}


@pytest.fixture
def small(monkeypatch: pytest.MonkeyPatch) -> None:
    """Networks of 50 neurons, and one epoch of learning."""
    for module in (trained_job, each_task_job, reservoir_job):
        monkeypatch.setattr(module, "HRSNNConfig", lambda **_: SMALL)
        monkeypatch.setattr(module, "memory_capacity", lambda net, **_: -abs(net.weights).sum())
    brief = Setting(hold=0.004, through_time=ThroughTime(epochs=1, window=10, streams=32))
    monkeypatch.setattr(trained_job, "GRID", (0.5, 1.0))
    monkeypatch.setattr(trained_job, "SETTINGS", dict.fromkeys(trained_job.SETTINGS, brief))


def job(label: str, seed: int, *, task: str = "lorenz", **how: Any) -> TrainedJob:
    budgets = {
        DENSE: Budget(rule="dense"),
        LNP: Budget(rule="R2w", **SMALL_BUDGET),
        AFTER: Budget(rule="magnitude", criterion="activity", **SMALL_BUDGET),
    }
    return TrainedJob(
        task=task, label=label, budget=budgets[label], seed=seed, after=label == AFTER, **how
    )


@pytest.mark.usefixtures("small")
@pytest.mark.parametrize("seed", [10, 11])
def test_equal_budgets_before_and_after_learning(tmp_path: Path, seed: int) -> None:
    jobs = [job(label, seed) for label in (DENSE, LNP, AFTER)]
    records = {r["label"]: r for r in run_jobs(jobs, results=tmp_path / "r.jsonl", folder=tmp_path)}
    assert records[DENSE]["network"]["neurons_kept"] == 1
    for name in ("neurons", "synapses", "inhibitory"):
        assert records[LNP]["network"][name] == records[AFTER]["network"][name]
    assert records[LNP]["network"]["synapses_kept"] == pytest.approx(0.2, abs=2e-3)
    assert records[LNP]["network"]["neurons"] == 35
    assert all(np.isfinite(list(r["figures"].values())).all() for r in records.values())
    assert records[AFTER]["training"] >= records[DENSE]["training"]


@pytest.mark.usefixtures("small")
def test_what_was_taught_is_pruned_calibrated_and_taught_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Where learning doubles every weight, a weight left is the dense one, doubled, times the gain,
    and doubled again."""

    def double(network: Any, *_: Any, **__: Any) -> Any:
        return network.with_weights(2 * network.weights)

    monkeypatch.setattr(trained_job, "teach", double)
    records = run_jobs(
        [job(DENSE, 10), job(AFTER, 10)], results=tmp_path / "r.jsonl", folder=tmp_path
    )
    dense, pruned = (load_pruned(tmp_path / r["name"] / NETWORK).network for r in records)
    stays = [int(np.flatnonzero(dense.tau_m == tau)[0]) for tau in pruned.tau_m]
    wanted = 2 * records[1]["gain"] * dense.weights.toarray()[np.ix_(stays, stays)]
    found = pruned.weights.toarray()
    assert np.allclose(found[found != 0], wanted[found != 0], rtol=1e-5)
    # The largest stay.
    assert np.abs(wanted[found != 0]).min() >= np.abs(wanted[found == 0]).max()
    done = {r["name"]: r for r in records}
    as_it_was = replace(job(AFTER, 10), calibrated=False).do(done, folder=tmp_path, progress=False)
    assert (as_it_was["gain"], as_it_was["tried"]) == (1, {})
    alone = load_pruned(tmp_path / as_it_was["name"] / NETWORK).network
    assert np.allclose(alone.weights.toarray() * records[1]["gain"], found, rtol=1e-5)


@pytest.mark.usefixtures("small")
def test_a_network_of_another_config_is_not_taken_for_the_dense_one(tmp_path: Path) -> None:
    jobs = [job(DENSE, 10), job(AFTER, 10)]
    first = run_jobs(jobs, results=tmp_path / "a.jsonl", folder=tmp_path)
    config = tmp_path / jobs[0].name / trained_job.CONFIG
    config.write_text(config.read_text().replace('"seed"', '"other"').replace("0.3", "0.4"))
    saved = tmp_path / jobs[0].name / NETWORK
    from microglia.experiment.recurrent.files import save_pruned
    from microglia.lyapunov import Pruned

    save_pruned(Pruned.begin(SMALL.draw(99)), saved)
    again = jobs[1].do({jobs[0].name: first[0]}, folder=tmp_path, progress=False)
    assert again["figures"] == first[1]["figures"]


@pytest.mark.usefixtures("small")
def test_a_network_that_cannot_learn_is_in_its_record(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*_: Any, **__: Any) -> Any:
        raise TrainingError("no pair of spikes met")

    monkeypatch.setattr(trained_job, "teach", fail)
    records = run_jobs([job(LNP, 10)], results=tmp_path / "r.jsonl", folder=tmp_path)
    assert records[0]["figures"] == {"failed": "no pair of spikes met"}
    text = lnp_tables.tables(records)
    assert f"- {records[0]['name']}: no pair of spikes met" in text


@pytest.mark.usefixtures("small")
def test_time_constants_alike_and_all_else_the_same() -> None:
    mixed, alike = (job(LNP, 10, alike=flag)._drawn() for flag in (False, True))
    assert np.ptp(alike.tau_m) == 0
    assert np.ptp(mixed.tau_m) > 0
    assert np.array_equal(mixed.weights.toarray(), alike.weights.toarray())
    assert np.array_equal(mixed.inputs.toarray(), alike.inputs.toarray())  # type: ignore[union-attr]


@pytest.mark.usefixtures("small")
@pytest.mark.parametrize("seed", [10, 11, 12])
def test_the_least_active_on_the_task_go(tmp_path: Path, seed: int) -> None:
    after = job(AFTER, seed)
    run_jobs([job(DENSE, seed), after], results=tmp_path / "r.jsonl", folder=tmp_path)
    dense, left = (
        load_pruned(tmp_path / one.name / NETWORK).network for one in (job(DENSE, seed), after)
    )
    rates = replace(after._task(), scale=None).rates(dense, seed)
    stays = np.isin(np.float32(dense.tau_m), np.float32(left.tau_m))
    hears = np.asarray(abs(dense.inputs).sum(1)).ravel() > 0  # type: ignore[arg-type]
    for kind in (True, False):
        mine = (dense.inhibitory == kind) & ~hears  # type: ignore[operator]
        assert rates[mine & stays].min(initial=np.inf) >= rates[mine & ~stays].max(initial=0.0)


def each(label: str, seed: int) -> EachTaskJob:
    budget = Budget(rule=EACH[label], criterion="activity", **SMALL_BUDGET)
    return EachTaskJob(
        experiment=without(*NEURONS[1]),
        label=label,
        budget=budget,
        seed=seed,
        tasks=("digits", "lorenz"),
    )


@pytest.mark.usefixtures("small")
def test_each_task_has_a_network_of_its_own(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    dense = SMALL.draw(10)
    first, second = (WITH_DATA[task].rates(dense, 10) for task in ("digits", "lorenz"))
    budget = each("magnitude, by each task", 10).budget
    one, other = (
        budget.of(dense, seed=10, metric=lambda _: 0.0, rates=rates) for rates in (first, second)
    )
    assert not np.array_equal(one.tau_m, other.tau_m)
    assert len(one) == len(other) == 35

    together = ReservoirJob(
        experiment=without(*NEURONS[1]),
        label="I+II",
        budget=Budget(rule="R2w", **SMALL_BUDGET),
        seed=10,
        tasks=("digits", "lorenz"),
        gains=(),
    )
    jobs = [together, each("magnitude, by each task", 10), job(DENSE, 10), job(LNP, 10)]
    met = {}

    def asked(task: str, network: Any, seed: int, *, brief: bool) -> dict[str, Any]:
        met[task] = network
        return reservoir_job.asked(task, network, seed, brief=brief)

    monkeypatch.setattr(each_task_job, "asked", asked)
    records = run_jobs(jobs, results=tmp_path / "r.jsonl", folder=tmp_path)
    assert np.array_equal(met["digits"].tau_m, one.tau_m)
    assert np.array_equal(met["lorenz"].tau_m, other.tau_m)
    assert list(records[1]["figures"]) == [CALIBRATED]
    assert set(records[1]["gains"]) == {"digits", "lorenz"}
    text = lnp_tables.tables(read_results(tmp_path / "r.jsonl").values())
    table = text[text.index("### One network for all tasks") :]
    digits = next(line for line in table.splitlines() if line.startswith("| digits"))
    scores = [100 * r["figures"][CALIBRATED]["digits"]["accuracy"] for r in records[:2]]
    assert digits.split("|")[2:9] == [
        f" {scores[0]:.1f} ",
        *4 * [" – "],  # of others with no task in sight there is no record
        f" {scores[1]:.1f} ",
        f" {scores[0] - scores[1]:+.1f} ",
    ]
    assert "### Trained, lorenz" in text
    errors = [1000 * r["figures"]["nrmse"] for r in records[2:]]
    dense_line = next(line for line in text.splitlines() if line.startswith("| dense | "))
    assert dense_line.split("|")[2] == f" {errors[0]:.2f} "
    assert f"| LNP − dense | {errors[1] - errors[0]:+.2f} |" in text


@pytest.mark.usefixtures("small")
def test_other_configs_are_refused(tmp_path: Path) -> None:
    run_jobs([job(LNP, 10)], results=tmp_path / "r.jsonl", folder=tmp_path)
    with pytest.raises(ConfigError, match="in learning"):
        run_jobs([job(LNP, 10, rule="none")], results=tmp_path / "r.jsonl", folder=tmp_path)
    line = json.loads((tmp_path / "r.jsonl").read_text())
    assert line["kind"] == "trained"
    with pytest.raises(ConfigError, match="'digts'"):
        job(LNP, 10, task="digts")


@pytest.mark.usefixtures("small")
def test_figures_show_worth_against_cost_and_one_network(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from microglia.experiment.recurrent import lnp_chapters

    monkeypatch.setattr(lnp_chapters, "HRSNNConfig", lambda: SMALL)
    jobs = [
        ReservoirJob(
            experiment=experiment,
            label=label,
            budget=Budget(rule=rule, kept=part),
            seed=seed,
            tasks=("digits", "lorenz"),
            gains=(),
        )
        for seed in (10, 11)
        for experiment, label, rule, part in (
            ("kept 0.2", "R2w", "R2w", 0.2),
            ("kept 0.5", "R2w", "R2w", 0.5),
            ("kept 0.2", "random", "random", 0.2),
        )
    ]
    records = run_jobs(
        [*jobs, each("random, by each task", 10)], results=tmp_path / "r.jsonl", folder=tmp_path
    )
    worth, looked_at = lnp_chapters.lnp_chapters(records)
    assert [f.title.split(",")[0] for f in worth.figures] == ["Digits by rows", "Lorenz"]
    series = {one.name: one for one in worth.figures[0].chart.series}
    assert set(series) == {"R2w", "random"}
    own = [r["figures"][CALIBRATED] for r in records[:-1] if r["label"] == "R2w"]
    wanted = sorted(
        (
            (own[k]["lorenz"]["synops"] + own[k + 2]["lorenz"]["synops"]) / 2,
            50 * (own[k]["digits"]["accuracy"] + own[k + 2]["digits"]["accuracy"]),
        )
        for k in (0, 1)
    )
    assert np.allclose(list(zip(series["R2w"].x, series["R2w"].y, strict=True)), wanted)
    titles = [f.title for f in looked_at.figures]
    assert {"Lorenz x, forecast and truth", "Lyapunov spectrum", "Eigenvalues"} <= set(titles)
    assert "seed 10" in looked_at.title
    assert lnp_chapters.lnp_chapters([]) == []
