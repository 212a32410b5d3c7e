"""`microglia lnp`: what a run leaves, that it goes on after a kill, and what it refuses."""

from __future__ import annotations

import json
import shutil
import signal
import subprocess
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from rich.console import Console

import microglia as mg
from microglia.cli.commands import inspect
from microglia.experiment.recurrent import lnp
from microglia.experiment.recurrent.files import load_pruned, save_pruned
from microglia.experiment.recurrent.forecast import forecast_lorenz
from microglia.experiment.recurrent.lnp_config import CONTROLS, DEMO, LNPRun
from microglia.experiment.recurrent.lnp_controls import controlled, figures_of
from microglia.experiment.run_dir import unfinished
from microglia.experiment.toml import dump, plain
from microglia.frameworks import RecurrentNetwork
from microglia.lyapunov import LNPConfig, prune_recurrent
from microglia.lyapunov.sparsify import fed
from microglia.networks import HRSNNConfig, SmallWorld

SMALL: dict[str, Any] = {
    "network": {"neurons": 60, "inputs": 3, "wiring": {"neighbours": 12}, "weight": 0.2},
    "pruning": {"sparsity": 0.7, "neurons": 0.2, "rounds": 2, "calibrate": "deviation"},
    "seconds": 0.3,
    "values": 400,
}


def config(directory: Path, **changes: Any) -> LNPRun:
    return LNPRun.from_table({**SMALL, "output": {"directory": str(directory)}, **changes})


class Killed(BaseException):
    """As kill -9: nobody catches it."""


def dying(after: int) -> Callable[[str], None]:
    said: list[str] = []

    def say(text: str) -> None:
        said.append(text)
        if len(said) == after:
            raise Killed

    return say


def record(directory: Path) -> dict[str, Any]:
    rows: dict[str, Any] = json.loads((directory / "table.json").read_text())["table"]["rows"]
    return rows


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("whole") / "run"
    lnp.prune_recurrent_run(config(path))
    return path


def test_a_run_leaves_the_network_the_table_and_the_page(whole: Path) -> None:
    assert {p.name for p in whole.iterdir()} == {
        "config.json",
        "figures",
        "network",
        "report.html",
        "table.json",
    }
    rows = record(whole)
    assert list(rows) == ["dense", "lnp", *CONTROLS]
    for name in ("random", "fresh", "magnitude", "activity"):
        for figure in ("neurons", "synapses"):
            assert rows[name][figure]["mean"] == rows["lnp"][figure]["mean"]
    assert rows["none"]["synapses"]["mean"] == rows["none"]["synops"]["mean"] == 0
    assert rows["none"]["reach"]["mean"] == 0
    assert all(row["abscissa"]["mean"] < 0 for row in rows.values())
    small = load_pruned(whole / "network")
    assert len(small.network) == 48
    assert small.network.weights.nnz == round(0.3 * 60 * 12) == rows["lnp"]["synapses"]["mean"]
    assert [step.name for step in small.steps] == ["I and II", "I and II", "gain"]
    assert small.steps[-1].abscissa == rows["lnp"]["abscissa"]["mean"]
    text = (whole / "table.json").read_text()
    assert "NaN" not in text
    assert "Infinity" not in text
    page = (whole / "report.html").read_text()
    for title in (
        "Weight matrix before",
        "Weight matrix after",
        "Lyapunov spectrum",
        "Synapses into a neuron",
        "Membrane time constants",
        "Eigenvalues",
    ):
        assert title in page


@pytest.mark.parametrize("after", [1, 2, 3, 6])
def test_a_killed_run_goes_on_to_the_same_result(whole: Path, after: int, tmp_path: Path) -> None:
    again = config(tmp_path / "run")
    with pytest.raises(Killed):
        lnp.prune_recurrent_run(again, say=dying(after))
    assert not (tmp_path / "run").exists()
    with pytest.raises(mg.ConfigError, match="--resume"):
        lnp.prune_recurrent_run(again)
    with pytest.raises(mg.ConfigError, match="another config"):
        lnp.prune_recurrent_run(replace(again, seconds=0.4), resume=True)
    said: list[str] = []
    lnp.prune_recurrent_run(again, resume=True, say=said.append)
    assert "going on" in said[0]
    assert record(tmp_path / "run") == record(whole)
    one, other = (load_pruned(path / "network") for path in (whole, tmp_path / "run"))
    assert np.array_equal(one.network.weights.data, other.network.weights.data)
    assert one.steps == other.steps
    assert not unfinished(tmp_path / "run").exists()


