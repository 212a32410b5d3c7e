"""One whole experiment on digits, and what it must leave behind, or not."""

from __future__ import annotations

import errno
import json
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file
from torch import nn

import microglia as mg
from microglia.data import Batches
from microglia.errors import ConfigError, DataError, MicrogliaError, TrainingError
from microglia.experiment import Run, RunConfig, prune, train, trial
from microglia.experiment import run as run_module
from microglia.experiment.bench import load_data
from microglia.experiment.provenance import provenance
from microglia.experiment.trial import COMPACT
from microglia.metrics import Figures, measure
from microglia.networks import build

SMALL: dict[str, Any] = {
    "network": {"name": "digits", "width": 0.25, "T": 1},
    "data": {"source": "digits", "train_rows": [0, 80], "batch_size": 40},
    "training": {"epochs": 2, "learning_rate": 1e-2, "warmup_epochs": 0.5, "device": "cpu"},
    "pruning": {"sparsity": 0.5},
    "output": {"latency_repeats": 2, "latency_batch": 4},
}


def config(directory: Path, **sections: Mapping[str, Any]) -> RunConfig:
    table = {name: {**SMALL.get(name, {}), **sections.get(name, {})} for name in SMALL}
    table["output"]["directory"] = str(directory)
    table["seeds"] = sections.get("seeds", [0])
    return RunConfig.from_table(table)


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Run:
    folder = tmp_path_factory.mktemp("experiment")
    results = {"results": str(folder / "results" / "digits.jsonl")}
    return prune(config(folder / "run", seeds=[0, 1], output=results), progress=False)


def names(run: Run) -> dict[str, Path]:
    """Every network of the run by name and seed, and its folder."""
    below = {p.name: p for p in (run.directory / "networks").iterdir()}
    return {"sca-seed0": run.directory, **below}


def test_the_directory_is_whole_and_alone(run: Run) -> None:
    found = {str(p.relative_to(run.directory)) for p in run.directory.rglob("*") if p.is_file()}
    training = {"metrics.jsonl", "checkpoint.ckpt", "figures.json"}
    compact = {f"{COMPACT}/weights.safetensors", f"{COMPACT}/structure.json"}
    expected = {"config.toml", "table.json", "report.html", "scores.json"} | training | compact
    expected.add("networks/sca-seed1/scores.json")
    for name in ("dense", "sca", "random", "uniform-slim"):
        for seed in (0, 1):
            if (name, seed) != ("sca", 0):
                files = training | (compact if name != "dense" else set())
                expected |= {f"networks/{name}-seed{seed}/{file}" for file in files}
    assert found == expected
    assert {p.name for p in run.directory.parent.iterdir()} == {"run", "results"}


def test_figures_are_of_the_networks_in_the_files(run: Run) -> None:
    splits = load_data(run.config)
    batches = Batches(splits.test, batch_size=100, shuffle=False)
    for name, folder in names(run).items():
        network, seed = name.split("-seed")
        figures = Figures.from_json((folder / "figures.json").read_text())
        row = run.table.rows[network][int(seed)]
        assert row["accuracy"] == figures.accuracy
        assert row["parameters"] == figures.size.parameters
        if network != "dense":
            again = measure(mg.load(folder / COMPACT), batches, latency_repeats=0)
            assert again.size == figures.size
            assert again.accuracy == figures.accuracy
            assert again.operations.once == figures.operations.once
            assert again.operations.synapses == figures.operations.synapses


def test_the_channels_are_gone_and_counted(run: Run) -> None:
    table = run.table
    assert table.mean("dense", "channels") == 40
    assert table.mean("sca", "channels") == 20
    saved = json.loads((run.directory / COMPACT / "structure.json").read_text())["groups"]
    assert sum(len(group["kept"]) for group in saved.values()) == 20
    for figure in ("parameters", "synapses", "macs_once", "peak_memory_bytes"):
        ratio = table.ratio("sca", figure)
        assert ratio is not None
        assert ratio < 0.9, figure


