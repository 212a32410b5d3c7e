"""A progress bar for a Lightning run: one line, with what a person watches."""

from __future__ import annotations

import sys
from typing import Any

from lightning.pytorch import Callback, LightningModule, Trainer
from rich.console import Console
from rich.progress import BarColumn, Progress, TaskID, TextColumn, TimeRemainingColumn

from microglia.training.recorder import Recorder


class ProgressBar(Callback):
    """`title ━━━━━━ epoch 5/20  loss 0.312  validation 94.2 %  units kept 120  0:12`.

    Where the output is no terminal, one plain line at the end of the run.
    """

    def __init__(self, recorder: Recorder, *, title: str) -> None:
        self._recorder = recorder
        self._title = title
        self._console = Console(stderr=True)
        self._bar = Progress(
            TextColumn("{task.description:<24}"),
            BarColumn(bar_width=24),
            TextColumn("{task.fields[status]}"),
            TimeRemainingColumn(compact=True, elapsed_when_finished=True),
            console=self._console,
            disable=not self._console.is_terminal,
        )
        self._task = TaskID(0)

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        epoch_length = int(trainer.num_training_batches)
        self._bar.start()
        self._task = self._bar.add_task(
            self._title,
            total=int(trainer.max_epochs or 0) * epoch_length,
            completed=trainer.current_epoch * epoch_length,
            status="starting",
        )

    def on_train_batch_end(
        self, trainer: Trainer, pl_module: LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        self._bar.advance(self._task)

    def on_train_epoch_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        self._bar.update(self._task, status=self._status(trainer))

    def on_train_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        self._bar.stop()
        if not self._console.is_terminal:
            seconds = self._recorder.history.seconds
            print(f"{self._title:<24} {self._status(trainer)}  {seconds:.0f} s", file=sys.stderr)

    def on_exception(
        self, trainer: Trainer, pl_module: LightningModule, exception: BaseException
    ) -> None:
        self._bar.stop()

    def _status(self, trainer: Trainer) -> str:
        record = self._recorder.history.epochs[-1]
        status = f"epoch {record.epoch + 1:>3}/{trainer.max_epochs}  loss {record.loss:.3f}"
        if record.validation_accuracy is not None:
            status += f"  validation {100 * record.validation_accuracy:.1f} %"
        if record.kept is not None:
            status += f"  units kept {sum(record.kept.values())}"
        return status
