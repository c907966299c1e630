"""SSE-S3, SSE-KMS and SSE-C as a client sees them: headers, ETags, checksums, copies between any two, refusals."""

import base64
import hashlib
import itertools
import json
import re
from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import pytest

from gateway.engine.attributes import ObjectAttributes, SealedChecksum
from gateway.engine.custody import Envelope
from gateway.engine.protection import Mode
from gateway.operations import encryption
from keys.kms.base import KeyState
from keys.kms.memory import DEFAULT_KEY_ID, Fault
from storage.catalogue.records import Content, ObjectVersion
from storage.sealed.recovery import recover
from tests.gateway.operations.stage import MIB, Stage, checksum_of, headers_of, make_stage, refused

KEY, OTHER_KEY = bytes(range(32)), b"\xff" * 32
NAMED = "1234abcd-12ab-34cd-56ef-1234567890ab"
ARN = f"arn:aws:kms:us-east-1:000000000000:key/{NAMED}"
DEFAULT_ARN = f"arn:aws:kms:us-east-1:000000000000:key/{DEFAULT_KEY_ID}"
SSE = "x-amz-server-side-encryption"
OPAQUE = re.compile(r'"[0-9a-f]{32}(-[0-9]+)?"')
BODY = bytes(range(251)) * 300


def customer(key: bytes = KEY, prefix: str = "") -> dict[str, Any]:
    return {f"{prefix}SSECustomerAlgorithm": "AES256", f"{prefix}SSECustomerKey": key}


def written_out(key: bytes = KEY) -> dict[str, Any]:
    """For ListParts and Complete, where botocore does neither Base64 nor MD5."""
    md5 = base64.b64encode(hashlib.md5(key).digest()).decode()
    return {
        "SSECustomerAlgorithm": "AES256",
        "SSECustomerKey": base64.b64encode(key).decode(),
        "SSECustomerKeyMD5": md5,
    }


CUSTOMER = customer()
KMS: dict[str, Any] = {"ServerSideEncryption": "aws:kms", "SSEKMSKeyId": "alias/team/mine"}
MODES: dict[str, dict[str, Any]] = {
    "none": {},
    "sse-s3": {"ServerSideEncryption": "AES256"},
    "sse-kms": KMS,
    "sse-kms-bucket-key": KMS | {"BucketKeyEnabled": True},
    "sse-c": CUSTOMER,
}
SHOWN: dict[str, dict[str, Any]] = {
    "none": {"ServerSideEncryption": "AES256"},
    "sse-s3": {"ServerSideEncryption": "AES256"},
    "sse-kms": {"ServerSideEncryption": "aws:kms", "SSEKMSKeyId": ARN},
    "sse-kms-bucket-key": {"ServerSideEncryption": "aws:kms", "SSEKMSKeyId": ARN, "BucketKeyEnabled": True},
    "sse-c": {
        "SSECustomerAlgorithm": "AES256",
        "SSECustomerKeyMD5": base64.b64encode(hashlib.md5(KEY).digest()).decode(),
    },
}
ALL_SHOWN = ("ServerSideEncryption", "SSEKMSKeyId", "BucketKeyEnabled", "SSECustomerAlgorithm", "SSECustomerKeyMD5")


def shown(result: dict[str, Any]) -> dict[str, Any]:
    return {name: result[name] for name in ALL_SHOWN if name in result}


def reading(mode: str) -> dict[str, Any]:
    return CUSTOMER if mode == "sse-c" else {}


@pytest.fixture
def keys(stage: Stage) -> Stage:
    stage.rig.kms.create_key(NAMED, "team/mine")
    return stage


def version_of(stage: Stage, key: str) -> tuple[ObjectVersion, Content]:
    found = stage.run(stage.rig.catalogue.get_version(stage.rig.bucket.bucket_id, key.encode()))
    assert found.content is not None
    return found.version, found.content


def check_object(stage: Stage, key: str, mode: str, body: bytes, parts: int = 0) -> str:
    """Everything that can be read of an object is as its mode wants it; its ETag."""
    get = stage.alice.get_object(Bucket="bucket", Key=key, **reading(mode))
    head = stage.alice.head_object(Bucket="bucket", Key=key, ChecksumMode="ENABLED", **reading(mode))
    assert get["Body"].read() == body
    if body:
        assert stage.body_of(key, Range="bytes=1-70000", **reading(mode)) == body[1:70001]
    assert shown(get) == shown(head) == SHOWN[mode]
    assert get["ContentLength"] == head["ContentLength"] == len(body)
    assert get["ETag"] == head["ETag"]
    if mode in ("none", "sse-s3"):
        if not parts:
            assert get["ETag"] == f'"{hashlib.md5(body).hexdigest()}"'
    else:
        assert OPAQUE.fullmatch(get["ETag"])
        assert hashlib.md5(body).hexdigest() not in get["ETag"]
        check_no_hash_at_rest(stage, key, body)
    assert get["ETag"].endswith(f'-{parts}"') if parts else "-" not in get["ETag"]
    sums = {name: value for name, value in head.items() if name.startswith("Checksum") and name != "ChecksumType"}
    assert sums == {name: get[name] for name in sums}
    if not parts:
        assert sums in (
            {"ChecksumCRC32": checksum_of("CRC32", body)},
            {"ChecksumCRC64NVME": checksum_of("CRC64NVME", body)},
        )
    etag: str = get["ETag"]
    return etag


