"""How a network is trained: one frozen dataclass that refuses what cannot work."""

from __future__ import annotations

import math
from dataclasses import dataclass

from microglia.errors import ConfigError, nearest

OPTIMISERS = ("sgd", "adam", "adamw")
SCHEDULES = ("constant", "cosine", "step", "one-cycle")
LOSSES = ("cross-entropy", "tet", "mse-rate")
LOGGERS = ("csv", "tensorboard", "mlflow", "wandb")
PRECISIONS = ("32-true", "bf16-mixed", "16-mixed")


@dataclass(frozen=True, kw_only=True)
class TrainingConfig:
    """Loss, optimiser, learning-rate schedule, device and length of one training run.

    The learning rate at optimizer step `s` of `S` is `learning_rate * f(s)`. During the first
    `w = warmup_epochs` epochs `f` climbs linearly from `1/w_steps` to 1; after that, with
    `u` in [0, 1) the fraction of the remaining run,

        constant:  f = 1
        cosine:    f = (1 + cos(pi u)) / 2
        step:      f = step_factor ** floor(u * step_count)
        one-cycle: without `warmup_epochs`; f climbs from 1/25 to 1 over the first 30 % of the run
                   and falls to 1/250,000, on half a cosine each (Smith and Topin, 2019)

    `loss` is a word of `classification_loss`, `tet_share` its λ. `activity` weighs the mean firing
    rate in the loss (`firing_rate`). `mixup` is α of the Beta distribution that pairs of samples
    are mixed by, 0 for none (Zhang et al., ICLR 2018). `ema` is the decay, a step, of a moving
    average of the weights, which is what training leaves in the network; 0 for none.

    `accelerate` trains under `accelerated_training` on the CPU. `precision` is Lightning's word
    for it. `device` is `auto` (a GPU where there is one),
    `cpu`, `cuda`, `cuda:<index>` or `mps`. `gradient_clip` bounds the gradient's
    Euclidean norm; 0 leaves it alone. `accumulate` sums the gradients of so many batches before
    each optimizer step. `loggers` names Lightning's that get each epoch's numbers: see
    `build_loggers`.

    Raises:
        ConfigError: A value is out of range, or names nothing known.
    """

    epochs: int = 20
    optimizer: str = "adamw"
    learning_rate: float = 2e-3
    momentum: float = 0.9
    weight_decay: float = 1e-4
    schedule: str = "cosine"
    warmup_epochs: float = 1.0
    step_count: int = 3
    step_factor: float = 0.1
    loss: str = "cross-entropy"
    tet_share: float = 0.05
    activity: float = 0.0
    label_smoothing: float = 0.0
    mixup: float = 0.0
    ema: float = 0.0
    gradient_clip: float = 0.0
    accumulate: int = 1
    device: str = "auto"
    precision: str = "32-true"
    accelerate: bool = True
    loggers: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        _one_of("optimizer", self.optimizer, OPTIMISERS)
        _one_of("schedule", self.schedule, SCHEDULES)
        _one_of("precision", self.precision, PRECISIONS)
        _one_of("loss", self.loss, LOSSES)
        for logger in self.loggers:
            _one_of("loggers", logger, LOGGERS)
        if len(set(self.loggers)) < len(self.loggers):
            raise ConfigError(f"training.loggers: one is named twice in {list(self.loggers)}.")
        _check("tet_share", self.tet_share, 0 <= self.tet_share <= 1, "in [0, 1]")
        _check("activity", self.activity, self.activity >= 0, "at least 0")
        _check("mixup", self.mixup, self.mixup >= 0, "at least 0")
        _check("ema", self.ema, 0 <= self.ema < 1, "in [0, 1)")
        if self.loss == "mse-rate" and self.label_smoothing:
            raise ConfigError("training.label_smoothing: is for cross-entropy and tet alone.")
        _check("epochs", self.epochs, self.epochs >= 1, "at least 1")
        _check("learning_rate", self.learning_rate, self.learning_rate > 0, "above 0")
        _check("momentum", self.momentum, 0 <= self.momentum < 1, "in [0, 1)")
        _check("weight_decay", self.weight_decay, self.weight_decay >= 0, "at least 0")
        _check(
            "warmup_epochs",
            self.warmup_epochs,
            0 <= self.warmup_epochs <= self.epochs,
            f"between 0 and epochs = {self.epochs}",
        )
        _check("step_count", self.step_count, self.step_count >= 1, "at least 1")
        _check("step_factor", self.step_factor, 0 < self.step_factor <= 1, "in (0, 1]")
        _check("label_smoothing", self.label_smoothing, 0 <= self.label_smoothing < 1, "in [0, 1)")
        _check("gradient_clip", self.gradient_clip, self.gradient_clip >= 0, "at least 0")
        _check("accumulate", self.accumulate, self.accumulate >= 1, "at least 1")
        _check_device(self.device)

    def learning_rate_factor(self, step: int, *, total_steps: int, steps_per_epoch: int) -> float:
        """`f(step)` of the class's equation; `step` counts optimizer steps from 0."""
        if self.schedule == "one-cycle":
            return _one_cycle(step / max(1, total_steps - 1))
        warmup = round(self.warmup_epochs * steps_per_epoch)
        if step < warmup:
            return (step + 1) / warmup
        progress = (step - warmup) / max(1, total_steps - warmup)
        if self.schedule == "cosine":
            return 0.5 * (1 + math.cos(math.pi * min(1.0, progress)))
        if self.schedule == "step":
            drops = min(int(progress * self.step_count), self.step_count - 1)
            return self.step_factor**drops
        return 1.0


def _one_cycle(u: float, *, rising: float = 0.3, first: float = 0.04, last: float = 4e-6) -> float:
    if u < rising:
        return first + (1 - first) * 0.5 * (1 - math.cos(math.pi * u / rising))
    fallen = min(1.0, (u - rising) / (1 - rising))
    return last + (1 - last) * 0.5 * (1 + math.cos(math.pi * fallen))


def _one_of(name: str, value: str, known: tuple[str, ...]) -> None:
    if value not in known:
        raise ConfigError(f"training.{name}: '{value}' is unknown.{nearest(value, list(known))}")


def _check(name: str, value: float, valid: bool, wanted: str) -> None:
    # NaN fails every comparison, so it is refused too; infinity passes some.
    if not valid or math.isinf(value):
        raise ConfigError(f"training.{name}: wanted a value {wanted}, got {value}.")


def _check_device(device: str) -> None:
    kind, _, index = device.partition(":")
    named = kind in ("auto", "cpu", "cuda", "mps")
    if not named or (":" in device and not (kind == "cuda" and index.isdigit())):
        raise ConfigError(
            f"training.device: '{device}' is no device. Use auto, cpu, cuda, cuda:<index> or mps."
        )
