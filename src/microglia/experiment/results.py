"""Results files: one JSON line for each finished job, so that work adds up."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from filelock import FileLock, Timeout

from microglia.errors import ConfigError, DataError
from microglia.experiment.config import RunConfig
from microglia.experiment.job import Job, Record, do

LOCK = ".lock"


def read_results(path: Path) -> dict[str, Record]:
    """The records of a file by the job's name; none where there is no file.

    Raises:
        DataError: a line is no record.
    """
    records: dict[str, Record] = {}
    if not path.is_file():
        return records
    for number, line in enumerate(_whole_lines(path.read_text(encoding="utf-8")), 1):
        try:
            record = json.loads(line)
            records[record["name"]] = record
        except (ValueError, TypeError, KeyError) as error:
            raise DataError(
                f"{path}: line {number} is no record of a finished job; name another results file."
            ) from error
    return records


def _whole_lines(text: str) -> list[str]:
    """All lines but a last one that a kill has cut short."""
    return text[: text.rfind("\n") + 1].splitlines()


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
                    _check_same(job, done[job.name], results)
                elif set(job.builds_on) <= set(done):
                    record = do(job, done, folder=folder, progress=progress)
                    with FileLock(folder / LOCK):
                        _append(results, record)
        except Timeout:
            continue  # another process is at it
    return list(read_results(results).values())


def _check_same(job: Job, record: Record, path: Path) -> None:
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
        path.parent.mkdir(parents=True, exist_ok=True)
        with path.open("ab+") as file:
            file.seek(0)
            file.truncate(file.read().rfind(b"\n") + 1)  # a line that a kill has cut short
            file.write(json.dumps(record).encode() + b"\n")
    except OSError as error:
        raise DataError(f"'{path}' could not be written ({error.strerror}).") from error
