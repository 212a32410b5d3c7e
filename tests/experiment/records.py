"""Records of results files, made by hand."""

from __future__ import annotations

from typing import Any

from microglia.experiment import RunConfig

HOSTILE = "b</script><script>alert('x')</script>"


def record(label: str, sparsity: float, seed: int, accuracy: float, **more: Any) -> dict[str, Any]:
    """A job's, of a network with two layers of eight channels."""
    kept = round(8 * (1 - sparsity))
    pruned = label != "dense"
    method = {"SCA": "sca", "prune-only": "sca"}.get(label, label)
    pruning = {"method": "sca", "sparsity": sparsity}
    config = RunConfig.from_table(
        {"network": {"name": "digits"}, "data": {"source": "digits"}, "pruning": pruning}
    )
    return {
        "name": f"data-net/{label}-{sparsity:g}-seed{seed}",
        "experiment": "data-net",
        "label": label,
        "method": method,
        "sparsity": sparsity,
        "seed": seed,
        "date": "2026-01-01",
        "commit": "0",
        "versions": {"microglia": "0.1.0"},
        "config": config.to_dict(),
        "figures": {
            "accuracy": accuracy,
            "parameters": 1000 * (1 - sparsity),
            "synapses": 5000 * (1 - sparsity),
            "synops_once": 900 * (1 - sparsity),
            "energy_nj_once": 9 * (1 - sparsity),
            "latency_ratio": 1 - sparsity / 2,
            "neurons": 100,
            "dead_neurons": 10 * sparsity,
            "saturated_neurons": 1,
        },
        "kept": {"a": [kept, 8], HOSTILE: [kept, 8]} if pruned else {},
        "scores": {"a": [0.3, 0.1], HOSTILE: [0.2, 0.4]} if pruned else {},
        "epochs": [
            {
                "kept": {"a": 8, HOSTILE: kept} if pruned else None,
                "loss": 2.0 - i,
                "validation": 0.5,
            }
            for i in range(2)
        ],
        "changes": [{"pruned": 16 - 2 * kept, "regrown": 0}] if pruned else [],
        "activity": [
            {
                "name": name,
                "neurons": 50,
                "firing_rate": 0.1 + seed / 100,
                "dead": 1,
                "saturated": 0,
            }
            for name in ("a", HOSTILE)
        ],
        **more,
    }


RECORDS = [
    record("dense", 0.0, 0, 0.8),
    record("dense", 0.0, 1, 0.6),
    record("SCA", 0.5, 0, 0.7),
    record("SCA", 0.5, 1, 0.5),
    record("SCA", 0.75, 0, 0.4),
    record("prune-only", 0.5, 0, 0.3),
    record("uniform-slim", 0.5, 0, 0.35),
]
