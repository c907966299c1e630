"""Which KMSs there are: the local keyring, the tables of `kms_file`, or both behind one routing `Kms`.

Each remote one besides the default has a canary of its own, made when it is first used and kept in the data folder:
so a KMS that lost or changed its key is found out before it seals anything more.
"""

import base64
import contextlib
import json
import logging
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Final

from gateway.config import Settings
from gateway.wiring.folders import Folders
from keys.datakey import WrappedKey
from keys.deadline import within
from keys.errors import (
    CanaryFailed,
    KeyringError,
    KeysError,
    KmsDenied,
    KmsKeyError,
    KmsMisconfigured,
    KmsUnavailable,
    PassphraseUnfit,
)
from keys.keyring_file import LocalKeyring
from keys.kms.base import Kms
from keys.kms.binding import RecordKms
from keys.kms.local import LocalKms
from keys.kms.names import KeyNames
from keys.kms.routing import LOCAL_PROVIDER, Route, RoutingKms, providers_of
from keys.realm import check_canary, create_canary
from keys.root_secret import encoded_passphrase
from keys.safe_files import read_private_file, write_private_file

if TYPE_CHECKING:
    from gateway.kms_file import Provider

_MAX_PASSPHRASE_FILE_BYTES: Final = 4096
_MAX_CANARIES_BYTES: Final = 64 * 1024

EXPERIMENTAL: Final = (
    "experimental, since its type was tried against a fake of our own alone, never against the service itself"
)

_log = logging.getLogger(__name__)


def read_passphrase(settings: Settings) -> str | None:
    """The passphrase that the settings name, without its line end; None where they name none.

    Raises:
        KeyringError: the file is missing, open to others, or not text.
    """
    if settings.passphrase_file is None:
        return None
    try:
        text = read_private_file(settings.passphrase_file, _MAX_PASSPHRASE_FILE_BYTES).decode("utf-8")
    except UnicodeDecodeError:
        raise KeyringError(f"{settings.passphrase_file} is not UTF-8 text; write the passphrase into it") from None
    return text.rstrip("\r\n")


def check_passphrase(settings: Settings) -> None:
    """See that the passphrase may protect a keyring, where there is one. Raises: KeyringError."""
    passphrase = read_passphrase(settings)
    if passphrase is not None:
        with _naming_its_file(settings):
            encoded_passphrase(passphrase)


def open_keyring(settings: Settings, folders: Folders, *, make: bool) -> LocalKeyring:
    """The local keyring, made where there is none if that is wanted. Raises: KeyringError."""
    opened = LocalKeyring.create if make and not LocalKeyring.exists(folders.keys) else LocalKeyring.open
    with _naming_its_file(settings):
        return opened(folders.keys, read_passphrase(settings))


@contextlib.contextmanager
def _naming_its_file(settings: Settings) -> Iterator[None]:
    """A passphrase that will not do is known by the file that holds it: the setting may come from three places."""
    try:
        yield
    except PassphraseUnfit as error:
        raise KeyringError(f"{settings.passphrase_file}: {error}") from None


def open_kms(settings: Settings, folders: Folders, realm_id: bytes, *, make_keyring: bool = False) -> Kms:
    """The KMS of the settings; nothing is asked of a remote one yet. `make_keyring` makes a local one if need be.

    Raises:
        KeysError, SettingsError: one of them cannot be used; says what to do.
    """
    local = _open_local(settings, folders, make=make_keyring)
    if settings.kms_file is None:
        assert local is not None, "the settings name no KMS but the local one"
        return local
    remotes = _open_remotes(settings, folders)
    canaries = provider_canaries(settings, folders, realm_id)
    routes = [] if local is None else [Route(local, KeyNames(settings.region), None, _proved_already)]
    for kms, provider in remotes:
        routes.append(Route(kms, provider.names(kms.provider), provider.offers, canaries.prove))
    return RoutingKms(routes, settings.kms)


def remote_kms(settings: Settings, folders: Folders) -> list[RecordKms]:
    """Every KMS of `kms_file`; nothing is asked of them yet. Raises: KeysError, SettingsError."""
    return [kms for kms, _ in _open_remotes(settings, folders)]


def _open_remotes(settings: Settings, folders: Folders) -> "list[tuple[RecordKms, Provider]]":
    # Deferred: a gateway with the local keyring alone needs the clients of no other KMS.
    from gateway.kms_file import read_kms_file  # noqa: PLC0415

    assert settings.kms_file is not None
    providers = read_kms_file(settings.kms_file, settings.region)
    if settings.kms != LOCAL_PROVIDER and settings.kms not in providers:
        raise KmsMisconfigured(
            f"kms is {settings.kms}, and kms_file {settings.kms_file} has no such table: give one of"
            f" {', '.join(providers)}"
        )
    for name, provider in providers.items():
        _check_apart(name, provider, folders)
    return [(provider.open(name, settings.kms_deadline_s), provider) for name, provider in providers.items()]


