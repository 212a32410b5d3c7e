"""The tables of untrained networks: every rule against random pruning and against its rivals."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from itertools import starmap

from microglia.experiment.job import Record
from microglia.experiment.recurrent.lnp_bars import EQUAL, OWN, Key, by_seed
from microglia.experiment.recurrent.lnp_bars_tables import bands_table, bars_table
from microglia.experiment.recurrent.lnp_columns import (
    ACTIVE,
    BASELINES,
    MEASURES,
    MORE,
    NOTHING,
    Measure,
    difference_cell,
    mean_cell,
)
from microglia.experiment.recurrent.lnp_paper import (
    NEURONS,
    NONE,
    REFERENCE,
    SYNAPSES,
    kept,
    without,
)
from microglia.experiment.recurrent.trained_job import DENSE
from microglia.experiment.recurrent.trained_tables import one_for_all, trained_tables

RANDOM = "random"
SHOWN = (
    *((kept(part), label) for part in SYNAPSES for label in ("R2w", RANDOM)),
    *((without(*size), "I+II") for size in NEURONS),
)
"""Experiment and label of what is set against all its rivals."""
STEPS = (
    ("I+II", "R2w, random neurons"),
    ("I+II+III", "I+II"),
    ("I+II+III+IV", "I+II+III"),
)
"""What the choice of neurons, step III and step IV add: labels that differ in it alone."""
SIZES = {
    "neurons": ("neurons", 1, 0),
    "synapses": ("synapses", 1, 0),
    "from inhibitory neurons, %": ("inhibition", 100, 1),
}
"""Column -> what a record says of its network, scale and digits."""
AT = {"equal weights": EQUAL, "own gain": OWN}
"""Words -> gains, of what is told apart at both."""


def tables(records: Iterable[Record]) -> str:
    """All of them, as Markdown."""
    records = list(records)
    trained = [r for r in records if r["kind"] == "trained"]
    each = [r for r in records if r["kind"] == "each task"]
    records = [r for r in records if r["kind"] == "reservoir"]
    parts = []
    for experiment in dict.fromkeys(r["experiment"] for r in records):
        for title, points in (("equal Σ|w|, mean of 35 and 80 %", EQUAL), ("own gain", OWN)):
            columns = MEASURES if points == EQUAL else MEASURES | MORE
            parts.append(_table(records, experiment, title, points, columns))
    parts += [_rivals(records, *pair) for pair in SHOWN]
    parts += [_steps(records), _sizes(records), _baselines(records)]
    parts += [bands_table(records), bars_table(records)]
    parts += [one_for_all(records, each), trained_tables(trained)]
    parts += [_failures([*records, *each, *trained])]
    return "\n".join(part for part in parts if part)


def _table(
    records: Sequence[Record],
    experiment: str,
    title: str,
    points: Sequence[str],
    columns: dict[str, Measure],
) -> str:
    """Means and their spread; below each rule's the paired difference to random pruning."""
    labels = list(dict.fromkeys(r["label"] for r in records if r["experiment"] == experiment))
    there = {
        column: of
        for column, of in columns.items()
        if any(by_seed(records, (experiment, label), of[0], points) for label in labels)
    }
    lines = [
        f"### {experiment}, {title}",
        "",
        "Mean ± standard deviation; − random: paired difference with its 95 % interval.",
        "",
        "| | " + " | ".join(there) + " | seeds |",
        "|" + "---|" * (len(there) + 2),
    ]
    for label in labels:
        mine, random, cells, seeds = (experiment, label), (experiment, RANDOM), [], 0
        for metric, scale, digits in there.values():
            values = list(by_seed(records, mine, metric, points).values())
            cells.append(mean_cell(values, scale=scale, digits=digits))
            seeds = max(seeds, len(values))
        lines.append(f"| {_cell(label)} | " + " | ".join(cells) + f" | {seeds} |")
        if label != RANDOM and experiment != REFERENCE:
            differences = [_less(records, mine, random, of, points) for of in there.values()]
            lines.append("| − random | " + " | ".join(differences) + " | |")
    return "\n".join(lines) + "\n"


def _rivals(records: Sequence[Record], experiment: str, label: str) -> str:
    """One network's figures less each rival's, of the same seeds; nothing where it wasn't run."""
    rivals = list(dict.fromkeys(r["label"] for r in records if r["experiment"] == experiment))
    if label not in rivals:
        return ""
    lines = [
        f"### {experiment}, {label} less each rival",
        "",
        "Paired differences with their 95 % intervals.",
        "",
        "| | at | " + " | ".join(MEASURES) + " |",
        "|" + "---|" * (len(MEASURES) + 2),
    ]
    for rival in [*(one for one in rivals if one != label), DENSE, NONE]:
        theirs = (REFERENCE if rival in (DENSE, NONE) else experiment, rival)
        for said, cells in _told_apart(records, (experiment, label), theirs):
            lines.append(f"| {_cell(rival)} | {said} | {cells} |")
    return "\n".join(lines) + "\n"


