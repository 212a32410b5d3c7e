"""The `microglia` command, in a process of its own."""

import os


def main() -> None:
    """Start the command line with threads that rest while they wait.

    PyTorch's threads spin between operations, and small ones wait a lot: beside any other work on
    the machine that made training twenty times slower. It must be said before PyTorch is loaded,
    and is left to whoever has said something else.
    """
    os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
    from microglia.cli import main as run

    run()
