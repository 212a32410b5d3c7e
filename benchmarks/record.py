"""What every benchmark writes beside its figures: where, when and from which commit they come."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import torch

from microglia.experiment.provenance import provenance


def about(device: str = "cpu") -> dict[str, Any]:
    """Commit, date, versions, and what times depend on: processor, threads, other load."""
    info = Path("/proc/cpuinfo")
    lines = info.read_text().splitlines() if info.exists() else []
    fields = {k.strip(): v.strip() for k, _, v in (line.partition(":") for line in lines)}
    wide = [f for f in fields.get("flags", "").split() if f.startswith(("avx", "amx", "fma"))]
    record = provenance(torch.device(device))
    record["machine"] |= {
        "processor": fields.get("model name"),
        "flags": " ".join(wide),
    }
    return record


def write(path: Path | None, benchmark: str, where: dict[str, Any], **figures: Any) -> None:
    """Write one record, if a path was given."""
    if path is not None:
        record = {"benchmark": benchmark, **where, **figures}
        path.write_text(json.dumps(record, indent=1) + "\n", encoding="utf-8")
