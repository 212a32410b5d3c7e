"""Results files: one JSON line for each finished job, so that work adds up."""

from __future__ import annotations

import multiprocessing
import tempfile
import time
import traceback
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Literal, Protocol

from filelock import FileLock, Timeout

from microglia.errors import ConfigError, DataError, MicrogliaError
from microglia.experiment.job import KEYS, LATER_KEYS, REMEDY, Record
from microglia.experiment.lines import append_line, read_lines
from microglia.experiment.processes import run_side_by_side
from microglia.experiment.recurrent import job as recurrent_job
from microglia.experiment.recurrent import reservoir_job, trained_job
from microglia.experiment.run_dir import LOCK

POLL = 2.0
"""Seconds between two looks at what another process is at."""

FORMATS = {
    "network": (KEYS, LATER_KEYS),
    "reservoir": (reservoir_job.KEYS, recurrent_job.LATER_KEYS),
    "each task": (reservoir_job.KEYS, recurrent_job.LATER_KEYS),
    "trained": (trained_job.KEYS, recurrent_job.LATER_KEYS),
}
"""What records of each kind have, and what earlier ones lack; without a kind it is a network."""


class Job(Protocol):
    """Something that one line of a results file is the record of."""

    @property
    def name(self) -> str:
        """Unique in a results file."""

    @property
    def builds_on(self) -> Sequence[str]:
        """Names of the jobs whose records it needs."""

    def do(self, done: Mapping[str, Record], *, folder: Path, progress: bool) -> Record:
        """Its record."""

    def differs_from(self, record: Record, *, where: str) -> Sequence[str]:
        """In what settings its config is not that of a record."""


def read_results(path: Path) -> dict[str, Record]:
    """The records of a file by the job's name; none where there is no file.

    Raises:
        DataError: a line is no record, or one of another version.
    """
    records: dict[str, Record] = {}
    for number, record in enumerate(read_lines(path), 1):
        if not isinstance(record, dict) or not {"name", "figures", "config"} <= set(record):
            raise DataError(
                f"{path}: line {number} is no record of a finished job; name another results file."
            )
        kind = record.get("kind", "network")
        if kind not in FORMATS:
            raise DataError(f"{path}: line {number} is of an unknown kind, '{kind}'. {REMEDY}")
        keys, later = FORMATS[kind]
        missing, unknown = keys - set(record), set(record) - keys - later
        if missing or unknown:
            what = [f"lacks {name}" for name in sorted(missing)]
            what += [f"has an unknown {name}" for name in sorted(unknown)]
            raise DataError(f"{path}: line {number} {', '.join(what)}. {REMEDY}")
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
        _attempt(job, results=results, folder=folder, progress=progress)
    return list(read_results(results).values())


Outcome = Literal["did", "was done", "waits", "busy"]


def _attempt(job: Job, *, results: Path, folder: Path, progress: bool) -> Outcome:
    """Do a job unless it is done, waits for another, or another process is at it."""
    (folder / job.name).mkdir(parents=True, exist_ok=True)
    try:
        with FileLock(folder / job.name / LOCK, blocking=False):
            done = read_results(results)
            if job.name in done:
                check_same(job, done[job.name], results)
                return "was done"
            if not set(job.builds_on) <= set(done):
                return "waits"
            record = job.do(done, folder=folder, progress=progress)
            _append(results, record)
            return "did"
    except Timeout:
        return "busy"


def run_in_processes(
    jobs: Sequence[Job], count: int, *, results: Path, folder: Path
) -> list[Record]:
    """As `run_jobs`, by several processes at once, each with its share of the cores.

    A process that finds nothing to do waits for what the others are at. A job that fails doesn't
    keep the rest from being done. The job of a process that is killed falls to the others.

    Raises:
        ConfigError: what went wrong, job by job, when all the others are done.
    """
    with tempfile.TemporaryDirectory() as scratch:
        failures = Path(scratch) / "failures.jsonl"
        died = run_side_by_side(_work, list(jobs), results, folder, failures, count=count)
        lines = [f"{job}: {message}" for job, message in _failed(failures).items()]
    if lines or died:
        raise ConfigError("\n".join(["not all jobs could be done", *lines, *died]))
    return list(read_results(results).values())


def _work(jobs: Sequence[Job], results: Path, folder: Path, failures: Path) -> None:
    """Take jobs until none is left that can be done, or nobody waits for them any more.

    What fails is written down for all processes, in a file: a server that they shared would outlive
    the one that started it, if that is killed.
    """
    parent = multiprocessing.parent_process()
    while True:
        outcomes: list[Outcome] = []
        for job in jobs:
            if parent is not None and not parent.is_alive():
                return
            if job.name not in _failed(failures):
                try:
                    outcomes.append(_attempt(job, results=results, folder=folder, progress=False))
                except MicrogliaError as error:
                    append_line(failures, {"job": job.name, "message": str(error)})
                except Exception:  # a fault of ours, or of what is trained
                    append_line(failures, {"job": job.name, "message": traceback.format_exc()})
        if "did" not in outcomes:
            if "busy" not in outcomes:
                return
            time.sleep(POLL)


def _failed(failures: Path) -> dict[str, str]:
    """What went wrong, by the job's name."""
    return {line["job"]: line["message"] for line in read_lines(failures)}


def check_same(job: Job, record: Record, path: Path) -> None:
    """Refuse a record of another config.

    Raises:
        ConfigError: it is.
        DataError: its config is of another version.
    """
    line = [r["name"] for r in read_lines(path)].index(job.name) + 1
    if different := job.differs_from(record, where=f"{path}: line {line}, '{job.name}'"):
        raise ConfigError(
            f"{path}: '{job.name}' was run with another config, in {', '.join(different)}. Name "
            "another results file."
        )


def _append(path: Path, record: Record) -> None:
    try:
        append_line(path, record)
    except OSError as error:
        raise DataError(f"'{path}' could not be written ({error.strerror}).") from error
