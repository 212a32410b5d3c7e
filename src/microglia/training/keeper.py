"""Checkpoints that a kill at any moment can't cost."""

from __future__ import annotations

import os
from pathlib import Path

from lightning.pytorch import LightningModule, Trainer
from lightning.pytorch.callbacks import Checkpoint

from microglia.training.checkpoint import BEFORE, DAMAGED, LATEST


class EpochCheckpoint(Checkpoint):
    """Writes a checkpoint at the end of each epoch, and keeps the one before it while it trains.

    A new one is written beside the others and takes the latest one's place only when it lies on
    the disk whole, so that one whole checkpoint is there at any moment.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def on_train_epoch_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        latest, new = self.folder / LATEST, self.folder / f"{LATEST}.new"
        trainer.save_checkpoint(new)
        with new.open("rb+") as file:
            os.fsync(file.fileno())
        if latest.exists():
            latest.replace(self.folder / BEFORE)
        new.replace(latest)

    def on_train_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        for name in (BEFORE, DAMAGED):
            (self.folder / name).unlink(missing_ok=True)