def provider_canaries(settings: Settings, folders: Folders, realm_id: bytes) -> "ProviderCanaries":
    """The canaries of the KMSs besides the default."""
    return ProviderCanaries(folders.kms_canaries, realm_id, settings.kms_deadline_s)


async def prove_default(kms: Kms, deadline_s: float) -> None:
    """See that the KMS which wraps what names no key is fit to; the others are proved when they are first used.

    Raises:
        KeysError: it is not.
    """
    if isinstance(kms, RoutingKms):
        default = kms.routes[0]
        await within(deadline_s, default.kms.prove())
        default.is_proved = True  # the realm's own canary stands for its own


async def prove_others(kms: Kms) -> None:
    """Prove the KMSs besides the default. One that is away is proved when it is first used.

    Raises:
        KeysError: one is unfit, or another than it was.
    """
    for route in kms.routes[1:] if isinstance(kms, RoutingKms) else ():
        try:
            await route.proved()
        except KmsUnavailable as error:
            _log.warning("KMS %s is not proved yet: %s", route.kms.provider, error)


def tell_experiments(kms: Kms) -> None:
    """Say at a start which of the KMSs were never tried against the service itself."""
    for provider in providers_of(kms):
        if provider.is_experimental:
            _log.warning("KMS %s: %s", provider.provider, EXPERIMENTAL)


def _open_local(settings: Settings, folders: Folders, *, make: bool) -> LocalKms | None:
    """The local keyring, where there is one or the settings want one."""
    names = KeyNames(settings.region)
    is_wanted = settings.kms == LOCAL_PROVIDER
    if not is_wanted and not LocalKeyring.exists(folders.keys):
        return None
    return LocalKms(open_keyring(settings, folders, make=make and is_wanted), names)


def _check_apart(name: str, provider: "Provider", folders: Folders) -> None:
    """Refuse secrets of a KMS inside the data folder. Raises: KmsMisconfigured."""
    for field in provider.secret_files:
        path: Path | None = getattr(provider, field)
        if path is not None and folders.data in path.resolve().parents:
            raise KmsMisconfigured(f"{field} {path} of the KMS {name} lies inside the data folder: keep it outside")


async def _proved_already(kms: RecordKms) -> None:
    """The local keyring is looked at whole when it is opened."""
    del kms


class ProviderCanaries:
    """A canary for each remote KMS besides the default: public bytes, useless without it."""

    def __init__(self, path: Path, realm_id: bytes, deadline_s: float) -> None:
        self._path = path
        self._realm_id = realm_id
        self._deadline_s = deadline_s

    async def look(self, kms: RecordKms) -> None:
        """As `prove`, but nothing is noted down. Raises: as `prove`."""
        await within(self._deadline_s, kms.prove())
        canary = self._read().get(kms.provider)
        if canary is not None:
            await self._check(kms, canary)

    async def look_again(self, kms: Kms) -> None:
        """Ask each KMS that has a canary here for it; one that does not answer is told by its watch alone.

        Raises:
            CanaryFailed: one is another than it was.
        """
        canaries = self._read()
        for provider in providers_of(kms):
            if provider.provider in canaries:
                with contextlib.suppress(KmsUnavailable, KmsDenied, KmsKeyError):
                    await self._check(provider, canaries[provider.provider])

    async def prove(self, kms: RecordKms) -> None:
        """See that a KMS is fit, and the one that it was; the first time, note down which it is.

        Raises:
            CanaryFailed: it is another. KeysError: it is not fit, or does not answer.
        """
        await self.look(kms)
        if kms.provider not in self._read():
            made = await create_canary(kms, self._realm_id, deadline_s=self._deadline_s)
            self._write(self._read() | {kms.provider: made})

    async def _check(self, kms: RecordKms, canary: WrappedKey) -> None:
        """Ask a KMS for its canary. Raises: as `check_canary`, naming the KMS."""
        try:
            await check_canary(kms, self._realm_id, canary, deadline_s=self._deadline_s)
        except CanaryFailed:
            raise CanaryFailed(
                f"the KMS {kms.provider} answers, but not with the key that it had when it was first used"
            ) from None

    def _read(self) -> dict[str, WrappedKey]:
        """Every canary there is, by provider. Raises: KeyringError."""
        if not self._path.exists():
            return {}
        try:
            fields = json.loads(read_private_file(self._path, _MAX_CANARIES_BYTES))
            return {name: WrappedKey.decode(base64.b64decode(text, validate=True)) for name, text in fields.items()}
        except (ValueError, AttributeError, TypeError, RecursionError, KeysError):
            raise KeyringError(f"{self._path} is not as Sealgate wrote it; restore it from a backup") from None

    def _write(self, canaries: dict[str, WrappedKey]) -> None:
        fields = {name: base64.b64encode(canary.encode()).decode("ascii") for name, canary in canaries.items()}
        write_private_file(self._path, json.dumps(fields, indent=1).encode("ascii") + b"\n", replace=True)
