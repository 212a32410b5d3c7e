"""What a recurrent network does on its grid of time steps, in float64."""

from microglia.simulation.record import Simulation, State
from microglia.simulation.grid import simulate

__all__ = ["Simulation", "State", "simulate"]
