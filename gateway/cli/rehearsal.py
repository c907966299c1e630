"""What a first start needs from outside, tried before anything is made: one that cannot end well leaves nothing behind.

It only looks. Whatever goes wrong later all the same (a disk that fills up, a KMS that leaves in between) leaves a
start to be finished, as `bootstrap` says.
"""

from gateway.cli.bootstrap import check_tls_key, is_untouched
from gateway.cli.exits import SetupError
from gateway.config import Settings
from gateway.http.ports import check_free
from gateway.http.server import ServerSettings
from gateway.http.tls import check_client_ca, server_context
from gateway.wiring.folders import Folders
from gateway.wiring.kms import check_passphrase, remote_kms
from gateway.wiring.stores import look_at_places
from gateway.wiring.webhooks import open_webhooks
from keys.deadline import within
from keys.kms.routing import LOCAL_PROVIDER


async def rehearse(settings: Settings, folders: Folders, told: ServerSettings) -> None:
    """Try everything, where nothing was made yet; nothing is changed.

    Raises:
        CommandError, KeysError, StorageError, ServeError, TlsError: one line that says what to do.
    """
    if not is_untouched(folders):
        return
    try:
        check_ports(told)
        _check_tls(settings, told)
        open_webhooks(settings)
        _check_folders(settings, folders)
        await _check_kms(settings, folders)
        await look_at_places(folders)
    except Exception:
        # Where another gateway made everything meanwhile, this is no first start, and what it met is that one's.
        if is_untouched(folders):
            raise


def check_ports(told: ServerSettings) -> None:
    """See that every listener can have its address. A worker is given them. Raises: ServeError."""
    if told.inherited is not None:
        return
    for address, setting in told.listeners():
        check_free(address, setting)


def _check_tls(settings: Settings, told: ServerSettings) -> None:
    """The user's own certificate; the private CA is yet to be made. Raises: SetupError, TlsError."""
    check_tls_key(settings)
    for certificate in told.certificates():
        if settings.tls_certificate is not None:
            server_context(certificate)
        elif certificate.client_ca is not None:
            check_client_ca(certificate.client_ca)


def _check_folders(settings: Settings, folders: Folders) -> None:
    """What nobody makes: the folders above blobs that lie elsewhere, and above the anchor. Raises: SetupError."""
    if settings.anchor is not None and not settings.anchor.resolve().parent.is_dir():
        raise SetupError(f"the anchor {settings.anchor} has no folder above it: make that one, or correct --anchor")
    if folders.moved_blobs is not None and not folders.moved_blobs.parent.is_dir():
        raise SetupError(
            f"the blobs folder {folders.moved_blobs} has no folder above it: make that one, or correct --blobs"
        )


async def _check_kms(settings: Settings, folders: Folders) -> None:
    """The passphrase of a keyring that is about to be made; of remote KMSs the default. Raises: KeysError."""
    if settings.kms == LOCAL_PROVIDER:
        check_passphrase(settings)
    if settings.kms_file is None:
        return
    for kms in remote_kms(settings, folders):
        try:
            if kms.provider == settings.kms:
                await within(settings.kms_deadline_s, kms.prove())
        finally:
            await kms.close()
