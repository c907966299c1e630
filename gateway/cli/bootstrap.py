"""The first start: everything is made once, in an order that a crash leaves completable; later starts check.

A marker file in the data folder stands from before the first step until after the last. While it stands nothing was
ever served, so an unfinished start is simply finished; once it is gone, whatever is missing is an error and is never
made again, because making a keyring or a catalogue anew would bury the data of the old one.
"""

import asyncio
import fcntl
import os
import secrets
import shutil
import stat
import time
from collections.abc import AsyncIterator
from contextlib import ExitStack, asynccontextmanager, suppress
from datetime import UTC, datetime
from pathlib import Path
from typing import Final

from gateway.cli.client_env import ClientEnv
from gateway.cli.directory import Directory
from gateway.cli.exits import CommandError, Exit, SetupError
from gateway.cli.pki import TlsFiles, is_renewal_due, make_certificates, renew_certificate, server_names, utc_now
from gateway.config import Settings
from gateway.http.tls import server_context
from gateway.wiring.folders import REALM_FILE, Folders
from gateway.wiring.kms import open_kms, prove_default
from gateway.wiring.listeners import server_settings
from gateway.wiring.realm import RealmRecord, open_realm
from gateway.wiring.stores import create_catalogue, open_blobs, open_stores
from keys.context import NIL_ID
from keys.keyring_file import KEYRING_FILE
from keys.kms.base import Kms
from keys.kms.routing import LOCAL_PROVIDER
from keys.realm import RealmKeys, create_canary
from keys.safe_files import write_private_file
from storage.seams import reach
from storage.syncing import sync_folder

FIRST_ACCOUNT: Final = "main"
EARLIEST: Final = datetime(2025, 1, 1, tzinfo=UTC)
"""No right clock shows an earlier time: certificates, version order and signatures rest on it."""
MARKER: Final = "first-start-unfinished"
_REALM_ID_SIZE: Final = 16
_KEYS_FOLDER_S: Final = 60
_LOOK_S: Final = 0.1
_OTHERS: Final = stat.S_IRWXG | stat.S_IRWXO
_IGNORED: Final = frozenset({"lost+found", f".{MARKER}.new"})
"""What may lie in an empty folder: a file system's own, and the trace of a crash before the first step."""


def check_apart(settings: Settings, folders: Folders) -> None:
    """Refuse keys inside data and data inside keys, also by symbolic links and bind mounts; nor any other secret.

    Raises:
        SetupError: they are not apart.
    """
    for inner, outer, inner_name, outer_name in (
        (folders.keys, folders.data, "keys", "data"),
        (folders.data, folders.keys, "data", "keys"),
        (folders.keys, folders.blobs, "keys", "blobs"),
        (folders.blobs, folders.keys, "blobs", "keys"),
    ):
        if any(_same_place(place, outer) for place in (inner, *inner.parents)):
            raise SetupError(
                f"the {inner_name} folder {inner} lies inside the {outer_name} folder {outer}:"
                " whoever takes the data would take the keys; give --keys a folder outside"
            )
    for name in ("passphrase_file", "tls_key", "anchor"):
        file: Path | None = getattr(settings, name)
        if file is not None and any(_same_place(place, folders.data) for place in file.resolve().parents):
            raise SetupError(
                f"{name} {file} lies inside the data folder {folders.data}: keep secrets and anchors outside it"
            )


def _same_place(one: Path, other: Path) -> bool:
    if one == other:
        return True
    try:
        return one.samefile(other)
    except OSError:
        return False  # one of them is not there yet, so they are not the same


@asynccontextmanager
async def owned(folders: Folders, *, may_share: bool = False, holds_keys: bool = False) -> AsyncIterator[None]:
    """Hold the data folder: one process at a time bootstraps, serves or changes it.

    Where the catalogue is no file, those who leave the folder's own files alone may hold it together (`may_share`).
    Where every gateway has a data folder of its own, the keys folder is what all of them hold; the caller may hold it
    already (`holds_keys`).

    Raises:
        CommandError: another process holds it.
        SetupError: there is no such folder.
    """
    with ExitStack() as stack:
        try:
            data = _opened(folders.data, stack)
        except OSError as error:
            raise SetupError(
                f"the data folder {folders.data} cannot be opened ({error.strerror}): correct --data"
            ) from None
        kind = fcntl.LOCK_SH if may_share and folders.are_shared else fcntl.LOCK_EX
        if not _locked(data, kind):
            raise CommandError(
                f"another sealgate process works on {folders.data}: stop it first, or give another --data", Exit.BUSY
            )
        # Where it is lost nobody works with it, and `recovery open` is about to make another.
        if folders.are_stores_elsewhere and not holds_keys and folders.keys.is_dir():
            keys = _opened(folders.keys, stack)
            if not (await _locked_in_time(keys, kind) if may_share else _locked(keys, kind)):
                raise CommandError(
                    f"another sealgate process works with {folders.keys}: stop every gateway that does, and try again",
                    Exit.BUSY,
                )
        yield


