"""What a network achieves and what it costs: accuracy, size, operations, energy, time, memory."""

from microglia.metrics.accuracy import measure_accuracy
from microglia.metrics.activity import NetworkActivity, NeuronActivity, measure_activity
from microglia.metrics.counting import OperationCounter, count_operations
from microglia.metrics.energy import HOROWITZ_45NM, EnergyTable
from microglia.metrics.figures import Figures
from microglia.metrics.latency import Latency, compare_latency, measure_latency
from microglia.metrics.measuring import measure
from microglia.metrics.memory import measure_peak_memory
from microglia.metrics.operations import LayerOperations, Operations, Totals, Updates
from microglia.metrics.size import Size, measure_size

__all__ = [
    "HOROWITZ_45NM",
    "EnergyTable",
    "Figures",
    "Latency",
    "LayerOperations",
    "NetworkActivity",
    "NeuronActivity",
    "OperationCounter",
    "Operations",
    "Size",
    "Totals",
    "Updates",
    "compare_latency",
    "count_operations",
    "measure",
    "measure_accuracy",
    "measure_activity",
    "measure_latency",
    "measure_peak_memory",
    "measure_size",
]
