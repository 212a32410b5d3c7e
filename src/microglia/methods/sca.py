"""SCA: channels pruned and regrown by spiking activity while the network trains."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Literal

import torch
from torch import Tensor, nn

from microglia.errors import ConfigError, nearest
from microglia.methods.change import Change
from microglia.methods.channels import ChannelPruner
from microglia.methods.parts.budget import Budget
from microglia.methods.parts.regrowth import GradientSignal
from microglia.methods.parts.schedule import Interval
from microglia.methods.parts.scope import Scores, best, select
from microglia.methods.parts.scores import ActivityScore, filter_magnitude, random_scores
from microglia.structure import Keep

SCORES = ["membrane", "released", "rate", "magnitude", "random"]


class SCA(ChannelPruner):
    """Spiking Channel Activity pruning.

    At every update, with C prunable channels, p the sparsity and q the share regrown:

        1. prune   keep the C - pC - qC channels of highest score
                   A_c = mean over n, t, h, w of |H|
        2. regrow  of the others, open the qC of largest |dL/dgamma_c| (see `GradientSignal`)

    so that C - pC channels are open, exactly. Scores are averaged over the last `every` steps.

    Args:
        every: optimizer steps between updates (the paper: one epoch).
        warmup: steps before which nothing is pruned; None for the first `every`.
        until: the last step at which masks change; None for no end (the paper's).
        regrow: q, a fraction of all prunable channels; 0 is the prune-only ablation. By default
            min(0.1, (1 - p) / 2).
        regrow_by: "gradient", or "random" as an ablation.
        score: "membrane" is the paper's (Eq. 4, as the mean over space, since ranking is global);
            "released" the released code's S + |V|; "rate" the firing rate; "magnitude" the mean
            |w| of the filter; "random" an ablation.
        penalty: rate of the L1 term on the pruned layers' weights (released code: 3e-5).
        samples: samples of each batch that scores look at; None for all.
        The others: see `ChannelPruner`.

    Raises:
        ConfigError: p + q >= 1, or a setting out of range.

    Source: Li et al., "Towards Efficient Deep Spiking Neural Networks Construction with Spiking
    Activity based Pruning", ICML 2024, sections 4.2 and 4.3. The paper's equations reached us
    through its prose and the released code; gates on the current with a straight-through
    gradient are this package's choice (see `microglia.gates`).
    """

    name = "sca"
    needs = "training"
    source = "Li et al., ICML 2024"
    search = {"regrow": (0.0, 0.3), "score": ("membrane", "released", "rate")}

    def __init__(
        self,
        model: nn.Module,
        *,
        every: int,
        warmup: int | None = None,
        until: int | None = None,
        regrow: float | None = None,
        regrow_by: Literal["gradient", "random"] = "gradient",
        score: Literal["membrane", "released", "rate", "magnitude", "random"] = "membrane",
        penalty: float = 3e-5,
        samples: int | None = 4,
        **settings: Any,
    ) -> None:
        self._check_settings(settings)
        self.schedule = Interval(every, every if warmup is None else warmup, until)
        if score not in SCORES:
            raise ConfigError(f"score can't be {score!r}.{nearest(str(score), SCORES)}")
        if regrow_by not in ("gradient", "random"):
            raise ConfigError(f"regrow_by is 'gradient' or 'random', got {regrow_by!r}")
        if samples is not None and (type(samples) is not int or samples < 1):
            raise ConfigError(f"samples is a number of images, at least 1; got {samples!r}")
        self.regrow, self.regrow_by, self.score = regrow, regrow_by, score
        _check_regrow(regrow, Budget(settings.get("sparsity"), settings.get("target")))
        super().__init__(model, penalty=penalty, **settings)
        if score in ("membrane", "released", "rate"):
            self._parts["score"] = ActivityScore(
                model,
                self.structure,
                kind=score,
                samples=samples,
            )
        if regrow_by == "gradient" and regrow != 0:
            self._parts["signal"] = GradientSignal(model, self.structure, samples=samples)

    def _due(self) -> bool:
        return self.schedule.due(self.steps)

    def _after(self) -> None:
        super()._after()
        if not self._holding and self.steps % self.schedule.every == 0 and not self._due():
            self._forget()  # what the warm-up showed says little of the network that follows

    def _update(self) -> Change:
        scores, signal = self._seen()
        self.last_scores = {name: s.clone() for name, s in scores.items()}
        change = self._apply(
            self._within_budget(lambda count: self._propose(count, scores, signal))
        )
        self._forget()
        return change

    def _forget(self) -> None:
        for part in self._parts.values():
            part.clear()

    def _propose(self, count: int, scores: Scores, signal: Scores) -> Keep:
        """The mask with `count` channels open: the best by score, and the regrown."""
        keep: dict[str, Tensor] = {}
        for names, stay in self._shares(count):
            total = sum(self.structure[n].size for n in names)
            least = {n: self._least(n) for n in names}
            grown = round(self._share(1 - stay / total) * total)
            grown = max(0, min(grown, stay - sum(least.values())))
            alive = select({n: scores[n] for n in names}, stay - grown, least)
            again = best({n: signal[n].masked_fill(alive[n], -torch.inf) for n in names}, grown)
            keep.update({n: alive[n] | again[n] for n in names})
        return self._in_multiples(keep, scores)

    def _share(self, sparsity: float) -> float:
        """q for a given p."""
        return min(0.1, (1 - sparsity) / 2) if self.regrow is None else self.regrow

    def _seen(self) -> tuple[Scores, Scores]:
        """Scores and regrowth signals since the last update."""
        score, signal = self._parts.get("score"), self._parts.get("signal")
        if isinstance(score, ActivityScore):
            scores = score.mean()
        elif self.score == "magnitude":
            scores = filter_magnitude(self.model, self.structure)
        else:
            scores = random_scores(self.structure, self.generator)
        if isinstance(signal, GradientSignal):
            return scores, signal.mean()
        return scores, random_scores(self.structure, self.generator)


def _check_regrow(regrow: float | None, budget: Budget) -> None:
    """Refuse p + q >= 1; with a target p isn't known yet, and q is at most what stays."""
    if regrow is None:
        return
    p = budget.sparsity
    most = max(p.values()) if isinstance(p, Mapping) else p or 0.0
    if not isinstance(regrow, (int, float)) or not 0 <= regrow < 1 - most:
        raise ConfigError(
            f"regrow is the fraction of all channels that return, at least 0 and below "
            f"1 - sparsity = {1 - most:.2f}; got {regrow!r}"
        )
