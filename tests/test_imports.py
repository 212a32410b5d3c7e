"""Rooms import only what stands left of them, and the core stands on four packages."""

from __future__ import annotations

import ast
import inspect
import os
import subprocess
import sys
from collections.abc import Iterator
from importlib import import_module
from pathlib import Path
from types import ModuleType

import pytest

import microglia as mg

SOURCE = Path(mg.__file__).parent
ORDER = [
    {"errors"},
    {"frameworks"},
    {"simulation"},
    {"structure"},
    {"gates"},
    {"surgery"},
    {"lyapunov"},
    {"methods"},
    {"networks", "data", "runtime"},
    {"training"},
    {"metrics"},
    {"tasks"},
    {"exchange", "report"},
    {"experiment"},
    {"cli"},
]
PLACE = {room: i for i, rooms in enumerate(ORDER) for room in rooms}
# These measure, build and load networks of anybody's, pruned or not.
ALONE = {"lyapunov", "networks", "data", "metrics", "runtime"}
CORE = {"", "errors", "frameworks", "simulation", "structure", "gates", "surgery", "methods"}
CORE |= {"metrics"}
STANDS_ON = {"torch", "numpy", "scipy", "safetensors"}

FILES = sorted(SOURCE.rglob("*.py"))


def room_of(path: Path) -> str:
    first = path.relative_to(SOURCE).parts[0]
    return "" if first == "__init__.py" else first.removesuffix(".py")


def imports(path: Path) -> Iterator[tuple[str, int]]:
    """Every module that a file imports anywhere, with the line."""
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            yield from ((alias.name, node.lineno) for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}:{node.lineno}: say the whole name"
            if node.module == "microglia":
                yield from ((f"microglia.{alias.name}", node.lineno) for alias in node.names)
            elif node.module:
                yield node.module, node.lineno


def test_every_room_has_a_place() -> None:
    rooms = {room_of(p) for p in FILES if room_of(p)}
    assert rooms <= set(PLACE), f"no place in the order: {rooms - set(PLACE)}"


@pytest.mark.parametrize("path", FILES, ids=lambda p: str(p.relative_to(SOURCE)))
def test_imports_never_go_left(path: Path) -> None:
    room = room_of(path)
    if not room:
        return
    for name, line in imports(path):
        parts = name.split(".")
        if parts[0] != "microglia" or len(parts) == 1 or parts[1] not in PLACE:
            continue
        other = parts[1]
        where = f"{path.relative_to(SOURCE)}:{line} imports {name}"
        assert other == room or PLACE[other] < PLACE[room], where
        if room in ALONE:
            assert other in {room, "errors", "frameworks", "simulation"}, where


@pytest.mark.parametrize("path", FILES, ids=lambda p: str(p.relative_to(SOURCE)))
def test_the_core_stands_on_four_packages(path: Path) -> None:
    """But for the files that are named after the one framework or compiler that they know."""
    room = room_of(path)
    if room not in CORE:
        return
    for name, line in imports(path):
        top = name.split(".")[0]
        if top in sys.stdlib_module_names or top in STANDS_ON or top == "microglia":
            continue
        assert room in {"frameworks", "simulation"}, f"{path}:{line} imports {name}"
        assert path.stem == top, f"{path}:{line} imports {name}"


def test_public_names_are_there_and_none_is_a_module_too() -> None:
    assert len(set(mg.__all__)) == len(mg.__all__)
    for name in mg.__all__:
        assert not isinstance(getattr(mg, name), ModuleType), name
    functions = {n for n in mg.__all__ if inspect.isfunction(getattr(mg, n))}
    assert not functions & (set(PLACE) | {p.stem for p in FILES if p.parent == SOURCE})


