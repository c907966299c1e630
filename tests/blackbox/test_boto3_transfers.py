"""boto3's transfer manager, multipart by hand, and all five checksum algorithms.

Source: the boto3 S3 customisation reference; S3-SEMANTICS section 1. The CRT transfer client is never used: it ignores
the endpoint (boto3 issue 4839).
"""

import base64
import hashlib
import io
from pathlib import Path
from typing import Any, Final

import pytest
from boto3.s3.transfer import TransferConfig
from botocore.exceptions import ClientError

from tests.blackbox.clients import MIB, PART_BYTES, multipart_etag, payload, s3_client, sha256
from tests.blackbox.process import Gateway

_CLASSIC: Final = TransferConfig(preferred_transfer_client="classic")
_SERIAL: Final = TransferConfig(preferred_transfer_client="classic", use_threads=False)
_ALGORITHMS: Final = ("CRC32", "CRC32C", "CRC64NVME", "SHA1", "SHA256")


@pytest.mark.parametrize("config", [_CLASSIC, _SERIAL], ids=["threads", "serial"])
def test_large_file_in_parts(s3: Any, bucket: str, tmp_path: Path, config: TransferConfig) -> None:
    content = payload(64 * MIB)
    (tmp_path / "large").write_bytes(content)
    s3.upload_file(str(tmp_path / "large"), bucket, "large", Config=config, ExtraArgs={"Metadata": {"a": "1"}})
    head = s3.head_object(Bucket=bucket, Key="large")
    assert (head["ContentLength"], head["ETag"]) == (len(content), multipart_etag(content))
    assert head["Metadata"] == {"a": "1"}
    s3.download_file(bucket, "large", str(tmp_path / "back"), Config=config)
    assert sha256((tmp_path / "back").read_bytes()) == sha256(content)


@pytest.mark.slow
def test_gigabyte_there_and_back(s3: Any, bucket: str, tmp_path: Path) -> None:
    sent, back = tmp_path / "sent", tmp_path / "back"
    with sent.open("wb") as file:
        for index in range(128):
            file.write(payload(PART_BYTES, seed=index))
    s3.upload_file(str(sent), bucket, "gigabyte", Config=_CLASSIC)
    s3.download_file(bucket, "gigabyte", str(back), Config=_CLASSIC)
    with sent.open("rb") as one, back.open("rb") as other:
        assert hashlib.file_digest(one, "sha256").digest() == hashlib.file_digest(other, "sha256").digest()


def test_file_objects_and_odd_sizes(s3: Any, bucket: str) -> None:
    for size in (0, 1, PART_BYTES - 1, PART_BYTES, PART_BYTES + 1):
        content = payload(size)
        s3.upload_fileobj(io.BytesIO(content), bucket, "object", Config=_CLASSIC)
        back = io.BytesIO()
        s3.download_fileobj(bucket, "object", back, Config=_CLASSIC)
        assert sha256(back.getvalue()) == sha256(content)


def test_managed_copy_in_parts(s3: Any, bucket: str) -> None:
    content = payload(20 * MIB)
    s3.upload_fileobj(io.BytesIO(content), bucket, "from", Config=_CLASSIC)
    s3.copy({"Bucket": bucket, "Key": "from"}, bucket, "to", Config=_CLASSIC)
    assert s3.head_object(Bucket=bucket, Key="to")["ETag"].endswith('-3"')
    assert sha256(s3.get_object(Bucket=bucket, Key="to")["Body"].read()) == sha256(content)


