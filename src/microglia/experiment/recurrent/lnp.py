"""`microglia lnp`: a recurrent network pruned before training, beside its controls."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch

from microglia.errors import ConfigError
from microglia.experiment.provenance import describe, provenance
from microglia.experiment.recurrent.files import load_pruned, save_pruned
from microglia.experiment.recurrent.forecast import Forecast, forecast_lorenz
from microglia.experiment.recurrent.lnp_config import LNPRun
from microglia.experiment.recurrent.lnp_controls import controlled, figures_of
from microglia.experiment.recurrent.lnp_figures import forecast_figures, network_figures
from microglia.experiment.run_dir import (
    LOCK,
    TABLE,
    cannot_write,
    clear,
    refuse_to_lose,
    unfinished,
    working_alone,
)
from microglia.frameworks import RecurrentNetwork
from microglia.lyapunov import (
    Pruned,
    lyapunov_noise_pruning,
    memory_capacity,
)
from microglia.lyapunov.calibrate import Metric
from microglia.report import Column, Table
from microglia.report.content import Chapter
from microglia.report.pages import PAGE, PICTURES, write_chapters, write_pictures
from microglia.report.table import rows_of
from microglia.surgery.files import put_in_place

DENSE, METHOD = "dense", "lnp"
CONFIG, NETWORK, SCRATCH = "config.json", "network", "steps"
Say = Callable[[str], None]

COLUMNS = (
    Column("neurons", "neurons"),
    Column("synapses", "synapses"),
    Column("memory", "memory capacity", digits=2, note="linear, of white noise"),
    Column("rate", "rate", "Hz", digits=1),
    Column("synops", "SynOps", "per ms", digits=0),
    Column("reach", "max Re λ(W_eff)", digits=2, ratio=False, note="of the linearised network"),
    Column("abscissa", "max Re λ(A)", "1/s", digits=1, ratio=False, note="unstable from 0 on"),
    Column("lambda", "λ₁, spike-exact", "1/s", digits=2, ratio=False),
    Column("lambda_error", "its standard error", "1/s", digits=2, ratio=False),
    Column("error", "Lorenz, a step ahead", "NRMSE", digits=4),
    Column("horizon", "Lorenz, free", "Lyapunov times", digits=2),
)
TITLES = {
    METHOD: "LNP",
    "none": "no recurrence",
    "fresh": "fresh sparse",
    "activity": "most active",
}
CAPTION = (
    "×0.50: half of the dense network, which is as it was drawn. Memory capacity: of white noise, "
    "out of 20. A is the linearised network, unstable from 0 on; with equal time constants that is "
    "W_eff from 1 on. Exponents: along one trajectory under smooth noise."
)


@dataclass(frozen=True)
class LNPDone:
    """A finished run: where it stands, and its table."""

    directory: Path
    table: Table


def prune_recurrent_run(
    config: LNPRun, *, resume: bool = False, say: Say = lambda text: None
) -> LNPDone:
    """Draw or load a network, prune it, measure it beside its controls, and leave a directory:

        config.json  table.json  report.html
        figures/NAME.svg .png .csv
        network/            the pruned network of the first seed, `load_pruned`
        network-seed<n>/    those of other seeds

    It appears when all is done. Until then each step and each control is kept in a hidden sibling,
    from which `resume` goes on to the same result; where all is done it gives what is there.

    Raises:
        ConfigError, DataError: what went wrong, in one message.
    """
    path = Path(config.output.directory)
    there = all((path / name).is_file() for name in (CONFIG, TABLE))
    if resume and there and not unfinished(path).exists():
        return _finished(config, path, say)
    with _working(config, path, resume=resume) as work:
        drawn = {seed: config.network.draw(seed) for seed in config.seeds}
        _check_task(config, drawn.values())
        pruned = {seed: _pruned(config, drawn[seed], seed, work, say) for seed in config.seeds}
        rows: dict[str, list[dict[str, float]]] = {}
        forecasts: dict[str, Forecast] = {}
        failures: list[str] = []
        for seed in config.seeds:
            for name in _names(config):
                row, forecast = _row(config, name, drawn[seed], pruned[seed].network, seed, work)
                rows.setdefault(name, []).append(row)
                if isinstance(forecast, str):
                    failures.append(forecast)
                    say(forecast)
                elif forecast is not None and seed == config.seeds[0]:
                    forecasts[TITLES.get(name, name)] = forecast
                say(f"seed {seed}: measured {TITLES.get(name, name)}")
        table = Table(COLUMNS, rows, reference=DENSE, titles=TITLES)
        record = {**provenance(torch.device("cpu")), "table": table.to_dict()}
        text = json.dumps(record, indent=1, allow_nan=False)
        (work / TABLE).write_text(text + "\n", encoding="utf-8")
        first = config.seeds[0]
        for seed, one in pruned.items():
            save_pruned(one, work / (NETWORK if seed == first else f"{NETWORK}-seed{seed}"))
        say("figures")
        chapter = _chapter(config, drawn[first], pruned, forecasts, table, record)
        chapter = replace(chapter, missing=[*chapter.missing, *failures])
        write_chapters("Lyapunov noise pruning", [chapter], work / PAGE)
        write_pictures([chapter], work / PICTURES)
        shutil.rmtree(work / SCRATCH)
    return LNPDone(path, table)


def _finished(config: LNPRun, path: Path, say: Say) -> LNPDone:
    """The run that stands there, if it is of this config."""
    if (path / CONFIG).read_text(encoding="utf-8") != config.words():
        raise ConfigError(
            f"resume: the finished run in '{path}' had another config. Name another directory, or "
            "start again with --overwrite."
        )
    say(f"the run in '{path}' is already finished")
    record = json.loads((path / TABLE).read_text(encoding="utf-8"))
    rows = rows_of(record["table"])
    return LNPDone(path, Table(COLUMNS, rows, reference=DENSE, titles=TITLES))


def _check_task(config: LNPRun, networks: Iterable[RecurrentNetwork]) -> None:
    channels = {0 if net.inputs is None else net.inputs.shape[1] for net in networks}
    if config.task == "lorenz" and channels != {3}:
        raise ConfigError(
            f"task: Lorenz' system has x, y, z; wanted a network with inputs = 3, got {channels}"
        )


def _names(config: LNPRun) -> list[str]:
    """The table's rows; without removed neurons the most active ones are all, so a random draw."""
    controls = [c for c in config.controls if c != "activity" or config.pruning.neurons]
    return [DENSE, METHOD, *controls]


