"""A process that serves the test application until it is told to stop: `python -m tests.gateway.http.served FOLDER`."""

import json
import sys
from pathlib import Path

from prometheus_client import CollectorRegistry

from gateway.http.protocol import EdgeLimits
from gateway.http.server import Bound, ServerSettings, serve
from gateway.http.tls import Certificate
from tests.gateway.http.edge import LOOPBACK, Application


async def _is_ready() -> bool:
    return True


def _tell(bound: Bound) -> None:
    print(json.dumps([bound.https.port, bound.admin.port]), flush=True)


if __name__ == "__main__":
    folder = Path(sys.argv[1])
    pair = Certificate(folder / "server.pem", folder / "server.key")
    limits = EdgeLimits(linger_s=0.5, drain_timeout_s=10.0)
    serve(Application(), CollectorRegistry(), _is_ready, ServerSettings(LOOPBACK, LOOPBACK, pair, None, limits), _tell)
