"""What the networks of a run left in its directory: epochs, changes, layers, scores."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from microglia.errors import DataError
from microglia.experiment.job import activity_of
from microglia.experiment.lines import read_lines
from microglia.experiment.run import FIGURES, SCORES
from microglia.experiment.trial import COMPACT
from microglia.metrics import Figures
from microglia.surgery.record import STRUCTURE, groups_of

METRICS = "metrics.jsonl"


def left_behind(work: Path) -> dict[tuple[str, int], dict[str, Any]]:
    """(network, seed) -> keys of a job's record; those that nothing was left of are not there.

    Raises:
        DataError: a file is damaged.
    """
    found: dict[tuple[str, int], dict[str, Any]] = {}
    # Later stages of a training, such as fine-tuning, lie in folders of their own below it.
    for file in sorted(work.rglob(METRICS), key=lambda p: (len(p.parts), p.stat().st_mtime)):
        for line in read_lines(file):
            key = (line["network"], line["seed"])
            if key not in found:
                found[key] = {"epochs": [], "changes": [], **_folder(file.parent)}
            kind, entry = _entry(line)
            found[key][kind].append(entry)
    return found


def _entry(line: dict[str, Any]) -> tuple[str, dict[str, Any]]:
    """A line of the log as a job's record has it."""
    if line["event"] == "change":
        pruned, regrown = (sum(line[key].values()) for key in ("pruned", "regrown"))
        return "changes", {"step": line["step"], "pruned": pruned, "regrown": regrown}
    validation = line.get("validation_accuracy")
    same = {key: line[key] for key in ("loss", "accuracy", "kept", "seconds")}
    return "epochs", {**same, "validation": validation}


def _folder(folder: Path) -> dict[str, Any]:
    """The figures, layer by layer, the channels and their scores, as far as they lie there."""
    found: dict[str, Any] = {}
    if (folder / FIGURES).is_file():
        figures = Figures.from_json((folder / FIGURES).read_text(encoding="utf-8"))
        found |= {"figures": figures.summary(), "activity": activity_of(figures)}
    if (folder / COMPACT / STRUCTURE).is_file():
        # Not `read_record`: nobody asks here for the weights that its check sum is of.
        groups = groups_of(_json(folder / COMPACT / STRUCTURE), folder / COMPACT)
        found["kept"] = {name: [len(kept), whole] for name, (kept, whole) in groups.items()}
    if (folder / SCORES).is_file():
        found["scores"] = _json(folder / SCORES)
    return found


def _json(path: Path) -> dict[str, Any]:
    try:
        value: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
    except ValueError as error:
        raise DataError(f"'{path}' is damaged ({error})") from error
    return value
