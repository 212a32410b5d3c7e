"""Tasks for a recurrent network whose recurrence stays as it is: what is read of its spikes.

Each task is a function of a `RecurrentNetwork` and returns figures by name. One network serves all
tasks: a task brings its own input weights, on the neurons that hear the input.
"""

from microglia.tasks.classify import Labelled, Part, classify
from microglia.tasks.forecast import forecast
from microglia.tasks.horizons import forecast_horizons
from microglia.tasks.suite import TASKS, run_task

__all__ = [
    "TASKS",
    "Labelled",
    "Part",
    "classify",
    "forecast",
    "forecast_horizons",
    "run_task",
]
