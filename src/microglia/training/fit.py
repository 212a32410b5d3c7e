"""`train`: one network, one loop, on Lightning."""

from __future__ import annotations

import signal
import threading
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager, nullcontext
from operator import length_hint
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from microglia import data
from microglia.errors import MicrogliaError, TrainingError, out_of_memory
from microglia.methods import Pruner
from microglia.runtime import accelerated_training
from microglia.training.checkpoint import find_checkpoint, has_checkpoint, of_another_training
from microglia.training.config import TrainingConfig
from microglia.training.device import resolve_device
from microglia.training.distillation import Distillation
from microglia.training.history import History, MetricsFile
from microglia.training.manners import lightning
from microglia.training.pairs import as_pair

METRICS = "metrics.jsonl"

Batches = Iterable[tuple[Tensor, Tensor]]


def train(
    model: nn.Module,
    batches: Batches,
    *,
    config: TrainingConfig,
    optimizer: torch.optim.Optimizer | None = None,
    pruner: Pruner | None = None,
    distillation: Distillation | None = None,
    validation: Batches | None = None,
    run_dir: str | Path | None = None,
    resume: bool = False,
    progress: bool = True,
    title: str = "training",
    labels: dict[str, str | int] | None = None,
) -> History:
    """Train `model` in place; with a pruner, prune it on the way.

    The loss is the config's `classification_loss` plus the pruner's penalty; with `ema` the model
    ends with the averaged weights.
    Neuron states are reset before each batch. The model ends on the CPU, in training mode.

    Args:
        batches: (inputs, labels [N]) pairs with a length, a list too; iterated once an epoch.
        optimizer: the one that was given to the pruner; None builds the config's.
        distillation: a teacher to learn from beside the labels; it is put in evaluation mode.
        validation: batches that are only watched; nothing is chosen by them.
        run_dir: where `metrics.jsonl` grows by a line an epoch and `checkpoint.ckpt` (weights,
            optimizer, schedule, scaler, pruner, random numbers) is replaced at the end of each
            epoch; the one before it stays too. A folder with a checkpoint wants `resume`.
        resume: continue from the latest whole checkpoint of `run_dir`, to the same weights, on the
            CPU to the bit. The model, the optimizer and the pruner must be built as they were for
            the first run. The order of the batches must follow from the epoch (`set_epoch`) or
            from the global generators, whose states the checkpoint holds; that of a DataLoader's
            own `generator=` it doesn't.
        labels: written into each line of `metrics.jsonl`.

    Raises:
        TrainingError: the loss or an input is not a number, memory ran out, the device is not
            there, there is no batch or one that is no pair, the labels do not fit the network,
            there is nothing to resume, or without `resume` a checkpoint would be lost.
    """
    with lightning():
        from lightning.pytorch import Trainer
        from lightning.pytorch.callbacks import Callback

        from microglia.training.callback import PrunerCallback
        from microglia.training.keeper import EpochCheckpoint
        from microglia.training.loggers import build_loggers, closing
        from microglia.training.module import TrainingModule
        from microglia.training.progress import ProgressBar
        from microglia.training.recorder import Recorder

    device = resolve_device(config.device)
    if length_hint(batches, 1) == 0:  # 1 where they don't know
        raise TrainingError(
            "batches: there is none to train on. A DataLoader with drop_last=True has none of "
            "fewer samples than its batch_size."
        )
    run_dir = Path(run_dir) if run_dir is not None else None
    if resume and run_dir is None:
        raise TrainingError("Nothing to resume: no run_dir was given. Start without resume.")
    if not resume and run_dir is not None and has_checkpoint(run_dir):
        raise TrainingError(
            f"run_dir: '{run_dir}' holds the checkpoint of an earlier training, which would be "
            "lost. Go on from it with resume=True, or name another folder."
        )
    checkpoint = find_checkpoint(run_dir) if resume and run_dir else None
    file = MetricsFile(run_dir / METRICS, **(labels or {})) if run_dir else None
    pruning = PrunerCallback(pruner) if pruner else None
    recorder = Recorder(file=file, pruning=pruning)
    callbacks: list[Callback] = [*([pruning] if pruning else []), recorder]
    if progress:
        callbacks.append(ProgressBar(recorder, title=title))
    if run_dir is not None:
        run_dir.mkdir(parents=True, exist_ok=True)
        callbacks.append(EpochCheckpoint(run_dir))

    if distillation is not None:
        distillation.teacher.to(device).eval()
    module = TrainingModule(
        model.train(), config, optimizer=optimizer, pruner=pruner, distillation=distillation
    )
    with lightning():
        loggers = build_loggers(config, run_dir, title=title, labels=labels or {})
        trainer = Trainer(
            accelerator=device.type,
            devices=[device.index] if device.index is not None else 1,
            precision=config.precision,  # type: ignore[arg-type]  # checked by TrainingConfig
            max_epochs=config.epochs,
            accumulate_grad_batches=config.accumulate,
            gradient_clip_val=config.gradient_clip or None,
            callbacks=callbacks,
            logger=loggers,
            log_every_n_steps=1,
            enable_checkpointing=run_dir is not None,
            enable_progress_bar=False,
            enable_model_summary=False,
            num_sanity_val_steps=0,
            # Neuron states made under inference mode could not take part in the next training step.
            inference_mode=False,
        )
        fast = config.accelerate and device.type == "cpu"
        with (
            closing(loggers),
            accelerated_training(model, example_input=_example(batches)) if fast else nullcontext(),
            _logits_over_time(model) if config.loss == "tet" else nullcontext(),
        ):
            _fit(
                trainer,
                lambda: trainer.fit(
                    module,
                    _as_loader(batches),
                    _as_loader(validation),
                    ckpt_path=checkpoint,
                    weights_only=True,
                ),
            )
    if module.average is not None:
        model.load_state_dict(module.average.module.state_dict())
    return recorder.history


