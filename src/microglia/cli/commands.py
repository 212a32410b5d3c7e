"""What the commands do, once their arguments are read."""

from __future__ import annotations

import json
import sys
from collections.abc import Mapping
from contextlib import nullcontext
from dataclasses import asdict, replace
from itertools import islice
from pathlib import Path
from typing import Any, Literal, get_args

import torch
from rich.console import Console
from rich.table import Table
from torch import nn

import microglia as mg
from microglia.cli.recurrent import (
    find_recurrent,
    other_seeds,
    print_exponents,
    print_recurrent,
)
from microglia.cli.saved import Saved, find_saved
from microglia.data import Batches, Images, load_images
from microglia.errors import ConfigError, DataError, nearest
from microglia.experiment import RunConfig, layer_sensitivity
from microglia.experiment import prune as run_prune
from microglia.experiment import train as run_train
from microglia.experiment.bench import Bench, load_data
from microglia.experiment.clocked import clocked
from microglia.experiment.columns import caption_of
from microglia.experiment.config import DENSE, method_options
from microglia.experiment.provenance import busy, provenance
from microglia.experiment.run_dir import CONFIG, hold_config, unfinished, working_alone
from microglia.experiment.sensitivity import Score
from microglia.experiment.toml import read_table, set_key, unset_keys
from microglia.experiment.trial import train_dense
from microglia.frameworks import neuron_masks
from microglia.methods import method_named
from microglia.metrics import measure as measure_network
from microglia.metrics import measure_size
from microglia.networks import PLANS, build, network_names
from microglia.report import console_table, write_figures
from microglia.runtime import keep_freed_memory
from microglia.training import has_checkpoint, resolve_device

SENSITIVITY = "sensitivity.html"
LATENCY_REPEATS = 20


def run(
    console: Console,
    what: Literal["prune", "train"],
    path: Path,
    flags: Mapping[str, str],
    *,
    show_config: bool,
    resume: bool,
    progress: bool,
) -> None:
    """Run the experiment of a TOML file, with keys overridden by flags.

    Training alone needs no pruning section.
    """
    default = {"pruning": {"sparsity": 0.0}} if what == "train" else None
    config = _config(path, flags, default=default)
    if show_config:
        _show(console, config)
        return
    keep_freed_memory()  # the process is ours
    if config.output.results is not None:
        _check_writable(Path(config.output.results))
    do = run_prune if what == "prune" else run_train
    try:
        done = do(config, resume=resume, progress=progress)
    except (KeyboardInterrupt, DataError):
        work = unfinished(Path(config.output.directory))
        if work.exists():
            print(
                f"microglia: what is trained so far lies in '{work}': --resume goes on from there",
                file=sys.stderr,
            )
        raise
    console.print(console_table(done.table, caption=caption_of(done.table)))
    if warning := busy(dict(done.record)):
        console.print(warning, highlight=False)
    report = done.directory / "report.html"
    console.print(str(report if report.is_file() else done.directory), highlight=False)