@pytest.mark.parametrize("room", sorted(set(PLACE) - {"cli", "experiment", "training", "data"}))
def test_every_room_says_what_it_holds(room: str) -> None:
    try:
        module = import_module(f"microglia.{room}")
    except ImportError:
        assert not any(room_of(p) == room for p in FILES), f"{room} can't be imported"
        return
    for name in getattr(module, "__all__", []):
        assert hasattr(module, name), f"microglia.{room}.{name}"


ALONE_SCRIPT = """
import importlib.abc
import importlib.machinery
import sys

EXTRAS = set("spikingjelly snntorch norse nir lightning torchmetrics typer rich sklearn".split())
EXTRAS |= set("pyarrow PIL datasets plotly torchvision numba networkit".split())


class Refuse(importlib.abc.MetaPathFinder, importlib.abc.Loader):
    def find_spec(self, name, path=None, target=None):
        # torch only looks whether some of these are there; importing them is what must not happen.
        return importlib.machinery.ModuleSpec(name, self) if name.split(".")[0] in EXTRAS else None

    def create_module(self, spec):
        raise ModuleNotFoundError(f"{spec.name} is not in the core", name=spec.name)


sys.meta_path.insert(0, Refuse())

import torch
from torch import nn

import microglia as mg

torch.set_num_threads(1)


class LIF(nn.Module):
    def __init__(self):
        super().__init__()
        self.h = self.v = None

    def reset(self):
        self.h = self.v = None

    def forward(self, x):
        self.h = x if self.v is None else 0.7 * self.v + x
        soft = torch.sigmoid(4 * (self.h - 1))
        spikes = (self.h >= 1).to(x) + (soft - soft.detach())
        self.v = self.h * (1 - spikes.detach())
        return spikes


mg.register_neuron(LIF, membrane="h")


class Net(nn.Module):
    def __init__(self):
        super().__init__()
        self.conv1, self.bn1, self.n1 = nn.Conv2d(1, 8, 3), nn.BatchNorm2d(8), LIF()
        self.conv2, self.bn2, self.n2 = nn.Conv2d(8, 12, 3), nn.BatchNorm2d(12), LIF()
        self.fc = nn.Linear(12 * 16, 3)

    def forward(self, x):
        y = 0
        for _ in range(3):
            z = self.n2(self.bn2(self.conv2(self.n1(self.bn1(self.conv1(x))))))
            y = y + self.fc(z.flatten(1))
        return y


torch.manual_seed(0)
model, x, labels = Net(), torch.rand(6, 1, 8, 8) * 3, torch.tensor([0, 1, 2, 0, 1, 2])
optimizer = torch.optim.AdamW(model.parameters(), 1e-2)
pruner = mg.SCA(model, sparsity=0.5, example_input=x[:2], optimizer=optimizer, every=2)
for _ in range(6):
    mg.reset(model)
    loss = nn.functional.cross_entropy(model(x), labels) + pruner.penalty()
    optimizer.zero_grad()
    loss.backward()
    optimizer.step()
    pruner.step()
small = pruner.compact()
assert small.certificate.spikes > 0
assert sum(pruner.kept().values()) == 10
mg.save(small, sys.argv[1])
loaded = mg.load(sys.argv[1], model=Net())
mg.reset(small.model)
assert torch.equal(loaded(x), small.model.eval()(x))
for name, cls in mg.METHODS.items():
    if cls.needs != "training" and not cls.recurrent_only:
        other = cls(Net(), sparsity=0.5, example_input=x[:2])
        if cls.needs == "trained":
            other.calibrate([x])
        other.compact()
"""


def test_the_core_alone_prunes_a_plain_network(tmp_path: Path) -> None:
    """In a process where nothing else can be imported."""
    script = tmp_path / "alone.py"
    script.write_text(ALONE_SCRIPT)
    done = subprocess.run(
        [sys.executable, script, tmp_path / "net"],
        capture_output=True,
        text=True,
        env={**os.environ, "PYTHONPATH": str(SOURCE.parent)},
        check=False,
    )
    assert done.returncode == 0, done.stderr
