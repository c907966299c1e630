"""S3 as dictionaries: what a bucket holds, told by the AWS documentation alone.

The model shares no helper with the product. Each method carries out one request and returns what S3 answers, in the
names of botocore's outputs; a refusal is raised. Ids that the service draws (versions, uploads) are told to it: the
real answer's id is checked to be new, and then kept. Sources: Amazon S3 User Guide, "Using versioning", "Deleting
object versions", "Multipart upload"; API reference of each operation.
"""

import hashlib
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any, Final, TypeVar

Answer = dict[str, Any]
T = TypeVar("T")
NULL: Final = "null"
AES256: Final = "AES256"
KMS: Final = "aws:kms"
CUSTOMER: Final = "customer"
"""The encryption of an object: S3's two words, and one for a key of the client's own."""
MIN_PART_SIZE: Final = 5 * 1024 * 1024


class Refused(Exception):  # it is S3's answer, not the program's error
    """An error answer."""

    def __init__(self, status: int, code: str, **fields: Any) -> None:
        super().__init__(status, code)
        self.answer: Answer = {"refused": status, "code": code, **fields}


@dataclass(frozen=True)
class Lock:
    """What keeps a version: a mode with the day until which it does, and a legal hold (None: never set)."""

    mode: str = ""
    until: int = 0
    hold: bool | None = None

    def withstands(self, bypass: bool) -> bool:
        """Whether a deletion is refused. No day of the model's ever comes."""
        return bool(self.hold) or self.mode == "COMPLIANCE" or (self.mode == "GOVERNANCE" and not bypass)


NO_LOCK: Final = Lock()


@dataclass
class Version:
    """A version of an object, or a delete marker (`body` None)."""

    version_id: str
    body: bytes | None
    etag: str = ""
    metadata: Mapping[str, str] = field(default_factory=dict)
    content_type: str = "binary/octet-stream"
    tags: Mapping[str, str] = field(default_factory=dict)
    part_count: int | None = None
    lock: Lock = NO_LOCK
    encryption: str = AES256

    @property
    def is_marker(self) -> bool:
        return self.body is None


@dataclass
class Upload:
    """An open multipart upload."""

    upload_id: str
    key: str
    metadata: Mapping[str, str]
    content_type: str
    tags: Mapping[str, str]
    parts: dict[int, bytes] = field(default_factory=dict)


@dataclass(frozen=True)
class Rule:
    """A statement of a bucket's policy about another account: actions on keys that begin so, and on the bucket."""

    allows: bool
    actions: tuple[str, ...]
    prefix: str = ""

    def speaks_of(self, action: str, key: str) -> bool:
        """Whether it fits."""
        return action in self.actions and (action == "s3:ListBucket" or key.startswith(self.prefix))


@dataclass
class Bucket:
    """A bucket: versions by key, the newest first."""

    versioning: str = ""
    versions: dict[str, list[Version]] = field(default_factory=dict)
    uploads: dict[str, Upload] = field(default_factory=dict)
    tags: Mapping[str, str] | None = None
    has_locks: bool = False
    policy: tuple[Rule, ...] = ()

    def current(self, key: str) -> Version | None:
        """The newest version, markers included."""
        held = self.versions.get(key)
        return held[0] if held else None

    def shown(self, version_id: str, asked: str | None = None) -> str | None:
        """The version id in an answer: none in a bucket that was never versioned, but where the request names one."""
        return version_id if self.versioning or asked is not None else None


def etag_of(body: bytes) -> str:
    return f'"{hashlib.md5(body).hexdigest()}"'  # what an ETag is


def etag_of_parts(parts: Iterable[bytes]) -> str:
    digests = [hashlib.md5(part).digest() for part in parts]  # what an ETag is
    return f'"{hashlib.md5(b"".join(digests)).hexdigest()}-{len(digests)}"'  # what an ETag is


def _byte_order(key: str) -> bytes:
    return key.encode()


