"""What a sparse recurrent network is worth: untrained networks, every rule against every other.

Networks of one seed are paired: the same dense network, the same input weights, series and noise.
Compared at equal Σ|w| (35 and 80 % of the dense network's) and at the gain of each network's own
best memory capacity, chosen on other noise than is reported. Settings were fixed on seeds 0 to 2
(`benchmarks/operating_point.py`), and are compared on seeds from 10 on.
"""

from __future__ import annotations

from collections.abc import Iterator

from microglia.errors import ConfigError
from microglia.experiment.reservoir_job import ReservoirJob
from microglia.experiment.sparse_networks import Budget, Criterion
from microglia.experiment.tiers import tier_named

REFERENCE = "reference"
DENSE, NONE = "dense", "no recurrence"
SEEDS = {"s": range(10, 16), "m": range(10, 22)}

TASKS = ("memory", "digits", "lorenz", "lorenz-x", "rossler", "mackey-glass", "exponents")
MORE = ("natops", "japanese-vowels", "google", "wind", "exchange", "etth1")
LONG = ("pen-digits", "cifar10")
"""At tier m alone."""

SYNAPSES = (0.5, 0.2, 0.05)
"""Fractions kept where all neurons stay."""
RULES = {
    "random": "random",
    "fresh sparse": "fresh",
    "magnitude": "magnitude",
    "|w|-probability": "weight",
    "noise pruning (MC)": "MC",
    "R1": "R1",
    "R2": "R2-ends",
    "R2w": "R2w",
}
"""Label -> rule."""
NEURONS = ((0.3, 0.2), (0.57, 0.1))
"""Fractions of neurons removed and of synapses kept."""


def jobs(tier: str) -> list[ReservoirJob]:
    """Seed by seed.

    Raises:
        ConfigError: there is no such tier, or it is the one for a GPU.
    """
    tier_named(tier)
    if tier not in SEEDS:
        raise ConfigError("tier: untrained networks are compared at the tiers s and m")
    more = MORE if tier == "s" else MORE + LONG
    return [job for seed in SEEDS[tier] for job in _of_seed(seed, more)]


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
    for neurons, fraction in NEURONS:
        for label, budget in _smaller(neurons, fraction).items():
            yield job(without(neurons, fraction), label, budget)


def _smaller(neurons: float, kept: float) -> dict[str, Budget]:
    """Label -> budget; steps III and IV where a third of the neurons goes."""

    def left(rule: str, criterion: Criterion = "betweenness", **steps: bool) -> Budget:
        return Budget(rule=rule, kept=kept, neurons=neurons, criterion=criterion, **steps)

    found = {
        "random": left("random", "random"),
        "fresh sparse": left("fresh", "random"),
        "random, least active": left("random", "activity"),
        "magnitude, least active": left("magnitude", "activity"),
        "R2w, random neurons": left("R2w", "random"),
        "I+II": left("R2w"),
    }
    if (neurons, kept) == NEURONS[0]:
        found["I+II+III"] = left("R2w", delocalise=True)
        found["I+II+III+IV"] = left("R2w", delocalise=True, retune=True)
    return found
