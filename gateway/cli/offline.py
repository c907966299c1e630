"""`sealgate inspect` and `sealgate unseal`: open blobs with the keyring alone, without a server.

What a blob says of itself is believed only once its description has authenticated (docs/FORMAT.md section 8.3), and a
file appears under its name only when every byte of it has. Object keys become file names that cannot leave the folder.
"""

import asyncio
import contextlib
import json
import os
import re
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Any, Final

import typer

from gateway.cli.bootstrap import is_first_start, owned
from gateway.cli.control import Answer
from gateway.cli.exits import CommandError, Exit, SetupError
from gateway.cli.options import AsJson, Config, Data, Keys, settings_of
from gateway.cli.output import print_answer, progress
from gateway.cli.unsealing import FileReader, Unsealer
from gateway.config import Settings
from gateway.engine.custody import Envelope, Unlock, take_sized
from gateway.engine.protection import Protection
from gateway.moving.exporting import key_for
from gateway.moving.names import file_name, hash_path_of, partial_name, path_of
from gateway.wiring.customer_key import read_customer_key
from gateway.wiring.folders import Folders
from gateway.wiring.gateway import Gateway, open_gateway
from gateway.wiring.realm import OpenedKeys, open_keys
from gateway.wiring.stores import open_blobs
from keys.datakey import DataKey, WrappedKey
from keys.errors import CustomerKeyMismatch, KeysError, KmsKeyError, UnwrapFailed
from storage.blobs.base import BlobReader, BlobStore
from storage.catalogue.commands import ListQuery
from storage.errors import BlobMissing, StorageError
from storage.sealed.header import BlobKind, parse_untrusted
from storage.sealed.layout import HEADER_SIZE, TRAILER_SIZE
from storage.sealed.recovery import RecoveredBlob
from storage.sealed.stream import parse_untrusted_trailer
from storage.syncing import sync_folder

INDEX_NAME: Final = "INDEX.jsonl"
"""One JSON line for each object: what it is called and where its bytes went. No bucket can have this name."""
_WITHOUT_CATALOGUE: Final = (
    "sealgate: without a catalogue small objects are missing, and deleted ones whose blobs still rest here come back"
)
_BLOB_ID = re.compile(r"[0-9a-f]{32}", re.ASCII)

_WRAPPED_BY_A_KMS: Final = (BlobKind.OBJECT, BlobKind.MANIFEST, BlobKind.LINK)

Source = Annotated[str, typer.Argument(metavar="FILE|BLOB_ID", help="A sealed file, or the id of a blob in the store.")]


def register(app: typer.Typer) -> None:
    """Add the family."""
    app.command("inspect")(inspect_blob)
    app.command("unseal")(unseal)


def inspect_blob(
    source: Source, *, data: Data = None, keys: Keys = None, config: Config = None, as_json: AsJson = False
) -> None:
    """Show what a sealed blob is. Names need the keyring; without it only what the bytes claim is shown."""
    settings = settings_of(data, keys, config)
    print_answer(asyncio.run(_inspect(settings, source)), as_json=as_json)


def unseal(
    source: Annotated[
        str | None,
        typer.Argument(metavar="[FILE|BLOB_ID]", help="One blob; left out, the whole store is opened."),
    ] = None,
    *,
    output: Annotated[
        Path, typer.Option("--output", "-o", metavar="PATH", help="New file; for a whole store a new folder.")
    ],
    customer_key_file: Annotated[
        Path | None,
        typer.Option(metavar="FILE", help="Key of a client (SSE-C): 32 bytes, or their Base64.", show_default=False),
    ] = None,
    data: Data = None,
    keys: Keys = None,
    config: Config = None,
    as_json: AsJson = False,
) -> None:
    """Open one blob to a file, or a whole store to a folder, with the keyring and without a server.

    For a whole store stop the gateway first, or work on a copy of both folders.
    """
    settings = settings_of(data, keys, config)
    if output.exists() or output.is_symlink():
        raise CommandError(f"{output} exists: give --output a name that is free", Exit.USAGE)
    customer_key = None if customer_key_file is None else read_customer_key(customer_key_file)
    if source is None:
        answer = asyncio.run(_unseal_store(settings, output, customer_key))
    else:
        answer = asyncio.run(_unseal_one(settings, source, output, customer_key))
    print_answer(answer, as_json=as_json)
    if answer.get("failed"):
        raise CommandError(
            f"{answer['failed']} objects could not be opened; {output / INDEX_NAME} names them and says why",
            Exit.KEYS if answer["failed"] == answer["closed"] else Exit.DAMAGED,
        )


