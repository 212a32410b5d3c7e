"""The Pruner: one contract for every method, in any training loop."""

from __future__ import annotations

import inspect
import warnings
from abc import abstractmethod
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any, ClassVar

from torch import Tensor, nn
from torch.optim import Optimizer
from torch.optim.lr_scheduler import LRScheduler
from torch.optim.swa_utils import AveragedModel

from microglia.errors import ConfigError, MicrogliaError, nearest
from microglia.gates import Masks
from microglia.methods.allotting import Allotting
from microglia.methods.change import Change, sparsity_of
from microglia.methods.parts.budget import Budget
from microglia.methods.parts.scope import Scope, Scores
from microglia.methods.parts.stepping import Stepping
from microglia.methods.parts.trained import Forward, call
from microglia.structure import Keep, Structure
from microglia.surgery import Compact, Ledger, analyse, compact
from microglia.surgery.draws import generator_of

PRUNERS = 0x6D67  # sets the seeds of pruners apart from all others
PATIENCE = 100  # calls of step() without a step of the optimizer, until it is said


class Pruner(Allotting):
    """Closes and opens units of a network, channels or weights, while any loop trains it.

    Masks go into the network when the pruner is made; `step()` moves them, `compact()` gives
    the smaller network, `detach()` takes the masks out again.

    Methods derive from `ChannelPruner` or `WeightPruner`, which say what a unit is.

    Args:
        model: the network.
        example_input: one input as in training, `[N, C, H, W]` or `[T, N, C, H, W]`; a tuple is
            taken as several arguments. Used for the structure and for the certificate.
        sparsity: fraction of the units to take away, in [0, 1); or one for each group.
        target: instead, `{"parameters" | "macs" | "synops" | "latency": kept fraction}`.
        optimizer: of the network; its steps are counted, so that gradient accumulation and
            steps that a GradScaler skips don't count, and `compact()` carries it over. Without
            one, every call of `step()` counts.
        floor: units that stay in every group, at least.
        round_to: units of each group come in multiples of this.
        scope: "global" ranks all layers' units together, "layer" takes the same fraction of each.
        seed: of every random choice.
        ledger: of an earlier `compact()` of this network, so that channel ids stay the same.

    Raises:
        ConfigError: a setting out of range, or nothing left to prune.
        StructureError: the network can't be analysed.
    """

    source: ClassVar[str]
    search: ClassVar[Mapping[str, tuple[Any, ...]]] = {}
    """What is worth searching for a network: a setting's range, or its words."""
    usual_penalty: ClassVar[float] = 0.0
    """Rate of the penalty that a network is trained with before this method prunes it."""
    recurrent_only: ClassVar[bool] = False
    """Whether it prunes recurrent synapses, and so no network without them."""
    cycle: int | None = None
    """Optimizer steps after which the method asks the loop to start its schedule again."""

    masks: Masks
    structure: Structure

    @classmethod
    def settings(cls) -> list[str]:
        """The names of all settings that the method takes, its own first."""
        found: dict[str, None] = {}
        for base in cls.__mro__:
            if issubclass(base, Pruner) and "__init__" in vars(base):
                parameters = list(inspect.signature(base).parameters.values())[1:]
                found |= {p.name: None for p in parameters if p.kind is p.KEYWORD_ONLY}
        return list(found)

    def __init__(
        self,
        model: nn.Module,
        *,
        example_input: Any,
        sparsity: float | Mapping[str, float] | None = None,
        target: Mapping[str, float] | None = None,
        optimizer: Optimizer | None = None,
        floor: int = 1,
        round_to: int = 1,
        scope: Scope = "global",
        seed: int = 0,
        ledger: Ledger | None = None,
    ) -> None:
        super().__init__(
            sparsity=sparsity, target=target, floor=floor, round_to=round_to, scope=scope
        )
        _check_network(model, optimizer, seed)
        self.model, self.example_input, self.optimizer = model, example_input, optimizer
        self.ledger = ledger
        self._whole = analyse(model, example_input)
        self.generator = generator_of(seed, PRUNERS)
        self.steps = 0
        """Optimizer steps taken."""
        self.changes = 0
        """Updates made."""
        self.reached: float | None = None
        """The sparsity that an emergent method had come to when it was projected to its budget."""
        self._unseen = 0
        self._idle = 0
        self._holding = False
        self._following: Stepping | None = None

    @classmethod
    def _check_settings(cls, settings: Iterable[str]) -> None:
        """The first step of a constructor.

        Raises:
            ConfigError: the method has no setting of such a name.
        """
        known = cls.settings()
        for setting in settings:
            if setting not in known:
                hint = nearest(setting, known)
                raise ConfigError(f"'{cls.name}' has no setting '{setting}'.{hint}")

    def _attach(self, masks: Masks) -> None:
        """The last step of a constructor: the masks are in the network, and the budget is possible.

        Raises:
            ConfigError: it isn't; the network is then as it came.
        """
        self.masks = masks
        try:
            self._check_floors()
        except MicrogliaError:
            masks.remove()
            raise
        if self.optimizer is not None:
            self._follow(self.optimizer)

    def _follow(self, optimizer: Optimizer) -> None:
        """Act in the steps of an optimizer, and count them."""
        self._following = Stepping(optimizer, before=self._before, after=self._stepped)

    # --- what a loop calls -----------------------------------------------------------------

    @abstractmethod
    def penalty(self) -> Tensor:
        """What the method adds to the loss, a scalar."""

    def step(self) -> Change | None:
        """Call after every `optimizer.step()`: None, or what was pruned and regrown.

        Raises:
            ConfigError: the pruner was detached.
        """
        self._check_attached()
        if self.optimizer is None:
            self._before()
            self._collect()
            self._after()
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
        return self._update() if not self._holding and self._due() else None

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
        return self._settle(scores)

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
        self._check_attached()
        if self.needs == "trained" and not self.changes:
            raise ConfigError(
                f"'{self.name}' has pruned nothing yet: train the network, then call "
                "calibrate(batches) and compact()"
            )
        structure, keep = self._removable()
        return compact(
            self.model,
            structure,
            keep,
            example_input=self.example_input,
            optimizer=self.optimizer,
            scheduler=scheduler,
            average=average,
            ledger=self.ledger or Ledger.open(self.model, self._whole),
            unread=self.prunes == "weights",
        )

    def finalize(self, sparsity: float | None = None) -> Change:
        """Project an emergent method's masks to a budget exactly; from now on they stand still.

        The units of highest importance stay, and `reached` tells the sparsity there was before.

        Args:
            sparsity: None for the budget that the pruner was made with.

        Raises:
            ConfigError: the method's budget is exact anyway, there is none, or it is out of range.
        """
        self._check_attached()
        if self.budget_kind == "exact":
            raise ConfigError(f"'{self.name}' keeps to its budget anyway; nothing to finalize")
        if sparsity is not None:
            self.budget = Budget(sparsity)
        elif not self.budget.given:
            raise ConfigError(f"'{self.name}' has no budget to finalize to: give a sparsity")
        self.reached = sparsity_of(self._masks_reached())
        change = self._prune(self._importance())
        self._stand_still()
        return change

    def hold(self, optimizer: Optimizer) -> None:
        """From now on masks stand still, and this optimizer's steps are the ones that count.

        For fine-tuning with an optimizer of its own what was pruned by another, or by none.

        Raises:
            ConfigError: it is no optimizer of this network, or the pruner was detached.
        """
        self._check_attached()
        _check_network(self.model, optimizer, 0)
        if self.budget_kind == "emergent":
            self.masks.set(self._masks_reached())
        self._release()
        self.optimizer, self._unseen = optimizer, 0
        self._stand_still()
        self.cycle = None
        self._follow(optimizer)

    def detach(self) -> None:
        """Take gates and hooks out: the user's own classes and `state_dict` keys again."""
        self.masks.remove()
        for part in self._parts.values():
            part.remove()
        self._release()

    def _release(self) -> None:
        if self._following is not None:
            self._following.remove()

    # --- what it tells ---------------------------------------------------------------------

    @property
    def sparsity_reached(self) -> float:
        """Fraction of the prunable units that are closed now."""
        return sparsity_of(self._open())

    def kept(self) -> dict[str, int]:
        """Units of each group that are open now."""
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
            "holding": self._holding,
            "reached": self.reached,
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
            ConfigError: the state is of another method, network or version.
        """
        if lacking := set(self.state_dict()) - set(state):
            raise ConfigError(
                f"this state is of another version of microglia: it lacks {sorted(lacking)}; "
                "start again, or use that version"
            )
        if state["method"] != self.name:
            raise ConfigError(f"this state is of '{state['method']}', not of '{self.name}'")
        if set(state["parts"]) != set(self._parts):
            raise ConfigError(
                f"this state is of '{self.name}' with other settings: it has "
                f"{sorted(state['parts'])}, wanted {sorted(self._parts)}"
            )
        if set(state["masks"]) != set(self.sizes()):
            raise ConfigError("this state is of another network: its groups have other names")
        self.masks.set(state["masks"])
        self.steps, self.changes = state["steps"], state["changes"]
        self._unseen, self._solved = state["unseen"], state["solved"]
        self._holding, self.reached = state["holding"], state["reached"]
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
        return self.masks.keep()

    def __str__(self) -> str:
        if not self.masks.attached:
            return f"{self.name}: detached after {self.steps} steps and {self.changes} updates"
        open_, sizes = sum(self.kept().values()), self.sizes()
        return (
            f"{self.name}: {open_} of {sum(sizes.values())} {self.prunes} open in {len(sizes)} "
            f"groups after {self.steps} steps and {self.changes} updates"
        )

    # --- what a method decides -------------------------------------------------------------

    def _due(self) -> bool:
        """Whether to update after this step; never, unless the method says otherwise.

        A question, which changes nothing: what is to be done at other steps is `_after`'s.
        """
        return False

    def _update(self) -> Change:
        """Choose new masks and apply them."""
        raise AssertionError(f"'{self.name}' never updates in step()")

    def _calibrated(self, batches: Iterable[Any], forward: Forward) -> Scores | None:
        """Scores from a trained network, None for a method that doesn't prune one."""
        return None

    # --- what a kind of pruner decides -----------------------------------------------------

    @abstractmethod
    def _removable(self) -> tuple[Structure, Keep]:
        """The channels that can be taken out of the network as it is masked now."""

    @abstractmethod
    def _before(self) -> None:
        """Before each step of the optimizer; gradients are there."""

    @abstractmethod
    def _after(self) -> None:
        """After each step of the optimizer."""

    def _importance(self) -> Scores:
        """What an emergent method's units are ranked by when it is finalized."""
        raise AssertionError(f"'{self.name}' is exact")

    def _settle(self, scores: Scores) -> Change:
        """What becomes of the network once it has been calibrated."""
        return self._prune(scores)

    def _masks_reached(self) -> Keep:
        """The masks that an emergent method has come to, the weights being made plain for them."""
        return self.masks.keep()

    # --- what methods share ----------------------------------------------------------------

    @contextmanager
    def _detached_if_refused(self) -> Iterator[None]:
        """Around what a constructor does once the masks are in the network."""
        try:
            yield
        except MicrogliaError:
            self.detach()
            raise

    def _stand_still(self) -> None:
        self._holding = True
        for part in self._parts.values():
            part.settle()

    def _prune(self, scores: Scores) -> Change:
        """Keep the units of highest score that the budget allows."""
        return self._apply(self._chosen(scores))

    def _apply(self, keep: Keep) -> Change:
        before = self.masks.keep()
        self.masks.set(keep)
        self.changes += 1
        return Change.between(before, self.masks.keep(), step=self.steps, units=self.prunes)

    def _stepped(self) -> None:
        self._unseen += 1
        self._collect()
        self._after()

    def _collect(self) -> None:
        self.steps += 1
        for part in self._parts.values():
            part.collect()

    def _check_attached(self) -> None:
        if not self.masks.attached:
            raise ConfigError(
                f"'{self.name}' was detached, its masks are no longer in the network: make a new "
                "pruner, and call compact() before detach()"
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
