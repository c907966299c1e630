"""What the scripts of client libraries share. Nothing here is imported but the standard library.

They run in the environment of their client, where the tests' own packages are missing.
"""

import hashlib
import json
import os
import sys
from collections.abc import Callable
from typing import Any


def main(*functions: Callable[..., Any]) -> None:
    """Run the function that the command line names, with arguments from standard input; print its result as JSON."""
    (chosen,) = [function for function in functions if function.__name__ == sys.argv[1]]
    json.dump(chosen(**json.load(sys.stdin)), sys.stdout)


def variable(name: str) -> str:
    """Return a variable of `client.env`."""
    return os.environ[name]


def sha256(content: bytes) -> str:
    """Return the hex digest by which what went in and what came out are compared."""
    return hashlib.sha256(content).hexdigest()
