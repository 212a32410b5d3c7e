"""The records of runs, whatever form they lie in: run directories, results files, or both.

A run's table, of `prune` and `train`, is read as the records that jobs would have left: one for
each network and seed. What a table alone lacks (epochs, layers, scores) is in a run's directory.
"""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from microglia.errors import DataError
from microglia.experiment.config import DENSE, RunConfig
from microglia.experiment.job import Record, name_of, read_config
from microglia.experiment.left_behind import left_behind
from microglia.experiment.lines import read_lines, warn_if_cut
from microglia.experiment.run_dir import TABLE

LABELS = {"sca": "SCA"}
"""Labels that runs and jobs write differently."""


@dataclass(frozen=True)
class _Source:
    """Records of one experiment that share everything but their pruning, and where they lay."""

    path: Path
    name: str
    experiment: str
    settings: str
    records: Sequence[Record]


def read_runs(paths: Sequence[Path]) -> list[Record]:
    """The records of all these run directories, results files and folders of either.

    Experiments of one name but other data, network or training are told apart by where they lay,
    and so are networks of one experiment, label and sparsity that were pruned by other settings; of
    equal jobs the last one counts. A last line that was cut short is left out with a warning.

    Raises:
        DataError: there is no run at a path, a file is empty, or of another version.
    """
    sources = _told_apart([source for path in paths for source in _sources(path)])
    kinds: dict[str, dict[str, list[str]]] = {}
    for source in sources:
        named = kinds.setdefault(source.experiment, {}).setdefault(source.settings, [])
        named += [source.name] if source.name not in named else []
    ways: dict[tuple[str, ...], set[str]] = {}
    for source in sources:
        for record in source.records:
            ways.setdefault(_what(source, record), set()).add(_how(record))
    found: dict[str, Record] = {}
    for source in sources:
        title = source.experiment
        if len(kinds[title]) > 1:
            title = f"{title} ({', '.join(kinds[title][source.settings])})"
        for record in source.records:
            label = _named(record)
            if label != DENSE and len(ways[_what(source, record)]) > 1:
                label = f"{label} ({source.name})"
            name = name_of(title, label, record["sparsity"], record["seed"])
            found[name] = {**record, "name": name, "experiment": title, "label": label}
    return list(found.values())


def _told_apart(sources: Sequence[_Source]) -> list[_Source]:
    """Sources of one name from several paths get the folders before it that tell these apart."""
    parts = {source.path: source.path.resolve().parts for source in sources}
    found = []
    for source in sources:
        mine, deep = parts[source.path], 1
        others = {parts[s.path] for s in sources if s.name == source.name} - {mine}
        while any(mine[-deep:] == other[-deep:] for other in others):
            deep += 1
        last = mine[-1] if others and deep == 1 else source.name
        found.append(dataclasses.replace(source, name="/".join((*mine[-deep:-1], last))))
    return found


def _named(record: Record) -> str:
    label = str(record["label"])
    return LABELS.get(label, label)


def _what(source: _Source, record: Record) -> tuple[str, ...]:
    """What a network is compared as, whatever its seed."""
    return source.experiment, source.settings, _named(record), str(record["sparsity"])


def _how(record: Record) -> str:
    """The settings by which it was pruned, as text, whatever controls stood beside it."""
    pruning = read_config(record["config"], where=_named(record)).to_dict()["pruning"]
    return json.dumps({**pruning, "controls": None}, sort_keys=True)


def _sources(path: Path) -> Iterable[_Source]:
    """Those of one path that a user gave."""
    if path.is_file():
        return _of_file(path)
    if (path / TABLE).is_file():
        return [_of_directory(path)]
    if not path.is_dir():
        raise DataError(f"'{path}' is not there; name a run directory or a results file (.jsonl).")
    runs = [
        p
        for p in sorted(path.iterdir())
        if (p.suffix == ".jsonl" and not _of_reservoirs(p)) or (p / TABLE).is_file()
    ]
    if not runs:
        raise DataError(
            f"'{path}' is no run ({TABLE} is missing), and holds neither runs nor results files "
            "(.jsonl)."
        )
    return [source for run in runs for source in _sources(run)]


def _of_reservoirs(path: Path) -> bool:
    """Whether a results file is of recurrent networks, which have tables of their own."""
    first = next(iter(read_lines(path)), None)
    return isinstance(first, dict) and first.get("kind", "network") != "network"


def _of_file(path: Path) -> list[_Source]:
    warn_if_cut(path)
    lines = read_lines(path)
    if _of_reservoirs(path):
        raise DataError(
            f"'{path}' is of untrained recurrent networks; `microglia reproduce lnp --tables` "
            "prints its tables."
        )
    if not lines:
        raise DataError(f"'{path}' holds no result yet.")
    found, jobs = [], []
    for number, line in enumerate(lines, 1):
        where = f"{path}: line {number}"
        kind = _kind(line, where)
        if kind == "run":
            name = path.stem if len(lines) == 1 else f"{path.stem}, line {number}"
            found.append(_of_run(line, name, where=where, path=path, work=None))
        else:
            read_config(line["config"], where=where)
            jobs.append(line)
    return [*found, *_of_jobs(jobs, path)]


