"""What a sparse recurrent network is worth: every rule against every other, untrained and trained.

Untrained networks of one seed are paired: the same dense network, input weights, series and noise.
Compared at equal Σ|w| (35 and 80 % of the dense network's) and at the gain of each network's own
best memory capacity, chosen on other noise than is reported. Settings were fixed on seeds 0 to 2
(`benchmarks/operating_point.py`), and are compared on seeds from 10 on. The network that noise
pruning leaves serves all tasks; its rivals are also pruned for each. Trained networks are smaller.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from microglia.errors import ConfigError
from microglia.experiment.recurrent.each_task_job import EachTaskJob
from microglia.experiment.recurrent.reservoir_job import ReservoirJob
from microglia.experiment.recurrent.sparse_networks import Budget, Criterion
from microglia.experiment.recurrent.trained_job import DENSE, SETTINGS, TrainedJob
from microglia.experiment.results import Job
from microglia.experiment.tiers import tier_named
from microglia.tasks.suite import WITH_DATA
from microglia.tasks.teach import Rule

REFERENCE = "reference"
NONE = "no recurrence"
SEEDS = {"s": range(10, 16), "m": range(10, 22)}
TRAINED = 5
"""The first of these seeds are trained too."""

TASKS = ("memory", "digits", "lorenz", "lorenz-x", "rossler", "mackey-glass", "exponents")
MORE = ("natops", "japanese-vowels", "google", "wind", "exchange", "etth1")
LONG = ("pen-digits", "cifar10")
"""At tier m alone."""

SYNAPSES = (0.5, 0.2, 0.05)
"""Fractions kept where all neurons stay."""
RULES = {
    "random": "random",
    "random, R2w's types": "random as R2w",
    "fresh sparse": "fresh",
    "magnitude": "magnitude",
    "magnitude of each type": "magnitude of each type",
    "|w|-probability": "weight",
    "noise pruning (MC)": "MC",
    "R1": "R1",
    "R2": "R2-ends",
    "R2w": "R2w",
}
"""Label -> rule."""
ALONE = (0.1, ("random", "R2w"))
"""Step I alone at the synapses kept where most neurons go, and its control."""
NEURONS = ((0.3, 0.2), (0.57, 0.1))
"""Fractions of neurons removed and of synapses kept."""


LNP, AFTER = "LNP", "taught, pruned by activity, taught"
AS_IT_WAS = f"{AFTER}, gain 1"
TWICE = "{}, taught twice"
STDP: dict[str, Rule] = {"STDP": "timing", "heterogeneous STDP": "timing, heterogeneous"}
"""Label -> rule, of learning without gradients."""
EACH = {"magnitude, by each task": "magnitude", "random, by each task": "random"}
"""Label -> rule, of networks whose neurons go by their activity on a task."""


def jobs(tier: str) -> list[Job]:
    """Untrained networks seed by seed, those pruned for each task, and trained ones.

    Raises:
        ConfigError: there is no such tier, or it is the one for a GPU.
    """
    tier_named(tier)
    if tier not in SEEDS:
        raise ConfigError("tier: untrained networks are compared at the tiers s and m")
    more = MORE if tier == "s" else MORE + LONG
    seeds = SEEDS[tier]
    return [
        *(job for seed in seeds for job in _of_seed(seed, more)),
        *(job for seed in seeds for job in _for_each_task(seed, more)),
        *(job for seed in seeds[:TRAINED] for task in SETTINGS for job in _trained(seed, task)),
    ]


def kept(fraction: float) -> str:
    """The experiment in which all neurons stay."""
    return f"kept {fraction:g}"


def without(neurons: float, fraction: float) -> str:
    """The experiment in which neurons go too."""
    return f"without {neurons:g}, kept {fraction:g}"


def _of_seed(seed: int, more: tuple[str, ...]) -> Iterator[ReservoirJob]:
    def job(
        experiment: str, label: str, budget: Budget, *gains: float, asked: tuple[str, ...] = more
    ) -> ReservoirJob:
        return ReservoirJob(
            experiment=experiment,
            label=label,
            budget=budget,
            seed=seed,
            tasks=TASKS,
            more=asked,
            gains=gains or (0.35, 0.8),
        )

    yield job(REFERENCE, DENSE, Budget(rule="dense"), 0.35, 0.8, 1.0)
    yield job(REFERENCE, NONE, Budget(rule="none"))
    for fraction in SYNAPSES:
        for label, rule in RULES.items():
            yield job(kept(fraction), label, Budget(rule=rule, kept=fraction))
    fraction, labels = ALONE
    for label in labels:
        yield job(kept(fraction), label, Budget(rule=RULES[label], kept=fraction))
    for neurons, fraction in NEURONS:
        for label, budget in _smaller(neurons, fraction).items():
            yield job(without(neurons, fraction), label, budget)


def _smaller(neurons: float, kept: float) -> dict[str, Budget]:
    """Label -> budget."""

    def left(rule: str, criterion: Criterion = "betweenness", **steps: bool) -> Budget:
        return Budget(rule=rule, kept=kept, neurons=neurons, criterion=criterion, **steps)

    return {
        "random": left("random", "random"),
        "fresh sparse": left("fresh", "random"),
        "random, least active": left("random", "activity"),
        "magnitude, random neurons": left("magnitude", "random"),
        "magnitude, least active": left("magnitude", "activity"),
        "R2w, random neurons": left("R2w", "random"),
        "I+II": left("R2w"),
        "I+II+III": left("R2w", delocalise=True),
        "I+II+III+IV": left("R2w", delocalise=True, retune=True),
    }


def _for_each_task(seed: int, more: tuple[str, ...]) -> Iterator[EachTaskJob]:
    neurons, fraction = NEURONS[1]
    for label, rule in EACH.items():
        budget = Budget(rule=rule, kept=fraction, neurons=neurons, criterion="activity")
        yield EachTaskJob(
            experiment=without(neurons, fraction),
            label=label,
            budget=budget,
            seed=seed,
            tasks=tuple(task for task in TASKS + more if task in WITH_DATA),
        )


def _trained(seed: int, task: str) -> Iterator[TrainedJob]:
    """One budget, for what learns through time; other ways of learning beside it."""
    neurons, fraction = NEURONS[1]

    def left(rule: str, criterion: Criterion = "betweenness") -> Budget:
        return Budget(rule=rule, kept=fraction, neurons=neurons, criterion=criterion)

    dense, small = Budget(rule="dense"), left("R2w")

    def job(label: str, budget: Budget, **how: Any) -> TrainedJob:
        return TrainedJob(task=task, label=label, budget=budget, seed=seed, **how)

    yield job(DENSE, dense)
    yield job(LNP, small)
    yield job(TWICE.format(LNP), small, rounds=2)
    for label, budget in (
        ("random", left("random", "random")),
        ("magnitude, random neurons", left("magnitude", "random")),
        ("magnitude, least active", left("magnitude", "activity")),
    ):
        yield job(label, budget)
        yield job(TWICE.format(label), budget, rounds=2)
    yield job(TWICE.format(DENSE), dense, rounds=2)
    yield job(AFTER, left("magnitude", "activity"), after=True)
    yield job(AS_IT_WAS, left("magnitude", "activity"), after=True, calibrated=False)
    for label, budget in ((DENSE, dense), (LNP, small)):
        yield job(f"{label}, time constants alike", budget, alike=True)
        yield job(f"{label}, untaught", budget, rule="none")
        if TrainedJob.differs_in_pace(task):
            yield job(f"{label}, untaught, slow", budget, rule="none", slow=True)
        for said, rule in STDP.items():
            yield job(f"{label}, {said}", budget, rule=rule)
