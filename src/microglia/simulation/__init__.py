"""What a recurrent network does on its grid of time steps, in float64."""

from microglia.simulation.grid import simulate
from microglia.simulation.readout import Readout, fit_ridge
from microglia.simulation.record import Simulation, State

__all__ = ["Readout", "Simulation", "State", "fit_ridge", "simulate"]