def test_parts_keep_their_borders(s3: Any, bucket: str) -> None:
    parts = [payload(5 * MIB, seed=1), payload(5 * MIB + 7, seed=2), payload(3, seed=3)]
    where = {"Bucket": bucket, "Key": "parts"}
    upload = s3.create_multipart_upload(**where)["UploadId"]
    tags = []
    for number, part in enumerate(parts, start=1):
        sent = s3.upload_part(**where, UploadId=upload, PartNumber=number, Body=part)
        assert sent["ETag"] == f'"{hashlib.md5(part).hexdigest()}"'
        tags.append({"PartNumber": number, "ETag": sent["ETag"]})
    assert s3.list_objects_v2(Bucket=bucket)["KeyCount"] == 0
    done = s3.complete_multipart_upload(**where, UploadId=upload, MultipartUpload={"Parts": tags})
    again = s3.complete_multipart_upload(**where, UploadId=upload, MultipartUpload={"Parts": tags})
    assert again["ETag"] == done["ETag"]
    whole = b"".join(parts)
    for number, part in enumerate(parts, start=1):
        got = s3.get_object(**where, PartNumber=number)
        assert (got["PartsCount"], got["ETag"]) == (3, done["ETag"])
        assert sha256(got["Body"].read()) == sha256(part)
    border = 5 * MIB
    got = s3.get_object(**where, Range=f"bytes={border - 3}-{2 * border + 8}")
    assert sha256(got["Body"].read()) == sha256(whole[border - 3 : 2 * border + 9])


def test_part_sent_again_replaces(s3: Any, bucket: str) -> None:
    where = {"Bucket": bucket, "Key": "again"}
    upload = s3.create_multipart_upload(**where)["UploadId"]
    old = s3.upload_part(**where, UploadId=upload, PartNumber=1, Body=b"old")["ETag"]
    new = s3.upload_part(**where, UploadId=upload, PartNumber=1, Body=b"new")["ETag"]
    complete = {**where, "UploadId": upload}
    assert _complete_refused(s3, complete, [(1, old)]) == "InvalidPart"
    s3.complete_multipart_upload(**complete, MultipartUpload={"Parts": [{"PartNumber": 1, "ETag": new}]})
    assert s3.get_object(**where)["Body"].read() == b"new"


def test_completes_that_are_refused(s3: Any, bucket: str) -> None:
    where = {"Bucket": bucket, "Key": "refused"}
    upload = s3.create_multipart_upload(**where)["UploadId"]
    tags = [
        (number, s3.upload_part(**where, UploadId=upload, PartNumber=number, Body=b"small")["ETag"])
        for number in (1, 2)
    ]
    complete = {**where, "UploadId": upload}
    assert _complete_refused(s3, complete, tags) == "EntityTooSmall"
    assert _complete_refused(s3, complete, tags[::-1]) == "InvalidPartOrder"
    assert _complete_refused(s3, complete, [(3, tags[0][1])]) == "InvalidPart"
    assert _complete_refused(s3, complete, []) == "MalformedXML"
    assert _complete_refused(s3, complete | {"UploadId": "unknown"}, tags) == "NoSuchUpload"
    assert s3.list_objects_v2(Bucket=bucket)["KeyCount"] == 0
    s3.abort_multipart_upload(**complete)
    assert "Uploads" not in s3.list_multipart_uploads(Bucket=bucket)


def _complete_refused(s3: Any, complete: dict[str, str], parts: list[tuple[int, str]]) -> str:
    listed = [{"PartNumber": number, "ETag": tag} for number, tag in parts]
    with pytest.raises(ClientError) as caught:
        s3.complete_multipart_upload(**complete, MultipartUpload={"Parts": listed})
    return str(caught.value.response["Error"]["Code"])


@pytest.mark.parametrize("algorithm", _ALGORITHMS)
def test_checksum_of_a_single_put(s3: Any, bucket: str, algorithm: str) -> None:
    content = payload(100_000)
    where = {"Bucket": bucket, "Key": "summed"}
    put = s3.put_object(**where, Body=content, ChecksumAlgorithm=algorithm)
    # boto3 itself compares the body with the checksum of the answer, so reading to the end is a check as well.
    got = s3.get_object(**where, ChecksumMode="ENABLED")
    assert sha256(got["Body"].read()) == sha256(content)
    field = f"Checksum{algorithm}"
    head = s3.head_object(**where, ChecksumMode="ENABLED")
    assert got[field] == head[field] == put[field]
    assert got["ChecksumType"] == "FULL_OBJECT"
    if algorithm in {"SHA1", "SHA256"}:
        digest = hashlib.new(algorithm.lower(), content).digest()
        assert got[field] == base64.b64encode(digest).decode()
    assert s3.get_object(**where, Range="bytes=5-9", ChecksumMode="ENABLED")["Body"].read() == content[5:10]


