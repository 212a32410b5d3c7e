"""The `microglia` command, in a process of its own."""

import os
import signal
import sys


def main() -> None:
    """Start the command line with threads that rest while they wait.

    PyTorch's threads spin between operations, and small ones wait a lot: beside any other work on
    the machine that made training many times slower. It must be said before PyTorch is loaded, and
    is left to whoever has said something else.
    """
    os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
    interrupted = signal.getsignal(signal.SIGINT)
    if interrupted is signal.default_int_handler:  # a job in the background ignores Ctrl-C
        signal.signal(signal.SIGINT, _leave)
    from microglia.cli import main as run

    signal.signal(signal.SIGINT, interrupted)
    run()


def _leave(*_: object) -> None:
    """While packages load, an exception could end up in any of them; nothing is open yet."""
    sys.stderr.write("microglia: interrupted\n")
    sys.stderr.flush()
    os._exit(130)
