"""What the tests know of blobs from outside: only what docs/FORMAT.md says of their names and of the bytes before the
seal. A shelf is where the blobs of one gateway lie, be it a folder or a part of a bucket.
"""

import time
from pathlib import Path
from typing import Any, Final, Protocol

from botocore.exceptions import ClientError

_MAGIC: Final = b"\x89SGATE\r\n"
_KIND_AT: Final = 10
_BEGINNING_S: Final = 1.0
_BLOBS: Final = "b/"
OF_THE_JOURNAL: Final = frozenset({5, 7, 8, 9})
"""Packs, envelopes of open uploads, journal records and snapshots (FORMAT section 3): they come whenever the journal
runs, not by a request."""


class Shelf(Protocol):
    """Names are those of the blob store, `b/` and hexadecimal digits for a blob, whatever comes before them there."""

    def names(self) -> list[str]:
        """All that rests there, in order, unfinished things too, but for what the journal writes in its own time."""

    def kinds(self) -> dict[str, int]:
        """The kind in the header of every finished blob, by its name in digits."""


class FolderShelf:
    """A folder of files."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    def names(self) -> list[str]:
        """Relative paths."""
        files = (path for path in self._folder.rglob("*") if path.is_file())
        ours = (path for path in files if not is_of_the_journal(path))
        return sorted(path.relative_to(self._folder).as_posix() for path in ours)

    def kinds(self) -> dict[str, int]:
        """Read from the files."""
        return {path.name: path.read_bytes()[_KIND_AT] for path in (self._folder / _BLOBS).rglob("*") if path.is_file()}


class BucketShelf:
    """Objects of a bucket."""

    def __init__(self, client: Any, bucket: str, prefix: str) -> None:
        self._client = client
        self._bucket = bucket
        self._prefix = prefix
        self._kinds: dict[str, int | None] = {}
        """Of names seen so far: a blob is never written twice."""

    def _listed(self) -> list[str]:
        pages = self._client.get_paginator("list_objects_v2").paginate(Bucket=self._bucket, Prefix=self._prefix)
        return [entry["Key"].removeprefix(self._prefix) for page in pages for entry in page.get("Contents", ())]

    def _kind(self, name: str) -> int | None:
        if name not in self._kinds:
            place = {"Bucket": self._bucket, "Key": self._prefix + name}
            try:
                head = self._client.get_object(**place, Range=f"bytes=0-{_KIND_AT}")["Body"].read()
            except ClientError as gone:
                if gone.response["Error"]["Code"] != "NoSuchKey":
                    raise
                return None
            self._kinds[name] = head[_KIND_AT] if head.startswith(_MAGIC) else -1
        return self._kinds[name]

    def _blobs(self) -> dict[str, int]:
        """Those that are still there when their kind is asked for."""
        found = ((name, self._kind(name)) for name in self._listed() if name.startswith(_BLOBS))
        return {name: kind for name, kind in found if kind is not None}

    def names(self) -> list[str]:
        """Objects, and uploads that were begun."""
        others = [name for name in self._listed() if not name.startswith(_BLOBS)]
        blobs = [name for name, kind in self._blobs().items() if kind not in OF_THE_JOURNAL]
        begun = self._client.list_multipart_uploads(Bucket=self._bucket, Prefix=self._prefix).get("Uploads", ())
        return sorted([*others, *blobs, *(f"{each['Key'].removeprefix(self._prefix)} begun" for each in begun)])

    def kinds(self) -> dict[str, int]:
        """Read from the objects."""
        return {name.rpartition("/")[2]: kind for name, kind in self._blobs().items()}


def is_of_the_journal(path: Path) -> bool:
    """Whether a file is a blob that the journal wrote, or is gone meanwhile. One that has just begun is waited for."""
    deadline = time.monotonic() + _BEGINNING_S
    while True:
        try:
            with path.open("rb") as file:
                head = file.read(_KIND_AT + 1)
        except FileNotFoundError:
            return True
        if len(head) > _KIND_AT:
            return head.startswith(_MAGIC) and head[_KIND_AT] in OF_THE_JOURNAL
        if time.monotonic() > deadline:
            return False
        time.sleep(0.01)
