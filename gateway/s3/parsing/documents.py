"""What a request declares of an XML document in its body; whoever reads the document compares before it is parsed.

Source: AWS "Checking object integrity in Amazon S3".
"""

from gateway.s3.errors import MAX_MESSAGE_LENGTH_EXCEEDED, S3Error
from gateway.s3.headers import single
from gateway.s3.parsing import fields
from gateway.s3.query import effective_headers
from gateway.s3.request import Headers, Request
from gateway.s3.sigv4.chunked import decoded_content_length
from gateway.s3.types import PayloadExpectation
from gateway.s3.xml import MAX_DOCUMENT_BYTES


def document_expectation(request: Request, operation: str) -> PayloadExpectation:
    """Collect what is declared of a document: length in bytes where it is said, Content-MD5, SHA-256, checksum.

    The checksum headers of CompleteMultipartUpload speak of the object, not of the document, and are left out.

    Raises:
        S3Error: MaxMessageLengthExceeded beyond 4 MiB; InvalidDigest; InvalidRequest and NotImplemented for checksums;
            InvalidArgument and MissingContentLength for lengths that are no numbers.
    """
    headers = effective_headers(request)
    length = _length(headers)
    if length is not None and length > MAX_DOCUMENT_BYTES:
        raise S3Error(MAX_MESSAGE_LENGTH_EXCEEDED, fields={"MaxMessageLengthBytes": str(MAX_DOCUMENT_BYTES)})
    if operation == "CompleteMultipartUpload":
        headers = Headers((name, value) for name, value in headers.raw() if not name.startswith(b"x-amz-checksum-"))
    return fields.digests(headers, length)


def _length(headers: Headers) -> int | None:
    decoded = decoded_content_length(headers)
    return decoded if decoded is not None else fields.sent_length(single(headers, "content-length"))
