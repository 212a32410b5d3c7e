"""The report is one file that asks nobody for anything, and shows what it was given."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from html import escape
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import pytest

from microglia.report import Column, GroupScores, KeptOverTime, Report, Table, render, write_report
from microglia.report.charts import colour_of

COLUMNS = (Column("accuracy", "accuracy", "%", 100, 2), Column("parameters", "parameters"))
HOSTILE = "</script><script>alert('x')</script>&\"'"


def report(*, hostile: bool = False, seeds: int = 2) -> Report:
    word = HOSTILE if hostile else "blocks.0"
    rows = {
        name: [{"accuracy": 0.9 + 0.01 * seed, "parameters": size} for seed in range(seeds)]
        for name, size in (("dense", 58_474), ("sca", 5_678), ("uniform-slim", 5_600))
    }
    return Report(
        title=f"SCA on digits {word}",
        method="sca",
        table=Table(COLUMNS, rows, titles={"sca": "SCA"}),
        headline=("accuracy", "parameters"),
        kept=KeptOverTime([0, 1, 2.5], {word: [8, 5, 4], "blocks.1": [8, 7, 6]}),
        scores={
            word: GroupScores([0.1, 0.4, 0.2], [False, True, True]),
            "blocks.1": GroupScores([1.0, 2.0], [True, False]),
        },
        certificate=[("SCA", f"same in float64 {word}")],
        facts=[("machine", word)],
        notes=[word],
        config=f'name = "{word}"',
    )


class Page(HTMLParser):
    """The elements of a page, its visible text, and what each script holds."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.elements: list[tuple[str, dict[str, str | None]]] = []
        self.text: list[str] = []
        self.scripts: list[str] = []
        self._within = ""
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.elements.append((tag, dict(attrs)))
        self._within = tag
        if tag == "script":
            self.scripts.append("")

    def handle_endtag(self, tag: str) -> None:
        self._within = ""

    def handle_data(self, data: str) -> None:
        if self._within == "script":
            self.scripts[-1] += data
        elif self._within != "style":
            self.text.append(data)

    def charts(self) -> Mapping[str, Any]:
        loaded: dict[str, Any] = json.loads(self.scripts[0])
        return loaded


@pytest.fixture(scope="module")
def page() -> Page:
    return Page(render(report()))


def test_nothing_is_fetched_from_anywhere(page: Page) -> None:
    for tag, attributes in page.elements:
        assert tag not in ("link", "img", "iframe", "object", "embed"), tag
        assert not {"src", "srcset", "data"} & set(attributes), (tag, attributes)
        assert (attributes.get("href") or "#").startswith("#"), "links within the page alone"
    # And the browser is told to refuse, whatever a script may try.
    policy = [a["content"] for t, a in page.elements if t == "meta" and "http-equiv" in a]
    assert policy
    assert (policy[0] or "").startswith("default-src 'none'")
    assert "http" not in (policy[0] or "")


def test_plotly_is_inside_and_once() -> None:
    text = render(report())
    assert text.count("plotly.js v") == 1
    assert len(Page(text).scripts) == 3


def test_every_chart_has_its_place_and_its_data(page: Page) -> None:
    charts = page.charts()
    places = {a.get("id") for t, a in page.elements if t == "div" and a.get("class") == "chart"}
    assert places == set(charts) == {"accuracy", "kept", "scores"}
    kept = {trace["name"]: (trace["x"], trace["y"]) for trace in charts["kept"]["data"]}
    assert kept["blocks.0"] == ([0, 1, 2.5], [8, 5, 4])
    scores = {trace["name"]: sorted(trace["y"]) for trace in charts["scores"]["data"]}
    assert scores == {"stayed": [0.2, 0.4, 1.0], "removed": [0.1, 2.0]}
    sizes = {trace["name"]: trace["x"] for trace in charts["accuracy"]["data"]}
    assert sizes == {"dense": [58_474] * 2, "SCA": [5_678] * 2, "uniform-slim": [5_600] * 2}


def test_every_colour_is_defined_for_light_and_dark(page: Page) -> None:
    used = set(re.findall(r'"--([a-z-]+)(?:@[\d.]+)?"', page.scripts[0]))
    used = {f"{name}-{end}" for name in used & {"ramp"} for end in ("from", "to")} | used - {"ramp"}
    used |= {colour_of(n, method="sca")[2:] for n in ("random", "something else")}
    style = render(report()).split("<style>")[1].split("</style>")[0]
    for block in (style.split("@media")[0], style.split('data-theme="dark"]')[1]):
        defined = set(re.findall(r"--([a-z-]+):", block))
        assert used <= defined, used - defined


def test_table_certificate_facts_and_config_are_readable(page: Page) -> None:
    text = " ".join(page.text)
    for word in ("SCA on digits", "90.50 ± 0.71", "×0.10", "same in float64", "machine", "name ="):
        assert word in text


def test_the_headline_gives_percentages_as_they_are_and_the_rest_as_ratios() -> None:
    text = render(report(seeds=1))
    tiles = re.findall(r'class="tile"><span>(.*?)</span><b>(.*?)</b><span>(.*?)</span>', text)
    assert tiles == [
        ("accuracy", "90.00 %", "dense: 90.00 %"),
        ("parameters", "×0.10", "5,678; dense: 58,474"),
    ]


def test_text_from_outside_cannot_become_markup() -> None:
    page = Page(render(report(hostile=True)))
    assert len(page.scripts) == 3
    assert escape(HOSTILE, quote=False) in json.dumps(page.charts(), ensure_ascii=False).replace(
        '\\"', '"'
    )
    assert "".join(page.text).count("alert('x')") >= 5


def test_one_seed_and_no_structure_are_shown_too() -> None:
    plain = Report(title="t", method="sca", table=report(seeds=1).table)
    page = Page(render(plain))
    assert set(page.charts()) == {"accuracy"}
    assert "One seed." in " ".join(page.text)


def test_it_is_written_where_asked(tmp_path: Path) -> None:
    write_report(report(), tmp_path / "report.html")
    assert (tmp_path / "report.html").read_text(encoding="utf-8") == render(report())
