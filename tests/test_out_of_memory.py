"""Wherever memory runs out, the error says which setting to lower."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn

import microglia as mg
from microglia.data import Batches, Images, load_splits, splits
from microglia.data.cache import cached
from microglia.errors import TrainingError
from microglia.metrics import measure, measure_latency, measure_peak_memory
from microglia.networks import build

ERRORS = [
    torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB"),
    RuntimeError("DefaultCPUAllocator: can't allocate memory: you tried to allocate 9 bytes"),
    MemoryError("Unable to allocate 9 GiB for an array"),
]


def network() -> nn.Module:
    return build("digits", classes=10, channels=1, width=0.25, T=1).eval()


def calibrating(fail: Callable[..., Any]) -> None:
    x = torch.rand(2, 1, 8, 8)
    mg.Activity(network(), sparsity=0.5, example_input=x).calibrate([x], forward=fail)


def measuring(fail: Callable[..., Any]) -> None:
    measure(network(), [(torch.rand(2, 1, 8, 8), torch.zeros(2))], forward=fail)


def timing(fail: Callable[..., Any]) -> None:
    measure_latency(network(), torch.rand(2, 1, 8, 8), forward=fail)


def peaking(fail: Callable[..., Any]) -> None:
    measure_peak_memory(network(), torch.rand(2, 1, 8, 8), forward=fail)


def decoding(fail: Callable[..., Any]) -> None:
    cached("never", key={}, make=fail)


def splitting(fail: Callable[..., Any]) -> None:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(splits, "load_images", fail)
        load_splits("digits")


def moving(fail: Callable[..., Any]) -> None:
    images = Images(
        torch.zeros(2, 1, 4, 4, dtype=torch.uint8), torch.arange(2), ("a", "b"), (0.0,), (1.0,)
    )
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Tensor, "to", fail)
        Batches(images, batch_size=2)


PLACES = {
    calibrating: "calibrating on batch 0.*data.batch_size",
    measuring: "measuring batch 0.*data.batch_size",
    timing: "taking the time.*output.latency_batch",
    peaking: "measuring peak memory.*output.latency_batch",
    decoding: "decoding 'never'.*data.train_rows.*data.size.*network.T",
    splitting: "loading digits.*data.train_rows",
    moving: "moving the images to 'cpu'.*data.train_rows",
}


@pytest.mark.parametrize("error", ERRORS, ids=["CUDA", "PyTorch", "NumPy"])
@pytest.mark.parametrize("place", PLACES)
def test_it_says_what_to_lower(
    place: Callable[[Callable[..., Any]], None],
    error: Exception,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def fail(*_: Any, **__: Any) -> Any:
        raise error

    monkeypatch.setenv("MICROGLIA_CACHE", str(tmp_path))
    with pytest.raises(TrainingError, match=f"Out of memory {PLACES[place]}"):
        place(fail)


@pytest.mark.parametrize("place", [calibrating, measuring, timing, peaking, decoding, splitting])
def test_other_errors_stay_what_they_are(place: Callable[[Callable[..., Any]], None]) -> None:
    def fail(*_: Any, **__: Any) -> Any:
        raise RuntimeError("mat1 and mat2 shapes cannot be multiplied")

    with pytest.raises(RuntimeError, match="mat1 and mat2"):
        place(fail)
