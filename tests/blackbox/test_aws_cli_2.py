"""aws-cli version 2, frozen program; checksums are CRC64NVME unless told otherwise."""

from pathlib import Path
from typing import Any

from tests.blackbox.aws_cli_suite import AwsCliSuite
from tests.blackbox.clients import Program, payload, sha256


class TestAwsCli2(AwsCliSuite):
    tool = "aws-cli-2"
    refused = 254
    presigned_by = "X-Amz-Signature"

    def test_default_checksum_is_crc64nvme(self, aws: Program, bucket: str, s3: Any, tmp_path: Path) -> None:
        content = payload(70_000)
        (tmp_path / "body").write_bytes(content)
        put = aws.json("s3api", "put-object", "--bucket", bucket, "--key", "nvme", "--body", "body")
        got = s3.get_object(Bucket=bucket, Key="nvme", ChecksumMode="ENABLED")
        assert got["ChecksumCRC64NVME"] == put["ChecksumCRC64NVME"]
        assert sha256(got["Body"].read()) == sha256(content)
