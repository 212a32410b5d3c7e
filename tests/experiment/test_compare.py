"""Comparisons: one config, every method at its sparsities, once each, by several processes."""

from __future__ import annotations

import csv
import json
import math
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from filelock import FileLock, Timeout

from microglia.cli import run
from microglia.errors import ConfigError
from microglia.experiment import compare_table, results
from microglia.experiment.compare import CompareConfig
from microglia.experiment.results import read_results, run_in_processes, run_jobs

TABLE: dict[str, Any] = {
    "seeds": [0, 1],
    "network": {"name": "digits", "width": 0.25, "T": 1},
    "data": {"source": "digits", "train_rows": [0, 80], "batch_size": 40},
    "training": {"epochs": 2, "learning_rate": 1e-2, "device": "cpu"},
    "pruning": {"until_epochs": 1},
    "compare": {
        "methods": ["uniform-slim", "weight-magnitude"],
        "sparsities": [0.5],
        "weight_sparsities": [0.8],
        "settings": {"weight-magnitude": {"finetune_epochs": 1, "scope": "layer"}},
    },
    "output": {"latency_repeats": 2, "latency_batch": 4},
}


def config(**sections: Any) -> CompareConfig:
    return CompareConfig.from_table({**TABLE, **sections})


def test_every_method_at_each_of_its_sparsities() -> None:
    jobs = config().jobs()
    assert [job.name for job in jobs] == [
        f"digits-digits/{what}-seed{seed}"
        for seed in (0, 1)
        for what in (
            "dense",
            "uniform-slim-0.5",
            "weight-magnitude-0.8",
            "random-weights-0.8",
            "uniform-slim-0.8",
        )
    ]
    assert [job.like for job in jobs[:5]] == [None, None, None, None, "random-weights"]
    magnitude = jobs[2].config.pruning
    assert (magnitude.options, magnitude.finetuning) == ({"scope": "layer"}, 1)
    assert magnitude.until_epochs == 1


@pytest.mark.parametrize(
    ("methods", "matched"),
    [
        (["sca"], {"random": "sca", "uniform-slim": "sca"}),
        (["uniform-slim", "dpap", "sca", "random"], {"random": "sca", "uniform-slim": "sca"}),
        (["dpap", "pca"], {"random": "dpap", "uniform-slim": "dpap"}),
        (["random", "uniform-slim"], {}),
        (["stds"], {"uniform-slim": "random-weights"}),
        (["random-weights"], {"uniform-slim": "random-weights"}),
    ],
)
def test_controls_are_there_unasked_and_once(methods: list[str], matched: dict[str, str]) -> None:
    """Matched in parameters, trained as what they are matched to, in an order that can be done."""
    settings = {next(m for m in methods if m in ("sca", "dpap", "stds") or m == methods[0]): {}}
    settings = {name: {"epochs": 5} for name in settings if not name.startswith(("ran", "uni"))}
    contest = {"methods": methods, "sparsities": [0.5], "weight_sparsities": [0.8]}
    jobs = config(seeds=[0], compare={**contest, "settings": settings}).jobs()
    names = [job.name for job in jobs]
    assert len(set(names)) == len(names)
    for i, job in enumerate(jobs):
        assert set(job.builds_on) <= set(names[:i])
    assert {job.label: job.like for job in jobs if job.like} == matched
    by_label = {job.label: job for job in jobs}
    assert set(methods) <= set(by_label)
    for control, reference in matched.items():
        trained = by_label[reference].config.training
        assert by_label[control].config.training == trained
        assert by_label[control].config.pruning.finetuning == 0
    assert ("random-weights" in by_label) == (methods[0] in ("stds", "random-weights"))


