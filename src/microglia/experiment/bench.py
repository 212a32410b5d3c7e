"""What every network of an experiment shares: data, device, seeds, and where files go."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from microglia.data import Batches, Images, Splits, load_splits
from microglia.errors import DataError
from microglia.experiment.config import NetworkConfig, RunConfig
from microglia.networks import build
from microglia.training import resolve_device

EXAMPLES = 8  # images that structure and certificate are computed on


@dataclass(frozen=True)
class Bench:
    """The same conditions for each network that is to be compared."""

    config: RunConfig
    splits: Splits
    device: torch.device
    work: Path
    progress: bool
    resume: bool
    """Whether training goes on from the checkpoints that lie in `work`."""

    @classmethod
    def open(cls, config: RunConfig, work: Path, *, progress: bool, resume: bool = False) -> Bench:
        """Find the device and load the data.

        Raises:
            TrainingError: the device is not there.
            DataError: the data is missing or damaged.
        """
        device = resolve_device(config.training.device)
        return cls(config, load_data(config), device, work, progress, resume)

    def network(self, seed: int) -> nn.Module:
        """The network with fresh weights; the same seed gives the same weights."""
        torch.manual_seed(seed)
        return build_network(
            self.config.network, self.example().shape[-3:], classes=len(self.splits.train.classes)
        )

    def training_batches(self, seed: int) -> Batches:
        data = self.config.data
        return self._batches(self.splits.train, seed=seed, augment=data.augment, cutout=data.cutout)

    def validation_batches(self) -> Batches:
        return self._in_order(self.splits.validation)

    def test_batches(self) -> Batches:
        return self._in_order(self.splits.test)

    def example(self, count: int = EXAMPLES) -> Tensor:
        """The first training images, normalised, on the CPU: [count, C, H, W], or frames."""
        images, _ = next(iter(self._in_order(self.splits.train, batch_size=count, device="cpu")))
        return images

    @property
    def steps_per_epoch(self) -> int:
        """Optimizer steps of one epoch."""
        batches = -(-len(self.splits.train) // self.config.data.batch_size)
        return -(-batches // self.config.training.accumulate)

    def folder(self, name: str, seed: int) -> Path:
        """Where the network's files go: the method's first seed on top, the others below."""
        first = name == self.config.pruning.method and seed == self.config.seeds[0]
        return self.work if first else self.work / "networks" / f"{name}-seed{seed}"

    def _in_order(self, images: Images, **settings: Any) -> Batches:
        return self._batches(images, shuffle=False, **settings)

    def _batches(self, images: Images, **settings: Any) -> Batches:
        data = self.config.data
        usual = {
            "batch_size": data.batch_size,
            "device": self.device,
            "encoder": data.encoder,
            "threshold": data.threshold,
            "equalise": data.equalise,
        }
        return Batches(images, T=self.config.network.T, **{**usual, **settings})


def load_data(config: RunConfig) -> Splits:
    """The three splits that a config's data section describes."""
    data = config.data
    return load_splits(
        data.source,
        train_rows=range(*data.train_rows) if data.train_rows else None,
        validation_rows=range(*data.validation_rows) if data.validation_rows else None,
        image_column=data.image_column,
        label_column=data.label_column,
        size=data.size,
        T=config.network.T,
        split_by=data.split_by,  # type: ignore[arg-type]  # checked by the config
        validation_share=data.validation_share,
    )


def build_network(config: NetworkConfig, image: Sequence[int], *, classes: int) -> nn.Module:
    """The network that a network section describes, for images of this shape, [C, H, W].

    Raises:
        ConfigError: the network is unknown, or a setting does not suit it.
        DataError: the images are not square.
    """
    channels, height, width = image
    if height != width:
        raise DataError(
            f"data: the networks take square images, these are {height}x{width}. Set data.size, "
            f"which scales the shorter side and cuts out the centre."
        )
    return build(
        config.name,
        classes=classes,
        channels=channels,
        T=config.T,
        size=height,
        width=config.width,
        neuron=config.neuron,
        tau=config.tau,
        alpha=config.alpha,
        surrogate=config.surrogate,
        reset=config.reset,
        detach_reset=config.detach_reset,
        beta=config.beta,
        tau_a=config.tau_a,
        norm=config.norm,
        cnf=config.cnf,
    )
