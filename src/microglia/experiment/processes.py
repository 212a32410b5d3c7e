"""Several processes at once, each with its share of the cores."""

from __future__ import annotations

import multiprocessing
import os
from collections.abc import Callable
from contextlib import suppress
from typing import Any

import torch

SPAWN = multiprocessing.get_context("spawn")


def run_side_by_side(work: Callable[..., None], *arguments: Any, count: int) -> list[str]:
    """Run `work(*arguments)` in so many processes; a line for each that ended badly."""
    threads = max(1, (os.cpu_count() or 1) // count)
    workers = [SPAWN.Process(target=_run, args=(threads, work, arguments)) for _ in range(count)]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join()
    return [f"process {w.pid} ended with {w.exitcode}" for w in workers if w.exitcode]


def _run(threads: int, work: Callable[..., None], arguments: tuple[Any, ...]) -> None:
    torch.set_num_threads(threads)
    with suppress(KeyboardInterrupt):  # of the whole group: the process that waits says so
        work(*arguments)
