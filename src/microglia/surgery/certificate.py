"""The proof that a compacted network computes what the masked one computes."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils._pytree import tree_leaves, tree_map

from microglia.errors import CertificateError
from microglia.frameworks import first_tensor, fresh_copy, neuron_kind, reset
from microglia.structure import Keep, Structure, as_arguments

OUTPUT_TOLERANCE = 1e-10
"""float64: largest difference of the outputs."""
FLIP_MARGIN = 1e-5
"""float32: how far from the threshold, in thresholds, a first flip may lie."""


@dataclass(frozen=True)
class Certificate:
    """What was compared, and how it came out.

    In float64, both sides cast, every spike is the same and outputs differ by less than 1e-10.
    In the network's own precision the order of summation alone flips a few spikes; they are
    counted, and the first flip lies within 1e-5 of the threshold.
    """

    neurons: int
    """Values of kept neurons compared, over all timesteps and samples."""
    spikes: int
    """How many of these were spikes; none would make the comparison empty."""
    silent_layers: tuple[str, ...]
    """Neuron layers that never fired, about which the comparison says little."""
    output_difference: float
    """Largest difference of the outputs in float64."""
    flips: int
    """Spikes that differ in the network's own precision."""
    flip_margin: float | None
    """Distance of the first flip from the threshold, in thresholds; None where the neuron does
    not let its membrane potential be known."""
    precision: str

    def to_dict(self) -> dict[str, Any]:
        """Plain values, for JSON."""
        return asdict(self)

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> Certificate:
        """The certificate that `to_dict` gave.

        Raises:
            TypeError, ValueError: the values are of something else.
        """
        found = cls(**{**values, "silent_layers": tuple(values.get("silent_layers", ()))})
        str(found)  # a figure that is no number shows here
        return found

    def __str__(self) -> str:
        if not self.spikes:
            return "nothing fired, so this says nothing: pass an input that makes neurons fire"
        silent = f"; silent: {', '.join(self.silent_layers)}" if self.silent_layers else ""
        return (
            f"same in float64: {self.neurons:,} values with {self.spikes:,} spikes, outputs within "
            f"{self.output_difference:.1e}; {self.flips:,} flips in {self.precision}{silent}"
        )


def certify(
    masked: nn.Module,
    small: nn.Module,
    structure: Structure,
    keep: Keep,
    example_input: Any,
    *,
    unread: bool = False,
) -> Certificate:
    """Compare a gated network with its compacted form, spike by spike.

    Closed channels must be silent, unless they are `unread`.

    Networks with single-step neurons run twice without a reset in between, so that states are
    carried over.

    Raises:
        CertificateError: a spike or an output differs, with the layer where it first does.
    """
    arguments = as_arguments(example_input)
    precision = next((p.dtype for p in small.parameters()), torch.float32)
    # One copy of each serves both precisions: float32 in float64 and back is the same number.
    copies = [fresh_copy(model).eval() for model in (masked, small)]
    double = [_run(copy, arguments, torch.float64) for copy in copies]
    neurons, spikes, silent = 0, 0, []
    for name, (_, ours) in double[0].layers.items():
        kept = kept_positions(structure, keep, name, ours.shape)
        if not unread and _fires_elsewhere(ours, kept):
            raise CertificateError(
                f"{name}: closed channels fire although their input is zero, so taking them out "
                "would change what is computed. A neuron must stay silent without an input: check "
                "for a bias or a threshold below its resting potential; or protect this layer."
            )
        theirs = double[1].layers[name][1]
        expected = selected(ours, kept)
        if expected.shape != theirs.shape or not bool((expected == theirs).all()):
            raise CertificateError(
                f"{name}: the compacted layer does not fire as the masked one does in float64 "
                f"({_differ(expected, theirs)})"
            )
        neurons += expected.numel()
        fired = int((expected != 0).sum())
        spikes += fired
        if not fired:
            silent.append(name)
    difference = 0.0
    for a, b in zip(double[0].outputs, double[1].outputs, strict=True):
        if a.shape != b.shape:
            raise CertificateError(f"outputs differ in shape: {tuple(a.shape)}, {tuple(b.shape)}")
        difference = max(difference, float((a - b).abs().max()) if a.numel() else 0.0)
    if not difference <= OUTPUT_TOLERANCE:
        raise CertificateError(
            f"the compacted network's output differs by {difference:.2e} in float64 "
            f"(at most {OUTPUT_TOLERANCE:.0e} was wanted)"
        )
    flips, margin = _flips(copies, structure, keep, arguments, precision)
    return Certificate(
        neurons=neurons,
        spikes=spikes,
        silent_layers=tuple(silent),
        output_difference=difference,
        flips=flips,
        flip_margin=margin,
        precision=str(precision).removeprefix("torch."),
    )


@dataclass
class _Run:
    layers: dict[str, tuple[Tensor | None, Tensor]]
    """Neuron -> (membrane potential, spikes) of all calls, stacked."""
    outputs: list[Tensor]