def test_a_finished_run_is_not_run_again(whole: Path) -> None:
    before = {path: path.stat().st_mtime_ns for path in whole.rglob("*")}
    said: list[str] = []
    done = lnp.prune_recurrent_run(config(whole), resume=True, say=said.append)
    assert said == [f"the run in '{whole}' is already finished"]
    assert done.table.to_dict()["rows"] == record(whole)
    with pytest.raises(mg.ConfigError, match="had another config"):
        lnp.prune_recurrent_run(config(whole, seconds=0.4), resume=True)
    assert {path: path.stat().st_mtime_ns for path in whole.rglob("*")} == before
    assert not unfinished(whole).exists()


def test_figures_of_several_seeds_say_whose_they_are(
    whole: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    lnp.prune_recurrent_run(config(tmp_path / "run", seeds=[3, 5], controls=[]))
    page = (tmp_path / "run" / "report.html").read_text()
    figures = [*(tmp_path / "run" / "figures").glob("*.svg")]
    assert page.count("Of seed 3, the first of 2.") >= len(figures) > 0
    assert "seed 5, step gain" in page
    assert len(record(tmp_path / "run")["lnp"]["abscissa"]["values"]) == 2
    assert "the first of" not in (whole / "report.html").read_text()
    for run, told in ((tmp_path / "run", True), (whole, False)):
        size: dict[str, Any] = dict.fromkeys(("classes", "channels", "size", "T", "width"))
        inspect(Console(width=500), str(run), **size)
        out = capsys.readouterr().out
        assert "48 neurons" in out
        assert ("other seeds" in out) == (f"{run}/network-seed5" in out) == told


@pytest.mark.full
def test_kill_9_loses_nothing(whole: Path, tmp_path: Path) -> None:
    run = config(tmp_path / "run")
    (tmp_path / "run.toml").write_text(dump(run))
    command = "import sys; from microglia.cli import main; main(sys.argv[1:])"
    arguments = [sys.executable, "-c", command, "lnp", str(tmp_path / "run.toml")]
    with subprocess.Popen(arguments, stderr=subprocess.PIPE, text=True) as process:
        assert process.stderr is not None
        for line in process.stderr:
            if "I and II" in line:
                break
        process.send_signal(signal.SIGKILL)
    lnp.prune_recurrent_run(run, resume=True)
    assert record(tmp_path / "run") == record(whole)


def test_an_earlier_run_is_not_lost(whole: Path) -> None:
    with pytest.raises(mg.ConfigError, match="overwrite"):
        lnp.prune_recurrent_run(config(whole))


def test_a_saved_network_can_be_pruned_on(whole: Path, tmp_path: Path) -> None:
    run = config(
        tmp_path / "run",
        network={"file": str(whole / "network")},
        pruning={"sparsity": 0.5, "calibrate": "none"},
        controls=[],
    )
    lnp.prune_recurrent_run(run)
    before = load_pruned(whole / "network").network.weights.nnz
    assert load_pruned(tmp_path / "run" / "network").network.weights.nnz == before - round(
        0.5 * before
    )


@pytest.mark.parametrize("rule", [c for c in CONTROLS if c != "none"])
@pytest.mark.parametrize("seed", [0, 1])
def test_controls_keep_the_input_and_the_types(rule: str, seed: int) -> None:
    dense = HRSNNConfig(neurons=80, wiring=SmallWorld(neighbours=20)).draw(seed)
    settings = LNPConfig(sparsity=0.8, neurons=0.3, calibrate="none")
    small = prune_recurrent(dense, settings, seed=seed).network
    net = controlled(rule, dense, small, settings, seed=seed, metric=lambda net: 0.0)
    assert len(net) == len(small)
    assert net.weights.nnz == small.weights.nnz
    assert fed(net).sum() == fed(dense).sum()
    assert net.inhibitory is not None
    assert small.inhibitory is not None
    assert net.inhibitory.sum() == small.inhibitory.sum()


def test_a_silent_network_has_no_exponent_in_the_table() -> None:
    dense = HRSNNConfig(neurons=40, wiring=SmallWorld(neighbours=8), bias=-50.0).draw(0)
    row = figures_of(dense, seconds=0.5, seed=0, metric=None)
    assert row["rate"] == 0
    assert "lambda" not in row


@pytest.mark.parametrize("seed", [0, 1])
def test_saved_networks_are_the_same_to_the_bit(seed: int, tmp_path: Path) -> None:
    dense = HRSNNConfig(neurons=50, wiring=SmallWorld(neighbours=10), weight=0.2).draw(seed)
    pruned = prune_recurrent(dense, LNPConfig(sparsity=0.5, neurons=0.2, calibrate="deviation"))
    again = load_pruned(save_pruned(pruned, tmp_path / "net"))
    assert (again.gain, again.steps) == (pruned.gain, pruned.steps)
    for name in ("tau_m", "tau_s", "bias", "threshold", "inhibitory"):
        assert np.array_equal(getattr(again.network, name), getattr(pruned.network, name))
    for name in ("weights", "inputs"):
        assert (getattr(again.network, name) != getattr(pruned.network, name)).nnz == 0
    assert np.array_equal(again.neurons, pruned.neurons)
    modes = {path.stat().st_mode for path in (tmp_path / "net").iterdir()}
    assert len(modes) == 1  # who may read one file may read both


def test_damaged_networks_are_refused(tmp_path: Path) -> None:
    dense = HRSNNConfig(neurons=50, wiring=SmallWorld(neighbours=10), weight=0.2).draw(0)
    path = save_pruned(prune_recurrent(dense, LNPConfig(calibrate="none")), tmp_path / "net")
    tensors = path / "network.safetensors"
    whole = tensors.read_bytes()
    tensors.write_bytes(whole[:-8] + b"\0\0\0\0\0\0\0\1")
    with pytest.raises(mg.DataError, match="check sum"):
        load_pruned(path)
    tensors.write_bytes(whole)
    load_pruned(path)
    (path / "network.json").write_text("{}")
    with pytest.raises(mg.DataError, match="damaged"):
        load_pruned(path)
    shutil.rmtree(path)
    with pytest.raises(mg.DataError, match="no recurrent network"):
        load_pruned(path)


@pytest.mark.parametrize(
    ("section", "changes", "words"),
    [
        ("network", {"neurons": 0}, "neurons"),
        ("network", {"neuron": 5}, "neuron"),
        ("network", {"file": "nowhere"}, "nowhere"),
        ("network", {"tau_m": {"mean": -0.02}}, "mean"),
        ("pruning", {"sparsity": 1.0}, "sparsity"),
        ("pruning", {"reading": "R3"}, "reading"),
        ("controls", ["luck"], "luck"),
        ("task", "chess", "lorenz"),
        ("seeds", [0, 0], "seeds"),
        ("seconds", 0.0, "seconds"),
    ],
)
def test_bad_settings_name_the_key(section: str, changes: Any, words: str, tmp_path: Path) -> None:
    with pytest.raises((mg.ConfigError, mg.DataError), match=words):
        lnp.prune_recurrent_run(config(tmp_path / "run", **{section: changes}))
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    "setting", [{"seconds": "5"}, {"values": 800.0}, {"seeds": (0.5,)}, {"seeds": (True, 0)}]
)
def test_settings_of_another_kind_are_refused_in_python_too(setting: dict[str, Any]) -> None:
    with pytest.raises(mg.ConfigError, match=next(iter(setting))):
        LNPRun(**setting)


def test_clusters_and_distances_read_from_a_table_and_back() -> None:
    clusters = [
        {"neurons": 30, "wiring": {"neighbours": 5}},
        {"neurons": 20, "wiring": {"reach": 3.0}},
    ]
    run = LNPRun.from_table({"network": {"clusters": clusters, "long_range": 0.1}})
    assert len(run.network.draw(0)) == 50
    assert LNPRun.from_table(plain(run)) == run
    assert LNPRun.from_table(plain(DEMO)) == DEMO


def reservoir(recurrent: bool) -> RecurrentNetwork:
    net = HRSNNConfig(neurons=60, inputs=3, wiring=SmallWorld(neighbours=10), fed=0.5).draw(0)
    return net if recurrent else net.with_weights(net.weights * 0)


def test_a_forecast_beats_persistence(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("microglia.experiment.recurrent.forecast.POINTS", 1300)
    found = forecast_lorenz(reservoir(True))
    assert found.error < 0.156  # of the last point, for the next
    assert found.horizon > 0.05
    assert np.isfinite(found.free).all()
    with pytest.raises(mg.ConfigError, match="inputs = 3"):
        forecast_lorenz(HRSNNConfig(neurons=60, wiring=SmallWorld(neighbours=10)).draw(0))
