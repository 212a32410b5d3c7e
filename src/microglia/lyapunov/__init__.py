"""Lyapunov exponents of recurrent spiking networks, and pruning by Lyapunov's equation."""

from microglia.lyapunov.calibrate import Calibrated, calibrate_gain
from microglia.lyapunov.config import LNPConfig
from microglia.lyapunov.exponents import lyapunov_spectrum
from microglia.lyapunov.memory import memory_capacity
from microglia.lyapunov.neurons import NeuronExponents, neuron_exponents
from microglia.lyapunov.prune import Pruned, lyapunov_noise_pruning, prune_recurrent
from microglia.lyapunov.smooth import RateNetwork, SmoothMap
from microglia.lyapunov.spectrum import Spectrum
from microglia.lyapunov.stability import Stability, linear_stability

__all__ = [
    "Calibrated",
    "LNPConfig",
    "NeuronExponents",
    "Pruned",
    "RateNetwork",
    "SmoothMap",
    "Spectrum",
    "Stability",
    "calibrate_gain",
    "linear_stability",
    "lyapunov_noise_pruning",
    "lyapunov_spectrum",
    "memory_capacity",
    "neuron_exponents",
    "prune_recurrent",
]
