"""Runs are read from directories, results files and folders of either, and kept apart."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
from records import RECORDS, record

from microglia.errors import DataError
from microglia.experiment.read_runs import read_runs


def lines(path: Path, *records: dict[str, Any]) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("".join(json.dumps(r) + "\n" for r in records))
    return path


def run_record(*, pruning: Mapping[str, Any] | None = None, **network: Any) -> dict[str, Any]:
    """What `prune` appends, of two seeds."""
    config = json.loads(json.dumps(record("SCA", 0.5, 0, 0.5)["config"]))
    config["seeds"] = [0, 1]
    config["network"] |= network
    config["pruning"] |= pruning or {}
    figures = {
        "dense": {"accuracy": [0.8, 0.6], "latency_ms": [4.0, 2.0], "channels": [16.0, 16.0]},
        "sca": {"accuracy": [0.7, 0.5], "latency_ms": [2.0, 2.0], "channels": [6.0, 8.0]},
    }
    rows = {n: {k: {"values": v} for k, v in row.items()} for n, row in figures.items()}
    return {"date": "2026-01-01", "commit": "0", "config": config, "table": {"rows": rows}}


def test_jobs_are_read_as_they_were_written(tmp_path: Path) -> None:
    found = read_runs([lines(tmp_path / "r.jsonl", *RECORDS)])
    assert [r["figures"] for r in found] == [r["figures"] for r in RECORDS]
    assert {r["experiment"] for r in found} == {"data-net"}


def test_a_run_is_read_as_the_jobs_that_it_did(tmp_path: Path) -> None:
    found = read_runs([lines(tmp_path / "r.jsonl", run_record())])
    sca = [r for r in found if r["label"] == "SCA"]
    assert [r["seed"] for r in sca] == [0, 1]
    assert [r["figures"]["latency_ratio"] for r in sca] == [0.5, 1.0]
    assert [r["taken_away"] for r in sca] == [0.625, 0.5]
    assert {(r["label"], r["sparsity"]) for r in found} == {("dense", 0.0), ("SCA", 0.5)}


def test_a_run_directory_tells_epochs_too(tmp_path: Path) -> None:
    (tmp_path / "run").mkdir()
    (tmp_path / "run" / "table.json").write_text(json.dumps(run_record()))
    own: dict[str, Any] = {"network": "sca", "seed": 0, "step": 1}
    epoch = {"event": "epoch", "loss": 1.5, "accuracy": 0.5, "kept": {"a": 3}, "seconds": 1.0}
    change = {"event": "change", "pruned": {"a": 5}, "regrown": {"a": 2}}
    lines(tmp_path / "run" / "metrics.jsonl", own | change, own | epoch)
    lines(tmp_path / "run" / "finetune" / "metrics.jsonl", own | epoch | {"loss": 0.5})
    (tmp_path / "run" / "scores.json").write_text('{"a": [0.5]}')
    found = {(r["label"], r["seed"]): r for r in read_runs([tmp_path])}
    assert [e["loss"] for e in found["SCA", 0]["epochs"]] == [1.5, 0.5], "fine-tuning comes after"
    assert found["SCA", 0]["changes"] == [{"step": 1, "pruned": 5, "regrown": 2}]
    assert found["SCA", 0]["scores"] == {"a": [0.5]}
    assert found["SCA", 1]["epochs"] == []


def test_the_same_given_twice_is_there_once(tmp_path: Path) -> None:
    path = lines(tmp_path / "r.jsonl", *RECORDS)
    assert len(read_runs([path, path, tmp_path])) == len(RECORDS)


def test_other_settings_are_another_experiment(tmp_path: Path) -> None:
    one = lines(tmp_path / "one.jsonl", run_record(width=0.5))
    two = lines(tmp_path / "two.jsonl", run_record(width=0.25))
    names = [r["experiment"] for r in read_runs([one, two])]
    assert set(names) == {"digits-digits (one)", "digits-digits (two)"}
    assert len(names) == 8
    same = lines(tmp_path / "same.jsonl", run_record(width=0.5))
    assert {r["experiment"] for r in read_runs([one, same])} == {"digits-digits"}


def test_networks_pruned_by_other_settings_are_kept_apart(tmp_path: Path) -> None:
    plain = lines(tmp_path / "plain.jsonl", run_record())
    tuned = lines(tmp_path / "tuned.jsonl", run_record(pruning={"finetune_epochs": 2}))
    for paths in ([plain, tuned], [tuned, plain]):
        found = read_runs(paths)
        labels = [r["label"] for r in found]
        assert sorted(labels) == ["SCA (plain)"] * 2 + ["SCA (tuned)"] * 2 + ["dense"] * 2
        assert {r["experiment"] for r in found} == {"digits-digits"}
    alike = lines(tmp_path / "alike.jsonl", run_record(pruning={"controls": ["dense"]}))
    assert {r["label"] for r in read_runs([plain, alike])} == {"SCA", "dense"}


@pytest.mark.parametrize("deep", [1, 2, 4])
def test_files_of_one_name_are_told_apart_by_their_folders(tmp_path: Path, deep: int) -> None:
    below = Path(*["same"] * (deep - 1))
    plain = lines(tmp_path / "a" / below / "r.jsonl", run_record())
    tuned = lines(tmp_path / "b" / below / "r.jsonl", run_record(pruning={"finetune_epochs": 2}))
    wider = lines(tmp_path / "c" / "w.jsonl", run_record(width=0.9))
    found = read_runs([plain, tuned, wider])
    names = ["/".join((top, *below.parts, "r")) for top in ("a", "b")]
    assert {r["label"] for r in found} == {"SCA", "dense", *(f"SCA ({name})" for name in names)}
    assert {r["experiment"] for r in found} == {
        f"digits-digits ({', '.join(names)})",
        "digits-digits (w)",
    }


def test_a_folder_and_a_file_of_one_name_are_told_apart(tmp_path: Path) -> None:
    file = lines(tmp_path / "run.jsonl", run_record())
    (tmp_path / "run").mkdir()
    tuned = run_record(pruning={"finetune_epochs": 2})
    (tmp_path / "run" / "table.json").write_text(json.dumps(tuned))
    labels = {r["label"] for r in read_runs([file, tmp_path / "run"])}
    assert labels == {"dense", "SCA (run)", "SCA (run.jsonl)"}


def test_a_line_that_is_cut_short_is_left_out_aloud(tmp_path: Path) -> None:
    path = lines(tmp_path / "r.jsonl", *RECORDS)
    path.write_bytes(path.read_bytes()[:-9])
    with pytest.warns(UserWarning, match="the last line is cut short"):
        assert len(read_runs([path])) == len(RECORDS) - 1


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("", "holds no result"),
        ('{"epoch": 1}\n', "no result of a run"),
        ('{"versions": {"microglia": "9.0"}, "scale": 1}\n', "another version, microglia 9.0"),
        ("[1]\n", "no result of a run"),
        ("not json\n{}\n", "not JSON"),
        (json.dumps({"config": {"colour": 1}, "table": {}}) + "\n", "[Aa]nother version"),
        (json.dumps({**run_record(), "table": {"rows": {"a": {}}}}) + "\n", "[Aa]nother version"),
        (json.dumps({**RECORDS[0], "figures": {}}) + "\n", "another version, microglia 0.1.0"),
    ],
)
def test_what_is_no_result_is_refused(tmp_path: Path, text: str, said: str) -> None:
    (tmp_path / "r.jsonl").write_text(text)
    with pytest.raises(DataError, match=said):
        read_runs([tmp_path / "r.jsonl"])


def test_what_is_no_run_is_refused(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="is not there"):
        read_runs([tmp_path / "nowhere"])
    with pytest.raises(DataError, match="is no run"):
        read_runs([tmp_path])
