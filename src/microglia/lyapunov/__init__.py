"""Lyapunov exponents of recurrent spiking networks, and pruning by Lyapunov's equation."""

from microglia.lyapunov.exponents import lyapunov_spectrum
from microglia.lyapunov.neurons import NeuronExponents, neuron_exponents
from microglia.lyapunov.smooth import RateNetwork, SmoothMap
from microglia.lyapunov.spectrum import Spectrum

__all__ = [
    "NeuronExponents",
    "RateNetwork",
    "SmoothMap",
    "Spectrum",
    "lyapunov_spectrum",
    "neuron_exponents",
]