@pytest.mark.parametrize("algorithm", _ALGORITHMS)
def test_wrong_checksum_changes_nothing(s3: Any, bucket: str, algorithm: str) -> None:
    where = {"Bucket": bucket, "Key": "summed"}
    before = s3.put_object(**where, Body=b"before", ChecksumAlgorithm=algorithm)
    stolen = {f"Checksum{algorithm}": before[f"Checksum{algorithm}"]}
    with pytest.raises(ClientError) as caught:
        s3.put_object(**where, Body=b"after!", **stolen)
    assert caught.value.response["Error"]["Code"] == "BadDigest"
    assert s3.get_object(**where)["Body"].read() == b"before"


@pytest.mark.parametrize("algorithm", _ALGORITHMS)
def test_checksum_of_parts(s3: Any, bucket: str, algorithm: str) -> None:
    content = payload(PART_BYTES + 12_345)
    s3.upload_fileobj(
        io.BytesIO(content), bucket, "summed", Config=_CLASSIC, ExtraArgs={"ChecksumAlgorithm": algorithm}
    )
    got = s3.get_object(Bucket=bucket, Key="summed", ChecksumMode="ENABLED")
    assert sha256(got["Body"].read()) == sha256(content)
    whole = algorithm == "CRC64NVME"
    assert got["ChecksumType"] == ("FULL_OBJECT" if whole else "COMPOSITE")
    assert got[f"Checksum{algorithm}"].endswith("-2") != whole


@pytest.mark.parametrize("algorithm", ["CRC32", "CRC32C", "CRC64NVME"])
def test_full_object_checksum_of_parts(s3: Any, bucket: str, algorithm: str) -> None:
    first, second = payload(5 * MIB, seed=1), payload(1000, seed=2)
    where = {"Bucket": bucket, "Key": "summed"}
    kind = {"ChecksumAlgorithm": algorithm}
    upload = s3.create_multipart_upload(**where, **kind, ChecksumType="FULL_OBJECT")["UploadId"]
    field = f"Checksum{algorithm}"
    parts = []
    for number, part in enumerate((first, second), start=1):
        sent = s3.upload_part(**where, **kind, UploadId=upload, PartNumber=number, Body=part)
        parts.append({"PartNumber": number, "ETag": sent["ETag"], field: sent[field]})
    finish = {"UploadId": upload, "MultipartUpload": {"Parts": parts}, "ChecksumType": "FULL_OBJECT"}
    done = s3.complete_multipart_upload(**where, **finish)
    single = s3.put_object(Bucket=bucket, Key="single", Body=first + second, **kind)
    assert done[field] == single[field]
    got = s3.get_object(**where, ChecksumMode="ENABLED")
    assert (got[field], sha256(got["Body"].read())) == (single[field], sha256(first + second))


@pytest.mark.parametrize("style", ["when_supported", "when_required"])
@pytest.mark.parametrize("signing", [True, False], ids=["signed", "unsigned"])
def test_payload_forms(gateway: Gateway, bucket: str, style: str, signing: bool) -> None:
    client = s3_client(
        gateway,
        request_checksum_calculation=style,
        response_checksum_validation=style,
        s3={"payload_signing_enabled": signing},
    )
    try:
        for size in (0, 1, 100_000, 3 * MIB):
            content = payload(size)
            client.put_object(Bucket=bucket, Key="form", Body=content)
            client.put_object(Bucket=bucket, Key="file", Body=io.BytesIO(content))
            for key in ("form", "file"):
                got = client.get_object(Bucket=bucket, Key=key)["Body"].read()
                assert sha256(got) == sha256(content)
    finally:
        client.close()


def test_content_md5(s3: Any, bucket: str) -> None:
    where = {"Bucket": bucket, "Key": "md5"}
    right = base64.b64encode(hashlib.md5(b"body").digest()).decode()
    s3.put_object(**where, Body=b"body", ContentMD5=right)
    with pytest.raises(ClientError) as caught:
        s3.put_object(**where, Body=b"evil", ContentMD5=right)
    assert caught.value.response["Error"]["Code"] == "BadDigest"
    assert s3.get_object(**where)["Body"].read() == b"body"
