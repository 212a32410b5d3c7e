"""What the report of an experiment says."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from microglia.experiment.bench import Bench
from microglia.experiment.provenance import describe
from microglia.experiment.trial import Trial
from microglia.methods import method_named
from microglia.metrics import HOROWITZ_45NM
from microglia.report import GroupScores, KeptOverTime, Report, Table


def report_of(
    bench: Bench, trials: Mapping[str, Trial], table: Table, record: Mapping[str, Any]
) -> Report:
    """The report; charts of the structure are of the first seed, whose `trials` these are."""
    config = bench.config
    method = trials[config.pruning.method]
    return Report(
        title=_title(bench, table),
        method=method.name,
        table=table,
        headline=("accuracy", "parameters", "energy_nj_once", "latency_ms"),
        kept=_kept_over_time(method, steps_per_epoch=bench.steps_per_epoch),
        scores={
            group: GroupScores(scores=score.tolist(), stayed=method.kept[group].tolist())
            for group, score in method.scores.items()
        },
        certificate=[
            (table.title(name), str(trial.certificate))
            for name, trial in trials.items()
            if trial.certificate is not None
        ],
        facts=[
            ("seeds", ", ".join(str(seed) for seed in config.seeds)),
            ("data", _data(bench)),
            *describe(dict(record)),
        ],
        notes=_notes(bench, scores=bool(method.scores)),
        config=config.to_toml(),
    )


def _title(bench: Bench, table: Table) -> str:
    pruning = bench.config.pruning
    if pruning.sparsity is not None:
        units = method_named(pruning.method).prunes
        wanted = f"{100 * pruning.sparsity:g} % of the {units} removed"
    else:
        ((quantity, fraction),) = pruning.target.items()
        wanted = f"{100 * fraction:g} % of the {quantity} kept"
    name = bench.config.network.name
    return f"{table.title(pruning.method)} on {name}: {wanted}"


def _kept_over_time(trial: Trial, *, steps_per_epoch: int) -> KeptOverTime | None:
    """From the whole network at the start, through each change, to the end of training."""
    if not trial.history.changes:
        return None
    changes, last = trial.history.changes, trial.history.epochs[-1].step
    steps = [0, *(change.step for change in changes), last]
    kept = {
        group: [len(mask), *(change.kept[group] for change in changes), int(mask.sum())]
        for group, mask in trial.kept.items()
    }
    return KeptOverTime([step / steps_per_epoch for step in steps], kept)


def _data(bench: Bench) -> str:
    splits = bench.splits
    return (
        f"{bench.config.data.source}: {len(splits.train):,} training, "
        f"{len(splits.validation):,} validation and {len(splits.test):,} test images"
    )


def _notes(bench: Bench, *, scores: bool) -> list[str]:
    output = bench.config.output
    about_scores = (
        "Importance scores are those of the last update. A unit that was closed then is silent and "
        "scores low; one that stayed all the same was regrown."
    )
    return [
        *([about_scores] if scores else []),
        "Every pruned network was compacted, saved, reloaded from its file and then measured; the "
        "masked one never is. The dense network was measured as trained.",
        "The test images were measured once, after everything had been trained. The validation "
        "images were watched, and nothing was chosen by them.",
        "random: channels closed at initialisation, an equal fraction in each layer. uniform-slim: "
        "the same network narrowed evenly. Both at the parameters that the method reached, trained "
        "from scratch at that size, for the dense network's epochs, from the same seeds. A method "
        "that prunes a trained network takes the dense one. finetune_epochs train the compact one "
        "further.",
        "SynOps: over all timesteps and non-zero inputs of a synapse layer, that input's non-zero "
        "weights that land inside the map. AC: binary inputs (accumulates); MAC: graded inputs.",
        f"Energy: {HOROWITZ_45NM}; synaptic operations alone, no memory access.",
        f"Latency and peak memory: of {output.latency_batch} images at once, on the package's "
        f"fastest path (norms folded), all networks alike; the median of {output.latency_repeats} "
        "passes, the networks interleaved.",
    ]
