"""Signatures of requests: who sent this, and did they send exactly this? Start at `authenticate`.

Source: AWS Signature Version 4 for S3, and Version 2 in presigned queries only.
"""

from gateway.s3.sigv4.authenticate import present, verify
from gateway.s3.sigv4.chunked import ChunkedDecoder, ChunkedLimits, ChunkSigner, decoded_content_length
from gateway.s3.sigv4.payload import Payload, PayloadMode
from gateway.s3.sigv4.presentation import Anonymous, Kind, Presentation, SignatureSettings, Verified

__all__ = [
    "Anonymous",
    "ChunkSigner",
    "ChunkedDecoder",
    "ChunkedLimits",
    "Kind",
    "Payload",
    "PayloadMode",
    "Presentation",
    "SignatureSettings",
    "Verified",
    "decoded_content_length",
    "present",
    "verify",
]
