"""Clients that are libraries, driven in an environment of their own: one function of one script per call.

The scripts stand in `tests/blackbox/scripts`; `speak.py` there is the other end. Arguments and results travel as JSON.
"""

import json
from pathlib import Path
from typing import Any, Final

from tests.blackbox.clients import Program
from tests.blackbox.process import Gateway
from tests.tooling.places import ROOT
from tests.tooling.tools import program

_SCRIPTS: Final = ROOT / "tests" / "blackbox" / "scripts"


class Library:
    """One client library: `library("function", name=value)` runs that function in `folder` and returns its result.

    What a script needs of the gateway stands in its environment: the variables of `client.env`, and the CA file under
    each name by which some TLS library knows it.
    """

    def __init__(self, tool: str, script: str, gateway: Gateway, folder: Path) -> None:
        self.script = _SCRIPTS / script
        assert self.script.is_file(), self.script
        ca_file = str(gateway.ca_file)
        variables = gateway.client_variables() | {
            "AWS_EC2_METADATA_DISABLED": "true",
            "NODE_EXTRA_CA_CERTS": ca_file,
            "NODE_PATH": str(program(tool).parents[1] / "node_modules"),
            "PYTHONPATH": str(ROOT),
            "SSL_CERT_FILE": ca_file,
        }
        self.program = Program(tool, folder, variables)

    def __call__(self, function: str, **arguments: Any) -> Any:
        """Insist that the function comes to its end.

        Raises: AssertionError with the script's standard error.
        """
        return json.loads(self.program(str(self.script), function, stdin=json.dumps(arguments).encode()))
