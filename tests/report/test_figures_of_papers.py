"""A figure is one description: page, picture and CSV show the same numbers."""

from __future__ import annotations

import csv
import re
from html import unescape
from pathlib import Path
from typing import Any

import pytest

from microglia.errors import ConfigError
from microglia.report import Axis, Chapter, Chart, Figure, Series, dots, front, lines, write_folder
from microglia.report.interactive import interactive
from microglia.report.pages import named

pytest.importorskip("plotly", reason="pages are drawn by Plotly")
pytest.importorskip("matplotlib", reason="pictures are drawn by Matplotlib")

HOSTILE = "$a</script><script>alert(1)</script>$"
SERIES = [
    Series("dense", [0.0, 1.0], [70.25, 71.5]),
    Series(HOSTILE, [1.0, 2.0, 30.0], [1.0, 4.0, 9.0], spread=[0.1, 0.2, 0.3]),
    Series("_hidden", [2.0], [3.0], text=[HOSTILE]),
]
CHARTS = {
    "lines": lines(SERIES, x=Axis(title="x"), y=Axis(title="y, %")),
    "ranked": lines(SERIES, x=Axis(title="x", whole=True), y=Axis(), ranked=True),
    "front": front([Series("a", [0.1, 1.0], [5.0, 6.0])], x="cost", y="gain"),
    "dots": dots([Series("a", [0.0, 3.0], [0, 1])], ["one", HOSTILE], x="share, %"),
    "nothing": Chart([], Axis(title="x"), Axis(title="y")),
    "empty": lines([Series("a", [], [])], x=Axis(logarithmic=True), y=Axis(title="y")),
}
CHAPTERS = [
    Chapter(f"first {HOSTILE}", [Figure(name, HOSTILE, c) for name, c in CHARTS.items()]),
    Chapter("second", [Figure("lines", "", CHARTS["lines"])], [("a", HOSTILE)], [HOSTILE]),
]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("there") / "report"
    write_folder("a title", CHAPTERS, path)
    return path


def test_every_figure_has_its_files(folder: Path) -> None:
    names = [name for name, _ in named(CHAPTERS)]
    assert len(set(names)) == 7
    assert all(re.fullmatch(r"[a-z0-9-]+", name) for name in names)
    expected = {f"{name}.{kind}" for name in names for kind in ("svg", "png", "csv")}
    assert {p.name for p in (folder / "figures").iterdir()} == expected
    assert (folder / "report.html").stat().st_size < 8_000_000
    assert [p.name for p in folder.parent.iterdir()] == ["report"], "nothing half done is left"


@pytest.mark.parametrize("name", CHARTS)
def test_page_and_csv_hold_the_same_numbers(name: str, tmp_path: Path) -> None:
    chart = CHARTS[name]
    chart.write_csv(tmp_path / "c.csv")
    with (tmp_path / "c.csv").open(newline="") as file:
        _, *rows = csv.reader(file)
    places = {text: i for i, text in enumerate(chart.y.names)}
    told = [(series, float(x), float(places.get(y, y))) for series, x, y, *_ in rows]
    drawn = [
        (unescape(trace["name"]), float(x), float(y))
        for trace in interactive(chart)["data"]
        for x, y in zip(trace["x"], trace["y"], strict=True)
    ]
    assert told == drawn


def test_the_picture_holds_the_same_numbers(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    from matplotlib.axes import Axes

    from microglia.report.static import write_static

    seen: list[tuple[list[float], list[float], Any]] = []
    real = Axes.errorbar

    def watched(self: Axes, x: Any, y: Any, yerr: Any = None, **rest: Any) -> Any:
        seen.append((list(x), list(y), yerr))
        return real(self, x, y, yerr=yerr, **rest)

    monkeypatch.setattr(Axes, "errorbar", watched)
    write_static(CHARTS["lines"], tmp_path / "c")
    assert seen == [(list(s.x), list(s.y), list(s.spread) or None) for s in SERIES]


def test_pictures_name_every_series_as_it_is(folder: Path) -> None:
    # Matplotlib writes each text of an SVG in a comment above its outlines.
    text = next((folder / "figures").glob("01-*.svg")).read_text(encoding="utf-8")
    assert "dense" in text
    assert "_hidden" in text
    assert "alert(1)" in text, "and dollars are no formula"
    assert "<script" not in text


def test_equal_charts_give_equal_files(folder: Path, tmp_path: Path) -> None:
    write_folder("a title", CHAPTERS, tmp_path / "again")
    for file in (folder / "figures").iterdir():
        assert (tmp_path / "again" / "figures" / file.name).read_bytes() == file.read_bytes()


def test_the_page_escapes_names_and_has_a_table_for_each_chart(folder: Path) -> None:
    text = (folder / "report.html").read_text(encoding="utf-8")
    assert "<script>alert" not in text
    assert text.count('class="chart"') == text.count("<summary>Numbers</summary>") == 7
    assert text.count("tabindex") >= 2 * 7, "charts and tables can be reached by keyboard"
    assert 'class="skip" href="#main"' in text
    assert 'id="main"' in text


def test_nothing_is_lost_that_is_no_report(folder: Path, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="--overwrite"):
        write_folder("t", CHAPTERS, folder)
    (tmp_path / "thesis").mkdir()
    (tmp_path / "thesis" / "chapter.tex").write_text("x")
    with pytest.raises(ConfigError, match="no report"):
        write_folder("t", CHAPTERS, tmp_path / "thesis", overwrite=True)
    with pytest.raises(ConfigError, match="is a file"):
        write_folder("t", CHAPTERS, tmp_path / "thesis" / "chapter.tex", overwrite=True)
    assert (tmp_path / "thesis" / "chapter.tex").read_text() == "x"


def test_an_earlier_report_is_replaced_whole(tmp_path: Path) -> None:
    write_folder("t", CHAPTERS, tmp_path / "r", pictures=False)
    write_folder("t", CHAPTERS[1:], tmp_path / "r", pictures=False, overwrite=True)
    assert len(list((tmp_path / "r" / "figures").iterdir())) == 1
