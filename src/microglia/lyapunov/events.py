"""The exact flow of a recurrent network of LIF neurons, and of perturbations of it; in Numba.

Between two events every neuron follows a closed formula, so that only those that an event touches
are moved to it. Events are spikes and the ends of refractory times. A perturbed network has its
event δt later. Therefore perturbations cross it in the frame that moves with it,

    δx → δx + f⁻ δt → DG (δx + f⁻ δt) → DG (δx + f⁻ δt) − f⁺ δt,

f⁻ and f⁺ being the velocities before and after the map G: the saltation matrix, by its factors. At
a spike δt = −δV_j / V̇_j; one that the jump of another spike sets off has that one's δt. A
refractory neuron doesn't move (f = 0): what it carries is the δt of its spike, with which it is
released.

Literature: Bizzarri et al., J Comput Neurosci 35:201 (2013); Zhou et al., 28:229 (2010).
"""

from __future__ import annotations

from collections.abc import Callable
from heapq import heappop, heappush
from typing import Any, TypeVar, cast

import numba
import numpy as np
from numpy.typing import NDArray

Array = NDArray[Any]
F = TypeVar("F", bound=Callable[..., Any])


def compiled(function: F) -> F:
    return cast(F, numba.njit(cache=True, error_model="numpy")(function))


# One neuron in one place of the memory. Times are counted from the beginning of the running step.
NEURON = np.dtype(
    [
        ("leak", "f8"),  # 1/τ_m
        ("decay", "f8"),  # 1/τ_s, or 0 where spikes make V jump
        ("threshold", "f8"),
        ("V", "f8"),
        ("I", "f8"),
        ("at", "f8"),  # the time of V and I
        ("end_V", "f8"),  # what they will be at the end of the step if nothing comes in
        ("end_I", "f8"),
        ("due", "f8"),  # its next event in this step, or inf
        ("release", "f8"),  # the end of its refractory time; negative where it is free
        ("since", "f8"),  # the time of its perturbations, which wait for its next event
    ]
)


@compiled
def factors(t: float, leak: float, decay: float) -> tuple[float, float, float]:
    """V(t) = m V + c I and I(t) = s I after the time t, without drive."""
    m = np.exp(-t * leak)
    if decay == 0:
        return m, 0.0, 0.0
    x = t * (leak - decay)
    if abs(x) < 1e-3:  # the difference of nearly equal exponentials, by its series
        e = x * (1 + x / 2 * (1 + x / 3 * (1 + x / 4)))
        return m, m * (1 + e), m * t * leak * (1 + x / 2 * (1 + x / 3 * (1 + x / 4)))
    s = np.exp(-t * decay)
    return m, s, (s - m) * leak / (leak - decay)


@compiled
def crossing(n: Any, D: float, h: float) -> float:
    """How long until V reaches θ, or inf if it doesn't within h, where it would be `end_V`.

    A positive current makes V concave for as long as it rises, so that Newton's steps from the
    left never pass the crossing, even if V has sunk below θ again by h. A negative one allows no
    maximum: `end_V` tells whether there is a crossing, which is bracketed.
    """
    V, current, theta = n.V, n.I, n.threshold
    if theta <= V:
        return 0.0
    concave = current > 0
    slope = (D + current - V) * n.leak
    if (V + slope * h < theta) if concave else (n.end_V < theta):
        return np.inf
    exact = 1e-15 * (theta + abs(D) + abs(current))
    t, v, low, high = 0.0, V, 0.0, h
    for _ in range(80):
        after = t + (theta - v) / slope if slope > 0 else np.inf
        if concave and after > h:
            return np.inf
        if not concave and not low < after < high:
            after = (low + high) / 2
        t = after
        m, s, c = factors(t, n.leak, n.decay)
        v = D + (V - D) * m + c * current
        slope = (D + s * current - v) * n.leak
        if abs(theta - v) <= exact:
            break
        if v < theta:
            low = t
        else:
            high = t
    return t


@compiled
def plan(n: Any, D: float, h: float) -> bool:
    """Where the neuron ends the step, and whether and when it is due before."""
    m, s, c = factors(h - n.at, n.leak, n.decay)
    n.end_I = s * n.I
    if n.release >= 0:
        n.end_V = n.V
        n.due = n.release if n.release <= h else np.inf
    else:
        n.end_V = D + (n.V - D) * m + c * n.I
        n.due = n.at + crossing(n, D, h - n.at)
    return bool(n.due <= h)


@compiled
def move(n: Any, t: float, D: float) -> None:
    """The neuron to the time t."""
    m, s, c = factors(t - n.at, n.leak, n.decay)
    if n.release < 0:
        n.V = D + (n.V - D) * m + c * n.I
    n.I *= s
    n.at = t


