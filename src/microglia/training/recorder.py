"""Writes a Lightning run down as a History."""

from __future__ import annotations

import random
import time
from typing import Any

import numpy as np
import torch
from lightning.pytorch import Callback, LightningModule, Trainer
from torch import Tensor

from microglia.training.callback import PrunerCallback
from microglia.training.history import EpochRecord, History, MetricsFile
from microglia.training.loggers import log_epoch


class Recorder(Callback):
    """Sums loss and accuracy over each epoch on the device, and reads them once at its end.

    Lightning's loggers get each epoch too, those before a resumption again.

    The history and all random numbers travel in the checkpoint, so that a resumed run goes on
    as the straight one would.
    """

    def __init__(
        self, *, file: MetricsFile | None = None, pruning: PrunerCallback | None = None
    ) -> None:
        self.history = History()
        self._file = file
        self._pruning = pruning
        self._changes_written = 0
        self._train = torch.zeros(4)
        self._validation = torch.zeros(2)
        self._began = 0.0
        self._learning_rate = 0.0

    def on_fit_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        if self._file is not None:
            self._file.rewrite(self.history)
        for record in self.history.epochs:
            log_epoch(trainer.loggers, record)

    def on_train_epoch_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        self._train = torch.zeros(4, device=pl_module.device)
        self._began = time.perf_counter()
        self._learning_rate = trainer.optimizers[0].param_groups[0]["lr"]

    def on_train_batch_end(
        self, trainer: Trainer, pl_module: LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        samples = len(batch[1])
        self._train += torch.stack(
            [
                outputs["cross_entropy"].float() * samples,
                outputs["penalty"].float() * samples,
                outputs["correct"].float(),
                torch.tensor(float(samples), device=self._train.device),
            ]
        )

    def on_validation_epoch_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        self._validation = torch.zeros(2, device=pl_module.device)

    def on_validation_batch_end(
        self,
        trainer: Trainer,
        pl_module: LightningModule,
        outputs: Any,
        batch: Any,
        batch_idx: int,
        dataloader_idx: int = 0,
    ) -> None:
        self._validation[0] += outputs["correct"]
        self._validation[1] += len(batch[1])

    def on_train_epoch_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        loss, penalty, correct, samples = self._train.tolist()
        changes = self._pruning.changes if self._pruning else []
        record = EpochRecord(
            epoch=trainer.current_epoch,
            step=trainer.global_step,
            loss=loss / samples,
            penalty=penalty / samples,
            accuracy=correct / samples,
            learning_rate=self._learning_rate,
            seconds=time.perf_counter() - self._began,
            validation_accuracy=_ratio(self._validation),
            kept=self._pruning.pruner.kept() if self._pruning else None,
        )
        self.history.epochs.append(record)
        self.history.changes = list(changes)
        log_epoch(trainer.loggers, record)
        if self._file is not None:
            for change in changes[self._changes_written :]:
                self._file.write("change", change)
            self._file.write("epoch", record)
        self._changes_written = len(changes)

    def state_dict(self) -> dict[str, Any]:
        cuda = torch.cuda.get_rng_state_all() if torch.cuda.is_available() else []
        numpy: Any = np.random.get_state(legacy=True)
        kind, keys, *rest = numpy
        return {
            "history": self.history.to_dict(),
            "random": [torch.get_rng_state(), *cuda],
            "numpy": [kind, keys.tolist(), *rest],
            "python": random.getstate(),
        }

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        self.history = History.from_dict(state_dict["history"])
        cpu, *cuda = state_dict["random"]
        torch.set_rng_state(cpu)
        if len(cuda) == torch.cuda.device_count():
            torch.cuda.set_rng_state_all(cuda)
        kind, keys, *rest = state_dict["numpy"]
        np.random.set_state((kind, np.array(keys, "u4"), *rest))
        version, numbers, gauss = state_dict["python"]
        random.setstate((version, tuple(numbers), gauss))
        self._changes_written = len(self.history.changes)


def _ratio(counts: Tensor) -> float | None:
    correct, samples = counts.tolist()
    return correct / samples if samples else None
