"""Results files: one JSON line for each finished job, so that work adds up."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from filelock import FileLock, Timeout

from microglia.errors import ConfigError, DataError
from microglia.experiment.config import RunConfig
from microglia.experiment.job import Job, Record, do
from microglia.experiment.lines import append_line, read_lines
from microglia.experiment.run_dir import LOCK


def read_results(path: Path) -> dict[str, Record]:
    """The records of a file by the job's name; none where there is no file.

    Raises:
        DataError: a line is no record.
    """
    records: dict[str, Record] = {}
    for number, record in enumerate(read_lines(path), 1):
        if not isinstance(record, dict) or not {"name", "figures", "config"} <= set(record):
            raise DataError(
                f"{path}: line {number} is no record of a finished job; name another results file."
            )
        records[record["name"]] = record
    return records


def run_jobs(
    jobs: Sequence[Job], *, results: Path, folder: Path, progress: bool = True
) -> list[Record]:
    """Do every job that isn't in the results file yet, in order, and append its record.

    A job that was interrupted goes on from its checkpoint. Two processes may share results and
    folder: each takes the jobs that the other hasn't begun, and leaves those that build on one that
    the other is still at.

    Raises:
        ConfigError: the file has a job of this name with another config.
        MicrogliaError: what went wrong in a job.
    """
    for job in jobs:
        (folder / job.name).mkdir(parents=True, exist_ok=True)
        try:
            with FileLock(folder / job.name / LOCK, blocking=False):
                done = read_results(results)
                if job.name in done:
                    check_same(job, done[job.name], results)
                elif set(job.builds_on) <= set(done):
                    record = do(job, done, folder=folder, progress=progress)
                    with FileLock(folder / LOCK):
                        _append(results, record)
        except Timeout:
            continue  # another process is at it
    return list(read_results(results).values())


def check_same(job: Job, record: Record, path: Path) -> None:
    """Refuse a record of another config.

    Raises:
        ConfigError: it is.
    """
    different = job.config.differs_from(_config(record["config"]))
    if different:
        raise ConfigError(
            f"{path}: '{job.name}' was run with another config, in {', '.join(different)}. Name "
            "another results file."
        )


def _config(table: dict[str, Any]) -> RunConfig:
    def without_none(value: Any) -> Any:
        if isinstance(value, dict):
            return {k: without_none(v) for k, v in value.items() if v is not None}
        return value

    return RunConfig.from_table(without_none(table))


def _append(path: Path, record: Record) -> None:
    try:
        append_line(path, record)
    except OSError as error:
        raise DataError(f"'{path}' could not be written ({error.strerror}).") from error
