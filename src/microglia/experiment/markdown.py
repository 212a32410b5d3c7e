"""The tables of a results file, as Markdown."""

from __future__ import annotations

import statistics
from collections.abc import Iterable, Mapping, Sequence

from microglia.experiment.config import CONTROLS, DENSE
from microglia.experiment.job import Record
from microglia.experiment.statistics import mean_and_spread, paired_difference

RATIOS = {
    "parameters": "parameters",
    "synapses": "synapses",
    "macs_once": "MACs",
    "synops_once": "SynOps",
    "latency_ratio": "latency",
}
COMPARED = (*CONTROLS, "prune-only")


def tables(records: Iterable[Record]) -> str:
    """For each experiment: every network's figures, and how far SCA is from its controls.

    Where nothing was pruned in any of them, a line an experiment.
    """
    records = list(records)
    if all(r["label"] == DENSE for r in records):
        return _dense(records)
    parts = []
    for experiment in dict.fromkeys(r["experiment"] for r in records):
        mine = [r for r in records if r["experiment"] == experiment]
        parts.append(f"### {experiment}\n\n{_figures(mine)}")
        if comparison := _differences(mine):
            parts.append(comparison)
    return "\n\n".join(parts) + "\n"


def _figures(records: Sequence[Record]) -> str:
    dense = {r["seed"]: r["figures"] for r in records if r["label"] == DENSE}
    lines = [
        "| | channels taken away | test accuracy, % | "
        + " | ".join(RATIOS.values())
        + " | seeds |",
        "|---|---|---|" + "---|" * len(RATIOS) + "---|",
    ]
    for (label, _), some in _by_network(records).items():
        taken = statistics.fmean(taken_away(r) for r in some.values())
        accuracy = mean_and_spread([r["figures"]["accuracy"] for r in some.values()], scale=100)
        ratios = [_ratio(some, dense, key) for key in RATIOS]
        lines.append(f"| {label} | {taken:.2f} | {accuracy} | {' | '.join(ratios)} | {len(some)} |")
    return "\n".join(lines)


def _dense(records: Sequence[Record]) -> str:
    """Experiments against the first of them, seed by seed."""
    by_experiment: dict[str, dict[int, float]] = {}
    for r in records:
        by_experiment.setdefault(r["experiment"], {})[r["seed"]] = r["figures"]["accuracy"]
    lines = ["| | test accuracy, % | points over the first, paired 95 % interval | seeds |"]
    lines.append("|---|---|---|---|")
    for name, accuracies in by_experiment.items():
        first = next(iter(by_experiment.values()))
        difference = paired_difference(accuracies, first) if accuracies is not first else None
        more = difference.text(scale=100) if difference else "–"
        mean = mean_and_spread(list(accuracies.values()), scale=100)
        lines.append(f"| {name} | {mean} | {more} | {len(accuracies)} |")
    return "\n".join(lines) + "\n"


def _ratio(some: Mapping[int, Record], dense: Mapping[int, Mapping[str, float]], key: str) -> str:
    """The mean over seeds of a figure, relative to the dense network of the same seed."""
    if key == "latency_ratio":
        values = [r["figures"][key] for r in some.values()]
    else:
        values = [r["figures"][key] / dense[seed][key] for seed, r in some.items() if seed in dense]
    return f"×{statistics.fmean(values):.2f}" if values else "–"


def taken_away(record: Record) -> float:
    """The fraction of its channels that a network lacks."""
    if "taken_away" in record:
        return float(record["taken_away"])
    kept = record["kept"].values()
    return 1 - sum(k for k, _ in kept) / sum(size for _, size in kept) if kept else 0.0


def _differences(records: Sequence[Record]) -> str:
    by_network = _by_network(records)
    dense = {r["seed"]: r["figures"] for r in records if r["label"] == DENSE}
    lines = []
    for (label, sparsity), some in by_network.items():
        if label != "SCA":
            continue
        for control in COMPARED:
            other = by_network.get((control, sparsity), {})
            difference = paired_difference(_accuracies(some), _accuracies(other))
            if difference is not None:
                text = difference.text(scale=100)
                sizes = " and ".join(_ratio(x, dense, "parameters") for x in (some, other))
                lines.append(
                    f"| SCA at {sparsity:g} − {control} | {sizes} | {text} | {difference.count} |"
                )
    if not lines:
        return ""
    head = "| | parameters of the two | points of accuracy, paired 95 % interval | seeds |"
    return "\n".join([head, "|---|---|---|---|", *lines])


def _by_network(records: Iterable[Record]) -> dict[tuple[str, float], dict[int, Record]]:
    """(label, sparsity) -> seed -> record."""
    found: dict[tuple[str, float], dict[int, Record]] = {}
    for record in records:
        found.setdefault((record["label"], record["sparsity"]), {})[record["seed"]] = record
    return dict(sorted(found.items(), key=lambda item: item[0][1]))


def _accuracies(records: Mapping[int, Record]) -> dict[int, float]:
    return {seed: r["figures"]["accuracy"] for seed, r in records.items()}
