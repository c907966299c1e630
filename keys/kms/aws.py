"""Keys of AWS KMS, through `boto3`. Realm and purpose go along as encryption context, for its policies and its log.

AWS shows no versions of a key: it rotates the material behind one id, and every wrap goes on opening. boto3 blocks, see
`keys.kms.calls`. Source: AWS KMS API Reference (Encrypt, Decrypt, ReEncrypt, DescribeKey).
"""

import configparser
import functools
import threading
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import UTC
from pathlib import Path
from typing import Any, Final

import boto3
import botocore.session
from botocore.config import Config
from botocore.exceptions import BotoCoreError, ClientError

from keys.context import WrapContext
from keys.datakey import WrappedKey
from keys.errors import (
    KeysError,
    KmsDenied,
    KmsKeyDisabled,
    KmsKeyInvalidState,
    KmsKeyNotFound,
    KmsMisconfigured,
    KmsUnavailable,
    UnwrapFailed,
)
from keys.kms.base import KeyDescription, KeyState
from keys.kms.binding import ProviderWrap, RecordKms
from keys.kms.calls import BlockingCalls
from keys.kms.https import THREADS, Reach, why_unreachable
from keys.kms.names import KeyNames, is_plain_id
from keys.safe_files import read_private_file

_MAX_CREDENTIALS_BYTES: Final = 16 * 1024
_NOTHING_OF_THIS_MACHINE: Final[Any] = {
    name: (None, None, default, None)
    for name, default in (("profile", None), ("ca_bundle", None), ("config_file", "/dev/null"))
}
"""Variables of botocore's session without their places in the environment and in `~/.aws`."""
_NO_VERSION: Final = ""

_STATES: Final = {
    "Enabled": KeyState.ENABLED,
    "Disabled": KeyState.DISABLED,
    "PendingDeletion": KeyState.PENDING_DELETION,
    "PendingReplicaDeletion": KeyState.PENDING_DELETION,
}
"""The other states (Creating, PendingImport, Unavailable, Updating) cannot wrap either, and count as destroyed."""

_REFUSALS: Final[Mapping[str, tuple[type[KeysError], str]]] = {
    "NotFoundException": (KmsKeyNotFound, "there is no such wrapping key"),
    "InvalidArnException": (KmsKeyNotFound, "that names no wrapping key"),
    "DisabledException": (KmsKeyDisabled, "the wrapping key is disabled"),
    "KMSInvalidStateException": (KmsKeyInvalidState, "the wrapping key is in a state in which it cannot wrap"),
    "InvalidKeyUsageException": (KmsKeyInvalidState, "the wrapping key is of a kind that cannot wrap"),
    "InvalidCiphertextException": (UnwrapFailed, "what the KMS is to unwrap does not authenticate"),
    "IncorrectKeyException": (UnwrapFailed, "what the KMS is to unwrap is of another wrapping key"),
    "AccessDeniedException": (KmsDenied, "AWS KMS refuses this identity: see its policy and the key's"),
}
_STALE: Final = frozenset(
    {
        "ExpiredTokenException",
        "IncompleteSignature",
        "InvalidClientTokenId",
        "InvalidSignatureException",
        "MissingAuthenticationTokenException",
        "UnrecognizedClientException",
    }
)
"""Said of credentials that AWS does not know, or no longer: they are read anew for the next call."""


@dataclass(frozen=True, slots=True)
class AwsOptions:
    """`kms_key_id`: id of the default key. The credentials file is like `~/.aws/credentials`, profile `default`."""

    reach: Reach
    region: str
    kms_key_id: str
    credentials_file: Path
    unwrap_credentials_file: Path | None = None


_maker_lock = threading.Lock()


@functools.cache
def _maker() -> boto3.Session:
    """What makes all clients, one at a time: it holds the description of the API, and no credentials."""
    return boto3.Session(botocore_session=botocore.session.Session(session_vars=_NOTHING_OF_THIS_MACHINE))


class _Client:
    """A client of boto3 under the credentials of one file; made at the first call, since that takes a while."""

    def __init__(self, options: AwsOptions, credentials_file: Path) -> None:
        self._options = options
        self._credentials_file = credentials_file
        self._lock = threading.Lock()
        self._client: Any = None

    def call(self, operation: str, arguments: Mapping[str, Any]) -> Any:
        """One call, in a thread. Raises: KeysError."""
        with self._lock:
            if self._client is None:
                self._client = self._made()
            client = self._client
        try:
            return getattr(client, operation)(**arguments)
        except ClientError as error:
            code = str(error.response.get("Error", {}).get("Code"))
            if code in _STALE:
                self._client = None
                raise KmsDenied(f"AWS KMS refuses the credentials in {self._credentials_file}: renew them") from None
            kind, meaning = _REFUSALS.get(code, (KmsUnavailable, f"AWS KMS fails ({code[:64]})"))
            raise kind(meaning) from None
        except (BotoCoreError, OSError) as error:
            raise KmsUnavailable(f"AWS KMS: {why_unreachable(error)}") from None

    def _made(self) -> Any:
        access_key_id, secret_access_key, session_token = _read_credentials(self._credentials_file)
        with _maker_lock:
            return self._client_of(_maker(), access_key_id, secret_access_key, session_token)

    def _client_of(
        self, session: boto3.Session, access_key_id: str, secret_access_key: str, session_token: str | None
    ) -> Any:
        reach = self._options.reach
        connect_s, read_s = reach.timeouts
        return session.client(
            "kms",
            region_name=self._options.region,
            endpoint_url=reach.address,
            aws_access_key_id=access_key_id,
            aws_secret_access_key=secret_access_key,
            aws_session_token=session_token,
            verify=True if reach.ca_file is None else str(reach.ca_file),
            config=Config(
                connect_timeout=connect_s,
                read_timeout=read_s,
                retries={"total_max_attempts": 1},
                max_pool_connections=THREADS,
                proxies={} if reach.proxy is None else {"https": reach.proxy},
                ignore_configured_endpoint_urls=True,
            ),
        )


