"""Figures on one page, and as files for a paper."""

from __future__ import annotations

import re
import shutil
from collections.abc import Iterator, Sequence
from html import escape
from pathlib import Path

from microglia.errors import ConfigError, DataError
from microglia.report.content import Chapter, Figure
from microglia.report.document import document, drawn, pairs, section
from microglia.report.html import comparison
from microglia.report.static import write_static
from microglia.surgery.files import put_in_place

PAGE, PICTURES = "report.html", "figures"


def write_folder(
    title: str,
    chapters: Sequence[Chapter],
    path: Path,
    *,
    pictures: bool = True,
    overwrite: bool = False,
) -> None:
    """Write a folder that appears whole or not at all:

        report.html                    every chapter, in one file that opens offline
        figures/NAME.svg .png .csv     every figure, and the numbers that it draws

    Raises:
        ConfigError: something is there already; only an earlier folder of this kind is ever
            replaced. Plotly or Matplotlib is not installed.
        DataError: the place can't be written.
    """
    _refuse_to_lose(path, overwrite=overwrite)
    work = path.with_name(f".{path.name}.unfinished")
    try:
        shutil.rmtree(work, ignore_errors=True)  # of a kill
        work.mkdir(parents=True)
        write_chapters(title, chapters, work / PAGE)
        write_pictures(chapters, work / PICTURES, pictures=pictures)
        put_in_place(work, path)
    except OSError as error:
        raise DataError(f"'{path}' could not be written ({error.strerror})") from error
    finally:
        shutil.rmtree(work, ignore_errors=True)


def write_chapters(title: str, chapters: Sequence[Chapter], path: Path) -> None:
    """Write the chapters as one HTML file that opens offline.

    Raises:
        ConfigError: Plotly is not installed.
    """
    names = named(chapters)
    charts = {name: figure.chart for name, figure in names}
    body = "\n".join([*_contents(chapters), *_sections(chapters, iter(names))])
    path.write_text(document(title, body, charts), encoding="utf-8")


def write_pictures(chapters: Sequence[Chapter], folder: Path, *, pictures: bool = True) -> None:
    """Write every figure into a new folder, as SVG and PNG if asked, and its numbers as CSV.

    Raises:
        ConfigError: Matplotlib is not installed.
    """
    shutil.rmtree(folder, ignore_errors=True)  # of a kill
    folder.mkdir()
    for name, figure in named(chapters):
        figure.chart.write_csv(folder / f"{name}.csv")
        if pictures:
            write_static(figure.chart, folder / name)


def write_figures(title: str, figures: Sequence[Figure], path: Path) -> None:
    """Write figures alone as one HTML file that opens offline.

    Raises:
        ConfigError: Plotly is not installed.
    """
    write_chapters(title, [Chapter("", figures)], path)


def named(chapters: Sequence[Chapter]) -> list[tuple[str, Figure]]:
    """Every figure with a name of its own, fit for a file, such as `01-cifar10-conv5-accuracy`."""
    figures = [(chapter, figure) for chapter in chapters for figure in chapter.figures]
    return [
        (f"{number:02d}-{_plain(f'{chapter.title} {figure.title}')}", figure)
        for number, (chapter, figure) in enumerate(figures, 1)
    ]


def _plain(text: str) -> str:
    return re.sub(r"[^a-z0-9]+", "-", text.lower()).strip("-")[:80].rstrip("-") or "figure"


def _contents(chapters: Sequence[Chapter]) -> Iterator[str]:
    if len(chapters) > 1:
        links = "".join(
            f'<li><a href="#chapter{number}">{escape(chapter.title)}</a></li>'
            for number, chapter in enumerate(chapters)
        )
        yield f'<nav aria-label="Contents"><ul>{links}</ul></nav>'


def _sections(chapters: Sequence[Chapter], names: Iterator[tuple[str, Figure]]) -> Iterator[str]:
    for number, chapter in enumerate(chapters):
        if chapter.title:
            yield f'<h2 class="chapter" id="chapter{number}">{escape(chapter.title)}</h2>'
        if chapter.facts:
            yield section("What is compared", "", pairs(chapter.facts))
        if chapter.table is not None:
            yield comparison(chapter.table, chapter.method)
        yield '<div class="two">'
        for _ in chapter.figures:
            name, figure = next(names)
            yield section(figure.title, figure.hint, drawn(name, figure.title, figure.chart))
        yield "</div>"
        if chapter.missing:
            items = "".join(f"<li>{escape(sentence)}</li>" for sentence in chapter.missing)
            yield section("What is not shown", "", f"<ul>{items}</ul>")


def _refuse_to_lose(path: Path, *, overwrite: bool) -> None:
    if not path.name:
        raise ConfigError(f"out: '{path}' is no place for a report; name a new folder.")
    if not path.exists():
        return
    if not path.is_dir():
        raise ConfigError(f"out: '{path}' is a file; name a new folder.")
    if any(path.iterdir()) and not (path / PAGE).is_file():
        raise ConfigError(
            f"out: '{path}' holds files, but no report ({PAGE} is missing), and is not "
            "overwritten. Name another folder."
        )
    if any(path.iterdir()) and not overwrite:
        raise ConfigError(
            f"out: '{path}' is there already. Name another folder, or set --overwrite."
        )
