"""The composition root: from settings to keys, stores, engines and the app, and back again in order."""

from gateway.wiring.folders import REALM_FILE, Folders
from gateway.wiring.gateway import Gateway, open_gateway
from gateway.wiring.kms import ProviderCanaries, open_kms, prove_default, provider_canaries, read_passphrase, remote_kms
from gateway.wiring.listeners import files_beside, server_settings
from gateway.wiring.realm import OpenedKeys, RealmRecord, open_keys, open_realm
from gateway.wiring.stores import (
    Stores,
    check_same_realm,
    create_catalogue,
    lacks_of,
    open_blobs,
    open_stores,
    peek_catalogue,
)

__all__ = [
    "REALM_FILE",
    "Folders",
    "Gateway",
    "OpenedKeys",
    "ProviderCanaries",
    "RealmRecord",
    "Stores",
    "check_same_realm",
    "create_catalogue",
    "files_beside",
    "lacks_of",
    "open_blobs",
    "open_gateway",
    "open_keys",
    "open_kms",
    "open_realm",
    "open_stores",
    "peek_catalogue",
    "prove_default",
    "provider_canaries",
    "read_passphrase",
    "remote_kms",
    "server_settings",
]
