"""The training step: reset, forward, loss, penalty."""

from __future__ import annotations

from typing import Any

import torch
from lightning.pytorch import LightningModule
from torch import Tensor, nn
from torch.optim.swa_utils import AveragedModel, get_ema_multi_avg_fn

from microglia.errors import TrainingError
from microglia.frameworks import reset
from microglia.gates import WeightMasks
from microglia.methods import Pruner
from microglia.training.checkpoint import of_another_training
from microglia.training.config import TrainingConfig
from microglia.training.distillation import Distillation
from microglia.training.logits import average_over_time
from microglia.training.losses import classification_loss, firing_rate
from microglia.training.optimiser import build_optimizer
from microglia.training.pairs import (
    as_pair,
    refuse_inputs_without_numbers,
    refuse_labels_outside,
)


class TrainingModule(LightningModule):
    """Trains `model` as a classifier of (inputs, labels) batches.

        loss = classification_loss(logits, labels) + activity · R + pruner.penalty()

    with R of `firing_rate`, and with a teacher `Distillation` in the first term's place. With mixup
    inputs are u · x + (1 − u) · x', u from Beta(α, α), and the first term is mixed alike; accuracy
    is then that of the larger share's labels.

    Shapes: labels [N]; logits [N, classes], or [T, N, classes], then averaged over T; a tuple's
    first entry counts. Neuron states are reset before every forward pass.

    The learning rate's schedule runs over all steps, or again and again over the pruner's `cycle`.

    `optimizer` is the one the pruner was given; without it the config's is built. The pruner's
    own step belongs to `PrunerCallback`.

    Raises:
        TrainingError: the loss or a weight is not a number, inputs are none, or the labels do not
            fit the logits.
    """

    def __init__(
        self,
        model: nn.Module,
        config: TrainingConfig,
        *,
        optimizer: torch.optim.Optimizer | None = None,
        pruner: Pruner | None = None,
        distillation: Distillation | None = None,
    ) -> None:
        super().__init__()
        self.model = model
        self.config = config
        self._optimizer = optimizer
        self._pruner = pruner
        self._distillation = distillation
        self.average: AveragedModel | None = None
        self._averaged = 0
        if config.ema:
            reset(model)
            self.average = AveragedModel(model, multi_avg_fn=get_ema_multi_avg_fn(config.ema))

    def on_save_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        checkpoint["optimizer_name"] = self._optimizer_name()

    def on_load_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        # Torch would load another's state without a word, and fail in its first step.
        saved = checkpoint.get("optimizer_name", self._optimizer_name())
        if saved != self._optimizer_name():
            raise TrainingError(of_another_training(f"{saved} and not {self._optimizer_name()}"))

    def _optimizer_name(self) -> str:
        own = self._optimizer
        return type(own).__name__.lower() if own is not None else self.config.optimizer

    def on_train_start(self) -> None:
        self._averaged = self.global_step

    def on_train_epoch_start(self) -> None:
        # Lightning takes the last batch without running the iterator to its end, so batches that
        # count their own epochs must be told.
        set_epoch = getattr(self.trainer.train_dataloader, "set_epoch", None)
        if set_epoch is not None:
            set_epoch(self.current_epoch)

    def training_step(self, batch: tuple[Tensor, Tensor], batch_idx: int) -> dict[str, Tensor]:
        inputs, labels = as_pair(batch)
        refuse_inputs_without_numbers(inputs, step=self.global_step)
        others, share = labels, 1.0
        if self.config.mixup:
            inputs, others, share = _mixed(inputs, labels, alpha=self.config.mixup)
        reset(self.model)
        output, rate = self._run(inputs)
        logits = average_over_time(output)
        refuse_labels_outside(logits, labels)
        labels, others = labels.long(), others.long()
        loss = classification_loss(output, labels, self.config)
        if share < 1:
            loss = share * loss + (1 - share) * classification_loss(output, others, self.config)
        if self._distillation is not None:
            loss = self._distillation.loss(inputs, logits, loss)
        penalty = torch.as_tensor(self._pruner.penalty() if self._pruner else 0.0).to(loss)
        penalty = penalty + self.config.activity * rate
        total = loss + penalty
        if not torch.isfinite(total):
            raise TrainingError(self._explain_nan(inputs, float(loss.detach())))
        return {
            "loss": total,
            "cross_entropy": loss.detach(),
            "penalty": penalty.detach(),
            "correct": (logits.argmax(1) == labels).sum().detach(),
        }

    def _run(self, inputs: Tensor) -> tuple[Tensor, Tensor | float]:
        """What the network gave, and its mean firing where that counts."""
        if not self.config.activity:
            return _first(self.model(inputs)), 0.0
        with firing_rate(self.model) as rate:
            return _first(self.model(inputs)), rate()

    def validation_step(self, batch: tuple[Tensor, Tensor], batch_idx: int) -> dict[str, Tensor]:
        inputs, labels = as_pair(batch)
        model = self.model if self.average is None else self.average.module
        reset(model)
        logits = average_over_time(model(inputs))
        return {"correct": (logits.argmax(1) == labels).sum()}

    def on_train_batch_end(self, outputs: Any, batch: Any, batch_idx: int) -> None:
        if self.average is not None and self.global_step != self._averaged:
            self._averaged = self.global_step
            reset(self.model)
            self.average.update_parameters(self.model)
            self._close_average()

    def _close_average(self) -> None:
        """A weight that was closed on the way is zero at once, not as its average gets there."""
        masks = self._pruner.masks if self._pruner else None
        if self.average is not None and isinstance(masks, WeightMasks):
            masks.apply(self.average.module)

    def on_train_epoch_end(self) -> None:
        # A membrane potential that is NaN never reaches the threshold, so the loss may stay finite.
        for name, parameter in self.model.named_parameters():
            if not torch.isfinite(parameter).all():
                raise TrainingError(
                    f"'{name}' holds NaN or infinite weights after optimizer step "
                    f"{self.global_step}, though the loss is finite. {self._remedy()}"
                )

    def configure_optimizers(self) -> Any:
        optimizer = self._optimizer or build_optimizer(self.model, self.config)
        total_steps = int(self.trainer.estimated_stepping_batches)
        steps_per_epoch = max(1, total_steps // self.config.epochs)
        cycle = self._pruner.cycle if self._pruner else None

        def factor(step: int) -> float:
            return self.config.learning_rate_factor(
                step % cycle if cycle else step,
                total_steps=cycle or total_steps,
                steps_per_epoch=steps_per_epoch,
            )

        schedule = torch.optim.lr_scheduler.LambdaLR(optimizer, factor)
        return {
            "optimizer": optimizer,
            "lr_scheduler": {"scheduler": schedule, "interval": "step"},
        }

    def _explain_nan(self, inputs: Tensor, loss: float) -> str:
        layer = first_layer_without_numbers(self.model, inputs)
        where = (
            f"the first layer whose weights or output hold a NaN or an infinity is '{layer}'"
            if layer
            else "every layer's output is finite, so the loss itself or the penalty overflowed"
        )
        return (
            f"The loss is not a number at optimizer step {self.global_step} "
            f"({loss} without the penalty): {where}. {self._remedy()}"
        )

    def _remedy(self) -> str:
        return (
            f"Lower training.learning_rate (now {self.config.learning_rate}), raise "
            f"training.warmup_epochs, or set training.gradient_clip; with 16-bit precision go back "
            f"to '32-true'."
        )


def first_layer_without_numbers(model: nn.Module, inputs: Tensor) -> str | None:
    """Name of the first layer, in order of execution, whose weights or output are not finite."""
    names = {module: name for name, module in model.named_modules()}
    found: list[str] = []

    def look(module: nn.Module, _inputs: Any, output: Any) -> None:
        held = [*module.parameters(recurse=False), output]
        tensors = [t for t in held if isinstance(t, Tensor) and t.is_floating_point()]
        if not found and not all(bool(torch.isfinite(t).all()) for t in tensors):
            found.append(names[module])

    leaves = [module for module in names if not any(True for _ in module.children())]
    handles = [module.register_forward_hook(look) for module in leaves]
    try:
        reset(model)
        with torch.no_grad():
            model(inputs)
    finally:
        for handle in handles:
            handle.remove()
    return found[0] if found else None


def _first(output: Any) -> Any:
    """Of a tuple such as (logits, states) the logits."""
    return output[0] if isinstance(output, tuple) else output


def _mixed(inputs: Tensor, labels: Tensor, *, alpha: float) -> tuple[Tensor, Tensor, float]:
    """Inputs mixed with those of another order of the batch, the labels of these, and the share
    that stays of the first, at least one half. The batch is axis 1 of frames [T, N, C, H, W]."""
    axis = 1 if inputs.dim() == 5 or len(inputs) != len(labels) else 0
    other = torch.randperm(len(labels), device=inputs.device)
    share = float(torch.distributions.Beta(alpha, alpha).sample())
    share = max(share, 1 - share)
    mixed = share * inputs + (1 - share) * inputs.index_select(axis, other)
    return mixed, labels[other], share
