"""A saved network as the command line finds it: alone, or inside a run's directory."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

import microglia as mg
from microglia.errors import DataError
from microglia.experiment import RunConfig
from microglia.experiment.config import DENSE
from microglia.experiment.run_dir import CONFIG
from microglia.experiment.trial import COMPACT, TRAINED
from microglia.surgery.record import (
    STRUCTURE,
    Record,
    certificate_of,
    groups_of,
    mapping,
    read_record,
)


@dataclass(frozen=True)
class Saved:
    """The directory that `mg.save` wrote, what its JSON says, and the config of its run, if any."""

    path: Path
    config: Path | None
    record: Record

    def load(self) -> nn.Module:
        """The network, in eval mode.

        Raises:
            DataError: a file is missing or damaged.
            ConfigError: it is a network that the command line can't build.
        """
        network: nn.Module = mg.load(self.path)
        return network

    def example(self) -> Tensor:
        """Two images as the network takes them."""
        arguments = self._arguments()
        channels, size = int(arguments["channels"]), int(arguments.get("size") or 32)
        return torch.rand(2, channels, size, size)

    def run(self) -> RunConfig | None:
        """The config of its run."""
        return RunConfig.from_file(self.config) if self.config else None

    def timesteps(self) -> int:
        """T that the network was built for."""
        return int(self._arguments()["T"])

    def _arguments(self) -> dict[str, Any]:
        return mapping(mapping(self.record, "network", self.path), "arguments", self.path)

    def kept(self) -> dict[str, tuple[int, int]]:
        """Group -> channels kept, and channels before."""
        groups = groups_of(self.record, self.path)
        return {name: (len(kept), original) for name, (kept, original) in groups.items()}

    def certificate(self) -> str:
        """The certificate that was saved, in words."""
        saved = certificate_of(self.record, self.path)
        return str(saved) if saved else "nothing (saved without a certificate)"


def find_saved(target: Path) -> Saved:
    """The saved network at `target`, or the one of the run at `target`, of its first seed.

    Raises:
        DataError: there is none, or its JSON cannot be read.
        ConfigError: the run's config cannot be read.
    """
    for path in (target, target / COMPACT, target / TRAINED, *_first_trained(target)):
        if (path / STRUCTURE).is_file():
            return Saved(path, _config_of(path), read_record(path))
    raise DataError(
        f"'{target}' holds no saved network: {STRUCTURE} is neither there nor in {COMPACT}/ or "
        f"{TRAINED}/."
    )


def _first_trained(run: Path) -> list[Path]:
    """Where `microglia train` put the network of its first seed."""
    if not (run / CONFIG).is_file():
        return []
    seed = RunConfig.from_file(run / CONFIG).seeds[0]
    return [run / "networks" / f"{DENSE}-seed{seed}" / TRAINED]


def _config_of(path: Path) -> Path | None:
    """The run's config, above `compact/` or two above it, in `networks/<name>/`."""
    whole = path.resolve()
    above = [whole.parent, *whole.parents[2:3]]
    return next((p / CONFIG for p in above if (p / CONFIG).is_file()), None)
