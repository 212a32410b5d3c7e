"""`prune`: one experiment from one config, from the data to the report."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from torch import Tensor

import microglia as mg
from microglia.errors import ConfigError, DataError, StructureError
from microglia.experiment.bench import Bench
from microglia.experiment.clocked import clocked
from microglia.experiment.columns import columns_for
from microglia.experiment.config import DENSE, RunConfig
from microglia.experiment.job import scores_of
from microglia.experiment.lines import append_line, read_lines
from microglia.experiment.provenance import provenance
from microglia.experiment.run_dir import CONFIG, TABLE, run_directory, unfinished
from microglia.experiment.summary import report_of
from microglia.experiment.trial import (
    Trial,
    check_pruning,
    save_trained,
    train_control,
    train_dense,
    train_pruned,
)
from microglia.methods import method_named
from microglia.metrics import Figures, measure
from microglia.report import Table, write_report
from microglia.report.table import rows_of

REPORT, FIGURES, SCORES = "report.html", "figures.json", "scores.json"

Trials = Callable[[Bench, int], dict[str, Trial]]
"""Every network of one seed, by name."""


@dataclass(frozen=True)
class Run:
    """A finished experiment. `record` is what was appended to the results file, if any."""

    directory: Path
    config: RunConfig
    table: Table
    record: Mapping[str, Any]


def prune(config: RunConfig, *, resume: bool = False, progress: bool = True) -> Run:
    """Train, prune, compact, save, reload, measure and compare, and leave a run directory.

    For each seed the dense network is trained, the method's, and each control at the parameters
    that the method reached. Every compacted network is measured as reloaded from its file, on the
    test images, once. The directory appears when all is done, or not at all:

        config.toml  table.json  report.html
        metrics.jsonl  checkpoint.ckpt  figures.json  scores.json  compact/
                                                                   the method, first seed
        networks/<name>-seed<n>/                                   the same of every other network

    With `resume` it goes on from the last epochs that an interrupted run of the same config has
    finished, to the same weights, on the CPU to the bit; where nothing was begun it begins, and
    where all is done it gives what is there.

    Raises:
        MicrogliaError: what went wrong, in one message; see `microglia.errors`.
    """
    return _run(config, _trials, resume=resume, progress=progress)


def train(config: RunConfig, *, resume: bool = False, progress: bool = True) -> Run:
    """Train the network of each seed as it is, and measure what was saved, on test images, once.

    The config's pruning section is not looked at. As for `prune`, but for the report, and the
    network is saved whole:

        config.toml  table.json
        networks/dense-seed<n>/    metrics.jsonl  checkpoint.ckpt  figures.json  trained/

    Raises:
        MicrogliaError: what went wrong, in one message; see `microglia.errors`.
    """
    return _run(config, _dense_alone, resume=resume, progress=progress)


def _run(config: RunConfig, trials_of: Trials, *, resume: bool, progress: bool) -> Run:
    directory = Path(config.output.directory)
    if resume and (directory / TABLE).is_file() and not unfinished(directory).exists():
        return _finished(config, directory)
    with run_directory(config, resume=resume) as work:
        bench = Bench.open(config, work, progress=progress, resume=resume)
        if trials_of is _trials:
            _refuse_fewer_timesteps(config)
            check_pruning(bench)
        trials = [trials_of(bench, seed) for seed in config.seeds]
        figures = [_measure(bench, of_seed) for of_seed in trials]
        table = _table({name: [of_seed[name] for of_seed in figures] for name in figures[0]})
        record = {
            **provenance(bench.device),
            "config": config.to_dict(),
            "table": table.to_dict(),
        }
        (work / TABLE).write_text(json.dumps(record, indent=1) + "\n", encoding="utf-8")
        if config.output.report and config.pruning.method in trials[0]:
            write_report(report_of(bench, trials[0], table, record), work / REPORT)
    if config.output.results is not None:
        _append(Path(config.output.results), record)
    return Run(directory, config, table, record)


def _refuse_fewer_timesteps(config: RunConfig) -> None:
    """Only the dense network's timesteps are lowered, so that others would be compared unfairly."""
    pruning = config.pruning
    others = {pruning.method, *pruning.controls} - {DENSE}
    unlike = {name for name in others if method_named(name).needs != "trained"}
    unlike |= {pruning.method} if pruning.trains_for_it else set()
    if config.network.final_T is not None and unlike:
        raise ConfigError(
            f"network.final_T: is for `train`, and for methods of trained networks without other "
            f"controls; {', '.join(sorted(unlike))} would run at T = {config.network.T}"
        )


