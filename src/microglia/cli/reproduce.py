"""What `microglia reproduce` does."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from fnmatch import fnmatch
from pathlib import Path

from rich.console import Console

from microglia.cli.jobs import list_done, say_missing
from microglia.errors import ConfigError, DataError, nearest
from microglia.experiment import (
    compare_table,
    markdown,
    recipes,
    rivals,
    sca_paper,
)
from microglia.experiment.chapters import chapters
from microglia.experiment.job import Record
from microglia.experiment.lines import warn_if_cut
from microglia.experiment.recurrent import lnp_paper, lnp_tables
from microglia.experiment.recurrent.lnp_chapters import lnp_chapters
from microglia.experiment.results import Job, read_results, run_jobs
from microglia.report import Chapter, write_chapters
from microglia.runtime import keep_freed_memory

PAPERS: dict[str, tuple[Callable[[str], Sequence[Job]], Callable[[Iterable[Record]], str]]] = {
    "sca": (sca_paper.jobs, markdown.tables),
    "recipes": (recipes.jobs, markdown.tables),
    "rivals": (rivals.jobs, compare_table.tables),
    "lnp": (lnp_paper.jobs, lnp_tables.tables),
}
"""What can be reproduced: its jobs at a tier, and the tables of their records."""
FIGURES: dict[str, Callable[[Iterable[Record]], list[Chapter]]] = {
    "sca": chapters,
    "lnp": lnp_chapters,
}
"""Those that have a page of figures."""


def reproduce(
    console: Console,
    paper: str,
    *,
    tier: str,
    only: str | None,
    results: Path | None,
    folder: Path,
    list_jobs: bool,
    only_tables: bool,
    progress: bool,
) -> None:
    """Do a paper's experiments that the results file lacks, and print its tables."""
    if paper not in PAPERS:
        raise ConfigError(f"paper: '{paper}' is unknown.{nearest(paper, list(PAPERS))}")
    jobs_of, tables_of = PAPERS[paper]
    jobs = [job for job in jobs_of(tier) if only is None or fnmatch(job.name, only)]
    if not jobs:
        raise ConfigError(f"only: no job is called '{only}'; --list shows them all")
    path = results or Path("results") / f"{paper}-{tier}.jsonl"
    if list_jobs:
        list_done(console, jobs, path)
        return
    if only_tables:
        if not path.is_file():
            raise DataError(
                f"'{path}' is not there: no job is done yet. Without --tables they are."
            )
        warn_if_cut(path)
        done = read_results(path)
        print(tables_of(done.values()))
        if missing := sum(job.name not in done for job in jobs):
            console.out(f"{missing} of {len(jobs)} jobs are not done yet; --list shows which")
        return
    keep_freed_memory()  # the process is ours
    records = run_jobs(jobs, results=path, folder=folder / f"{paper}-{tier}", progress=progress)
    console.out(tables_of(records), highlight=False)
    if paper in FIGURES:
        page = folder / f"{paper}-{tier}" / "figures.html"
        write_chapters(f"{paper}, tier {tier}", FIGURES[paper](records), page)
        console.out(str(page), highlight=False)
    say_missing(console, jobs, records)
