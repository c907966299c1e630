"""Keys inside a hardware security module, through PKCS#11 and `python-pkcs11`.

A wrapping key is the AES-256 secret keys of one label; their CKA_ID, read as a number, is the version, and the highest
wraps. All calls into a module go through one thread, since modules share a login between sessions and some (SoftHSM)
crash where sessions work at once. Source: PKCS#11 3.0, sections 5 and 6.13 (CKM_AES_GCM).
"""

import secrets
import threading
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, TypeVar

from keys.context import WrapContext, canonical
from keys.datakey import KEY_SIZE, WrappedKey
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
from keys.kms.binding import AeadWrap, ProviderWrap, RecordKms
from keys.kms.calls import BlockingCalls
from keys.kms.https import need
from keys.kms.names import KeyNames, is_plain_id
from keys.kms.vault_login import read_secret

NONCE_SIZE: Final = 12
"""Random and of ours, since modules do not agree who chooses it; so a version wraps at most 2^32 times (SP 800-38D)."""
TAG_SIZE: Final = 16
_ID_SIZE: Final = 16
"""Longest CKA_ID that counts as a version, in bytes."""

_T = TypeVar("_T")


@dataclass(frozen=True, slots=True)
class Pkcs11Options:
    """`module`: the vendor's shared library. `kms_key_id`: label of the default key."""

    module: Path
    token_label: str
    pin_file: Path
    kms_key_id: str


@dataclass(slots=True)
class _Module:
    """A loaded library: its one thread, and how many use it."""

    calls: BlockingCalls
    users: int = 0


_modules: dict[Path, _Module] = {}
_modules_lock = threading.Lock()


@dataclass(frozen=True, slots=True)
class _Version:
    """One secret key in the token; its handle is good in the thread and session that found it."""

    number: int
    key: Any

    @property
    def name(self) -> str:
        return str(self.number)


