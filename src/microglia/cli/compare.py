"""What `microglia compare` does."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from rich.console import Console

from microglia.errors import DataError
from microglia.experiment import compare_table
from microglia.experiment.compare import CompareConfig
from microglia.experiment.results import read_results, run_in_processes, run_jobs
from microglia.experiment.toml import read_table, set_key
from microglia.runtime import keep_freed_memory


def compare(
    console: Console,
    path: Path,
    flags: Mapping[str, str],
    *,
    processes: int | None,
    list_jobs: bool,
    only_table: bool,
    progress: bool,
) -> None:
    """Train what a comparison lacks, and leave its table, a CSV and the results file."""
    table = read_table(path)
    for key, text in flags.items():
        set_key(table, key, text, cls=CompareConfig)
    config = CompareConfig.from_table(table)
    jobs, folder = config.jobs(), Path(config.output.directory)
    results = Path(config.output.results or folder / "results.jsonl")
    if list_jobs:
        done = read_results(results)
        for job in jobs:
            console.out(f"{'done' if job.name in done else '    '}  {job.name}", highlight=False)
        return
    count = processes or config.compare.processes
    if not only_table:
        keep_freed_memory()  # the process is ours
        if count == 1:
            run_jobs(jobs, results=results, folder=folder / "jobs", progress=progress)
        else:
            run_in_processes(jobs, count, results=results, folder=folder / "jobs")
    names = {job.name for job in jobs}
    records = [r for name, r in read_results(results).items() if name in names]
    found = compare_table.rows(records)
    if not found:
        raise DataError(f"'{results}' has no finished run of this comparison yet.")
    folder.mkdir(parents=True, exist_ok=True)
    compare_table.write_csv(found, folder / "results.csv")
    console.out(compare_table.markdown(found), highlight=False)
    console.out(str(folder / "results.csv"), highlight=False)
