"""Jobs and their results file: each network once, whatever happens on the way."""

from __future__ import annotations

import dataclasses
import json
import math
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
from filelock import FileLock
from scipy import stats

from microglia.errors import ConfigError, DataError
from microglia.experiment import RunConfig, markdown, recipes, rivals, sca_paper
from microglia.experiment.job import KEYS, Job, Record
from microglia.experiment.lines import append_line, read_lines
from microglia.experiment.recurrent import lnp_paper
from microglia.experiment.results import (
    LOCK,
    check_same,
    read_results,
    run_in_processes,
    run_jobs,
)
from microglia.experiment.run_dir import CONFIG
from microglia.experiment.statistics import paired_difference
from microglia.experiment.tiers import TIERS


def config(*, method: str = "sca", seed: int = 0, sparsity: float = 0.5) -> RunConfig:
    return RunConfig.from_table(
        {
            "seeds": [seed],
            "network": {"name": "digits", "width": 0.25, "T": 1},
            "data": {"source": "digits", "train_rows": [0, 80], "batch_size": 40},
            "training": {"epochs": 2, "learning_rate": 1e-2, "device": "cpu"},
            "pruning": {"method": method, "sparsity": sparsity},
            "output": {"latency_repeats": 2, "latency_batch": 4},
        }
    )


def jobs(seed: int = 0) -> list[Job]:
    def job(label: str, method: str, like: str | None = None) -> Job:
        return Job(
            experiment="digits", label=label, config=config(method=method, seed=seed), like=like
        )

    return [
        job("dense", "sca"),
        job("SCA", "sca"),
        job("uniform-slim", "uniform-slim", like="SCA"),
        job("activity", "activity"),
    ]


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("jobs")
    for seed in (0, 1):
        run_jobs(jobs(seed), results=folder / "r.jsonl", folder=folder / "work", progress=False)
    return folder


def test_each_job_leaves_one_line(finished: Path) -> None:
    records = read_results(finished / "r.jsonl")
    assert list(records) == [job.name for seed in (0, 1) for job in jobs(seed)]
    sca, slim = (records[f"digits/{x}-0.5-seed0"] for x in ("SCA", "uniform-slim"))
    dense = records["digits/dense-seed0"]
    assert 0 < slim["figures"]["parameters"] < dense["figures"]["parameters"]
    ratio = slim["figures"]["parameters"] / sca["figures"]["parameters"]
    assert abs(ratio - 1) < 0.15  # one channel more or less, of a network this small
    assert sum(kept for kept, _ in sca["kept"].values()) == 20
    assert [e["kept"] is not None for e in sca["epochs"]] == [True, True]
    assert sca["certificate"] is not None
    assert dense["figures"]["latency_ratio"] > 0


