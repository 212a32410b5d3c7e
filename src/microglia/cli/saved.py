"""A saved network as the command line finds it: alone, or inside a run's directory."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

import microglia as mg
from microglia.errors import DataError
from microglia.surgery import Certificate

_STRUCTURE = "structure.json"


@dataclass(frozen=True)
class Saved:
    """The directory that `mg.save` wrote, what its JSON says, and the config of its run, if any."""

    path: Path
    config: Path | None
    record: dict[str, Any]

    def load(self) -> nn.Module:
        """The network, in eval mode.

        Raises:
            DataError: a file is missing or damaged.
            ConfigError: it is a network that the command line can't build.
        """
        try:
            network: nn.Module = mg.load(self.path)
        except (AttributeError, KeyError, TypeError, ValueError) as error:
            if isinstance(error, mg.MicrogliaError):
                raise
            raise DataError(f"{self.path / _STRUCTURE}: damaged ({error}).") from error
        return network

    def example(self) -> Tensor:
        """Two images as the network takes them."""
        arguments = self._get("network", "arguments")
        channels, size = int(arguments["channels"]), int(arguments.get("size") or 32)
        return torch.rand(2, channels, size, size)

    def kept(self) -> dict[str, tuple[int, int]]:
        """Group -> channels kept, and channels before."""
        try:
            groups = self._get("groups").items()
            return {name: (len(g["kept"]), int(g["original"])) for name, g in groups}
        except (KeyError, TypeError, ValueError) as error:
            raise self._damaged("groups") from error

    def certificate(self) -> str:
        """The certificate that was saved, in words."""
        saved = self.record.get("certificate")
        if not saved:
            return "nothing (saved without a certificate)"
        try:
            return str(Certificate(**{**saved, "silent_layers": tuple(saved["silent_layers"])}))
        except (KeyError, TypeError, ValueError) as error:
            raise self._damaged("certificate") from error

    def _get(self, *keys: str) -> dict[str, Any]:
        value: Any = self.record
        for key in keys:
            value = value.get(key) if isinstance(value, dict) else None
        if not isinstance(value, dict):
            raise self._damaged(".".join(keys))
        return value

    def _damaged(self, what: str) -> DataError:
        return DataError(f"{self.path / _STRUCTURE}: '{what}' is missing or damaged.")


def find_saved(target: Path) -> Saved:
    """The saved network at `target`, or the one of the run at `target`.

    Raises:
        DataError: there is none, or its JSON cannot be read.
    """
    for path in (target, target / "compact"):
        if (path / _STRUCTURE).is_file():
            return Saved(path, _config_of(path), _read(path / _STRUCTURE))
    raise DataError(
        f"'{target}' holds no saved network: {_STRUCTURE} is neither there nor in compact/."
    )


def _config_of(path: Path) -> Path | None:
    """The run's config, above `compact/` or above `networks/<name>/compact/`."""
    whole = path.resolve()
    above = [whole.parent, *whole.parents[2:3]]
    return next((p / "config.toml" for p in above if (p / "config.toml").is_file()), None)


def _read(path: Path) -> dict[str, Any]:
    try:
        record = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise DataError(f"{path}: can't be read ({error}).") from error
    if not isinstance(record, dict):
        raise DataError(f"{path}: not a saved network.")
    return record
