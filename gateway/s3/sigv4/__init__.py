"""Signatures of requests: who sent this, and did they send exactly this? Start at `authenticate`.

Source: AWS Signature Version 4 for S3, and Version 2 in presigned queries only.
"""

from gateway.s3.sigv4.authenticate import present, verify
from gateway.s3.sigv4.chunked import ChunkedDecoder, ChunkedLimits, ChunkSigner, decoded_content_length
from gateway.s3.sigv4.payload import Payload, PayloadMode
from gateway.s3.sigv4.post_policy import PostPolicy, SizeRange, present_form, verify_form
from gateway.s3.sigv4.presentation import Anonymous, Kind, Presentation, SignatureSettings, Verified

__all__ = [
    "Anonymous",
    "ChunkSigner",
    "ChunkedDecoder",
    "ChunkedLimits",
    "Kind",
    "Payload",
    "PayloadMode",
    "PostPolicy",
    "Presentation",
    "SignatureSettings",
    "SizeRange",
    "Verified",
    "decoded_content_length",
    "present",
    "present_form",
    "verify",
    "verify_form",
]
