"""The composition root: from settings to keys, stores, engines and the app, and back again in order.

Nothing else chooses an implementation. Catalogue, blob store and keys must be of one realm before anything is served.
"""

import asyncio
import base64
import hmac
import json
import logging
import signal
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from concurrent.futures import Executor, ThreadPoolExecutor
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import asdict, dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, Final

from starlette.applications import Starlette

from gateway.access.identities import Identities
from gateway.config import CLOCK_SKEW_S, Settings
from gateway.engine.custody import Custody, WrappingMode
from gateway.engine.integrity import EtagMode
from gateway.engine.multipart import MultipartEngine
from gateway.engine.objects import ObjectEngine
from gateway.engine.opening import BlobOpener
from gateway.engine.sealing import BlobWriter
from gateway.engine.sweep import Sweeper
from gateway.http.app import make_app
from gateway.http.endpoint import Endpoint, EndpointSettings
from gateway.http.protocol import EdgeLimits
from gateway.http.server import Endpoint as Address
from gateway.http.server import ServerSettings
from gateway.http.tls import Certificate
from gateway.operations.context import Services
from gateway.operations.cursors import SealedCursors
from gateway.operations.table import OPERATIONS
from gateway.s3.sigv4.presentation import SignatureSettings
from gateway.telemetry import Telemetry
from keys.datakey import WrappedKey
from keys.errors import CanaryFailed, KeyringError, KeysError
from keys.keyring import Keyring
from keys.keyring_file import LocalKeyring
from keys.kms.base import Kms
from keys.kms.local import LocalKms
from keys.realm import RealmKeys, check_canary
from keys.safe_files import read_private_file
from storage.blobs.base import BlobStore
from storage.blobs.disk import DiskBlobStore
from storage.catalogue.base import Catalogue
from storage.catalogue.sqlite import SqliteCatalogue
from storage.errors import RealmMismatch, StorageError

REALM_FILE: Final = "realm.json"
HASHING_THREADS: Final = 2
"""MD5 and SHA-256 release the interpreter lock; more threads than cores gain nothing."""
BUCKET_KEY_AGE_S: Final = 24 * 3600.0
"""A bucket key is replaced by a fresh one daily; old ones go on opening what they wrapped."""
_CACHE_SWEEP_S: Final = 30.0
_LEASE_HOLDER: Final = "owner"
"""The owner lock lets one process in, so a lease that a killed one left is simply taken up again."""
_MAX_REALM_BYTES: Final = 16 * 1024
_MAX_PASSPHRASE_FILE_BYTES: Final = 4096
_REALM_FORMAT: Final = "sealgate-realm"
_REALM_VERSION: Final = 1
_REALM_ID_SIZE: Final = 16

_log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Folders:
    """Where everything of one deployment lies. Both folders are absolute and free of symbolic links."""

    data: Path
    keys: Path

    @classmethod
    def of(cls, settings: Settings) -> "Folders":
        """The folders that the settings name."""
        return cls(settings.data.resolve(), settings.keys.resolve())

    @property
    def realm_file(self) -> Path:
        """Realm id, wrapped root and canary: public, useless without the KMS."""
        return self.data / REALM_FILE

    @property
    def realm_copy(self) -> Path:
        """The same beside the keyring, so that data and keys find each other again."""
        return self.keys / REALM_FILE

    @property
    def catalogue(self) -> Path:
        """The encrypted SQLite file, in a folder of its own with its log and lock."""
        return self.data / "catalogue" / "catalogue.db"

    @property
    def blobs(self) -> Path:
        """The disk blob store."""
        return self.data / "blobs"

    @property
    def tls(self) -> Path:
        """The private CA and the server certificate."""
        return self.keys / "tls"

    @property
    def client_env(self) -> Path:
        """What an AWS tool needs, as `export` lines: holds a secret."""
        return self.keys / "client.env"


