"""The Pruner: one contract for every method, in any training loop."""

from __future__ import annotations

import warnings
from abc import ABC, abstractmethod
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, ClassVar, Literal

import torch
from torch import Tensor, nn
from torch.optim import Optimizer
from torch.optim.lr_scheduler import LRScheduler
from torch.optim.swa_utils import AveragedModel

from microglia.errors import ConfigError, MicrogliaError, nearest
from microglia.gates import Gates
from microglia.methods.change import Change, sparsity_of
from microglia.methods.parts.budget import (
    Budget,
    channels_left,
    check_reachable,
    cost_function,
    meet,
)
from microglia.methods.parts.clock import channels_for_time
from microglia.methods.parts.part import Part
from microglia.methods.parts.prunable import named, prunable
from microglia.methods.parts.scope import Scope, Scores, partition, rounded, select, top
from microglia.methods.parts.scores import open_filters
from microglia.methods.parts.traffic import Traffic
from microglia.methods.parts.trained import Forward, call
from microglia.structure import Keep
from microglia.surgery import Compact, Ledger, analyse, compact, cut

PATIENCE = 100  # calls of step() without a step of the optimizer, until it is said


class Pruner(ABC):
    """Closes and opens channels of a network while any loop trains it.

    Gates go into the network when the pruner is made; `step()` moves them, `compact()` gives
    the smaller network, `detach()` takes the gates out again.

    Args:
        model: the network.
        example_input: one input as in training, `[N, C, H, W]` or `[T, N, C, H, W]`; a tuple is
            taken as several arguments. Used for the structure and for the certificate.
        sparsity: fraction of the channels to take away, in [0, 1); or one for each group.
        target: instead, `{"parameters" | "macs" | "synops" | "latency": kept fraction}`.
        optimizer: of the network; its steps are counted, so that gradient accumulation and
            steps that a GradScaler skips don't count, and `compact()` carries it over. Without
            one, every call of `step()` counts.
        protect: layers left alone (shell patterns such as "layer4.*").
        floor: channels that stay in every group, at least.
        round_to: channels of each group come in multiples of this.
        residual: "tied" prunes residual streams as one group, "inner" leaves them alone.
        linear: hidden linear and recurrent layers are pruned too, not only convolutions.
        seed: of every random choice.
        ledger: of an earlier `compact()` of this network, so that channel ids stay the same.

    Raises:
        ConfigError: a setting out of range, an unknown layer, or nothing left to prune.
        StructureError: the network can't be analysed.
    """

    name: ClassVar[str]
    prunes: ClassVar[str] = "channels"
    budget_kind: ClassVar[Literal["exact", "emergent"]] = "exact"
    needs: ClassVar[Literal["training", "initialisation", "trained"]]
    source: ClassVar[str]

    def __init__(
        self,
        model: nn.Module,
        *,
        example_input: Any,
        sparsity: float | Mapping[str, float] | None = None,
        target: Mapping[str, float] | None = None,
        optimizer: Optimizer | None = None,
        protect: Sequence[str] = (),
        floor: int = 1,
        round_to: int = 1,
        scope: Scope = "global",
        residual: Literal["tied", "inner"] = "tied",
        linear: bool = False,
        penalty: float = 0.0,
        seed: int = 0,
        ledger: Ledger | None = None,
    ) -> None:
        self.budget = Budget(sparsity, target)
        _check(floor=floor, round_to=round_to, scope=scope, residual=residual, rate=penalty)
        _check_network(model, optimizer, seed)
        self.model, self.example_input, self.optimizer = model, example_input, optimizer
        self.floor, self.round_to, self.scope, self.rate = floor, round_to, scope, penalty
        self.ledger = ledger
        self._whole = whole = analyse(model, example_input)
        self.structure = prunable(whole, protect, residual=residual, linear=linear, name=self.name)
        if isinstance(sparsity, Mapping):
            self.structure = named(self.structure, sparsity)
        self.generator = torch.Generator().manual_seed(seed)
        self.steps = 0
        """Optimizer steps taken."""
        self.changes = 0
        """Updates made."""
        self.last_scores: dict[str, Tensor] = {}
        self._unseen = 0
        self._idle = 0
        self._solved: int | None = None
        self._dense_cost: float | None = None
        self._rows: list[tuple[str, int, Tensor]] | None = None
        self._parts: dict[str, Part] = {}
        self.gates = Gates(model, self.structure)
        self._check_floors()
        if target is not None and "synops" in target:
            self._parts["traffic"] = Traffic(model, self.structure)
        self._hook = optimizer.register_step_post_hook(self._stepped) if optimizer else None

    # --- what a loop calls -----------------------------------------------------------------

    def penalty(self) -> Tensor:
        """What the method adds to the loss: rate * sum |w| over the filters of open channels.

        Closed channels keep their weights: nothing else trains these, so that the penalty alone
        would wear them down, and with them what regrowth could bring back.
        """
        self._check_attached()
        device = next((p.device for p in self.model.parameters()), torch.device("cpu"))
        total = torch.zeros((), device=device)
        if self.rate:
            for name, axis, rows in self._filters():
                weight = self.model.get_parameter(name)
                total = total + weight.index_select(axis, rows).abs().sum()
        return self.rate * total

    def _filters(self) -> list[tuple[str, int, Tensor]]:
        """The filters of open channels, found again when the masks change."""
        if self._rows is None:
            self._rows = open_filters(self.model, self.structure, self.gates.keep())
        return self._rows

    def step(self) -> Change | None:
        """Call after every `optimizer.step()`: None, or what was pruned and regrown.

        Raises:
            ConfigError: the pruner was detached.
        """
        self._check_attached()
        if self.optimizer is None:
            self._collect()
        elif not self._unseen:
            for part in self._parts.values():
                part.skip()
            self._idle += 1
            if self._idle == PATIENCE:
                warnings.warn(
                    f"step() was called {PATIENCE} times and the pruner's optimizer never stepped; "
                    "is the loop's optimizer the one that the pruner was given?",
                    stacklevel=2,
                )
            return None
        self._unseen = self._idle = 0
        return self._update() if self._due() else None

    def calibrate(self, batches: Iterable[Any] = (), *, forward: Forward | None = None) -> Change:
        """Prune a trained network at once, by what it does on these batches.

        Args:
            batches: inputs, or (inputs, labels), as the network takes them.
            forward: `forward(model, inputs)` runs the network on a batch; None calls it once. A
                network that your loop calls once a timestep needs one that does the same.

        Raises:
            ConfigError: the method learns during training instead, or saw no batch; or the pruner
                was detached.
        """
        self._check_attached()
        scores = self._calibrated(batches, forward or call)
        if scores is None:
            raise ConfigError(
                f"'{self.name}' prunes during {self.needs}; it has nothing to calibrate. "
                "Call step() after every optimizer.step()."
            )
        return self._prune(scores)

    def compact(
        self, *, scheduler: LRScheduler | None = None, average: AveragedModel | None = None
    ) -> Compact:
        """The smaller network with its optimizer, certificate and ledger; this one is untouched.

        Args:
            scheduler: of the pruner's optimizer, carried over with it.
            average: an `AveragedModel` of the network, made after the pruner.

        Raises:
            CertificateError: it does not compute what the gated network computes.
            ConfigError: the pruner was detached, or a method for trained networks wasn't given one.
        """
        keep = self._open()
        if self.needs == "trained" and not self.changes:
            raise ConfigError(
                f"'{self.name}' has pruned nothing yet: train the network, then call "
                "calibrate(batches) and compact()"
            )
        return compact(
            self.model,
            self.structure,
            keep,
            example_input=self.example_input,
            optimizer=self.optimizer,
            scheduler=scheduler,
            average=average,
            ledger=self.ledger or Ledger.open(self.model, self._whole),
        )

    def detach(self) -> None:
        """Take gates and hooks out: the user's own classes and `state_dict` keys again."""
        self.gates.remove()
        for part in self._parts.values():
            part.remove()
        if self._hook is not None:
            self._hook.remove()

    # --- what it tells ---------------------------------------------------------------------

    @property
    def sparsity_reached(self) -> float:
        """Fraction of the prunable channels that are closed now."""
        return sparsity_of(self._open())

    def kept(self) -> dict[str, int]:
        """Channels of each group that are open now."""
        return {name: int(mask.sum()) for name, mask in self._open().items()}

    def scores(self) -> dict[str, Tensor]:
        """The scores of the last update, `[size]` for each group; empty before the first."""
        return {name: score.clone() for name, score in self.last_scores.items()}

    def state_dict(self) -> dict[str, Any]:
        """Everything that a resumed run needs beside the network and the optimizer."""
        return {
            "method": self.name,
            "steps": self.steps,
            "changes": self.changes,
            "unseen": self._unseen,
            "solved": self._solved,
            "dense_cost": self._dense_cost,
            "masks": self._open(),
            "scores": self.scores(),
            "generator": self.generator.get_state(),
            "parts": {name: part.state_dict() for name, part in self._parts.items()},
        }

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Go on exactly where `state_dict` was taken.

        Raises:
            ConfigError: the state is of another method or another network.
        """
        if state["method"] != self.name:
            raise ConfigError(f"this state is of '{state['method']}', not of '{self.name}'")
        if set(state["masks"]) != {g.name for g in self.structure.groups}:
            raise ConfigError("this state is of another network: its groups have other names")
        self._set(state["masks"])
        self.steps, self.changes = state["steps"], state["changes"]
        self._unseen, self._solved = state["unseen"], state["solved"]
        self._dense_cost = state["dense_cost"]
        self.last_scores = {k: v.clone() for k, v in state["scores"].items()}
        self.generator.set_state(state["generator"])
        for name, part in self._parts.items():
            part.load_state_dict(state["parts"][name])

    def _open(self) -> dict[str, Tensor]:
        """The masks.

        Raises:
            ConfigError: the pruner was detached.
        """
        self._check_attached()
        return self.gates.keep()

    def __str__(self) -> str:
        if not self.gates.attached:
            return f"{self.name}: detached after {self.steps} steps and {self.changes} updates"
        open_, total = sum(self.kept().values()), sum(g.size for g in self.structure.groups)
        return (
            f"{self.name}: {open_} of {total} channels open in {len(self.structure.groups)} "
            f"groups after {self.steps} steps and {self.changes} updates"
        )

    # --- what a method decides -------------------------------------------------------------

    @abstractmethod
    def _due(self) -> bool:
        """Whether to update after this step."""

    @abstractmethod
    def _update(self) -> Change:
        """Choose new masks and apply them."""

    @abstractmethod
    def _calibrated(self, batches: Iterable[Any], forward: Forward) -> Scores | None:
        """Scores from a trained network, None for a method that doesn't prune one."""

    # --- what methods share ----------------------------------------------------------------

    def _prune(self, scores: Scores) -> Change:
        """Keep the channels of highest score that the budget allows."""
        self.last_scores = {name: s.detach().clone() for name, s in scores.items()}

        def propose(count: int) -> Keep:
            keep: dict[str, Tensor] = {}
            for names, stay in self._shares(count):
                some = {n: scores[n] for n in names}
                keep.update(select(some, stay, {n: self._least(n) for n in names}))
            return self._in_multiples(keep, scores)

        return self._apply(self._within_budget(propose))

    def _within_budget(self, propose: Any) -> Keep:
        """The mask that `propose(count)` gives for the count that the budget allows."""
        if self.budget.target is None:
            p = self.budget.sparsity
            keep: Keep = propose(
                channels_left(self.structure, p) if isinstance(p, (int, float)) else 0
            )
            return keep
        ((quantity, fraction),) = self.budget.target.items()
        least = sum(self._least(g.name) for g in self.structure.groups)
        most = sum(g.size for g in self.structure.groups)
        if quantity == "latency":
            if self._solved is None:  # a clock is read once, not at every update
                self._solved = channels_for_time(
                    propose,
                    lambda keep: cut(self.model, self.structure, keep)[0],
                    cut(self.model, self.structure, {})[0],
                    example_input=self.example_input,
                    fraction=fraction,
                    least=least,
                    most=most,
                )
            kept: Keep = propose(self._solved)
            return kept
        traffic = self._parts.get("traffic")
        if isinstance(traffic, Traffic) and not traffic.seen():
            raise ConfigError(
                f"'{self.name}' can't meet a target on SynOps before the network has run: pass "
                "calibrate(batches) some data, or ask for macs"
            )
        cost = cost_function(
            quantity,
            self.structure,
            density=traffic.density() if isinstance(traffic, Traffic) else {},
        )
        if self._dense_cost is None:  # of the network as it came, however it fires later
            self._dense_cost = cost(self.structure.everything())
        self._solved, keep = meet(
            propose,
            cost,
            whole=self._dense_cost,
            fraction=fraction,
            least=least,
            most=most,
            nearest=self.needs == "initialisation",
            what=quantity,
        )
        return keep

    def _shares(self, count: int) -> list[tuple[tuple[str, ...], int]]:
        """Sets of groups that are ranked together, and how many channels stay in each set."""
        p = self.budget.sparsity
        return partition(
            {g.name: g.size for g in self.structure.groups},
            count,
            scope=p if isinstance(p, Mapping) else self.scope,
            floors={g.name: self._least(g.name) for g in self.structure.groups},
        )

    def _least(self, group: str) -> int:
        size = self.structure[group].size
        return min(size, max(self.floor, self.round_to if self.round_to > 1 else 1))

    def _in_multiples(self, keep: Mapping[str, Tensor], order: Scores) -> dict[str, Tensor]:
        """The same mask with counts rounded, channels added or dropped by `order`."""
        if self.round_to == 1:
            return dict(keep)
        sizes = {g.name: g.size for g in self.structure.groups}
        counts = rounded({n: int(m.sum()) for n, m in keep.items()}, sizes, multiple=self.round_to)
        ranked = {n: order[n] + keep[n] * (order[n].abs().max() * 2 + 1) for n in keep}
        return {n: top(ranked[n], counts[n]) for n in keep}

    def _apply(self, keep: Keep) -> Change:
        before = self.gates.keep()
        self._set(keep)
        self.changes += 1
        return Change.between(before, self.gates.keep(), step=self.steps)

    def _set(self, keep: Keep) -> None:
        self.gates.set(keep)
        self._rows = None  # the penalty's rows are those of the old masks

    def _stepped(self, optimizer: Optimizer, args: Any, kwargs: Any) -> None:
        self._unseen += 1
        self._collect()

    def _collect(self) -> None:
        self.steps += 1
        for part in self._parts.values():
            part.collect()

    def _check_attached(self) -> None:
        if not self.gates.attached:
            raise ConfigError(
                f"'{self.name}' was detached, its gates are no longer in the network: make a new "
                "pruner, and call compact() before detach()"
            )

    def _check_floors(self) -> None:
        """Refuse at once what no training could reach."""
        try:
            if isinstance(self.budget.sparsity, (int, float)):
                self._shares(channels_left(self.structure, self.budget.sparsity))
            elif self.budget.target is not None:
                ((quantity, fraction),) = self.budget.target.items()
                if quantity in ("parameters", "macs"):  # the others can't be known yet
                    self._check_target(quantity, fraction)
        except MicrogliaError:
            self.gates.remove()
            raise

    def _check_target(self, quantity: str, fraction: float) -> None:
        cost = cost_function(quantity, self.structure, density={})
        sizes = {g.name: (g.size, self._least(g.name)) for g in self.structure.groups}
        check_reachable(
            cost({name: torch.arange(size) < least for name, (size, least) in sizes.items()}),
            whole=cost(self.structure.everything()),
            fraction=fraction,
            least=sum(least for _, least in sizes.values()),
            what=quantity,
        )


