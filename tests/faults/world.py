"""What a client may believe: the model of one bucket, and the checker of invariants I1 to I5, I8 and I9.

I1 every acknowledged write is readable, byte for byte, with its ETag and metadata; I2 an unacknowledged write is absent
or complete; I3 no wrong byte; I4 an acknowledged delete stays; I5 LIST is the set of readable keys; I8 one sweep after
the grace removes every orphan and no blob that is referred to; I9 an upload survives. It shares no code with it.
"""

import hashlib
import itertools
import os
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

from botocore.exceptions import BotoCoreError, ClientError

from gateway.cli.control import ask_gateway
from gateway.cli.exits import CommandError, Exit
from tests.blackbox.blobs import is_of_the_journal
from tests.blackbox.process import Gateway

BUCKET: Final = "crashes"
INLINE_MAX: Final = 16 * 1024
_OLD_S: Final = 2 * 3600

_NUMBERS = itertools.count(1)


@dataclass(frozen=True)
class Version:
    """One state of one key. `content` and `own` label the blobs in the store that it keeps alive: those that copies
    share, and those of this version alone.
    """

    data: bytes
    etag: str
    metadata: tuple[tuple[str, str], ...]
    content: frozenset[str] = frozenset()
    own: frozenset[str] = frozenset()


def new_version(data: bytes, etag: str = "", blobs: int | None = None) -> Version:
    """Return a version with metadata of its own and as many blobs as its size takes."""
    label = f"run-{next(_NUMBERS)}"
    count = int(len(data) > INLINE_MAX) if blobs is None else blobs
    return Version(
        data,
        etag or f'"{hashlib.md5(data).hexdigest()}"',
        (("label", label),),
        frozenset(f"{label}/{index}" for index in range(count)),
    )


@dataclass
class Upload:
    """A multipart upload as its client knows it: part number -> (data, etag)."""

    key: str
    upload_id: str
    parts: dict[int, tuple[bytes, str]] = field(default_factory=dict)


Effects = dict[str, Version | None]
"""What an operation makes of each key that it touches."""


class World:
    """One bucket of one gateway, with everything that was acknowledged."""

    def __init__(self, gateway: Gateway, s3: Any) -> None:
        self.gateway = gateway
        self.s3 = s3
        self.keys: dict[str, Version] = {}
        self.uploads: list[Upload] = []

    def acknowledge(self, effects: Effects) -> None:
        """Take over what was answered with success."""
        for key, version in effects.items():
            if version is None:
                self.keys.pop(key, None)
            else:
                self.keys[key] = version

    def read(self, key: str) -> Version | None:
        """Read a key whole; None where there is none. The labels of blobs stay empty."""
        try:
            answer = self.s3.get_object(Bucket=BUCKET, Key=key)
        except ClientError as refused:
            if refused.response["Error"]["Code"] != "NoSuchKey":
                raise
            return None
        data = answer["Body"].read()
        assert answer["ContentLength"] == len(data)
        return Version(data, answer["ETag"], tuple(sorted(answer["Metadata"].items())))

    def settle(self, effects: Effects) -> Effects:
        """Find out what an operation without an answer did: each key as before, or as after, and nothing between."""
        done: Effects = {}
        for key, after in effects.items():
            before = self.keys.get(key)
            found = self.read(key)
            if _same(found, after):
                done[key] = after
            else:
                assert _same(found, before), f"{key} is neither as it was nor as it was to be: {_shown(found)}"
        self.acknowledge(done)
        return done

    def check(self) -> None:
        """I1 to I5 and I9, over everything."""
        for key, version in self.keys.items():
            found = self.read(key)
            assert _same(found, version), f"{key}: acknowledged {_shown(version)}, found {_shown(found)}"
        listed = self.s3.list_objects_v2(Bucket=BUCKET).get("Contents", [])
        assert {entry["Key"]: (entry["Size"], entry["ETag"]) for entry in listed} == {
            key: (len(version.data), version.etag) for key, version in self.keys.items()
        }
        open_uploads = self.s3.list_multipart_uploads(Bucket=BUCKET).get("Uploads", [])
        assert {entry["UploadId"] for entry in open_uploads} == {upload.upload_id for upload in self.uploads}
        for upload in self.uploads:
            listed = self.s3.list_parts(Bucket=BUCKET, Key=upload.key, UploadId=upload.upload_id).get("Parts", [])
            assert {part["PartNumber"]: (part["Size"], part["ETag"]) for part in listed} == {
                number: (len(data), etag) for number, (data, etag) in upload.parts.items()
            }

    def blob_files(self) -> list[Path]:
        """Every file of the blob store, unfinished ones included, but for what the gateway keeps for itself."""
        return [
            path
            for path in (self.gateway.data / "blobs" / "b").rglob("*")
            if path.is_file() and (path.suffix == ".tmp" or not is_of_the_journal(path))
        ]

    def age(self) -> None:
        """Make every file of the store older than the grace of orphans."""
        old = time.time() - _OLD_S
        for path in self.blob_files():
            os.utime(path, (old, old))

    def sweep(self, *, dry_run: bool = False) -> dict[str, int]:
        """Sweep once, as `sealgate sweep` does through the socket, and return the report.

        Raises: Unanswered where the gateway died on it.
        """
        arguments = {"dry_run": dry_run, "accept_many_orphans": True}
        try:
            report = ask_gateway(self.gateway.data, "sweep", arguments)
        except CommandError as broken:
            if broken.code is not Exit.BUSY:
                raise
            raise Unanswered from broken
        assert isinstance(report, dict)
        return report

    def expected_blob_count(self) -> int:
        """Blobs that versions and parts of open uploads refer to."""
        labels = {label for version in self.keys.values() for label in version.content | version.own}
        return len(labels) + sum(len(upload.parts) for upload in self.uploads)

    def check_sweep(self) -> dict[str, int]:
        """I8: one sweep after the grace leaves exactly the blobs that are referred to, and every read still works."""
        self.age()
        report = self.sweep()
        assert len(self.blob_files()) == self.expected_blob_count(), report
        self.check()
        return report


def _same(found: Version | None, wanted: Version | None) -> bool:
    if found is None or wanted is None:
        return found is wanted
    return (found.data, found.etag, found.metadata) == (wanted.data, wanted.etag, wanted.metadata)


def _shown(version: Version | None) -> str:
    if version is None:
        return "nothing"
    return f"{len(version.data)} bytes, etag {version.etag}, {version.metadata}"


class Unanswered(Exception):
    """The connection ended without an answer."""


def answered(call: Any, **arguments: Any) -> Any:
    """Make a request. Raises: Unanswered where the gateway died on it; error answers pass through."""
    try:
        return call(**arguments)
    except BotoCoreError as broken:
        raise Unanswered from broken
