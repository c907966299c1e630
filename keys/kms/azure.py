"""Keys of Azure Key Vault and Managed HSM, by their REST API. An ordinary vault wraps with RSA, an HSM with AES too.

RSA-OAEP-256 takes no associated data, and whoever has the public key can wrap: docs/KMS.md says what follows. The
version that wraps is always named. Source: Key Vault REST reference, API version 7.4 ("Get Key", "Wrap Key", "Unwrap
Key"); RFC 7518 sections 4.3 and 4.4.
"""

import base64
import re
import time
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Final, Protocol

from keys.context import WrapContext
from keys.datakey import WrappedKey
from keys.errors import (
    KmsDenied,
    KmsKeyDisabled,
    KmsKeyInvalidState,
    KmsKeyNotFound,
    KmsMisconfigured,
    KmsUnavailable,
    UnwrapFailed,
)
from keys.kms.access_tokens import AccessToken, SignIn
from keys.kms.base import KeyDescription, KeyState, check_usable
from keys.kms.binding import ProviderWrap
from keys.kms.cloud import CloudKms, Rule
from keys.kms.https import Reach, need, parsed, why_unreachable
from keys.kms.names import KeyNames
from keys.kms.vault_login import read_secret
from keys.safe_files import read_private_file

AUTHORITY: Final = "https://login.microsoftonline.com"
MIN_RSA_BITS: Final = 3072
"""As strong as 128 bits; RSA of 2048 bits is not (NIST SP 800-57 part 1, table 2)."""
_API: Final = "api-version=7.4"
_VERSION: Final = re.compile(r"[0-9a-f]{32}", re.ASCII)
_ALGORITHMS: Final = {"RSA": "RSA-OAEP-256", "RSA-HSM": "RSA-OAEP-256", "oct-HSM": "A256KW"}
_A256KW_SIZE: Final = 40
"""Of 32 bytes that AES key wrap made; what RSA makes is at least six times as long, so the size tells which it was."""
_LATEST_S: Final = 5.0
"""How long the latest version of a key counts as known; a rewrap looks anew."""
_MAX_PEM_BYTES: Final = 32 * 1024
_MAX_TOKEN_BYTES: Final = 16 * 1024
_PRIVATE_KEY: Final = re.compile(r"-----BEGIN [A-Z ]*PRIVATE KEY-----.+?-----END [A-Z ]*PRIVATE KEY-----", re.DOTALL)
_CERTIFICATE: Final = re.compile(r"-----BEGIN CERTIFICATE-----.+?-----END CERTIFICATE-----", re.DOTALL)


class Credential(Protocol):
    """What an application shows to Microsoft Entra ID."""

    def read(self) -> str | Mapping[str, Any]:
        """As MSAL takes it; read anew at each login. Raises: KeysError."""


@dataclass(frozen=True, slots=True)
class ClientSecret:
    """A secret from a file of mode 0600."""

    path: Path

    def read(self) -> str:
        """See `Credential.read`."""
        return read_secret(self.path)


@dataclass(frozen=True, slots=True)
class Certificate:
    """A PEM file of mode 0600 with a private key and its certificate."""

    path: Path

    def read(self) -> Mapping[str, str]:
        """See `Credential.read`."""
        text = read_private_file(self.path, _MAX_PEM_BYTES).decode("ascii", "replace")
        key, certificates = _PRIVATE_KEY.search(text), _CERTIFICATE.findall(text)
        if key is None or not certificates:
            raise KmsMisconfigured(
                f"{self.path} must hold a private key and its certificate as PEM: write both into it"
            )
        return {"private_key": key[0], "public_certificate": "\n".join(certificates)}


@dataclass(frozen=True, slots=True)
class FederatedToken:
    """A token of another issuer that the application trusts, as Kubernetes puts it into a file and renews it there."""

    path: Path

    def read(self) -> Mapping[str, Any]:
        """See `Credential.read`. The file is the cluster's, which decides who may read it."""
        try:
            with self.path.open("rb") as file:
                text = file.read(_MAX_TOKEN_BYTES).decode("ascii").strip()
        except (OSError, UnicodeDecodeError):
            text = ""
        if not text or " " in text:
            raise KmsMisconfigured(f"{self.path} holds no token: see who is to put one there")
        return {"client_assertion": lambda: text}


@dataclass(frozen=True, slots=True)
class Application:
    """Who signs in: the id of an application and what proves it."""

    client_id: str
    credential: Credential