class DictionaryS3:
    """One account's S3."""

    def __init__(self) -> None:
        self.buckets: dict[str, Bucket] = {}
        self._given_ids: set[str] = set()

    def _bucket(self, name: str) -> Bucket:
        if name not in self.buckets:
            raise Refused(404, "NoSuchBucket")
        return self.buckets[name]

    def _learn(self, given: str | None) -> str:
        """Take an id that the service drew."""
        assert given, "the service gives an id"
        assert given != NULL
        assert given not in self._given_ids, "an id is given once"
        self._given_ids.add(given)
        return given

    # Buckets

    def create_bucket(self, bucket: str, has_locks: bool = False) -> Answer:
        if bucket in self.buckets:
            raise Refused(409, "BucketAlreadyOwnedByYou")
        self.buckets[bucket] = Bucket(versioning="Enabled" if has_locks else "", has_locks=has_locks)
        return {}

    def delete_bucket(self, bucket: str) -> Answer:
        if self._bucket(bucket).versions:
            raise Refused(409, "BucketNotEmpty")
        del self.buckets[bucket]
        return {}

    def put_bucket_versioning(self, bucket: str, status: str) -> Answer:
        held = self._bucket(bucket)
        if held.has_locks and status != "Enabled":
            raise Refused(409, "InvalidBucketState")
        held.versioning = status
        return {}

    def get_bucket_versioning(self, bucket: str) -> Answer:
        status = self._bucket(bucket).versioning
        return {"Status": status} if status else {}

    # Writing

    def _place(self, bucket: Bucket, key: str, version: Version, given_id: str | None) -> Version:
        """Make a version current. Suspended and unversioned buckets hold one null version of a key."""
        if bucket.versioning == "Enabled":
            version.version_id = self._learn(given_id)
        else:
            version.version_id = NULL
            self._drop(bucket, key, NULL)
        bucket.versions.setdefault(key, []).insert(0, version)
        return version

    @staticmethod
    def _drop(bucket: Bucket, key: str, version_id: str) -> Version | None:
        held = bucket.versions.get(key, [])
        gone = next((version for version in held if version.version_id == version_id), None)
        if gone is not None:
            held.remove(gone)
            if not held:
                del bucket.versions[key]
        return gone

    @staticmethod
    def _judge_write(bucket: Bucket, key: str, if_none_match: bool, if_match: str | None) -> None:
        current = bucket.current(key)
        if current is not None and current.is_marker:
            current = None
        if if_none_match and current is not None:
            raise Refused(412, "PreconditionFailed")
        if if_match is not None:
            if current is None:
                raise Refused(404, "NoSuchKey")
            if if_match != current.etag:
                raise Refused(412, "PreconditionFailed")

    def put_object(
        self,
        bucket: str,
        key: str,
        body: bytes,
        *,
        metadata: Mapping[str, str],
        content_type: str,
        tags: Mapping[str, str],
        if_none_match: bool,
        if_match: str | None,
        given_id: str | None,
        lock: Lock = NO_LOCK,
        encryption: str = AES256,
        given_etag: str | None = None,
    ) -> Answer:
        held = self._bucket(bucket)
        if (lock.mode or lock.hold) and not held.has_locks:
            raise Refused(400, "InvalidRequest")
        self._judge_write(held, key, if_none_match, if_match)
        etag = etag_of(body) if encryption == AES256 else self._opaque(given_etag, body)
        lock = lock if held.has_locks else NO_LOCK
        new = Version("", body, etag, metadata, content_type, tags, lock=lock, encryption=encryption)
        version = self._place(held, key, new, given_id)
        return {"ETag": version.etag, "VersionId": held.shown(version.version_id), **_told(encryption)}

    @staticmethod
    def _opaque(given: str | None, body: bytes) -> str:
        """An ETag that the service drew: under a key that is not S3's own it must not be the MD5 of what is hidden."""
        assert given
        assert given != etag_of(body)
        return given

    def delete_object(
        self,
        bucket: str,
        key: str,
        version_id: str | None,
        if_match: str | None,
        given_id: str | None,
        bypass: bool = False,
    ) -> Answer:
        held = self._bucket(bucket)
        if version_id is not None:
            if any(
                each.version_id == version_id and each.lock.withstands(bypass) for each in held.versions.get(key, [])
            ):
                raise Refused(403, "AccessDenied")
            gone = self._drop(held, key, version_id)
            return {"VersionId": version_id, "DeleteMarker": True if gone is not None and gone.is_marker else None}
        self._judge_write(held, key, False, if_match)
        if not held.versioning:
            self._drop(held, key, NULL)
            return {"VersionId": None, "DeleteMarker": None}
        marker = self._place(held, key, Version("", None), given_id)
        return {"VersionId": marker.version_id, "DeleteMarker": True}

    def copy_object(
        self,
        source_bucket: str,
        source_key: str,
        source_version_id: str | None,
        bucket: str,
        key: str,
        *,
        replaced: tuple[Mapping[str, str], str] | None,
        new_tags: Mapping[str, str] | None,
        given_id: str | None,
        encryption: str | None = None,
        with_key: bool = False,
        given_etag: str | None = None,
    ) -> Answer:
        held, source_held = self._bucket(bucket), self._bucket(source_bucket)
        is_itself = (source_bucket, source_key) == (bucket, key) and source_version_id is None
        if is_itself and replaced is None and encryption is None:
            raise Refused(400, "InvalidRequest")
        source = self._find(source_held, source_key, source_version_id, is_copy=True)
        assert source.body is not None
        _check_key(source, with_key)
        metadata, content_type = replaced if replaced is not None else (source.metadata, source.content_type)
        tags = new_tags if new_tags is not None else source.tags
        encryption = encryption or AES256
        if encryption == source.encryption and encryption != CUSTOMER:
            # AWS gives the copy of an object of parts an ETag of its own; here content is shared, and the ETag with it.
            etag, part_count = source.etag, source.part_count
        else:
            etag = etag_of(source.body) if encryption == AES256 else self._opaque(given_etag, source.body)
            part_count = None
        new = Version("", source.body, etag, metadata, content_type, tags, part_count, encryption=encryption)
        shown_source = source_held.shown(source.version_id, source_version_id)
        version = self._place(held, key, new, given_id)
        return {
            "ETag": version.etag,
            "VersionId": held.shown(version.version_id),
            "CopySourceVersionId": shown_source,
            **_told(encryption),
        }

    # Reading

    @staticmethod
    def _find(bucket: Bucket, key: str, version_id: str | None, *, is_copy: bool = False) -> Version:
        if version_id is None:
            found = bucket.current(key)
            if found is None or found.is_marker:
                raise Refused(404, "NoSuchKey", DeleteMarker=True if found is not None and not is_copy else None)
            return found
        for version in bucket.versions.get(key, []):
            if version.version_id == version_id:
                if version.is_marker:
                    if is_copy:
                        raise Refused(400, "InvalidRequest")
                    raise Refused(405, "MethodNotAllowed", DeleteMarker=True)
                return version
        raise Refused(404, "NoSuchVersion")

    def get_object(
        self,
        bucket: str,
        key: str,
        version_id: str | None,
        span: tuple[int | None, int | None] | None,
        if_match: str | None,
        if_none_match: str | None,
        with_key: bool = False,
    ) -> Answer:
        held = self._bucket(bucket)
        version = self._find(held, key, version_id)
        assert version.body is not None
        _check_key(version, with_key)
        if if_match is not None and if_match != version.etag:
            raise Refused(412, "PreconditionFailed")
        if if_none_match is not None and if_none_match == version.etag:
            raise Refused(304, "304")
        size = len(version.body)
        body, content_range = version.body, None
        if span is not None:
            first, last = span
            if first is None:
                assert last is not None
                first, last = max(0, size - last), size - 1
                if span[1] == 0:
                    first = size
            last = size - 1 if last is None else min(last, size - 1)
            if first >= size:
                raise Refused(416, "InvalidRange")
            body = version.body[first : last + 1]
            content_range = f"bytes {first}-{last}/{size}"
        return {
            "Body": body,
            "ContentLength": len(body),
            "ContentRange": content_range,
            "ETag": version.etag,
            "Metadata": dict(version.metadata),
            "ContentType": version.content_type,
            "VersionId": held.shown(version.version_id, version_id),
            "TagCount": len(version.tags) or None,
            "ObjectLockMode": version.lock.mode or None,
            "ObjectLockLegalHoldStatus": _hold(version.lock),
            **_told(version.encryption),
        }

    # Locks

    def _locked(self, bucket: str, key: str, version_id: str | None) -> Version:
        held = self._bucket(bucket)
        if not held.has_locks:
            raise Refused(400, "InvalidRequest")
        return self._find(held, key, version_id)

    def put_object_retention(
        self, bucket: str, key: str, version_id: str | None, mode: str, until: int, bypass: bool
    ) -> Answer:
        version = self._locked(bucket, key, version_id)
        held = version.lock
        is_longer = mode == held.mode and until >= held.until
        if held.mode and not is_longer and not (held.mode == "GOVERNANCE" and bypass):
            raise Refused(403, "AccessDenied")
        version.lock = Lock(mode, until, held.hold)
        return {}

    def get_object_retention(self, bucket: str, key: str, version_id: str | None) -> Answer:
        held = self._locked(bucket, key, version_id).lock
        if not held.mode:
            raise Refused(404, "NoSuchObjectLockConfiguration")
        return {"Mode": held.mode, "Until": held.until}

    def put_object_legal_hold(self, bucket: str, key: str, version_id: str | None, is_on: bool) -> Answer:
        version = self._locked(bucket, key, version_id)
        version.lock = Lock(version.lock.mode, version.lock.until, is_on)
        return {}

    def get_object_legal_hold(self, bucket: str, key: str, version_id: str | None) -> Answer:
        held = self._locked(bucket, key, version_id).lock
        if held.hold is None:
            raise Refused(404, "NoSuchObjectLockConfiguration")
        return {"Status": _hold(held)}

    # Another account

    def put_bucket_policy(self, bucket: str, rules: tuple[Rule, ...]) -> Answer:
        self._bucket(bucket).policy = rules
        return {}

    def may(self, bucket: str, action: str, key: str = "") -> bool:
        """Whether another account may: an explicit Deny wins, and what nobody allows is denied."""
        fitting = [each for each in self._bucket(bucket).policy if each.speaks_of(action, key)]
        return bool(fitting) and all(each.allows for each in fitting)

    def as_guest(self, bucket: str, action: str, key: str, call: Callable[[], T]) -> T:
        """Carry out a request of another account. Who may not list does not learn what is missing."""
        if not self.may(bucket, action, key):
            raise Refused(403, "AccessDenied")
        try:
            return call()
        except Refused as refused:
            if refused.answer["code"] in {"NoSuchKey", "NoSuchVersion"} and not self.may(bucket, "s3:ListBucket"):
                raise Refused(403, "AccessDenied") from None
            raise

    def get_object_tagging(self, bucket: str, key: str, version_id: str | None) -> Answer:
        held = self._bucket(bucket)
        version = self._find(held, key, version_id)
        return {"TagSet": dict(version.tags), "VersionId": held.shown(version.version_id, version_id)}

    def put_object_tagging(self, bucket: str, key: str, version_id: str | None, tags: Mapping[str, str]) -> Answer:
        held = self._bucket(bucket)
        version = self._find(held, key, version_id)
        version.tags = tags
        return {"VersionId": held.shown(version.version_id, version_id)}

    # Listing

    def list_objects(self, bucket: str, prefix: str, delimiter: str, after: str) -> list[tuple[Any, ...]]:
        """Everything that pages of any size give together: ("key", ...) and ("prefix", ...) in byte order."""
        held = self._bucket(bucket)
        entries: dict[str, tuple[Any, ...]] = {}
        for key in sorted(held.versions, key=_byte_order):
            current = held.versions[key][0]
            if current.is_marker or not key.startswith(prefix) or _byte_order(key) <= _byte_order(after):
                continue
            common = _common_prefix(key, prefix, delimiter)
            if common is None:
                assert current.body is not None
                entries[key] = ("key", key, current.etag, len(current.body))
            elif _byte_order(common) > _byte_order(after) and not after.startswith(common):
                entries[common] = ("prefix", common)
        return [entries[name] for name in sorted(entries, key=_byte_order)]

    def list_object_versions(self, bucket: str, prefix: str, delimiter: str) -> list[tuple[Any, ...]]:
        """Everything that pages of any size give together, of a key the newest first."""
        held = self._bucket(bucket)
        entries: dict[str, list[tuple[Any, ...]]] = {}
        for key, versions in held.versions.items():
            if not key.startswith(prefix):
                continue
            common = _common_prefix(key, prefix, delimiter)
            if common is not None:
                entries[common] = [("prefix", common)]
                continue
            entries[key] = [
                ("marker", key, version.version_id, is_latest)
                if version.body is None
                else ("version", key, version.version_id, is_latest, version.etag, len(version.body))
                for version, is_latest in _with_latest(versions)
            ]
        return [entry for name in sorted(entries, key=_byte_order) for entry in entries[name]]

    # Multipart uploads

    def create_multipart_upload(
        self,
        bucket: str,
        key: str,
        *,
        metadata: Mapping[str, str],
        content_type: str,
        tags: Mapping[str, str],
        given_id: str | None,
    ) -> Answer:
        held = self._bucket(bucket)
        upload_id = self._learn(given_id)
        held.uploads[upload_id] = Upload(upload_id, key, metadata, content_type, tags)
        return {"Key": key}

    def _upload(self, bucket: str, key: str, upload_id: str) -> Upload:
        upload = self._bucket(bucket).uploads.get(upload_id)
        if upload is None or upload.key != key:
            raise Refused(404, "NoSuchUpload")
        return upload

    def upload_part(self, bucket: str, key: str, upload_id: str, number: int, body: bytes) -> Answer:
        self._upload(bucket, key, upload_id).parts[number] = body
        return {"ETag": etag_of(body)}

    def list_parts(self, bucket: str, key: str, upload_id: str) -> Answer:
        upload = self._upload(bucket, key, upload_id)
        return {"Parts": [(number, etag_of(body), len(body)) for number, body in sorted(upload.parts.items())]}

    def list_multipart_uploads(self, bucket: str, prefix: str) -> Answer:
        held = self._bucket(bucket)
        found = [(upload.key, upload.upload_id) for upload in held.uploads.values() if upload.key.startswith(prefix)]
        return {"Uploads": sorted(found, key=lambda entry: (_byte_order(entry[0]), entry[1]))}

    def abort_multipart_upload(self, bucket: str, key: str, upload_id: str) -> Answer:
        self._upload(bucket, key, upload_id)
        del self.buckets[bucket].uploads[upload_id]
        return {}

    def complete_multipart_upload(
        self,
        bucket: str,
        key: str,
        upload_id: str,
        named: list[tuple[int, str]],
        *,
        if_none_match: bool,
        given_id: str | None,
    ) -> Answer:
        upload = self._upload(bucket, key, upload_id)
        held = self._bucket(bucket)
        if not named:
            raise Refused(400, "MalformedXML")
        numbers = [number for number, _ in named]
        if numbers != sorted(set(numbers)):
            raise Refused(400, "InvalidPartOrder")
        # Of two reasons to refuse AWS documents no order; the gateway judges the condition before it looks for parts.
        self._judge_write(held, key, if_none_match, None)
        for number, etag in named:
            if number not in upload.parts or etag_of(upload.parts[number]) != etag:
                raise Refused(400, "InvalidPart")
        bodies = [upload.parts[number] for number in numbers]
        if any(len(body) < MIN_PART_SIZE for body in bodies[:-1]):
            raise Refused(400, "EntityTooSmall")
        new = Version(
            "", b"".join(bodies), etag_of_parts(bodies), upload.metadata, upload.content_type, upload.tags, len(bodies)
        )
        version = self._place(held, key, new, given_id)
        del held.uploads[upload_id]
        return {"ETag": version.etag, "VersionId": held.shown(version.version_id), "Key": key, **_told(AES256)}


def _told(encryption: str) -> Answer:
    """How answers name an encryption."""
    if encryption == CUSTOMER:
        return {"SSECustomerAlgorithm": AES256}
    return {"ServerSideEncryption": encryption}


def _check_key(version: Version, with_key: bool) -> None:
    """A client's own key is needed where there is one, and wrong where there is none."""
    if (version.encryption == CUSTOMER) is not with_key:
        raise Refused(400, "InvalidRequest")


def _hold(lock: Lock) -> str | None:
    return None if lock.hold is None else "ON" if lock.hold else "OFF"


def _common_prefix(key: str, prefix: str, delimiter: str) -> str | None:
    if not delimiter:
        return None
    head, found, _ = key[len(prefix) :].partition(delimiter)
    return prefix + head + found if found else None


def _with_latest(versions: list[Version]) -> Iterator[tuple[Version, bool]]:
    for index, version in enumerate(versions):
        yield version, index == 0


def answer_of(call: Callable[[], T]) -> T | Answer:
    """What the model answers; of a refusal its code."""
    try:
        return call()
    except Refused as refused:
        return refused.answer
