"""`structure.json`: what a saved network's file says of it, and the check sum of both its files."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path
from typing import Any

from microglia.errors import DataError
from microglia.surgery.certificate import Certificate

FORMAT = "microglia-1"
WEIGHTS, STRUCTURE = "weights.safetensors", "structure.json"

Record = dict[str, Any]


def write_record(folder: Path, record: Record) -> None:
    """Write the record beside the weights that lie in the folder already."""
    signed = {"format": FORMAT, **record}
    signed["sha256"] = _check_sum(signed, folder)
    (folder / STRUCTURE).write_text(json.dumps(signed, indent=1) + "\n")


def read_record(folder: Path) -> Record:
    """The record, once it is known that neither file has changed since it was written.

    Raises:
        DataError: a file is missing, damaged, or of another format.
    """
    try:
        record = json.loads((folder / STRUCTURE).read_text(encoding="utf-8"))
    except FileNotFoundError as error:
        raise DataError(f"{folder}: there is no saved network ({STRUCTURE} is missing)") from error
    except (OSError, ValueError, RecursionError) as error:
        raise DataError(f"{folder / STRUCTURE}: can't be read ({error})") from error
    if not isinstance(record, dict) or record.get("format") != FORMAT:
        raise DataError(f"{folder / STRUCTURE}: not a '{FORMAT}' file")
    try:
        expected = _check_sum(record, folder)
    except OSError as error:
        raise DataError(f"{folder / WEIGHTS}: can't be read ({error.strerror})") from error
    if record.get("sha256") != expected:
        raise DataError(
            f"{folder}: {WEIGHTS} or {STRUCTURE} is damaged or was edited, the check sum is "
            "another; save the network again, or fetch another copy"
        )
    return record


def groups_of(record: Record, folder: Path) -> dict[str, tuple[list[int], int]]:
    """Group -> the original ids of its channels that are left, and how many there were.

    Raises:
        DataError: the record says something that can't be.
    """
    groups = {}
    for name, group in mapping(record, "groups", folder).items():
        kept, original = _kept(group), _original(group)
        if kept is None or original is None or any(i >= original for i in kept):
            raise DataError(
                f"{folder / STRUCTURE}: group '{name}' wants ascending ids of kept channels, below "
                "the original number of channels"
            )
        groups[name] = (kept, original)
    return groups


def certificate_of(record: Record, folder: Path) -> Certificate | None:
    """The certificate that was saved, if there was one.

    Raises:
        DataError: it is none.
    """
    if record.get("certificate") is None:
        return None
    try:
        return Certificate.from_dict(mapping(record, "certificate", folder))
    except (TypeError, ValueError) as error:
        raise DataError(f"{folder / STRUCTURE}: 'certificate' is damaged ({error})") from error


def mapping(record: Record, key: str, folder: Path) -> dict[str, Any]:
    """A part of the record that must be a JSON object."""
    value = record.get(key)
    if not isinstance(value, dict):
        raise DataError(f"{folder / STRUCTURE}: '{key}' is missing or damaged")
    return value


def _kept(group: Any) -> list[int] | None:
    kept = group.get("kept") if isinstance(group, dict) else None
    if not isinstance(kept, list) or not all(type(i) is int and i >= 0 for i in kept):
        return None
    return kept if kept == sorted(set(kept)) else None


def _original(group: Any) -> int | None:
    original = group.get("original") if isinstance(group, dict) else None
    return original if type(original) is int else None


def _check_sum(record: Record, folder: Path) -> str:
    """SHA-256 over the weights' file and everything else in the record."""
    said = {key: value for key, value in record.items() if key != "sha256"}
    total = hashlib.sha256((folder / WEIGHTS).read_bytes())
    total.update(json.dumps(said, sort_keys=True).encode())
    return total.hexdigest()
