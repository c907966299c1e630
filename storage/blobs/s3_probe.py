"""What a backend can do, found out by doing it: a promise that was not seen kept is not relied on.

Each probe works under a random name below `probe/` and removes it again.
"""

import asyncio
import secrets
from dataclasses import dataclass
from typing import Final

from storage.blobs.s3_backend import Answer, Backend, Call, Checksum, checksum_headers
from storage.blobs.s3_writer import TOKEN_HEADER
from storage.errors import StorageError, StorageUnavailable

_OK, _NO_CONTENT, _PARTIAL, _NOT_FOUND, _FAILED = 200, 204, 206, 404, 412
_REFUSED: Final = frozenset({400, 403, 409, 412, 422})
_CONTENT: Final = b"0123456789" * 100
PROBES: Final = "probe/"
"""What the names of all that a probe makes begin with."""
_VERSION_PAGES: Final = 100
"""Pages of versions of one object, each of 1,000."""


@dataclass(frozen=True, slots=True)
class Traits:
    """What the store's code has to know of its backend."""

    conditional_put: bool
    """Whether `If-None-Match: *` keeps a PUT from replacing."""
    conditional_complete: bool
    """The same of CompleteMultipartUpload."""
    versioned: bool
    """Whether the bucket keeps versions, so that deletes have to name them."""
    locks: bool
    """Whether the bucket can keep objects until a date."""
    hoards: bool
    """Whether it keeps every object for a time that nobody asked for."""

    def lacks(self) -> tuple[str, ...]:
        """What the backend cannot do and the store does without, each in one line for the operator."""
        return tuple(
            line
            for has, line in (
                (
                    self.conditional_put,
                    "it replaces objects despite If-None-Match on PUT: looked for first instead",
                ),
                (
                    self.conditional_complete,
                    "it replaces objects despite If-None-Match on CompleteMultipartUpload: looked for first instead",
                ),
                (self.locks, "its bucket has no object lock: locks bind the gateway's requests, not the backend"),
                (
                    not self.hoards,
                    "its bucket has a default retention: what the gateway deletes stays there until that ends",
                ),
            )
            if not has
        )


async def probe(backend: Backend) -> Traits:
    """Try everything the store relies on.

    Raises: StorageUnavailable and other StorageErrors, in one line that names what the backend lacks.
    """
    name = PROBES + secrets.token_hex(16)
    try:
        versioned = await _setting(backend, "versioning", "VersioningConfiguration", "Status")
        locks = await _setting(backend, "object-lock", "ObjectLockConfiguration", "ObjectLockEnabled")
        kept = await _setting(backend, "object-lock", "ObjectLockConfiguration", "Rule/DefaultRetention/Mode")
        conditional_put = await _stores(backend, name)
        await _keeps_whole(backend, name)
        return Traits(
            conditional_put=conditional_put,
            conditional_complete=await _completes_without_replacing(backend, name),
            versioned=versioned in ("Enabled", "Suspended"),
            locks=locks == "Enabled",
            hoards=kept != "",
        )
    finally:
        await _remove(backend, name)


async def _setting(backend: Backend, query: str, root: str, element: str) -> str:
    doing = f"asking for the bucket's {query}"
    answer = await backend.ask(Call("GET", None, {query: ""}), doing)
    if answer.code == "NoSuchBucket":
        raise StorageUnavailable("the backend has no bucket of that name: create it, or correct s3_bucket")
    if answer.status in (400, 404, 405, 501):
        return ""
    return answer.expect(doing, _OK).document(doing, root).findtext(element) or ""


async def _put(backend: Backend, name: str, content: bytes, summed: bytes, **headers: str) -> Answer:
    sums = checksum_headers(backend.target.checksum, [summed])
    told = {TOKEN_HEADER: "probe"} | {key.replace("_", "-"): value for key, value in headers.items()}
    return await backend.ask(Call("PUT", name, headers=told | sums, body=(content,)), "probing a PUT", tries=2)


async def _stores(backend: Backend, name: str) -> bool:
    """Store the probe; tell whether the backend keeps a second PUT from replacing it."""
    wrong = await _damaged(backend, name)
    if wrong.status == _OK:
        raise StorageUnavailable(
            f"the backend takes bytes that do not match their {backend.target.checksum} checksum: choose another"
            " s3_checksum"
        )
    (await _put(backend, name, _CONTENT, _CONTENT)).expect("probing a PUT", _OK)
    answer = await _put(backend, name, _CONTENT[::-1], _CONTENT[::-1], If_None_Match="*")
    if answer.status == _FAILED:
        return True
    (await _put(backend, name, _CONTENT, _CONTENT)).expect("probing a PUT", _OK)
    return False


