"""The bars and the operating point, judged from the records."""

from __future__ import annotations

import statistics
from collections.abc import Sequence

from scipy import stats

from microglia.experiment.job import Record
from microglia.experiment.recurrent.lnp_bars import bands, bars, by_seed
from microglia.experiment.recurrent.lnp_columns import NOTHING
from microglia.experiment.statistics import mean_and_spread


def bands_table(records: Sequence[Record]) -> str:
    """Networks that aren't pruned, and where they were in the study that the bars come from."""
    lines = [
        "### The operating point, here and there",
        "",
        "At the weights as drawn; there: of the study that the bars come from, on its seeds.",
        "",
        "| | here | there | |",
        "|" + "---|" * 4,
    ]
    for band in bands():
        values = list(by_seed(records, band.key, band.metric, band.points).values())
        if values:
            word = "inside" if band.low <= statistics.fmean(values) <= band.high else "outside"
            cells = f"{mean_and_spread(values, digits=4)} | {band.low:g} to {band.high:g} | {word}"
            lines.append(f"| {band.key[1]}: {' '.join(band.metric)} | {cells} |")
    return "\n".join(lines) + "\n" if len(lines) > 6 else ""


def bars_table(records: Sequence[Record]) -> str:
    """A row for each bar; those whose networks weren't run too."""
    lines = [
        "### Bars",
        "",
        "Clearly: by all of the paired interval. q: the chance that a mean is beyond its limit "
        "where the true one is at it (one-sided t), corrected over all bars (Benjamini and "
        "Hochberg).",
        "",
        "| bar | mean | limit | difference to the limit, paired 95 % interval | q | |",
        "|" + "---|" * 6,
    ]
    verdicts = [bar.judge(records) for bar in bars()]
    known = [v.p for v in verdicts if v.p is not None]
    corrected = iter(stats.false_discovery_control(known) if known else [])
    for verdict in verdicts:
        q = NOTHING if verdict.p is None else f"{next(corrected):.3f}"
        if verdict.value is None or verdict.limit is None or verdict.difference is None:
            cells = [NOTHING] * 3
        else:
            cells = [
                f"{verdict.value:.4g}",
                f"{verdict.limit:.4g}",
                verdict.difference.text(digits=4),
            ]
        lines.append(f"| {verdict.bar} | " + " | ".join(cells) + f" | {q} | {verdict.word} |")
    return "\n".join(lines) + "\n"
