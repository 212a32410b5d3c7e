"""The SCA paper's figures, from the records of a results file."""

from __future__ import annotations

import statistics
from collections.abc import Iterable, Mapping, Sequence

from microglia.experiment.config import DENSE
from microglia.experiment.job import Record
from microglia.experiment.markdown import taken_away
from microglia.report import Figure, Series, lines

SHOWN = 0.5
"""The sparsity whose training is drawn."""


def figures(records: Iterable[Record]) -> list[Figure]:
    """Figures 2, 3 and 4 of the paper, for each setting that has the records for them."""
    records = list(records)
    found = []
    for experiment in dict.fromkeys(r["experiment"] for r in records):
        mine = [r for r in records if r["experiment"] == experiment]
        found += [*_figure_2(experiment, mine), *_figure_3(experiment, mine)]
        found += [*_figure_4(experiment, mine)]
    return found


def _figure_2(experiment: str, records: Sequence[Record]) -> Iterable[Figure]:
    """Accuracy, parameters and SynOps against the fraction of channels taken away."""
    labels = _labels(records)
    for key, title, y, scale in (
        ("accuracy", "accuracy", "test accuracy, %", 100.0),
        ("parameters", "parameters", "parameters", 1.0),
        ("synops_once", "SynOps", "synaptic operations an image", 1.0),
    ):
        series = [_against_sparsity(label, records, key, scale=scale) for label in labels]
        yield Figure(
            f"{experiment}: {title}",
            "Figure 2. Mean over seeds, with the sample standard deviation.",
            lines([s for s in series if len(s.x) > 1], x="channels taken away, %", y=y),
        )
    series = [
        Series(label, *_columns(records, label, "parameters", "accuracy"))
        for label in (DENSE, *labels)
    ]
    yield Figure(
        f"{experiment}: accuracy against parameters",
        "One mark for each sparsity, the mean over seeds.",
        lines([s for s in series if s.x], x="parameters", y="test accuracy, %", logarithmic=True),
    )


def _figure_3(experiment: str, records: Sequence[Record]) -> Iterable[Figure]:
    """Where channels stay: at each sparsity, and over the epochs; and how much the mask changes."""
    sca = [r for r in records if r["label"] == "SCA" and r["seed"] == 0]
    if not sca:
        return
    by_sparsity = sorted(sca, key=lambda r: float(r["sparsity"]))
    layers = list(by_sparsity[0]["kept"])
    yield Figure(
        f"{experiment}: channels kept in each layer",
        "Figure 3. Seed 0; from the lowest sparsity (faint) to the highest (strong).",
        lines(
            [
                Series(
                    f"{100 * r['sparsity']:g} %",
                    list(range(1, len(layers) + 1)),
                    [100 * kept / size for kept, size in r["kept"].values()],
                )
                for r in by_sparsity
            ],
            x="layer",
            y="channels kept, %",
            ranked=True,
        ),
    )
    for record in (r for r in sca if r["sparsity"] == SHOWN):
        epochs = [e["kept"] for e in record["epochs"] if e["kept"]]
        x = list(range(1, len(epochs) + 1))
        yield Figure(
            f"{experiment}: channels kept over the epochs, {100 * SHOWN:g} % taken away",
            "Figure 3. Seed 0; from the first layer (faint) to the last (strong).",
            lines(
                [Series(layer, x, [kept[layer] for kept in epochs]) for layer in layers],
                x="epoch",
                y="channels kept",
                ranked=True,
            ),
        )
        x = list(range(1, len(record["changes"]) + 1))
        yield Figure(
            f"{experiment}: changes of the mask, {100 * SHOWN:g} % taken away",
            "Figure 3. Channels closed and opened at each update; the first closes pC.",
            lines(
                [
                    Series(name, x, [change[key] for change in record["changes"]])
                    for name, key in (("closed", "pruned"), ("opened", "regrown"))
                ],
                x="update",
                y="channels",
            ),
        )


def _figure_4(experiment: str, records: Sequence[Record]) -> Iterable[Figure]:
    """How importance is distributed."""
    for record in records:
        if (record["label"], record["seed"], record["sparsity"]) == ("SCA", 0, SHOWN):
            series = [
                Series(layer, [100 * (i + 1) / len(s) for i in range(len(s))], sorted(s))
                for layer, s in record["scores"].items()
            ]
            yield Figure(
                f"{experiment}: importance of channels, {100 * SHOWN:g} % taken away",
                "Figure 4a. Scores of the last update in rising order; seed 0; from the first "
                "layer (faint) to the last (strong).",
                lines(series, x="channels, %", y="mean |membrane potential|", ranked=True),
            )


def _labels(records: Sequence[Record]) -> list[str]:
    return list(dict.fromkeys(r["label"] for r in records if r["label"] != DENSE))


def _against_sparsity(label: str, records: Sequence[Record], key: str, *, scale: float) -> Series:
    """Mean and deviation over seeds, from the dense network on."""
    x, y, spread = [], [], []
    for some in _by_sparsity(records, label).values():
        values = [scale * r["figures"][key] for r in some]
        x.append(100 * statistics.fmean(taken_away(r) for r in some))
        y.append(statistics.fmean(values))
        spread.append(statistics.stdev(values) if len(values) > 1 else 0.0)
    return Series(label, x, y, spread)


def _columns(
    records: Sequence[Record], label: str, x: str, y: str
) -> tuple[list[float], list[float]]:
    points = []
    for sparsity, some in _by_sparsity(records, label).items():
        if (sparsity == 0) == (label == DENSE):
            means = [statistics.fmean(r["figures"][key] for r in some) for key in (x, y)]
            points.append((means[0], 100 * means[1]))
    points.sort()
    return [p for p, _ in points], [q for _, q in points]


def _by_sparsity(records: Sequence[Record], label: str) -> Mapping[float, list[Record]]:
    """The label's records, and the dense ones of the same seeds at 0."""
    mine = [r for r in records if r["label"] == label]
    seeds = {r["seed"] for r in mine}
    found: dict[float, list[Record]] = {}
    for record in [r for r in records if r["label"] == DENSE and r["seed"] in seeds] + mine:
        found.setdefault(float(record["sparsity"]), []).append(record)
    return {s: found[s] for s in sorted(found)}
