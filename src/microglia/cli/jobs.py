"""What commands say of the jobs of a results file."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

from rich.console import Console

from microglia.experiment.job import Record
from microglia.experiment.results import Job, read_results


def list_done(console: Console, jobs: Iterable[Job], results: Path) -> None:
    """Print the name of each job, and whether it is in the results file, or another config's is."""
    done = read_results(results)
    for job in jobs:
        console.out(f"{_state(job, done.get(job.name), results):5}  {job.name}", highlight=False)


def _state(job: Job, record: Record | None, results: Path) -> str:
    if record is None:
        return ""
    if record.get("search"):  # what a search found stands in no config
        return "done"
    return "other" if job.differs_from(record, where=f"{results}: '{job.name}'") else "done"


def say_missing(console: Console, jobs: Iterable[Job], records: Iterable[Record]) -> None:
    """Print how many jobs were left to other processes, if any."""
    missing = {job.name for job in jobs} - {record["name"] for record in records}
    if missing:
        console.out(f"{len(missing)} jobs wait for others, or are with another process")
