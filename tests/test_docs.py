"""Every Python example in the README and the docs runs."""

from __future__ import annotations

import json
import os
import re
from importlib import import_module
from pathlib import Path

import pytest

from microglia.experiment import RunConfig
from microglia.experiment.toml import keys

ROOT = Path(__file__).parent.parent
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))]
EXAMPLES = [
    pytest.param(code, id=f"{page.name}-{i}")
    for page in PAGES
    for i, code in enumerate(re.findall(r"```python\n(.*?)```", page.read_text(), re.DOTALL))
]


def test_the_notebook_runs(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    matplotlib = pytest.importorskip("matplotlib", reason="the notebook draws with Matplotlib")
    matplotlib.use("Agg")
    cells = json.loads((ROOT / "examples" / "pruning.ipynb").read_text())["cells"]
    shown = ["".join(o.get("text", "")) for cell in cells for o in cell.get("outputs", [])]
    monkeypatch.chdir(tmp_path)
    names: dict[str, object] = {"__name__": "notebook"}
    for cell in cells:
        if cell["cell_type"] == "code":
            exec(compile("".join(cell["source"]), "pruning.ipynb", "exec"), names)
    out = capsys.readouterr().out
    assert "same in float64" in out
    assert "same in float64" in "".join(shown), "the stored outputs are of another notebook"
    assert (tmp_path / "digits-compact" / "weights.safetensors").is_file()


def test_the_readmes_words_of_training_are_there() -> None:
    """Each is a key of the config or can be imported, and its link leads to where it is told."""
    lines = (ROOT / "README.md").read_text().split("| word | what it is |\n|---|---|\n")[1]
    rows = lines.split("\n\n")[0].splitlines()
    known = {key for key, _ in keys(RunConfig)}
    for row in rows:
        (word, *_) = re.findall(r"`([\w.]+)`", row)
        module, _, name = word.rpartition(".")
        assert word in known or getattr(import_module(module), name).__doc__, word
        for link in re.findall(r"\]\((.*?)\)", row):
            assert name in (ROOT / link).read_text(), row
    assert len(rows) > 5


@pytest.mark.parametrize("code", EXAMPLES)
def test_example_runs(
    code: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    if "MICROGLIA_DATA" in code and not os.environ.get("MICROGLIA_DATA"):
        pytest.skip("the example wants real data, and MICROGLIA_DATA names no folder of it")
    monkeypatch.chdir(tmp_path)
    exec(compile(code, "example", "exec"), {"__name__": "example"})
    assert capsys.readouterr().out
