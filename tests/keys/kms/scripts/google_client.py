"""Google's own client, as a test drives it: one JSON object in, one out. Runs in the environment of the tool."""

import base64
import json
import sys
from typing import Any

from google.api_core.exceptions import GoogleAPICallError
from google.cloud.kms_v1 import KeyManagementServiceClient
from google.cloud.kms_v1.services.key_management_service.transports import KeyManagementServiceRestTransport
from google.oauth2.service_account import Credentials


def main() -> None:
    asked: dict[str, Any] = json.load(sys.stdin)
    credentials = Credentials.from_service_account_file(  # type: ignore[no-untyped-call]
        asked["credentials_file"], scopes=["https://www.googleapis.com/auth/cloudkms"]
    )
    transport = KeyManagementServiceRestTransport(host=asked["host"], credentials=credentials)
    client = KeyManagementServiceClient(transport=transport)
    bound = base64.b64decode(asked["bound"])
    key = client.get_crypto_key(name=asked["key"])
    told: dict[str, Any] = {"purpose": key.purpose.name, "state": key.primary.state.name, "primary": key.primary.name}
    opened = client.decrypt(
        request={
            "name": asked["key"],
            "ciphertext": base64.b64decode(asked["wrapped"]),
            "additional_authenticated_data": bound,
        }
    )
    told["opened"] = base64.b64encode(opened.plaintext).decode()
    told["opened_crc32c"] = opened.plaintext_crc32c
    made = client.encrypt(
        request={
            "name": asked["key"],
            "plaintext": base64.b64decode(asked["secret"]),
            "plaintext_crc32c": asked["secret_crc32c"],
            "additional_authenticated_data": bound,
        }
    )
    told["made"] = base64.b64encode(made.ciphertext).decode()
    told["made_by"] = made.name
    told["verified"] = [made.verified_plaintext_crc32c, made.verified_additional_authenticated_data_crc32c]
    for name in asked["refused"]:
        try:
            client.encrypt(request={"name": name, "plaintext": b"x"})
        except GoogleAPICallError as error:
            told[name] = [type(error).__name__, [part["violations"][0]["type"] for part in error.details]]
    json.dump(told, sys.stdout)


main()