def _pruned(config: LNPRun, dense: RecurrentNetwork, seed: int, work: Path, say: Say) -> Pruned:
    """The pruned network, from the last step that is kept."""
    folder = work / SCRATCH
    kept = sorted(folder.glob(f"seed{seed}-step*"))
    done = load_pruned(kept[-1]) if kept else None
    if done is not None:
        say(f"seed {seed}: going on after step {done.steps[-1].name}")
    steps = lyapunov_noise_pruning(
        dense, config.pruning, seed=seed, metric=_metric(config), done=done
    )
    for done in steps:
        save_pruned(done, folder / f"seed{seed}-step{len(done.steps):03d}")
        step = done.steps[-1]
        say(
            f"seed {seed}: {step.name}: {step.neurons:,} neurons, {step.synapses:,} synapses; "
            f"{step.said}"
        )
    assert done is not None
    return done


def _row(
    config: LNPRun,
    name: str,
    dense: RecurrentNetwork,
    small: RecurrentNetwork,
    seed: int,
    work: Path,
) -> tuple[dict[str, float], Forecast | str | None]:
    """The figures of one network, measured once; its forecast, or why there is none."""
    file = work / SCRATCH / f"seed{seed}-{name}.json"
    if file.is_file():
        kept = json.loads(file.read_text(encoding="utf-8"))
        return kept["row"], kept.get("failed") or _forecast_of(kept["forecast"])
    metric = _metric(config)
    network = {DENSE: dense, METHOD: small}.get(name) or controlled(
        name, dense, small, config.pruning, seed=seed, metric=metric
    )
    row = figures_of(network, seconds=config.seconds, seed=seed, metric=metric)
    forecast, failed = None, None
    if config.task == "lorenz":
        try:
            forecast = forecast_lorenz(network, seed=seed)
            row |= {"error": forecast.error, "horizon": forecast.horizon}
        except ConfigError as fault:
            failed = f"Forecast of {TITLES.get(name, name)}, seed {seed}: {fault}."
    record = {"row": row, "forecast": _written(forecast), "failed": failed}
    text = json.dumps(record, allow_nan=False)
    new = file.with_suffix(".new")
    new.write_text(text, encoding="utf-8")
    new.replace(file)
    return row, failed or forecast


