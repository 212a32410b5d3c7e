"""Page faults: what a large activation costs before anything is computed in it."""

from __future__ import annotations

import ctypes
import platform

# From malloc.h: the parameters of mallopt(3).
M_TRIM_THRESHOLD = -1
M_MMAP_MAX = -4

LARGEST_INT = 2**31 - 1


def keep_freed_memory() -> bool:
    """Let the process reuse the memory of freed tensors instead of giving it back to the system.

    The C library fetches each block above 32 MiB from the system and returns it when it is freed,
    so a network with large maps pays a page fault for every 4 KiB of every activation in every
    forward pass. Afterwards the process holds on to the most memory that it has ever used.

    This is a setting of the whole process, so nothing in microglia makes it on its own.

    Returns:
        Whether the C library took the setting; False where it isn't glibc.
    """
    if platform.libc_ver()[0] != "glibc":
        return False
    mallopt = ctypes.CDLL(None).mallopt
    return bool(mallopt(M_MMAP_MAX, 0) and mallopt(M_TRIM_THRESHOLD, LARGEST_INT))