def test_controls_have_the_parameters_that_the_method_reached(run: Run) -> None:
    """To the nearest channel: in a network this small half of one is up to a twentieth."""
    for seed in (0, 1):
        reached = run.table.rows["sca"][seed]["parameters"]
        for control in ("random", "uniform-slim"):
            kept = run.table.rows[control][seed]["parameters"]
            assert abs(kept - reached) <= 0.05 * reached


def test_controls_are_what_they_say(run: Run) -> None:
    groups = {
        name: json.loads((folder / COMPACT / "structure.json").read_text())["groups"]
        for name, folder in names(run).items()
        if "dense" not in name
    }
    for seed in (0, 1):
        random, slim = groups[f"random-seed{seed}"], groups[f"uniform-slim-seed{seed}"]
        for name, group in slim.items():
            assert group["kept"] == list(range(len(group["kept"])))
            assert abs(len(random[name]["kept"]) - len(group["kept"])) <= 1
        fractions = [len(g["kept"]) / g["original"] for g in slim.values()]
        assert max(fractions) - min(fractions) < 0.1
    assert groups["random-seed0"] != groups["random-seed1"]


def test_every_row_was_measured_on_every_seed(run: Run) -> None:
    assert list(run.table.rows) == ["dense", "sca", "random", "uniform-slim"]
    for column in run.table.columns:
        for network in run.table.rows:
            assert len(run.table.values(network, column.key)) == 2, (network, column.key)


def test_the_record_says_how_to_repeat_it(run: Run) -> None:
    saved = json.loads((run.directory / "table.json").read_text())
    assert RunConfig.from_file(run.directory / "config.toml") == run.config
    assert saved["table"] == json.loads(json.dumps(run.table.to_dict()))
    assert saved["versions"]["torch"] == torch.__version__
    assert saved["machine"]["cores"] >= 1
    assert saved["machine"]["cpu"]
    assert run.config.output.results is not None
    lines = Path(run.config.output.results).read_text().splitlines()
    assert [json.loads(line) for line in lines] == [saved]


def test_the_report_shows_the_run(run: Run) -> None:
    page = (run.directory / "report.html").read_text()
    charts = json.loads(page.split('id="charts">')[1].split("</script>")[0])
    kept = {trace["name"]: trace for trace in charts["kept"]["data"]}
    saved = json.loads((run.directory / COMPACT / "structure.json").read_text())["groups"]
    assert set(kept) == set(saved)
    for name, group in saved.items():
        assert kept[name]["y"][0] == group["original"]
        assert kept[name]["y"][-1] == len(group["kept"])
        assert kept[name]["x"][0] == 0
        assert kept[name]["x"][-1] == run.config.training.epochs
    assert sum(len(trace["y"]) for trace in charts["scores"]["data"]) == 40
    assert "same in float64" in page


def test_the_same_config_gives_the_same_networks(run: Run, tmp_path: Path) -> None:
    pruning = {"controls": ["dense", "random"]}
    again = prune(config(tmp_path / "again", seeds=[1], pruning=pruning), progress=False)
    for network in again.table.rows:
        for figure in ("accuracy", "parameters", "synapses", "accumulates_once", "firing_rate"):
            assert again.table.rows[network][0][figure] == run.table.rows[network][1][figure]


@pytest.mark.parametrize("method", ["activity", pytest.param("magnitude", marks=pytest.mark.full)])
def test_methods_for_trained_networks_start_from_the_dense_one(method: str, tmp_path: Path) -> None:
    pruning = {"method": method, "controls": ["dense"], "finetune_epochs": 1}
    run = prune(config(tmp_path / "run", pruning=pruning), progress=False)
    assert list(run.table.rows) == ["dense", method]
    assert run.table.mean(method, "channels") == 20
    lines = (run.directory / "finetune" / "metrics.jsonl").read_text().splitlines()
    assert [json.loads(line)["event"] for line in lines] == ["epoch"]


