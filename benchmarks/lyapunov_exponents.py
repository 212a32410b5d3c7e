"""The leading Lyapunov exponents of a large recurrent network, spike-exact: time on one thread.

    python benchmarks/lyapunov_exponents.py --json lyapunov_exponents.json

Neurons of heterogeneous time constants, 80 % excitatory, with as many random synapses each, driven
by a constant bias. The share says how much of a processor the process got while it ran.
"""

from __future__ import annotations

import argparse
import time
from pathlib import Path

import numpy as np
from record import about, write
from scipy import sparse

from microglia.frameworks.recurrent import RecurrentNetwork
from microglia.lyapunov import lyapunov_spectrum


def balanced_network(N: int, K: int, *, dt: float, seed: int = 0) -> RecurrentNetwork:
    """K synapses out of each neuron; inhibitory ones are four times as strong."""
    rng = np.random.default_rng(seed)
    inhibitory = np.arange(N) >= 0.8 * N
    targets = rng.integers(0, N, N * K)
    strength = rng.lognormal(np.log(0.06), 0.8, N * K) * np.repeat(np.where(inhibitory, -4, 1), K)
    sources = np.repeat(np.arange(N), K)
    return RecurrentNetwork(
        weights=sparse.csr_array((strength, (targets, sources)), shape=(N, N)),
        tau_m=rng.gamma(3, 0.02 / 3, N) + 1e-3,
        tau_s=rng.gamma(3, 0.005 / 3, N) + 1e-3,
        bias=rng.normal(1.05, 0.1, N),
        inhibitory=inhibitory,
        refractory=0.002,
        dt=dt,
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--neurons", type=int, default=20_000)
    parser.add_argument("--synapses", type=int, default=50, help="out of each neuron")
    parser.add_argument("--k", type=int, default=20)
    parser.add_argument("--duration", type=float, default=2.0)
    parser.add_argument("--dt", type=float, default=0.25e-3)
    parser.add_argument("--json", type=Path)
    arguments = parser.parse_args()
    network = balanced_network(arguments.neurons, arguments.synapses, dt=arguments.dt)
    settings = {"k": arguments.k, "windows": 5}
    # Compiled, or read from Numba's cache, before the clock starts.
    lyapunov_spectrum(network, duration=0.05, warmup=0.1, transient=0.0, **settings)
    wall, cpu = time.perf_counter(), time.process_time()
    spectrum = lyapunov_spectrum(network, duration=arguments.duration, warmup=0.2, **settings)
    wall, cpu = time.perf_counter() - wall, time.process_time() - cpu
    print(spectrum)
    network_time = arguments.duration + 0.2 + 0.2
    print(
        f"{network_time:g} s of {len(network):,} neurons with {network.weights.nnz:,} synapses at "
        f"{1e3 * arguments.dt:g} ms, {arguments.k} exponents: {cpu:.1f} s of processor time, "
        f"{wall:.1f} s on the clock (share {cpu / wall:.0%})"
    )
    write(
        arguments.json,
        "lyapunov_exponents",
        about(),
        neurons=len(network),
        synapses=network.weights.nnz,
        dt=arguments.dt,
        exponents=spectrum.exponents.tolist(),
        errors=spectrum.errors.tolist(),
        rate=spectrum.rate,
        network_seconds=network_time,
        cpu_seconds=cpu,
        wall_seconds=wall,
    )


if __name__ == "__main__":
    main()