@asynccontextmanager
async def judged_alone(folders: Folders) -> AsyncIterator[None]:
    """Hold the keys folder while a start looks at what is there, and makes what is not.

    Where others serve with data folders of their own, everything was made, and holding it with them is enough.

    Raises:
        CommandError: another one makes everything, and takes longer than a minute.
    """
    kinds = (fcntl.LOCK_EX, fcntl.LOCK_SH) if folders.are_stores_elsewhere else (fcntl.LOCK_EX,)
    with ExitStack() as stack:
        if not await _locked_in_time(_opened(folders.keys, stack), *kinds):
            raise CommandError(
                f"another process has been working with {folders.keys} for {_KEYS_FOLDER_S} s: a gateway in its first"
                " start (see its log), or a command that needs all of them stopped; then start this one again",
                Exit.BUSY,
            )
        yield


def _opened(folder: Path, stack: ExitStack) -> int:
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    stack.callback(os.close, descriptor)
    return descriptor


def _locked(descriptor: int, *kinds: int) -> bool:
    """Whether one of these locks could be had, the first that can."""
    for kind in kinds:
        with suppress(BlockingIOError):
            fcntl.flock(descriptor, kind | fcntl.LOCK_NB)
            return True
    return False


async def _locked_in_time(descriptor: int, *kinds: int) -> bool:
    """Whether it could within a minute; whoever keeps all others out for longer is no start."""
    deadline = time.monotonic() + _KEYS_FOLDER_S
    # Nobody tells of the end of a lock but to a thread that waits for it in flock.
    while not (held := _locked(descriptor, *kinds)) and time.monotonic() < deadline:  # noqa: ASYNC110
        await asyncio.sleep(_LOOK_S)
    return held


def make_folders(folders: Folders) -> None:
    """Make both folders, or take over empty ones, and see that they are ours and closed to others.

    Raises:
        SetupError: one cannot be made or is not private.
    """
    for name, folder in (("data", folders.data), ("keys", folders.keys)):
        try:
            _check_neither_lost(folders)  # before it is made: who restores it from a backup finds its place free
            _make_durably(folder)
            status = folder.stat()
            if status.st_uid == os.geteuid() and status.st_mode & _OTHERS and not _entries(folder):
                folder.chmod(0o700)
                status = folder.stat()
        except OSError as error:
            raise SetupError(
                f"the {name} folder {folder} cannot be used ({error.strerror}): give one that this user may write"
            ) from None
        if status.st_uid != os.geteuid():
            raise SetupError(f"the {name} folder {folder} belongs to user {status.st_uid}: run as that user")
        if status.st_mode & _OTHERS:
            raise SetupError(f"the {name} folder {folder} is open to other users: run chmod 0700 {folder}")


def _make_durably(folder: Path) -> None:
    """Make a folder with what is missing above it, so that a power loss takes none of them away again."""
    missing = [place for place in (folder, *folder.parents) if not place.exists()]
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    for place in missing:
        sync_folder(place.parent)


_NO_CATALOGUE: Final = (
    "where `sealgate migrate` moved it, give catalogue = postgres;"
    " else `sealgate recover` makes it anew from the journal beside the blobs"
)
_NO_BLOBS: Final = (
    "after `sealgate migrate` give the new place in the settings, and where it was cut off the same command again;"
    " else restore the blobs folder, since the catalogue refers to what was in it"
)


def is_untouched(folders: Folders) -> bool:
    """Whether no start has made anything in the folders yet, which need not be there. Raises: SetupError."""
    try:
        return not _entries(folders.data) and not _entries(folders.keys)
    except OSError as error:
        raise SetupError(
            f"the folder {error.filename} cannot be used ({error.strerror}): give one that this user may write"
        ) from None