def test_fine_tuning_trains_the_compact_network_on(tmp_path: Path) -> None:
    """Its first epoch begins where pruning ended, and the teacher changes where it ends."""
    losses, weights = [], []
    for name, more in (("plain", {}), ("taught", {"distill": 0.9})):
        pruning = {"finetune_epochs": 2, "controls": ["dense"], **more}
        run = prune(config(tmp_path / name, pruning=pruning), progress=False)
        lines = (run.directory / "finetune" / "metrics.jsonl").read_text().splitlines()
        records = [json.loads(line) for line in lines]
        assert [record["kept"] for record in records] == [None, None]
        losses.append([record["loss"] for record in records])
        weights.append(load_file(run.directory / COMPACT / "weights.safetensors"))
    assert losses[0] != losses[1]
    assert any(not torch.equal(value, weights[1][key]) for key, value in weights[0].items())
    lines = (run.directory / "metrics.jsonl").read_text().splitlines()
    first = next(x for x in map(json.loads, lines) if x["event"] == "epoch")
    assert losses[0][0] < first["loss"], "it starts from the trained weights"


@pytest.mark.parametrize("seed", [0, 1])
def test_the_trained_dense_network_of_the_seed_teaches(
    tmp_path: Path, seed: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    teachers = []

    def fast(model: nn.Module, **settings: Any) -> nn.Module:
        teachers.append({name: value.clone() for name, value in model.state_dict().items()})
        return accelerate(model, **settings)

    accelerate = trial.accelerate
    monkeypatch.setattr(trial, "accelerate", fast)
    pruning = {"finetune_epochs": 1, "distill": 0.9, "controls": ["dense"]}
    run = prune(config(tmp_path / "run", pruning=pruning, seeds=[seed]), progress=False)
    folder = run.directory / "networks" / f"dense-seed{seed}"
    trained = torch.load(folder / "checkpoint.ckpt", weights_only=True)["state_dict"]
    (teacher,) = teachers
    assert len(teacher) > 4
    for name, value in teacher.items():
        assert torch.equal(value, trained[f"model.{name}"])


def test_masks_that_would_change_to_the_last_are_refused_before_training(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"until_epochs = 3: .*training\.epochs = 2"):
        prune(config(tmp_path / "run", pruning={"until_epochs": 3.0}), progress=False)
    assert not any(tmp_path.iterdir())


def test_a_teacher_without_fine_tuning_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"set pruning\.finetune_epochs"):
        config(tmp_path / "run", pruning={"distill": 0.5})


@pytest.mark.parametrize("method", ["random", pytest.param("uniform-slim", marks=pytest.mark.full)])
def test_a_control_can_be_the_method(method: str, tmp_path: Path) -> None:
    run = prune(
        config(tmp_path / "run", pruning={"method": method, "controls": []}), progress=False
    )
    assert list(run.table.rows) == [method]
    assert run.table.ratio(method, "parameters") is None
    assert (run.directory / COMPACT / "structure.json").is_file()


def test_a_target_on_parameters_is_met(tmp_path: Path) -> None:
    table = {name: dict(part) for name, part in SMALL.items()}
    table["pruning"] = {"target": {"parameters": 0.3}, "controls": ["dense"]}
    table["output"]["directory"] = str(tmp_path / "run")
    ratio = prune(RunConfig.from_table(table), progress=False).table.ratio("sca", "parameters")
    assert ratio is not None
    assert 0.25 <= ratio <= 0.3


def refused(folder: Path, wanted: type[MicrogliaError], match: str, **sections: Any) -> None:
    """The experiment fails with this error, and leaves neither a directory nor a result."""
    output = {"results": str(folder / "results.jsonl"), **sections.pop("output", {})}
    with pytest.raises(wanted, match=match):
        prune(config(folder / "run", output=output, **sections), progress=False)
    assert list(folder.iterdir()) == []