def check_no_hash_at_rest(stage: Stage, key: str, body: bytes) -> None:
    """Neither the rows nor the descriptions of an object tell a hash of its plaintext."""
    version, content = version_of(stage, key)
    checksum = ObjectAttributes.decode(version.attributes).checksum
    assert checksum is None or isinstance(checksum, SealedChecksum)
    description_key = stage.rig.writer._description_key
    told = json.dumps(dict(version.attributes))
    for blob in content.blobs:
        stored = blob.inline if blob.inline is not None else stage.rig.stored()[blob.blob_id]
        recovered = recover(stored, stored, len(stored), stage.rig.realm_id, description_key)
        description = recovered.description
        assert not description.checksums
        assert description.encryption["algorithm"] == content.encryption
        told += f"{description.etag} {description.encryption} {description.sealed_checksums}"
    whole = [checksum_of(name, body) for name in ("CRC32", "CRC32C", "CRC64NVME", "SHA1", "SHA256")]
    whole += [hashlib.md5(body).hexdigest(), base64.b64encode(hashlib.md5(body).digest()).decode()]
    assert not [value for value in whole if value in told]


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("body", [b"", b"small", BODY], ids=["empty", "inline", "stored"])
def test_an_object_in_every_mode(keys: Stage, mode: str, body: bytes) -> None:
    result = keys.put("k", body, **MODES[mode])
    assert shown(result) == SHOWN[mode]
    assert result["ChecksumCRC32"] == checksum_of("CRC32", body)
    assert check_object(keys, "k", mode, body) == result["ETag"]
    _, content = version_of(keys, "k")
    assert content.encryption == {"sse-c": "SSE-C"}.get(mode, "aws:kms" if "kms" in mode else "AES256")
    assert content.kms_key_id == (NAMED if "kms" in mode else "")
    envelope = Envelope.decode(content.wrapped_key)
    assert (envelope.bucket_key is not None) == (mode == "sse-kms-bucket-key")
    assert envelope.wrapped.provider == {"sse-c": "customer", "sse-kms-bucket-key": "bucket"}.get(mode, "memory")


@pytest.mark.parametrize("mode", MODES)
def test_opaque_etags_differ_each_time(keys: Stage, mode: str) -> None:
    one, two = (keys.put("k", BODY, **MODES[mode])["ETag"] for _ in range(2))
    assert (one == two) == (mode in ("none", "sse-s3"))


class Upload:
    """A multipart upload in one mode."""

    def __init__(self, stage: Stage, key: str, mode: str, **arguments: Any) -> None:
        self.stage, self.where, self.mode = stage, {"Bucket": "bucket", "Key": key}, mode
        made = stage.alice.create_multipart_upload(**self.where, **MODES[mode], **arguments)
        assert shown(made) == SHOWN[mode]
        self.where["UploadId"] = made["UploadId"]
        self.parts: list[dict[str, Any]] = []

    def put(self, body: bytes) -> dict[str, Any]:
        number = len(self.parts) + 1
        part: dict[str, Any] = self.stage.alice.upload_part(
            **self.where, PartNumber=number, Body=body, **reading(self.mode)
        )
        self.parts.append({"PartNumber": number, "ETag": part["ETag"]})
        return part

    def copy(self, source: str, source_mode: str, **arguments: Any) -> dict[str, Any]:
        number = len(self.parts) + 1
        source_key = customer(prefix="CopySource") if source_mode == "sse-c" else {}
        part: dict[str, Any] = self.stage.alice.upload_part_copy(
            **self.where,
            PartNumber=number,
            CopySource=f"bucket/{source}",
            **reading(self.mode),
            **source_key,
            **arguments,
        )
        self.parts.append({"PartNumber": number, "ETag": part["CopyPartResult"]["ETag"]})
        return part

    def complete(self, **arguments: Any) -> dict[str, Any]:
        result: dict[str, Any] = self.stage.alice.complete_multipart_upload(
            **self.where, MultipartUpload={"Parts": self.parts}, **arguments
        )
        return result


