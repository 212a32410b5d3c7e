"""Loaders, one for each kind of source, and batches made on the device.

Needs ``pip install 'microglia[data]'`` for all but `Images` and `Batches`.
"""

from microglia.data.batches import Batches
from microglia.data.images import Images
from microglia.data.load import load_images
from microglia.data.splits import CIFAR10_VALIDATION, Splits, load_splits

__all__ = ["CIFAR10_VALIDATION", "Batches", "Images", "Splits", "load_images", "load_splits"]
