"""The paper's figures show what the records hold, in charts that Plotly accepts."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from microglia.experiment.paper_figures import figures
from microglia.report import write_figures

pytest.importorskip("plotly", reason="the report's charts are Plotly's")


def record(label: str, sparsity: float, seed: int, accuracy: float) -> dict[str, Any]:
    kept = round(16 * (1 - sparsity))
    return {
        "experiment": "data-net",
        "label": label,
        "sparsity": sparsity,
        "seed": seed,
        "figures": {"accuracy": accuracy, "parameters": 1000 * (1 - sparsity), "synops_once": 9.0},
        "kept": {"a": [kept, 16], "b</script>": [kept, 16]} if sparsity else {},
        "scores": {"a": [0.3, 0.1], "b</script>": [0.2, 0.4]} if sparsity else {},
        "epochs": [{"kept": {"a": 16, "b</script>": kept}}] if sparsity else [{"kept": None}],
        "changes": [{"pruned": 16 - kept, "regrown": 0}] if sparsity else [],
    }


RECORDS = [
    record("dense", 0.0, 0, 0.8),
    record("dense", 0.0, 1, 0.6),
    record("SCA", 0.5, 0, 0.7),
    record("SCA", 0.5, 1, 0.5),
    record("SCA", 0.8, 0, 0.4),
    record("uniform-slim", 0.5, 0, 0.3),
]


def chart(title: str) -> dict[str, Any]:
    return next(f.chart for f in figures(RECORDS) if f.title == f"data-net: {title}")


def test_accuracy_against_sparsity_is_the_mean_over_seeds() -> None:
    sca, slim = chart("accuracy")["data"]
    assert sca["x"] == [0.0, 50.0, 81.25], "3 of 16 are left at a sparsity of 0.8"
    assert sca["y"] == pytest.approx([70.0, 60.0, 40.0])
    assert sca["error_y"]["array"] == pytest.approx([14.142, 14.142, 0.0], abs=1e-3)
    assert slim["x"] == [0.0, 50.0]
    assert slim["y"] == pytest.approx([80.0, 30.0]), "dense of its own seeds alone"


def test_every_chart_is_one_that_plotly_knows(tmp_path: Path) -> None:
    from plotly.graph_objects import Figure

    found = figures(RECORDS)
    assert len(found) == 8
    for figure in found:
        data = [{k: plain(v) for k, v in trace.items()} for trace in figure.chart["data"]]
        Figure(data=data, layout=figure.chart["layout"])
    write_figures("A <b>title</b>", found, tmp_path / "f.html")
    text = (tmp_path / "f.html").read_text()
    assert "A &lt;b&gt;title" in text
    assert "b</script>" not in text


def plain(value: Any) -> Any:
    """Without the page's own colours."""
    if isinstance(value, dict):
        return {k: plain(v) for k, v in value.items() if k != "color"}
    return value