def _run(copy: nn.Module, arguments: Any, dtype: torch.dtype, *, membrane: bool = False) -> _Run:
    """Cast a network, run it, and write down what fires."""
    reset(cast(copy, dtype))
    hooks: list[Any] = []
    for module in copy.modules():
        # Some surrogates (snnTorch's) give float32 spikes whatever they are given.
        if next(module.children(), None) is None:
            hook = lambda m, args: tree_map(lambda x: as_dtype(x, dtype), args)  # noqa: E731
            hooks.append(module.register_forward_pre_hook(hook, prepend=True))
    seen: dict[str, list[tuple[Tensor | None, Tensor]]] = {}
    before: dict[str, Any] = {}
    for name, module in copy.named_modules():
        kind = neuron_kind(module)
        if kind is None:
            continue

        def enter(m: nn.Module, args: Any, name: str = name, kind: Any = kind) -> None:
            before[name] = kind.snapshot(m)

        def leave(m: nn.Module, args: Any, out: Any, name: str = name, kind: Any = kind) -> None:
            current = first_tensor(args)
            h = kind.observe(m, current, before[name], out, None).membrane if membrane else None
            spikes = first_tensor(out).detach().clone()
            seen.setdefault(name, []).append((h, spikes))

        hooks += module.register_forward_pre_hook(enter), module.register_forward_hook(leave)
    inputs = tree_map(lambda x: as_dtype(x, dtype), arguments)
    device = next((p.device for p in copy.parameters()), torch.device("cpu"))
    inputs = tree_map(lambda x: x.to(device) if isinstance(x, Tensor) else x, inputs)
    # States are carried from step to step: within a call of a multi-step network, else between.
    steps = {kind.multi_step(m) for m in copy.modules() if (kind := neuron_kind(m)) is not None}
    with torch.random.fork_rng(devices=[]), torch.no_grad():
        outputs = [
            y.detach().clone()
            for _ in range(1 if steps == {True} else 2)
            for y in tree_leaves(copy(*inputs))
            if isinstance(y, Tensor)
        ]
    for hook in hooks:
        hook.remove()
    layers = {}
    for name, calls in seen.items():
        potentials = [h for h, _ in calls if h is not None]
        layers[name] = (
            torch.stack(potentials) if len(potentials) == len(calls) else None,
            torch.stack([s for _, s in calls]),
        )
    return _Run(layers, outputs)


def cast(model: nn.Module, dtype: torch.dtype) -> nn.Module:
    """Cast every floating-point tensor of a network, plain attributes too, in place."""
    model.to(dtype)
    for module in model.modules():
        for name, value in list(vars(module).items()):
            if isinstance(value, Tensor):
                vars(module)[name] = as_dtype(value, dtype)
    return model


def as_dtype(x: Any, dtype: torch.dtype) -> Any:
    """A floating-point tensor cast; anything else as it is."""
    return x.to(dtype) if isinstance(x, Tensor) and x.is_floating_point() else x


def kept_positions(
    structure: Structure, keep: Keep, neuron: str, shape: torch.Size
) -> Mapping[int, Tensor]:
    """Dimension -> positions of a neuron layer's spikes that stay."""
    stays: dict[int, Tensor] = {}
    for group in structure.groups:
        for site in group.neurons:
            if site.module == neuron and group.name in keep:
                mask = stays.setdefault(site.dim, torch.ones(shape[site.dim], dtype=torch.bool))
                mine = site.channel >= 0
                mask[mine] &= keep[group.name].cpu()[site.channel[mine]]
    return {dim: mask.nonzero().flatten() for dim, mask in stays.items()}


def selected(x: Tensor, kept: Mapping[int, Tensor]) -> Tensor:
    """The chosen positions along some dimensions (counted from the end)."""
    for dim, positions in kept.items():
        x = x.index_select(dim, positions.to(x.device))
    return x


def _fires_elsewhere(spikes: Tensor, kept: Mapping[int, Tensor]) -> bool:
    return any(
        bool(spikes.index_fill(dim, positions.to(spikes.device), 0).any())
        for dim, positions in kept.items()
    )


def _differ(a: Tensor, b: Tensor) -> str:
    if a.shape != b.shape:
        return f"shapes {tuple(a.shape)} and {tuple(b.shape)}"
    return f"{int((a != b).sum()):,} of {a.numel():,} values"


def _flips(
    copies: list[nn.Module],
    structure: Structure,
    keep: Keep,
    arguments: Any,
    dtype: torch.dtype,
) -> tuple[int, float | None]:
    """Spikes that differ in the network's own precision, and how near the first was."""
    ours = _run(copies[0], arguments, dtype, membrane=True)
    theirs = _run(copies[1], arguments, dtype)
    flips, first = 0, True
    margin: float | None = 0.0
    for name, (h, spikes) in ours.layers.items():
        kept = kept_positions(structure, keep, name, spikes.shape)
        differ = selected(spikes, kept) != theirs.layers[name][1]
        count = int(differ.sum())
        flips += count
        if count and first:
            first = False
            margin = _margin(copies[0], name, h, kept, differ)
            if margin is not None and margin > FLIP_MARGIN:
                raise CertificateError(
                    f"{name}: in {dtype} a spike first flips at {margin:.1e} thresholds from the "
                    f"threshold; summation order explains {FLIP_MARGIN:.0e} at most"
                )
    return flips, margin


def _margin(
    model: nn.Module, name: str, h: Tensor | None, kept: Mapping[int, Tensor], differ: Tensor
) -> float | None:
    """Distance from the threshold of the earliest flips of the first layer that has any."""
    if h is None:
        return None
    module = model.get_submodule(name)
    kind = neuron_kind(module)
    assert kind is not None
    threshold = kind.threshold(module)
    theta = threshold.detach() if isinstance(threshold, Tensor) else torch.tensor(float(threshold))
    away = (selected(h, kept) - selected(theta.expand(h.shape[1:]).expand(h.shape), kept)).abs()
    away = away / theta.abs().max()
    steps = differ.flatten(0, 1) if kind.multi_step(module) else differ
    distances = away.flatten(0, 1) if kind.multi_step(module) else away
    earliest = int(steps.flatten(1).any(1).nonzero()[0])
    return float(distances[earliest][steps[earliest]].max())
