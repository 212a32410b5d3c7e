"""Which checkpoint to go on from."""

from __future__ import annotations

import warnings
import zipfile
from pathlib import Path

import torch

from microglia.errors import TrainingError

LATEST, BEFORE, DAMAGED = "checkpoint.ckpt", "checkpoint-before.ckpt", "checkpoint-damaged.ckpt"


def has_checkpoint(folder: str | Path) -> bool:
    """Whether there is something to resume from."""
    return any((Path(folder) / name).is_file() for name in (LATEST, BEFORE))


def find_checkpoint(folder: Path) -> Path:
    """The latest checkpoint that is whole; a damaged one is named in a warning and set aside.

    Raises:
        TrainingError: there is none.
    """
    there = [path for path in (folder / LATEST, folder / BEFORE) if path.is_file()]
    for path in there:
        if _is_whole(path):
            return path
        warnings.warn(
            f"{path} is damaged"
            + ("; going on from the one before it." if path != there[-1] else "."),
            stacklevel=2,
        )
        path.replace(folder / DAMAGED)  # or the next one would push the whole one out
    if there:
        raise TrainingError(
            f"Nothing to resume: every checkpoint in {folder} is damaged, and set aside. The same "
            "command once more trains anew (in Python: without resume)."
        )
    raise TrainingError(f"Nothing to resume: {folder} holds no {LATEST}. Start without resume.")


def _is_whole(path: Path) -> bool:
    """Whether every part of the archive has the check sum that it was written with, and it loads.

    Damage in the archive's own lists may raise anything.
    """
    try:
        with zipfile.ZipFile(path) as archive:
            if archive.testzip() is not None:
                return False
        torch.load(path, map_location="cpu", weights_only=True)
    except Exception:
        return False
    return True


def of_another_training(difference: str) -> str:
    """What to say of a checkpoint that doesn't fit."""
    return (
        f"Can't resume: the checkpoint is of another network, optimizer or config ({difference}). "
        "Build everything as it was for the first run, or start again in another folder."
    )
