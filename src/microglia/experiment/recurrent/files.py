"""A recurrent network and how it was pruned, as two files: safetensors and JSON, no pickle."""

from __future__ import annotations

import json
import shutil
from dataclasses import asdict
from hashlib import sha256
from pathlib import Path
from typing import Any

import numpy as np
from safetensors import SafetensorError
from safetensors.numpy import load_file, save_file
from scipy import sparse

from microglia.errors import ConfigError, DataError
from microglia.frameworks.recurrent import RecurrentNetwork
from microglia.lyapunov.prune import Pruned, Step
from microglia.surgery.files import put_in_place

TENSORS, RECORD = "network.safetensors", "network.json"
FORMAT = "microglia recurrent network 1"
_MATRICES, _VECTORS = ("weights", "inputs"), ("tau_m", "tau_s", "bias", "threshold", "inhibitory")
_PLAIN = ("reset", "refractory", "dt")


def save_pruned(pruned: Pruned, path: str | Path) -> Path:
    """Write a network and what was done to it to the directory `path`, whole or not at all.

    Raises:
        DataError: the place can't be written, or holds something else.
    """
    path, network = Path(path), pruned.network
    if path.exists() and not is_saved(path):
        raise DataError(f"{path}: holds something else than a saved network, which would be lost")
    tensors = {"neurons": np.asarray(pruned.neurons)}
    for name in _MATRICES:
        matrix = getattr(network, name)
        if matrix is not None:
            parts = {part: getattr(matrix, part) for part in ("data", "indices", "indptr")}
            tensors |= {f"{name}.{part}": value for part, value in parts.items()}
            tensors[f"{name}.shape"] = np.array(matrix.shape)
    for name in _VECTORS:
        if getattr(network, name) is not None:
            tensors[name] = np.asarray(getattr(network, name))
    scratch = path.with_name(f".{path.name}.new")
    shutil.rmtree(scratch, ignore_errors=True)  # of a kill
    try:
        scratch.mkdir(parents=True)
        save_file({n: np.ascontiguousarray(t) for n, t in tensors.items()}, scratch / TENSORS)
        record = {
            "format": FORMAT,
            **{name: getattr(network, name) for name in _PLAIN},
            "gain": pruned.gain,
            "steps": [asdict(step) for step in pruned.steps],
            "sha256": _sum_of(scratch / TENSORS),
        }
        text = json.dumps(record, indent=1, allow_nan=False)
        (scratch / RECORD).write_text(text + "\n", encoding="utf-8")
        shutil.copymode(scratch / RECORD, scratch / TENSORS)  # safetensors': the owner's alone
        put_in_place(scratch, path)
    except OSError as error:
        raise DataError(f"{path}: could not be written ({error.strerror})") from error
    finally:
        shutil.rmtree(scratch, ignore_errors=True)
    return path


def load_pruned(path: str | Path) -> Pruned:
    """What `save_pruned` wrote.

    Raises:
        DataError: a file is missing, damaged or of another format.
    """
    path = Path(path)
    try:
        record: dict[str, Any] = json.loads((path / RECORD).read_text(encoding="utf-8"))
        if record["format"] != FORMAT:
            raise DataError(f"{path / RECORD}: wanted '{FORMAT}', got '{record['format']}'")
        if _sum_of(path / TENSORS) != record["sha256"]:
            raise DataError(f"{path / TENSORS}: its check sum is not the one in {RECORD}")
        tensors = load_file(path / TENSORS)
        matrices = {name: _matrix(tensors, name) for name in _MATRICES if f"{name}.data" in tensors}
        network = RecurrentNetwork(
            **{"tau_s": None}
            | matrices
            | {name: tensors[name] for name in _VECTORS if name in tensors}
            | {name: record[name] for name in _PLAIN}
        )
        steps = tuple(Step(**step) for step in record["steps"])
        return Pruned(
            network=network, neurons=tensors["neurons"], gain=float(record["gain"]), steps=steps
        )
    except (OSError, SafetensorError) as error:
        raise DataError(f"{path}: holds no recurrent network that can be read ({error})") from None
    except (KeyError, TypeError, ValueError, ConfigError) as error:
        raise DataError(f"{path}: damaged, or of another format ({error})") from None


def is_saved(path: Path) -> bool:
    """Whether a directory holds what `save_pruned` writes, and nothing else."""
    return path.is_dir() and {p.name for p in path.iterdir()} == {TENSORS, RECORD}


def _matrix(tensors: dict[str, Any], name: str) -> sparse.csr_array:
    parts = tuple(tensors[f"{name}.{part}"] for part in ("data", "indices", "indptr"))
    return sparse.csr_array(parts, shape=tuple(tensors[f"{name}.shape"].tolist()))


def _sum_of(path: Path) -> str:
    return sha256(path.read_bytes()).hexdigest()
