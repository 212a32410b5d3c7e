"""`microglia lnp`: a recurrent network pruned before any training."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console

from microglia.cli.options import Out, Overwrite, Quiet, Resume, dotted_flags

EXAMPLES = """
[bold]Examples[/bold]

  microglia lnp --demo

  microglia lnp examples/lnp.toml

  microglia lnp examples/lnp.toml --pruning.sparsity 0.9 --pruning.neurons 0.3 --seeds 0,1,2

  microglia lnp examples/lnp.toml --network.neurons 2000 --out runs/large --resume
"""


def lnp(
    context: typer.Context,
    config: Annotated[Path | None, typer.Argument(help="The run, a TOML file.")] = None,
    demo: Annotated[
        bool, typer.Option("--demo", help="Lorenz' system, forecast dense and pruned.")
    ] = False,
    seeds: Annotated[str | None, typer.Option(help="seeds, such as 0,1,2")] = None,
    out: Out = None,
    overwrite: Overwrite = False,
    resume: Resume = False,
    quiet: Quiet = False,
) -> None:
    """Prune a recurrent spiking network before any training, by Lyapunov noise pruning.

    Prints each step and a table against controls, and leaves a run directory with the network and
    its figures. A killed run goes on with --resume. Any key of the file can be set.
    """
    from microglia.errors import ConfigError
    from microglia.experiment.recurrent.lnp import CAPTION, prune_recurrent_run
    from microglia.experiment.recurrent.lnp_config import DEMO, LNPRun
    from microglia.experiment.toml import plain, read_table, set_key
    from microglia.report import console_table
    from microglia.report.pages import PAGE

    if demo == (config is not None):
        raise ConfigError("lnp: give either a TOML file or --demo")
    table = plain(DEMO) if config is None else read_table(config)
    flags = {
        "seeds": seeds,
        "output.directory": out,
        "output.overwrite": "true" if overwrite else None,
    }
    given = {key: text for key, text in flags.items() if text is not None}
    for key, text in {**given, **dotted_flags(context.args)}.items():
        set_key(table, key, text, cls=LNPRun)

    def say(text: str) -> None:
        if not quiet:
            print(text, file=sys.stderr, flush=True)

    done = prune_recurrent_run(LNPRun.from_table(table), resume=resume, say=say)
    console = Console()
    console.print(console_table(done.table, caption=CAPTION))
    console.print(str(done.directory / PAGE), highlight=False)
