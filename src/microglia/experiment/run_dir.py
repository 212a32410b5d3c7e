"""A directory that appears whole or not at all."""

from __future__ import annotations

import errno
import secrets
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from microglia.errors import ConfigError, DataError
from microglia.surgery.files import put_in_place

CONFIG, TABLE = "config.toml", "table.json"

_UNWRITABLE = (errno.ENOSPC, errno.EDQUOT, errno.EROFS, errno.EACCES)


@contextmanager
def run_directory(path: Path, *, overwrite: bool) -> Iterator[Path]:
    """A hidden sibling of `path` to work in, which takes its place when the block ends well.

    If the block fails, nothing is left, and a directory that was at `path` is as it was.

    Raises:
        ConfigError: `path` exists and may not be replaced. Only an empty directory or an earlier
            run ever is.
        DataError: the disk is full, or the place cannot be written.
    """
    _refuse_to_lose(path, overwrite=overwrite)
    work = path.with_name(f".{path.name}-{secrets.token_hex(4)}")
    try:
        work.mkdir(parents=True)
    except OSError as error:
        raise _cannot_write(path, error) from error
    try:
        yield work
        put_in_place(work, path)
    except OSError as error:
        if error.errno not in _UNWRITABLE:
            raise
        raise _cannot_write(path, error) from error
    finally:
        shutil.rmtree(work, ignore_errors=True)


def _refuse_to_lose(path: Path, *, overwrite: bool) -> None:
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


def _cannot_write(path: Path, error: OSError) -> DataError:
    reason = "the disk is full" if error.errno == errno.ENOSPC else str(error.strerror)
    return DataError(
        f"output.directory: '{path}' could not be written: {reason}. Nothing was left behind; make "
        f"room, or name another folder."
    )
