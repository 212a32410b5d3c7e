"""What `microglia compare` does."""

from __future__ import annotations

import dataclasses
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path

from filelock import FileLock
from rich.console import Console

from microglia.cli.jobs import list_done, say_missing
from microglia.errors import ConfigError, DataError
from microglia.experiment import compare_table
from microglia.experiment.bench import Bench
from microglia.experiment.compare import CompareConfig
from microglia.experiment.config import DENSE
from microglia.experiment.job import Job, Record
from microglia.experiment.results import (
    check_same,
    read_results,
    run_in_processes,
    run_jobs,
)
from microglia.experiment.toml import read_table, set_key
from microglia.experiment.tune import Found, tune_all
from microglia.runtime import keep_freed_memory

CSV = "results.csv"
JOBS = "jobs"  # where networks are trained: searches start from the dense ones of the comparison


def compare(
    console: Console,
    path: Path,
    flags: Mapping[str, str],
    *,
    processes: int | None,
    trials: int | None,
    storage: str | None,
    list_jobs: bool,
    only_table: bool,
    progress: bool,
) -> None:
    """Train what a comparison lacks, and leave its table, a CSV and the results file."""
    table = read_table(path)
    for key, text in flags.items():
        set_key(table, key, text, cls=CompareConfig)
    config = CompareConfig.from_table(table)
    folder = Path(config.output.directory)
    count = processes or config.compare.processes
    found: dict[str, Found] = {}
    if trials is not None:
        found = _searched(console, config, trials, storage, folder, processes=count)
        config = config.with_options({name: one.options for name, one in found.items()})
    jobs = [_with_search(job, found) for job in config.jobs()]
    results = Path(config.output.results or folder / "results.jsonl")
    if list_jobs:
        list_done(console, jobs, results)
        return
    if only_table:
        _records(jobs, results)  # before anything is written
    else:
        _train(jobs, count, results=results, folder=folder / JOBS, progress=progress)
    folder.mkdir(parents=True, exist_ok=True)
    with FileLock(folder / f".{CSV}.lock"):  # of two comparisons, who reads last also writes last
        records = _records(jobs, results)
        rows = compare_table.rows(records)
        compare_table.write_csv(rows, folder / CSV)
    console.out(compare_table.markdown(rows), highlight=False)
    console.out(str(folder / CSV), highlight=False)
    if not only_table:
        say_missing(console, jobs, records)


def _train(
    jobs: Sequence[Job], processes: int, *, results: Path, folder: Path, progress: bool
) -> None:
    """Do what is missing; a network or data that can't be are told before any process begins."""
    keep_freed_memory()  # the process is ours
    first = jobs[0].config
    Bench.open(first, folder, progress=False).network(first.seeds[0])
    try:
        if processes == 1:
            run_jobs(jobs, results=results, folder=folder, progress=progress)
        else:
            run_in_processes(jobs, processes, results=results, folder=folder)
    except KeyboardInterrupt:
        print("microglia: the same command goes on from what is done so far", file=sys.stderr)
        raise


def _records(jobs: Sequence[Job], results: Path) -> list[Record]:
    """Those of the comparison that are there, a dense one among them."""
    done = read_results(results)
    asked = [job for job in jobs if job.name in done]
    for job in asked:
        if not done[job.name].get("search"):  # what a search found stands in no config
            check_same(job, done[job.name], results)
    records = [done[job.name] for job in asked]
    if not any(r["label"] == DENSE for r in records):
        raise DataError(f"'{results}' has no finished run of this comparison yet.")
    return records


def _with_search(job: Job, found: Mapping[str, Found]) -> Job:
    name = f"{job.label}-{job.sparsity:g}"
    return dataclasses.replace(job, search=found[name].search) if name in found else job


def _searched(
    console: Console,
    config: CompareConfig,
    trials: int,
    storage: str | None,
    folder: Path,
    *,
    processes: int,
) -> dict[str, Found]:
    """The settings that did best on the validation images, by method and sparsity."""
    if trials < 1:
        raise ConfigError(f"--tune: wanted at least 1 trial, got {trials}")
    folder.mkdir(parents=True, exist_ok=True)
    found = tune_all(
        config.searched(),
        trials=trials,
        storage=storage or f"sqlite:///{(folder / 'tune.db').resolve()}",
        folder=folder / JOBS,
        processes=processes,
    )
    for name, one in found.items():
        console.out(f"{name}: {one.options}", highlight=False)
    return found
