"""Random crops, flips and holes of a whole batch at once."""

from dataclasses import dataclass, replace

import torch
from torch import Tensor
from torch.nn import functional as F

from microglia.errors import ConfigError, nearest


@dataclass(frozen=True)
class Augmentation:
    """Shift by up to ``pad`` pixels in each direction (what moves in is black), flip left to right
    with probability one half if ``flip``, then blacken a square of ``hole`` pixels a side around a
    place drawn from the whole image (cutout; DeVries and Taylor, 2017)."""

    pad: int = 0
    flip: bool = False
    hole: int = 0

    def draw(self, count: int, generator: torch.Generator) -> Tensor:
        """For each of ``count`` images: shift down, shift right, flip; int64 [count, 3]. With a
        hole two more say where it is, in 1/2¹⁶ of the sides."""
        shifts = torch.randint(0, 2 * self.pad + 1, (count, 2), generator=generator)
        flips = torch.randint(0, 2 if self.flip else 1, (count, 1), generator=generator)
        if not self.hole:
            return torch.cat([shifts, flips], dim=1)
        places = torch.randint(0, 1 << 16, (count, 2), generator=generator)
        return torch.cat([shifts, flips, places], dim=1)

    def apply(self, images: Tensor, draws: Tensor) -> Tensor:
        """Images [N, C, H, W] changed as drawn ([N, 3 or 5], on the same device)."""
        if self.pad or self.flip:
            images = self._moved(images, draws[:, :3])
        return self._holed(images, draws[:, 3:]) if self.hole else images

    def _holed(self, images: Tensor, places: Tensor) -> Tensor:
        inside = []
        for side, place in zip(images.shape[-2:], places.unbind(1), strict=True):
            first = (place * side >> 16) - self.hole // 2
            pixels = torch.arange(side, device=images.device)
            inside.append((pixels >= first[:, None]) & (pixels < first[:, None] + self.hole))
        hole = inside[0][:, None, :, None] & inside[1][:, None, None, :]
        return images.masked_fill(hole, 0)

    def _moved(self, images: Tensor, draws: Tensor) -> Tensor:
        count, channels, height, width = images.shape
        down, right, flip = draws.unsqueeze(-1).unbind(1)
        rows = torch.arange(height, device=images.device) + down
        columns = torch.arange(width, device=images.device).expand(count, width)
        columns = torch.where(flip.bool(), columns.flip(1), columns) + right
        padded = F.pad(images, (self.pad,) * 4)
        # One gather with positions in the flat map is several times as fast on a CPU as indexing
        # all four axes.
        places = rows[:, :, None] * padded.shape[3] + columns[:, None, :]
        places = places.flatten(1)[:, None].expand(-1, channels, -1)
        return padded.flatten(2).gather(2, places).reshape(images.shape)


@dataclass(frozen=True)
class EventJitter:
    """What another day does to recordings of events: the thing is nearer or further, turned, moved,
    and fires fewer events.

    Zoom from 1 − ``zoom`` to 1 + ``zoom``, turn by up to ``turn`` radians and shift by up to
    ``shift`` of the sides, all frames of a recording alike, with bilinear interpolation; of the
    events a share drawn from [``keep``, 1] stays, each by chance.
    """

    zoom: float = 0.3
    turn: float = 0.25
    shift: float = 0.25
    keep: float = 0.4

    def draw(self, count: int, generator: torch.Generator) -> Tensor:
        """For each recording zoom, turn, two shifts and share, and a seed; float64 [count, 6]."""
        u = torch.rand((count, 6), generator=generator, dtype=torch.float64)
        low = torch.tensor([1 - self.zoom, -self.turn, -self.shift, -self.shift, self.keep, 0.0])
        high = torch.tensor([1 + self.zoom, self.turn, self.shift, self.shift, 1.0, 2.0**31])
        return low + (high - low) * u

    def apply(self, images: Tensor, draws: Tensor) -> Tensor:
        """Counts [N, C, H, W] of events, changed as drawn; float32."""
        zoom, turn, right, down, share, seed = draws.unbind(1)
        generator = torch.Generator(images.device).manual_seed(int(seed[0]))
        kept = share.float().reshape(-1, 1, 1, 1).expand(images.shape)
        counts = torch.binomial(images.float(), kept, generator=generator)
        rows = [
            torch.stack([turn.cos() / zoom, -turn.sin() / zoom, 2 * right], dim=1),
            torch.stack([turn.sin() / zoom, turn.cos() / zoom, 2 * down], dim=1),
        ]
        grid = F.affine_grid(torch.stack(rows, dim=1).float(), [*images.shape], align_corners=False)
        return F.grid_sample(counts, grid, align_corners=False)


AUGMENTATIONS: dict[str, Augmentation | EventJitter] = {
    "none": Augmentation(),
    "crop-flip": Augmentation(pad=4, flip=True),
    "crop-flip-cutout": Augmentation(pad=4, flip=True, hole=8),
    "shift": Augmentation(pad=1),
    "events": EventJitter(),
}


def augmentation(name: str, *, cutout: int | None = None) -> Augmentation | EventJitter:
    """The augmentation of this name: "crop-flip" (CIFAR's: pad 4, crop, flip), the same with a
    "-cutout" of 8x8, "shift" (by one pixel, for digits), "events" (see `EventJitter`) or "none".
    ``cutout``, unless None, is the side of the square in its place, 0 for none.

    Raises ConfigError for another name, a side below 0, and a square in "events".
    """
    if name not in AUGMENTATIONS:
        raise ConfigError(f"augment: '{name}' is unknown.{nearest(name, list(AUGMENTATIONS))}")
    rule = AUGMENTATIONS[name]
    if cutout is None:
        return rule
    if cutout < 0:
        raise ConfigError(f"cutout: a side of at least 0 pixels expected, got {cutout}")
    if isinstance(rule, EventJitter):
        raise ConfigError(f"cutout: is for images; augment = '{name}' changes events")
    return replace(rule, hole=cutout)
