"""The commands."""

from __future__ import annotations

from collections.abc import Sequence
from importlib.metadata import version
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.console import Console

from microglia.cli import report
from microglia.errors import ConfigError

app = typer.Typer(
    name="microglia",
    help="Makes spiking neural networks smaller, and proves it.",
    no_args_is_help=True,
    rich_markup_mode="rich",
    pretty_exceptions_enable=False,
    add_completion=False,
)

PRUNE_EXAMPLES = """
[bold]Examples[/bold]

  microglia prune examples/digits.toml

  microglia prune examples/digits.toml --sparsity 0.5 --seeds 0,1,2 --out runs/half

  microglia prune examples/digits.toml --network.width 0.5 --pruning.options.regrow 0.05

  microglia prune examples/digits.toml --epochs 4 --show-config

Any key of the config is a flag, --section.key value; the common ones have short names too.
--show-config lists them all.
"""

TRAIN_EXAMPLES = """
[bold]Examples[/bold]

  microglia train examples/digits.toml

  microglia train examples/digits.toml --training.loss tet --network.norm tebn --seeds 0,1,2
"""

REPRODUCE_EXAMPLES = """
[bold]Examples[/bold]

  microglia reproduce sca --tier s

  microglia reproduce sca --tier s --only "cifar10-conv5/*-seed0"

  microglia reproduce sca --tier m --list

  microglia reproduce recipes --tier s
"""

COMPARE_EXAMPLES = """
[bold]Examples[/bold]

  microglia compare examples/compare.toml

  microglia compare examples/compare.toml --processes 2 --seeds 0,1,2

  microglia compare examples/compare.toml --table

  microglia compare examples/compare.toml --tune 12 --compare.methods stds
"""

SENSITIVITY_EXAMPLES = """
[bold]Examples[/bold]

  microglia sensitivity examples/digits.toml

  microglia sensitivity runs/demo --score rate
"""

INSPECT_EXAMPLES = """
[bold]Examples[/bold]

  microglia inspect vgg16

  microglia inspect preresnet18 --width 0.25 --classes 100

  microglia inspect runs/demo
"""

MEASURE_EXAMPLES = """
[bold]Examples[/bold]

  microglia measure runs/demo

  microglia measure runs/demo/compact --data digits

  microglia measure runs/demo --json > figures.json
"""


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


Experiment = Annotated[Path, typer.Argument(help="The experiment, a TOML file.")]
Epochs = Annotated[str | None, typer.Option(help="training.epochs")]
Seeds = Annotated[str | None, typer.Option(help="seeds, such as 0,1,2")]
Device = Annotated[str | None, typer.Option(help="training.device: auto, cpu, cuda, cuda:1, mps")]
Out = Annotated[str | None, typer.Option(help="output.directory")]
Results = Annotated[
    str | None, typer.Option(help="output.results: append a JSON line to this file.")
]
Overwrite = Annotated[
    bool, typer.Option("--overwrite", help="output.overwrite: replace an earlier run.")
]
Resume = Annotated[bool, typer.Option("--resume", help="Go on from where an interrupted run was.")]
ShowConfig = Annotated[
    bool, typer.Option("--show-config", help="Print the config, every key, and stop.")
]
Quiet = Annotated[bool, typer.Option("--quiet", "-q", help="No progress bars.")]


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
    epilog=PRUNE_EXAMPLES,
    context_settings={"allow_extra_args": True, "ignore_unknown_options": True},
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
    given = {key: text for key, text in flags.items() if text is not None}
    commands.run(
        Console(),
        "prune",
        config,
        given | dotted_flags(context.args),
        show_config=show_config,
        resume=resume,
        progress=not quiet,
    )


