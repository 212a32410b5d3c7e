"""Arguments that several commands have, and keys of the config as flags."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Annotated

import typer

from microglia.errors import ConfigError

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

ANY_KEY = {"allow_extra_args": True, "ignore_unknown_options": True}
"""The setting of a command that takes every key of its config as a flag."""


def keys_given(flags: Mapping[str, str | None], rest: Sequence[str]) -> dict[str, str]:
    """The keys whose flags were set, and those written out among the `rest` of the arguments.

    Raises:
        ConfigError: as `dotted_flags` does.
    """
    return {k: text for k, text in flags.items() if text is not None} | dotted_flags(rest)


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
