"""aws-chunked bodies as botocore's successors send them: the signature of the head, and the framing."""

import base64
import zlib

from botocore.auth import S3SigV4Auth
from botocore.awsrequest import AWSRequest
from botocore.credentials import Credentials

from tests.gateway.http.asgi import ACCESS_KEY_ID, HOST, SECRET

MODE = "STREAMING-UNSIGNED-PAYLOAD-TRAILER"


class _StreamingAuth(S3SigV4Auth):  # type: ignore[misc]  # botocore has no types
    def payload(self, request: AWSRequest) -> str:
        del request
        return MODE


def signed_streaming(method: str, target: str, decoded_length: int) -> list[tuple[bytes, bytes]]:
    """The signed head of an unsigned streaming upload with a CRC32 in its trailer."""
    headers = {
        "content-encoding": "aws-chunked",
        "x-amz-decoded-content-length": str(decoded_length),
        "x-amz-trailer": "x-amz-checksum-crc32",
    }
    request = AWSRequest(method, f"https://{HOST}{target}", headers=headers, data=b"")
    _StreamingAuth(Credentials(ACCESS_KEY_ID, SECRET), "s3", "us-east-1").add_auth(request)
    signed = [(name.lower().encode(), value.encode()) for name, value in request.headers.items()]
    return [(b"host", HOST.encode()), (b"transfer-encoding", b"chunked"), *signed]


def framed(payload: bytes, chunk_size: int = 65536, crc: int | None = None) -> bytes:
    """The payload in aws-chunked framing, with its CRC32 (or another) as trailer."""
    chunks = [payload[at : at + chunk_size] for at in range(0, len(payload), chunk_size)]
    value = base64.b64encode((zlib.crc32(payload) if crc is None else crc).to_bytes(4, "big"))
    body = b"".join(b"%x\r\n%s\r\n" % (len(chunk), chunk) for chunk in chunks)
    return body + b"0\r\nx-amz-checksum-crc32:" + value + b"\r\n\r\n"
