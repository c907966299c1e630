"""Symmetric keys of Google Cloud KMS, by its REST API. Every request and answer carries CRC32C, as Google asks for.

Realm, purpose and key version go along as additional authenticated data, so that a wrapped key which names another
version than wrapped it does not open. Source: Cloud KMS REST reference (v1: cryptoKeys.encrypt, decrypt, get), and
"Verifying end-to-end data integrity".
"""

import base64
import contextlib
import functools
import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Final
from urllib.parse import urlsplit

from awscrt.checksums import crc32c

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
from keys.kms.base import KeyDescription, KeyState
from keys.kms.binding import ProviderWrap
from keys.kms.cloud import CloudKms, Rule
from keys.kms.https import Reach, need, parsed, why_unreachable
from keys.kms.names import KeyNames
from keys.safe_files import read_private_file

ADDRESS: Final = "https://cloudkms.googleapis.com"
_SCOPE: Final = "https://www.googleapis.com/auth/cloudkms"
_MAX_CREDENTIALS_BYTES: Final = 16 * 1024
_VERSION: Final = re.compile(r"[1-9][0-9]{0,17}", re.ASCII)
_FIRST_VERSION: Final = "1"
_STATES: Final = {
    "ENABLED": KeyState.ENABLED,
    "DISABLED": KeyState.DISABLED,
    "DESTROY_SCHEDULED": KeyState.PENDING_DELETION,
}
"""Versions in other states (DESTROYED, PENDING_GENERATION, IMPORT_FAILED ...) cannot wrap, and count as destroyed."""
_PURPOSE: Final = "ENCRYPT_DECRYPT"


@dataclass(frozen=True, slots=True)
class GcpOptions:
    """`key_ring`: projects/P/locations/L/keyRings/R. The credentials files are JSON keys of service accounts."""

    reach: Reach
    key_ring: str
    kms_key_id: str
    credentials_file: Path
    unwrap_credentials_file: Path | None = None