def test_of_channels_and_weights_at_one_sparsity_each_has_its_narrow_network() -> None:
    contest = {"methods": ["sca", "stds"], "sparsities": [0.5], "weight_sparsities": [0.5, 0.8]}
    jobs = config(seeds=[0], compare=contest).jobs()
    assert len({job.name for job in jobs}) == len(jobs)
    narrow = {
        (job.label, job.sparsity): job.like
        for job in jobs
        if job.config.pruning.method == "uniform-slim"
    }
    assert narrow == {
        ("uniform-slim", 0.5): "sca",
        ("uniform-slim as random-weights", 0.5): "random-weights",
        ("uniform-slim", 0.8): "random-weights",
    }


def test_two_processes_do_each_run_once(tmp_path: Path) -> None:
    jobs, results = config().jobs(), tmp_path / "results.jsonl"
    records = run_in_processes(jobs, 2, results=results, folder=tmp_path / "jobs")
    assert sorted(r["name"] for r in records) == sorted(job.name for job in jobs)
    assert len(results.read_text().splitlines()) == len(jobs)
    found = compare_table.rows(records)
    by_name = {
        (r["method"], r["seed"]): r
        for r in found
        if r["method"] not in {"uniform-slim"} or r["sparsity"] == 0.5
    }
    for seed in (0, 1):
        dense, slim, weights = (
            by_name[method, seed] for method in ("dense", "uniform-slim", "weight-magnitude")
        )
        assert dense["loss"] == 0
        assert dense["connectivity"] == dense["cost"] == slim["cost"] == 1 or (
            slim["connectivity"] < 0.6
        )
        assert weights["cost"] == 1.5, "an epoch of fine-tuning on two of the dense network's"
        assert weights["loss"] == pytest.approx(dense["accuracy"] - weights["accuracy"])
        assert 0.2 < weights["connectivity"] < 0.25, "biases and norms stay"
        assert weights["synapses kept"] < 0.25
        assert weights["size as CSR"] < weights["size"] <= 1
        assert weights["latency as CSR"] > 0
        assert slim["size"] < 0.7 < dense["size"] == 1
        assert weights["bytes on disk"] > weights["connectivity"] * slim["bytes on disk"] > 0
        for row in (dense, slim):
            assert math.isnan(row["size as CSR"])
            assert math.isnan(row["latency as CSR"])
    text = compare_table.markdown(found)
    assert "Dense, digits, digits ×0.25, T=1:" in text
    assert text.count("| weights | 0.8 |") == 2
    for seed in (0, 1):
        matched = {
            r["method"]: r["connectivity"]
            for r in found
            if (r["seed"], r["sparsity"]) == (seed, 0.8)
        }
        assert matched["uniform-slim"] == pytest.approx(matched["random-weights"], rel=0.3)
    compare_table.write_csv(found, tmp_path / "rows.csv")
    with (tmp_path / "rows.csv").open() as file:
        assert len(list(csv.DictReader(file))) == len(jobs)


def test_a_method_trained_for_longer_starts_from_the_same_dense_network(tmp_path: Path) -> None:
    table = {**TABLE["compare"], "settings": {"weight-magnitude": {"epochs": 3}}}
    jobs, results = config(seeds=[0], compare=table).jobs(), tmp_path / "results.jsonl"
    assert [job.config.training.epochs for job in jobs] == [2, 2, 3, 2, 2]
    work = tmp_path / "jobs"
    run_jobs(jobs[:2], results=results, folder=work, progress=False)
    (metrics,) = (work / jobs[0].name).rglob("metrics.jsonl")
    dense = metrics.read_text()
    run_jobs(jobs, results=results, folder=work, progress=False)
    assert set(read_results(results)) == {job.name for job in jobs}
    assert metrics.read_text() == dense, "not trained again"