@pytest.mark.parametrize(
    ("wanted", "match", "sections"),
    [
        (ConfigError, "Did you mean 'digits'", {"network": {"name": "digts"}}),
        (DataError, "no such file", {"data": {"source": "nowhere/at/all"}}),
        (TrainingError, "cuda:99", {"training": {"device": "cuda:99"}}),
        (TrainingError, "learning_rate", {"training": {"learning_rate": 1e30}}),
        (ConfigError, "protect", {"pruning": {"protect": ["blocks.7"]}}),
        (ConfigError, "floor", {"pruning": {"sparsity": 0.9, "floor": 8}}),
        (ConfigError, "regrow", {"pruning": {"options": {"regrow": 0.9}}}),
        (ConfigError, "8x8", {"data": {"size": 16}}),
    ],
)
def test_what_fails_leaves_nothing(
    tmp_path: Path, wanted: type[MicrogliaError], match: str, sections: dict[str, Any]
) -> None:
    refused(tmp_path, wanted, match, **sections)


def test_settings_that_cannot_work_are_refused_before_anything_is_trained(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(run_module, "train_dense", lambda *_: pytest.fail("it was trained"))
    refused(tmp_path, ConfigError, "protect", pruning={"protect": ["blocks.7"]})


@pytest.mark.parametrize(
    ("epochs", "warmup", "wanted"),
    [
        (0.5, 0.0, r"2 rounds of .*every_epochs = 0\.5.*epochs / rounds = 1,"),
        (2.0, 0.0, r"2 rounds of .*every_epochs = 2.*epochs / rounds = 1,"),
        (1.0, 1.0, r"training\.warmup_epochs = 1 takes up a whole round"),
    ],
)
def test_rounds_of_a_lottery_ticket_must_fill_the_run(
    tmp_path: Path, epochs: float, warmup: float, wanted: str
) -> None:
    pruning = {"method": "lottery-ticket", "every_epochs": epochs, "options": {"rounds": 2}}
    training = {"epochs": 2, "warmup_epochs": warmup}
    with pytest.raises(ConfigError, match=wanted):
        prune(config(tmp_path / "run", pruning=pruning, training=training), progress=False)
    assert not (tmp_path / "run").exists()


def test_a_run_too_short_to_prune_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="would come after 3 epochs"):
        prune(config(tmp_path / "run", pruning={"warmup_epochs": 2.5}), progress=False)
    assert not (tmp_path / "run").exists()


def test_a_full_disk_costs_nothing(run: Run, tmp_path: Path) -> None:
    """Nothing half written, and what was trained is there when there is room again."""

    def full(*_: Any) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    same, directory = config(tmp_path / "run", seeds=[0, 1]), tmp_path / "run"
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(run_module, "write_report", full)
        with pytest.raises(DataError, match="the disk is full"):
            prune(same, progress=False)
    assert not directory.exists()
    trained = {p.parent.name: p.read_text() for p in tmp_path.rglob("metrics.jsonl")}
    resumed = prune(same, resume=True, progress=False)
    again = {p.parent.name: p.read_text() for p in directory.glob("networks/*/metrics.jsonl")}
    assert len(again) == 7
    assert all(text == trained[name] for name, text in again.items()), "it was trained again"
    assert without_clocks(resumed) == without_clocks(run)
    assert without_clocks(prune(same, resume=True, progress=False)) == without_clocks(run)
    with pytest.raises(ConfigError, match="another config, in seeds"):
        prune(config(directory), resume=True, progress=False)


def without_clocks(run: Run) -> dict[str, Any]:
    rows = run.table.to_dict()["rows"]
    return {n: {k: f for k, f in row.items() if "latency" not in k} for n, row in rows.items()}


def test_an_earlier_run_is_kept_unless_asked(run: Run, tmp_path: Path) -> None:
    shutil.copytree(run.directory, tmp_path / "run")
    before = (tmp_path / "run" / "table.json").read_text()
    with pytest.raises(ConfigError, match="is there already"):
        prune(config(tmp_path / "run"), progress=False)
    assert (tmp_path / "run" / "table.json").read_text() == before


