"""Figures of Lyapunov noise pruning: a network before and after."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace

import numpy as np

from microglia.data.chaos import EXPONENT
from microglia.experiment.recurrent.forecast import STEP, Forecast
from microglia.experiment.recurrent.lnp_controls import spectrum_of
from microglia.frameworks import RecurrentNetwork
from microglia.lyapunov.gain import estimate_gains
from microglia.lyapunov.graph import Array, ends
from microglia.lyapunov.linearisation import linearise
from microglia.lyapunov.sparsify import tau_s
from microglia.lyapunov.streams import stream
from microglia.report.chart import Axis, Chart, Series
from microglia.report.charts import told_apart
from microglia.report.content import Figure

DOTS = 4000
"""Of the dense network's synapses so many are drawn as dots at most, and of the pruned one's the
same part."""
EIGENVALUES = 1500
"""Neurons above which eigenvalues are left out: all of them ask for a dense matrix."""
SPECTRUM = 20
COLOURS = {"before": "--dense", "after": "--method"}


def network_figures(
    dense: RecurrentNetwork, small: RecurrentNetwork, neurons: Array, *, seconds: float, seed: int
) -> tuple[list[Figure], list[str]]:
    """The figures, and a sentence for each that isn't there."""
    pair = {"before": dense, "after": small}
    places = {"before": np.arange(len(dense)), "after": neurons}
    part = min(1.0, DOTS / max(1, dense.weights.nnz))
    figures = [_matrix(pair[when], places[when], len(dense), when, part) for when in pair]
    missing = []
    found = {}
    for name, net in pair.items():
        spectrum = spectrum_of(net, k=SPECTRUM, seconds=seconds, seed=seed)
        if spectrum is not None:
            found[name] = spectrum
    if found:
        series = [
            Series(
                name,
                list(range(1, len(one.exponents) + 1)),
                one.exponents.tolist(),
                spread=one.errors.tolist(),
            )
            for name, one in found.items()
        ]
        figures.append(
            Figure(
                "Lyapunov spectrum",
                f"The leading exponents, spike-exact, over {seconds:g} s under smooth noise. Below "
                "0 perturbations die out.",
                Chart(
                    _coloured(series), Axis(title="index", whole=True), Axis(title="exponent, 1/s")
                ),
            )
        )
    missing += [
        f"The exponents of the network {name}: it is silent or saturated, so they are undefined."
        for name in pair
        if name not in found
    ]
    figures += _distributions(pair)
    if len(dense) <= EIGENVALUES:
        figures.append(_eigenvalues(pair, seed))
    else:
        missing.append(f"Eigenvalues: of {len(dense)} neurons they ask for a dense matrix.")
    return figures, missing


def forecast_figures(forecasts: Mapping[str, Forecast]) -> Iterator[Figure]:
    """x and z of the free forecast against the truth, and how long they agree."""
    truth = next(iter(forecasts.values())).truth
    times = (np.arange(1, len(truth) + 1) * STEP * EXPONENT["lorenz"]).tolist()
    for place, letter in ((0, "x"), (2, "z")):
        series = told_apart(
            [Series(name, times, one.free[:, place].tolist()) for name, one in forecasts.items()]
        )
        plain = [replace(one, symbol="") for one in series]
        real = Series("truth", times, truth[:, place].tolist(), colour="--ink")
        yield Figure(
            f"Lorenz {letter}, forecast and truth",
            "Left to themselves from time 0 on: each forecast is the next input.",
            Chart(
                [real, *plain],
                Axis(title="Lyapunov times"),
                Axis(title=f"{letter}, standard deviations"),
            ),
        )


def _matrix(network: RecurrentNetwork, places: Array, N: int, when: str, part: float) -> Figure:
    post, pre = ends(network.weights)
    shown = np.random.default_rng(0).random(len(post)) < part
    signs = (("excitatory", 1, "--method"), ("inhibitory", -1, "--rose"))
    series = []
    for name, sign, colour in signs:
        mine = shown & (np.sign(network.weights.data) == sign)
        series.append(
            Series(
                name,
                places[pre[mine]].tolist(),
                places[post[mine]].tolist(),
                colour=colour,
                symbol="circle",
                line="",
                small=True,
            )
        )
    some, axis = "Every synapse is a dot.", "from neuron"
    if part < 1:
        some = f"A dot for {part:.1%} of the synapses, drawn at random."
        axis += f" ({part:.1%} of the synapses shown)"
    return Figure(
        f"Weight matrix {when}",
        f"{network.weights.nnz:,} synapses between {len(network):,} of {N:,} neurons. {some}",
        Chart(series, Axis(title=axis), Axis(title="to neuron")),
    )


def _distributions(pair: Mapping[str, RecurrentNetwork]) -> Iterator[Figure]:
    incoming = {n: np.diff(net.weights.indptr) for n, net in pair.items()}
    outgoing = {n: np.bincount(net.weights.indices, minlength=len(net)) for n, net in pair.items()}
    count = "How many neurons have so many."
    yield _histogram("Synapses into a neuron", count, incoming, "synapses in")
    yield _histogram("Synapses out of a neuron", count, outgoing, "synapses out")
    tau = {name: net.tau_m * 1e3 for name, net in pair.items()}
    hint = "How many neurons are so slow; step IV alone changes the time constants themselves."
    yield _histogram("Membrane time constants", hint, tau, "time constant, ms")


def _histogram(title: str, hint: str, values: Mapping[str, Array], x: str) -> Figure:
    everything = np.concatenate(list(values.values()))
    low, high = float(everything.min()), float(everything.max())
    edges = np.linspace(low, high if high > low else low + 1, 41)
    series = []
    for name, some in values.items():
        counts = np.histogram(some, edges)[0]
        series.append(
            Series(name, edges.tolist(), [*counts.tolist(), int(counts[-1])], line="steps")
        )
    chart = Chart(
        _coloured(series, marks=False), Axis(title=x), Axis(title="neurons", from_zero=True)
    )
    return Figure(title, hint, chart)


def _eigenvalues(pair: Mapping[str, RecurrentNetwork], seed: int) -> Figure:
    series = []
    for name, net in pair.items():
        gains = estimate_gains(net, generator=stream(seed, "gains")).gain
        linear = linearise(net.weights, net.tau_m, tau_s=tau_s(net), gains=gains)
        values = np.linalg.eigvals(linear.effective.toarray())
        series.append(Series(name, values.real.tolist(), values.imag.tolist(), line="", small=True))
    return Figure(
        "Eigenvalues",
        "Of the weights times each neuron's gain: with equal time constants the linearised network "
        "is stable where all lie left of 1.",
        Chart(
            [
                replace(series[0], colour="--muted", symbol="circle-open"),
                replace(series[1], colour="--method", symbol="circle"),
            ],
            Axis(title="real part"),
            Axis(title="imaginary part"),
        ),
    )


def _coloured(series: Sequence[Series], *, marks: bool = True) -> list[Series]:
    symbol = "circle" if marks else ""
    return [replace(one, colour=COLOURS[one.name], symbol=symbol) for one in series]
