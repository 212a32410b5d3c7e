"""What a sparse recurrent network costs, beside the same network as dense PyTorch.

    python benchmarks/recurrent_simulation.py --json recurrent_simulation.json

A network of 5,000 neurons with 5 % of the synapses of one that has 10 % of all, in float64 over
T = 100 steps, at batch 1 and 32: spikes must be the same. Then time against SynOps, at several
densities. The fastest of some repeats counts; dense and sparse take turns.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch
from record import about, write
from scipy import sparse

from microglia.frameworks import RecurrentNetwork
from microglia.networks import HRSNN
from microglia.simulation import simulate

T, CHANNELS = 100, 4


def network(N: int, density: float, *, seed: int = 0) -> RecurrentNetwork:
    """Random and lively; weights as strong as keep a neuron's input alike at any density."""
    rng = np.random.default_rng(seed)
    weights = sparse.random_array((N, N), density=density, rng=rng, format="csr")
    weights.data = rng.normal(0, 2 / np.sqrt(density * N), weights.nnz)
    return RecurrentNetwork(
        weights=weights,
        tau_m=rng.gamma(3, 20e-3 / 3, N),
        tau_s=np.full(N, 5e-3),
        inputs=sparse.csr_array(rng.normal(0, 1, (N, CHANNELS)) * (rng.random((N, 1)) < 0.15)),
        bias=np.full(N, 1.05),
        refractory=2e-3,
    )


def dense(net: RecurrentNetwork) -> Callable[[torch.Tensor], torch.Tensor]:
    """The network as anybody would write it in PyTorch."""
    W, U = (torch.as_tensor(m.toarray()) for m in (net.weights, net.inputs))
    alpha, beta = (torch.as_tensor(np.exp(-net.dt / tau)) for tau in (net.tau_s, net.tau_m))
    bias, theta = torch.as_tensor(net.bias), torch.as_tensor(net.threshold)

    def run(x_seq: torch.Tensor) -> torch.Tensor:
        v = i = s = torch.zeros(x_seq.shape[1], len(net), dtype=torch.float64)
        held = torch.zeros_like(v)
        spikes = []
        for x in x_seq @ U.T + bias:
            i = alpha * i + s @ W.T
            h = torch.where(held > 0, v, beta * v + (1 - beta) * (i + x))
            s = ((h >= theta) & (held == 0)).double()
            held = torch.where(s > 0, float(net.refractory_steps), (held - 1).clamp(min=0))
            v = h * (1 - s)
            spikes.append(s.bool())
        return torch.stack(spikes)

    return run


def clocked(ways: dict[str, Callable[[], Any]], repeats: int) -> dict[str, float]:
    """Seconds of the fastest call of each, in turns."""
    best = dict.fromkeys(ways, float("inf"))
    for _ in range(repeats):
        for name, way in ways.items():
            begin = time.perf_counter()
            way()
            best[name] = min(best[name], time.perf_counter() - begin)
    return best


def against_dense(net: RecurrentNetwork, batch: int, repeats: int) -> dict[str, Any]:
    """Times and whether the spikes are the same."""
    x = np.random.default_rng(1).normal(0, 1, (T, batch, CHANNELS))
    plain, module, x_ = dense(net), HRSNN(net, dtype=torch.float64), torch.as_tensor(x)

    def through_torch() -> torch.Tensor:
        module.reset()
        return module(x_)

    done, wanted = simulate(net, x), plain(x_)
    same = bool((torch.as_tensor(done.raster()) == wanted).all())
    same_in_torch = bool((through_torch().bool() == wanted).all())
    ways = {
        "dense": lambda: plain(x_),
        "hrsnn": through_torch,
        "numpy": lambda: simulate(net, x, engine="numpy"),
        "simulate": lambda: simulate(net, x),
    }
    times = clocked(ways, repeats)
    return {
        "batch": batch,
        "synops": done.synops(net.weights),
        "rate_hz": len(done.neurons) / (batch * len(net) * T * net.dt),
        "same_spikes": same,
        "same_spikes_hrsnn": same_in_torch,
        "seconds": times,
        "faster": {name: times["dense"] / t for name, t in times.items()},
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--neurons", type=int, default=5000)
    parser.add_argument("--kept", type=float, default=0.05)
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--json", type=Path)
    arguments = parser.parse_args()
    where = about()
    N = arguments.neurons
    with torch.no_grad():
        print("| batch | dense s | HRSNN | simulate, NumPy | simulate, Numba | same spikes |")
        print("|---|---|---|---|---|---|")
        rows = []
        for batch in (1, 32):
            row = against_dense(network(N, 0.1 * arguments.kept), batch, arguments.repeats)
            times = " | ".join(f"×{row['faster'][n]:.1f}" for n in ("hrsnn", "numpy", "simulate"))
            same = row["same_spikes"] and row["same_spikes_hrsnn"]
            print(f"| {batch} | {row['seconds']['dense']:.2f} | {times} | {same} |", flush=True)
            rows.append(row)
    print("\n| density | SynOps | seconds | ns per SynOp | ns per SynOp beyond the neurons |")
    print("|---|---|---|---|---|")
    x = np.random.default_rng(1).normal(0, 1, (T, 8, CHANNELS))
    curve: list[dict[str, float]] = []
    alone = 0.0
    for density in (0.0, 0.001, 0.005, 0.02, 0.1):
        net = network(N, density or 0.001)
        if not density:
            net = net.with_weights(sparse.csr_array((N, N)))
        seconds = clocked({"": lambda net=net: simulate(net, x)}, arguments.repeats)[""]
        synops = simulate(net, x).synops(net.weights)
        alone = seconds if not density else alone
        each = 1e9 / max(synops, 1)
        print(
            f"| {density} | {synops:,} | {seconds:.3f} | {seconds * each:.2f} "
            f"| {(seconds - alone) * each:.2f} |",
            flush=True,
        )
        curve.append({"density": density, "synops": synops, "seconds": seconds})
    write(arguments.json, "recurrent_simulation", where, neurons=N, T=T, rows=rows, curve=curve)


if __name__ == "__main__":
    main()
