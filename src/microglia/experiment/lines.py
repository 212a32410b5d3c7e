"""JSON lines in a file that a kill may cut short."""

from __future__ import annotations

import json
import warnings
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from filelock import FileLock

from microglia.errors import DataError


def read_lines(path: Path) -> list[Any]:
    """The values of all lines but a last one that was cut short; none where there is no file.

    Raises:
        DataError: another line is no JSON.
    """
    if not path.is_file():
        return []
    content, values = path.read_bytes(), []  # read once: another process may append meanwhile
    for number, line in enumerate(content[: _whole(content)].splitlines(), 1):
        try:
            values.append(json.loads(line))
        except ValueError as error:
            raise DataError(
                f"{path}: line {number} is not JSON. Take that line out, and what it told of is "
                "done again; or name another file."
            ) from error
    return values


def warn_if_cut(path: Path) -> None:
    """Say so where the last line is cut short, and therefore left out."""
    content = path.read_bytes() if path.is_file() else b""
    if _whole(content) < len(content):
        warnings.warn(
            f"{path}: the last line is cut short, as by a kill, and is left out.", stacklevel=2
        )


def append_line(path: Path, value: Mapping[str, Any]) -> None:
    """Append one line, in the place of one that was cut short; one process at a time.

    Raises:
        OSError: the file can't be written.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    with FileLock(path.with_name(f".{path.name}.lock")), path.open("ab") as file:
        file.truncate(_whole(path.read_bytes()))
        if file.tell() and not path.read_bytes().endswith(b"\n"):
            file.write(b"\n")
        file.write(json.dumps(value).encode() + b"\n")


def _whole(content: bytes) -> int:
    """Bytes up to the end of the last line that is whole: it may lack its end of line."""
    start = content.rfind(b"\n") + 1
    try:
        json.loads(content[start:])
    except ValueError:
        return start
    return len(content)
