"""The table of a comparison: the columns of the SCA paper's Table 1, and what that lacks."""

from __future__ import annotations

import csv
import math
import statistics
import uuid
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from microglia.errors import DataError
from microglia.experiment.config import DENSE, builds_on_dense
from microglia.experiment.job import Record
from microglia.experiment.published import LACKING, PUBLISHED
from microglia.experiment.statistics import mean_and_spread, paired_difference
from microglia.methods import METHODS

Row = dict[str, Any]

KEPT = {
    "synapses kept": "synapses",
    "SynOps kept": "synops_once",
    "energy": "energy_nj_once",
}


def rows(records: Iterable[Record]) -> list[Row]:
    """A tidy row for each finished run; fractions are of the dense network of the same seed.

    `loss` is points of accuracy below the dense network's; `cost` the epochs trained over its
    epochs, those of the dense network that a method starts or learns from included (what a teacher
    says in each batch is not), and those of all trials of a search for its settings, which `tuned`
    counts. What a record lacks is NaN.
    """
    records = list(records)
    dense = {_setting(r): r for r in records if r["label"] == DENSE}
    found = []
    for record in records:
        reference = dense.get(_setting(record))
        if reference is not None:
            found.append(_row(record, reference))
    return found


def _setting(record: Record) -> tuple[Any, ...]:
    """What a network and its dense one have in common."""
    return record["experiment"], record["config"]["network"]["T"], record["seed"]


def _row(record: Record, dense: Record) -> Row:
    mine, theirs, method = record["figures"], dense["figures"], record["method"]
    cls = METHODS.get(method)
    epochs = len(record["epochs"])
    config = record["config"]
    pruning = config["pruning"]
    if cls is not None and (
        pruning.get("distill") or builds_on_dense(method, pruning.get("options", {}))
    ):
        epochs += len(dense["epochs"])
    search = record.get("search") or {"trials": 0, "epochs": 0}
    epochs += search["epochs"]
    return {
        "data": config["data"]["source"],
        "network": f"{config['network']['name']} ×{config['network']['width']:g}",
        "T": config["network"]["T"],
        "method": _label(record),
        "granularity": cls.prunes if cls else "–",
        "sparsity": record["sparsity"],
        "sparsity_reached": record.get("sparsity_reached"),
        "seed": record["seed"],
        "dense_accuracy": 100 * theirs["accuracy"],
        "accuracy": 100 * mine["accuracy"],
        "loss": 100 * (theirs["accuracy"] - mine["accuracy"]),
        "connectivity": record.get("parameters_kept", mine["parameters"] / theirs["parameters"]),
        **{n: _part(mine, k, theirs, k) for n, k in KEPT.items()},
        "size": _part(mine, "bytes", theirs, "bytes"),
        "size as CSR": _part(mine, "bytes_csr", theirs, "bytes"),
        "bytes on disk": mine.get("bytes_file", math.nan),
        "latency": mine.get("latency_ratio", math.nan),
        "latency as CSR": mine.get("csr_latency_ratio", math.nan),
        "cost": epochs / len(dense["epochs"]) if dense["epochs"] else math.nan,
        "tuned": search["trials"],
        "published": PUBLISHED.get(method, ""),
        "lacking": LACKING.get(method, ""),
        "commit": record["commit"],
        "date": record["date"],
    }


def _label(record: Record) -> str:
    """What was run: a penalty that the paper trains with isn't left out in silence."""
    method, pruning = record["method"], record["config"]["pruning"]
    usual = METHODS[method].usual_penalty if method in METHODS else 0.0
    bare = usual and not pruning.get("options", {}).get("penalty")
    return f"{record['label']}, without sparsity training" if bare else str(record["label"])


def _part(mine: Mapping[str, float], key: str, theirs: Mapping[str, float], whole: str) -> float:
    return mine.get(key, math.nan) / theirs.get(whole, math.nan)


def write_csv(found: Sequence[Row], path: Path) -> None:
    """The rows as a file with a heading, which takes the place of another whole or not at all.

    Raises:
        DataError: the file can't be written.
    """
    scratch = path.with_name(f".{path.name}.{uuid.uuid4().hex}")
    try:
        with scratch.open("w", encoding="utf-8", newline="") as file:
            writer = csv.DictWriter(file, fieldnames=list(found[0]) if found else [])
            writer.writeheader()
            writer.writerows(found)
        scratch.replace(path)
    except OSError as error:
        raise DataError(f"'{path}' could not be written ({error.strerror}).") from error
    finally:
        scratch.unlink(missing_ok=True)


