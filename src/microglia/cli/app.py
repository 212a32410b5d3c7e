"""The commands."""

from __future__ import annotations

from collections.abc import Sequence
from importlib.metadata import version
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.console import Console

from microglia.cli import examples, lnp, report
from microglia.cli.options import (
    ANY_KEY,
    Device,
    Epochs,
    Experiment,
    Out,
    Overwrite,
    Quiet,
    Results,
    Resume,
    Seeds,
    ShowConfig,
    dotted_flags,
    keys_given,
)

app = typer.Typer(
    name="microglia",
    help="Makes spiking neural networks smaller, and proves it.",
    no_args_is_help=True,
    rich_markup_mode="rich",
    pretty_exceptions_enable=False,
    add_completion=False,
)

INTERRUPTED = 130

# Click's own error class; newer Typers bring Click along under no public name.
_USAGE_ERROR: Any = next(c for c in typer.BadParameter.__mro__ if c.__name__ == "ClickException")


def invoke(command: typer.Typer, arguments: Sequence[str]) -> int:
    """Run the command line; usage errors are printed here, all others are the caller's."""
    try:
        result = typer.main.get_command(command).main(
            list(arguments), prog_name="microglia", standalone_mode=False
        )
    except typer.Abort:
        raise KeyboardInterrupt from None
    except _USAGE_ERROR as error:
        error.show()
        return int(error.exit_code)
    if result == INTERRUPTED:  # newer Typers answer Ctrl-C with its exit code
        raise KeyboardInterrupt
    return result if isinstance(result, int) else 0


def _print_version(wanted: bool) -> None:
    if wanted:
        print(f"microglia {version('microglia')}")
        raise typer.Exit


@app.callback()
def root(
    debug: Annotated[
        bool, typer.Option("--debug", help="Show the traceback of an error; works anywhere.")
    ] = False,
    _version: Annotated[
        bool,
        typer.Option(
            "--version", callback=_print_version, is_eager=True, help="Print the version."
        ),
    ] = False,
) -> None:
    """Makes spiking neural networks smaller, and proves it."""


@app.command(
    epilog=examples.PRUNE,
    context_settings=ANY_KEY,
)
def prune(
    context: typer.Context,
    config: Experiment,
    method: Annotated[str | None, typer.Option(help="pruning.method; see `methods`.")] = None,
    sparsity: Annotated[
        str | None, typer.Option(help="pruning.sparsity: fraction taken away, in [0, 1).")
    ] = None,
    epochs: Epochs = None,
    seeds: Seeds = None,
    device: Device = None,
    batch_size: Annotated[str | None, typer.Option(help="data.batch_size")] = None,
    controls: Annotated[
        str | None, typer.Option(help="pruning.controls, such as dense,uniform-slim")
    ] = None,
    out: Out = None,
    results: Results = None,
    overwrite: Overwrite = False,
    resume: Resume = False,
    show_config: ShowConfig = False,
    quiet: Quiet = False,
) -> None:
    """Train, prune, compact, save, reload, measure and compare.

    Prints one table and leaves a run directory with the compact network and a report.
    """
    from microglia.cli import commands

    flags = {
        "pruning.method": method,
        "pruning.sparsity": sparsity,
        "training.epochs": epochs,
        "seeds": seeds,
        "training.device": device,
        "data.batch_size": batch_size,
        "pruning.controls": controls,
        "output.directory": out,
        "output.results": results,
        "output.overwrite": "true" if overwrite else None,
    }
    commands.run(
        Console(),
        "prune",
        config,
        keys_given(flags, context.args),
        show_config=show_config,
        resume=resume,
        progress=not quiet,
    )


@app.command(
    epilog=examples.TRAIN,
    context_settings=ANY_KEY,
)
def train(
    context: typer.Context,
    config: Experiment,
    epochs: Epochs = None,
    seeds: Seeds = None,
    device: Device = None,
    out: Out = None,
    results: Results = None,
    overwrite: Overwrite = False,
    resume: Resume = False,
    show_config: ShowConfig = False,
    quiet: Quiet = False,
) -> None:
    """Train a network as it is, and measure it on the test images.

    Prints one table and leaves a run directory with the network, for `measure` and `inspect`.
    """
    from microglia.cli import commands

    flags = {
        "training.epochs": epochs,
        "seeds": seeds,
        "training.device": device,
        "output.directory": out,
        "output.results": results,
        "output.overwrite": "true" if overwrite else None,
    }
    commands.run(
        Console(),
        "train",
        config,
        keys_given(flags, context.args),
        show_config=show_config,
        resume=resume,
        progress=not quiet,
    )


@app.command(epilog=examples.REPRODUCE)
def reproduce(
    paper: Annotated[
        str,
        typer.Argument(
            help="Which: sca, the paper's; recipes, norms and losses; rivals, all methods; lnp, "
            "untrained recurrent networks."
        ),
    ],
    tier: Annotated[str, typer.Option(help="s (minutes a network), m, or g (for a GPU).")] = "s",
    only: Annotated[
        str | None, typer.Option(help="Jobs of this name alone, a shell pattern.")
    ] = None,
    results: Annotated[
        Path | None, typer.Option(help="Append to this file (default: results/PAPER-TIER.jsonl).")
    ] = None,
    folder: Annotated[Path, typer.Option(help="Where checkpoints and networks go.")] = Path(
        "runs/reproduce"
    ),
    list_jobs: Annotated[
        bool, typer.Option("--list", help="Print the names of the jobs, and stop.")
    ] = False,
    only_tables: Annotated[
        bool, typer.Option("--tables", help="Print the tables of what is done, and stop.")
    ] = False,
    quiet: Quiet = False,
) -> None:
    """Do a list of experiments again, such as a paper's, at a tier's size, and print the tables.

    Each finished network appends a line to the results file and isn't trained again; an interrupted
    one goes on from its last epoch. Several processes may work at once.
    """
    from microglia.cli import reproduce as command

    command.reproduce(
        Console(),
        paper,
        tier=tier,
        only=only,
        results=results,
        folder=folder,
        list_jobs=list_jobs,
        only_tables=only_tables,
        progress=not quiet,
    )