@dataclass(frozen=True, slots=True)
class RealmRecord:
    """What `realm.json` holds."""

    realm_id: bytes
    created_at: datetime
    root: WrappedKey
    canary: WrappedKey

    def encode(self) -> bytes:
        """The file's bytes; exactly one text stands for each record."""
        fields = {
            "format": _REALM_FORMAT,
            "version": _REALM_VERSION,
            "realm_id": self.realm_id.hex(),
            "created_at": self.created_at.isoformat(),
            "root": base64.b64encode(self.root.encode()).decode("ascii"),
            "canary": base64.b64encode(self.canary.encode()).decode("ascii"),
        }
        return json.dumps(fields, indent=1).encode("ascii") + b"\n"

    @classmethod
    def read(cls, path: Path) -> "RealmRecord":
        """Read a realm file.

        Raises:
            KeyringError: missing, open to others, or not as Sealgate wrote it; says what to do.
        """
        data = read_private_file(path, _MAX_REALM_BYTES)
        try:
            fields: dict[str, Any] = json.loads(data)
            record = cls(
                bytes.fromhex(fields["realm_id"]),
                datetime.fromisoformat(fields["created_at"]).astimezone(UTC),
                WrappedKey.decode(base64.b64decode(fields["root"], validate=True)),
                WrappedKey.decode(base64.b64decode(fields["canary"], validate=True)),
            )
            exact = record.encode() == data and len(record.realm_id) == _REALM_ID_SIZE
        except (ValueError, KeyError, TypeError, RecursionError, KeysError):
            exact, record = False, None
        if not exact or record is None:
            raise KeyringError(f"{path} is not as Sealgate wrote it; restore it from the copy in the other folder")
        return record


@dataclass(frozen=True, slots=True)
class OpenedKeys:
    """The KMS, proved to be the one that sealed this realm, and the keys of the realm."""

    kms: Kms
    realm: RealmRecord
    realm_keys: RealmKeys


@dataclass(frozen=True, slots=True)
class Stores:
    """Catalogue and blob store of one realm."""

    catalogue: Catalogue
    blobs: BlobStore

    async def close(self) -> None:
        """Close both, the catalogue first, since its last commands may name blobs."""
        try:
            await self.catalogue.close()
        finally:
            await self.blobs.close()


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


async def open_keys(settings: Settings, folders: Folders, *, realm_file: Path | None = None) -> OpenedKeys:
    """Open the keyring and the realm's keys, and prove by the canary that they are the right ones.

    Raises:
        KeysError: keyring, KMS or realm file cannot be used, or do not belong together.
    """
    kms = LocalKms(LocalKeyring.open(folders.keys, read_passphrase(settings)))
    return await open_realm(settings, kms, RealmRecord.read(realm_file or folders.realm_file))


async def open_realm(settings: Settings, kms: Kms, realm: RealmRecord) -> OpenedKeys:
    """The second half of `open_keys`, with any KMS. Raises: KeysError."""
    deadline_s = settings.kms_deadline_s
    await check_canary(kms, realm.realm_id, realm.canary, deadline_s=deadline_s)
    return OpenedKeys(kms, realm, await RealmKeys.open(kms, realm.realm_id, realm.root, deadline_s=deadline_s))


def open_blobs(folders: Folders) -> BlobStore:
    """The blob store that the settings choose; nothing is touched yet."""
    return DiskBlobStore(folders.blobs)


def create_catalogue(folders: Folders, realm_keys: RealmKeys) -> Catalogue:
    """Make the catalogue of a new realm and open it. Raises: StorageError."""
    return SqliteCatalogue.create(*_catalogue_arguments(folders, realm_keys))


def _catalogue_arguments(
    folders: Folders, realm_keys: RealmKeys
) -> tuple[Path, bytes, bytes, bytes, Callable[[], datetime]]:
    return (
        folders.catalogue,
        realm_keys.realm_id,
        realm_keys.catalogue_key.material(),
        realm_keys.row_mac_key.material(),
        utc_now,
    )


async def open_stores(folders: Folders, realm_keys: RealmKeys) -> Stores:
    """Open catalogue and blob store, and see that both are of the keys' realm.

    Raises:
        RealmMismatch: they are not.
        StorageError: one of them cannot be used.
    """
    async with AsyncExitStack() as undo:
        blobs = open_blobs(folders)
        undo.push_async_callback(blobs.close)
        _check_realm(await blobs.realm_id(), realm_keys, f"the blob store {folders.blobs}")
        catalogue = SqliteCatalogue.open(*_catalogue_arguments(folders, realm_keys))
        undo.push_async_callback(catalogue.close)
        _check_realm(await catalogue.realm_id(), realm_keys, f"the catalogue {folders.catalogue}")
        undo.pop_all()
        return Stores(catalogue, blobs)


