"""Searches on the validation images: shared by workers, and none loses what another finished."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from microglia.cli import run
from microglia.errors import ConfigError, DataError
from microglia.experiment import compare_table
from microglia.experiment import tune as tune_module
from microglia.experiment.compare import CompareConfig
from microglia.experiment.job import Search
from microglia.experiment.results import read_results
from microglia.experiment.toml import dump
from microglia.experiment.tune import open_storage, tune, tune_all

optuna = pytest.importorskip("optuna", reason="Optuna is not installed")

POSTGRES = Path(__file__).parents[2] / "scripts" / "postgres"
TABLE: dict[str, Any] = {
    "seeds": [0],
    "network": {"name": "digits", "width": 0.25, "T": 1},
    "data": {"source": "digits", "train_rows": [0, 80], "batch_size": 40},
    "training": {"epochs": 1, "learning_rate": 1e-2, "device": "cpu"},
    "pruning": {"until_epochs": 1},
    "compare": {
        "methods": ["stds", "weight-magnitude", "uniform-slim"],
        "weight_sparsities": [0.8],
        "sparsities": [0.5],
    },
    "output": {"latency_repeats": 2, "latency_batch": 4},
}


def finished(storage: str, name: str) -> list[Any]:
    study = optuna.load_study(study_name=name, storage=open_storage(storage))
    return [t for t in study.trials if t.state == optuna.trial.TrialState.COMPLETE]


def test_the_best_trial_sets_the_options(tmp_path: Path) -> None:
    config, storage = CompareConfig.from_table(TABLE), f"sqlite:///{tmp_path}/tune.db"
    jobs = config.searched()
    assert [job.label for job in jobs] == ["stds", "weight-magnitude"]
    found = tune_all(jobs, trials=3, storage=storage, folder=tmp_path / "tune", processes=1)
    trials = finished(storage, jobs[0].name)
    assert len(trials) == 3
    best = max(trials, key=lambda t: (t.value, -t.number))
    assert found["stds-0.8"].options == best.params
    assert found["stds-0.8"].search == Search(trials=3, epochs=3)
    assert found["weight-magnitude-0.8"].search.epochs == 3 * 2, "of fine-tuning"
    assert set(best.params) == {"strength", "threshold"}
    options = {name: one.options for name, one in found.items()}
    tuned = {job.label: job.config.pruning for job in config.with_options(options).jobs()}
    assert tuned["stds"].options == best.params
    assert tuned["uniform-slim"].options == {}
    again = tune(jobs[0], trials=3, storage=storage, folder=tmp_path / "tune")
    assert again == found["stds-0.8"]
    assert len(finished(storage, jobs[0].name)) == 3, "a finished search trains nothing more"
    assert not list((tmp_path / "tune").rglob("*-trial*")), "trials leave no files"


def test_what_a_killed_worker_left_is_in_nobodys_way(tmp_path: Path) -> None:
    """A search in a new storage counts its trials from 0 again."""
    job = CompareConfig.from_table(TABLE).searched()[0]
    left = tmp_path / f"{job.name}-trial0"
    left.mkdir(parents=True)
    (left / "checkpoint.ckpt").write_bytes(b"of another trial")
    storage = f"sqlite:///{tmp_path}/new.db"
    assert tune(job, trials=1, storage=storage, folder=tmp_path).search == Search(1, 1)


def test_the_comparison_goes_on_from_the_dense_network_of_the_search(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    methods = {**TABLE["compare"], "methods": ["weight-magnitude"]}
    config = CompareConfig.from_table({**TABLE, "compare": methods})
    Path("compare.toml").write_text(dump(config))
    command = ["compare", "compare.toml", "--quiet", "--output.directory", "out"]
    assert run([*command, "--tune", "1"]) == 0
    (metrics,) = tmp_path.rglob("networks/dense-seed0/metrics.jsonl")
    assert len(metrics.read_text().splitlines()) == config.training.epochs, "trained once"
    records = {r["label"]: r for r in read_results(Path("out/results.jsonl")).values()}
    assert records["weight-magnitude"]["search"] == {"trials": 1, "epochs": 2}
    assert all(r["search"] is None for x, r in records.items() if x != "weight-magnitude")
    rows = {row["method"]: row for row in compare_table.rows(records.values())}
    assert rows["weight-magnitude"]["cost"] == 1 + 2 + 2, "the dense one, itself, its trial"
    assert [row["tuned"] for row in rows.values()].count(0) == len(rows) - 1
    assert "| ×5.00 | 1 |" in compare_table.markdown(list(rows.values()))


def test_a_search_goes_the_same_way_again_and_no_two_trials_draw_the_same(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Also where it is gone on with by another worker; the score here is of the options alone."""
    monkeypatch.setattr(
        tune_module, "_validated", lambda job, options, **_: (options["strength"], 1)
    )
    job = CompareConfig.from_table(TABLE).searched()[0]

    def proposed(name: str, *rounds: int) -> list[Any]:
        storage = f"sqlite:///{tmp_path}/{name}.db"
        for trials in rounds:
            tune(job, trials=trials, storage=storage, folder=tmp_path)
        return [trial.params for trial in finished(storage, job.name)]

    straight = proposed("a", 8)
    assert straight == proposed("b", 8) == proposed("c", 7, 8)
    strengths = {params["strength"] for params in straight}
    assert len(strengths) == len(straight) == 8


