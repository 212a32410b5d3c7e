"""Everything that was measured on one network, in a form to print, compare and keep."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass
from typing import Any

from microglia.errors import ConfigError, DataError
from microglia.metrics.activity import NetworkActivity, NeuronActivity
from microglia.metrics.energy import EnergyTable
from microglia.metrics.latency import Latency
from microglia.metrics.operations import LayerOperations, Operations, Updates
from microglia.metrics.size import Size


@dataclass(frozen=True)
class Figures:
    """What a network achieves and costs, on one data set and one machine.

    `print` it for a table, `summary()` for its numbers by name, `relative_to(dense)` for ratios.
    """

    accuracy: float
    samples: int
    """How many the accuracy and the activity come from."""
    size: Size
    operations: Operations
    energy: EnergyTable
    activity: NetworkActivity
    latency: Latency | None
    peak_memory_bytes: int | None

    def summary(self) -> dict[str, float]:
        """The figures by name, one number each; operations and energy are per sample.

        Parameters, synapses and SynOps don't compare with one another. Accumulates and
        multiply-accumulates stand apart; `synops_*` is their sum. `*_once` and `*_times_T` are
        the two conventions for the first layer of a static image. What wasn't measured is left
        out.
        """
        operations, activity = self.operations, self.activity
        figures: dict[str, float] = {
            "accuracy": self.accuracy,
            "parameters": self.size.parameters,
            "nonzero_parameters": self.size.nonzero_parameters,
            "bytes": self.size.bytes,
            "synapses": operations.synapses,
        }
        for convention in ("once", "times_T"):
            totals = getattr(operations, convention)
            figures[f"macs_{convention}"] = totals.macs
            figures[f"synops_{convention}"] = totals.synops
            figures[f"accumulates_{convention}"] = totals.accumulates
            figures[f"multiply_accumulates_{convention}"] = totals.multiply_accumulates
            figures[f"energy_nj_{convention}"] = self.energy.nanojoules(
                totals.accumulates, totals.multiply_accumulates
            )
        figures["neuron_updates"] = operations.updates.neurons
        figures["norm_updates"] = operations.updates.norms
        figures["bias_additions"] = operations.updates.biases
        if activity.firing_rate is not None:
            figures["firing_rate"] = activity.firing_rate
            figures["neurons"] = activity.neurons
            figures["dead_neurons"] = activity.dead
            figures["saturated_neurons"] = activity.saturated
            figures["open_neurons"] = activity.neurons - activity.masked
        if self.latency is not None:
            figures["latency_ms"] = self.latency.median_ms
        if self.peak_memory_bytes is not None:
            figures["peak_memory_bytes"] = self.peak_memory_bytes
        return figures

    def relative_to(self, dense: Figures) -> dict[str, float]:
        """Each figure as a fraction of the dense network's: `parameters` is parameters kept,
        `synapses` synapses kept, `synops_once` SynOps kept, and so on.

        Left out is what is zero or wasn't measured in the dense network, and latency and memory
        where device, threads or input differ. Clocks of two moments drift: for a ratio of
        latencies that counts, put in those of one `compare_latency` with `dataclasses.replace`.

        Raises:
            ConfigError: the two have energies by different tables.
        """
        if self.energy != dense.energy:
            raise ConfigError(
                f"energies by '{self.energy.name}' and '{dense.energy.name}' don't compare; "
                "measure both with the same energy="
            )
        reference = dense.summary()
        if _conditions(self.latency) != _conditions(dense.latency):
            reference["latency_ms"] = reference["peak_memory_bytes"] = 0
        return {
            name: value / reference[name]
            for name, value in self.summary().items()
            if reference.get(name)
        }

    def to_json(self) -> str:
        """The figures as readable JSON; `from_json` gives back an equal object."""
        return json.dumps(asdict(self), indent=2, allow_nan=False)

    @classmethod
    def from_json(cls, text: str) -> Figures:
        """Figures from what `to_json` wrote.

        Raises:
            DataError: the text is no JSON, or not that of figures.
        """
        try:
            return _from_dict(json.loads(text))
        except (ValueError, KeyError, TypeError) as error:
            raise DataError(
                f"these aren't figures that Figures.to_json wrote ({error}); measure again"
            ) from error

    def __str__(self) -> str:
        label = max(len(name) for name, _ in _rows(self))
        return "\n".join(f"{name:<{label}}  {value}" for name, value in _rows(self))


def _conditions(clock: Latency | None) -> object:
    return clock and (clock.device, clock.threads, clock.batch)


def _from_dict(data: dict[str, Any]) -> Figures:
    operations, timing = data["operations"], data["latency"]
    layers = [
        NeuronActivity(**{**layer, "shape": tuple(layer["shape"])})
        for layer in data["activity"]["layers"]
    ]
    return Figures(
        accuracy=data["accuracy"],
        samples=data["samples"],
        size=Size(**data["size"]),
        operations=Operations(
            T=operations["T"],
            samples=operations["samples"],
            layers=tuple(LayerOperations(**layer) for layer in operations["layers"]),
            updates=Updates(**operations["updates"]),
            uncounted=tuple(operations["uncounted"]),
        ),
        energy=EnergyTable(**data["energy"]),
        activity=NetworkActivity(tuple(layers)),
        latency=None
        if timing is None
        else Latency(
            times_ms=tuple(timing["times_ms"]),
            device=timing["device"],
            threads=timing["threads"],
            batch=tuple(timing["batch"]),
        ),
        peak_memory_bytes=data["peak_memory_bytes"],
    )


def _rows(figures: Figures) -> list[tuple[str, str]]:
    """Lines of the printed table: a label, and its figures in words."""
    size, operations, activity = figures.size, figures.operations, figures.activity
    updates, clock = operations.updates, figures.latency
    once, times_T = operations.once, operations.times_T

    def both(first: float, second: float, unit: str = "") -> str:
        shown = f"{_number(first)}{unit}"
        return shown if first == second else f"{shown} (x T: {_number(second)}{unit})"

    rows = [
        ("accuracy", f"{figures.accuracy:.2%} of {figures.samples:,} samples"),
        ("parameters", f"{size.parameters:,} ({size.nonzero_parameters:,} not zero)"),
        ("bytes", f"{size.bytes:,} of parameters and buffers"),
        ("synapses", _number(operations.synapses)),
        ("timesteps T", str(operations.T)),
        ("MACs, dense", both(once.macs, times_T.macs)),
        ("SynOps, accumulates", both(once.accumulates, times_T.accumulates)),
        (
            "SynOps, multiply-accumulates",
            both(once.multiply_accumulates, times_T.multiply_accumulates),
        ),
        (
            f"energy, {figures.energy.name}",
            both(
                figures.energy.nanojoules(once.accumulates, once.multiply_accumulates),
                figures.energy.nanojoules(times_T.accumulates, times_T.multiply_accumulates),
                " nJ",
            ),
        ),
        (
            "updates",
            f"{_number(updates.neurons)} neuron, {_number(updates.norms)} norm, "
            f"{_number(updates.biases)} bias",
        ),
    ]
    if activity.firing_rate is not None:
        masked = f", {activity.masked:,} masked" if activity.masked else ""
        state = f"{activity.dead:,} dead{masked}, {activity.saturated:,} saturated"
        rows += [
            ("firing rate", f"{activity.firing_rate:.4f} per neuron and timestep"),
            ("neurons", f"{activity.neurons:,} ({state})"),
        ]
    if clock is not None:
        low, high = clock.quartiles_ms
        rows.append(
            (
                "latency",
                f"{clock.median_ms:.2f} ms ({low:.2f} to {high:.2f}), batch {list(clock.batch)}, "
                f"{clock.device}, {clock.threads} threads, {len(clock.times_ms)} repeats",
            )
        )
    if figures.peak_memory_bytes is not None:
        rows.append(("peak memory", f"{figures.peak_memory_bytes:,} bytes beyond the weights"))
    rows.append(("operations", f"means per sample over {operations.samples:,} samples"))
    if operations.static_input:
        rows.append(("first layer", "sees a static image: executed once (x T: at every timestep)"))
    if operations.uncounted:
        rows.append(("not counted", ", ".join(operations.uncounted)))
    return rows


def _number(value: float) -> str:
    return f"{value:,.0f}" if value == int(value) else f"{value:,.1f}"
