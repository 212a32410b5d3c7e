"""Keeping freed memory is a call to the C library, where there is one that knows it."""

from __future__ import annotations

import ctypes
import platform
from types import SimpleNamespace

import pytest

from microglia.runtime import keep_freed_memory

# The constants of glibc's malloc.h.
M_TRIM_THRESHOLD, M_MMAP_MAX = -1, -4


@pytest.mark.parametrize("taken", [1, 0])
def test_glibc_is_told(taken: int, monkeypatch: pytest.MonkeyPatch) -> None:
    calls: dict[int, int] = {}

    def mallopt(parameter: int, value: int) -> int:
        calls[parameter] = value
        return taken

    monkeypatch.setattr(platform, "libc_ver", lambda: ("glibc", "2.36"))
    monkeypatch.setattr(ctypes, "CDLL", lambda name: SimpleNamespace(mallopt=mallopt))
    assert keep_freed_memory() is bool(taken)
    assert calls[M_MMAP_MAX] == 0
    assert not taken or calls[M_TRIM_THRESHOLD] == 2**31 - 1


def test_others_are_left_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(platform, "libc_ver", lambda: ("", ""))
    monkeypatch.delattr(ctypes, "CDLL")
    assert keep_freed_memory() is False
