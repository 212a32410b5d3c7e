"""The tables of networks that learnt, and of one network for all tasks against one for each."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from microglia.experiment.job import Record
from microglia.experiment.lnp_bars import OWN, Metric, by_seed
from microglia.experiment.lnp_paper import LNP, NEURONS, without
from microglia.experiment.statistics import mean_and_spread, paired_difference

SCORES: dict[str, tuple[Metric, float, int]] = {
    "digits, %": (("digits", "accuracy"), 100, 1),
    "NATOPS, %": (("natops", "accuracy"), 100, 1),
    "JapaneseVowels, %": (("japanese-vowels", "accuracy"), 100, 1),
    "PenDigits, %": (("pen-digits", "accuracy"), 100, 1),
    "CIFAR-10 (JPEG q75), %": (("cifar10", "accuracy"), 100, 1),
    "Lorenz, 10⁻³": (("lorenz", "nrmse"), 1000, 2),
    "Lorenz x, 10⁻³": (("lorenz-x", "nrmse"), 1000, 2),
    "Rössler x, 10⁻³": (("rossler", "nrmse"), 1000, 2),
    "Mackey-Glass, 10⁻³": (("mackey-glass", "nrmse"), 1000, 1),
    "wind, 6 h": (("wind", "nrmse_h6"), 1, 3),
    "ETTh1, 24 h": (("etth1", "nrmse_h24"), 1, 3),
    "exchange, 24 days": (("exchange", "nrmse_h24"), 1, 3),
    "Google, 5 days": (("google", "nrmse_h5"), 1, 3),
}
"""Task, as a table calls it -> metric, scale and digits. Accuracies rise, errors fall."""

ONE = "I+II"
"""The label of the network that was pruned with no task in sight."""


def one_for_all(records: Sequence[Record], each: Sequence[Record]) -> str:
    """A row for each task; nothing where no network was pruned for a task."""
    labels = list(dict.fromkeys(r["label"] for r in each))
    if not labels:
        return ""
    experiment = without(*NEURONS[1])
    lines = [
        "### One network for all tasks, against one for each",
        "",
        f"{experiment.capitalize()}. The network of noise pruning (steps I and II) was pruned with "
        "no task in sight; the others for each task anew, by which neurons fire least in its "
        "training part. Own gain; mean ± standard deviation, and the paired difference one − each "
        "with its 95 % interval.",
        "",
        "| task | one network | " + " | ".join(f"{x} | one − each" for x in labels) + " | seeds |",
        "|" + "---|" * (3 + 2 * len(labels)),
    ]
    for task, (metric, scale, digits) in SCORES.items():
        one = by_seed(records, (experiment, ONE), metric, OWN)
        rivals = [by_seed(each, (experiment, label), metric, OWN) for label in labels]
        if not one or not any(rivals):
            continue
        cells = [_mean(one, scale, digits)]
        for rival in rivals:
            cells += [_mean(rival, scale, digits), _difference(one, rival, scale, digits)]
        lines.append(f"| {task} | " + " | ".join(cells) + f" | {len(one)} |")
    return "\n".join(lines) + "\n"


def trained_tables(records: Sequence[Record]) -> str:
    """A table for each task; below each network's row the noise-pruned network's difference."""
    return "\n".join(
        _trained(experiment, [r for r in records if r["experiment"] == experiment])
        for experiment in dict.fromkeys(r["experiment"] for r in records)
    )


def _trained(experiment: str, records: Sequence[Record]) -> str:
    task = records[0]["config"]["task"]
    scores = {name: of for name, of in SCORES.items() if of[0][0] == task}
    columns: dict[str, tuple[Metric, float, int]] = {
        **scores,
        **({"logistic, %": ((task, "logistic"), 100, 1)} if task != "lorenz" else {}),
        **({"valid Lyapunov times": ((task, "vpt"), 1, 2)} if task == "lorenz" else {}),
        "rate, Hz": ((task, "rate"), 1, 1),
        "SynOps a step": ((task, "synops"), 1, 0),
    }
    lines = [
        f"### {experiment.capitalize()}",
        "",
        "Mean ± standard deviation; LNP − this: paired difference with its 95 % interval.",
        "",
        "| | " + " | ".join(columns) + " | neurons | synapses | readout | s of learning | seeds |",
        "|" + "---|" * (len(columns) + 6),
    ]
    for label in dict.fromkeys(r["label"] for r in records):
        mine = [r for r in records if r["label"] == label]
        cells, differences = [], []
        for (_, name), scale, digits in columns.values():
            values, lnp = _values(records, label, name), _values(records, LNP, name)
            cells.append(_mean(values, scale, digits))
            differences.append(_difference(lnp, values, scale, digits))
        network = mine[0]["network"]
        seconds = mean_and_spread([r["training"] for r in mine], digits=0)
        cells += [f"{network['neurons']}", f"{network['synapses']}"]
        cells += [f"{mine[0]['figures']['readout']:.0f}", seconds, f"{len(mine)}"]
        lines.append(f"| {label} | " + " | ".join(cells) + " |")
        if label != LNP:
            lines.append("| LNP − this | " + " | ".join(differences) + " | | | | | |")
    return "\n".join(lines) + "\n"


def _values(records: Sequence[Record], label: str, name: str) -> dict[int, float]:
    return {r["seed"]: r["figures"][name] for r in records if r["label"] == label}


def _mean(values: Mapping[int, float], scale: float, digits: int) -> str:
    return mean_and_spread(list(values.values()), scale=scale, digits=digits) if values else "–"


def _difference(a: Mapping[int, float], b: Mapping[int, float], scale: float, digits: int) -> str:
    found = paired_difference(a, b)
    return found.text(scale=scale, digits=digits) if found else "–"
