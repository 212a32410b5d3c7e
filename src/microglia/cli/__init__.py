"""The command line: thin; every flag is a key of the config."""

from __future__ import annotations

import sys
import warnings
from collections.abc import Sequence


def main(arguments: Sequence[str] | None = None) -> None:
    """The console entry point; leaves with an exit code that scripts can trust.

    0 all is well; 1 an unexpected error; 2 a wrong setting or usage; 3 a network that can't be
    analysed; 4 a certificate that failed; 5 data or files; 6 training; 130 interrupted.
    """
    sys.exit(run(sys.argv[1:] if arguments is None else arguments))


def run(arguments: Sequence[str]) -> int:
    """Run one command; its exit code. Errors go to stderr as one message, without a traceback."""
    try:
        from microglia.cli.app import INTERRUPTED, app, invoke
    except ModuleNotFoundError as error:
        if error.name is None or error.name.split(".")[0] not in ("typer", "rich"):
            raise
        return _complain("the command line needs Typer and Rich: pip install 'microglia[train]'", 1)
    from microglia.errors import MicrogliaError

    debug = "--debug" in arguments
    try:
        with warnings.catch_warnings():
            if not debug:
                warnings.showwarning = _say
            return invoke(app, [a for a in arguments if a != "--debug"])
    except MicrogliaError as error:
        if debug:
            raise
        return _complain(str(error), error.exit_code)
    except KeyboardInterrupt:
        return _complain("interrupted", INTERRUPTED)
    except BrokenPipeError:
        # The reader, such as `head`, has gone. Python would complain again while closing stdout.
        sys.stderr.close()
        return 1
    except Exception as error:
        if debug:
            raise
        first = (str(error).splitlines() or [""])[0]
        hint = "Run again with --debug for the traceback."
        return _complain(f"unexpected {type(error).__name__}: {first}\n{hint}", 1)


def _say(message: Warning | str, *_: object, **__: object) -> None:
    """A warning in one line, without the place in the code that it comes from."""
    print(f"microglia: warning: {message}", file=sys.stderr)


def _complain(message: str, code: int) -> int:
    print(f"microglia: {message}", file=sys.stderr)
    return code
