"""`microglia report`: figures of finished runs, on a page and for a paper."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console

EXAMPLES = """
[bold]Examples[/bold]

  microglia report runs/demo

  microglia report results/sca-s.jsonl --out runs/figures --overwrite

  microglia report runs/half runs/sparse results/compare.jsonl --title "Half or a fifth?"
"""


def report(
    runs: Annotated[
        list[Path],
        typer.Argument(help="Run directories, results files (.jsonl), or folders of either."),
    ],
    out: Annotated[Path, typer.Option(help="The folder to write.")] = Path("runs/report"),
    title: Annotated[str | None, typer.Option(help="Of the page.")] = None,
    pictures: Annotated[bool, typer.Option(help="Draw every figure as SVG and PNG too.")] = True,
    overwrite: Annotated[
        bool, typer.Option("--overwrite", help="Replace an earlier report.")
    ] = False,
) -> None:
    """Draw the figures of finished runs, side by side: one page, and SVG, PNG and CSV of each."""
    from microglia.experiment.chapters import chapters
    from microglia.experiment.read_runs import read_runs
    from microglia.report import write_folder
    from microglia.report.pages import PAGE

    found = chapters(read_runs(runs))
    title = title or ", ".join(dict.fromkeys(run.resolve().name for run in runs))
    write_folder(title, found, out, pictures=pictures, overwrite=overwrite)
    console = Console()
    for chapter in found:
        for sentence in chapter.missing:
            console.out(f"{chapter.title}: left out. {sentence}", highlight=False)
    console.out(str(out / PAGE), highlight=False)