@contextlib.asynccontextmanager
async def _reading(folders: Folders, source: str) -> AsyncIterator[tuple[BlobReader, BlobStore | None]]:
    """The blob that is meant, and the store that it may name further blobs of."""
    async with contextlib.AsyncExitStack() as stack:
        blobs = open_blobs(folders) if folders.has_blobs else None
        if blobs is not None:
            stack.push_async_callback(blobs.close)
        if blobs is not None and _is_blob_id(source):
            yield await stack.enter_async_context(_opened(blobs, bytes.fromhex(source))), blobs
        else:
            yield FileReader.of(Path(source)), blobs


def _is_blob_id(source: str) -> bool:
    return _BLOB_ID.fullmatch(source) is not None and not Path(source).exists()


async def _inspect(settings: Settings, source: str) -> Answer:
    folders = Folders.of(settings)
    async with _reading(folders, source) as (reader, blobs):
        return await _shown(settings, folders, reader, blobs)


async def _shown(settings: Settings, folders: Folders, reader: BlobReader, blobs: BlobStore | None) -> Answer:
    if reader.sealed_size < HEADER_SIZE + TRAILER_SIZE:
        raise CommandError("that is too short for a sealed blob", Exit.DAMAGED)
    header = parse_untrusted(await reader.read(0, HEADER_SIZE))
    plaintext_size, footer_size = parse_untrusted_trailer(
        await reader.read(reader.sealed_size - TRAILER_SIZE, TRAILER_SIZE)
    )
    shown: Answer = {
        "kind": header.kind.name.lower(),
        "blob_id": header.blob_id.hex(),
        "realm_id": header.realm_id.hex(),
        "sealed_size": reader.sealed_size,
        "plaintext_size": plaintext_size,
        "slot_size": header.slot_size,
        "description_size": footer_size,
    }
    if not folders.realm_copy.exists():
        return shown | {"authenticated": False, "description": "sealed: give --keys to open it"}
    unsealer = Unsealer(await _offline_keys(settings, folders), blobs)
    recovered = await unsealer.recover(reader)
    return shown | {
        "authenticated": True,
        **await _wrapped_by(unsealer, recovered),
        **_described(recovered),
    }


async def _wrapped_by(unsealer: Unsealer, recovered: RecoveredBlob) -> Answer:
    """Whose key opens a blob: the one that its slot names, or the one that it was moved to since."""
    slot, about = recovered.wrapped_key, recovered.description
    envelope, where = slot, "slot"
    if recovered.header.kind in _WRAPPED_BY_A_KMS and Envelope.decode(slot).kms_wrapped is not None:
        is_object = recovered.header.kind is BlobKind.OBJECT
        wrap_id = about.content_id if is_object else recovered.header.blob_id
        unlock = Unlock(Protection.decode(about.encryption).context if is_object else "")
        try:
            envelope, _ = await unsealer.wraps.opened(about.bucket_id, wrap_id, slot, unlock)
            where = "slot" if envelope == slot else "envelopes"
        except (KmsKeyError, UnwrapFailed):
            where = "nothing that opens"
    shown: Answer = {"wrapped_by": _named(take_sized(envelope)[0]), "wrapped_in": where}
    if recovered.header.kind in _WRAPPED_BY_A_KMS and (by_kms := Envelope.decode(envelope).kms_wrapped) is not None:
        shown["kms_key"] = _named(by_kms)
    return shown


def _named(wrapped: WrappedKey) -> str:
    return f"{wrapped.provider} {wrapped.kms_key_id} {wrapped.kms_key_version}".strip()