def _kind(line: Any, where: str) -> str:
    """Whether a line is of a whole run or of a job.

    Raises:
        DataError: it is neither.
    """
    job = {"name", "experiment", "label", "method", "sparsity", "seed", "figures", "config"}
    if isinstance(line, dict):
        if {"table", "config"} <= set(line):
            return "run"
        if job <= set(line) and "accuracy" in line["figures"]:
            return "job"
        if written := line.get("versions", {}).get("microglia"):
            raise DataError(f"{where} is of another version, microglia {written}; run it again.")
    raise DataError(f"{where} is no result of a run; name another file.")


def _of_jobs(records: Sequence[Record], path: Path) -> list[_Source]:
    """A source for each experiment; the dense network's settings stand for all."""
    found = []
    for experiment in dict.fromkeys(r["experiment"] for r in records):
        mine = [r for r in records if r["experiment"] == experiment]
        dense = next((r for r in mine if r["label"] == DENSE), mine[0])
        settings = _settings(read_config(dense["config"], where=dense["name"]))
        found.append(_Source(path, path.stem, experiment, settings, mine))
    return found


def _of_directory(path: Path) -> _Source:
    try:
        record = json.loads((path / TABLE).read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise DataError(f"'{path / TABLE}' can't be read ({error})") from error
    if not isinstance(record, dict) or _kind(record, str(path / TABLE)) != "run":
        raise DataError(f"'{path / TABLE}' is no table of a run.")
    return _of_run(record, path.resolve().name, where=str(path / TABLE), path=path, work=path)


def _of_run(record: Record, name: str, *, where: str, path: Path, work: Path | None) -> _Source:
    """A table's networks as records, with what they left in the run's directory, if it is there."""
    config = read_config(record["config"], where=where)
    experiment = f"{Path(config.data.source).name}-{config.network.name}"
    try:
        figures = dict(_figures(record["table"], config.seeds))
    except (KeyError, TypeError, IndexError) as error:
        raise DataError(
            f"{where} is of another version, microglia "
            f"{record.get('versions', {}).get('microglia', 'unknown')}; run it again."
        ) from error
    left = left_behind(work) if work else {}
    records = []
    for (network, seed), values in figures.items():
        dense = figures.get((DENSE, seed), {})
        own: Mapping[str, Any] = left.get((network, seed), {})
        records.append(
            {
                **{key: record.get(key) for key in ("date", "commit", "machine", "versions")},
                "label": _label(network, config),
                "method": network,
                "sparsity": 0.0 if network == DENSE else _sparsity(config),
                "seed": seed,
                "config": record["config"],
                "epochs": [],
                "changes": [],
                "kept": {},
                "scores": {},
                **own,
                "figures": _whole({**own.get("figures", {}), **values}, dense),
                **_taken_away(values, dense),
                **_parameters_kept(values, dense),
            }
        )
    return _Source(path, name, experiment, _settings(config), records)


def _figures(
    table: Mapping[str, Any], seeds: Sequence[int]
) -> Iterator[tuple[tuple[str, int], dict[str, float]]]:
    """(network, seed) -> its figures; one that some seeds lack is nobody's."""
    for network, row in table["rows"].items():
        found = {key: f["values"] for key, f in row.items() if None not in f["values"]}
        whole = {key: values for key, values in found.items() if len(values) == len(seeds)}
        if "accuracy" not in whole:
            raise KeyError("accuracy")
        for i, seed in enumerate(seeds):
            yield (network, seed), {key: values[i] for key, values in whole.items()}


def _label(network: str, config: RunConfig) -> str:
    """The method, and the target where there is one in place of a sparsity."""
    if network == DENSE or config.pruning.sparsity is not None:
        return network
    ((quantity, fraction),) = config.pruning.target.items()
    return f"{network} at {100 * fraction:g} % of {quantity}"


def _sparsity(config: RunConfig) -> float:
    """As asked for; of a target, what may go."""
    pruning = config.pruning
    if pruning.sparsity is not None:
        return pruning.sparsity
    return 1 - next(iter(pruning.target.values()))


def _whole(figures: Mapping[str, float], dense: Mapping[str, float]) -> dict[str, float]:
    """With the sum of SynOps, and the ratio of latencies: a run's clocks are interleaved."""
    parts = ("accumulates_once", "multiply_accumulates_once")
    figures = {"synops_once": sum(figures.get(part, 0.0) for part in parts), **figures}
    if not ("latency_ms" in figures and dense.get("latency_ms")):
        return figures
    return {**figures, "latency_ratio": figures["latency_ms"] / dense["latency_ms"]}


def _taken_away(values: Mapping[str, float], dense: Mapping[str, float]) -> dict[str, float]:
    """The fraction of channels, or weights, that a network lacks."""
    for units in ("channels", "weights"):
        if units in values and dense.get(units):
            return {"taken_away": 1 - values[units] / dense[units]}
    return {}


def _parameters_kept(values: Mapping[str, float], dense: Mapping[str, float]) -> dict[str, float]:
    """Closed weights are zeros in a network of the same size."""
    if "weights" not in values or "weights" not in dense:
        return {}
    return {"parameters_kept": 1 - (dense["weights"] - values["weights"]) / dense["parameters"]}


def _settings(config: RunConfig) -> str:
    """What makes two dense networks comparable, as text."""
    table = config.to_dict()
    for how in ("device", "accelerate", "loggers"):
        del table["training"][how]
    return json.dumps([table[part] for part in ("network", "data", "training")], sort_keys=True)