@dataclass(frozen=True, slots=True)
class AzureOptions:
    """`audience`: whom tokens are for, as https://vault.azure.net. `authority`: where Entra ID is."""

    reach: Reach
    kms_key_id: str
    audience: str
    tenant_id: str
    application: Application
    unwrap_application: Application | None = None
    authority: str = AUTHORITY


class _Http:
    """The session as MSAL takes it, with our timeouts."""

    def __init__(self, session: Any, reach: Reach) -> None:
        self._session = session
        self._reach = reach

    def post(self, url: str, *, params: Any = None, data: Any = None, headers: Any = None, **_: Any) -> Any:
        return self._asked("POST", url, params=params, data=data, headers=headers)

    def get(self, url: str, *, params: Any = None, headers: Any = None, **_: Any) -> Any:
        return self._asked("GET", url, params=params, headers=headers)

    def _asked(self, method: str, url: str, **parts: Any) -> Any:
        return self._session.request(method, url, timeout=self._reach.timeouts, allow_redirects=False, **parts)

    def close(self) -> None:
        """The session is ours to close."""


class AzureKms(CloudKms):
    """`Kms` over the keys of one vault. `provider` is the name that the operator gave it."""

    extra = "azure"
    service = "Azure Key Vault"
    rules = (
        Rule("403", "KeyDisabled", KmsKeyDisabled, "the wrapping key is disabled"),
        Rule("403", "disabled key", KmsKeyDisabled, "the wrapping key is disabled"),
        Rule("403", "expired", KmsKeyInvalidState, "the wrapping key has expired: make a new version"),
        Rule("403", "not yet valid", KmsKeyInvalidState, "the wrapping key is not valid yet"),
        Rule("403", "", KmsDenied, "it refuses this identity: see its role on the key, and the firewall of the vault"),
        Rule("404", "", KmsKeyNotFound, "there is no such wrapping key, not this version of it, or it is deleted"),
        Rule("409", "", KmsKeyInvalidState, "the wrapping key is deleted, or being recovered"),
        Rule("BadParameter", "", UnwrapFailed, "what it is to unwrap does not authenticate", only_unwraps=True),
        Rule("", "", KmsKeyInvalidState, "it does not take a request as it stands: see the type of the key"),
    )

    def __init__(self, provider: str, options: AzureOptions, names: KeyNames) -> None:
        """Nothing is asked yet. Raises: KmsMisconfigured."""
        super().__init__(provider, options.reach, options.kms_key_id, names)
        self._options = options
        self._latest: dict[str, tuple[float, str, str]] = {}
        other = options.unwrap_application
        self._identities(self._signs_in(options.application), None if other is None else self._signs_in(other))

    def _signs_in(self, application: Application) -> SignIn:
        msal = need("msal", self.extra)
        options, http = self._options, _Http(self._session, self._reach)

        def sign_in() -> AccessToken:
            credential = application.credential.read()
            try:
                # Made anew each time: it would go on giving a token that was refused, and a secret that was renewed.
                app = msal.ConfidentialClientApplication(
                    application.client_id,
                    client_credential=credential,
                    authority=f"{options.authority}/{options.tenant_id}",
                    instance_discovery=False,
                    azure_region=msal.ClientApplication.DISABLE_MSAL_FORCE_REGION,
                    http_client=http,
                )
                told = app.acquire_token_for_client([f"{options.audience}/.default"])
            except OSError as error:  # requests' own errors are of this kind
                raise KmsUnavailable(f"Microsoft Entra ID: {why_unreachable(error)}") from None
            except msal.exceptions.MsalError:
                raise KmsUnavailable("Microsoft Entra ID fails") from None
            except (KeyError, TypeError, ValueError, AttributeError, RuntimeError):
                raise KmsUnavailable(
                    "Microsoft Entra ID gives no token: see tenant_id, authority and the certificate, if there is one"
                ) from None
            if "access_token" not in told:
                raise KmsDenied(
                    f"Microsoft Entra ID refuses the application {application.client_id}: renew its credential"
                )
            return parsed(lambda: AccessToken(str(told["access_token"]), float(told["expires_in"])))

        return sign_in

    async def _describe(self, kms_key_id: str | None) -> KeyDescription:
        """See `Kms.describe`. The state and version are those of the latest version."""
        name = self._name(kms_key_id)
        told = await self._told(name)
        return parsed(lambda: self._described(name, told))

    def _described(self, name: str, told: Any) -> KeyDescription:
        version, attributes = _version_of(told["key"]["kid"], name), told["attributes"]
        is_enabled = attributes["enabled"] is True
        if is_enabled:
            self._latest[name] = time.monotonic(), version, _ALGORITHMS.get(told["key"]["kty"], "")
        return KeyDescription(
            name,
            self._names.arn(name),
            KeyState.ENABLED if is_enabled else KeyState.DISABLED,
            datetime.fromtimestamp(int(attributes["created"]), UTC),
            version,
            self._names.aliases_of(name),
        )

    async def inspect(self) -> None:
        """See `RecordKms.inspect`."""
        told = await self._told(self._name(None))
        for is_wrong, fault, remedy in parsed(lambda: _faults(told)):
            if is_wrong:
                raise KmsMisconfigured(f"the default key of the KMS {self.provider} {fault}: {remedy}")

    async def _told(self, name: str) -> Any:
        return await self._ask(self._tokens, "GET", f"keys/{name}?{_API}")

    async def _wrap_secret(self, secret: bytes, kms_key_id: str | None, context: WrapContext) -> ProviderWrap:
        del context  # the record around the data key binds it
        name = self._name(kms_key_id)
        seen_at, version, algorithm = self._latest.get(name, (-_LATEST_S, "", ""))
        if time.monotonic() >= seen_at + _LATEST_S:
            check_usable((await self._describe(name)).state)
            _, version, algorithm = self._latest[name]
        if not algorithm:
            raise KmsKeyInvalidState("the wrapping key is of a type that cannot wrap")
        return ProviderWrap(name, version, await self._turned("wrapkey", name, version, algorithm, secret))

    async def _unwrap_secret(self, wrapped: WrappedKey, context: WrapContext) -> bytes:
        del context
        name, version, value = self._name(wrapped.kms_key_id), wrapped.kms_key_version, wrapped.provider_ciphertext
        if not _VERSION.fullmatch(version):
            raise KmsKeyNotFound("that is no version of a key of Azure Key Vault")
        return await self._turned("unwrapkey", name, version, _algorithm_of(value), value)

    async def _rewrap_secret(self, wrapped: WrappedKey, context: WrapContext, kms_key_id: str | None) -> ProviderWrap:
        self._latest.pop(self._name(kms_key_id), None)
        return await super()._rewrap_secret(wrapped, context, kms_key_id)

    async def _turned(self, operation: str, name: str, version: str, algorithm: str, value: bytes) -> bytes:
        """Have the vault wrap or unwrap."""
        unwraps = operation == "unwrapkey"
        answer = await self._ask(
            self._unwrap_tokens if unwraps else self._tokens,
            "POST",
            f"keys/{name}/{version}/{operation}?{_API}",
            {"alg": algorithm, "value": base64.urlsafe_b64encode(value).rstrip(b"=").decode("ascii")},
            unwraps=unwraps,
        )
        if parsed(lambda: _version_of(answer["kid"], name)) != version:
            raise KmsUnavailable(f"{self.service} used another version of the key than it was told to")
        return parsed(lambda: _decoded(answer["value"]))