def sensitivity(
    console: Console,
    path: Path,
    flags: Mapping[str, str],
    *,
    out: Path | None,
    score: str,
    as_json: bool,
    progress: bool,
) -> None:
    """Train the dense network of a config, or take a run's, and prune each of its layers alone."""
    scores = get_args(Score)
    if score not in scores:
        raise ConfigError(f"score: '{score}' is unknown.{nearest(score, list(scores))}")
    if path.is_dir() and flags:
        raise ConfigError(
            f"{', '.join(flags)}: '{path}' is a run, which has its config already; give its TOML "
            "file to train another network"
        )
    config = _config(path / CONFIG if path.is_dir() else path, flags)
    work = path if path.is_dir() else out or Path("runs") / "sensitivity"
    work.mkdir(parents=True, exist_ok=True)
    seed = config.seeds[0]
    with nullcontext() if path.is_dir() else working_alone(work, f"--out: '{work}'"):
        hold_config(config, work, remedy="name another folder with --out")
        bench = Bench.open(config, work, progress=progress, resume=True)
        if path.is_dir() and not has_checkpoint(bench.folder(DENSE, seed)):
            raise DataError(
                f"'{path}' has no dense network; run `microglia sensitivity` on its config instead."
            )
        keep_freed_memory()  # the process is ours
        dense = train_dense(bench, seed).model.to(bench.device)
    found = layer_sensitivity(
        dense,
        bench.validation_batches(),
        example_input=bench.example(),
        calibration=islice(bench.training_batches(seed), 8),
        score=score,  # type: ignore[arg-type]  # checked above
        residual=config.pruning.residual,  # type: ignore[arg-type]  # checked by the config
        linear=config.pruning.linear,
    )
    place = out or work
    place.mkdir(parents=True, exist_ok=True)
    record = {**provenance(bench.device), "config": config.to_dict(), **asdict(found)}
    (place / "sensitivity.json").write_text(json.dumps(record, indent=1) + "\n")
    images, figure = len(bench.splits.validation), found.figure()
    whose = (
        f"The dense network of seed {seed}, {images:,} validation images; the channels of lowest "
        f"score ({score}) go."
    )
    figure = replace(figure, hint=f"{figure.hint} {whose}")
    write_figures(f"Sensitivity of {config.network.name}", [figure], place / SENSITIVITY)
    if as_json:
        print(json.dumps(record))
        return
    console.out(f"{config.data.source}, {images:,} validation images", highlight=False)
    console.out(str(found), highlight=False)
    console.out(str(place / SENSITIVITY), highlight=False)


def inspect(
    console: Console,
    target: str,
    *,
    classes: int | None,
    channels: int | None,
    size: int | None,
    T: int | None,
    width: float | None,
    lyapunov: bool = False,
) -> None:
    """Print parameters and structure of a network by name, or of a saved one."""
    given = {"classes": classes, "channels": channels, "size": size, "T": T, "width": width}
    given = {name: value for name, value in given.items() if value is not None}
    if target in network_names():
        usual = PLANS[target].size if target in PLANS else 32
        settings: dict[str, Any] = {
            "classes": 10,
            "channels": 1 if target == "digits" else 3,
            "size": usual,
        }
        settings |= given
        torch.manual_seed(0)
        named = build(target, **settings)
        shape = (2, settings["channels"], settings["size"], settings["size"])
        _print_structure(console, named, example=torch.rand(shape))
        if lyapunov:
            print_exponents(console, named)
        return
    if not Path(target).exists():
        if unfinished(Path(target)).exists():
            raise DataError(f"'{target}': the run is unfinished; go on with it (--resume)")
        raise DataError(
            f"'{target}' is neither a network nor a directory.{nearest(target, network_names())}"
        )
    if given:
        raise ConfigError(
            f"{', '.join(f'--{name}' for name in given)}: '{target}' is a saved network, which has "
            "its own"
        )
    if recurrent := find_recurrent(Path(target)):
        print_recurrent(console, recurrent, lyapunov=lyapunov)
        if others := other_seeds(Path(target)):
            console.print(f"of the first seed; other seeds: {', '.join(others)}", highlight=False)
        return
    saved = find_saved(Path(target))
    model, kept, certificate = saved.load(), _kept_table(saved), saved.certificate()
    _print_structure(console, model, example=saved.example())
    console.print(kept)
    if masks := neuron_masks(model).values():
        open_, whole = sum(int(m.sum()) for m in masks), sum(m.numel() for m in masks)
        console.print(f"neurons kept by masks: {open_:,} of {whole:,}", highlight=False)
    console.print(f"certified: {certificate}", highlight=False, soft_wrap=True)
    if lyapunov:
        print_exponents(console, model)