@app.command(
    epilog=examples.COMPARE,
    context_settings=ANY_KEY,
)
def compare(
    context: typer.Context,
    config: Annotated[Path, typer.Argument(help="The comparison, a TOML file.")],
    seeds: Seeds = None,
    processes: Annotated[int | None, typer.Option(help="How many at once.")] = None,
    list_jobs: Annotated[
        bool, typer.Option("--list", help="Print the names of the runs, and stop.")
    ] = False,
    only_table: Annotated[
        bool, typer.Option("--table", help="Print the table of what is done, and stop.")
    ] = False,
    trials: Annotated[
        int | None,
        typer.Option(
            "--tune",
            help="First search settings, so many trials each; what other processes are at by then "
            "is finished too.",
        ),
    ] = None,
    storage: Annotated[
        str | None,
        typer.Option(help="Where searches are kept, any URL of Optuna's (default: a SQLite file)."),
    ] = None,
    quiet: Quiet = False,
) -> None:
    """Train methods at several sparsities and seeds, side by side with the dense network.

    Each finished run appends a line to output.results and isn't done again; an interrupted one goes
    on from its last epoch. Any key of the file can be set: --compare.methods sca,stds.
    """
    from microglia.cli import compare as command

    command.compare(
        Console(),
        config,
        keys_given({"seeds": seeds}, context.args),
        processes=processes,
        trials=trials,
        storage=storage,
        list_jobs=list_jobs,
        only_table=only_table,
        progress=not quiet,
    )


@app.command(
    epilog=examples.SENSITIVITY,
    context_settings=ANY_KEY,
)
def sensitivity(
    context: typer.Context,
    config: Annotated[Path, typer.Argument(help="An experiment's TOML file, or a run directory.")],
    score: Annotated[
        str, typer.Option(help="What channels are ranked by: membrane, rate or magnitude.")
    ] = "membrane",
    out: Annotated[
        Path | None,
        typer.Option(help="Where results go (default: the run, or runs/sensitivity)."),
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
    quiet: Quiet = False,
) -> None:
    """Prune one layer at a time of a trained network, and see what that costs.

    The dense network is trained first, if it hasn't been. Accuracies are of the validation images.
    """
    from microglia.cli import commands

    commands.sensitivity(
        Console(),
        config,
        dotted_flags(context.args),
        out=out,
        score=score,
        as_json=as_json,
        progress=not quiet,
    )


@app.command(epilog=examples.INSPECT)
def inspect(
    target: Annotated[str, typer.Argument(help="A network's name, or a saved one's directory.")],
    classes: Annotated[
        int | None, typer.Option(help="Of a network by name, as all of these; 10.")
    ] = None,
    channels: Annotated[int | None, typer.Option(help="Of its images; 3, digits 1.")] = None,
    size: Annotated[int | None, typer.Option(help="Side of its images; 32, digits 8.")] = None,
    steps: Annotated[int | None, typer.Option("--T", help="Timesteps; 4.")] = None,
    width: Annotated[float | None, typer.Option(help="Multiplies the channels.")] = None,
    lyapunov: Annotated[
        bool, typer.Option("--lyapunov", help="Of a recurrent network: its leading exponents.")
    ] = False,
) -> None:
    """Print what a network is made of: parameters, and the groups of channels that go together.

    Of a network that `microglia lnp` left: neurons, synapses, and what each step did.
    """
    from microglia.cli import commands

    commands.inspect(
        Console(),
        target,
        classes=classes,
        channels=channels,
        size=size,
        T=steps,
        width=width,
        lyapunov=lyapunov,
    )


@app.command(epilog=examples.MEASURE)
def measure(
    target: Annotated[Path, typer.Argument(help="A run's directory, or a saved network's.")],
    data: Annotated[
        str | None,
        typer.Option(help="Where its images come from; by default as the run's config says."),
    ] = None,
    batch_size: Annotated[
        int, typer.Option(help="Images at a time; latency is of one batch.")
    ] = 32,
    device: Annotated[str, typer.Option(help="auto, cpu, cuda, cuda:1, mps")] = "auto",
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON, layer by layer.")] = False,
) -> None:
    """Measure a saved network on the test images: accuracy, size, operations, energy, latency."""
    from microglia.cli import commands

    commands.measure(
        Console(), target, data=data, batch_size=batch_size, device=device, as_json=as_json
    )


app.command(epilog=report.EXAMPLES)(report.report)
app.command(epilog=lnp.EXAMPLES, context_settings=ANY_KEY)(lnp.lnp)


@app.command()
def methods() -> None:
    """List the pruning methods: what each removes, its budget, what it needs, its source."""
    from microglia.cli import commands

    commands.methods(Console())
