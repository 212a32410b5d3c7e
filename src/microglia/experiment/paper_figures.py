"""The SCA paper's figures, from the records of one experiment."""

from __future__ import annotations

import statistics
from collections.abc import Iterator, Mapping, Sequence

from microglia.experiment.config import DENSE
from microglia.experiment.job import Record
from microglia.experiment.markdown import taken_away
from microglia.experiment.seeds import labels_of, mean_spread, runs_of, unit_of
from microglia.report import Axis, Figure, Series, lines

SCA = "SCA"
SHOWN = 0.5
"""The sparsity whose training is drawn, or the nearest to it."""
REGROWTH = (SCA, "prune-only", "random regrowth", "random masks", "random")
"""Figure 4b's: pruned and regrown, pruned alone, and at random."""


def paper_figures(records: Sequence[Record]) -> Iterator[Figure | str]:
    """Figures 2, 3 and 4 of the paper, or a sentence where the records don't give one."""
    yield from _figure_2(records)
    yield from _figure_3(records)
    yield from _figure_4(records)


def _figure_2(records: Sequence[Record]) -> Iterator[Figure | str]:
    """Accuracy, parameters and SynOps against the fraction of channels, or weights, taken away."""
    pruned = [r for r in records if r["label"] != DENSE]
    if not pruned:
        yield "Figure 2: nothing was pruned."
    for unit in sorted({unit_of(r) for r in pruned}):
        labels = labels_of(r for r in pruned if unit_of(r) == unit)
        for key, title, y, scale in (
            ("accuracy", "Accuracy", "test accuracy, %", 100.0),
            ("parameters", "Parameters", "parameters, not zero", 1.0),
            ("synops_once", "SynOps", "SynOps a sample", 1.0),
        ):
            series = [_against_sparsity(label, records, unit, key, scale=scale) for label in labels]
            yield Figure(
                f"{title} against the {unit} taken away",
                "Figure 2. Mean over seeds, with the sample standard deviation.",
                lines(
                    [s for s in series if s.x],
                    x=Axis(title=f"{unit} taken away, %"),
                    y=Axis(title=y),
                    among=labels_of(records),
                ),
            )


def _figure_3(records: Sequence[Record]) -> Iterator[Figure | str]:
    """Where channels stay: at each sparsity, and over the epochs; and how much the mask changes."""
    sca = _first_seed([r for r in records if r["label"] == SCA and r["kept"]])
    if not sca:
        yield "Figure 3: there is no run of SCA here that says which layers keep their channels."
        return
    layers = list(sca[0]["kept"])
    yield Figure(
        "Channels kept in each layer",
        f"Figure 3. Seed {sca[0]['seed']}; from the lowest sparsity (faint) to the highest "
        "(strong).",
        lines(
            [
                Series(
                    f"{100 * r['sparsity']:g} %",
                    list(range(1, len(layers) + 1)),
                    [100 * kept / size for kept, size in r["kept"].values()],
                    text=layers,
                )
                for r in sca
            ],
            x=Axis(title="layer", whole=True),
            y=Axis(title="channels kept, %"),
            ranked=True,
        ),
    )
    record = _shown(sca)
    taken = f"{100 * record['sparsity']:g} % taken away"
    epochs = [(i, e["kept"]) for i, e in enumerate(record["epochs"], 1) if e["kept"]]
    if epochs:
        yield Figure(
            f"Channels kept over the epochs, {taken}",
            f"Figure 3. Seed {record['seed']}; from the first layer (faint) to the last (strong).",
            lines(
                [
                    Series(layer, [i for i, _ in epochs], [kept[layer] for _, kept in epochs])
                    for layer in epochs[0][1]
                ],
                x=Axis(title="epoch", whole=True),
                y=Axis(title="channels kept"),
                ranked=True,
            ),
        )
    else:
        yield "Figure 3, over the epochs: the log of the training is not there."
    if not record["changes"]:
        yield "Figure 3, changes of the mask: the log of the training is not there."
        return
    updates = list(range(1, len(record["changes"]) + 1))
    yield Figure(
        f"Changes of the mask, {taken}",
        f"Figure 3. Channels closed and opened at each update; seed {record['seed']}.",
        lines(
            [
                Series(name, updates, [change[key] for change in record["changes"]])
                for name, key in (("closed", "pruned"), ("opened", "regrown"))
            ],
            x=Axis(title="update", whole=True),
            y=Axis(title="channels"),
        ),
    )


def _figure_4(records: Sequence[Record]) -> Iterator[Figure | str]:
    """How importance is distributed; and what regrowth is worth."""
    sca = _first_seed([r for r in records if r["label"] == SCA and r["scores"]])
    if sca:
        record = _shown(sca)
        yield Figure(
            f"Importance of channels, {100 * record['sparsity']:g} % taken away",
            f"Figure 4a. Scores of the last update in rising order; seed {record['seed']}; from "
            "the first layer (faint) to the last (strong).",
            lines(
                [
                    Series(layer, [100 * (i + 1) / len(s) for i in range(len(s))], sorted(s))
                    for layer, s in record["scores"].items()
                ],
                x=Axis(title="channels, %"),
                y=Axis(title="mean |membrane potential|"),
                ranked=True,
            ),
        )
    else:
        yield "Figure 4a: there is no run of SCA here that holds its last scores."
    compared = [label for label in REGROWTH if label in labels_of(records)]
    if len(compared) < 2 or SCA not in compared:
        yield "Figure 4b: it wants SCA beside prune-only or random masks."
        return
    yield Figure(
        "Prune and regrow, prune only, random",
        "Figure 4b. Mean over seeds, with the sample standard deviation.",
        lines(
            [
                _against_sparsity(label, records, "channels", "accuracy", scale=100)
                for label in compared
            ],
            x=Axis(title="channels taken away, %"),
            y=Axis(title="test accuracy, %"),
            among=labels_of(records),
        ),
    )


def _first_seed(records: Sequence[Record]) -> list[Record]:
    """Those of the lowest seed, the lowest sparsity first."""
    first = min((r["seed"] for r in records), default=0)
    return sorted((r for r in records if r["seed"] == first), key=lambda r: float(r["sparsity"]))


def _shown(records: Sequence[Record]) -> Record:
    return min(records, key=lambda r: abs(r["sparsity"] - SHOWN))


def _against_sparsity(
    label: str, records: Sequence[Record], unit: str, key: str, *, scale: float
) -> Series:
    """Mean and deviation over seeds, from the dense network on."""
    x, y, spread = [], [], []
    for some in _by_sparsity(records, label, unit).values():
        mean, deviation = mean_spread([scale * _figure(r, key) for r in some])
        x.append(100 * statistics.fmean(taken_away(r) for r in some))
        y.append(mean)
        spread.append(deviation)
    return Series(label, x, y, spread)


def _figure(record: Record, key: str) -> float:
    """Zeros are no parameters."""
    figures: Mapping[str, float] = record["figures"]
    if key == "parameters":
        return figures.get("nonzero_parameters", figures[key])
    return figures[key]


def _by_sparsity(records: Sequence[Record], label: str, unit: str) -> dict[float, list[Record]]:
    """The label's records, and the dense ones of the same seeds at 0."""
    mine = [r for r in runs_of(records, label) if unit_of(r) == unit]
    seeds = {r["seed"] for r in mine}
    found: dict[float, list[Record]] = {}
    for record in [*(r for r in runs_of(records, DENSE) if r["seed"] in seeds), *mine]:
        found.setdefault(float(record["sparsity"]), []).append(record)
    return {s: found[s] for s in sorted(found)}
