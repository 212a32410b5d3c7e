"""Save a compacted network and load it again: safetensors and readable JSON, no pickle.

A saved network is a directory of two files. Loading executes nothing: it builds the network
from a class that the program itself passes or from the package's own builders, then sets
tensors and whole-number sizes.
"""

from __future__ import annotations

import shutil
import stat
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

from microglia.errors import ConfigError, DataError
from microglia.frameworks import (
    GATE,
    NEURON_MASK,
    bare_copy,
    put_mask,
    reset,
    spiking_neurons,
)
from microglia.structure.trace import named_leaves
from microglia.surgery.compact import Compact
from microglia.surgery.cut import own_sizes, replace_tensor, set_sizes
from microglia.surgery.record import (
    STRUCTURE,
    WEIGHTS,
    Record,
    certificate_of,
    groups_of,
    mapping,
    read_record,
    write_record,
)

_SIZES = frozenset(
    "in_channels out_channels groups in_features out_features num_features "
    "sub_module_out_features linear_features conv2d_channels".split()
)
_NO_SETTINGS = frozenset({"training", "backend", "store_v_seq"})

Builder = Callable[[str, dict[str, Any]], nn.Module]


def save(small: Compact, path: str | Path) -> Path:
    """Write a compacted network to the directory `path` (replacing one that is there).

    `weights.safetensors` holds every tensor, `structure.json` what was kept, the sizes that
    changed, the certificate and a check sum. Both appear whole or not at all.

    Raises:
        ConfigError: `small` is a network, not what `compact()` gave.
        DataError: the disk is full or the place can't be written.
    """
    path = Path(path)
    if not isinstance(small, Compact):
        raise ConfigError(
            f"save: wanted what pruner.compact() gives, got a {type(small).__name__}. An unpruned "
            "network saves with torch.save(model.state_dict(), ...)"
        )
    if path.exists() and not _is_saved(path):
        raise DataError(f"{path}: holds something else than a saved network, which would be lost")
    model = bare_copy(small.model)
    reset(model)
    tensors, aliases = _tensors(model)
    record = {
        "network": getattr(small.model, "microglia_network", None),
        "class": type(small.model).__name__,
        "neurons": _neurons(model),
        "groups": small.ledger.to_dict(),
        "sizes": _all_sizes(small.model),
        "shapes": {name: list(t.shape) for name, t in tensors.items()},
        "aliases": aliases,
        "certificate": small.certificate.to_dict() if small.certificate else None,
    }
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        scratch = Path(tempfile.mkdtemp(prefix=f".{path.name}-", dir=path.parent))
        scratch.chmod(stat.S_IMODE(path.parent.stat().st_mode))  # mkdtemp's is for one's own eyes
    except OSError as error:
        raise DataError(f"{path}: can't be written ({error.strerror})") from error
    try:
        save_file(tensors, scratch / WEIGHTS)
        write_record(scratch, record)
        shutil.copymode(
            scratch / STRUCTURE, scratch / WEIGHTS
        )  # safetensors writes for itself alone
        put_in_place(scratch, path)
    except (OSError, SafetensorError) as error:
        raise DataError(f"{path}: could not be saved ({error}); nothing was left behind") from error
    finally:
        shutil.rmtree(scratch, ignore_errors=True)
    return path


def _is_saved(path: Path) -> bool:
    return path.is_dir() and {p.name for p in path.iterdir()} <= {WEIGHTS, STRUCTURE}


def put_in_place(new: Path, path: Path) -> None:
    """Move a directory to `path`; what was there goes only once the new one stands."""
    old = new.with_name(f"{new.name}-old")
    if path.exists():
        if old.exists():  # of a kill after `path` was in place
            shutil.rmtree(old)
        path.replace(old)
    try:
        new.replace(path)
    except OSError:
        if old.exists():
            old.replace(path)
        raise
    shutil.rmtree(old, ignore_errors=True)


def load(path: str | Path, model: nn.Module | None = None, *, build: Builder | None = None) -> Any:
    """The compacted network in the directory `path`, in eval mode.

    Args:
        model: an unpruned network of the same class, as it was built for training; it is copied.
        build: makes one from the name and arguments in the file, for networks of this package.

    Raises:
        DataError: a file is missing, damaged, edited, or of another format.
        ConfigError: the network in the file is not the one that was passed, or none was.
    """
    path = Path(path)
    record = read_record(path)
    groups_of(record, path)
    certificate_of(record, path)
    try:
        tensors = load_file(path / WEIGHTS)
    except (OSError, SafetensorError) as error:
        raise DataError(f"{path / WEIGHTS}: missing or damaged ({error})") from error
    if model is None:
        network = record.get("network")
        if not network or build is None:
            raise ConfigError(
                f"{path}: this file holds a {record.get('class')}; pass an unpruned one, "
                "mg.load(path, model=...)"
            )
        model = _built(network, build, path)
    small = bare_copy(model)
    reset(small)
    _fit(small, tensors, record, path)
    reset(small)
    return small.eval()


def _built(network: Any, build: Builder, path: Path) -> nn.Module:
    """The network that the file names, as our own builders make it."""
    try:
        return build(str(network["name"]), dict(network["arguments"]))
    except ConfigError:
        raise
    except (TypeError, ValueError, KeyError, RuntimeError, OverflowError, MemoryError) as error:
        raise DataError(
            f"{path / STRUCTURE}: the network that it names can't be built ({error})"
        ) from error