class GcpKms(CloudKms):
    """`Kms` over the symmetric keys of one key ring. `provider` is the name that the operator gave it."""

    extra = "gcp"
    service = "Google Cloud KMS"
    rules = (
        Rule("403", "", KmsDenied, "it refuses this identity: see its roles on the key ring"),
        Rule("404", "", KmsKeyNotFound, "there is no such wrapping key, or not this version of it"),
        Rule("FAILED_PRECONDITION", "DISABLED", KmsKeyDisabled, "the wrapping key is disabled"),
        Rule("FAILED_PRECONDITION", "", KmsKeyInvalidState, "the wrapping key is in a state in which it cannot wrap"),
        Rule("INVALID_ARGUMENT", "crc32c", KmsUnavailable, "it got other bytes than we sent"),
        Rule("INVALID_ARGUMENT", "", UnwrapFailed, "what it is to unwrap does not authenticate", only_unwraps=True),
        Rule("", "", KmsKeyInvalidState, "it does not take a request as it stands: see the purpose of the key"),
    )

    def __init__(self, provider: str, options: GcpOptions, names: KeyNames) -> None:
        """Nothing is asked yet. Raises: KmsMisconfigured."""
        super().__init__(provider, options.reach, options.kms_key_id, names)
        self._ring = options.key_ring
        self._primaries: dict[str, str] = {}
        other = options.unwrap_credentials_file
        self._identities(self._signs_in(options.credentials_file), None if other is None else self._signs_in(other))

    def _signs_in(self, credentials_file: Path) -> SignIn:
        service_account = need("google.oauth2.service_account", self.extra)
        transport = need("google.auth.transport.requests", self.extra)
        errors = need("google.auth.exceptions", self.extra)
        request = functools.partial(transport.Request(self._session), timeout=self._reach.timeouts)

        def sign_in() -> AccessToken:
            told = _read_credentials(credentials_file)
            try:
                account = service_account.Credentials.from_service_account_info(told, scopes=[_SCOPE])
            except ValueError:
                raise _unfit(credentials_file) from None
            try:
                account.refresh(request)
                life = account.expiry.replace(tzinfo=UTC) - datetime.now(UTC)
            except errors.TransportError as error:
                raise KmsUnavailable(f"the token endpoint of Google: {why_unreachable(error)}") from None
            except errors.GoogleAuthError as error:
                if error.retryable:
                    raise KmsUnavailable("the token endpoint of Google fails") from None
                raise KmsDenied(f"Google refuses the service account in {credentials_file}: renew its key") from None
            except (TypeError, ValueError, AttributeError):
                raise KmsUnavailable("the token endpoint of Google answers with what is no token") from None
            return AccessToken(account.token, life.total_seconds())

        return sign_in

    async def _describe(self, kms_key_id: str | None) -> KeyDescription:
        """See `Kms.describe`. The state and version are those of the primary version."""
        name = self._name(kms_key_id)
        told = await self._told(name)
        return parsed(lambda: self._described(name, told))

    def _described(self, name: str, told: Any) -> KeyDescription:
        primary = told.get("primary", {})
        version = primary.get("name", "").rpartition("/")[2]
        if version:
            self._primaries[name] = version
        return KeyDescription(
            name,
            self._names.arn(name),
            _STATES.get(primary.get("state"), KeyState.DESTROYED),
            datetime.fromisoformat(told["createTime"]).astimezone(UTC),
            version,
            self._names.aliases_of(name),
        )

    async def inspect(self) -> None:
        """See `RecordKms.inspect`."""
        if (await self._told(self._name(None))).get("purpose") != _PURPOSE:
            raise KmsMisconfigured(
                f"the default key of the KMS {self.provider} is not symmetric: make one with purpose encryption"
            )

    async def _told(self, name: str) -> Any:
        return await self._ask(self._tokens, "GET", self._path(name))

    async def _wrap_secret(self, secret: bytes, kms_key_id: str | None, context: WrapContext) -> ProviderWrap:
        name = self._name(kms_key_id)
        expected = self._primaries.get(name, _FIRST_VERSION)
        done = await self._encrypted(name, self._path(name), secret, context, expected)
        if done.kms_key_version != expected:
            # There is a new primary version. What was bound to the old one opens for nobody; named, it can be no other.
            expected = self._primaries[name] = done.kms_key_version
            done = await self._encrypted(name, self._path(name, expected), secret, context, expected)
        if done.kms_key_version != expected:
            raise KmsUnavailable(f"{self.service} wraps under another version than it was told to")
        return done

    async def _encrypted(self, name: str, path: str, secret: bytes, context: WrapContext, version: str) -> ProviderWrap:
        body = _checked_body({"plaintext": secret, "additionalAuthenticatedData": _bound(context, version)})
        answer = await self._ask(self._tokens, "POST", f"{path}:encrypt", body)
        if not (answer.get("verifiedPlaintextCrc32c") and answer.get("verifiedAdditionalAuthenticatedDataCrc32c")):
            raise KmsUnavailable(f"{self.service} did not verify what it was sent")
        used = str(answer.get("name")).rpartition("/cryptoKeyVersions/")
        if used[0] != self._path(name).removeprefix("v1/") or not _VERSION.fullmatch(used[2]):
            raise KmsUnavailable(f"{self.service} wraps under another key than it was told to")
        return ProviderWrap(name, used[2], _checked_bytes(answer, "ciphertext"))

    async def _unwrap_secret(self, wrapped: WrappedKey, context: WrapContext) -> bytes:
        name, version = self._name(wrapped.kms_key_id), wrapped.kms_key_version
        if not _VERSION.fullmatch(version):
            raise KmsKeyNotFound("that is no version of a key of Google Cloud KMS")
        body = _checked_body(
            {"ciphertext": wrapped.provider_ciphertext, "additionalAuthenticatedData": _bound(context, version)}
        )
        try:
            answer = await self._ask(self._unwrap_tokens, "POST", f"{self._path(name)}:decrypt", body, unwraps=True)
        except UnwrapFailed:
            with contextlib.suppress(KmsDenied, KmsUnavailable):  # it only tells better what is wrong
                await self._ask(self._tokens, "GET", self._path(name, version))
            raise
        return _checked_bytes(answer, "plaintext")

    def _path(self, name: str, version: str | None = None) -> str:
        return f"v1/{self._ring}/cryptoKeys/{name}" + ("" if version is None else f"/cryptoKeyVersions/{version}")


def _read_credentials(path: Path) -> Mapping[str, Any]:
    """Raises: KeyringError, KmsMisconfigured."""
    try:
        told = json.loads(read_private_file(path, _MAX_CREDENTIALS_BYTES))
        place = urlsplit(told["token_uri"])
        is_right = told["type"] == "service_account" and place.scheme == "https" and bool(place.hostname)
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError):
        is_right, told = False, {}
    if not is_right:
        raise _unfit(path)
    return dict(told)


def _unfit(path: Path) -> KmsMisconfigured:
    return KmsMisconfigured(
        f"{path} must hold the JSON key of a service account, its token_uri of https: write it anew"
    )


def _bound(context: WrapContext, version: str) -> bytes:
    """What Google is to bind a wrap to; the record binds the rest."""
    return f"sealgate/{context.realm_id.hex()}/{context.purpose.value}/{version}".encode("ascii")


def _checked_body(fields: Mapping[str, bytes]) -> dict[str, str]:
    """Fields of bytes, each with its CRC32C beside it; numbers of 64 bits are text in Google's JSON."""
    body = {}
    for name, value in fields.items():
        body[name] = base64.b64encode(value).decode("ascii")
        body[f"{name}Crc32c"] = str(crc32c(value))
    return body


def _checked_bytes(answer: Any, name: str) -> bytes:
    """A field of bytes that is as its CRC32C says. Raises: KmsUnavailable."""
    value = parsed(lambda: base64.b64decode(answer[name], validate=True))
    if parsed(lambda: int(answer[f"{name}Crc32c"])) != crc32c(value):
        raise KmsUnavailable("what Google Cloud KMS sent was altered on the way")
    return value