def _check_network(model: Any, optimizer: Any, seed: Any) -> None:
    if not isinstance(model, nn.Module):
        raise ConfigError(f"wanted a network, a torch.nn.Module; got a {type(model).__name__}")
    if type(seed) is not int or seed < 0:
        raise ConfigError(f"seed is a whole number, at least 0; got {seed!r}")
    if optimizer is None:
        return
    if not isinstance(optimizer, Optimizer):
        raise ConfigError(
            f"optimizer: wanted a torch.optim.Optimizer, got a {type(optimizer).__name__}"
        )
    mine = {id(p) for p in model.parameters()}
    if not any(id(p) in mine for group in optimizer.param_groups for p in group["params"]):
        raise ConfigError("optimizer: it holds none of the network's parameters")


def _check(*, floor: int, round_to: int, scope: str, residual: str, rate: float) -> None:
    for name, value in (("floor", floor), ("round_to", round_to)):
        if type(value) is not int or value < 1:
            raise ConfigError(f"{name} is a number of channels, at least 1; got {value!r}")
    for name, word, known in (
        ("scope", scope, ["global", "layer"]),
        ("residual", residual, ["tied", "inner"]),
    ):
        if word not in known:
            raise ConfigError(f"{name} can't be {word!r}.{nearest(str(word), known)}")
    if not isinstance(rate, (int, float)) or rate < 0:
        raise ConfigError(f"penalty is the rate of the L1 term, at least 0; got {rate!r}")