def _written(forecast: Forecast | None) -> dict[str, Any] | None:
    if forecast is None:
        return None
    series = {"truth": forecast.truth.tolist(), "free": forecast.free.tolist()}
    return {"error": forecast.error, "horizon": forecast.horizon, **series}


def _forecast_of(record: Mapping[str, Any] | None) -> Forecast | None:
    if record is None:
        return None
    series = (np.array(record[name]) for name in ("truth", "free"))
    return Forecast(record["error"], record["horizon"], *series)


def _metric(config: LNPRun) -> Metric:
    return partial(memory_capacity, steps=config.values)


def _chapter(
    config: LNPRun,
    dense: RecurrentNetwork,
    pruned: Mapping[int, Pruned],
    forecasts: Mapping[str, Forecast],
    table: Table,
    record: dict[str, Any],
) -> Chapter:
    """The figures are the first seed's, the table and the steps all seeds'."""
    seeds, first = config.seeds, pruned[config.seeds[0]]
    figures, missing = network_figures(
        dense, first.network, first.neurons, seconds=config.seconds, seed=seeds[0]
    )
    figures = [*(forecast_figures(forecasts) if forecasts else ()), *figures]
    if len(seeds) > 1:
        whose = f"Of seed {seeds[0]}, the first of {len(seeds)}."
        figures = [replace(figure, hint=f"{figure.hint} {whose}") for figure in figures]
    steps = [
        (f"seed {seed}, step {step.name}", step.said)
        for seed, one in pruned.items()
        for step in one.steps
    ]
    return Chapter(
        "",
        figures,
        facts=[*steps, *describe(record)],
        missing=missing,
        table=table,
        method=METHOD,
    )


@contextmanager
def _working(config: LNPRun, path: Path, *, resume: bool) -> Iterator[Path]:
    """The hidden directory of a run, which takes its place when the block ends well."""
    overwrite = config.output.overwrite
    refuse_to_lose(path, overwrite=overwrite)
    work = unfinished(path)
    try:
        work.mkdir(parents=True, exist_ok=True)
        with working_alone(work, f"output.directory: '{path}'"):
            try:
                _begin(config, work, resume=resume)
                yield work
                put_in_place(work, path)
                (path / LOCK).unlink(missing_ok=True)
            finally:
                if work.exists() and not any((work / SCRATCH).glob("seed*")):
                    shutil.rmtree(work)  # nothing to go on from
    except OSError as error:
        raise cannot_write(path, error) from error


def _begin(config: LNPRun, work: Path, *, resume: bool) -> None:
    """Go on from what lies there, if it is of this config, or start afresh."""
    begun = work / CONFIG
    if begun.is_file() and resume:
        if begun.read_text(encoding="utf-8") != config.words():
            raise ConfigError(
                f"resume: what was begun in '{work}' had another config; give the same, or start "
                "again with --overwrite"
            )
        (work / SCRATCH).mkdir(exist_ok=True)
        return
    if begun.is_file() and any((work / SCRATCH).glob("*")) and not config.output.overwrite:
        raise ConfigError(
            f"output.directory: an unfinished run lies in '{work}'. Go on with it (--resume), or "
            "start again (--overwrite)."
        )
    clear(work)
    (work / SCRATCH).mkdir()
    new = begun.with_suffix(".new")
    new.write_text(config.words(), encoding="utf-8")
    new.replace(begun)