def _described(recovered: RecoveredBlob) -> Answer:
    description = recovered.description
    return {
        "bucket": description.bucket_name,
        "object_key": description.object_key.decode("utf-8", "backslashreplace"),
        "version_id": description.version_id,
        "part_number": description.part_number,
        "object_size": description.plaintext_size,
        "etag": description.etag,
        "created_at": description.created_at.isoformat(),
        "encryption": {name: value for name, value in description.encryption.items() if name != "verifier"},
        "headers": dict(description.headers),
        "user_metadata": dict(description.user_metadata),
        "tags": dict(description.tags),
        "checksums": dict(description.checksums),
        "bucket_id": description.bucket_id.hex(),
        "content_id": description.content_id.hex(),
    }


async def _unseal_one(settings: Settings, source: str, output: Path, customer_key: DataKey | None) -> Answer:
    folders = Folders.of(settings)
    async with _reading(folders, source) as (reader, blobs):
        unsealer = Unsealer(await _offline_keys(settings, folders), blobs, customer_key)
        recovered = await unsealer.recover(reader)
        size = await _write(output, unsealer.open(recovered, reader))
    return {"written": str(output), "size": size, **_described(recovered)}


async def _offline_keys(settings: Settings, folders: Folders) -> OpenedKeys:
    return await open_keys(settings, folders, realm_file=folders.realm_copy)


@dataclass(slots=True)
class _Unsealed:
    """What became of a store."""

    folder: Path
    written: int = 0
    failed: int = 0
    closed: int = 0
    """Those of them that only the key of their client opens."""
    size: int = 0
    lines: list[Answer] = field(default_factory=list)

    @classmethod
    def into(cls, folder: Path) -> "_Unsealed":
        """Make the folder."""
        folder.mkdir(mode=0o700)
        return cls(folder)

    async def take(self, bucket: str, object_key: bytes, about: Answer, pieces: AsyncIterator[Any]) -> None:
        """Write one object; a failure is noted and does not stop the others."""
        line = {"bucket": bucket, "object_key": object_key.decode("utf-8", "backslashreplace"), **about}
        try:
            path = self._place(bucket, object_key)
            self.size += await _write(path, pieces)
            self.written += 1
            line["path"] = str(path.relative_to(self.folder))
        except (StorageError, KeysError) as error:
            self.fail(line, error)
        except OSError as error:
            raise CommandError(
                f"{self.folder} cannot be written ({error.strerror}): make room there, or give another --output",
                Exit.STORAGE,
            ) from error
        else:
            self.lines.append(line)

    def fail(self, line: Answer, error: Exception) -> None:
        """Note what could not be opened."""
        self.failed += 1
        self.closed += isinstance(error, CustomerKeyMismatch)
        self.lines.append(line | {"error": f"{type(error).__name__}: {error}"})

    def _place(self, bucket: str, object_key: bytes) -> Path:
        path = self.folder.joinpath(file_name(bucket.encode()), *path_of(object_key))
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            if not path.exists() and len(os.fsencode(path)) < 4000:
                return path
        except OSError:
            pass  # "a" is an object and "a/b" is one, too; or the path is too long
        path = self.folder.joinpath(file_name(bucket.encode()), *hash_path_of(object_key))
        path.parent.mkdir(parents=True, exist_ok=True)
        return path

    def finish(self) -> Answer:
        """Write the index, make all names durable, and sum up: who reads the sum may give up the store."""
        with (self.folder / INDEX_NAME).open("w", encoding="utf-8") as index:
            index.writelines(json.dumps(line) + "\n" for line in self.lines)
            index.flush()
            os.fsync(index.fileno())
        for folder, _, _ in os.walk(self.folder):
            sync_folder(Path(folder))
        sync_folder(self.folder.absolute().parent)
        return {
            "written": self.written,
            "failed": self.failed,
            "closed": self.closed,
            "size": self.size,
            "folder": str(self.folder),
        }


async def _write(path: Path, pieces: AsyncIterator[Any]) -> int:
    """Write a new file of mode 0600, whole or not at all; its size."""
    partial = path.with_name(partial_name(path.name))
    size = 0
    descriptor = os.open(partial, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600)
    try:
        with os.fdopen(descriptor, "wb") as file:
            async for piece in pieces:
                size += file.write(piece)
            file.flush()
            os.fsync(file.fileno())
        os.link(partial, path)
    except FileExistsError:
        raise CommandError(f"{path} exists: give --output a name that is free", Exit.USAGE) from None
    finally:
        partial.unlink(missing_ok=True)
    return size


