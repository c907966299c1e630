"""Microsoft's own client, as a test drives it: one JSON object in, one out. Runs in the environment of the tool."""

import base64
import json
import sys
from typing import Any

from azure.core.exceptions import HttpResponseError
from azure.identity import ClientSecretCredential
from azure.keyvault.keys import KeyClient
from azure.keyvault.keys.crypto import CryptographyClient, KeyWrapAlgorithm


def main() -> None:
    asked: dict[str, Any] = json.load(sys.stdin)
    credential = ClientSecretCredential(
        asked["tenant_id"],
        asked["client_id"],
        asked["client_secret"],
        authority=asked["address"],
        disable_instance_discovery=True,
    )
    plain = {"verify_challenge_resource": False}  # a vault on loopback has no domain above it
    keys = KeyClient(asked["address"], credential, **plain)
    key = keys.get_key(asked["key"])
    told: dict[str, Any] = {
        "type": key.key_type,
        "enabled": key.properties.enabled,
        "version": key.properties.version,
        "bits": len(key.key.n) * 8,
    }
    at_version = CryptographyClient(f"{asked['address']}/keys/{asked['key']}/{asked['version']}", credential, **plain)
    opened = at_version.unwrap_key(KeyWrapAlgorithm.rsa_oaep_256, base64.b64decode(asked["wrapped"]))
    told["opened"] = base64.b64encode(opened.key).decode()
    # With the public key at hand the client wraps by itself, so what it makes is from another implementation.
    made = at_version.wrap_key(KeyWrapAlgorithm.rsa_oaep_256, base64.b64decode(asked["secret"]))
    told["made"] = base64.b64encode(made.encrypted_key).decode()
    hsm = CryptographyClient(f"{asked['address']}/keys/hsm/{asked['hsm_version']}", credential, **plain)
    told["hsm"] = base64.b64encode(hsm.unwrap_key("A256KW", base64.b64decode(asked["hsm_wrapped"])).key).decode()
    for name, version in asked["refused"].items():
        try:
            client = CryptographyClient(f"{asked['address']}/keys/{name}/{version}", credential, **plain)
            client.unwrap_key(KeyWrapAlgorithm.rsa_oaep_256, base64.b64decode(asked["wrapped"]))
        except HttpResponseError as error:
            told[name] = [type(error).__name__, error.status_code, error.error.code if error.error else ""]
    json.dump(told, sys.stdout)


main()