@contextmanager
def _logits_over_time(model: nn.Module) -> Iterator[None]:
    """Let a network of ours return the logits of each timestep; others return what they return."""
    before: Any = getattr(model, "over_time", None)
    if isinstance(before, bool):
        model.over_time = True  # type: ignore[assignment]  # a flag, no submodule
    try:
        yield
    finally:
        if isinstance(before, bool):
            model.over_time = before  # type: ignore[assignment]


class _Listed:
    """A list of batches, which Lightning would take for a list of loaders."""

    def __init__(self, batches: Sequence[tuple[Tensor, Tensor]]) -> None:
        self._batches = batches

    def __len__(self) -> int:
        return len(self._batches)

    def __iter__(self) -> Iterator[tuple[Tensor, Tensor]]:
        return iter(self._batches)


def _as_loader(batches: Batches | None) -> Batches | None:
    return _Listed(batches) if isinstance(batches, (list, tuple)) else batches


def _example(batches: Batches) -> Tensor | None:
    """The first inputs, where looking at them changes nothing: a DataLoader draws for each pass."""
    if not isinstance(batches, (list, tuple, data.Batches)):
        return None
    return as_pair(next(iter(batches)))[0]


def _fit(trainer: Any, fit: Callable[[], None]) -> None:
    """Run, and turn what breaks down into this package's errors."""
    main_thread = threading.current_thread() is threading.main_thread()
    interrupt = signal.getsignal(signal.SIGINT) if main_thread else None
    try:
        fit()
    except MicrogliaError:
        raise
    except SystemExit:
        # Lightning swallows Ctrl-C, ignores the next one and exits with 1.
        if interrupt is not None:
            signal.signal(signal.SIGINT, interrupt)
        if trainer.interrupted:
            raise KeyboardInterrupt from None
        raise
    except (RuntimeError, MemoryError) as error:
        if "loading state_dict" in str(error) or "loaded state dict" in str(error):
            difference = str(error).splitlines()[-1].strip()
            raise TrainingError(of_another_training(difference)) from error
        if not out_of_memory(error):
            raise
        raise TrainingError(
            f"Out of memory at optimizer step {trainer.global_step}. Lower data.batch_size first "
            f"(training.accumulate keeps the effective batch), then network.T or "
            f"network.width; training.precision = 'bf16-mixed' halves the activations."
        ) from error