FIRST, LAST = bytes(range(256)) * (5 * MIB // 256), b"the last part"


@pytest.mark.parametrize("mode", MODES)
def test_a_multipart_upload_in_every_mode(keys: Stage, mode: str) -> None:
    upload = Upload(keys, "big", mode)
    for body in (FIRST, LAST):
        part = upload.put(body)
        told = {name: value for name, value in SHOWN[mode].items() if name != "SSECustomerKeyMD5"}
        assert shown(part).items() >= told.items()
        assert (part["ETag"] == f'"{hashlib.md5(body).hexdigest()}"') == (mode in ("none", "sse-s3"))
        assert part["ChecksumCRC32"] == checksum_of("CRC32", body)
    completing = written_out() if mode == "sse-c" else {}
    listed = keys.alice.list_parts(**upload.where, **completing)["Parts"]
    assert [part["ChecksumCRC32"] for part in listed] == [checksum_of("CRC32", body) for body in (FIRST, LAST)]
    for part, entry in zip(upload.parts, listed, strict=True):
        part["ChecksumCRC32"] = entry["ChecksumCRC32"]
    result = upload.complete(**completing)
    expected = SHOWN[mode] if mode != "sse-c" else {}
    assert shown(result) == expected
    assert result["ChecksumCRC32"].endswith("-2")
    assert check_object(keys, "big", mode, FIRST + LAST, parts=2) == result["ETag"]
    again = upload.complete(**completing)
    assert (again["ETag"], again["ChecksumCRC32"]) == (result["ETag"], result["ChecksumCRC32"])
    part_one = keys.alice.get_object(Bucket="bucket", Key="big", PartNumber=2, **reading(mode))
    assert (part_one["Body"].read(), part_one["PartsCount"]) == (LAST, 2)


def test_an_upload_under_sse_c_completes_without_its_key_but_without_checksums(keys: Stage) -> None:
    upload = Upload(keys, "big", "sse-c")
    upload.put(LAST)
    listed = keys.alice.list_parts(**upload.where)["Parts"]
    assert "ChecksumCRC32" not in listed[0]
    naming = [upload.parts[0] | {"ChecksumCRC32": checksum_of("CRC32", LAST)}]
    refused(
        keys.alice.complete_multipart_upload, 400, "InvalidRequest", **upload.where, MultipartUpload={"Parts": naming}
    )
    result = upload.complete()
    assert "ChecksumCRC32" not in result
    assert "ChecksumCRC32" not in upload.complete(**written_out())
    assert keys.body_of("big", **CUSTOMER) == LAST


def test_many_sealed_checksums_are_opened_in_turns(keys: Stage) -> None:
    upload = Upload(keys, "many", "sse-kms")
    for number in range(101):
        upload.put(b"%d" % number)
    listed = keys.alice.list_parts(**upload.where)["Parts"]
    assert [part["ChecksumCRC32"] for part in listed] == [checksum_of("CRC32", b"%d" % at) for at in range(101)]


PAIRS = list(itertools.product(MODES, MODES))


@pytest.mark.parametrize(("source", "target"), PAIRS)
def test_a_copy_between_any_two_modes(keys: Stage, source: str, target: str) -> None:
    keys.put("source", BODY, **MODES[source], Metadata={"a": "1"})
    source_key = customer(prefix="CopySource") if source == "sse-c" else {}
    blob_count = len(keys.rig.stored())
    result = keys.alice.copy_object(
        Bucket="bucket", Key="copy", CopySource="bucket/source", **MODES[target], **source_key
    )
    assert shown(result) == SHOWN[target]
    etag = check_object(keys, "copy", target, BODY)
    assert result["CopyObjectResult"]["ETag"] == etag
    assert result["CopyObjectResult"]["ChecksumCRC32"] == checksum_of("CRC32", BODY)
    before, after = version_of(keys, "source"), version_of(keys, "copy")
    is_shared = SHOWN[source] == SHOWN[target] and target != "sse-c"
    assert (before[1].content_id == after[1].content_id) == is_shared
    assert len(keys.rig.stored()) == blob_count + 1, "one link, or one object sealed anew"
    if not is_shared:
        assert before[1].blobs[0].salt != after[1].blobs[0].salt
        assert before[1].blobs[0].commitment != after[1].blobs[0].commitment
    assert (
        check_object(keys, "source", source, BODY)
        == keys.alice.head_object(Bucket="bucket", Key="source", **reading(source))["ETag"]
    )
    keys.alice.delete_object(Bucket="bucket", Key="source")
    check_object(keys, "copy", target, BODY)


@pytest.mark.parametrize(("source", "target"), PAIRS)
def test_a_part_copied_between_any_two_modes(keys: Stage, source: str, target: str) -> None:
    keys.put("source", BODY, **MODES[source])
    upload = Upload(keys, "copy", target)
    part = upload.copy("source", source, CopySourceRange="bytes=100-70000")
    assert shown(part) == SHOWN[target]
    copied = BODY[100:70001]
    assert (part["CopyPartResult"]["ETag"] == f'"{hashlib.md5(copied).hexdigest()}"') == (target in ("none", "sse-s3"))
    result = upload.complete(**(written_out() if target == "sse-c" else {}))
    assert check_object(keys, "copy", target, copied, parts=1) == result["ETag"]
    before, after = version_of(keys, "source")[1], version_of(keys, "copy")[1]
    assert before.content_id != after.content_id
    assert before.blobs[0].salt != after.blobs[0].salt


def test_a_completed_upload_copies_into_another_mode(keys: Stage) -> None:
    upload = Upload(keys, "big", "sse-c")
    for body in (FIRST, LAST):
        upload.put(body)
    upload.complete(**written_out())
    keys.alice.copy_object(Bucket="bucket", Key="copy", CopySource="bucket/big", **KMS, **customer(prefix="CopySource"))
    check_object(keys, "copy", "sse-kms", FIRST + LAST)
    keys.alice.copy_object(Bucket="bucket", Key="copy", CopySource="bucket/copy", **customer(OTHER_KEY))
    assert keys.body_of("copy", **customer(OTHER_KEY)) == FIRST + LAST


def test_a_copy_shares_only_under_the_same_key_and_context(keys: Stage) -> None:
    keys.rig.kms.create_key("another")
    context = base64.b64encode(b'{"a":"1"}').decode()
    keys.put("source", BODY, **KMS)
    content_id = version_of(keys, "source")[1].content_id
    for arguments, is_shared in (
        (KMS, True),
        (KMS | {"SSEKMSKeyId": ARN}, True),
        (KMS | {"SSEKMSKeyId": "another"}, False),
        (KMS | {"BucketKeyEnabled": True}, False),
        (KMS | {"SSEKMSEncryptionContext": context}, False),
        ({"ServerSideEncryption": "aws:kms"}, False),
    ):
        keys.alice.copy_object(Bucket="bucket", Key="copy", CopySource="bucket/source", **arguments)
        assert (version_of(keys, "copy")[1].content_id == content_id) == is_shared, arguments
        assert keys.body_of("copy") == BODY


def test_a_copy_onto_itself_may_change_its_encryption(keys: Stage) -> None:
    keys.put("k", BODY)
    for mode in ("sse-kms", "sse-s3", "sse-kms-bucket-key"):
        keys.alice.copy_object(Bucket="bucket", Key="k", CopySource="bucket/k", **MODES[mode])
        check_object(keys, "k", mode, BODY)
    keys.alice.copy_object(Bucket="bucket", Key="k", CopySource="bucket/k", **CUSTOMER)
    check_object(keys, "k", "sse-c", BODY)
    rotated = customer(OTHER_KEY) | customer(prefix="CopySource")
    keys.alice.copy_object(Bucket="bucket", Key="k", CopySource="bucket/k", **rotated)
    assert keys.body_of("k", **customer(OTHER_KEY)) == BODY
    refused(keys.alice.get_object, 403, "AccessDenied", Bucket="bucket", Key="k", **CUSTOMER)


# Refusals of SSE-C


def test_a_clients_key_must_be_the_right_one(keys: Stage) -> None:
    keys.put("plain", BODY)
    keys.put("c", BODY, **CUSTOMER)
    where = {"Bucket": "bucket", "Key": "c"}
    for call, no_key, wrong in (
        (keys.alice.get_object, "InvalidRequest", "AccessDenied"),
        (keys.alice.head_object, "400", "403"),
    ):
        refused(call, 400, no_key, **where)
        refused(call, 403, wrong, **where, **customer(OTHER_KEY))
        refused(call, 400, no_key, Bucket="bucket", Key="plain", **CUSTOMER)
    refused(keys.alice.get_object, 400, "InvalidRequest", **where, IfNoneMatch="*")
    copy = {"Bucket": "bucket", "Key": "copy"}
    calls: list[tuple[int, str, dict[str, Any]]] = [
        (400, "InvalidRequest", {"CopySource": "bucket/c"}),
        (400, "InvalidRequest", {"CopySource": "bucket/c"} | CUSTOMER),
        (403, "AccessDenied", {"CopySource": "bucket/c"} | customer(OTHER_KEY, "CopySource")),
        (400, "InvalidRequest", {"CopySource": "bucket/plain"} | customer(prefix="CopySource")),
    ]
    upload = Upload(keys, "copy", "sse-c")
    for status, code, arguments in calls:
        refused(keys.alice.copy_object, status, code, **copy, **arguments)
        refused(keys.alice.upload_part_copy, status, code, **upload.where, PartNumber=1, **(CUSTOMER | arguments))
    assert keys.keys() == ["c", "plain"]


def test_parts_come_with_the_key_of_their_upload(keys: Stage) -> None:
    closed, plain = Upload(keys, "c", "sse-c"), Upload(keys, "plain", "none")
    closed.put(LAST)
    for upload, key in ((closed, None), (closed, OTHER_KEY), (plain, KEY)):
        arguments = {} if key is None else customer(key)
        part = {**upload.where, "PartNumber": 1, **arguments}
        refused(keys.alice.upload_part, 400, "InvalidRequest", **part, Body=b"x")
        refused(keys.alice.upload_part_copy, 400, "InvalidRequest", **part, CopySource="bucket/none")
        if key is not None:
            refused(keys.alice.list_parts, 400, "InvalidRequest", **upload.where, **written_out(key))
            refused(
                keys.alice.complete_multipart_upload,
                400,
                "InvalidRequest",
                **upload.where,
                MultipartUpload={"Parts": closed.parts},
                **written_out(key),
            )
    assert keys.keys() == []
    assert len(keys.alice.list_parts(**closed.where)["Parts"]) == 1


def test_a_clients_key_is_never_kept(keys: Stage) -> None:
    keys.put("c", BODY, **CUSTOMER)
    assert keys.body_of("c", **CUSTOMER) == BODY
    md5 = hashlib.md5(KEY).digest()
    needles = [KEY, md5]
    needles += [base64.b64encode(needle) for needle in list(needles)]
    version, content = version_of(keys, "c")
    told = repr((keys.rig.catalogue.__dict__, version, content, version.attributes)).encode()
    told += content.wrapped_key + b"".join(keys.rig.stored().values())
    assert not [needle for needle in needles if needle in told or needle.hex().encode() in told]
    assert not keys.rig.keyring._cache._entries.keys() & {b""}
    before = len(keys.rig.keyring._cache)
    keys.body_of("c", **CUSTOMER)
    assert len(keys.rig.keyring._cache) == before


# SSE-KMS


def test_the_key_is_named_in_every_way(keys: Stage) -> None:
    for name in (NAMED, "alias/team/mine", ARN, "arn:aws:kms:us-east-1:000000000000:alias/team/mine"):
        assert keys.put("k", b"x", ServerSideEncryption="aws:kms", SSEKMSKeyId=name)["SSEKMSKeyId"] == ARN
    assert keys.put("k", b"x", ServerSideEncryption="aws:kms")["SSEKMSKeyId"] == DEFAULT_ARN


@pytest.mark.parametrize(
    "name", ["none", "alias/none", ARN.replace("us-east-1", "eu-west-1"), ARN.replace("0" * 12, "1" * 12), "alias/"]
)
def test_an_unknown_key_is_not_found(keys: Stage, name: str) -> None:
    named = {"ServerSideEncryption": "aws:kms", "SSEKMSKeyId": name}
    keys.put("source")
    for call, arguments in (
        (keys.alice.put_object, {"Body": b"x"}),
        (keys.alice.create_multipart_upload, {}),
        (keys.alice.copy_object, {"CopySource": "bucket/source"}),
    ):
        error = refused(call, 400, "KMS.NotFoundException", Bucket="bucket", Key="k", **named, **arguments)
        assert name not in error["Message"] or name == "none"
    assert keys.keys() == ["source"]


def test_a_key_that_is_switched_off_seals_and_opens_nothing(keys: Stage) -> None:
    for mode in ("sse-kms", "sse-kms-bucket-key"):
        keys.put(mode, BODY, **MODES[mode])
    keys.rig.kms.set_key_state(KeyState.DISABLED, NAMED)
    keys.rig.keyring.forget_all()
    for mode in ("sse-kms", "sse-kms-bucket-key"):
        refused(keys.alice.put_object, 400, "KMS.DisabledException", Bucket="bucket", Key="k", Body=b"", **MODES[mode])
        refused(keys.alice.get_object, 400, "KMS.DisabledException", Bucket="bucket", Key=mode)
        assert shown(keys.alice.head_object(Bucket="bucket", Key=mode)) == SHOWN[mode]
        refused(keys.alice.head_object, 400, "400", Bucket="bucket", Key=mode, ChecksumMode="ENABLED")
    refused(keys.alice.copy_object, 400, "KMS.DisabledException", Bucket="bucket", Key="k", CopySource="bucket/sse-kms")
    keys.rig.kms.set_key_state(KeyState.PENDING_DELETION, NAMED)
    refused(keys.alice.put_object, 400, "KMS.KMSInvalidStateException", Bucket="bucket", Key="k", Body=b"", **KMS)
    keys.rig.kms.set_key_state(KeyState.ENABLED, NAMED)
    assert keys.body_of("sse-kms") == BODY


def test_one_disabled_key_leaves_the_others_alone(keys: Stage) -> None:
    keys.put("k", BODY, **KMS)
    keys.rig.kms.set_key_state(KeyState.DISABLED)
    keys.rig.keyring.forget_all()
    assert keys.body_of("k") == BODY


def test_without_the_kms_what_needs_it_waits(keys: Stage) -> None:
    keys.put("k", BODY, **KMS)
    keys.put("c", BODY, **CUSTOMER)
    keys.rig.kms.fault = Fault.UNAVAILABLE
    keys.rig.keyring.forget_all()
    refused(keys.alice.put_object, 503, "ServiceUnavailable", Bucket="bucket", Key="n", Body=b"", **KMS)
    refused(keys.alice.get_object, 503, "ServiceUnavailable", Bucket="bucket", Key="k")
    assert shown(keys.alice.head_object(Bucket="bucket", Key="k")) == SHOWN["sse-kms"]
    assert keys.body_of("c", **CUSTOMER) == BODY, "a client's key needs no KMS"


def test_bucket_keys_are_per_bucket_and_key(keys: Stage) -> None:
    keys.rig.kms.create_key("another")
    keys.alice.create_bucket(Bucket="second")
    asked = [{"Bucket": bucket, "SSEKMSKeyId": name} for bucket in ("bucket", "second") for name in (NAMED, "another")]
    ids = []
    for arguments in asked * 2:
        keys.alice.put_object(Key="k", Body=b"x", ServerSideEncryption="aws:kms", BucketKeyEnabled=True, **arguments)
        bucket = keys.run(keys.rig.catalogue.get_bucket(arguments["Bucket"]))
        found = keys.run(keys.rig.catalogue.get_version(bucket.bucket_id, b"k"))
        envelope = Envelope.decode(found.content.wrapped_key)
        assert envelope.bucket_key is not None
        assert envelope.bucket_key.wrapped.kms_key_id == arguments["SSEKMSKeyId"]
        ids.append(envelope.bucket_key.bucket_key_id)
    assert ids[:4] == ids[4:]
    assert len(set(ids)) == 4


def test_an_encryption_context_is_bound_and_told_where_the_object_is_made(keys: Stage) -> None:
    context = base64.b64encode(json.dumps({"team": "ü", "a": "1"}).encode()).decode()
    arguments = KMS | {"SSEKMSEncryptionContext": context}
    result = keys.put("k", BODY, **arguments)
    told = json.loads(base64.b64decode(headers_of(result)[f"{SSE}-context"]))
    assert told == {"team": "ü", "a": "1"}
    assert f"{SSE}-context" not in headers_of(keys.alice.head_object(Bucket="bucket", Key="k"))
    check_object(keys, "k", "sse-kms", BODY)
    keys.alice.copy_object(Bucket="bucket", Key="shared", CopySource="bucket/k", **arguments)
    check_object(keys, "shared", "sse-kms", BODY)
    version, content = version_of(keys, "k")
    protection = ObjectAttributes.decode(version.attributes).protection
    assert protection.context == '{"a":"1","team":"ü"}'
    # The row with another context opens nothing, and no other object's.
    keys.rig.keyring.forget_all()
    for wrong in ("", '{"a":"2","team":"ü"}'):
        altered = replace(protection, context=wrong)
        attributes = replace(ObjectAttributes.decode(version.attributes), protection=altered).encode()
        found = keys.run(keys.rig.catalogue.get_version(keys.rig.bucket.bucket_id, b"k"))
        with pytest.raises(Exception, match="does not authenticate"):
            keys.run(keys.rig.objects.open(replace(found, version=replace(version, attributes=attributes)), 0, 1))
    assert content.kms_key_id == NAMED


def test_an_upload_keeps_its_context(keys: Stage) -> None:
    context = base64.b64encode(b'{"a":"1"}').decode()
    upload = Upload(keys, "big", "sse-kms", SSEKMSEncryptionContext=context)
    upload.put(LAST)
    upload.complete()
    check_object(keys, "big", "sse-kms", LAST, parts=1)


def test_modes_are_refused_where_they_are_not_taken(keys: Stage) -> None:
    keys.put("k", BODY)
    for method, headers in (
        ("GET", {SSE: "AES256"}),
        ("HEAD", {SSE: "aws:kms"}),
        ("GET", {f"{SSE}-aws-kms-key-id": NAMED}),
        ("DELETE", {f"{SSE}-customer-algorithm": "AES256"}),
    ):
        assert keys.raw(method, "/bucket/k", headers).status == 400
    answer = keys.raw("PUT", "/bucket/n", {SSE: "aws:kms:dsse"}, b"x")
    assert (answer.status, b"<Code>NotImplemented</Code>" in answer.body) == (501, True)
    assert keys.keys() == ["k"]


@pytest.fixture
def bucket_keys() -> Iterator[Stage]:
    from gateway.engine.custody import WrappingMode  # noqa: PLC0415

    with make_stage(wrapping=WrappingMode.BUCKET_KEY) as stage:
        yield stage


def test_the_setting_wrapping_is_for_sse_s3_alone(bucket_keys: Stage) -> None:
    bucket_keys.rig.kms.create_key(NAMED, "team/mine")
    for mode, has_bucket_key in (("sse-s3", True), ("sse-kms", False), ("sse-kms-bucket-key", True), ("sse-c", False)):
        bucket_keys.put("k", BODY, **MODES[mode])
        check_object(bucket_keys, "k", mode, BODY)
        envelope = Envelope.decode(version_of(bucket_keys, "k")[1].wrapped_key)
        assert (envelope.bucket_key is not None) == has_bucket_key
        assert Mode(version_of(bucket_keys, "k")[1].encryption)


# The bucket's default


def put_default(stage: Stage, algorithm: str = "aws:kms", **rule: Any) -> None:
    by_default = {"SSEAlgorithm": algorithm} | ({"KMSMasterKeyID": rule.pop("key")} if "key" in rule else {})
    stage.alice.put_bucket_encryption(
        Bucket="bucket",
        ServerSideEncryptionConfiguration={"Rules": [{"ApplyServerSideEncryptionByDefault": by_default, **rule}]},
    )


def rule_of(stage: Stage) -> dict[str, Any]:
    (rule,) = stage.alice.get_bucket_encryption(Bucket="bucket")["ServerSideEncryptionConfiguration"]["Rules"]
    found: dict[str, Any] = rule
    return found


def test_a_bucket_tells_its_default_until_it_is_taken_away(keys: Stage) -> None:
    plain = {"ApplyServerSideEncryptionByDefault": {"SSEAlgorithm": "AES256"}, "BucketKeyEnabled": False}
    assert rule_of(keys) == plain
    put_default(keys, key="alias/team/mine", BucketKeyEnabled=True)
    assert rule_of(keys) == {
        "ApplyServerSideEncryptionByDefault": {"SSEAlgorithm": "aws:kms", "KMSMasterKeyID": "alias/team/mine"},
        "BucketKeyEnabled": True,
    }
    put_default(keys, "AES256", BlockedEncryptionTypes={"EncryptionType": ["SSE-C"]})
    assert rule_of(keys) == plain | {"BlockedEncryptionTypes": {"EncryptionType": ["SSE-C"]}}
    assert headers_of(keys.alice.delete_bucket_encryption(Bucket="bucket"))
    missing = "ServerSideEncryptionConfigurationNotFoundError"
    refused(keys.alice.get_bucket_encryption, 404, missing, Bucket="bucket")
    keys.alice.delete_bucket_encryption(Bucket="bucket")
    assert shown(keys.put("k", BODY)) == SHOWN["none"]
    keys.put("k", BODY, **CUSTOMER)
    put_default(keys, "AES256")
    assert rule_of(keys) == plain


@pytest.mark.parametrize("bucket_key", [False, True])
def test_the_default_is_for_what_names_nothing(keys: Stage, bucket_key: bool) -> None:
    put_default(keys, key=NAMED, BucketKeyEnabled=bucket_key)
    by_default = "sse-kms-bucket-key" if bucket_key else "sse-kms"
    assert shown(keys.put("k", BODY)) == SHOWN[by_default]
    check_object(keys, "k", by_default, BODY)
    upload = Upload.__new__(Upload)
    upload.stage, upload.where, upload.mode, upload.parts = keys, {"Bucket": "bucket", "Key": "big"}, "none", []
    made = keys.alice.create_multipart_upload(**upload.where)
    assert shown(made) == SHOWN[by_default]
    upload.where["UploadId"] = made["UploadId"]
    upload.put(LAST)
    upload.complete()
    check_object(keys, "big", by_default, LAST, parts=1)
    keys.put("plain", BODY, ServerSideEncryption="AES256")
    check_object(keys, "plain", "sse-s3", BODY)
    copied = keys.alice.copy_object(Bucket="bucket", Key="copy", CopySource="bucket/plain")
    assert shown(copied) == SHOWN[by_default]
    check_object(keys, "copy", by_default, BODY)
    keys.put("c", BODY, **CUSTOMER)
    check_object(keys, "c", "sse-c", BODY)
    # `aws:kms` alone is the managed key, with the bucket's word on bucket keys; a request's own word comes first.
    managed = keys.put("m", BODY, ServerSideEncryption="aws:kms")
    assert (managed["SSEKMSKeyId"], managed.get("BucketKeyEnabled", False)) == (DEFAULT_ARN, bucket_key)
    turned = keys.put("m", BODY, ServerSideEncryption="aws:kms", BucketKeyEnabled=not bucket_key)
    assert turned.get("BucketKeyEnabled", False) is not bucket_key
    assert keys.put("m", BODY, BucketKeyEnabled=not bucket_key).get("BucketKeyEnabled", False) is not bucket_key


def test_a_bucket_key_needs_sse_kms(keys: Stage) -> None:
    refused(keys.alice.put_object, 400, "InvalidArgument", Bucket="bucket", Key="k", Body=b"", BucketKeyEnabled=True)


def test_a_default_key_that_is_not_there_is_found_out_by_the_first_write(keys: Stage) -> None:
    put_default(keys, key="alias/none")
    refused(keys.alice.put_object, 400, "KMS.NotFoundException", Bucket="bucket", Key="k", Body=b"")
    put_default(keys, key=NAMED)
    keys.rig.kms.set_key_state(KeyState.DISABLED, NAMED)
    refused(keys.alice.put_object, 400, "KMS.DisabledException", Bucket="bucket", Key="k", Body=b"")
    assert keys.keys() == []


def test_a_bucket_may_block_clients_keys(keys: Stage) -> None:
    keys.put("old", BODY, **CUSTOMER)
    upload = Upload(keys, "big", "sse-c")
    put_default(keys, "AES256", BlockedEncryptionTypes={"EncryptionType": ["SSE-C"]})
    for call, arguments in (
        (keys.alice.put_object, {"Body": b"x"}),
        (keys.alice.create_multipart_upload, {}),
        (keys.alice.copy_object, {"CopySource": "bucket/old"} | customer(prefix="CopySource")),
    ):
        refused(call, 403, "AccessDenied", Bucket="bucket", Key="k", **CUSTOMER, **arguments)
    check_object(keys, "old", "sse-c", BODY)
    upload.put(LAST)
    keys.alice.copy_object(Bucket="bucket", Key="copy", CopySource="bucket/old", **customer(prefix="CopySource"))
    check_object(keys, "copy", "sse-s3", BODY)
    put_default(keys, "AES256", BlockedEncryptionTypes={"EncryptionType": ["NONE"]})
    keys.put("new", BODY, **CUSTOMER)


@pytest.mark.parametrize(
    ("status", "code", "document"),
    [
        (400, "MalformedXML", ""),
        (400, "MalformedXML", "<X/>"),
        (400, "MalformedXML", "<ServerSideEncryptionConfiguration/>"),
        (400, "MalformedXML", "<R/><R/>"),
        (400, "MalformedXML", "<R><A><S>aes256</S></A></R>"),
        (400, "MalformedXML", "<R><A/></R>"),
        (400, "MalformedXML", "<R><A><S>AES256</S><S>AES256</S></A></R>"),
        (400, "MalformedXML", "<R><A><S>AES256</S></A><BucketKeyEnabled>yes</BucketKeyEnabled></R>"),
        (400, "MalformedXML", "<R><A><S>AES256</S></A><Other/></R>"),
        (400, "MalformedXML", "<R><A><S>AES256</S></A><B/></R>"),
        (400, "MalformedXML", "<R><A><S>AES256</S></A><B><E>SSE-KMS</E></B></R>"),
        (400, "MalformedXML", "<R><A><S>AES256</S></A><B><E>NONE</E><E>SSE-C</E></B></R>"),
        (400, "InvalidArgument", "<R><A><S>AES256</S><K>key</K></A></R>"),
        (400, "InvalidArgument", "<R><A><S>aws:kms</S><K>a key</K></A></R>"),
        (501, "NotImplemented", "<R><A><S>aws:kms:dsse</S></A></R>"),
    ],
)
def test_a_default_that_is_none_is_refused(keys: Stage, status: int, code: str, document: str) -> None:
    names = {
        "R": "Rule",
        "A": "ApplyServerSideEncryptionByDefault",
        "S": "SSEAlgorithm",
        "K": "KMSMasterKeyID",
        "B": "BlockedEncryptionTypes",
        "E": "EncryptionType",
    }
    written = re.sub(r"(?<=[</])[RASKBE](?=[/>])", lambda match: names[match[0]], document)
    if "Rule" in written:
        written = f"<ServerSideEncryptionConfiguration>{written}</ServerSideEncryptionConfiguration>"
    put_default(keys, key=NAMED)
    answer = keys.raw("PUT", "/bucket?encryption", body=written.encode())
    assert (answer.status, f"<Code>{code}</Code>".encode() in answer.body) == (status, True), answer.body
    assert rule_of(keys)["ApplyServerSideEncryptionByDefault"]["KMSMasterKeyID"] == NAMED


def test_only_the_owner_sets_a_default(keys: Stage) -> None:
    for call in (keys.bob.get_bucket_encryption, keys.bob.delete_bucket_encryption):
        refused(call, 403, "AccessDenied", Bucket="bucket")
    rule = {"ApplyServerSideEncryptionByDefault": {"SSEAlgorithm": "AES256"}}
    arguments = {"Bucket": "bucket", "ServerSideEncryptionConfiguration": {"Rules": [rule]}}
    refused(keys.bob.put_bucket_encryption, 403, "AccessDenied", **arguments)


def test_what_was_parsed_is_remembered_up_to_a_limit(keys: Stage, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(encryption, "_parsed", {})
    monkeypatch.setattr(encryption, "MAX_PARSED", 2)
    for name in (NAMED, "alias/team/mine", ARN, NAMED):
        put_default(keys, key=name)
        for _ in range(2):
            assert keys.put("k", b"x")["SSEKMSKeyId"] == ARN
        assert 1 <= len(encryption._parsed) <= 2


def test_a_default_that_goes_while_a_write_begins_is_none(keys: Stage, monkeypatch: pytest.MonkeyPatch) -> None:
    put_default(keys, key=NAMED)
    monkeypatch.setattr(encryption, "_parsed", {})

    async def gone(bucket_id: bytes, kind: str) -> None:
        assert (bucket_id, kind) == (keys.rig.bucket.bucket_id, encryption.CONFIGURATION)

    monkeypatch.setattr(keys.rig.catalogue, "get_configuration", gone)
    assert shown(keys.put("k", BODY)) == SHOWN["none"]
