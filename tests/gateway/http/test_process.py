"""What a process asks for before it serves; in a process of its own, since it cannot be taken back."""

import subprocess
import sys

from gateway.http.process import SWITCH_INTERVAL_S

_PROGRAM = """
import resource, sys
from gateway.http.process import prepare_process
prepare_process()
print(sys.getswitchinterval(), *resource.getrlimit(resource.RLIMIT_CORE))
"""


def test_threads_change_quickly_and_no_core_is_dumped() -> None:
    done = subprocess.run([sys.executable, "-c", _PROGRAM], capture_output=True, text=True, check=True, timeout=30)
    interval, *core = done.stdout.split()
    assert float(interval) == SWITCH_INTERVAL_S < 0.005
    assert core == ["0", "0"]