def test_a_job_that_fails_does_not_keep_the_others(tmp_path: Path) -> None:
    jobs, results = config(seeds=[0]).jobs(), tmp_path / "results.jsonl"
    broken = tmp_path / "jobs" / jobs[1].name
    (broken / "compact").mkdir(parents=True)
    (broken / "config.toml").write_text("seeds = [5]")
    with pytest.raises(ConfigError, match=r"not all jobs could be done\s+.*uniform-slim"):
        run_in_processes(jobs, 2, results=results, folder=tmp_path / "jobs")
    assert set(read_results(results)) == {job.name for job in jobs} - {jobs[1].name}


def test_the_command_leaves_a_table_and_a_csv(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    file = tmp_path / "compare.toml"
    file.write_text(
        """
seeds = [0]
[network]
name = "digits"
width = 0.25
T = 1
[data]
source = "digits"
train_rows = [0, 80]
batch_size = 40
[training]
epochs = 1
warmup_epochs = 0.5
device = "cpu"
[compare]
methods = ["random"]
sparsities = [0.5]
[output]
directory = "out"
latency_repeats = 2
latency_batch = 4
"""
    )
    assert run(["compare", str(file), "--quiet"]) == 0
    assert "| random | channels | 0.5 |" in capsys.readouterr().out
    before = (tmp_path / "out" / "results.jsonl").read_text()
    assert run(["compare", str(file), "--quiet"]) == 0
    assert (tmp_path / "out" / "results.jsonl").read_text() == before, "nothing is done twice"
    assert run(["compare", str(file), "--list"]) == 0
    assert capsys.readouterr().out.count("done  ") == 2
    assert json.loads(before.splitlines()[0])["label"] == "dense"
    assert (tmp_path / "out" / "results.csv").is_file()

    def locked(found: Any, path: Path) -> None:
        """Who else read before could write after, and a finished run be missing."""
        with pytest.raises(Timeout):
            FileLock(path.with_name(".results.csv.lock"), is_singleton=False).acquire(
                blocking=False
            )

    monkeypatch.setattr(compare_table, "write_csv", locked)
    assert run(["compare", str(file), "--table"]) == 0
    capsys.readouterr()
    longer = ["compare", str(file), "--training.epochs", "2"]
    assert run([*longer, "--list"]) == 0
    assert capsys.readouterr().out.count("other  ") == 2
    for command in (longer, [*longer, "--table"]):
        assert run([*command, "--quiet"]) == 2
        assert "another config, in training.epochs" in capsys.readouterr().err
    (tmp_path / "out" / "results.jsonl").unlink()
    assert run(["compare", str(file), "--table"]) != 0, "nothing to write"
    nowhere = tmp_path / "nowhere"
    assert run(["compare", str(file), "--table", "--output.directory", str(nowhere)]) != 0
    assert not nowhere.exists()
    assert run(["compare", str(file), "--list", "--seeds", "3,5"]) == 0
    listed = capsys.readouterr().out.split()
    assert [name for name in listed if "dense" in name] == [
        "digits-digits/dense-seed3",
        "digits-digits/dense-seed5",
    ]


def test_a_network_that_cannot_be_is_told_before_any_process_begins(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delattr("microglia.cli.compare.run_in_processes")
    file = Path(__file__).parents[2] / "examples" / "compare.toml"
    out = ["--output.directory", str(tmp_path / "out"), "--processes", "2"]
    assert run(["compare", str(file), "--network.norm", "bm", *out]) == 2
    assert "norm: 'bm' is unknown" in capsys.readouterr().err


class _Marks:
    """A job that leaves a file."""

    builds_on = ()

    def __init__(self, name: str) -> None:
        self.name = name

    def do(self, done: Any, *, folder: Path, progress: bool) -> dict[str, Any]:
        (folder / f"{self.name}.done").touch()
        raise ConfigError("it has no record")


@pytest.mark.parametrize("alive", [True, False])
def test_whose_parent_is_gone_begins_nothing_more(
    tmp_path: Path, alive: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    parent = SimpleNamespace(is_alive=lambda: alive)
    monkeypatch.setattr(results.multiprocessing, "parent_process", lambda: parent)
    jobs: Any = [_Marks("a"), _Marks("b")]
    results._work(jobs, tmp_path / "r.jsonl", tmp_path, tmp_path / "failures.jsonl")
    assert sorted(p.stem for p in tmp_path.glob("*.done")) == (["a", "b"] if alive else [])


@pytest.mark.parametrize(
    ("section", "value", "match"),
    [
        ("compare", {"methods": []}, "different methods"),
        ("compare", {"methods": ["sca", "sca"]}, "different methods"),
        ("compare", {"methods": ["scaa"]}, "Did you mean 'sca'"),
        ("compare", {"methods": ["sca"], "settings": {"stds": {}}}, "isn't compared"),
        ("compare", {"methods": ["sca"], "settings": {"sca": {"regrw": 0.1}}}, "regrw"),
        ("compare", {"methods": ["sca"], "sparsities": [1.5]}, "sparsity"),
        (
            "compare",
            {"methods": ["sca", "random"], "settings": {"random": {"epochs": 3}}},
            "trained as 'sca' is",
        ),
        ("compare", {"methods": ["sca"], "processes": 0}, "processes"),
        (
            "compare",
            {"methods": ["sca"], "settings": {"sca": {"until_epochs": 3}}},
            "after training.epochs = 2",
        ),
        ("pruning", {"sparsity": 0.5}, "the comparison sets it"),
        ("seeds", [], "seeds"),
    ],
)
def test_what_is_refused(section: str, value: Any, match: str) -> None:
    with pytest.raises(ConfigError, match=match):
        config(**{section: value})


def test_masks_of_neurons_are_settings_of_a_method() -> None:
    both = {"neurons": True, "neuron_sparsity": 0.5}
    asked = config(compare={"methods": ["upr"], "settings": {"upr": both}})
    options = {job.label: job.config.pruning.options for job in asked.jobs()}
    assert options["upr"] == both
    assert [label for label, own in options.items() if own] == ["upr"]


def test_a_run_with_masks_of_neurons_is_measured_from_its_file_and_inspected(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    both = {"neurons": True, "neuron_sparsity": 0.5}
    own = {"methods": ["upr"], "weight_sparsities": [0.5], "settings": {"upr": both}}
    asked = config(compare=own, seeds=[0]).jobs()
    done = run_jobs(asked, results=tmp_path / "results", folder=tmp_path, progress=False)
    figures = {record["label"]: record["figures"] for record in done}
    assert figures["dense"]["open_neurons"] == figures["dense"]["neurons"]
    # Channels that nobody reads are gone besides.
    assert 0 < figures["upr"]["open_neurons"] < figures["upr"]["neurons"]
    assert figures["upr"]["open_neurons"] <= 0.5 * figures["dense"]["neurons"]
    assert figures["upr"]["synapses"] < 0.6 * figures["random-weights"]["synapses"]
    saved = next(path.parent for path in tmp_path.glob("*/upr-*/compact/structure.json"))
    run(["inspect", str(saved)])
    open_, whole = (f"{int(figures['upr'][k]):,}" for k in ("open_neurons", "neurons"))
    assert f"neurons kept by masks: {open_} of {whole}" in capsys.readouterr().out


def test_the_published_comparison_of_6conv2fc_stands_ready() -> None:
    config = CompareConfig.from_file(Path(__file__).parents[2] / "examples" / "6conv2fc.toml")
    assert (config.network.name, config.network.T) == ("6conv2fc", 8)
    asked = {(job.label, job.config.pruning.sparsity) for job in config.jobs()}
    for method in ("grad-r", "stds", "deep-r", "lottery-ticket", "upr", "sca"):
        assert len([1 for label, _ in asked if label.startswith(method)]) == 2
    controls = {"random", "uniform-slim", "random-weights"}
    rest = [job for job in config.jobs() if job.label not in controls]
    assert len(rest) == 1 + 12  # the dense network, and each method at two densities