def is_first_start(folders: Folders) -> bool:
    """Whether this start has to make everything, or to finish what an earlier one began.

    Raises:
        SetupError: something is missing, and making it anew would bury what is there.
    """
    data, keys = _entries(folders.data), _entries(folders.keys)
    if MARKER in data:
        return True
    if not data and not keys:
        return True
    _check_neither_lost(folders)
    if folders.are_stores_elsewhere and not data:
        if not folders.realm_copy.exists():
            raise SetupError(
                f"the keys folder {folders.keys} is in use but holds no {REALM_FILE}: the first start of the gateway"
                " that made it did not end; start that one again with its data folder, or all with empty folders"
            )
        return False
    if REALM_FILE not in data and not folders.catalogue.exists() and not folders.blobs.exists():
        raise SetupError(f"the data folder {folders.data} holds other files: give --data an empty folder")
    keyring = folders.keys / KEYRING_FILE
    for path, remedy in (
        *(((keyring, "restore it from the backup of the keys folder"),) if _needs_keyring(folders) else ()),
        (folders.realm_file, f"copy {folders.realm_copy} there"),
        (folders.realm_copy, f"copy {folders.realm_file} there if these are the keys of this data"),
        (folders.catalogue, _NO_CATALOGUE),
        (folders.blobs / "realm", _NO_BLOBS),
    ):
        is_elsewhere = (path == folders.catalogue and folders.database is not None) or (
            path.parent == folders.blobs and folders.bucket is not None
        )
        if not path.exists() and not is_elsewhere:
            raise SetupError(f"{path} is missing: {remedy}")
    if not RealmRecord.read(folders.realm_file).is_same_realm(RealmRecord.read(folders.realm_copy)):
        raise SetupError(
            f"the keys in {folders.keys} are of another realm than the data in {folders.data}: correct --data or --keys"
        )
    return False


def _needs_keyring(folders: Folders) -> bool:
    """Whether the local keyring sealed this realm. Raises: KeyringError."""
    found = next((path for path in (folders.realm_file, folders.realm_copy) if path.exists()), None)
    return found is None or RealmRecord.read(found).root.provider == LOCAL_PROVIDER


def _check_neither_lost(folders: Folders) -> None:
    """Refuse one folder without the other. Raises: SetupError."""
    data, keys = _entries(folders.data), _entries(folders.keys)
    if keys and not data and not folders.are_stores_elsewhere:
        raise SetupError(
            f"the keys folder {folders.keys} is in use, but the data folder {folders.data} is empty or missing:"
            " give --data the folder that these keys belong to, or begin anew with other --keys"
        )
    if folders.realm_file.exists() and MARKER not in data and not keys:
        raise SetupError(
            f"the keys folder {folders.keys} is empty or missing, but {folders.data} was sealed by a keyring:"
            " give --keys the folder of that keyring, or restore it from its backup"
        )


def _entries(folder: Path) -> set[str]:
    try:
        return {entry.name for entry in folder.iterdir()} - _IGNORED
    except FileNotFoundError:
        return set()


def follow_realm(folders: Folders) -> None:
    """Take the realm from the keys folder where each gateway has a data folder of its own.

    All of them share the keys folder, and any of them may have moved the wraps there. Where the data folder holds
    catalogue or blobs its own file is the first to be written, and stays.

    Raises:
        KeyringError: a realm file cannot be read or written.
    """
    if not folders.are_stores_elsewhere:
        return
    kept = RealmRecord.read(folders.realm_copy).encode()
    if not folders.realm_file.exists() or RealmRecord.read(folders.realm_file).encode() != kept:
        write_private_file(folders.realm_file, kept, replace=True)


async def first_start(settings: Settings, folders: Folders) -> None:
    """Make keyring, realm, TLS files, catalogue, store and first account; finish what an earlier start began.

    Raises:
        CommandError, KeysError, StorageError: a step failed; the next start goes on from there.
    """
    _check_begun_together(folders)
    now = utc_now()
    marker = folders.data / MARKER
    if not marker.exists():
        write_private_file(marker, b"This folder was never served. Start sealgate again to finish it.\n", replace=False)
    reach("first-start.marked")
    kms = open_kms(settings, folders, NIL_ID, make_keyring=True)
    try:
        reach("first-start.keyring")
        await prove_default(kms, settings.kms_deadline_s)
        realm = await _make_realm(settings, kms, folders, now)
        realm_keys = (await open_realm(settings, folders, kms, realm)).realm_keys
    finally:
        await kms.close()
    reach("first-start.realm")
    if settings.tls_certificate is None:
        make_certificates(TlsFiles(folders.tls), server_names(settings), now)
    reach("first-start.tls")
    await _make_stores(settings, folders, realm_keys, now)
    reach("first-start.stores")
    marker.unlink()
    sync_folder(folders.data)


def _check_begun_together(folders: Folders) -> None:
    """Refuse to finish a start with the keys of another deployment, which would lose its client.env.

    The realm reaches the data folder before anything else is made beside the keyring.

    Raises:
        SetupError: the keys are another's.
    """
    if not folders.realm_copy.exists():
        return
    if folders.realm_file.exists():
        are_another_s = not RealmRecord.read(folders.realm_file).is_same_realm(RealmRecord.read(folders.realm_copy))
    else:
        are_another_s = folders.tls.exists() or folders.client_env.exists()
    if are_another_s:
        raise SetupError(
            f"the keys in {folders.keys} belong to another data folder than {folders.data}, which was never served:"
            " give --keys the folder that its start began with"
        )