async def _unseal_store(settings: Settings, output: Path, customer_key: DataKey | None) -> Answer:
    folders = Folders.of(settings)
    if not folders.has_blobs and not folders.has_catalogue:
        raise SetupError(f"{folders.data} holds no store: correct --data")
    # The folder is made once everything is open, so that a refusal leaves nothing in the way of the next try.
    async with owned(folders):
        if folders.has_catalogue and not is_first_start(folders):
            async with open_gateway(settings, folders) as gateway:
                unsealed = _Unsealed.into(output)
                await _by_catalogue(gateway, unsealed, customer_key)
        else:
            blobs = open_blobs(folders)
            try:
                unsealer = Unsealer(await _offline_keys(settings, folders), blobs, customer_key)
                unsealed = _Unsealed.into(output)
                typer.echo(_WITHOUT_CATALOGUE, err=True)
                await _by_blobs(unsealer, blobs, unsealed)
            finally:
                await blobs.close()
    return unsealed.finish()


async def _by_catalogue(gateway: Gateway, unsealed: _Unsealed, customer_key: DataKey | None) -> None:
    catalogue, objects = gateway.stores.catalogue, gateway.services.objects
    accounts = await catalogue.list_accounts()
    buckets = [bucket for account in accounts for bucket in await catalogue.list_buckets(account.account_id)]
    with progress("objects", None) as advance:
        for bucket in buckets:
            query = ListQuery()
            while True:
                page = await catalogue.list_versions(bucket.bucket_id, query)
                for version in page.versions:
                    about = {
                        "etag": version.etag,
                        "size": version.size,
                        "created_at": version.created_at.isoformat(),
                        "attributes": dict(version.attributes),
                    }

                    async def pieces(bucket: Any = bucket, version: Any = version) -> AsyncIterator[Any]:
                        found = await objects.find(bucket, version.object_key)
                        key = key_for(gateway.services.custody, found.version, customer_key)
                        async for piece in await objects.open(found, 0, found.version.size, key):
                            yield piece

                    await unsealed.take(bucket.name, version.object_key, about, pieces())
                    advance()
                if not page.is_truncated:
                    break
                query = ListQuery(start_after=page.next_start_after)


async def _by_blobs(unsealer: Unsealer, blobs: BlobStore, unsealed: _Unsealed) -> None:
    """Without a catalogue the newest blob of each name stands for it.

    Deletes and writes that were never acknowledged cannot be told apart from others; small objects are not here.
    """
    newest: dict[tuple[str, bytes], RecoveredBlob] = {}
    with progress("reading descriptions", None) as advance:
        async for stat in blobs.iterate():
            try:
                async with _opened(blobs, stat.blob_id) as reader:
                    recovered = await unsealer.recover(reader)
            except StorageError as error:
                unsealed.fail({"blob_id": stat.blob_id.hex()}, error)
            else:
                _keep_newest(newest, recovered)
            advance()
    with progress("objects", len(newest)) as advance:
        for (bucket, object_key), recovered in newest.items():
            async with _opened(blobs, recovered.header.blob_id) as reader:
                await unsealed.take(bucket, object_key, _described(recovered), unsealer.open(recovered, reader))
            advance()


def _keep_newest(newest: dict[tuple[str, bytes], RecoveredBlob], recovered: RecoveredBlob) -> None:
    if recovered.header.kind not in (BlobKind.OBJECT, BlobKind.MANIFEST, BlobKind.LINK):
        return
    place = (recovered.description.bucket_name, recovered.description.object_key)
    held = newest.get(place)
    if held is None or held.description.commit_order < recovered.description.commit_order:
        newest[place] = recovered


@contextlib.asynccontextmanager
async def _opened(blobs: BlobStore, blob_id: bytes) -> AsyncIterator[BlobReader]:
    try:
        reader = await blobs.open(blob_id)
    except BlobMissing:
        raise CommandError(
            f"no blob {blob_id.hex()} is in the store; small objects rest in the catalogue: unseal the whole store"
        ) from None
    try:
        yield reader
    finally:
        await reader.close()