def test_the_test_images_are_not_looked_at(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from microglia.experiment.bench import Bench

    monkeypatch.setattr(Bench, "test_batches", lambda self: pytest.fail("the test images"))
    job = CompareConfig.from_table(TABLE).searched()[0]
    tune(job, trials=1, storage=f"sqlite:///{tmp_path}/t.db", folder=tmp_path / "tune")


def test_a_search_of_another_config_is_not_gone_on_with(tmp_path: Path) -> None:
    """As two comparisons of one network in a database that they share."""
    storage, longer = f"sqlite:///{tmp_path}/t.db", {**TABLE["training"], "epochs": 2}
    job, other = (
        CompareConfig.from_table({**TABLE, "training": training}).searched()[0]
        for training in (TABLE["training"], longer)
    )
    assert job.name == other.name
    found = tune(job, trials=1, storage=storage, folder=tmp_path / "tune")
    with pytest.raises(ConfigError, match=r"another config, in training\.epochs"):
        tune(other, trials=1, storage=storage, folder=tmp_path / "tune")
    assert tune(job, trials=1, storage=storage, folder=tmp_path / "tune") == found


def test_what_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    slim = CompareConfig.from_table(TABLE).jobs()[-1]
    with pytest.raises(ConfigError, match="no settings to search"):
        tune(slim, trials=1, storage=f"sqlite:///{tmp_path}/t.db", folder=tmp_path)
    monkeypatch.setattr(tune_module, "PATIENCE", 0.1)
    job = CompareConfig.from_table(TABLE).searched()[0]
    away = "postgresql+psycopg://nobody@127.0.0.1:1/nowhere"
    with pytest.raises(DataError, match="storage can't be reached"):
        tune(job, trials=1, storage=away, folder=tmp_path)


WORKER = """
import sys
from pathlib import Path
sys.path.insert(0, sys.argv[1])
import test_tune
from microglia.experiment.compare import CompareConfig
from microglia.experiment.tune import tune

if __name__ == "__main__":
    job = CompareConfig.from_table(test_tune.TABLE).searched()[0]
    tune(job, trials=int(sys.argv[3]), storage=sys.argv[2], folder=Path(sys.argv[4]))
"""


@pytest.fixture
def server(tmp_path: Path) -> Iterator[tuple[str, Path]]:
    """A real PostgreSQL, from the repository's script."""
    if not list(Path("/usr/lib/postgresql").glob("*/bin/initdb")):
        pytest.skip("PostgreSQL is not installed: apt install postgresql")
    # Of nobody's: pytest's own folder lets nobody else in.
    place = Path(f"/tmp/microglia-postgres-{os.getpid()}")
    url = subprocess.run(
        [POSTGRES, "start", place, str(54000 + os.getpid() % 1000)],
        check=True,
        capture_output=True,
        text=True,
    ).stdout.strip()
    yield url, place
    subprocess.run([POSTGRES, "stop", place], check=True)
    shutil.rmtree(place)


@pytest.mark.full
def test_two_workers_a_kill_and_a_restarted_database(
    server: tuple[str, Path], tmp_path: Path
) -> None:
    """No finished run is lost, and the search ends all the same."""
    storage, place = server
    script = tmp_path / "worker.py"
    script.write_text(WORKER)
    wanted = 8

    def worker(number: int) -> subprocess.Popen[bytes]:
        folder = str(tmp_path / f"work{number}")
        here = str(Path(__file__).parent)
        return subprocess.Popen([sys.executable, script, here, storage, str(wanted), folder])

    name = CompareConfig.from_table(TABLE).searched()[0].name
    workers = [worker(0), worker(1)]
    before = _wait_for(storage, name, 2)
    workers[0].send_signal(signal.SIGKILL)
    workers[0].wait()
    subprocess.run([POSTGRES, "restart", place], check=True)
    kept = {t.number: t.value for t in finished(storage, name)}
    assert {t.number for t in before} <= set(kept)
    workers.append(worker(2))
    assert [w.wait(timeout=240) for w in workers[1:]] == [0, 0]
    after = {t.number: t.value for t in finished(storage, name)}
    assert kept.items() <= after.items()
    assert wanted <= len(after) <= wanted + 1


def _wait_for(storage: str, name: str, count: int) -> list[Any]:
    for _ in range(240):
        time.sleep(0.5)
        try:
            trials = finished(storage, name)
        except KeyError:
            continue  # the study isn't there yet
        if len(trials) >= count:
            return trials
    raise AssertionError("the workers finished nothing")