def tables(records: Iterable[Record]) -> str:
    """The table of these records."""
    return markdown(rows(records))


RANDOM = ("random", "random-weights")
"""Methods that choose by chance, one for channels and one for weights."""
COLUMNS = (
    "data | network | T | method | prunes | sparsity | dense, % | accuracy, % | "
    "− dense, points, paired 95 % interval | − random, points, the same | connectivity | "
    "synapses | SynOps | energy | size / CSR | latency / CSR | training | tuning trials | "
    "reached alone | seeds | published"
)
LEGEND = (
    "×: of the dense network of the same seed. Sparsity: as asked for, of channels or weights; a "
    "narrow network beside weights keeps the parameters of random weights. Reached alone: the "
    "sparsity that a method came to by its own rule before it was cut to the one asked for. "
    "Connectivity: parameters that masks leave open. − random: accuracy less that of random "
    "channels or weights at the same sparsity. Size and latency are of the compact network, and "
    "after the slash with its layers of few weights as CSR matrices. Training counts the dense "
    "network's epochs where a method builds on it, and those of all trials of tuning. Published: "
    "as papers report it, of their networks and training."
)


def markdown(found: Sequence[Row]) -> str:
    """A line for each method at each sparsity, means over seeds with their spread; then notes."""
    lines = [f"| {COLUMNS} |", "|" + "---|" * len(COLUMNS.split(" | "))]
    by_method: dict[tuple[Any, ...], list[Row]] = {}
    for row in found:
        if row["method"] != DENSE:
            place = row["data"], row["network"], row["T"]
            key = (*place, row["granularity"], row["sparsity"], row["method"])
            by_method.setdefault(key, []).append(row)
    for key, some in sorted(by_method.items()):
        *setting, _ = key
        random = [r for name in RANDOM for r in by_method.get((*setting, name), [])]
        lines.append(_line(key, some, random))
    notes = {f"{row['method']}: {row['lacking']}.": None for row in found if row["lacking"]}
    return "\n".join([*_headings(found), "", *lines, "", " ".join([LEGEND, *notes])]) + "\n"


def _headings(found: Sequence[Row]) -> list[str]:
    """The dense networks, a line each."""
    dense: dict[str, list[float]] = {}
    for row in found:
        if row["method"] == DENSE:
            name = f"{row['data']}, {row['network']}, T={row['T']}"
            dense.setdefault(name, []).append(row["accuracy"])
    return [f"Dense, {name}: {mean_and_spread(a)} %, {len(a)} seeds." for name, a in dense.items()]


def _line(key: tuple[Any, ...], some: Sequence[Row], random: Sequence[Row]) -> str:
    """Of one data set, network, T, granularity, sparsity and method; and what chance gets there."""
    *place, granularity, sparsity, method = key
    mine = _by_seed(some, "accuracy")
    lost = paired_difference(mine, _by_seed(some, "dense_accuracy"))
    gained = None if method in RANDOM else paired_difference(mine, _by_seed(random, "accuracy"))
    reached = [r["sparsity_reached"] for r in some if r["sparsity_reached"] is not None]
    cells = [
        *map(str, place),
        method,
        granularity,
        f"{sparsity:g}",
        f"{statistics.fmean(r['dense_accuracy'] for r in some):.2f}",
        mean_and_spread([r["accuracy"] for r in some]),
        lost.text() if lost else "–",
        gained.text() if gained else "–",
        *(_mean(some, key, "×{:.3f}".format) for key in ("connectivity", *KEPT)),
        *(_with_csr(some, key) for key in ("size", "latency")),
        _mean(some, "cost", "×{:.2f}".format),
        str(tuned) if (tuned := max(r["tuned"] for r in some)) else "–",
        f"{statistics.fmean(reached):.3f}" if reached else "–",
        str(len(some)),
        some[0]["published"] or "–",
    ]
    return "| " + " | ".join(cells) + " |"


def _mean(some: Sequence[Row], key: str, text: Callable[[float], str]) -> str:
    return text(statistics.fmean(float(row[key]) for row in some))


def _with_csr(some: Sequence[Row], key: str) -> str:
    """Of the compact network, and of the same with CSR matrices where that was measured."""
    found = [_mean(some, name, "×{:.2f}".format) for name in (key, f"{key} as CSR")]
    return " / ".join(text for text in found if text != "×nan")


def _by_seed(some: Iterable[Mapping[str, Any]], key: str) -> dict[int, float]:
    return {row["seed"]: row[key] for row in some}