async def _damaged(backend: Backend, name: str) -> Answer:
    """Send bytes that do not match their sum: what comes back is a refusal, also where the store would try it again."""
    try:
        return await _put(backend, name, _CONTENT, _CONTENT + b"!")
    except StorageUnavailable as error:
        if "BadDigest" in str(error) or "ChecksumMismatch" in str(error):
            return Answer(400, {}, b"")
        raise


async def _keeps_whole(backend: Backend, name: str) -> None:
    looked = (await backend.ask(Call("HEAD", name), "probing a HEAD")).expect("probing a HEAD", _OK)
    if looked.headers.get("content-length") != str(len(_CONTENT)):
        raise StorageUnavailable("the backend tells another length of an object than was stored")
    if looked.headers.get(TOKEN_HEADER) != "probe":
        raise StorageUnavailable("the backend does not keep the metadata of objects (x-amz-meta-): it cannot be used")
    part = await backend.ask(Call("GET", name, headers={"Range": "bytes=10-29"}), "probing a range")
    if part.status != _PARTIAL or part.body != _CONTENT[10:30]:
        raise StorageUnavailable("the backend does not give ranges of objects: it cannot be used")
    if part.headers.get("content-range") != f"bytes 10-29/{len(_CONTENT)}":
        raise StorageUnavailable("the backend does not say which range it gives: it cannot be used")


async def _completes_without_replacing(backend: Backend, name: str) -> bool:
    doing = "probing a multipart upload"
    algorithm = {"x-amz-checksum-algorithm": "CRC32C"} if backend.target.checksum is Checksum.CRC32C else {}
    begun = (await backend.ask(Call("POST", name, {"uploads": ""}, algorithm), doing)).expect(doing, _OK)
    upload = {"uploadId": begun.document(doing, "InitiateMultipartUploadResult").findtext("UploadId") or ""}
    try:
        sums = checksum_headers(backend.target.checksum, [_CONTENT])
        part = Call("PUT", name, {"partNumber": "1"} | upload, sums, (_CONTENT,))
        etag = (await backend.ask(part, doing)).expect(doing, _OK).headers.get("etag", "")
        crc = sums.get("x-amz-checksum-crc32c")
        told = f"<ChecksumCRC32C>{crc}</ChecksumCRC32C>" if crc else ""
        listed = f"<Part><PartNumber>1</PartNumber><ETag>{etag}</ETag>{told}</Part>"
        body = f"<CompleteMultipartUpload>{listed}</CompleteMultipartUpload>".encode("ascii")
        answer = await backend.ask(Call("POST", name, upload, {"If-None-Match": "*"}, (body,)), doing)
        if answer.status != _FAILED and answer.code != "PreconditionFailed":
            answer.expect(doing, _OK)
            return False
        return True
    finally:
        await backend.ask(Call("DELETE", name, upload), doing)


async def _remove(backend: Backend, name: str) -> None:
    """Remove the probe with all its versions, as far as that works: it harms nobody."""
    try:
        await delete_object(backend, name, versioned=True)
    except StorageError:
        await asyncio.sleep(0)


async def delete_object(backend: Backend, name: str, *, versioned: bool) -> None:
    """Remove an object for good: in a bucket with versions each of them by its id, markers included.

    Raises: StorageUnavailable, also where the backend's object lock keeps a version.
    """
    doing = "deleting a blob"
    if not versioned:
        answer = await backend.ask(Call("DELETE", name), doing)
        if answer.status != _NOT_FOUND:
            answer.expect(doing, _OK, _NO_CONTENT)
        return
    query = {"versions": "", "prefix": backend.target.prefix + name}
    for _ in range(_VERSION_PAGES):
        answer = await backend.ask(Call("GET", None, query), doing)
        if answer.status in (400, 405, 501):
            await delete_object(backend, name, versioned=False)
            return
        page = answer.expect(doing, _OK).document(doing, "ListVersionsResult")
        for entry in page:
            if entry.tag not in ("Version", "DeleteMarker") or entry.findtext("Key") != backend.target.prefix + name:
                continue
            version_id = entry.findtext("VersionId") or "null"
            removed = await backend.ask(Call("DELETE", name, {"versionId": version_id}), doing)
            if removed.status != _NOT_FOUND:
                removed.expect(doing, _OK, _NO_CONTENT)
        if page.findtext("IsTruncated") != "true":
            return
        query |= {
            "key-marker": page.findtext("NextKeyMarker") or "",
            "version-id-marker": page.findtext("NextVersionIdMarker") or "",
        }
    raise StorageUnavailable("the backend lists versions of a blob without end")
