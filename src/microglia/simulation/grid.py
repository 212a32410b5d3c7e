"""Spikes of a recurrent network, at a cost in proportion to the synapses that they meet."""

from __future__ import annotations

from collections.abc import Callable, Collection
from typing import Any

import numpy as np
from numpy.typing import NDArray

from microglia.errors import ConfigError, is_whole
from microglia.frameworks.recurrent import RecurrentNetwork
from microglia.simulation import plain
from microglia.simulation.record import Simulation, State

Array = NDArray[Any]
ENGINES = ("auto", "numba", "numpy")
RECORDS = ("potentials", "currents")
CHUNK = 1 << 22  # numbers of x held at a time: 32 MiB
NOISE = 0x6E6F  # sets the seed of noise apart from that of the network


def simulate(
    net: RecurrentNetwork,
    drive: Array | None = None,
    *,
    T: int | None = None,
    hold: int = 1,
    noise: float = 0.0,
    seed: int = 0,
    record: Collection[str] = (),
    state: State | None = None,
    engine: str = "auto",
) -> Simulation:
    """Run `net` on its grid (see `RecurrentNetwork`) in float64.

    Neurons cost T · B · N; synapses cost as many additions as spikes meet synapses, the network's
    SynOps. A refractory neuron keeps V and gets no closer to θ; its current goes on.

    Args:
        net: the network.
        drive: u [T, K], or [T, B, K] for B samples side by side; None where only b and noise drive.
            With `hold` it has T / hold values.
        T: the number of steps, where there is no drive.
        hold: for how many steps each value of the drive comes in.
        noise: standard deviation of what is added to the current of each neuron, drawn anew at
            each step.
        seed: of the noise, drawn step by step.
        record: "potentials" and "currents" keep H and I of every step.
        state: where to begin, with as many samples as the drive; None at rest. It isn't changed.
        engine: "numba", "numpy", or "auto": Numba where it is installed. Same spikes, to the bit.

    Raises:
        ConfigError: a drive that doesn't fit, neither drive nor T, an unknown word, or an engine
            that isn't installed.
    """
    if not isinstance(net, RecurrentNetwork):
        raise ConfigError(
            f"simulate: wanted a RecurrentNetwork, got {type(net).__name__}; of a module take "
            "microglia.frameworks.recurrent_network(module)"
        )
    if not is_whole(hold) or hold < 1:
        raise ConfigError(f"hold: a whole number of steps from 1 on expected, got {hold!r}")
    drive, B, T, batched = _shape(net, drive, T, hold, state)
    N = len(net)
    unknown = set(record) - set(RECORDS)
    if unknown:
        raise ConfigError(f"record: {RECORDS} expected, got {sorted(unknown)}")
    if not 0 <= noise < np.inf:
        raise ConfigError(f"noise: a finite standard deviation of at least 0 expected, got {noise}")
    incoming, advance = _engine(engine)
    out = net.weights.tocsc()
    out.sort_indices()
    constants = (
        out.indptr.astype(np.int64),
        out.indices.astype(np.int64),
        out.data.astype(np.float64),
        np.zeros(N) if net.tau_s is None else np.exp(-net.dt / net.tau_s.astype(np.float64)),
        np.exp(-net.dt / net.tau_m.astype(np.float64)),
        np.asarray(net.threshold, dtype=np.float64),
        net.reset == "subtract",
        net.refractory_steps,
    )
    end = State.rest(B, N) if state is None else state.copy()
    H = np.empty((T if "potentials" in record else 0, B, N))
    currents = np.empty((T if "currents" in record else 0, B, N))
    generator = np.random.default_rng([seed, NOISE])
    events: list[tuple[Array, ...]] = []
    chunk = max(1, CHUNK // (B * N * hold)) * hold
    for t in range(0, T, chunk):
        steps = slice(t, min(t + chunk, T))
        x = np.empty((-(-(steps.stop - t) // hold), B, N))
        x[:] = net.bias
        if drive is not None:
            values = slice(t // hold, t // hold + len(x))
            incoming(net.inputs, np.ascontiguousarray(drive[values]), x)
        if noise:
            x = np.repeat(x, hold, axis=0)
            x += noise * generator.standard_normal(x.shape)
        spikes = np.empty((steps.stop - t, B, N), dtype=bool)
        advance(*constants, x, end.v, end.i, end.fired, end.held, spikes, H[steps], currents[steps])
        step, sample, neuron = np.unravel_index(np.flatnonzero(spikes), spikes.shape)
        events.append((step + t, sample, neuron))
    steps_, samples, neurons = (np.concatenate(part) for part in zip(*events, strict=True))

    def kept(values: Array, name: str) -> Array | None:
        if name not in record:
            return None
        return values if batched else values[:, 0]

    return Simulation(
        steps=steps_,
        samples=samples,
        neurons=neurons,
        shape=(T, B, N),
        batched=batched,
        potentials=kept(H, "potentials"),
        currents=kept(currents, "currents"),
        state=end,
    )


def _shape(
    net: RecurrentNetwork, drive: Array | None, T: int | None, hold: int, state: State | None
) -> tuple[Array | None, int, int, bool]:
    """The drive as [T, B, K], B, T, and whether there is a batch axis."""
    batched = drive is not None and np.ndim(drive) == 3
    if drive is None:
        if T is None:
            raise ConfigError("simulate: give a drive [T, K], or T where nothing comes in")
        if hold != 1:
            raise ConfigError(f"hold: there is no drive to be held for {hold} steps")
        B = 1 if state is None else len(state.v)
        batched = B > 1
    else:
        drive = np.asarray(drive, dtype=np.float64)
        if net.inputs is None:
            raise ConfigError("drive: the network has no inputs; give it W_in, or leave out drive")
        K = net.inputs.shape[1]
        if drive.ndim not in (2, 3) or drive.shape[-1] != K:
            raise ConfigError(f"drive: wanted [T, {K}] or [T, B, {K}], got {drive.shape}")
        if not np.isfinite(drive).all():
            raise ConfigError("drive: wanted finite numbers, got some that aren't")
        if T not in (None, len(drive) * hold):
            raise ConfigError(f"T: the drive has {len(drive) * hold} steps, got T = {T}")
        T = len(drive) * hold
        drive = drive if batched else drive[:, None]
        B = drive.shape[1]
    if T < 1 or B < 1:
        raise ConfigError(f"simulate: at least one step of one sample expected, got {T} and {B}")
    if state is not None and state.v.shape != (B, len(net)):
        raise ConfigError(f"state: wanted [{B}, {len(net)}], got {state.v.shape}")
    return drive, B, T, batched


def _engine(name: str) -> tuple[Callable[..., None], Callable[..., None]]:
    """`incoming` and `advance` of the engine."""
    if name not in ENGINES:
        raise ConfigError(f"engine: {ENGINES} expected, got '{name}'")
    if name == "numpy":
        return plain.incoming, plain.advance
    try:
        from microglia.simulation import numba
    except ImportError as missing:
        if name == "auto":
            return plain.incoming, plain.advance
        raise ConfigError(
            "engine: Numba is not installed: pip install 'microglia[lyapunov]'"
        ) from missing
    return numba.incoming, numba.advance
