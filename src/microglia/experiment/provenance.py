"""Where a result comes from: machine, versions, commit."""

from __future__ import annotations

import os
import platform
import subprocess
from datetime import UTC, datetime
from importlib.metadata import PackageNotFoundError, version
from typing import Any

import torch


def provenance(device: torch.device) -> dict[str, Any]:
    """What a reader must know to judge or repeat a measurement made here and now."""
    return {
        "date": datetime.now(UTC).isoformat(timespec="seconds"),
        "machine": _machine(device),
        "python": platform.python_version(),
        "versions": {
            "microglia": _version("microglia"),
            # With its build, such as +cpu or +cu126.
            "torch": torch.__version__,
            "spikingjelly": _version("spikingjelly"),
        },
        "commit": _commit(),
    }


def busy(record: dict[str, Any]) -> str | None:
    """What to say of times that were taken while more ran than the machine has cores for."""
    load, cores = record["machine"].get("load"), record["machine"]["cores"]
    if load is None or load < cores + 0.5:
        return None
    return (
        f"Other work was running: a load of {load:.1f} on {cores} cores. Latencies say little; "
        "measure again on a quiet machine."
    )


def describe(record: dict[str, Any]) -> list[tuple[str, str]]:
    """The record as headings and text."""
    machine = record["machine"]
    cores = f"{machine['cores']} cores ({machine['architecture']}, {machine['cpu']})"
    versions = ", ".join(f"{name} {v}" for name, v in record["versions"].items() if v)
    load = machine.get("load")
    loaded = "" if load is None else f", load {load:.1f}"
    return [
        ("machine", f"{machine['device']}; {cores}, {machine['threads']} threads{loaded}"),
        ("software", f"Python {record['python']}, {versions}"),
        ("commit", record["commit"] or "not in a Git repository"),
        ("date", record["date"]),
    ]


def _machine(device: torch.device) -> dict[str, Any]:
    name = torch.cuda.get_device_name(device) if device.type == "cuda" else device.type
    return {
        "device": name,
        "cores": os.cpu_count(),
        "threads": torch.get_num_threads(),
        # Of the last minute, with this process's own threads.
        "load": round(os.getloadavg()[0], 1) if hasattr(os, "getloadavg") else None,
        "architecture": platform.machine(),
        # The widest vector instructions that PyTorch uses here decide the speed.
        "cpu": torch.backends.cpu.get_cpu_capability(),
    }


def _version(package: str) -> str | None:
    try:
        return version(package)
    except PackageNotFoundError:
        return None


def _commit() -> str | None:
    """The commit of the working directory, with `-dirty` where files differ from it."""
    try:
        described = subprocess.run(
            ["git", "describe", "--always", "--dirty", "--abbrev=40", "--exclude=*"],
            capture_output=True,
            text=True,
            timeout=10,
            check=True,
        )
    except (OSError, subprocess.SubprocessError):
        return None
    return described.stdout.strip() or None