@compiled
def carry(n: Any, Z: Array, i: int, t: float, dV: float, dI: float, shift: Array) -> None:
    """The perturbations of neuron i to the time t; there `dV` δt and `dI` δt come on top."""
    m, s, c = factors(t - n.since, n.leak, n.decay)
    n.since = t
    if n.release >= 0:
        m, c, dV = 1.0, 0.0, 0.0
    if n.decay > 0:
        for a in range(shift.size):
            Z[i, 0, a] = m * Z[i, 0, a] + c * Z[i, 1, a] + dV * shift[a]
            Z[i, 1, a] = s * Z[i, 1, a] + dI * shift[a]
    else:
        for a in range(shift.size):
            Z[i, 0, a] = m * Z[i, 0, a] + dV * shift[a]


@compiled
def velocity(n: Any, D: float) -> tuple[float, float]:
    """dV/dt and dI/dt."""
    return (D + n.I - n.V) * n.leak if n.release < 0 else 0.0, -n.I * n.decay


@compiled
def happen(
    n: Any,
    Z: Array,
    j: int,
    t: float,
    D: float,
    shift: Array,
    refractory: float,
    subtract: bool,
) -> bool:
    """Neuron j fires, or is released; whether it fired. `shift` becomes the event's δt."""
    k, unit = shift.size, 1 / (n.leak * n.threshold)
    clock = Z.shape[1] - 1
    fires = n.release < 0
    # Who is due at the moment of its last event was lifted by it, or released above its threshold.
    set_off = fires and n.at == t
    move(n, t, D)
    carry(n, Z, j, t, 0.0, 0.0, shift)
    dV, dI = velocity(n, D)
    if not fires:
        for a in range(k):
            shift[a] = Z[j, clock, a] * unit
            Z[j, clock, a] = 0.0
    elif not set_off:
        for a in range(k):
            # Another spike can stop it at θ exactly; that has no derivative.
            shift[a] = -Z[j, 0, a] / dV if dV > 0 else 0.0
    carry(n, Z, j, t, dV, dI, shift)
    if not fires:
        n.release = -1.0
    else:
        n.V = n.V - n.threshold if subtract else 0.0
        if not subtract:
            for a in range(k):
                Z[j, 0, a] = 0.0
        if refractory > 0:
            n.release = t + refractory
            for a in range(k):
                Z[j, clock, a] = shift[a] / unit
    dV, dI = velocity(n, D)
    carry(n, Z, j, t, -dV, -dI, shift)
    return bool(fires)


@compiled
def receive(n: Any, Z: Array, i: int, t: float, D: float, weight: float, shift: Array) -> None:
    """A spike at t reaches neuron i; its perturbations change by (f⁻ − f⁺) δt."""
    move(n, t, D)
    dV = weight * n.leak
    if n.decay > 0:
        n.I += weight
        dV = -dV
    elif n.release < 0:
        n.V += weight
    if shift.size > 0:
        carry(n, Z, i, t, dV, weight * n.decay, shift)


@compiled
def advance(
    neurons: Array,
    start: Array,
    target: Array,
    weight: Array,
    refractory: float,
    subtract: bool,
    Z: Array,
    drive: Array,
    h: float,
    limit: int,
) -> int:
    """As many steps of length h as `drive` [steps, N] has rows, in place.

    Args:
        neurons: [N], of `NEURON`.
        start, target, weight: the synapses of neuron j are those from start[j] to start[j + 1].
        Z: k perturbations [N, S, k]: of V; of I, where the network has currents; and of a clock,
            where it has a refractory time: δt of refractory neurons, in units of τ_m / θ.
        limit: stop where there are more spikes than that.

    Returns:
        the number of spikes.
    """
    N, spikes = neurons.size, 0
    shift = np.zeros(Z.shape[2])
    coming = [(0.0, 0) for _ in range(0)]  # times and neurons, the next one first
    for step in range(drive.shape[0]):
        D = drive[step]
        for i in range(N):
            if plan(neurons[i], D[i], h):
                heappush(coming, (neurons[i].due, i))
        while len(coming) > 0:
            t, j = heappop(coming)
            if t != neurons[j].due:
                continue  # something reached it in between, and it was planned anew
            fires = happen(neurons[j], Z, j, t, D[j], shift, refractory, subtract)
            if plan(neurons[j], D[j], h):
                heappush(coming, (neurons[j].due, j))
            if not fires:
                continue
            spikes += 1
            if spikes > limit:
                return spikes
            for e in range(start[j], start[j + 1]):
                i = target[e]
                receive(neurons[i], Z, i, t, D[i], weight[e], shift)
                if plan(neurons[i], D[i], h):
                    heappush(coming, (neurons[i].due, i))
        for i in range(N):
            n = neurons[i]
            n.V, n.I, n.at = n.end_V, n.end_I, 0.0
            n.since -= h
            if n.release >= 0:
                n.release -= h
    for i in range(N):
        carry(neurons[i], Z, i, 0.0, 0.0, 0.0, shift)
    return spikes