def _steps(records: Sequence[Record]) -> str:
    """What one step adds to those before it; and on how many seeds it changed the network."""
    lines = [
        "### Step by step",
        "",
        "Paired differences with their 95 % intervals; changed: seeds whose figures differ (step "
        "IV keeps what it began with where nothing it tried was better).",
        "",
        "| | at | " + " | ".join(MEASURES) + " | changed |",
        "|" + "---|" * (len(MEASURES) + 3),
    ]
    for experiment in starmap(without, NEURONS):
        for after, before in STEPS:
            mine, theirs = (experiment, after), (experiment, before)
            changed = _changed(records, mine, theirs)
            for said, cells in _told_apart(records, mine, theirs):
                lines.append(f"| {experiment}: {after} − {before} | {said} | {cells} | {changed} |")
    return "\n".join(lines) + "\n" if len(lines) > 6 else ""


def _told_apart(records: Sequence[Record], mine: Key, theirs: Key) -> Iterator[tuple[str, str]]:
    """At which gains, and the differences there as cells; nothing where neither was measured."""
    for said, points in AT.items():
        cells = [_less(records, mine, theirs, measure, points) for measure in MEASURES.values()]
        if set(cells) != {NOTHING}:
            yield said, " | ".join(cells)


def _changed(records: Sequence[Record], mine: Key, theirs: Key) -> str:
    """Such as `4 of 6`."""
    figures = [
        {r["seed"]: r["figures"] for r in records if (r["experiment"], r["label"]) == key}
        for key in (mine, theirs)
    ]
    seeds = set(figures[0]) & set(figures[1])
    return f"{sum(figures[0][s] != figures[1][s] for s in seeds)} of {len(seeds)}"


def _sizes(records: Sequence[Record]) -> str:
    """What each network is made of, and how much of it fires."""
    lines = [
        "### What is left",
        "",
        "Mean ± standard deviation. Neurons that fire: at all, on Lorenz' system.",
        "",
        f"| | {' | '.join(SIZES)} | fire at equal Σ\\|w\\|, % | at own gain, % | seeds |",
        "|" + "---|" * (len(SIZES) + 4),
    ]
    together = list(dict.fromkeys(r["experiment"] for r in records))
    keys = dict.fromkeys((r["experiment"], r["label"]) for r in records)
    for key in sorted(keys, key=lambda key: together.index(key[0])):
        mine = [r["network"] for r in records if (r["experiment"], r["label"]) == key]
        cells = []
        for name, scale, digits in SIZES.values():
            values = [network[name] for network in mine if network.get(name) is not None]
            cells.append(mean_cell(values, scale=scale, digits=digits))
        for points in AT.values():
            active = by_seed(records, key, ACTIVE, points)
            cells.append(mean_cell(active.values(), scale=100, digits=1))
        lines.append(f"| {key[0]}: {_cell(key[1])} | " + " | ".join(cells) + f" | {len(mine)} |")
    return "\n".join(lines) + "\n"


def _less(
    records: Sequence[Record], mine: Key, theirs: Key, measure: Measure, points: Sequence[str]
) -> str:
    """The paired difference of a figure."""
    metric, _, _ = measure
    a, b = (by_seed(records, key, metric, points) for key in (mine, theirs))
    return difference_cell(a, b, measure)


def _cell(label: str) -> str:
    return label.replace("|", "\\|")


def _baselines(records: Sequence[Record]) -> str:
    """What needs no network, beside the dense one and the one without recurrence."""
    lines = [
        "### Measured series at one horizon, normalised root mean squared error",
        "",
        "| series | steps | persistence | linear autoregression | dense | no recurrence |",
        "|" + "---|" * 6,
    ]
    dense, none = (REFERENCE, DENSE), (REFERENCE, NONE)
    for series, h in BASELINES:
        cells = []
        for key, name in (
            (dense, "persistence"),
            (dense, "linear"),
            (dense, "nrmse"),
            (none, "nrmse"),
        ):
            values = by_seed(records, key, (series, f"{name}_h{h}"), OWN)
            cells.append(mean_cell(values.values(), scale=1, digits=3))
        lines.append(f"| {series} | {h} | " + " | ".join(cells) + " |")
    return "\n".join(lines) + "\n"


def _failures(records: Sequence[Record]) -> str:
    """Networks that were silent or saturated on a task; nothing where there are none."""
    lines = [
        f"- {record['name']}, gain {point}, {task}: {figures['failed']}"
        for record in records
        if record["kind"] != "trained"
        for point, tasks in record["figures"].items()
        for task, figures in tasks.items()
        if "failed" in figures
    ]
    lines += [
        f"- {record['name']}: {record['figures']['failed']}"
        for record in records
        if "failed" in record["figures"]
    ]
    return "\n".join(["### Failed", "", *lines, ""]) if lines else ""