def _finished(config: RunConfig, directory: Path) -> Run:
    """The run that stands there, if it is of this config."""
    if different := config.differs_from(RunConfig.from_file(directory / CONFIG)):
        raise ConfigError(
            f"resume: the finished run in '{directory}' had another config, in "
            f"{', '.join(different)}. Name another directory, or start again with --overwrite."
        )
    record = json.loads((directory / TABLE).read_text(encoding="utf-8"))
    if config.output.results is not None:  # the kill may have come between the two
        results = Path(config.output.results)
        if record not in read_lines(results):
            _append(results, record)
    return Run(directory, config, _table(rows_of(record["table"])), record)


def _dense_alone(bench: Bench, seed: int) -> dict[str, Trial]:
    dense = train_dense(bench, seed)
    try:
        file = save_trained(bench, dense)
    except StructureError:  # such a network can be trained, and its checkpoint stays
        return {DENSE: dense}
    return {DENSE: dataclasses.replace(dense, model=mg.load(file), file=file)}


def _trials(bench: Bench, seed: int) -> dict[str, Trial]:
    """Every network of one seed, the dense one first."""
    pruning = bench.config.pruning
    trials: dict[str, Trial] = {}
    if DENSE in pruning.controls or pruning.needs_dense:
        trials[DENSE] = train_dense(bench, seed)
    dense = trials[DENSE].model if DENSE in trials else bench.network(seed)
    trials[pruning.method] = train_pruned(bench, seed, dense=dense)
    fraction = trials[pruning.method].parameters_kept(dense)
    for name in pruning.controls:
        if name not in trials:
            trials[name] = train_control(bench, seed, name=name, parameters=fraction)
    return trials


def _measure(bench: Bench, trials: Mapping[str, Trial]) -> dict[str, dict[str, float]]:
    """The figures of one seed's networks, the clocks of all of them interleaved."""
    output = bench.config.output
    models = {name: trial.model.to(bench.device) for name, trial in trials.items()}
    images = bench.example(output.latency_batch).to(bench.device)
    clocks = clocked(models, images, repeats=output.latency_repeats)
    pruned = trials.get(bench.config.pruning.method)
    rows = {}
    for name, trial in trials.items():
        figures = measure(models[name], bench.test_batches(), latency_repeats=0)
        figures = clocks[name].on(figures)
        low, high = clocks[name].latency.quartiles_ms
        _write_figures(figures, trial, bench.folder(name, trial.seed))
        kept, units = dict(trial.kept), method_named(name).prunes if trial.kept else ""
        if name == DENSE and pruned is not None:
            kept = {group: mask.new_ones(len(mask)) for group, mask in pruned.kept.items()}
            units = method_named(pruned.name).prunes
        rows[name] = {
            **figures.summary(),
            "epochs": float(len(trial.history.epochs) + _epochs_before(bench, trials, name)),
            **_open_units(kept, units),
            "latency_iqr_ms": high - low,
        }
    return rows


def _open_units(kept: Mapping[str, Tensor], units: str) -> dict[str, float]:
    """How many channels, or weights, of those that may be pruned are there."""
    return {units: float(sum(int(mask.sum()) for mask in kept.values()))} if kept else {}


def _epochs_before(bench: Bench, trials: Mapping[str, Trial], name: str) -> int:
    """Epochs of the dense network that the method starts, or learns, from."""
    pruning = bench.config.pruning
    builds = name == pruning.method and pruning.needs_dense
    return len(trials[DENSE].history.epochs) if builds else 0


def _write_figures(figures: Figures, trial: Trial, folder: Path) -> None:
    (folder / FIGURES).write_text(figures.to_json() + "\n", encoding="utf-8")
    if trial.scores:
        (folder / SCORES).write_text(json.dumps(scores_of(trial)) + "\n", encoding="utf-8")


def _table(rows: Mapping[str, Sequence[Mapping[str, float]]]) -> Table:
    titles = {"sca": "SCA", "uniform-slim": "uniform-slim"}
    return Table(columns_for(rows), rows, reference=DENSE, titles=titles)


def _append(path: Path, record: Mapping[str, Any]) -> None:
    try:
        append_line(path, record)
    except OSError as error:
        raise DataError(
            f"output.results: '{path}' could not be written ({error.strerror}). The run itself is "
            f"whole; its record is in {TABLE}."
        ) from error
