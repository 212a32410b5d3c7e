"""What is switched off, inside the network: gates of channels, masks of weights."""

from __future__ import annotations

from microglia.gates.channels import ChannelGate, Gates
from microglia.gates.masks import Masks
from microglia.gates.weights import WeightMasks

__all__ = ["ChannelGate", "Gates", "Masks", "WeightMasks"]
