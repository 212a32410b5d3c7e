"""Synapses, multiply-accumulates and synaptic operations of a network, layer by layer."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class LayerOperations:
    """One synapse layer: means per sample, over all its timesteps.

    For the first layer of a static image they are those of executing it once; multiplied by
    `repeats` they are those of executing it at every timestep.
    """

    name: str
    kind: str
    synapses: float
    """Connections of one timestep: non-zero weights, once for each place each is used at,
    exact at borders."""
    macs: float
    """Dense multiply-accumulates, as the field counts them (`synapses.dense_macs`)."""
    accumulates: float
    """Non-zero weights met by non-zero inputs, where the layer was given zeros and ones alone."""
    multiply_accumulates: float
    """The same, where it was ever given another value."""
    repeats: int = 1
    """T for the first layer of a static image, else 1."""


@dataclass(frozen=True)
class Totals:
    """Operations of all synapse layers, per sample, under one convention."""

    macs: float
    """Dense multiply-accumulates: every weight, every input, padding included."""
    accumulates: float
    multiply_accumulates: float

    @property
    def synops(self) -> float:
        """SynOps of both kinds: accumulates plus multiply-accumulates."""
        return self.accumulates + self.multiply_accumulates


@dataclass(frozen=True)
class Updates:
    """Work outside the synapses, as executed: means per sample, over all timesteps."""

    neurons: float
    """Neurons × T."""
    norms: float
    """Elements that norms have put out."""
    biases: float
    """Bias additions of the synapse layers."""


@dataclass(frozen=True)
class Operations:
    """Operations of a network by layer, and their totals under both conventions.

    The conventions differ in the first layer of a static image, and only in that.
    """

    T: int
    samples: int
    layers: tuple[LayerOperations, ...]
    """In the order in which they first ran."""
    updates: Updates
    uncounted: tuple[str, ...]
    """Weights that no counted layer used: what they cost is missing here."""

    @property
    def static_input(self) -> bool:
        """Whether the first layer gets the same input at all of several timesteps."""
        return any(layer.repeats > 1 for layer in self.layers)

    @property
    def synapses(self) -> float:
        """Connections of one timestep, exact at borders."""
        return sum(layer.synapses for layer in self.layers)

    @property
    def once(self) -> Totals:
        """With the first layer of a static image executed once, however the network is written."""
        return _totals(self.layers, [1] * len(self.layers))

    @property
    def times_T(self) -> Totals:  # noqa: N802 (T is the field's letter)
        """With the first layer of a static image executed at every timestep."""
        return _totals(self.layers, [layer.repeats for layer in self.layers])


def _totals(layers: tuple[LayerOperations, ...], repeats: list[int]) -> Totals:
    weighted = list(zip(layers, repeats, strict=True))
    return Totals(
        macs=sum(layer.macs * r for layer, r in weighted),
        accumulates=sum(layer.accumulates * r for layer, r in weighted),
        multiply_accumulates=sum(layer.multiply_accumulates * r for layer, r in weighted),
    )
