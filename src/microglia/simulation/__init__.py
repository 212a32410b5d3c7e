"""What a recurrent network does on its grid of time steps, in float64."""

from microglia.simulation.grid import simulate
from microglia.simulation.record import Simulation, State

__all__ = ["Simulation", "State", "simulate"]
