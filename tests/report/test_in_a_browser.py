"""A browser draws every figure of a report and has nothing to complain of."""

from __future__ import annotations

import re
import shutil
import subprocess
from pathlib import Path

import pytest
from test_figures_of_papers import CHAPTERS

from microglia.report.pages import write_chapters

BROWSER = next(
    (b for b in map(shutil.which, ("chromium", "chromium-browser", "google-chrome")) if b), None
)
pytestmark = pytest.mark.skipif(BROWSER is None, reason="there is no Chromium on this machine")


def opened(page: Path, profile: Path, *, width: int, dark: bool) -> tuple[str, list[str]]:
    """The page as the browser has built it, and what it wrote on its console."""
    assert BROWSER is not None
    done = subprocess.run(
        [
            BROWSER,
            "--headless=new",
            "--no-sandbox",
            "--disable-gpu",
            f"--user-data-dir={profile}",
            f"--blink-settings=preferredColorScheme={0 if dark else 1}",
            f"--window-size={width},900",
            "--virtual-time-budget=20000",
            "--enable-logging=stderr",
            "--dump-dom",
            page.as_uri(),
        ],
        capture_output=True,
        text=True,
        timeout=300,
        check=True,
    )
    return done.stdout, [line for line in done.stderr.splitlines() if "CONSOLE" in line]


@pytest.mark.parametrize(("width", "dark"), [(1200, False), (500, True)])
def test_every_figure_is_drawn(width: int, dark: bool, tmp_path: Path) -> None:
    page = tmp_path / "report.html"
    write_chapters("a title", CHAPTERS, page)
    built, console = opened(page, tmp_path / "profile", width=width, dark=dark)
    assert console == []
    places = re.findall(r'<div class="chart[^"]*" id="([^"]+)"', built)
    assert len(places) == sum(len(chapter.figures) for chapter in CHAPTERS)
    parts = re.split(r'(?=<div class="chart)', built)[1:]
    assert all('class="main-svg"' in part for part in parts)
    names = re.findall(r'<text class="legendtext"[^>]*>(.*?)</text>', built)
    assert any("$a&lt;/script&gt;&lt;script&gt;" in name for name in names), "names as they are"
    ink = "rgb(236, 236, 234)" if dark else "rgb(28, 29, 31)"
    assert ink in built, "axes are written in the page's own colour"


def test_a_complaint_would_be_seen(tmp_path: Path) -> None:
    page = tmp_path / "broken.html"
    page.write_text("<script>nothing()</script>")
    _, console = opened(page, tmp_path / "profile", width=500, dark=False)
    assert any("nothing is not defined" in line for line in console)
