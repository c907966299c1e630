"""What a process asks for before it serves; in a process of its own, since it cannot be taken back."""

import subprocess
import sys

from gateway.http.process import COLLECTIONS, SWITCH_INTERVAL_S

_PROGRAM = """
import gc, resource, sys
from gateway.http.process import calm_collector, prepare_process
prepare_process()
calm_collector()
known = gc.get_freeze_count() - len(gc.get_objects())
print(sys.getswitchinterval(), *resource.getrlimit(resource.RLIMIT_CORE), gc.get_threshold()[0], known > 0)
"""


def test_threads_change_quickly_no_core_is_dumped_and_the_collector_leaves_what_is_there() -> None:
    done = subprocess.run([sys.executable, "-c", _PROGRAM], capture_output=True, text=True, check=True, timeout=30)
    interval, *core, young, is_frozen = done.stdout.split()
    assert float(interval) == SWITCH_INTERVAL_S < 0.005
    assert core == ["0", "0"]
    assert int(young) == COLLECTIONS[0] > 700
    assert is_frozen == "True", "what was loaded before must outnumber what is still walked"
