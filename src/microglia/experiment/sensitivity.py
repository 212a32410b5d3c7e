"""How much accuracy a trained network loses when one of its layers is pruned alone."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Literal

from torch import Tensor, nn

from microglia.errors import ConfigError
from microglia.frameworks import fresh_copy
from microglia.methods.parts.prunable import prunable_groups
from microglia.methods.parts.scope import top
from microglia.methods.parts.scores import ActivityScore, filter_magnitude
from microglia.methods.parts.trained import call, listening, run_over
from microglia.metrics import measure_accuracy
from microglia.report import Axis, Figure, Series, lines
from microglia.structure import Structure
from microglia.surgery import analyse, cut

SPARSITIES = (0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9)
Score = Literal["membrane", "rate", "magnitude"]


@dataclass(frozen=True)
class Sensitivity:
    """Accuracies of a network without some channels of one group at a time."""

    whole: float
    """Of the network as it is."""
    sparsities: tuple[float, ...]
    accuracy: dict[str, tuple[float, ...]]
    """Group -> the accuracy at each of the sparsities."""
    channels: dict[str, int]
    """Group -> its channels."""

    def __str__(self) -> str:
        width = max(map(len, self.accuracy))
        head = " ".join(f"{100 * s:5.0f} %" for s in self.sparsities)
        rows = [f"{'channels taken away':<{width + 7}}{head}"]
        for group, values in self.accuracy.items():
            figures = " ".join(f"{100 * a:7.2f}" for a in values)
            rows.append(f"{group:<{width}} {self.channels[group]:5} {figures}")
        return "\n".join([f"accuracy, %: {100 * self.whole:.2f} as it is", *rows])

    def figure(self) -> Figure:
        """Accuracy against sparsity, a line for each group, the first faint and the last strong."""
        x = [0.0, *(100 * s for s in self.sparsities)]
        series = [
            Series(group, x, [100 * a for a in (self.whole, *values)])
            for group, values in self.accuracy.items()
        ]
        return Figure(
            "Accuracy without some channels of one layer",
            "No training in between. From the first layer (faint) to the last (strong).",
            lines(
                series,
                x=Axis(title="channels taken away, %"),
                y=Axis(title="accuracy, %"),
                ranked=True,
            ),
        )


def layer_sensitivity(
    model: nn.Module,
    batches: Iterable[tuple[Tensor, Tensor]],
    *,
    example_input: Any,
    calibration: Iterable[Any] = (),
    score: Score = "membrane",
    sparsities: Sequence[float] = SPARSITIES,
    residual: Literal["tied", "inner"] = "tied",
    linear: bool = False,
) -> Sensitivity:
    """Cut the channels of lowest score out of one group at a time, and measure what is left.

    Every network that is measured has been cut, by as many channels as its fraction of the group
    rounds to, which may be none; the given one is untouched.

    Args:
        model: a trained network.
        batches: (inputs, labels) to measure on, again and again; of the validation part, not of
            the test part.
        example_input: one input, for the structure.
        calibration: batches that the score is taken on; "magnitude" needs none.
        score: mean |H| ("membrane"), firing rate, or mean |w| of the filter.
        sparsities: fractions of a group that are taken away, in (0, 1); one channel stays.

    Raises:
        ConfigError: a sparsity out of range, no calibration batch, or batches that can be read but
            once.
        StructureError: the network can't be analysed.
    """
    for sparsity in sparsities:
        if not 0 < sparsity < 1:
            raise ConfigError(f"sparsities: wanted fractions in (0, 1), got {sparsity}")
    if isinstance(batches, Iterator):
        raise ConfigError(
            "batches: wanted a list or a loader, which can be read again; got a generator"
        )
    structure = prunable_groups(
        analyse(model, example_input), (), residual=residual, linear=linear, method="sensitivity"
    )
    scores = _scores(model, structure, calibration, score)
    accuracy = {}
    for group in structure.groups:
        values = []
        for sparsity in sparsities:
            count = max(1, group.size - round(sparsity * group.size))
            small, _ = cut(model, structure, {group.name: top(scores[group.name], count)})
            values.append(measure_accuracy(small, batches))
        accuracy[group.name] = tuple(values)
    return Sensitivity(
        whole=measure_accuracy(model, batches),
        sparsities=tuple(sparsities),
        accuracy=accuracy,
        channels={group.name: group.size for group in structure.groups},
    )


def _scores(
    model: nn.Module, structure: Structure, calibration: Iterable[Any], score: Score
) -> dict[str, Tensor]:
    if score == "magnitude":
        return filter_magnitude(model, structure)
    copy = fresh_copy(model)
    activity = ActivityScore(copy, structure, kind=score, samples=None)
    with listening(activity):
        count = run_over(copy, calibration, call)
    if not count:
        raise ConfigError("calibration: the score needs batches; pass some of the training data")
    return activity.mean()
