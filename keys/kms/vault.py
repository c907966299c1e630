"""Keys of the transit engine of HashiCorp Vault and OpenBao, which speak one HTTP API; through `hvac`.

What transit wraps is our random K alone (docs/decisions/0002-wrapping-record.md), so that its own `rewrap` works and K
never leaves it when a key is rotated. hvac blocks, so its calls have threads of their own: see `keys.kms.calls`.
Source: the HTTP API of Vault, "Transit secrets engine"; soft deletion is OpenBao's.
"""

import base64
import re
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, Final, NoReturn

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
from keys.kms.base import KeyDescription, KeyState, check_usable
from keys.kms.binding import AeadWrap, ProviderWrap, RecordKms
from keys.kms.calls import BlockingCalls
from keys.kms.https import THREADS, Reach, need, new_session, parsed, why_unreachable
from keys.kms.names import KeyNames, is_plain_id
from keys.kms.vault_login import Identity, Login, TokenRefused

_TYPES: Final = frozenset({"aes256-gcm96", "chacha20-poly1305", "xchacha20-poly1305"})
"""Types of transit keys that wrap with 256 bits and authenticate."""
_FORGETFUL: Final = "inmem"
_CIPHERTEXT: Final = re.compile(r"vault:v([1-9][0-9]{0,8}):([A-Za-z0-9+/]+={0,2})", re.ASCII)
_VERSION: Final = re.compile(r"[1-9][0-9]{0,8}", re.ASCII)
_NONCE_SIZE: Final = 12

_REFUSALS: Final[tuple[tuple[str, type[KeysError], str], ...]] = (
    # What transit says with a 400, and what it is; its own words are not passed on, since they may quote us.
    ("soft-deleted", KmsKeyDisabled, "the wrapping key is soft-deleted; restore it there"),
    ("key not found", KmsKeyNotFound, "there is no such wrapping key"),
    (
        "version is too new",
        KmsKeyNotFound,
        "the wrapping key has no such version; bring back the one that had it",
    ),
    ("too old", KmsKeyInvalidState, "that version of the wrapping key is below its min_decryption_version; lower that"),
    ("message authentication failed", UnwrapFailed, "what the KMS is to unwrap does not authenticate"),
    ("invalid ciphertext", UnwrapFailed, "what the KMS is to unwrap is not of its making"),
    ("unable to decrypt", UnwrapFailed, "what the KMS is to unwrap does not authenticate"),
    ("unsupported", KmsKeyInvalidState, "the wrapping key is of a type that cannot wrap"),
    ("does not support", KmsKeyInvalidState, "the wrapping key is of a type that cannot wrap"),
)


@dataclass(frozen=True, slots=True)
class VaultOptions:
    """`kms_key_id`: the default key. `unwrap_identity`: who unwraps, where that is not who wraps."""

    reach: Reach
    kms_key_id: str
    identity: Identity
    unwrap_identity: Identity | None = None
    mount: str = "transit"
    namespace: str | None = None