def _read_credentials(path: Path) -> tuple[str, str, str | None]:
    """Raises: KeyringError, KmsMisconfigured."""
    parser = configparser.RawConfigParser()
    try:
        parser.read_string(read_private_file(path, _MAX_CREDENTIALS_BYTES).decode("ascii"))
        profile = parser["default"]
        return profile["aws_access_key_id"], profile["aws_secret_access_key"], profile.get("aws_session_token")
    except (configparser.Error, KeyError, UnicodeDecodeError):
        raise KmsMisconfigured(
            f"{path} must hold [default] with aws_access_key_id and aws_secret_access_key: write it anew"
        ) from None


class AwsKms(RecordKms):
    """`Kms` over the symmetric keys of one account and region. `provider` is the name that the operator gave it."""

    def __init__(self, provider: str, options: AwsOptions, names: KeyNames) -> None:
        """Nothing is asked yet. Raises: KmsMisconfigured."""
        self.provider = provider
        self._options = options
        self._names = names
        options.reach.check_files()
        self._calls = BlockingCalls(provider, THREADS)
        self._client = _Client(options, options.credentials_file)
        file = options.unwrap_credentials_file
        self._unwrap_client = self._client if file is None else _Client(options, file)

    async def _describe(self, kms_key_id: str | None) -> KeyDescription:
        """See `Kms.describe`. The version is empty, as AWS shows none."""
        name = self._name(kms_key_id)
        told = await self._told(name)
        return KeyDescription(
            name,
            self._names.arn(name),
            _STATES.get(told["KeyState"], KeyState.DESTROYED),
            told["CreationDate"].astimezone(UTC),
            _NO_VERSION,
            self._names.aliases_of(name),
        )

    async def inspect(self) -> None:
        """See `RecordKms.inspect`."""
        told = await self._told(self._name(None))
        for is_wrong, fault in (
            (told.get("KeySpec") != "SYMMETRIC_DEFAULT", "is not symmetric: make one with KeySpec SYMMETRIC_DEFAULT"),
            (told.get("ValidTo") is not None, "has material that expires: import it without an end"),
        ):
            if is_wrong:
                raise KmsMisconfigured(f"the default key of the KMS {self.provider} {fault}")

    async def close(self) -> None:
        """See `Kms.close`."""
        self._calls.close()

    async def _told(self, name: str) -> Any:
        return (await self._ask(self._client, "describe_key", {"KeyId": name}))["KeyMetadata"]

    async def _wrap_secret(self, secret: bytes, kms_key_id: str | None, context: WrapContext) -> ProviderWrap:
        name = self._name(kms_key_id)
        arguments = {"KeyId": name, "Plaintext": secret, "EncryptionContext": _shown(context)}
        answer = await self._ask(self._client, "encrypt", arguments)
        return ProviderWrap(name, _NO_VERSION, answer["CiphertextBlob"])

    async def _unwrap_secret(self, wrapped: WrappedKey, context: WrapContext) -> bytes:
        arguments = {
            "KeyId": self._opening_key(wrapped),
            "CiphertextBlob": wrapped.provider_ciphertext,
            "EncryptionContext": _shown(context),
        }
        secret: bytes = (await self._ask(self._unwrap_client, "decrypt", arguments))["Plaintext"]
        return secret

    async def _rewrap_secret(self, wrapped: WrappedKey, context: WrapContext, kms_key_id: str | None) -> ProviderWrap:
        name = self._name(kms_key_id)
        arguments = {
            "SourceKeyId": self._opening_key(wrapped),
            "DestinationKeyId": name,
            "CiphertextBlob": wrapped.provider_ciphertext,
            "SourceEncryptionContext": _shown(context),
            "DestinationEncryptionContext": _shown(context),
        }
        answer = await self._ask(self._client, "re_encrypt", arguments)
        return ProviderWrap(name, _NO_VERSION, answer["CiphertextBlob"])

    def _opening_key(self, wrapped: WrappedKey) -> str:
        if wrapped.kms_key_version != _NO_VERSION:
            raise KmsKeyNotFound("keys of AWS KMS show no versions")
        return self._name(wrapped.kms_key_id)

    def _name(self, kms_key_id: str | None) -> str:
        name = self._options.kms_key_id if kms_key_id is None else self._names.plain(kms_key_id)
        if not is_plain_id(name):
            raise KmsKeyNotFound("that is no id of a wrapping key here")
        return name

    async def _ask(self, client: _Client, operation: str, arguments: Mapping[str, Any]) -> Any:
        call: Callable[[], Any] = lambda: client.call(operation, arguments)  # noqa: E731 - it has a type
        return await self._calls.run(call)


def _shown(context: WrapContext) -> dict[str, str]:
    """What AWS may know of a wrap: whose it is and what for. The record binds the rest."""
    return {"sealgate:realm": context.realm_id.hex(), "sealgate:purpose": context.purpose.value}
