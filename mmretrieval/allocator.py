"""What the C library does with memory that is freed."""

from __future__ import annotations

import ctypes
import os

LARGEST = 32 << 20
"""Bytes of the largest block that is kept; glibc takes no more."""

KEPT = 512 << 20
"""Bytes that are kept at most, at the end of what a process has."""

_TRIM, _MAP = -1, -3  # M_TRIM_THRESHOLD and M_MMAP_THRESHOLD of malloc.h
_OWN = ("MALLOC_TRIM_THRESHOLD_", "MALLOC_MMAP_THRESHOLD_", "MALLOC_MMAP_MAX_")


def keep_freed_memory() -> bool:
    """Let this process keep blocks that it frees, up to ``LARGEST`` each and ``KEPT`` in all, and say whether it does.

    The next layer of a network wants again what the one before has freed. By itself glibc gives most of it back to the
    system, which clears it page by page when it is wanted. Other C libraries, and settings of one's own in the
    environment, are left alone.
    """
    if any(name in os.environ for name in _OWN) or "glibc.malloc" in os.environ.get("GLIBC_TUNABLES", ""):
        return False
    try:
        mallopt = ctypes.CDLL(None).mallopt
    except (AttributeError, OSError, TypeError):  # not glibc
        return False
    return bool(mallopt(_MAP, LARGEST)) and bool(mallopt(_TRIM, KEPT))