class VaultKms(RecordKms):
    """`Kms` over a transit engine. `provider` is the name that the operator gave it."""

    def __init__(self, provider: str, options: VaultOptions, names: KeyNames | None = None) -> None:
        """Nothing is asked yet. Raises: KmsMisconfigured."""
        self.provider = provider
        self._options = options
        self._names = names or KeyNames(provider)
        self._hvac = need("hvac", "vault")
        options.reach.check_files()
        self._session = new_session(options.reach, "vault")
        self._calls = BlockingCalls(provider, THREADS)
        self._login = Login(provider, options.identity, self._send)
        unwrapper = options.unwrap_identity
        self._unwrap_login = self._login if unwrapper is None else Login(provider, unwrapper, self._send)
        self._known: set[str] = set()

    async def _describe(self, kms_key_id: str | None) -> KeyDescription:
        """See `Kms.describe`. A soft-deleted key counts as disabled."""
        name = self._name(kms_key_id)
        told = await self._read(name)
        return parsed(lambda: self._described(name, told))

    def _described(self, name: str, told: Any) -> KeyDescription:
        newest, oldest = int(told["latest_version"]), min(told["keys"].items(), key=lambda item: int(item[0]))
        return KeyDescription(
            name,
            self._names.arn(name),
            KeyState.DISABLED if told.get("soft_deleted") else KeyState.ENABLED,
            datetime.fromtimestamp(oldest[1], UTC),
            str(newest),
            self._names.aliases_of(name),
        )

    async def inspect(self) -> None:
        """See `RecordKms.inspect`."""
        status = await self._calls.run(lambda: self._send("GET", "sys/seal-status", "", None))
        if parsed(lambda: status["storage_type"]) == _FORGETFUL:
            raise KmsMisconfigured(
                f"the KMS {self.provider} keeps its keys in memory alone (a development server), so a restart of it"
                " loses all data: give it durable storage"
            )
        name = self._name(None)
        told = await self._read(name)
        for is_wrong, fault, remedy in parsed(lambda: _faults(told)):
            if is_wrong:
                raise KmsMisconfigured(f"the wrapping key {name} of the KMS {self.provider} {fault}: {remedy}")

    def as_aead(self, done: ProviderWrap) -> AeadWrap | None:
        """See `RecordKms.as_aead`. Which of the ciphers it was does not matter: a known key opens neither."""
        return AeadWrap(done.ciphertext[:_NONCE_SIZE], done.ciphertext[_NONCE_SIZE:], b"")

    async def close(self) -> None:
        """See `Kms.close`."""
        self._calls.close()
        self._session.close()

    async def _wrap_secret(self, secret: bytes, kms_key_id: str | None, context: WrapContext) -> ProviderWrap:
        del context  # the record around the data key binds it
        name = self._name(kms_key_id)
        if name not in self._known:
            # `encrypt` makes a key that is not there, for an identity that may; what makes keys is not us.
            check_usable((await self.describe(name)).state)
            self._known.add(name)
        body = {"plaintext": base64.b64encode(secret).decode("ascii")}
        return self._wrapped(name, await self._ask(self._login, "POST", f"encrypt/{name}", body))

    async def _unwrap_secret(self, wrapped: WrappedKey, context: WrapContext) -> bytes:
        del context
        name = self._name(wrapped.kms_key_id)
        answer = await self._ask(self._unwrap_login, "POST", f"decrypt/{name}", {"ciphertext": _spelled(wrapped)})
        return parsed(lambda: base64.b64decode(answer["plaintext"], validate=True))

    async def _rewrap_secret(self, wrapped: WrappedKey, context: WrapContext, kms_key_id: str | None) -> ProviderWrap:
        name = self._name(kms_key_id)
        if name != self._name(wrapped.kms_key_id):
            return await super()._rewrap_secret(wrapped, context, kms_key_id)
        answer = await self._ask(self._login, "POST", f"rewrap/{name}", {"ciphertext": _spelled(wrapped)})
        return self._wrapped(name, answer)

    def _wrapped(self, name: str, answer: Any) -> ProviderWrap:
        match = parsed(lambda: _CIPHERTEXT.fullmatch(answer["ciphertext"]))
        if match is None:
            raise KmsUnavailable(f"the KMS {self.provider} answers with what is no ciphertext")
        return ProviderWrap(name, match[1], parsed(lambda: base64.b64decode(match[2], validate=True)))

    def _name(self, kms_key_id: str | None) -> str:
        """The name of a key as it may stand in a path. Raises: KmsKeyNotFound."""
        name = self._options.kms_key_id if kms_key_id is None else self._names.plain(kms_key_id)
        if not is_plain_id(name):
            raise KmsKeyNotFound("that is no name of a wrapping key here")
        return name

    async def _read(self, name: str) -> Any:
        return await self._ask(self._login, "GET", f"keys/{name}", None)

    async def _ask(self, login: Login, method: str, path: str, body: Mapping[str, Any] | None) -> Any:
        answer = await self._calls.run(lambda: login.call(method, f"{self._options.mount}/{path}", body))
        return parsed(lambda: answer["data"])

    def _send(self, method: str, path: str, token: str, body: Mapping[str, Any] | None) -> Any:
        """One call, in a thread; blocks for as long as `Reach.timeouts` say at most."""
        reach, errors = self._options.reach, self._hvac.exceptions
        adapter = self._hvac.adapters.JSONAdapter(
            reach.address,
            token,
            timeout=reach.timeouts,
            session=self._session,
            namespace=self._options.namespace,
            allow_redirects=False,
        )
        try:
            answer = adapter.request(method, f"v1/{path}", json=body)
        except (errors.Forbidden, errors.Unauthorized):
            raise TokenRefused from None
        except errors.InvalidPath:
            raise KmsKeyNotFound("there is no such wrapping key, or no transit engine at that mount") from None
        except errors.InvalidRequest as error:
            self._refuse(error.errors or [])
        except errors.VaultError as error:
            raise KmsUnavailable(f"the KMS {self.provider} is {_STATES.get(type(error).__name__, 'failing')}") from None
        except OSError as error:  # requests' own errors are of this kind
            raise KmsUnavailable(f"the KMS {self.provider}: {why_unreachable(error)}") from None
        if not isinstance(answer, dict):
            raise KmsUnavailable(f"the KMS {self.provider} answers with what is no answer")
        return answer

    def _refuse(self, told: list[Any]) -> NoReturn:
        text = " ".join(str(line) for line in told)
        for sign, kind, meaning in _REFUSALS:
            if sign in text:
                raise kind(meaning) from None
        if "role" in text or "secret id" in text or "certificate" in text:
            raise KmsDenied(f"the KMS {self.provider} refuses the login: renew the identity that signs in") from None
        raise KmsUnavailable(f"the KMS {self.provider} does not take a request as it stands") from None


_STATES: Final = {
    "VaultDown": "sealed or in maintenance; unseal it",
    "RateLimitExceeded": "throttling us; let it take more requests",
    "VaultNotInitialized": "not initialised; initialise it",
}


def _faults(told: Any) -> tuple[tuple[bool, str, str], ...]:
    """What makes a transit key unfit, and what to do."""
    return (
        (told["type"] not in _TYPES, "is not of 256 bits", "make one of type aes256-gcm96"),
        (bool(told["derived"]), "is derived, which rewrap needs a context for", "make one with derived=false"),
        (bool(told["exportable"]), "can be exported by who may", "make one with exportable=false"),
        (bool(told["allow_plaintext_backup"]), "can be backed up in the clear", "set allow_plaintext_backup=false"),
    )


def _spelled(wrapped: WrappedKey) -> str:
    """A ciphertext as transit spells it. Raises: KmsKeyNotFound."""
    if not _VERSION.fullmatch(wrapped.kms_key_version):
        raise KmsKeyNotFound("that is no version of a transit key")
    return f"vault:v{wrapped.kms_key_version}:{base64.b64encode(wrapped.provider_ciphertext).decode('ascii')}"
