"""The tables of untrained networks: every rule against random pruning, and the bars."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from microglia.experiment.job import Record
from microglia.experiment.lnp_bars import EQUAL, OWN, bars, by_seed
from microglia.experiment.lnp_columns import BASELINES, MEASURES, MORE, Measure
from microglia.experiment.lnp_paper import NONE, REFERENCE
from microglia.experiment.statistics import mean_and_spread, paired_difference
from microglia.experiment.trained_job import DENSE
from microglia.experiment.trained_tables import one_for_all, trained_tables

RANDOM = "random"


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
    parts += [_baselines(records), _bars(records)]
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
        cells, differences, seeds = [], [], 0
        for metric, scale, digits in there.values():
            mine = by_seed(records, (experiment, label), metric, points)
            random = by_seed(records, (experiment, RANDOM), metric, points)
            values = list(mine.values())
            cells.append(mean_and_spread(values, scale=scale, digits=digits) if values else "–")
            difference = paired_difference(mine, random)
            differences.append(difference.text(scale=scale, digits=digits) if difference else "–")
            seeds = max(seeds, len(values))
        name = label.replace("|", "\\|")
        lines.append(f"| {name} | " + " | ".join(cells) + f" | {seeds} |")
        if label != RANDOM and experiment != REFERENCE:
            lines.append("| − random | " + " | ".join(differences) + " | |")
    return "\n".join(lines) + "\n"


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
            values = list(by_seed(records, key, (series, f"{name}_h{h}"), OWN).values())
            cells.append(mean_and_spread(values, digits=3) if values else "–")
        lines.append(f"| {series} | {h} | " + " | ".join(cells) + " |")
    return "\n".join(lines) + "\n"


def _bars(records: Sequence[Record]) -> str:
    lines = [
        "### Bars",
        "",
        "| bar | mean | limit | difference to the limit, paired 95 % interval | |",
        "|" + "---|" * 5,
    ]
    for bar in bars():
        verdict = bar.judge(records)
        if verdict.value is None or verdict.limit is None or verdict.difference is None:
            cells = ["–", "–", "–"]
        else:
            cells = [
                f"{verdict.value:.4g}",
                f"{verdict.limit:.4g}",
                verdict.difference.text(digits=4),
            ]
        lines.append(f"| {bar} | " + " | ".join(cells) + f" | {verdict.word} |")
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
