"""A rehearsal of a cut: does a network compute the same without the channels as with them shut?"""

from __future__ import annotations

from math import gcd
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils._pytree import tree_leaves, tree_map

from microglia.frameworks import bare_copy, first_tensor, neuron_kind, reset, spiking_neurons
from microglia.gates import Gates
from microglia.structure import Group, Keep, Structure, as_arguments
from microglia.surgery.certificate import as_dtype, cast, kept_positions, selected
from microglia.surgery.cut import cut

TOLERANCE = 1e-4
"""Largest difference, relative to the largest value, that float32 explains."""


def rehearse(
    model: nn.Module, structure: Structure, groups: list[Group], example_input: Any
) -> str | None:
    """Remove half of the channels of these groups from a copy, and run it beside a gated one.

    Every neuron fires at random, the same in both, so that no silent layer hides a difference.

    Returns:
        What went wrong: an error, or the first neuron that gets another current; else None.
    """
    generator = torch.Generator().manual_seed(0)
    keep = {g.name: _half(g.size, generator) for g in groups}
    gated = cast(bare_copy(model).cpu(), torch.float32)
    Gates(gated, structure).set(keep)
    small = cast(cut(model, structure, keep)[0].cpu(), torch.float32)
    arguments = tree_map(
        lambda x: as_dtype(x.detach().cpu(), torch.float32) if isinstance(x, Tensor) else x,
        as_arguments(example_input),
    )
    ours = _Run(structure, keep, spikes={})
    ours(gated, arguments)
    theirs = _Run(structure, {}, spikes=ours.spikes)
    try:
        theirs(small, arguments)
    except Exception as error:
        return f"the network fails when it is narrower: {str(error).splitlines()[0]}"
    for (where, expected), (_, current) in zip(ours.seen, theirs.seen, strict=True):
        scale = float(expected.abs().max()) if expected.numel() else 0.0
        if expected.shape != current.shape or not bool(
            ((expected - current).abs() <= TOLERANCE * max(scale, 1.0)).all()
        ):
            return (
                f"with channels removed '{where}' gets something else than with them silent: a "
                "constant added after a neuron, or a forward that counts on the width"
            )
    return None


def _half(size: int, generator: torch.Generator) -> Tensor:
    """About half of the channels, as many as share no divisor with the width."""
    # A forward that cuts the channels in a fixed number of parts then fails, or mixes them up.
    count = max(k for k in range(1, size // 2 + 1) if gcd(k, size) == 1)
    keep = torch.zeros(size, dtype=torch.bool)
    keep[torch.randperm(size, generator=generator)[:count]] = True
    return keep


class _Run:
    """The currents of all neurons and the outputs of one run, with the spikes forced."""

    def __init__(
        self, structure: Structure, keep: Keep, *, spikes: dict[tuple[str, int], Tensor]
    ) -> None:
        self.structure, self.keep, self.spikes = structure, keep, spikes
        self.replay = bool(spikes)
        self.seen: list[tuple[str, Tensor]] = []
        self.generator = torch.Generator().manual_seed(0)
        self.calls: dict[str, int] = {}

    def __call__(self, model: nn.Module, arguments: tuple[Any, ...]) -> None:
        reset(model.eval())
        single = False
        for name, module in spiking_neurons(model).items():
            kind = neuron_kind(module)
            single = single or (kind is not None and not kind.multi_step(module))
            module.register_forward_pre_hook(self._current(name))
            module.register_forward_hook(self._force(name))
        with torch.random.fork_rng(devices=[]), torch.no_grad():
            torch.manual_seed(0)
            outputs = [model(*arguments) for _ in range(2 if single else 1)]
        self.seen += [("output", y) for y in tree_leaves(outputs) if isinstance(y, Tensor)]

    def _current(self, name: str) -> Any:
        def hook(module: nn.Module, args: Any) -> None:
            x = first_tensor(args)
            self.seen.append((name, selected(x, self._kept(name, x)).clone()))

        return hook

    def _force(self, name: str) -> Any:
        def hook(module: nn.Module, args: Any, output: Any) -> Any:
            y = first_tensor(output)
            forced = self._spikes(name, y)
            return forced if isinstance(output, Tensor) else (forced, *output[1:])

        return hook

    def _spikes(self, name: str, y: Tensor) -> Tensor:
        call = name, self.calls.get(name, 0)
        self.calls[name] = call[1] + 1
        if self.replay:
            return self.spikes[call].clone()
        kept = self._kept(name, y)
        spikes = torch.rand(y.shape, generator=self.generator).round()
        self.spikes[call] = selected(spikes, kept).to(y.dtype)
        for dim, positions in kept.items():
            shut = torch.ones(y.shape[dim], dtype=torch.bool)
            shut[positions] = False
            spikes.index_fill_(dim, shut.nonzero().flatten(), 0.0)
        return spikes.to(y.dtype)

    def _kept(self, name: str, x: Tensor) -> Any:
        return kept_positions(self.structure, self.keep, name, x.shape)