def _check_realm(realm_id: bytes | None, realm_keys: RealmKeys, what: str) -> None:
    if realm_id != realm_keys.realm_id:
        raise RealmMismatch(f"{what} is not of the realm of these keys: correct --data or --keys")


def utc_now() -> datetime:
    """The wall clock of the whole gateway."""
    return datetime.now(UTC)


class Gateway:
    """Everything of one realm, opened and joined; made by `open_gateway`."""

    def __init__(self, settings: Settings, opened: OpenedKeys, stores: Stores, hashing_pool: Executor) -> None:
        realm_keys, realm_id = opened.realm_keys, opened.realm.realm_id
        self.settings = settings
        self.opened = opened
        self.stores = stores
        self.telemetry = Telemetry(_name_key(realm_keys), with_names=settings.log_names)
        self.telemetry.watch_catalogue(stores.catalogue.statistics)
        self.keyring = Keyring(
            opened.kms, time.monotonic, deadline_s=settings.kms_deadline_s, cache_ttl_s=settings.key_cache_s
        )
        custody = Custody(self.keyring, realm_id, WrappingMode(settings.wrapping), time.monotonic, BUCKET_KEY_AGE_S)
        writer = BlobWriter(
            blobs=stores.blobs,
            realm_id=realm_id,
            description_key=realm_keys.description_key.material(),
            hashing_pool=hashing_pool,
            inline_max_bytes=settings.inline_max_bytes,
        )
        opener = BlobOpener(
            blobs=stores.blobs,
            custody=custody,
            realm_id=realm_id,
            read_ahead_bytes=settings.read_ahead_bytes,
            read_budget_bytes=settings.read_budget_bytes,
        )
        etag_mode = EtagMode(settings.etag)
        objects = ObjectEngine(
            catalogue=stores.catalogue,
            custody=custody,
            writer=writer,
            opener=opener,
            etag_mode=etag_mode,
            clock=utc_now,
        )
        multipart = MultipartEngine(
            catalogue=stores.catalogue,
            custody=custody,
            writer=writer,
            objects=objects,
            etag_mode=etag_mode,
            clock=utc_now,
        )
        self.services = Services(
            catalogue=stores.catalogue,
            objects=objects,
            multipart=multipart,
            cursors=SealedCursors(realm_keys.cursor_key.material()),
            region=settings.region,
            max_buckets_per_account=settings.max_buckets_per_account,
            clock=utc_now,
        )
        self.identities = Identities(stores.catalogue, realm_keys.open_credential)
        self._sweeper = Sweeper(
            catalogue=stores.catalogue,
            blobs=stores.blobs,
            holder=_LEASE_HOLDER,
            clock=utc_now,
            orphan_grace=timedelta(seconds=settings.orphan_grace_s),
            condemned_grace=timedelta(seconds=settings.condemned_grace_s),
            completed_upload_memory=timedelta(seconds=settings.completed_upload_memory_s),
        )
        self._sweeping = asyncio.Lock()
        self._is_kms_right = True
        self.is_wrong_kms = False
        """The KMS gave a wrong answer to the canary: nothing more may be sealed."""
        self.app = make_app(
            Endpoint(OPERATIONS, self.services, self.identities, self.telemetry, _endpoint_settings(settings), utc_now),
            self.telemetry,
            lifespan=self._lifespan,
            max_requests=settings.max_requests,
        )

    async def sweep(self, *, dry_run: bool = False, accept_many_orphans: bool = False) -> dict[str, int]:
        """Sweep once; one at a time. Raises: StorageError."""
        async with self._sweeping:
            report = await self._sweeper.sweep(dry_run=dry_run, many_orphans_are_right=accept_many_orphans)
        return asdict(report)

    async def verify(self) -> dict[str, int]:
        """Verify the whole catalogue. Raises: RowDamaged, naming the first row that fails."""
        return {"verified_row_count": await self.stores.catalogue.verify()}

    async def is_ready(self) -> bool:
        """Whether requests can be served now: keys proved, catalogue answering."""
        if not self._is_kms_right:
            return False
        try:
            await self.stores.catalogue.realm_id()
        except StorageError:
            return False
        return True

    @asynccontextmanager
    async def _lifespan(self, _: Starlette) -> AsyncIterator[None]:
        """Run the background jobs while the application stands."""
        jobs = (
            self._every(self.settings.sweep_interval_s, self._sweep_quietly),
            self._every(_CACHE_SWEEP_S, self._forget_keys),
            self._every(self.settings.canary_interval_s, self._ask_canary),
        )
        tasks = [asyncio.create_task(job) for job in jobs]
        try:
            yield
        finally:
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)

    @staticmethod
    async def _every(interval_s: float, job: Callable[[], Awaitable[None]]) -> None:
        while True:
            await asyncio.sleep(interval_s)
            try:
                await job()
            except Exception:  # noqa: BLE001 - as the next line says
                # A job that fails today runs again tomorrow; what it met is in the log, without values.
                _log.exception("a background job failed")

    async def _sweep_quietly(self) -> None:
        try:
            report = await self.sweep()
        except (StorageError, KeysError) as error:
            _log.warning("the sweep did not end: %s", error)
        else:
            _log.info("swept: %s", " ".join(f"{name}={count}" for name, count in report.items()))

    async def _forget_keys(self) -> None:
        self.keyring.forget_expired()

    async def _ask_canary(self) -> None:
        realm = self.opened.realm
        try:
            await check_canary(self.opened.kms, realm.realm_id, realm.canary, deadline_s=self.settings.kms_deadline_s)
        except CanaryFailed:
            self._is_kms_right, self.is_wrong_kms = False, True
            self.telemetry.alarm("canary")
            # The server drains as it does for an operator; the command then ends with the code for wrong keys.
            signal.raise_signal(signal.SIGTERM)
        except KeysError as error:
            # Degrade: what is cached goes on, and the operator is told.
            self._is_kms_right = False
            self.telemetry.kms_failed(type(error).__name__)
            _log.warning("the KMS did not answer the canary: %s", error)
        else:
            self._is_kms_right = True