def measure(
    console: Console,
    target: Path,
    *,
    data: str | None,
    batch_size: int,
    device: str,
    as_json: bool,
) -> None:
    """Print the figures of a saved network on the test images."""
    place = resolve_device(device)
    saved = find_saved(target)
    model = saved.load().to(place)
    images = _test_images(saved, data)
    config = saved.run()
    batches = Batches(
        images,
        batch_size=batch_size,
        shuffle=False,
        device=place,
        encoder=config.data.encoder if config else "direct",
        threshold=config.data.threshold if config else 1.0,
        equalise=config.data.equalise if config else False,
        T=saved.timesteps(),
    )
    first, _ = next(iter(batches))
    wanted, given = saved.example().shape[-3:], first.shape[-3:]
    if wanted != given:
        raise DataError(
            f"data: the network takes images of {_by(wanted)} (channels x height x width), these "
            f"are {_by(given)}."
        )
    figures = measure_network(model, batches, latency_repeats=0)
    figures = clocked({"": model}, first, repeats=LATENCY_REPEATS)[""].on(figures)
    if as_json:
        print(figures.to_json())
        return
    console.print(str(figures), highlight=False, soft_wrap=True)
    console.print("Latency and peak memory: the fastest path, norms folded.", highlight=False)
    if warning := busy(provenance(place)):
        console.print(warning, highlight=False)


def _by(shape: torch.Size) -> str:
    return "x".join(map(str, shape))


def methods(console: Console) -> None:
    """Print a line for each pruning method."""
    table = Table(header_style="bold")
    for heading in ("method", "prunes", "budget", "needs", "source"):
        table.add_column(heading)
    for name, cls in mg.METHODS.items():
        table.add_row(name, cls.prunes, cls.budget_kind, cls.needs, cls.source)
    console.print(table)


def _check_writable(path: Path) -> None:
    """Find out before hours of training that nothing can be appended there."""
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.open("ab").close()
    except OSError as error:
        raise DataError(f"output.results: '{path}' can't be written ({error.strerror})") from error


def _config(
    path: Path, flags: Mapping[str, str], *, default: Mapping[str, Any] | None = None
) -> RunConfig:
    """The config of a TOML file, with keys overridden by flags, and sections that it may lack."""
    table = {**(default or {}), **read_table(path)}
    pruning = table.get("pruning")
    if isinstance(pruning, dict):
        # The two budgets exclude each other; the one on the command line is meant.
        if "pruning.sparsity" in flags:
            pruning.pop("target", None)
        elif any(key.startswith("pruning.target.") for key in flags):
            pruning.pop("sparsity", None)
    for key, text in flags.items():
        set_key(table, key, text, cls=RunConfig)
    return RunConfig.from_table(table)


def _show(console: Console, config: RunConfig) -> None:
    """The config as TOML, and the keys that aren't set as comments."""
    console.out(config.to_toml(), highlight=False)
    pruning = config.pruning
    options = [o for o in method_options(method_named(pruning.method)) if o not in pruning.options]
    unset = [(name, hint) for name, hint in unset_keys(config) if name != "pruning.options"]
    unset += [(f"pruning.options.{name}", f"see {pruning.method}") for name in options]
    for name, hint in unset:
        console.out(f"# not set: {name} ({hint})", highlight=False)


def _print_structure(console: Console, model: nn.Module, *, example: torch.Tensor) -> None:
    size, structure = measure_size(model), mg.analyse(model, example)
    text = f"{size.parameters:,} parameters, {size.bytes:,} bytes\n{structure}"
    console.print(text, highlight=False, markup=False, soft_wrap=True)


def _kept_table(saved: Saved) -> Table:
    table = Table(header_style="bold")
    table.add_column("group")
    table.add_column("channels kept", justify="right")
    table.add_column("of", justify="right")
    for group, (kept, whole) in saved.kept().items():
        table.add_row(group, f"{kept:,}", f"{whole:,}")
    return table


def _test_images(saved: Saved, data: str | None) -> Images:
    """The test images: of the run that the network belongs to, or of other data."""
    config = saved.run()
    if config is not None and data in (None, config.data.source):
        return load_data(config).test  # with the run's rows, size and normalisation
    if data is None:
        raise DataError(f"{saved.path}: no run's config.toml lies beside it; give --data.")
    T = saved.timesteps()
    return load_images(data, split="test", T=T).like(load_images(data, split="train", T=T))
