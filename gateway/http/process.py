"""What the process asks for before it serves: a calmer allocator, quick turns between threads, no core dumps, files.

Sources: mallopt(3), setrlimit(2), prctl(2) PR_SET_DUMPABLE, sys.setswitchinterval, gc.freeze. The thresholds were
measured: with glibc's defaults every TLS read of 256 KiB is a fresh mmap and munmap, which doubles the cost of an
upload.
"""

import contextlib
import ctypes
import gc
import logging
import resource
import sys
from collections.abc import Iterator

_LOG = logging.getLogger(__name__)

_M_TRIM_THRESHOLD = -1
_M_MMAP_THRESHOLD = -3
_PR_SET_DUMPABLE = 4

MMAP_THRESHOLD_BYTES = 4 * 1024 * 1024
TRIM_THRESHOLD_BYTES = 16 * 1024 * 1024

SWITCH_INTERVAL_S = 0.001
"""How long a thread may keep the interpreter while another one waits for it.

The loop lets it go in every call of TLS and of the file system. With Python's own 5 ms a stream that shares the process
with many small requests, whose rows are read in threads, waits so long after each of its slices.
"""

COLLECTIONS = (10_000, 50, 10)
"""How many objects more than were freed are made before the garbage collector looks at the new ones, about 1 ms; how
many such looks before one at what outlived them; and how many of those before one at everything.

Requests and connections leave it nothing (they are freed as their last holder lets go), but each open connection holds
about a hundred objects. With Python's own 700, 10, 10 a crowd of 2,000 had all objects of the process walked again and
again while it came in: 50 to 200 ms each time, in which nobody is answered.
"""


def tune_allocator() -> bool:
    """Keep buffers of up to 4 MiB on the heap and 16 MiB of free heap with the process.

    Returns whether the allocator took it; a libc without mallopt (musl) goes on unchanged, only slower.
    """
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None)
    if mallopt is None:
        return False
    taken = mallopt(_M_MMAP_THRESHOLD, MMAP_THRESHOLD_BYTES) and mallopt(_M_TRIM_THRESHOLD, TRIM_THRESHOLD_BYTES)
    return bool(taken)


def calm_collector() -> None:
    """Never look again at what is there now, modules and settings, and seldom at what comes; once all has started."""
    gc.collect()
    gc.freeze()
    gc.set_threshold(*COLLECTIONS)


@contextlib.contextmanager
def collector_calmed() -> Iterator[None]:
    """The same for a while: a long job makes objects by the thousand, and leaves the collector nothing either."""
    before = gc.get_threshold()
    calm_collector()
    try:
        yield
    finally:
        gc.set_threshold(*before)
        gc.unfreeze()


def forbid_core_dumps() -> None:
    """Make sure that no core file and no unprivileged debugger sees keys.

    Raises: OSError where the system refuses; a process that cannot promise this must not hold keys.
    """
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    if sys.platform == "linux":
        libc = ctypes.CDLL(None, use_errno=True)
        if libc.prctl(_PR_SET_DUMPABLE, 0, 0, 0, 0) != 0:
            raise OSError(ctypes.get_errno(), "prctl(PR_SET_DUMPABLE) was refused")


def room_for_connections(wanted: int, beside: int) -> int:
    """Raise the limit on open files, as far as the system allows; return how many connections fit under it.

    `beside` files are kept for all else: blobs, catalogue, the other listeners. Many systems give a process 1,024 to
    begin with: as many silent connections, and no blob could be opened.
    """
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    allowed = wanted + beside
    if hard != resource.RLIM_INFINITY:
        allowed = min(allowed, hard)
    if soft == resource.RLIM_INFINITY or soft >= allowed:
        allowed = wanted + beside if soft == resource.RLIM_INFINITY else soft
    else:
        resource.setrlimit(resource.RLIMIT_NOFILE, (allowed, hard))
    return min(wanted, allowed - beside)


def prepare_process() -> None:
    """Calm the allocator and forbid core dumps; once, before keys are loaded and before the loop runs."""
    forbid_core_dumps()
    sys.setswitchinterval(SWITCH_INTERVAL_S)
    if not tune_allocator():
        _LOG.warning("the C library takes no mallopt: uploads cost about twice the processor time")
