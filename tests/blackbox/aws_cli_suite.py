"""What aws-cli must be able to do through the gateway, the same for version 1 and version 2.

Source: the aws-cli command reference for `s3` and `s3api`; S3-SEMANTICS for what the wire must carry.
"""

import json
import urllib.parse
import urllib.request
from pathlib import Path
from typing import Any, ClassVar

import pytest

from tests.blackbox.clients import (
    MIB,
    ODD_NAMES,
    Program,
    aws_cli,
    multipart_etag,
    payload,
    plant,
    sha256,
    tree,
)
from tests.blackbox.process import Gateway

_LARGE_BYTES = 64 * MIB


class AwsCliSuite:
    """Subclass with the tool's name, its exit code for a refusal by the service, and how it presigns."""

    tool: ClassVar[str]
    refused: ClassVar[int]
    presigned_by: ClassVar[str]

    @pytest.fixture
    def aws(self, gateway: Gateway, tmp_path: Path) -> Program:
        return aws_cli(self.tool, gateway, tmp_path)

    def refusal(self, aws: Program, *arguments: str, variables: dict[str, str] | None = None) -> str:
        """Run a command that the service must refuse; return what it said."""
        done = aws.run(*arguments, variables=variables)
        assert done.returncode == self.refused, done.stderr.decode()
        return done.stderr.decode()

    def test_version_is_the_one_named(self, aws: Program) -> None:
        major = self.tool.removeprefix("aws-cli-")
        assert aws("--version").decode().startswith(f"aws-cli/{major}.")

    def test_mb_ls_rb(self, aws: Program) -> None:
        name = f"made-by-{self.tool}"
        assert aws("s3", "mb", f"s3://{name}").decode().strip() == f"make_bucket: {name}"
        assert name in aws("s3", "ls").decode()
        aws("s3", "rb", f"s3://{name}")
        assert name not in aws("s3", "ls").decode()

    def test_odd_names_sync_there_and_back(self, aws: Program, bucket: str, s3: Any, tmp_path: Path) -> None:
        sent = plant(tmp_path / "sent")
        aws("s3", "sync", "sent", f"s3://{bucket}/a + b%/")
        stored = [entry["Key"] for entry in s3.list_objects_v2(Bucket=bucket)["Contents"]]
        assert stored == sorted((f"a + b%/{name}" for name in ODD_NAMES), key=str.encode)
        aws("s3", "sync", f"s3://{bucket}/a + b%/", "back")
        assert tree(tmp_path / "back") == sent
        listed = aws("s3", "ls", "--recursive", f"s3://{bucket}").decode()
        for name in ODD_NAMES:
            assert f"a + b%/{name}\n" in listed

    def test_sync_again_sends_nothing_and_delete_follows(self, aws: Program, bucket: str, tmp_path: Path) -> None:
        plant(tmp_path / "sent", ("one", "two/three", "two/four"))
        assert aws("s3", "sync", "sent", f"s3://{bucket}") != b""
        assert aws("s3", "sync", "sent", f"s3://{bucket}") == b""
        (tmp_path / "sent" / "two" / "four").unlink()
        assert b"two/four" in aws("s3", "sync", "--delete", "sent", f"s3://{bucket}")
        aws("s3", "sync", f"s3://{bucket}", "back")
        assert tree(tmp_path / "back") == tree(tmp_path / "sent")

    def test_large_file_goes_in_parts_and_comes_back(self, aws: Program, bucket: str, s3: Any, tmp_path: Path) -> None:
        content = payload(_LARGE_BYTES)
        (tmp_path / "large").write_bytes(content)
        aws("s3", "cp", "--no-progress", "large", f"s3://{bucket}/large")
        head = s3.head_object(Bucket=bucket, Key="large")
        assert (head["ContentLength"], head["ETag"]) == (_LARGE_BYTES, multipart_etag(content))
        aws("s3", "cp", "--no-progress", f"s3://{bucket}/large", "copy")
        assert sha256((tmp_path / "copy").read_bytes()) == sha256(content)
        aws("s3", "cp", "--no-progress", f"s3://{bucket}/large", f"s3://{bucket}/second")
        aws("s3", "cp", "--no-progress", f"s3://{bucket}/second", "second")
        assert sha256((tmp_path / "second").read_bytes()) == sha256(content)

    @pytest.mark.parametrize("size", [0, 1, 8 * MIB + 1])
    def test_pipe_in_and_out(self, aws: Program, bucket: str, size: int) -> None:
        content = payload(size)
        aws("s3", "cp", "-", f"s3://{bucket}/piped", stdin=content)
        assert sha256(aws("s3", "cp", f"s3://{bucket}/piped", "-")) == sha256(content)

    def test_mv_and_rm(self, aws: Program, bucket: str, s3: Any, tmp_path: Path) -> None:
        sent = plant(tmp_path / "sent", ("keep", "drop/one", "drop/two"))
        aws("s3", "cp", "--recursive", "sent", f"s3://{bucket}")
        aws("s3", "mv", f"s3://{bucket}/keep", f"s3://{bucket}/kept +%")
        aws("s3", "rm", "--recursive", f"s3://{bucket}/drop")
        assert [entry["Key"] for entry in s3.list_objects_v2(Bucket=bucket)["Contents"]] == ["kept +%"]
        assert sha256(aws("s3", "cp", f"s3://{bucket}/kept +%", "-")) == sent["keep"]
        aws("s3", "mv", f"s3://{bucket}/kept +%", "home")
        assert sha256((tmp_path / "home").read_bytes()) == sent["keep"]
        assert s3.list_objects_v2(Bucket=bucket)["KeyCount"] == 0

    def test_presigned_address_needs_no_client(self, aws: Program, gateway: Gateway, bucket: str, s3: Any) -> None:
        s3.put_object(Bucket=bucket, Key="by address +%", Body=b"presigned")
        address = aws("s3", "presign", f"s3://{bucket}/by address +%", "--expires-in", "60").decode().strip()
        assert self.presigned_by in urllib.parse.parse_qs(urllib.parse.urlsplit(address).query)
        with urllib.request.urlopen(address, context=gateway.tls_context(), timeout=20) as answer:
            assert answer.read() == b"presigned"

    def test_put_get_head(self, aws: Program, bucket: str, tmp_path: Path) -> None:
        content = payload(100_000)
        (tmp_path / "body").write_bytes(content)
        where = ("--bucket", bucket, "--key", "dir/an object")
        described = (
            "--metadata",
            "colour=blue,shape=round",
            "--content-type",
            "text/x-odd",
            "--cache-control",
            "no-store",
        )
        put = aws.json("s3api", "put-object", *where, "--body", "body", *described)
        assert put["ServerSideEncryption"] == "AES256"
        head = aws.json("s3api", "head-object", *where)
        assert head["ETag"] == put["ETag"]
        assert head["ContentLength"] == len(content)
        assert (head["ContentType"], head["CacheControl"]) == ("text/x-odd", "no-store")
        assert head["Metadata"] == {"colour": "blue", "shape": "round"}
        got = aws.json("s3api", "get-object", *where, "--range", "bytes=16380-49999", "part")
        assert (got["ContentLength"], got["ContentRange"]) == (33_620, "bytes 16380-49999/100000")
        assert (tmp_path / "part").read_bytes() == content[16380:50000]
        aws("s3api", "get-object", *where, "--range", "bytes=-7", "tail")
        assert (tmp_path / "tail").read_bytes() == content[-7:]

    @pytest.mark.parametrize("algorithm", ["CRC32", "SHA1", "SHA256"])
    def test_checksum_is_kept_and_checked(self, aws: Program, bucket: str, tmp_path: Path, algorithm: str) -> None:
        content = payload(40_000)
        (tmp_path / "body").write_bytes(content)
        where = ("--bucket", bucket, "--key", "summed")
        put = aws.json("s3api", "put-object", *where, "--body", "body", "--checksum-algorithm", algorithm)
        got = aws.json("s3api", "get-object", *where, "--checksum-mode", "ENABLED", "back")
        assert got[f"Checksum{algorithm}"] == put[f"Checksum{algorithm}"]
        assert (tmp_path / "back").read_bytes() == content

    def test_listing_pages(self, aws: Program, bucket: str, s3: Any) -> None:
        keys = [f"{folder}/{number:02}" for folder in ("a", "b", "c") for number in range(9)]
        for key in keys:
            s3.put_object(Bucket=bucket, Key=key, Body=key.encode())
        command = ("s3api", "list-objects-v2", "--bucket", bucket, "--page-size", "4")
        assert [entry["Key"] for entry in aws.json(*command)["Contents"]] == keys
        first = aws.json(*command, "--max-items", "10")
        rest = aws.json(*command, "--starting-token", first["NextToken"])
        assert [entry["Key"] for entry in first["Contents"] + rest["Contents"]] == keys
        folders = aws.json(*command, "--delimiter", "/")
        assert [entry["Prefix"] for entry in folders["CommonPrefixes"]] == ["a/", "b/", "c/"]
        assert [entry["Key"] for entry in aws.json(*command, "--prefix", "b/")["Contents"]] == keys[9:18]
        old = aws.json("s3api", "list-objects", "--bucket", bucket, "--page-size", "4")
        assert [entry["Key"] for entry in old["Contents"]] == keys

    def test_copy_and_delete_many(self, aws: Program, bucket: str, s3: Any) -> None:
        s3.put_object(Bucket=bucket, Key="from +%é", Body=b"copied", Metadata={"kept": "yes"})
        aws("s3api", "copy-object", "--bucket", bucket, "--key", "to", "--copy-source", f"{bucket}/from +%é")
        copy = s3.get_object(Bucket=bucket, Key="to")
        assert (copy["Body"].read(), copy["Metadata"]) == (b"copied", {"kept": "yes"})
        doomed = json.dumps({"Objects": [{"Key": "from +%é"}, {"Key": "to"}, {"Key": "never was"}]})
        gone = aws.json("s3api", "delete-objects", "--bucket", bucket, "--delete", doomed)
        assert {entry["Key"] for entry in gone["Deleted"]} == {"from +%é", "to", "never was"}
        assert "Errors" not in gone
        assert s3.list_objects_v2(Bucket=bucket)["KeyCount"] == 0

    def test_multipart_by_hand(self, aws: Program, bucket: str, tmp_path: Path) -> None:
        first, source = payload(5 * MIB, seed=1), payload(MIB, seed=2)
        (tmp_path / "first").write_bytes(first)
        (tmp_path / "source").write_bytes(source)
        aws("s3api", "put-object", "--bucket", bucket, "--key", "source", "--body", "source")
        where = ("--bucket", bucket, "--key", "joined")
        upload = aws.json("s3api", "create-multipart-upload", *where, "--content-type", "x/y")["UploadId"]
        part = (*where, "--upload-id", upload, "--part-number")
        one = aws.json("s3api", "upload-part", *part, "1", "--body", "first")["ETag"]
        span = ("--copy-source", f"{bucket}/source", "--copy-source-range", "bytes=100-899999")
        two = aws.json("s3api", "upload-part-copy", *part, "2", *span)["CopyPartResult"]["ETag"]
        listed = aws.json("s3api", "list-parts", *where, "--upload-id", upload)["Parts"]
        assert [(entry["PartNumber"], entry["Size"], entry["ETag"]) for entry in listed] == [
            (1, len(first), one),
            (2, 899_900, two),
        ]
        parts = json.dumps({"Parts": [{"PartNumber": 1, "ETag": one}, {"PartNumber": 2, "ETag": two}]})
        finish = (*where, "--upload-id", upload, "--multipart-upload", parts)
        assert aws.json("s3api", "complete-multipart-upload", *finish)["ETag"].endswith('-2"')
        got = aws.json("s3api", "get-object", *where, "joined")
        assert got["ContentType"] == "x/y"
        assert sha256((tmp_path / "joined").read_bytes()) == sha256(first + source[100:900_000])

    def test_aborted_upload_leaves_nothing(self, aws: Program, bucket: str) -> None:
        where = ("--bucket", bucket, "--key", "never")
        upload = aws.json("s3api", "create-multipart-upload", *where)["UploadId"]
        listed = aws.json("s3api", "list-multipart-uploads", "--bucket", bucket)["Uploads"]
        assert [(entry["Key"], entry["UploadId"]) for entry in listed] == [("never", upload)]
        aws("s3api", "abort-multipart-upload", *where, "--upload-id", upload)
        assert "Uploads" not in aws.json("s3api", "list-multipart-uploads", "--bucket", bucket)
        assert "NoSuchUpload" in self.refusal(aws, "s3api", "list-parts", *where, "--upload-id", upload)

    def test_refusals_name_their_code(self, aws: Program, bucket: str, s3: Any) -> None:
        s3.put_object(Bucket=bucket, Key="there", Body=b"there")
        get = ("s3api", "get-object", "--bucket", bucket, "--key")
        assert "NoSuchKey" in self.refusal(aws, *get, "absent", "out")
        assert "InvalidRange" in self.refusal(aws, *get, "there", "--range", "bytes=5-", "out")
        assert "NoSuchBucket" in self.refusal(aws, "s3api", "list-objects-v2", "--bucket", "no-such-bucket")
        assert "BucketNotEmpty" in self.refusal(aws, "s3api", "delete-bucket", "--bucket", bucket)
        once = ("s3api", "put-object", "--bucket", bucket, "--key", "there", "--if-none-match", "*")
        assert "PreconditionFailed" in self.refusal(aws, *once)
        assert s3.get_object(Bucket=bucket, Key="there")["Body"].read() == b"there"
        assert aws.run("s3", "cp", f"s3://{bucket}/absent", "out").returncode == 1
        assert aws.run("s3", "ls", f"s3://{bucket}/absent").returncode == 1

    def test_wrong_credentials_are_refused(self, aws: Program) -> None:
        wrong = {"AWS_SECRET_ACCESS_KEY": "not-the-secret-of-this-key"}
        assert "SignatureDoesNotMatch" in self.refusal(aws, "s3api", "list-buckets", variables=wrong)
        unknown = {"AWS_ACCESS_KEY_ID": "AKIAUNKNOWNUNKNOWN00"}
        assert "InvalidAccessKeyId" in self.refusal(aws, "s3api", "list-buckets", variables=unknown)

    def test_certificate_is_not_taken_on_trust(self, aws: Program) -> None:
        del aws.environment["AWS_CA_BUNDLE"]
        unsure = aws.run("s3api", "list-buckets")
        assert unsure.returncode != 0
        assert "SSL" in unsure.stderr.decode()
