"""Large tensors without page faults on CPUs: glibc keeps freed memory for the next step."""

import ctypes
import sys

_M_TRIM_THRESHOLD, _M_MMAP_THRESHOLD = -1, -3
_LARGEST_MMAP_THRESHOLD = 32 * 2**20  # glibc refuses more


def keep_freed_memory() -> bool:
    """Let malloc reuse freed blocks instead of handing them back to the system and faulting them in again.

    A training step frees and allocates the same tensors over and over, and each new page costs a trip
    into the kernel: an eighth of a step on two cores.  Returns whether it was done: other C libraries
    have other allocators and are left alone.
    """
    if not sys.platform.startswith("linux"):
        return False
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None)
    if mallopt is None:
        return False
    keep = 2**31 - 1  # the greatest int: never trim
    return bool(mallopt(_M_TRIM_THRESHOLD, keep)) and bool(
        mallopt(_M_MMAP_THRESHOLD, _LARGEST_MMAP_THRESHOLD)
    )
