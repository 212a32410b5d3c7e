"""What `microglia inspect` says of a recurrent network."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from rich.console import Console
from torch import nn

from microglia.experiment.recurrent.files import RECORD, load_pruned
from microglia.experiment.recurrent.lnp import NETWORK
from microglia.frameworks import RecurrentNetwork, recurrent_network
from microglia.lyapunov import Pruned, lyapunov_spectrum
from microglia.lyapunov.noise import smooth_noise
from microglia.lyapunov.streams import stream

SECONDS, STARTING = 5.0, 0.8


def find_recurrent(target: Path) -> Pruned | None:
    """The network that `save_pruned` wrote to a directory, or that a run there left, if any."""
    for path in (target, target / NETWORK):
        if (path / RECORD).is_file():
            return load_pruned(path)
    return None


def other_seeds(target: Path) -> list[str]:
    """The folders of a run's networks beside that of its first seed."""
    return sorted(str(path) for path in target.glob(f"{NETWORK}-seed*"))


def print_recurrent(console: Console, found: Pruned, *, lyapunov: bool) -> None:
    """What it is made of, how it came about, and its exponents where they are asked for."""
    net = found.network
    lines = [f"{len(net):,} neurons, {net.weights.nnz:,} synapses, steps of {1e3 * net.dt:g} ms"]
    if net.inhibitory is not None:
        lines.append(f"inhibitory        {np.mean(net.inhibitory):.1%} of the neurons")
    for name, tau in (("tau_m", net.tau_m), ("tau_s", net.tau_s)):
        if tau is not None:
            alike = np.ptp(tau) == 0
            spread = "all alike" if alike else f"standard deviation {1e3 * tau.std():.2g} ms"
            lines.append(f"{name}             {1e3 * tau.mean():.3g} ms, {spread}")
    lines += [
        f"step {step.name}: {step.neurons:,} neurons, {step.synapses:,} synapses; {step.said}"
        for step in found.steps
    ]
    console.out("\n".join(lines), highlight=False)
    if lyapunov:
        print_exponents(console, net)


def print_exponents(console: Console, network: RecurrentNetwork | nn.Module) -> None:
    """The leading exponents under smooth noise, spike-exact.

    Raises:
        ConfigError: no recurrent layer, or one whose exponents are undefined.
    """
    net = recurrent_network(network) if isinstance(network, nn.Module) else network
    drive = None
    if net.inputs is not None:
        drive = smooth_noise(
            net.inputs.shape[1],
            duration=SECONDS + STARTING,
            dt=net.dt,
            generator=stream(0, "input"),
        )
    spectrum = lyapunov_spectrum(net, duration=SECONDS, drive=drive)
    console.out(str(spectrum), highlight=False)
