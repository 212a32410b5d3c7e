"""One experiment as one frozen dataclass, section by section as in the TOML file."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from microglia.data.encode import ENCODERS
from microglia.data.events import SPLITS_BY
from microglia.errors import ConfigError, nearest
from microglia.experiment.toml import dump, from_table, read_table
from microglia.methods import Pruner, method_named
from microglia.methods.parts.budget import Budget
from microglia.training import TrainingConfig

DENSE = "dense"
CONTROLS = ("random", "uniform-slim")
WEIGHT_CONTROLS = ("random-weights",)
RESIDUALS = ("tied", "inner")


@dataclass(frozen=True, kw_only=True)
class NetworkConfig:
    """A network by name; classes, channels and size come from the data.

    None leaves a setting to the network. See `microglia.networks.build`. With `final_T` the dense
    network is trained at T, then at one timestep less for an epoch at a tenth of the learning
    rate, and so on down to `final_T`: the temporal pruning of Chowdhury et al., 2021. Images only.
    """

    name: str
    T: int = 4
    final_T: int | None = None
    width: float = 1.0
    neuron: str | None = None
    tau: float | None = None
    alpha: float | None = None
    surrogate: str | None = None
    reset: str | None = None
    detach_reset: bool | None = None
    beta: float | None = None
    tau_a: float | None = None
    norm: str | None = None
    cnf: str | None = None

    def __post_init__(self) -> None:
        _check("network.T", self.T, self.T >= 1, "at least 1")
        if self.final_T is not None:
            _check("network.final_T", self.final_T, 1 <= self.final_T <= self.T, "in [1, T]")
        _check("network.width", self.width, 0 < self.width < math.inf, "above 0")


@dataclass(frozen=True, kw_only=True)
class DataConfig:
    """Where the images come from; see `microglia.data.load_splits`.

    Rows are `[first, end)` of the training part; `validation_share` takes instead the last part of
    each class. `augment` changes the training images; `cutout` is the side in pixels of the square
    that it blackens (None: as `augment` says, 0: none). Pixels are normalised, or through an
    `encoder`, "poisson" or "latency", spikes of `network.T` steps. Events become `network.T`
    frames, cut by "time" or by "count", and with `equalise` each recording is divided by its mean;
    the encoder "delta" leaves the changes of at least `threshold` from frame to frame. The
    validation images are only watched; the test images are measured once, at the end.
    """

    source: str
    train_rows: tuple[int, ...] | None = None
    validation_rows: tuple[int, ...] | None = None
    image_column: str | None = None
    label_column: str | None = None
    size: int | None = None
    split_by: str = "time"
    equalise: bool = False
    validation_share: float | None = None
    batch_size: int = 64
    augment: str = "none"
    cutout: int | None = None
    encoder: str = "direct"
    threshold: float = 1.0

    def __post_init__(self) -> None:
        _check("data.batch_size", self.batch_size, self.batch_size >= 1, "at least 1")
        if self.cutout is not None:
            _check("data.cutout", self.cutout, self.cutout >= 0, "at least 0")
        if self.split_by not in SPLITS_BY:
            raise ConfigError(
                f"data.split_by: '{self.split_by}' is unknown."
                f"{nearest(self.split_by, list(SPLITS_BY))}"
            )
        if self.encoder not in ENCODERS:
            raise ConfigError(
                f"data.encoder: '{self.encoder}' is unknown.{nearest(self.encoder, list(ENCODERS))}"
            )
        _check("data.threshold", self.threshold, 0 < self.threshold < math.inf, "above 0")
        if self.validation_share is not None:
            share = self.validation_share
            _check("data.validation_share", share, 0 < share < 1, "in (0, 1)")
        for name in ("train_rows", "validation_rows"):
            rows = getattr(self, name)
            if rows is not None and not (len(rows) == 2 and 0 <= rows[0] < rows[1]):
                raise ConfigError(f"data.{name}: wanted [first, end), 0 <= first < end, got {rows}")


@dataclass(frozen=True, kw_only=True)
class PruningConfig:
    """The method, how much it takes away, and what it is compared with.

    Either `sparsity`, the fraction of channels or weights taken away, or `target`, one quantity and
    the fraction of it that may stay. Times are in epochs and may be fractions: structure changes
    every `every_epochs`, first after `warmup_epochs` (None: after the first interval), last at
    `until_epochs` (None: at the run's end, as in the SCA paper). Methods that act on a trained
    network take the dense one.

    The compact network gets `finetune_epochs` more, at `finetune_rate` times the learning rate
    (None: 2 at the full rate if the method acted on a trained network, else 0, or a tenth of the
    rate; benchmarks/finetune_rate.py). With `distill` above 0 that share
    of the fine-tuning loss is `Distillation` from the dense network of the same seed. Methods that
    prune weights leave zeros; they are fine-tuned before they are compacted.

    A method that acts on a trained network and has a penalty, as slimming's on the norms' scales,
    is given one that was trained with it from the start where `options.penalty` is above 0.

    `controls` are trained beside it: "dense"; "random", "uniform-slim" and "random-weights" at the
    parameters that the method reached. `options` go to the method as they are, such as
    `regrow = 0.1` for SCA.
    """

    method: str = "sca"
    sparsity: float | None = None
    target: dict[str, float] = field(default_factory=dict)
    controls: tuple[str, ...] = (DENSE, *CONTROLS)
    every_epochs: float = 1.0
    warmup_epochs: float | None = None
    until_epochs: float | None = None
    finetune_epochs: int | None = None
    finetune_rate: float | None = None
    distill: float = 0.0
    temperature: float = 4.0
    protect: tuple[str, ...] = ()
    floor: int = 1
    round_to: int = 1
    residual: str = "tied"
    linear: bool = False
    options: dict[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        cls = method_named(self.method)
        if (self.sparsity is None) == (not self.target):
            raise ConfigError(
                "pruning: give either sparsity (fraction taken away) or target (such as "
                "target = {parameters = 0.2}, fraction kept), and not both."
            )
        if self.sparsity is not None:
            _check("pruning.sparsity", self.sparsity, 0 <= self.sparsity < 1, "in [0, 1)")
        if self.target:
            _check_target(self.target)
        _check("pruning.every_epochs", self.every_epochs, self.every_epochs > 0, "above 0")
        epochs = self.finetune_epochs or 0
        _check("pruning.finetune_epochs", epochs, epochs >= 0, "from 0")
        _check("pruning.distill", self.distill, 0 <= self.distill <= 1, "in [0, 1]")
        valid = 0 < self.temperature < math.inf
        _check("pruning.temperature", self.temperature, valid, "above 0")
        if self.distill and not self.finetuning:
            raise ConfigError(
                "pruning.distill: the dense network teaches the compact one in fine-tuning, of "
                "which there is none; set pruning.finetune_epochs."
            )
        rate = self.tuning_rate
        _check("pruning.finetune_rate", rate, 0 < rate < math.inf, "above 0")
        if self.residual not in RESIDUALS:
            raise ConfigError(
                f"pruning.residual: '{self.residual}' is unknown."
                f"{nearest(self.residual, list(RESIDUALS))}"
            )
        known = [DENSE, *CONTROLS, *WEIGHT_CONTROLS]
        for control in self.controls:
            if control not in known:
                raise ConfigError(
                    f"pruning.controls: '{control}' is unknown.{nearest(control, known)}"
                )
        matched = {*CONTROLS, *WEIGHT_CONTROLS} - {self.method}
        if set(self.controls) & matched and DENSE not in self.controls:
            raise ConfigError("pruning.controls: controls are compared with 'dense'; add it.")
        if cls.prunes == "weights":
            _refuse_channel_settings(self)
        emerges = cls.budget_kind == "emergent" and cls.needs == "training"
        if emerges and self.until_epochs is None:
            raise ConfigError(
                f"pruning.until_epochs: '{self.method}' comes to its budget there; set it, such as "
                "to three quarters of training.epochs."
            )
        options = method_options(cls)
        for name in self.options:
            if name not in options:
                raise ConfigError(
                    f"pruning.options.{name}: '{self.method}' has no such setting."
                    f"{nearest(name, options) if options else ' It has none.'}"
                )

    @property
    def finetuning(self) -> int:
        """Epochs of fine-tuning."""
        if self.finetune_epochs is not None:
            return self.finetune_epochs
        return 2 if method_named(self.method).needs == "trained" else 0

    @property
    def tuning_rate(self) -> float:
        """Learning rate of the fine-tuning as a fraction of the training's."""
        if self.finetune_rate is not None:
            return self.finetune_rate
        return 1.0 if method_named(self.method).needs == "trained" else 0.1

    @property
    def needs_dense(self) -> bool:
        """Whether the method or its fine-tuning starts, or learns, from the dense network."""
        return bool(self.distill) or builds_on_dense(self.method, self.options)

    @property
    def trains_for_it(self) -> bool:
        """Whether the network that is pruned when trained was trained with the method's penalty."""
        return trains_for_it(self.method, self.options)


@dataclass(frozen=True, kw_only=True)
class OutputConfig:
    """Where the run directory goes, and how latency is measured.

    `directory` must not exist unless `overwrite` is set. `results` names a JSON-lines file that
    the finished run appends one line to. Latency is the median of `latency_repeats` forward
    passes of `latency_batch` images, all networks interleaved.
    """

    directory: str = "runs/latest"
    overwrite: bool = False
    results: str | None = None
    report: bool = True
    latency_batch: int = 32
    latency_repeats: int = 30

    def __post_init__(self) -> None:
        _check("output.latency_batch", self.latency_batch, self.latency_batch >= 1, "at least 1")
        _check(
            "output.latency_repeats", self.latency_repeats, self.latency_repeats >= 1, "at least 1"
        )
        if not self.directory:
            raise ConfigError("output.directory: wanted a path, got an empty text.")


@dataclass(frozen=True, kw_only=True)
class RunConfig:
    """A whole experiment: `network` and `data`, how to train and prune, where to put the result."""

    network: NetworkConfig
    data: DataConfig
    pruning: PruningConfig
    training: TrainingConfig = field(default_factory=TrainingConfig)
    output: OutputConfig = field(default_factory=OutputConfig)
    seeds: tuple[int, ...] = (0,)

    def __post_init__(self) -> None:
        check_seeds(self.seeds)
        until, epochs = self.pruning.until_epochs, self.training.epochs
        trains = method_named(self.pruning.method).needs == "training"
        if trains and until is not None and until > epochs:
            raise ConfigError(
                f"pruning.until_epochs = {until:g}: masks would still change when training ends, "
                f"after training.epochs = {epochs}. Train longer, or lower it, such as to three "
                "quarters of the epochs."
            )

    @classmethod
    def from_table(cls, table: Mapping[str, Any]) -> RunConfig:
        """From nested dicts such as TOML gives; unknown keys are refused."""
        return from_table(cls, table)

    @classmethod
    def from_file(cls, path: str | Path) -> RunConfig:
        """From a TOML file."""
        return from_table(cls, read_table(Path(path)))

    def differs_from(self, other: RunConfig) -> list[str]:
        """The keys that make another config another experiment; where results go doesn't count."""
        mine, theirs = self.to_dict(), other.to_dict()
        for config, table in ((self, mine), (other, theirs)):
            del table["output"], table["training"]["loggers"]
            tunes = config.pruning.finetuning > 0
            table["pruning"]["finetune_rate"] = config.pruning.tuning_rate if tunes else None
        keys = []
        for section, value in mine.items():
            if isinstance(value, dict):
                keys += [f"{section}.{k}" for k in value if value[k] != theirs[section][k]]
            elif value != theirs[section]:
                keys.append(section)
        return keys

    def to_toml(self) -> str:
        """As TOML that reads back equal."""
        return dump(self)

    def to_dict(self) -> dict[str, Any]:
        """As nested dicts, for JSON."""
        return dataclasses.asdict(self)


def builds_on_dense(method: str, options: Mapping[str, Any]) -> bool:
    """Whether a method starts, or learns, from the dense network, whose training it then costs."""
    cls = method_named(method)
    starts = cls.needs == "trained" and not trains_for_it(method, options)
    return starts or "teacher" in cls.settings()


def trains_for_it(method: str, options: Mapping[str, Any]) -> bool:
    """Whether a method for trained networks has one trained with its penalty, from the start."""
    rate = options.get("penalty")
    sparse = isinstance(rate, (int, float)) and rate > 0
    return sparse and method_named(method).needs == "trained"


_SET_ELSEWHERE = (
    "example_input optimizer ledger seed teacher sparsity target every warmup until "
    "protect floor round_to residual linear"
).split()


def check_seeds(seeds: tuple[int, ...]) -> None:
    """Raises ConfigError for none, the same twice, or one below 0."""
    if not seeds or min(seeds) < 0 or len(set(seeds)) < len(seeds):
        raise ConfigError(f"seeds: wanted different whole numbers from 0, got {list(seeds)}")


def method_options(cls: type[Pruner]) -> list[str]:
    """What the method's constructor takes beyond the keys that every method has here."""
    # Controls treat all layers alike, and so set the scope themselves; and no pruner's penalty is
    # in the loss that they are trained with.
    closed = ["scope"] if cls.needs == "initialisation" else []
    closed += ["penalty"] if cls.needs == "initialisation" else []
    return [name for name in cls.settings() if name not in (*_SET_ELSEWHERE, *closed)]


def _refuse_channel_settings(pruning: PruningConfig) -> None:
    for name, usual in (("round_to", 1), ("residual", "tied"), ("linear", False)):
        if getattr(pruning, name) != usual:
            raise ConfigError(f"pruning.{name}: '{pruning.method}' prunes weights, not channels.")


def _check_target(target: Mapping[str, float]) -> None:
    try:
        Budget(target=target)
    except ConfigError as error:
        raise ConfigError(f"pruning.{error}") from None


def _check(name: str, value: float, valid: bool, wanted: str) -> None:
    if not valid:
        raise ConfigError(f"{name}: wanted a value {wanted}, got {value}.")
