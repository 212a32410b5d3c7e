"""Batches of normalised, augmented images, made on the device."""

import math
from collections.abc import Iterator, Mapping

import numpy as np
import torch
from torch import Tensor

from microglia.data.augment import augmentation
from microglia.data.cache import ROWS_OR_SIZE
from microglia.data.encode import ENCODERS, delta, latency, poisson
from microglia.data.images import Images
from microglia.errors import ConfigError, TrainingError, memory_for, nearest


class Batches:
    """Iterate over (images, labels): float32 [N, C, H, W] normalised to mean 0 and deviation 1 in
    each channel, and int64 [N]. Frames of events come as [T, N, C, H, W], the numbers of events.

    The whole set lies on ``device`` as uint8; batches are cut, augmented and normalised there.
    ``augment`` is a word of `AUGMENTATIONS`; ``cutout`` is the side in pixels of the square that it
    blackens, 0 for none (None: as the word says). ``encoder`` "poisson" or "latency" turns images,
    their pixels in [0, 1] and not normalised, into T steps of spikes (see `encode`); "direct"
    leaves it to the network. "delta" turns frames into their changes of at least ``threshold``, in
    twice the channels. ``equalise`` divides each recording's frames by their mean, so that many
    events and few look alike. The order and the augmentation of an epoch depend on ``seed`` and the
    epoch's number alone, never on what was iterated before. A pass that runs to its end moves on to
    the next epoch; `set_epoch` chooses one. A broken-off pass changes nothing: the next begins the
    epoch again.

    `state_dict` between two batches holds the epoch and the number of batches taken; the first pass
    after `load_state_dict` goes on from there.

    Raises ConfigError for settings out of range, TrainingError where the device isn't there or has
    no room.
    """

    def __init__(
        self,
        images: Images,
        *,
        batch_size: int,
        seed: int = 0,
        augment: str = "none",
        cutout: int | None = None,
        encoder: str = "direct",
        T: int | None = None,
        threshold: float = 1.0,
        equalise: bool = False,
        shuffle: bool = True,
        drop_last: bool = False,
        device: torch.device | str = "cpu",
    ) -> None:
        if batch_size < 1:
            raise ConfigError(f"batch_size: at least 1 expected, got {batch_size}")
        if seed < 0:
            raise ConfigError(f"seed: at least 0 expected, got {seed}")
        if drop_last and len(images) < batch_size:
            raise ConfigError(
                f"batch_size: {batch_size} with drop_last leaves no batch of {len(images)} images"
            )
        if encoder not in ENCODERS:
            raise ConfigError(f"encoder: '{encoder}' is unknown.{nearest(encoder, list(ENCODERS))}")
        if encoder == "delta" and not images.frames:
            raise ConfigError("encoder: 'delta' wants frames; images don't change over time")
        if not 0 < threshold < math.inf:
            raise ConfigError(f"threshold: wanted a change above 0, got {threshold}")
        if encoder in ("poisson", "latency") and (T is None or T < 1 or images.frames):
            raise ConfigError(
                f"encoder: '{encoder}' wants images and T of at least 1, got T = {T}"
                + (" and frames of events, which are spikes already" if images.frames else "")
            )
        if equalise and not images.frames:
            raise ConfigError("equalise: is for frames of events; images are normalised already")
        if augment == "events" and not images.frames:
            raise ConfigError("augment: 'events' is for frames of events, these are images")
        shortest = min(images.images.shape[-2:])
        if cutout is not None and cutout > shortest:
            raise ConfigError(
                f"cutout: a side of at most {shortest} pixels, the images' own, expected, "
                f"got {cutout}"
            )
        self.encoder, self.T, self.threshold, self.equalise = encoder, T, threshold, equalise
        self.batch_size = batch_size
        self.seed = seed
        self.shuffle = shuffle
        self.drop_last = drop_last
        self.augmentation = augmentation(augment, cutout=cutout)
        self.classes = images.classes
        self._count = len(images)
        self._epoch = 0
        self._taken = 0  # batches that the latest pass has handed out
        self._resume = 0  # batches that the next pass skips
        try:
            self.device = torch.device(device)
            with memory_for(f"moving the images to '{device}'", lower=ROWS_OR_SIZE):
                self._images = images.images.to(self.device)
                self._labels = images.labels.to(self.device)
        except (RuntimeError, AssertionError) as fault:
            raise TrainingError(
                f"device: '{device}' can't take the images: {str(fault).splitlines()[0]}"
            ) from fault
        mean, std = (torch.tensor(s, device=self.device) for s in (images.mean, images.std))
        self._scale = 1 / (255 * std[:, None, None])
        self._shift = -(mean / std)[:, None, None]

    def __len__(self) -> int:
        """Batches in an epoch."""
        full, rest = divmod(self._count, self.batch_size)
        return full + (rest > 0 and not self.drop_last)

    @property
    def epoch(self) -> int:
        """The epoch that the next pass iterates over, or the present one within a pass."""
        return self._epoch

    def set_epoch(self, epoch: int) -> None:
        """Let the next pass be this epoch's, from its first batch."""
        if epoch < 0:
            raise ConfigError(f"epoch: at least 0 expected, got {epoch}")
        self._epoch, self._taken, self._resume = epoch, 0, 0

    def __iter__(self) -> Iterator[tuple[Tensor, Tensor]]:
        order, draws = self._plan()
        first, self._resume = self._resume, 0
        for batch in range(first, len(self)):
            self._taken = batch + 1
            part = slice(batch * self.batch_size, (batch + 1) * self.batch_size)
            rows = order[part]
            images = self._augmented(self._images.index_select(0, rows), draws[part])
            yield self._encoded(images, batch), self._labels[rows]
        self._epoch, self._taken = self._epoch + 1, 0

    def _encoded(self, images: Tensor, batch: int) -> Tensor:
        """What the network is given of these pixels."""
        if self.T is not None and self.encoder == "latency":
            return latency(images.float() / 255, self.T)
        if self.T is not None and self.encoder == "poisson":
            generator = torch.Generator(self.device).manual_seed(self._mixed(batch + 1))
            return poisson(images.float() / 255, self.T, generator)
        values = images.float() * self._scale + self._shift
        if self.equalise:
            values = values / values.mean((0, 2, 3, 4), keepdim=True).clamp(min=1e-12)
        return delta(values, self.threshold) if self.encoder == "delta" else values

    def _augmented(self, images: Tensor, draws: Tensor) -> Tensor:
        """All frames of a sample are moved alike, and time goes first."""
        if images.dim() == 4:
            return self.augmentation.apply(images, draws)
        moved = self.augmentation.apply(images.flatten(1, 2), draws)
        return moved.reshape(images.shape).transpose(0, 1).contiguous()

    def _plan(self) -> tuple[Tensor, Tensor]:
        """The order of the epoch's images and the augmentation drawn for each place in it."""
        generator = torch.Generator().manual_seed(self._mixed())
        order = torch.randperm(self._count, generator=generator)
        if not self.shuffle:
            order = torch.arange(self._count)
        draws = self.augmentation.draw(self._count, generator)
        return order.to(self.device), draws.to(self.device)

    def _mixed(self, *more: int) -> int:
        """A seed that follows from that of the batches, the epoch, and what else is given."""
        words = np.random.SeedSequence((self.seed, self._epoch, *more))
        return int(words.generate_state(1, np.uint64)[0]) >> 1

    def state_dict(self) -> dict[str, int]:
        """The epoch, and how many of its batches have been taken."""
        if self._taken == len(self):
            return {"epoch": self._epoch + 1, "batch": 0}
        return {"epoch": self._epoch, "batch": max(self._taken, self._resume)}

    def load_state_dict(self, state: Mapping[str, int]) -> None:
        """Go on from a `state_dict`. Raises ConfigError where it is of another batch size's."""
        epoch, batch = int(state["epoch"]), int(state["batch"])
        if not 0 <= batch < len(self):
            raise ConfigError(
                f"batch: the state is {batch} batches into an epoch that has {len(self)}; "
                "it comes from another batch size or data set"
            )
        self.set_epoch(epoch)
        self._resume = batch