@app.command(
    epilog=TRAIN_EXAMPLES,
    context_settings={"allow_extra_args": True, "ignore_unknown_options": True},
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

    Prints one table and leaves a run directory with the checkpoint.
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
    given = {key: text for key, text in flags.items() if text is not None}
    commands.run(
        Console(),
        "train",
        config,
        given | dotted_flags(context.args),
        show_config=show_config,
        resume=resume,
        progress=not quiet,
    )


@app.command(epilog=REPRODUCE_EXAMPLES)
def reproduce(
    paper: Annotated[
        str, typer.Argument(help="Which: sca, the paper's, or recipes, norms and losses.")
    ],
    tier: Annotated[str, typer.Option(help="s (minutes a network), m, or g (for a GPU).")] = "s",
    only: Annotated[
        str | None, typer.Option(help="Jobs of this name alone, a shell pattern.")
    ] = None,
    results: Annotated[
        Path | None, typer.Option(help="Append to this file [default: results/PAPER-TIER.jsonl].")
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
    from microglia.cli import commands

    commands.reproduce(
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
    epilog=COMPARE_EXAMPLES,
    context_settings={"allow_extra_args": True, "ignore_unknown_options": True},
)
def compare(
    context: typer.Context,
    config: Annotated[Path, typer.Argument(help="The comparison, a TOML file.")],
    processes: Annotated[int | None, typer.Option(help="How many at once.")] = None,
    list_jobs: Annotated[
        bool, typer.Option("--list", help="Print the names of the runs, and stop.")
    ] = False,
    only_table: Annotated[
        bool, typer.Option("--table", help="Print the table of what is done, and stop.")
    ] = False,
    trials: Annotated[
        int | None,
        typer.Option("--tune", help="First search settings, so many trials each."),
    ] = None,
    storage: Annotated[
        str | None,
        typer.Option(help="Where searches are kept, any URL of Optuna's [default: a SQLite file]."),
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
        dotted_flags(context.args),
        processes=processes,
        trials=trials,
        storage=storage,
        list_jobs=list_jobs,
        only_table=only_table,
        progress=not quiet,
    )


@app.command(
    epilog=SENSITIVITY_EXAMPLES,
    context_settings={"allow_extra_args": True, "ignore_unknown_options": True},
)
def sensitivity(
    context: typer.Context,
    config: Annotated[Path, typer.Argument(help="An experiment's TOML file, or a run directory.")],
    score: Annotated[
        str, typer.Option(help="What channels are ranked by: membrane, rate or magnitude.")
    ] = "membrane",
    out: Annotated[
        Path | None,
        typer.Option(help="Where results go [default: the run, or runs/sensitivity]."),
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


@app.command(epilog=INSPECT_EXAMPLES)
def inspect(
    target: Annotated[str, typer.Argument(help="A network's name, or a saved one's directory.")],
    classes: Annotated[
        int | None, typer.Option(help="Of a network by name, as all of these; 10.")
    ] = None,
    channels: Annotated[int | None, typer.Option(help="Of its images; 3, digits 1.")] = None,
    size: Annotated[int | None, typer.Option(help="Side of its images; 32, digits 8.")] = None,
    steps: Annotated[int | None, typer.Option("--T", help="Timesteps; 4.")] = None,
    width: Annotated[float | None, typer.Option(help="Multiplies the channels.")] = None,
) -> None:
    """Print what a network is made of: parameters, and the groups of channels that go together."""
    from microglia.cli import commands

    commands.inspect(
        Console(), target, classes=classes, channels=channels, size=size, T=steps, width=width
    )


@app.command(epilog=MEASURE_EXAMPLES)
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


@app.command()
def methods() -> None:
    """List the pruning methods: what each removes, its budget, what it needs, its source."""
    from microglia.cli import commands

    commands.methods(Console())


def dotted_flags(arguments: Sequence[str]) -> dict[str, str]:
    """`--section.key value` and `--section.key=value` as {key: value}.

    Raises:
        ConfigError: an argument that is neither.
    """
    given: dict[str, str] = {}
    rest = list(arguments)
    while rest:
        flag = rest.pop(0)
        name, equals, value = flag.removeprefix("--").partition("=")
        if not flag.startswith("--") or "." not in name:
            raise ConfigError(
                f"'{flag}' is not understood here. Keys of the config are written "
                f"--section.key value, such as --training.epochs 4; --help lists the short flags."
            )
        if not equals:
            if not rest:
                raise ConfigError(f"'{flag}' wants a value: {flag} <value>.")
            value = rest.pop(0)
        given[name] = value
    return given