def test_nothing_is_done_twice(finished: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    before = (finished / "r.jsonl").read_text()
    monkeypatch.setattr(Job, "do", lambda *_, **__: pytest.fail("done again"))
    run_jobs(jobs(), results=finished / "r.jsonl", folder=finished / "work", progress=False)
    assert (finished / "r.jsonl").read_text() == before


@pytest.mark.parametrize("lost", [False, True], ids=["", "checkpoints-lost"])
def test_a_line_that_a_kill_has_cut_short_is_written_anew(
    finished: Path, tmp_path: Path, *, lost: bool
) -> None:
    text = (finished / "r.jsonl").read_text()
    lines = text.splitlines(keepends=True)
    (tmp_path / "r.jsonl").write_text("".join(lines[:4]).rstrip("\n"))
    assert len(read_results(tmp_path / "r.jsonl")) == 4, "it lacks its end of line alone"
    (tmp_path / "r.jsonl").write_text("".join(lines[:3]) + lines[3][:50])
    assert len(read_results(tmp_path / "r.jsonl")) == 3
    folder = tmp_path / "empty" if lost else finished / "work"
    run_jobs(jobs(), results=tmp_path / "r.jsonl", folder=folder, progress=False)
    again = read_results(tmp_path / "r.jsonl")
    assert list(again) == [job.name for job in jobs()]
    expected = json.loads(lines[3])["figures"]["accuracy"]
    assert again["digits/activity-0.5-seed0"]["figures"]["accuracy"] == expected


@dataclasses.dataclass
class Quick:
    """A job that is over at once."""

    name: str
    faulty: bool = False
    builds_on: tuple[str, ...] = ()

    def do(self, done: Mapping[str, Record], *, folder: Path, progress: bool) -> Record:
        if self.faulty:
            raise ZeroDivisionError("a fault that nobody thought of")
        return {**dict.fromkeys(KEYS), "name": self.name, "figures": {}, "config": {}}

    def differs_from(self, record: Record, *, where: str) -> list[str]:
        return []


def test_a_fault_nobody_thought_of_does_not_keep_the_others(tmp_path: Path) -> None:
    found = [Quick("a"), Quick("b", faulty=True), *(Quick(name) for name in "cde")]
    with pytest.raises(ConfigError, match=r"b: Traceback[\s\S]*nobody thought of"):
        run_in_processes(found, 2, results=tmp_path / "r.jsonl", folder=tmp_path / "work")
    assert set(read_results(tmp_path / "r.jsonl")) == set("acde")


def test_what_another_process_is_at_is_left_to_it(tmp_path: Path) -> None:
    """And so is what builds on it: all the others here start from the dense network."""
    dense = jobs()[0]
    (tmp_path / "work" / dense.name).mkdir(parents=True)
    with FileLock(tmp_path / "work" / dense.name / LOCK):
        records = run_jobs(
            jobs(), results=tmp_path / "r.jsonl", folder=tmp_path / "work", progress=False
        )
        assert records == []
        assert not list((tmp_path / "work").rglob("*.ckpt"))


def test_another_config_under_the_same_name_is_refused(finished: Path) -> None:
    job = jobs()[1]
    other = dataclasses.replace(
        job.config, training=dataclasses.replace(job.config.training, epochs=3)
    )
    with pytest.raises(ConfigError, match=r"another config, in training\.epochs"):
        run_jobs(
            [dataclasses.replace(job, config=other)],
            results=finished / "r.jsonl",
            folder=finished / "work",
            progress=False,
        )


def test_a_job_that_could_not_begin_is_retried_with_another_config(tmp_path: Path) -> None:
    """Where nothing was begun there is nothing to mix up; where something was there is."""
    good = jobs()[1]
    pruning = dataclasses.replace(good.config.pruning, warmup_epochs=9.0)
    bad = dataclasses.replace(good, config=dataclasses.replace(good.config, pruning=pruning))
    where: dict[str, Any] = {"results": tmp_path / "r.jsonl", "folder": tmp_path, "progress": False}
    run_jobs(jobs()[:1], **where)
    with pytest.raises(ConfigError, match="warmup_epochs"):
        run_jobs([bad], **where)
    assert (tmp_path / good.name / CONFIG).is_file()
    assert [r["label"] for r in run_jobs([good], **where)] == ["dense", "SCA"]
    first, _ = (tmp_path / "r.jsonl").read_text().splitlines()
    (tmp_path / "r.jsonl").write_text(first + "\n")
    longer = dataclasses.replace(good.config.training, epochs=3)
    other = dataclasses.replace(good, config=dataclasses.replace(good.config, training=longer))
    with pytest.raises(ConfigError, match=r"another config, in training\.epochs"):
        run_jobs([other], **where)


def test_lines_are_appended_whatever_the_end_of_the_file(tmp_path: Path) -> None:
    path = tmp_path / "lines.jsonl"
    for content in ("", '{"a": 1}\n', '{"a": 1}', '{"a": 1}\n{"b": '):
        path.write_text(content)
        append_line(path, {"c": 3})
        assert read_lines(path) == ([{"a": 1}] if "a" in content else []) + [{"c": 3}]
        assert path.read_text().endswith("\n")


@pytest.mark.parametrize("line", ["{", "[]", '{"label": 1}', "3"])
def test_a_file_of_something_else_is_refused(tmp_path: Path, line: str) -> None:
    (tmp_path / "r.jsonl").write_text(line + "\n" + line + "\n")
    with pytest.raises(DataError, match="line 1"):
        read_results(tmp_path / "r.jsonl")


def of_another_version(record: dict[str, Any], key: str, value: Any = None) -> dict[str, Any]:
    """The record with a key of its sections set, or without it."""
    record = json.loads(json.dumps(record))
    table = record
    *sections, last = key.split(".")
    for section in sections:
        table = table[section]
    table.pop(last, None)
    if value is not None:
        table[last] = value
    return record


@pytest.mark.parametrize(
    ("key", "value", "match"),
    [
        ("seed", None, "lacks seed"),
        ("epochs", None, "lacks epochs"),
        ("colour", "red", "has an unknown colour"),
        ("config.network.colour", "red", r"Unknown key 'network\.colour'"),
        ("config.data.source", None, r"'data\.source' is missing"),
        ("config.pruning.method", "scaa", "no method 'scaa'"),
    ],
)
def test_a_line_of_another_version_is_named(
    finished: Path, tmp_path: Path, key: str, value: Any, match: str
) -> None:
    first, second, *_ = read_lines(finished / "r.jsonl")
    path = tmp_path / "r.jsonl"
    append_line(path, first)
    append_line(path, of_another_version(second, key, value))
    before = path.read_bytes()
    with pytest.raises(DataError, match=rf"r\.jsonl: line 2.*{match}.*[Aa]nother version"):
        run_jobs(jobs(), results=path, folder=tmp_path / "work", progress=False)
    assert path.read_bytes() == before


def test_no_line_is_lost_where_several_append(tmp_path: Path) -> None:
    path, each = tmp_path / "lines.jsonl", 30

    def append(writer: int) -> None:
        for i in range(each):
            append_line(path, {"writer": writer, "i": i, "text": "x" * 20_000})

    def read(seen: int = 0) -> None:
        while seen < 4 * each:
            before, seen = seen, len(read_lines(path))
            assert seen >= before

    with ThreadPoolExecutor(5) as pool:
        reading = pool.submit(read)
        list(pool.map(append, range(4)))
        reading.result()
    lines = [(line["writer"], line["i"]) for line in read_lines(path)]
    assert sorted(lines) == [(w, i) for w in range(4) for i in range(each)]


def test_the_paired_interval_is_students() -> None:
    a = {0: 0.5, 1: 0.7, 2: 0.6, 3: 0.9}
    b = {1: 0.6, 2: 0.65, 3: 0.7, 9: 0.1}
    interval = paired_difference(a, b)
    differences = [0.7 - 0.6, 0.6 - 0.65, 0.9 - 0.7]
    expected = stats.ttest_1samp(differences, 0).confidence_interval(0.95)
    assert interval is not None
    assert interval.count == 3
    assert math.isclose(interval.mean, sum(differences) / 3)
    assert math.isclose(interval.low, expected.low)
    assert math.isclose(interval.high, expected.high)
    assert paired_difference({0: 1.0}, {1: 1.0}) is None


def test_tables_show_what_the_records_hold(finished: Path) -> None:
    text = markdown.tables(read_results(finished / "r.jsonl").values())
    records = [json.loads(line) for line in (finished / "r.jsonl").read_text().splitlines()]
    accuracy = {r["name"]: 100 * r["figures"]["accuracy"] for r in records}
    f = {r["name"]: r["figures"] for r in records}
    difference = sum(
        accuracy[f"digits/SCA-0.5-seed{s}"] - accuracy[f"digits/uniform-slim-0.5-seed{s}"]
        for s in (0, 1)
    )
    ratios = [
        sum(
            f[f"digits/{x}-0.5-seed{s}"]["parameters"] / f[f"digits/dense-seed{s}"]["parameters"]
            for s in (0, 1)
        )
        / 2
        for x in ("SCA", "uniform-slim")
    ]
    sizes = f"×{ratios[0]:.2f} and ×{ratios[1]:.2f}"
    assert f"| SCA at 0.5 − uniform-slim | {sizes} | {difference / 2:+.2f} [" in text
    assert "| dense | 0.00 |" in text
    kept = sum(k for r in records if r["label"] == "uniform-slim" for k, _ in r["kept"].values())
    assert f"| uniform-slim | {1 - kept / 80:.2f} |" in text, "and not the method's sparsity"


@pytest.mark.parametrize("tier", TIERS)
def test_every_job_of_the_paper_comes_after_what_it_builds_on(tier: str) -> None:
    names: list[str] = []
    for job in sca_paper.jobs(tier):
        assert job.name not in names
        assert set(job.builds_on) <= set(names)
        names.append(job.name)


def test_recipes_are_of_every_norm_and_loss_with_each_seed() -> None:
    jobs = recipes.jobs("s")
    settings = {(j.config.network.norm, j.config.training.loss, j.seed): j.config for j in jobs}
    assert len(settings) == len({j.name for j in jobs}) == len(jobs) == 18
    with pytest.raises(ConfigError, match="s and m"):
        recipes.jobs("g")


def test_dense_networks_alone_are_compared_with_the_first() -> None:
    def record(experiment: str, seed: int, accuracy: float) -> dict[str, Any]:
        figures = {"accuracy": accuracy}
        return {"experiment": experiment, "label": "dense", "seed": seed, "figures": figures}

    text = markdown.tables(
        [record("a", 0, 0.5), record("a", 1, 0.6), record("b", 1, 0.65), record("b", 0, 0.56)]
    )
    difference = paired_difference({0: 0.56, 1: 0.65}, {0: 0.5, 1: 0.6})
    assert difference is not None
    assert "| a | 55.00 ± 7.07 | – | 2 |" in text
    assert f"| b | 60.50 ± 6.36 | {difference.text(scale=100)} | 2 |" in text


def test_records_of_the_repository_are_of_jobs_that_exist() -> None:
    results = Path(__file__).parents[2] / "results"
    lists: dict[str, Any] = {
        "sca": sca_paper.jobs,
        "recipes": recipes.jobs,
        "rivals": rivals.jobs,
        "lnp": lnp_paper.jobs,
    }
    for path in (path for name in lists for path in results.glob(f"{name}-?.jsonl")):
        jobs = lists[path.stem[:-2]]
        known: dict[str, Any] = {j.name: j for j in jobs(path.stem[-1])}
        for name, record in read_results(path).items():
            assert name in known, f"{path}: '{name}' is no job of {path.stem}"
            check_same(known[name], record, path)
