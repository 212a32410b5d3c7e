"""What every test stands on: one thread, no stray state, and two sizes of run."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
import torch


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--full", action="store_true", help="also run what is marked `full`")


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    if config.getoption("--full"):
        return
    sampled = [item for item in items if not item.get_closest_marker("full")]
    config.hook.pytest_deselected(items=[item for item in items if item not in set(sampled)])
    items[:] = sampled


@pytest.fixture(autouse=True, scope="session")
def _one_thread() -> None:
    """Sums are taken in one order, so that what is equal once is equal always."""
    torch.set_num_threads(1)


@pytest.fixture(autouse=True)
def _seeded() -> None:
    torch.manual_seed(0)


@pytest.fixture(scope="session")
def data_folder() -> Path:
    """The folder of real data that MICROGLIA_DATA names."""
    folder = os.environ.get("MICROGLIA_DATA")
    if not folder or not Path(folder).is_dir():
        pytest.skip("MICROGLIA_DATA names no folder of real data")
    return Path(folder)
