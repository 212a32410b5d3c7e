"""Puts a Pruner into a Lightning run."""

from __future__ import annotations

from dataclasses import asdict
from typing import Any

import torch
from lightning.pytorch import Callback, LightningModule, Trainer

from microglia.methods import Change, Pruner
from microglia.training.history import ChangeRecord


class PrunerCallback(Callback):
    """Calls `pruner.step()` after each optimizer step, and only then.

    Batches that are accumulated, and steps that a gradient scaler skips, do not count. The pruner's
    state travels in Lightning's checkpoint, so a resumed run prunes as the straight run would.
    `changes` holds what happened, oldest first.

    Works with any LightningModule; the pruner's penalty is added to the loss by the module.
    """

    def __init__(self, pruner: Pruner) -> None:
        self.pruner = pruner
        self.changes: list[ChangeRecord] = []
        self._stepped = False
        self._steps = 0
        self._hooks: list[torch.utils.hooks.RemovableHandle] = []

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        # The optimizer alone knows whether it stepped: Lightning's counter also counts the steps
        # that a gradient scaler skipped.
        self._steps = trainer.global_step
        self._hooks = [o.register_step_post_hook(self._note_step) for o in trainer.optimizers]

    def on_train_batch_end(
        self, trainer: Trainer, pl_module: LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        if trainer.global_step == self._steps:
            return  # batches are accumulated
        self._steps = trainer.global_step
        if not self._stepped and self.pruner.optimizer is None:
            return  # a gradient scaler skipped it, and the pruner can't know
        self._stepped = False
        change = self.pruner.step()
        if change is not None:
            self.changes.append(_record(change, epoch=trainer.current_epoch))

    def on_train_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        self._remove_hooks()

    def on_exception(
        self, trainer: Trainer, pl_module: LightningModule, exception: BaseException
    ) -> None:
        self._remove_hooks()

    def state_dict(self) -> dict[str, Any]:
        return {
            "pruner": self.pruner.state_dict(),
            "changes": [asdict(change) for change in self.changes],
        }

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        self.pruner.load_state_dict(state_dict["pruner"])
        self.changes = [ChangeRecord(**change) for change in state_dict["changes"]]

    def _note_step(self, *_: Any) -> None:
        self._stepped = True

    def _remove_hooks(self) -> None:
        for hook in self._hooks:
            hook.remove()
        self._hooks = []


def _record(change: Change, *, epoch: int) -> ChangeRecord:
    return ChangeRecord(
        step=change.step,
        epoch=epoch,
        pruned={group: len(channels) for group, channels in change.pruned.items()},
        regrown={group: len(channels) for group, channels in change.regrown.items()},
        kept=dict(change.kept),
    )
