"""A directory that appears whole or not at all; until then a hidden one that outlives a kill."""

from __future__ import annotations

import errno
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from filelock import FileLock, Timeout

from microglia.errors import ConfigError, DataError
from microglia.experiment.config import RunConfig
from microglia.surgery.files import put_in_place
from microglia.training import has_checkpoint

CONFIG, TABLE, LOCK = "config.toml", "table.json", ".lock"

_UNWRITABLE = (errno.ENOSPC, errno.EDQUOT, errno.EROFS, errno.EACCES)


def unfinished(path: Path) -> Path:
    """Where a run works until it may stand at `path`."""
    return path.parent / f".{path.name}.unfinished"


@contextmanager
def run_directory(config: RunConfig, *, resume: bool = False) -> Iterator[Path]:
    """A hidden sibling of the run's directory, which takes its place when the block ends well.

    If the block fails, or the process is killed, a directory that was there is as it was. The
    hidden one stays if it holds a checkpoint, for `resume` to go on from; else nothing is left.

    Raises:
        ConfigError: the directory exists and may not be replaced (only an empty one or an earlier
            run ever is); an unfinished run lies there, of another config, or not to be resumed; or
            another process is at it.
        DataError: the disk is full, or the place cannot be written.
    """
    path, overwrite = Path(config.output.directory), config.output.overwrite
    refuse_to_lose(path, overwrite=overwrite)
    work = unfinished(path)
    try:
        work.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise cannot_write(path, error) from error
    with working_alone(work, f"output.directory: '{path}'"):
        try:
            _begin(config, work, resume=resume, overwrite=overwrite)
            yield work
            refuse_to_lose(path, overwrite=overwrite)  # somebody may have made it meanwhile
            put_in_place(work, path)
            (path / LOCK).unlink(missing_ok=True)
        except OSError as error:
            if error.errno not in _UNWRITABLE:
                raise
            raise cannot_write(path, error) from error
        finally:
            if not _worth_keeping(work):
                shutil.rmtree(work, ignore_errors=True)


@contextmanager
def working_alone(work: Path, name: str) -> Iterator[None]:
    """Hold a folder's lock.

    Raises:
        ConfigError: another process holds it.
    """
    lock = FileLock(work / LOCK)
    try:
        lock.acquire(timeout=0)
    except Timeout:
        raise ConfigError(
            f"{name}: another process is working there. Wait for it, or name another folder."
        ) from None
    try:
        yield
    finally:
        lock.release()


def _begin(config: RunConfig, work: Path, *, resume: bool, overwrite: bool) -> None:
    """Refuse to mix two experiments, and write down which one this is."""
    if _worth_keeping(work) and resume:
        hold_config(config, work, remedy="start again with --overwrite")
        for scratch in work.rglob(".compact-*"):  # a kill while a network was saved
            shutil.rmtree(scratch, ignore_errors=True)
        return
    if _worth_keeping(work) and not overwrite:
        raise ConfigError(
            f"output.directory: an unfinished run lies in '{work}'. Go on with it (--resume), or "
            "start again (--overwrite)."
        )
    clear(work)
    hold_config(config, work, remedy="start again with --overwrite")


def clear(work: Path) -> None:
    """Take all out of a folder but its lock."""
    for entry in work.iterdir():
        if entry.name != LOCK:
            shutil.rmtree(entry) if entry.is_dir() else entry.unlink()


def hold_config(config: RunConfig, work: Path, *, remedy: str) -> None:
    """Write the config into a folder of checkpoints, or refuse one that they are not of; of one in
    which nothing was begun yet the new config takes the place of the old.

    Raises:
        ConfigError: the folder holds another config.
    """
    work.mkdir(parents=True, exist_ok=True)
    new = work / f"{CONFIG}.new"
    begun = {entry.name for entry in work.iterdir()} - {CONFIG, new.name, LOCK}
    if not begun or not (work / CONFIG).is_file():
        if _checkpoints(work):
            raise ConfigError(
                f"resume: '{work}' holds checkpoints and no {CONFIG} that says of what; {remedy}."
            )
        new.write_text(config.to_toml(), encoding="utf-8")
        new.replace(work / CONFIG)
    elif different := config.differs_from(RunConfig.from_file(work / CONFIG)):
        raise ConfigError(
            f"resume: what was begun in '{work}' had another config, in {', '.join(different)}. "
            f"Give the same, or {remedy}."
        )


def _worth_keeping(work: Path) -> bool:
    return (work / CONFIG).is_file() and _checkpoints(work)


def _checkpoints(work: Path) -> bool:
    folders = [work, *(p for p in work.glob("networks/*") if p.is_dir())]
    return any(has_checkpoint(folder) for folder in folders)


def refuse_to_lose(path: Path, *, overwrite: bool) -> None:
    if not path.name:
        raise ConfigError(f"output.directory: '{path}' is no place for a run; name a new folder.")
    if not path.exists():
        return
    if not path.is_dir():
        raise ConfigError(f"output.directory: '{path}' is a file; name a new folder.")
    if not overwrite:
        raise ConfigError(
            f"output.directory: '{path}' is there already. Name another, or set "
            f"output.overwrite = true (--overwrite)."
        )
    if any(path.iterdir()) and not (path / TABLE).is_file():
        raise ConfigError(
            f"output.directory: '{path}' holds files, but no run ({TABLE} is missing), and is not "
            f"overwritten. Name another folder."
        )


def cannot_write(path: Path, error: OSError) -> DataError:
    reason = "the disk is full" if error.errno == errno.ENOSPC else str(error.strerror)
    return DataError(
        f"output.directory: '{path}' could not be written: {reason}. Nothing half written was left "
        f"there; make room, or name another folder."
    )