def _version_of(key_id: str, name: str) -> str:
    """The version in a `kid`, https://VAULT/keys/NAME/VERSION. Raises: ValueError."""
    path, _, version = key_id.rpartition("/")
    if not path.endswith(f"/keys/{name}") or not _VERSION.fullmatch(version):
        raise ValueError("that is the id of another key, or of none")
    return version


def _algorithm_of(ciphertext: bytes) -> str:
    return "A256KW" if len(ciphertext) == _A256KW_SIZE else "RSA-OAEP-256"


def _decoded(text: str) -> bytes:
    return base64.b64decode(text + "=" * (-len(text) % 4), altchars=b"-_", validate=True)


def _faults(told: Any) -> tuple[tuple[bool, str, str], ...]:
    """What makes a key unfit, and what to do."""
    key, attributes = told["key"], told["attributes"]
    kind, is_rsa = key["kty"], key["kty"] in {"RSA", "RSA-HSM"}
    bits = len(_decoded(key["n"]).lstrip(b"\0")) * 8 if is_rsa else MIN_RSA_BITS
    return (
        (kind not in _ALGORITHMS, "neither is of RSA nor of AES in an HSM", "make one of type RSA, of 4096 bits"),
        (bits < MIN_RSA_BITS, f"is of less than {MIN_RSA_BITS} bits", "make one of 4096 bits"),
        (bool(attributes.get("exportable")), "can be exported", "make one that is not exportable"),
        (not {"wrapKey", "unwrapKey"} <= set(key["key_ops"]), "may not wrap and unwrap", "permit both operations"),
    )