def test_results_that_cannot_be_written_do_not_cost_the_run(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    output = {"results": str(tmp_path / "file" / "results.jsonl")}
    with pytest.raises(DataError, match="The run itself is whole"):
        prune(config(tmp_path / "run", output=output, pruning={"controls": []}), progress=False)
    assert (tmp_path / "run" / "table.json").is_file()


def test_provenance_without_a_repository(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("GIT_CEILING_DIRECTORIES", str(tmp_path.parent))
    assert provenance(torch.device("cpu"))["commit"] is None
    monkeypatch.setenv("PATH", "")
    assert provenance(torch.device("cpu"))["commit"] is None


def test_the_arguments_in_the_file_build_the_network(run: Run) -> None:
    saved = json.loads((run.directory / COMPACT / "structure.json").read_text())["network"]
    assert build(saved["name"], **saved["arguments"]).microglia_network == saved


def test_fewer_timesteps_after_training(tmp_path: Path) -> None:
    run = train(config(tmp_path / "run", network={"T": 3, "final_T": 1}), progress=False)
    place = run.directory / "networks" / "dense-seed0"
    assert Figures.from_json((place / "figures.json").read_text()).operations.T == 1
    assert run.record["table"]["rows"]["dense"]["epochs"]["mean"] == 2 + 2
    assert {"T2", "T1"} <= {p.name for p in place.iterdir()}
    (tmp_path / "other").mkdir()
    refused(
        tmp_path / "other",
        ConfigError,
        "images that the network itself repeats",
        network={"T": 3, "final_T": 1},
        data={"encoder": "poisson"},
        pruning={"method": "activity", "controls": ["dense"]},
    )
    refused(
        tmp_path / "other",
        ConfigError,
        "random, sca, uniform-slim would run at T = 3",
        network={"T": 3, "final_T": 1},
    )


@pytest.mark.parametrize("method", ["stds", "weight-magnitude", "random-weights"])
def test_weights_stay_closed_to_the_end_of_fine_tuning(tmp_path: Path, method: str) -> None:
    controls = ["dense", "uniform-slim", "random-weights"]
    pruning = {"method": method, "sparsity": 0.8, "controls": controls, "finetune_epochs": 1}
    if method == "stds":
        pruning["until_epochs"] = 1
    run = prune(config(tmp_path / "run", pruning=pruning), progress=False)
    rows = {name: row["values"][0] for name, row in _figure_of(run, "weights").items()}
    whole = rows["dense"]
    assert rows[method] == whole - round(0.8 * whole)
    zeros = 0
    for weight in mg.load(run.directory / COMPACT).parameters():
        if weight.dim() > 1:
            zeros += int((weight == 0).sum())
    parameters = _figure_of(run, "parameters")
    gone = parameters["dense"]["values"][0] - parameters[method]["values"][0]
    assert zeros + gone >= 0.8 * whole - 1, "of the file, what was taken out with unread channels"
    slim = parameters["uniform-slim"]["values"][0] / parameters["dense"]["values"][0]
    kept = 1 - round(0.8 * whole) / parameters["dense"]["values"][0]
    assert abs(slim - kept) < 0.1
    if method == "stds":
        with pytest.raises(ConfigError, match="comes to its budget there"):
            config(
                tmp_path / "other",
                pruning={k: v for k, v in pruning.items() if k != "until_epochs"},
            )
    with pytest.raises(ConfigError, match="prunes weights, not channels"):
        config(tmp_path / "other", pruning={**pruning, "round_to": 8})


def _figure_of(run: Run, key: str) -> dict[str, Any]:
    """A figure of every network that has it."""
    rows = run.record["table"]["rows"]
    return {name: figures[key] for name, figures in rows.items() if key in figures}
