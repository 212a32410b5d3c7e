"""What a training run leaves behind: one record an epoch, one record a structural change."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any


@dataclass(frozen=True, kw_only=True)
class EpochRecord:
    """One epoch: means over its samples, the learning rate it began with, wall time in seconds.

    Accuracies are in [0, 1]; `step` counts optimizer steps done by the epoch's end.
    """

    epoch: int
    step: int
    loss: float
    accuracy: float
    learning_rate: float
    seconds: float
    penalty: float = 0.0
    validation_accuracy: float | None = None
    kept: dict[str, int] | None = None


@dataclass(frozen=True, kw_only=True)
class ChangeRecord:
    """One change of structure: how many units each group lost, got back, and has left."""

    step: int
    epoch: int
    pruned: dict[str, int]
    regrown: dict[str, int]
    kept: dict[str, int]


@dataclass
class History:
    """The records of one run, in order. `seconds` is the wall time of all epochs together."""

    epochs: list[EpochRecord] = field(default_factory=list)
    changes: list[ChangeRecord] = field(default_factory=list)

    @property
    def seconds(self) -> float:
        return sum(record.seconds for record in self.epochs)

    def __add__(self, later: History) -> History:
        """This run and one that went on from it, epochs and steps counted through."""
        epochs = len(self.epochs)
        steps = self.epochs[-1].step if self.epochs else 0
        return History(
            self.epochs
            + [replace(e, epoch=e.epoch + epochs, step=e.step + steps) for e in later.epochs],
            self.changes
            + [replace(c, epoch=c.epoch + epochs, step=c.step + steps) for c in later.changes],
        )

    def to_dict(self) -> dict[str, Any]:
        """Plain lists, dicts, numbers: for JSON, and for a checkpoint without pickled code."""
        return asdict(self)

    @classmethod
    def from_dict(cls, state: Mapping[str, Any]) -> History:
        """The inverse of `to_dict`."""
        return cls(
            epochs=[EpochRecord(**record) for record in state["epochs"]],
            changes=[ChangeRecord(**record) for record in state["changes"]],
        )


class MetricsFile:
    """Appends JSON lines to a file, each flushed, so that a killed run keeps what it has written.

    A run that starts, or starts again from a checkpoint, rewrites it, so that no epoch is in it
    twice.

    `labels` (method, seed, ...) are written into every line.
    """

    def __init__(self, path: Path, **labels: str | int) -> None:
        self.path = path
        self.labels = labels

    def rewrite(self, history: History) -> None:
        """Hold exactly what this history holds."""
        lines = []
        for epoch in history.epochs:
            changes = [c for c in history.changes if c.epoch == epoch.epoch]
            lines += [self._line("change", change) for change in changes]
            lines.append(self._line("epoch", epoch))
        new = self.path.with_name(f"{self.path.name}.new")
        new.write_text("".join(lines), encoding="utf-8")
        new.replace(self.path)

    def write(self, event: str, record: EpochRecord | ChangeRecord) -> None:
        with self.path.open("a", encoding="utf-8") as file:
            file.write(self._line(event, record))

    def _line(self, event: str, record: EpochRecord | ChangeRecord) -> str:
        return json.dumps({"event": event, **self.labels, **asdict(record)}) + "\n"