def _fit(model: nn.Module, tensors: dict[str, Tensor], record: Record, path: Path) -> None:
    if record.get("class") != type(model).__name__:
        raise ConfigError(
            f"{path}: the file holds a {record.get('class')}, this is a {type(model).__name__}"
        )
    shapes, sizes, neurons = (mapping(record, k, path) for k in ("shapes", "sizes", "neurons"))
    _put_masks(model, tensors, path)
    mine, _ = _tensors(model)
    if set(tensors) != set(shapes) or set(tensors) != set(mine):
        odd = sorted(set(tensors) ^ set(mine))[:3] or sorted(set(tensors) ^ set(shapes))[:3]
        raise ConfigError(
            f"{path}: the file is not of this network; tensors that only one side has: "
            f"{', '.join(odd)}"
        )
    given = _neurons(model)
    for name, held in sorted(neurons.items()):
        if held != given.get(name):
            raise ConfigError(f"{path}: '{name}' is {held} in the file and {given.get(name)} here")
    names = {alias: all_names for all_names, _ in named_leaves(model) for alias in all_names}
    for name, value in tensors.items():
        wide = mine[name]
        fits = value.dim() == wide.dim() and all(
            a <= b for a, b in zip(value.shape, wide.shape, strict=True)
        )
        if list(value.shape) != shapes[name] or not fits or value.dtype != wide.dtype:
            raise DataError(
                f"{path}: '{name}' has shape {tuple(value.shape)} and {value.dtype}; at most "
                f"{tuple(wide.shape)} and {wide.dtype} was expected"
            )
        replace_tensor(model, names[name], value.to(wide.device))
    expected = _all_sizes(model)
    if set(sizes) != set(expected):
        odd = sorted(set(sizes) ^ set(expected))[:3]
        raise DataError(f"{path / STRUCTURE}: sizes of other modules: {', '.join(odd)}")
    for name, given in sizes.items():
        _check_sizes(name, given, expected[name], own_sizes(model.get_submodule(name)), path)
    set_sizes(model, sizes)


def _put_masks(model: nn.Module, tensors: dict[str, Tensor], path: Path) -> None:
    """Put the masks of neurons that the file holds into the network."""
    neurons = spiking_neurons(model)
    for name, mask in tensors.items():
        layer, _, attribute = name.rpartition(".")
        if attribute == NEURON_MASK and layer in neurons:
            if mask.dtype != torch.bool:
                raise DataError(f"{path}: '{name}' is a mask of {mask.dtype}, wanted booleans")
            device = next((p.device for p in model.parameters()), mask.device)
            put_mask(neurons[layer], mask.to(device))


def _check_sizes(
    name: str, given: Any, wide: dict[str, int], implied: dict[str, int], path: Path
) -> None:
    """The sizes of one module: no larger than the unpruned one's, and those of its tensors."""
    if not isinstance(given, dict) or set(given) != set(wide):
        raise DataError(f"{path / STRUCTURE}: '{name}' has the sizes {', '.join(wide)}, no others")
    for attribute, size in given.items():
        sound = type(size) is int and 0 < size <= wide[attribute]
        if not sound or size != implied.get(attribute, size):
            raise DataError(f"{path / STRUCTURE}: '{name}.{attribute} = {size}' is not its size")


def _neurons(model: nn.Module) -> dict[str, dict[str, Any]]:
    """Class and plain settings (threshold, reset, time constant, ...) of every neuron layer."""
    return {
        name: {"class": type(module).__name__}
        | {
            key: value
            for key, value in sorted(vars(module).items())
            if isinstance(value, (bool, int, float, str, type(None)))
            and not (key.startswith("_") or key in _SIZES or key in _NO_SETTINGS)
        }
        for name, module in spiking_neurons(model).items()
    }


def _tensors(model: nn.Module) -> tuple[dict[str, Tensor], dict[str, list[str]]]:
    """Every tensor under its first name, and the other names of those that have several.

    The states of neurons are left out: they belong to a batch, not to the network.
    """
    neurons = spiking_neurons(model)
    parameters = {id(p) for p in model.parameters()}
    tensors, aliases = {}, {}
    for names, tensor in named_leaves(model):
        prefix, _, attribute = names[0].rpartition(".")
        persistent = attribute not in model.get_submodule(prefix)._non_persistent_buffers_set
        state = prefix in neurons and not persistent and id(tensor) not in parameters
        if attribute == GATE or state:
            continue
        tensors[names[0]] = tensor.detach().cpu().contiguous()
        if len(names) > 1:
            aliases[names[0]] = list(names[1:])
    return {name: _own(tensor) for name, tensor in tensors.items()}, aliases


def _own(tensor: Tensor) -> Tensor:
    """A tensor with memory of its own, as safetensors wants it."""
    whole = tensor.untyped_storage().nbytes() == tensor.numel() * tensor.element_size()
    return tensor if whole else tensor.clone()


def _all_sizes(model: nn.Module) -> dict[str, dict[str, int]]:
    sizes = {}
    for name, module in model.named_modules():
        own = {
            a: getattr(module, a) for a in sorted(_SIZES) if type(getattr(module, a, None)) is int
        }
        if own:
            sizes[name] = own
    return sizes