class Pkcs11Kms(RecordKms):
    """`Kms` over one token. `provider` is the name that the operator gave it."""

    def __init__(self, provider: str, options: Pkcs11Options, names: KeyNames | None = None) -> None:
        """Nothing is asked yet. Raises: KmsMisconfigured."""
        self.provider = provider
        self._options = options
        self._names = names or KeyNames(provider)
        self._pkcs11 = need("pkcs11", "pkcs11")
        if not options.module.is_file():
            raise KmsMisconfigured(f"module {options.module} is not there: give the PKCS#11 library of the HSM")
        with _modules_lock:
            self._module = _modules.setdefault(options.module, _Module(BlockingCalls(options.module.stem, 1)))
            self._module.users += 1
        self._session: Any = None
        self._refusal: KmsDenied | None = None

    async def _describe(self, kms_key_id: str | None) -> KeyDescription:
        """See `Kms.describe`. A key that may neither encrypt nor decrypt counts as disabled."""
        name = self._name(kms_key_id)
        return await self._ask(lambda: self._described(name))

    async def inspect(self) -> None:
        """See `RecordKms.inspect`."""
        name = self._name(None)
        await self._ask(lambda: self._inspected(name))

    def as_aead(self, done: ProviderWrap) -> AeadWrap | None:
        """See `RecordKms.as_aead`."""
        binding = _binding(done.kms_key_id, done.kms_key_version)
        return AeadWrap(done.ciphertext[:NONCE_SIZE], done.ciphertext[NONCE_SIZE:], binding)

    async def close(self) -> None:
        """See `Kms.close`."""
        module = self._module
        await module.calls.run(self._drop_session)
        with _modules_lock:
            module.users -= 1
            if not module.users:
                del _modules[self._options.module]
                module.calls.close()

    async def _wrap_secret(self, secret: bytes, kms_key_id: str | None, context: WrapContext) -> ProviderWrap:
        del context  # the record around the data key binds it
        name = self._name(kms_key_id)
        return await self._ask(lambda: self._encrypted(name, secret))

    async def _unwrap_secret(self, wrapped: WrappedKey, context: WrapContext) -> bytes:
        del context
        name = self._name(wrapped.kms_key_id)
        return await self._ask(lambda: self._decrypted(name, wrapped.kms_key_version, wrapped.provider_ciphertext))

    def _name(self, kms_key_id: str | None) -> str:
        """The label of a key. Raises: KmsKeyNotFound."""
        name = self._options.kms_key_id if kms_key_id is None else self._names.plain(kms_key_id)
        if not is_plain_id(name):
            raise KmsKeyNotFound("that is no label of a wrapping key here")
        return name

    async def _ask(self, call: Callable[[], _T]) -> _T:
        """Make calls in the module's thread, and tell its failures in our words."""

        def settled() -> _T:
            try:
                return call()
            except KeysError as error:
                failure = error.with_traceback(None)
                failure.__context__ = None
            except self._pkcs11.PKCS11Error as error:
                self._drop_session()  # whatever it is: the next call opens another
                failure = KmsUnavailable(f"the HSM {self.provider} fails ({type(error).__name__})")
            # Here, and without its past: objects of the module that a traceback holds must not end in another thread.
            raise failure

        return await self._module.calls.run(settled)

    # What follows runs in the module's thread alone.

    def _open(self) -> Any:
        """The session, signed in. A PIN that was refused is never tried again, since a token locks after a few."""
        if self._session is not None:
            return self._session
        if self._refusal is not None:
            raise self._refusal
        pkcs11, options = self._pkcs11, self._options
        pin = read_secret(options.pin_file)
        try:
            library = pkcs11.lib(str(options.module))
        except (OSError, RuntimeError, pkcs11.PKCS11Error) as error:
            raise KmsMisconfigured(
                f"module {options.module} cannot be loaded ({type(error).__name__}): give the HSM's PKCS#11 library"
            ) from None
        try:
            token = library.get_token(token_label=options.token_label)
        except (pkcs11.NoSuchToken, pkcs11.MultipleTokensReturned):
            raise KmsUnavailable(
                f"the HSM {self.provider} shows not just one token {options.token_label}: correct token_label"
            ) from None
        try:
            self._session = token.open(user_pin=pin)
        except pkcs11.UserAlreadyLoggedIn:
            self._session = token.open()  # the login is the whole process's
        except (
            pkcs11.PinIncorrect,
            pkcs11.PinInvalid,
            pkcs11.PinLenRange,
            pkcs11.PinLocked,
            pkcs11.PinExpired,
        ) as error:
            self._refusal = KmsDenied(
                f"the HSM {self.provider} refuses the PIN ({type(error).__name__}), and it is not tried again:"
                " correct pin_file, then start again"
            )
            raise self._refusal from None
        return self._session

    def _drop_session(self) -> None:
        session, self._session = self._session, None
        if session is not None:
            try:
                session.close()
            except self._pkcs11.PKCS11Error:
                return  # it is gone, which is what was wanted

    def _versions(self, name: str) -> list[_Version]:
        """The versions of a key, oldest first. Raises: KmsKeyNotFound, KmsKeyInvalidState."""
        attribute, constants = self._pkcs11.Attribute, self._pkcs11.constants
        template = {
            attribute.CLASS: constants.ObjectClass.SECRET_KEY,
            attribute.KEY_TYPE: self._pkcs11.KeyType.AES,
            attribute.LABEL: name,
        }
        found = []
        for key in list(self._open().get_objects(template)):  # a search that is not ended bars the next
            identifier = key[attribute.ID]
            if not 0 < len(identifier) <= _ID_SIZE:
                raise KmsKeyInvalidState(f"a key labelled {name} has no id to tell its version by: give each a CKA_ID")
            found.append(_Version(int.from_bytes(identifier, "big"), key))
        found.sort(key=lambda version: version.number)
        if not found:
            raise KmsKeyNotFound("the HSM has no AES key of that label")
        if len({version.number for version in found}) != len(found):
            raise KmsKeyInvalidState(f"two keys labelled {name} have one id: give each a CKA_ID of its own")
        return found

    def _described(self, name: str) -> KeyDescription:
        attribute = self._pkcs11.Attribute
        newest = self._versions(name)[-1]
        is_enabled = newest.key[attribute.ENCRYPT] or newest.key[attribute.DECRYPT]
        return KeyDescription(
            name,
            self._names.arn(name),
            KeyState.ENABLED if is_enabled else KeyState.DISABLED,
            None,  # PKCS#11 does not tell; its dates are what somebody wrote there
            newest.name,
            self._names.aliases_of(name),
        )

    def _inspected(self, name: str) -> None:
        attribute = self._pkcs11.Attribute
        for version in self._versions(name):
            for is_wrong, fault in (
                (version.key[attribute.EXTRACTABLE], "can be taken out of the HSM: make it with CKA_EXTRACTABLE=false"),
                (not version.key[attribute.SENSITIVE], "can be read: make it with CKA_SENSITIVE=true"),
                (not version.key[attribute.TOKEN], "ends with its session: make it with CKA_TOKEN=true"),
                (version.key[attribute.VALUE_LEN] != KEY_SIZE, "is not of 256 bits: make one that is"),
            ):
                if is_wrong:
                    raise KmsMisconfigured(
                        f"version {version.name} of the key {name} in the HSM {self.provider} {fault}"
                    )

    def _encrypted(self, name: str, secret: bytes) -> ProviderWrap:
        version = self._versions(name)[-1]
        if not version.key[self._pkcs11.Attribute.ENCRYPT]:
            raise KmsKeyDisabled("the wrapping key may not encrypt")
        nonce = secrets.token_bytes(NONCE_SIZE)
        ciphertext = version.key.encrypt(secret, **self._gcm(nonce, _binding(name, version.name)))
        return ProviderWrap(name, version.name, nonce + ciphertext)

    def _decrypted(self, name: str, version_name: str, ciphertext: bytes) -> bytes:
        version = next((version for version in self._versions(name) if version.name == version_name), None)
        if version is None:
            raise KmsKeyNotFound("the wrapping key has no such version; bring back the one that had it")
        if not version.key[self._pkcs11.Attribute.DECRYPT]:
            raise KmsKeyDisabled("the wrapping key may not decrypt")
        if len(ciphertext) != NONCE_SIZE + KEY_SIZE + TAG_SIZE:
            raise UnwrapFailed("what the HSM is to unwrap has a wrong length")
        parameters = self._gcm(ciphertext[:NONCE_SIZE], _binding(name, version_name))
        try:
            return bytes(version.key.decrypt(ciphertext[NONCE_SIZE:], **parameters))
        except (self._pkcs11.GeneralError, self._pkcs11.FunctionFailed, self._pkcs11.EncryptedDataInvalid):
            # Modules have no error of its own for a wrong tag. One that still opens what it sealed is not broken.
            self._check_works(version, name)
            raise UnwrapFailed("what the HSM is to unwrap does not authenticate") from None

    def _check_works(self, version: _Version, name: str) -> None:
        """Raises: PKCS11Error."""
        parameters = self._gcm(secrets.token_bytes(NONCE_SIZE), _binding(name, "trial"))
        version.key.decrypt(version.key.encrypt(bytes(KEY_SIZE), **parameters), **parameters)

    def _gcm(self, nonce: bytes, associated_data: bytes) -> dict[str, Any]:
        pkcs11 = self._pkcs11
        return {
            "mechanism": pkcs11.Mechanism.AES_GCM,
            "mechanism_param": pkcs11.GCMParams(nonce, associated_data, TAG_SIZE * 8),
        }


def _binding(name: str, version: str) -> bytes:
    return canonical("sealgate/pkcs11-kms/v1", name.encode(), version.encode())
