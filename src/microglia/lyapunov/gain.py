"""How strongly each neuron's rate follows its input current, seen in a simulation."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy import sparse
from scipy.signal import lfilter

from microglia.frameworks.recurrent import RecurrentNetwork
from microglia.lyapunov.drive import currents
from microglia.lyapunov.noise import smooth_noise
from microglia.simulation import State, simulate

Array = NDArray[Any]

CHUNK = 1 << 22  # numbers of a recording held at a time


@dataclass(frozen=True, eq=False)
class Gains:
    """`gain` g [N] in spikes per second and unit of current; `rate` [N] in Hz."""

    gain: Array
    rate: Array


def estimate_gains(
    net: RecurrentNetwork,
    *,
    duration: float = 4.0,
    noise: float = 0.3,
    smoothing: float = 0.05,
    generator: np.random.Generator,
) -> Gains:
    """The slope of each neuron's rate f over its current I, both smoothed, never below 0.

        g_j = max(0, cov(f_j, I_j) / var(I_j))

    Smooth noise drives the inputs, and each neuron gets white noise of its own besides, so that
    currents vary also where nothing comes in. A reconstruction: the paper doesn't say how an
    untrained spiking network is made linear.

    Args:
        noise: standard deviation of a neuron's own noise, a step.
        smoothing: time constant of the low-pass filter over f and I, in seconds.
    """
    channels = 0 if net.inputs is None else net.inputs.shape[1]
    drive = smooth_noise(channels, duration=duration, dt=net.dt, generator=generator)
    total, squares, products = np.zeros((2, len(net))), np.zeros(len(net)), np.zeros(len(net))
    for current, rate in _smoothed(
        net, drive, noise=noise, smoothing=smoothing, generator=generator
    ):
        total += current.sum(0), rate.sum(0)
        squares += (current**2).sum(0)
        products += (current * rate).sum(0)
    T = len(drive)
    mean_current, mean_rate = total / T
    variance = squares / T - mean_current**2
    covariance = products / T - mean_current * mean_rate
    steady = variance <= 1e-12 * (1 + mean_current**2)
    slope = np.divide(covariance, variance, out=np.zeros(len(net)), where=~steady)
    return Gains(np.maximum(slope, 0.0), mean_rate)


def _smoothed(
    net: RecurrentNetwork,
    drive: Array,
    *,
    noise: float,
    smoothing: float,
    generator: np.random.Generator,
) -> Iterator[tuple[Array, Array]]:
    """Current and rate of each neuron, smoothed, [steps, N], a piece of the run at a time."""
    N = len(net)
    own = sparse.eye_array(N, format="csr")
    inputs = own if net.inputs is None else sparse.hstack([net.inputs, own], format="csr")
    noisy = replace(net, inputs=inputs)
    kept = float(np.exp(-net.dt / smoothing))
    state: State | None = None
    memories = [np.zeros((1, N)), np.zeros((1, N))]
    steps = max(1, CHUNK // N)
    for begin in range(0, len(drive), steps):
        u = drive[begin : begin + steps]
        xi = noise * generator.standard_normal((len(u), N))
        run = simulate(noisy, np.hstack([u, xi]), state=state, record=("currents",))
        state = run.state
        assert run.currents is not None
        current = run.currents + xi + currents(net, u, 0, len(u))
        smooth = []
        for k, signal in enumerate((current, run.raster() / net.dt)):
            out, memories[k] = lfilter([1 - kept], [1.0, -kept], signal, axis=0, zi=memories[k])
            smooth.append(out)
        yield smooth[0], smooth[1]