async def _make_realm(settings: Settings, kms: Kms, folders: Folders, now: datetime) -> RealmRecord:
    """The realm, first beside the keyring, then in the data folder; the copy there is what later starts read."""
    if not folders.realm_copy.exists():
        if folders.realm_file.exists():
            raise SetupError(
                f"{folders.data} was begun with another keys folder than {folders.keys}:"
                " give that one, or remove both folders, which never held data, and start again"
            )
        realm_id = secrets.token_bytes(_REALM_ID_SIZE)
        deadline_s = settings.kms_deadline_s
        _, root = await RealmKeys.create(kms, realm_id, deadline_s=deadline_s)
        realm = RealmRecord(realm_id, now, root, await create_canary(kms, realm_id, deadline_s=deadline_s))
        write_private_file(folders.realm_copy, realm.encode(), replace=False)
        reach("first-start.realm-copy")
    realm = RealmRecord.read(folders.realm_copy)
    write_private_file(folders.realm_file, realm.encode(), replace=True)
    return realm


async def _make_stores(settings: Settings, folders: Folders, realm_keys: RealmKeys, now: datetime) -> None:
    blobs = open_blobs(folders)
    try:
        if folders.bucket is None:
            try:
                folders.blobs.mkdir(mode=0o700, exist_ok=True)
            except OSError as error:
                raise SetupError(
                    f"the blobs folder {folders.blobs} cannot be made ({error.strerror}): give --blobs a place that"
                    " this user may write, or leave it out"
                ) from None
        await blobs.claim(realm_keys.realm_id)
    finally:
        await blobs.close()
    # An unfinished catalogue holds nothing but the account that is made here, and whose secret may be lost.
    if folders.database is None:
        await _check_never_served(folders, realm_keys)
        shutil.rmtree(folders.catalogue.parent, ignore_errors=True)
        folders.catalogue.parent.mkdir(mode=0o700)
    catalogue = await create_catalogue(folders, realm_keys)
    try:
        reach("first-start.catalogue")
        made = await Directory(catalogue, realm_keys, lambda: now).create_first_account(FIRST_ACCOUNT)
        ClientEnv.of(settings, folders, str(made["access_key_id"]), str(made["secret_access_key"])).write(folders)
    finally:
        await catalogue.close()


async def _check_never_served(folders: Folders, realm_keys: RealmKeys) -> None:
    """See that a catalogue which is about to be made anew was never used: a marker may come back with a backup.

    Raises:
        SetupError: it holds buckets. StorageError: it cannot be looked at.
    """
    if not folders.catalogue.exists():
        return
    stores = await open_stores(folders, realm_keys)
    try:
        for account in await stores.catalogue.list_accounts():
            if await stores.catalogue.list_buckets(account.account_id, limit=1):
                raise SetupError(
                    f"{folders.data / MARKER} says that nothing was ever served, but the catalogue holds buckets:"
                    " remove that file, and start again"
                )
    finally:
        await stores.close()


def check_certificate(settings: Settings, folders: Folders) -> None:
    """See that there is a certificate to serve or to renew; nothing is changed.

    Raises:
        SetupError, TlsError, KeysError: a TLS file cannot be used.
    """
    if settings.tls_certificate is None:
        if not folders.tls.is_dir():
            raise SetupError(
                f"{folders.tls} is missing: restore it from the backup of the keys folder,"
                " or give --tls-certificate and --tls-key"
            )
        is_renewal_due(TlsFiles(folders.tls), server_names(settings), utc_now())
    check_tls_key(settings)
    for certificate in server_settings(settings, folders).certificates():
        server_context(certificate)


def refresh_certificate(settings: Settings, folders: Folders) -> None:
    """Renew a certificate that ends or lacks a name, unless it is the user's own. Raises: SetupError, KeysError."""
    if settings.tls_certificate is None:
        renew_certificate(TlsFiles(folders.tls), server_names(settings), utc_now())


def check_tls_key(settings: Settings) -> None:
    """Refuse a private key of the user's own that everybody can read. Raises: SetupError."""
    key = settings.tls_key
    if key is not None and key.exists() and key.stat().st_mode & stat.S_IRWXO:
        raise SetupError(f"tls_key {key} is open to every user: run chmod o= {key}")


def check_year() -> None:
    """Refuse a clock that cannot be right. Raises: SetupError."""
    if utc_now() < EARLIEST:
        raise SetupError(f"the clock says {utc_now():%Y-%m-%d}, which is before this release: set it, then start again")


async def prepare(settings: Settings, folders: Folders) -> bool:
    """Bring the folders to where `wiring` can open them; the caller holds `owned`. Tell whether it was the first.

    Raises:
        CommandError, KeysError, StorageError: one line that says what to do.
    """
    if is_first_start(folders):
        await first_start(settings, folders)
        return True
    follow_realm(folders)
    return False
