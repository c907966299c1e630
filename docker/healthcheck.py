"""The image's health check: asks the admin listener on loopback whether the gateway is ready to serve.

Another page may be named: `/healthz` asks only whether it lives. Source: HEALTHCHECK in the Dockerfile reference: 0 is
healthy, 1 is not; exec probes of Kubernetes judge alike.
"""

import http.client
import os
import sys

_TIMEOUT_S = 3
_DEFAULT_PORT = "9443"


def main() -> int:
    """Return 0 for a 200, else 1; the reason goes to standard error, where docker keeps it."""
    page = sys.argv[1] if len(sys.argv) > 1 else "/readyz"
    environment = os.environ  # noqa: TID251 - it runs in the image beside the gateway, without gateway/config.py
    # As docs/SETTINGS.md has it, the admin port follows from the port unless it is given.
    port = environment.get("SEALGATE_ADMIN_PORT") or int(environment.get("SEALGATE_PORT", _DEFAULT_PORT)) + 1
    connection = http.client.HTTPConnection("127.0.0.1", int(port), timeout=_TIMEOUT_S)
    try:
        connection.request("GET", page)
        status = connection.getresponse().status
    except (OSError, http.client.HTTPException) as error:
        sys.stderr.write(f"no answer from the admin listener: {error}\n")
        return 1
    finally:
        connection.close()
    if status != http.HTTPStatus.OK:
        sys.stderr.write(f"{page} answered {status}\n")
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
