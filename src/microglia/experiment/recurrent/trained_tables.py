"""The tables of networks that learnt, and of one network for all tasks against one for each."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from microglia.experiment.job import Record
from microglia.experiment.recurrent.lnp_bars import OWN, by_seed
from microglia.experiment.recurrent.lnp_columns import (
    NOTHING,
    SCORES,
    Measure,
    difference_cell,
    mean_cell,
)
from microglia.experiment.recurrent.lnp_paper import (
    AFTER,
    AS_IT_WAS,
    LNP,
    NEURONS,
    NONE,
    REFERENCE,
    STDP,
    TWICE,
    without,
)
from microglia.experiment.recurrent.trained_job import DENSE
from microglia.experiment.statistics import mean_and_spread

ONE = {
    "noise pruning": "I+II",
    "random": "random",
    "magnitude, least active in noise": "magnitude, least active",
}
"""Networks that were pruned with no task in sight, and their labels."""

COSTS: dict[str, Measure] = {
    f"{title}: SynOps a step": ((task, "synops"), 1, 0)
    for title, task in (("digits", "digits"), ("Lorenz", "lorenz"), ("NATOPS", "natops"))
}

SAME, HETEROGENEOUS = STDP
BEFORE = ("dense", "random", "magnitude, random neurons", "magnitude, least active")
PAIRS = (
    *((LNP, x) for x in (*BEFORE, AFTER)),
    *((TWICE.format(LNP), TWICE.format(x)) for x in BEFORE),
    *((TWICE.format(LNP), x) for x in (AFTER, AS_IT_WAS)),
    *((TWICE.format("random"), x) for x in (AFTER, AS_IT_WAS)),
    (AFTER, AS_IT_WAS),
    *((x, f"{x}, time constants alike") for x in ("dense", LNP)),
    *((x, f"{x}, untaught") for x in ("dense", LNP)),
    *((x, f"{x}, untaught, slow") for x in ("dense", LNP)),
    *((f"{x}, {SAME}", f"{x}, untaught") for x in ("dense", LNP)),
    *((f"{x}, {HETEROGENEOUS}", f"{x}, {SAME}") for x in ("dense", LNP)),
)
"""What is told apart: the first's figures less the second's."""


def one_for_all(records: Sequence[Record], each: Sequence[Record]) -> str:
    """A row for each task; nothing where no network was pruned for a task."""
    labels = list(dict.fromkeys(r["label"] for r in each))
    if not labels:
        return ""
    experiment = without(*NEURONS[1])
    rivals = [
        *((said, list(records), (experiment, x)) for said, x in list(ONE.items())[1:]),
        *((label, list(each), (experiment, label)) for label in labels),
        *((x, list(records), (REFERENCE, x)) for x in (DENSE, NONE)),
    ]
    lines = [
        "### One network for all tasks, against one for each",
        "",
        f"{experiment.capitalize()}. Noise pruning (steps I and II) had no task in sight, nor had "
        "the random network and that by magnitude and activity in noise; those by each task lost "
        "the neurons that fire least in its training part. Own gain; mean ± standard deviation, "
        "and the paired difference noise pruning − this with its 95 % interval. A task on which "
        "the dense network is no better than none tests nothing of pruning.",
        "",
        f"| task | {next(iter(ONE))} | "
        + " | ".join(f"{said} | noise pruning − this" for said, _, _ in rivals)
        + " | seeds |",
        "|" + "---|" * (3 + 2 * len(rivals)),
    ]
    for task, measure in (SCORES | COSTS).items():
        one = by_seed(records, (experiment, ONE["noise pruning"]), measure[0], OWN)
        found = [by_seed(those, key, measure[0], OWN) for _, those, key in rivals]
        if not one or not any(found):
            continue
        cells = [_mean(one, measure)]
        for values in found:
            cells += [_mean(values, measure), difference_cell(one, values, measure)]
        paired = len(set(one).intersection(*(values for values in found if values)))
        lines.append(f"| {task} | " + " | ".join(cells) + f" | {paired} |")
    return "\n".join(lines) + "\n"


def trained_tables(records: Sequence[Record]) -> str:
    """For each task its networks, and the differences of pairs."""
    return "\n".join(
        _trained(experiment, [r for r in records if r["experiment"] == experiment])
        for experiment in dict.fromkeys(r["experiment"] for r in records)
    )


def _trained(experiment: str, records: Sequence[Record]) -> str:
    task = records[0]["config"]["task"]
    columns: dict[str, Measure] = {
        **{name: of for name, of in SCORES.items() if of[0][0] == task},
        **({"logistic, %": ((task, "logistic"), 100, 1)} if task != "lorenz" else {}),
        **({"valid Lyapunov times": ((task, "vpt"), 1, 2)} if task == "lorenz" else {}),
        "rate, Hz": ((task, "rate"), 1, 1),
        "SynOps a step": ((task, "synops"), 1, 0),
    }
    sizes = "hold, ms | neurons | synapses | with the readout | gain | s of learning"
    lines = [
        f"### {experiment.capitalize()}",
        "",
        "Mean ± standard deviation. Every network but the taught one that was pruned is calibrated "
        "before it learns, that one before it learns again, unless gain 1 is said.",
        "",
        "| | " + " | ".join(columns) + f" | {sizes} | seeds |",
        "|" + "---|" * (len(columns) + 8),
    ]
    for label in dict.fromkeys(r["label"] for r in records):
        mine = [r for r in records if r["label"] == label and "failed" not in r["figures"]]
        if not mine:
            continue
        network, figures = mine[0]["network"], mine[0]["figures"]
        cells = [_mean(_values(records, label, m), m) for m in columns.values()]
        cells += [
            f"{1e3 * mine[0]['config']['shown']['timing']['hold']:g}",
            f"{network['neurons']}",
            f"{network['synapses']}",
            f"{network['synapses'] + figures['readout']:.0f}",
            mean_and_spread([r["gain"] for r in mine], digits=1),
            mean_and_spread([r["training"] for r in mine], digits=0),
        ]
        lines.append(f"| {label} | " + " | ".join(cells) + f" | {len(mine)} |")
    lines += [
        "",
        "Paired differences with their 95 % intervals.",
        "",
        "| | " + " | ".join(columns) + " |",
        "|" + "---|" * (len(columns) + 1),
    ]
    for a, b in PAIRS:
        cells = [
            difference_cell(_values(records, a, m), _values(records, b, m), m)
            for m in columns.values()
        ]
        if set(cells) != {NOTHING}:
            lines.append(f"| {a} − {b} | " + " | ".join(cells) + " |")
    return "\n".join(lines) + "\n"


def _values(records: Sequence[Record], label: str, measure: Measure) -> dict[int, float]:
    (_, name), _, _ = measure
    mine = [r for r in records if r["label"] == label]
    return {r["seed"]: r["figures"][name] for r in mine if name in r["figures"]}


def _mean(values: Mapping[int, float], measure: Measure) -> str:
    _, scale, digits = measure
    return mean_cell(values.values(), scale=scale, digits=digits)
