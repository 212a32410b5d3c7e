"""The figures of the comparison table, in its order."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

from microglia.metrics import HOROWITZ_45NM
from microglia.report import Column, Table

_ONCE = "The first layer of a static image is executed once, not at every timestep."
_TIMES_T = "The convention that executes the first layer of a static image at every timestep."

COLUMNS = (
    Column("accuracy", "accuracy", "%", 100, 2, "On the test images, once."),
    Column("channels", "channels", note="Of the layers that the method may prune."),
    Column("weights", "open weights", note="Of the layers that the method may prune."),
    Column(
        "epochs",
        "epochs",
        note="Of training, with those of the dense network it starts or learns from.",
    ),
    Column("parameters", "parameters", note="Every parameter of the network."),
    Column("nonzero_parameters", "not zero", note="Of the parameters."),
    Column("synapses", "synapses", note="A shared weight counts once for each place it is used."),
    Column("macs_once", "MACs", note=f"Dense, per image. {_ONCE}"),
    Column("macs_times_T", "MACs, ×T", note=_TIMES_T),
    Column("accumulates_once", "SynOps, AC", note=f"Binary inputs, per image. {_ONCE}"),
    Column("accumulates_times_T", "SynOps, AC, ×T", note=_TIMES_T),
    Column("multiply_accumulates_once", "SynOps, MAC", note=f"Graded inputs, per image. {_ONCE}"),
    Column("multiply_accumulates_times_T", "SynOps, MAC, ×T", note=_TIMES_T),
    Column("firing_rate", "firing rate", "%", 100, 2, "Spikes per neuron and timestep."),
    Column("dead_neurons", "dead neurons", note="Neurons that never fired on the test images."),
    Column("open_neurons", "neurons", note="Those that no mask closes."),
    Column("energy_nj_once", "energy", "nJ", 1, 1, f"Synaptic operations alone. {_ONCE}"),
    Column("energy_nj_times_T", "energy, ×T", "nJ", 1, 1, _TIMES_T),
    Column("latency_ms", "latency", "ms", 1, 2, "Median, of one batch, norms folded."),
    Column("latency_iqr_ms", "latency, spread", "ms", 1, 2, "Between its quartiles."),
    Column("peak_memory_bytes", "peak memory", "MB", 1e-6, 2, "Of that batch, beside the weights."),
)


def caption_of(table: Table) -> str:
    """What a reader of the table must know, in a line or two."""
    parts = [
        "Operations and energy: per image.",
        f"Energy: {HOROWITZ_45NM}.",
    ]
    if table.reference in table.rows:
        parts.insert(0, f"×0.50: half of {table.title(table.reference)}.")
    if any(column.key.endswith("_times_T") for column in table.columns):
        parts.append("The first layer sees a static image: executed once; ×T: at every timestep.")
    return " ".join(parts)


def columns_for(rows: Mapping[str, Sequence[Mapping[str, float]]]) -> tuple[Column, ...]:
    """The columns worth a line: those that are known, the ×T convention only where it differs."""
    figures = [f for seeds in rows.values() for f in seeds]
    known = {key for f in figures for key in f}
    if "weights" not in known:  # zeros count where weights were pruned
        known.discard("nonzero_parameters")
    if all(f.get("open_neurons") == f.get("neurons") for f in figures):  # no masks of neurons
        known.discard("open_neurons")
    return tuple(c for c in COLUMNS if c.key in known and not _repeats(c.key, figures))


def _repeats(key: str, figures: Iterable[Mapping[str, float]]) -> bool:
    if not key.endswith("_times_T"):
        return False
    once = key.replace("_times_T", "_once")
    return all(f.get(key) == f.get(once) for f in figures)