def _endpoint_settings(settings: Settings) -> EndpointSettings:
    return EndpointSettings(
        region=settings.region,
        domains=settings.domains,
        max_document_bytes=settings.max_document_bytes,
        signatures=SignatureSettings(max_skew_s=CLOCK_SKEW_S, presigned_v2=settings.presigned_v2),
    )


def _name_key(realm_keys: RealmKeys) -> bytes:
    """Keys the ids that stand for object names in logs: stable for a realm, so that lines of two days can be joined."""
    return hmac.digest(realm_keys.cursor_key.material(), b"sealgate/log-names/v1", "sha256")


@asynccontextmanager
async def open_gateway(settings: Settings, folders: Folders) -> AsyncIterator[Gateway]:
    """Open everything, in order, and close it in the reverse.

    Raises:
        KeysError, StorageError: one line that says what cannot be used.
    """
    opened = await open_keys(settings, folders)
    stores = await open_stores(folders, opened.realm_keys)
    try:
        with ThreadPoolExecutor(HASHING_THREADS, thread_name_prefix="hashing") as hashing_pool:
            yield Gateway(settings, opened, stores, hashing_pool)
    finally:
        await stores.close()


def server_settings(settings: Settings, folders: Folders) -> ServerSettings:
    """What the listeners are told."""
    own = settings.tls_certificate, settings.tls_key
    certfile, keyfile = own if own[0] is not None else (folders.tls / "server.pem", folders.tls / "server-key.pem")
    assert certfile is not None, "the settings take both or neither"
    assert keyfile is not None, "the settings take both or neither"
    admin_host = "127.0.0.1" if settings.admin_host == "localhost" else settings.admin_host
    return ServerSettings(
        https=Address(settings.host, settings.port),
        admin=Address(admin_host, settings.admin_port),
        certificate=Certificate(certfile, keyfile),
        plain=Address(settings.http_host, settings.http_port) if settings.http_port else None,
        limits=EdgeLimits(
            max_head_bytes=settings.max_header_bytes,
            head_timeout_s=settings.header_timeout_s,
            body_timeout_s=settings.body_timeout_s,
            idle_timeout_s=settings.idle_timeout_s,
            max_connections=settings.max_connections,
            drain_timeout_s=settings.drain_timeout_s,
        ),
    )
