"""Batches of sequences, as a network that runs over time takes them."""

from collections.abc import Iterator

import numpy as np
import torch
from torch import Tensor

from microglia.data.sequences import Sequences
from microglia.errors import ConfigError


class SequenceBatches:
    """Iterate over (values, labels): float32 [T, N, C], time first, and int64 [N].

    All sequences of a set have its T; short ones are zero behind their end. The order of an epoch
    depends on ``seed`` and the epoch's number alone, which `set_epoch` chooses and a whole pass
    moves on.

    Raises ConfigError for a batch size below 1 or a seed below 0.
    """

    def __init__(
        self, sequences: Sequences, *, batch_size: int, seed: int = 0, shuffle: bool = True
    ) -> None:
        if batch_size < 1:
            raise ConfigError(f"batch_size: at least 1 expected, got {batch_size}")
        if seed < 0:
            raise ConfigError(f"seed: at least 0 expected, got {seed}")
        self.sequences, self.batch_size = sequences, batch_size
        self.seed, self.shuffle, self.epoch = seed, shuffle, 0

    def __len__(self) -> int:
        """Batches in an epoch."""
        return -(-len(self.sequences) // self.batch_size)

    def set_epoch(self, epoch: int) -> None:
        """Let the next pass be this epoch's."""
        self.epoch = epoch

    def __iter__(self) -> Iterator[tuple[Tensor, Tensor]]:
        order = torch.arange(len(self.sequences))
        if self.shuffle:
            mixed = np.random.SeedSequence((self.seed, self.epoch)).generate_state(1, np.uint64)
            generator = torch.Generator().manual_seed(int(mixed[0]) >> 1)
            order = order[torch.randperm(len(order), generator=generator)]
        for rows in order.split(self.batch_size):
            values = self.sequences.values[rows].transpose(0, 1).contiguous()
            yield values, self.sequences.labels[rows]
        self.epoch += 1
