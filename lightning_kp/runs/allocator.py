"""Avoids page faults for large tensors on CPUs: glibc keeps freed memory for the next step."""

import ctypes
import sys

_M_TRIM_THRESHOLD, _M_MMAP_THRESHOLD = -1, -3
_LARGEST_MMAP_THRESHOLD = 32 * 2**20  # glibc refuses more


def keep_freed_memory() -> bool:
    """Let malloc reuse freed blocks instead of returning them to the system and faulting them in again.

    A training step frees and allocates the same tensors over and over, and each new page costs a system
    call: an eighth of a step on two cores.

    Returns:
        Whether the setting was applied. C libraries other than glibc have other allocators and are left
        unchanged.
    """
    if not sys.platform.startswith("linux"):
        return False
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None)
    if mallopt is None:
        return False
    never_trim = 2**31 - 1  # the largest int
    return bool(mallopt(_M_TRIM_THRESHOLD, never_trim)) and bool(
        mallopt(_M_MMAP_THRESHOLD, _LARGEST_MMAP_THRESHOLD)
    )
