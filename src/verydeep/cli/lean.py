"""Settings of memory that a process can only be born with, and how the command gets them."""

import os
import sys

# glibc's cache of small blocks scatters the heap, and oneDNN keeps 1,024 prepared kernels: over photographs of hundreds
# of shapes memory would grow by a fifth. Both are read when a process begins: docs/decisions/021-grouping-by-shape.md.
SETTINGS = {"GLIBC_TUNABLES": "glibc.malloc.tcache_count=0", "ONEDNN_PRIMITIVE_CACHE_CAPACITY": "256"}


def begin_lean() -> None:
    """Begin this process anew with the settings, where the C library is glibc; what the user has set stays.

    It keeps its number, its files and its arguments, and has to be called before anything is done.
    """
    missing = {key: value for key, value in SETTINGS.items() if key not in os.environ}
    if not missing or not sys.executable or "CS_GNU_LIBC_VERSION" not in getattr(os, "confstr_names", {}):
        return
    os.environ.update(missing)
    if "GLIBC_TUNABLES" in missing:  # oneDNN reads its own later
        os.execv(sys.executable, [sys.executable, *sys.orig_argv[1:]])
