"""Object lock at the backend: a blob is put under COMPLIANCE, which nobody can take off or shorten, until a time.

Source: https://docs.aws.amazon.com/AmazonS3/latest/API/API_PutObjectRetention.html and .../userguide/object-lock.html.
"""

from datetime import UTC, datetime, timedelta
from typing import Final

from storage.blobs.s3_backend import Backend, Call, Checksum, checksum_headers
from storage.errors import BlobMissing

_OK, _NOT_FOUND = 200, 404
_MODE: Final = "COMPLIANCE"
_DOING: Final = "having a blob kept"


async def retain_object(backend: Backend, name: str, until: datetime) -> None:
    """Have an object kept until then, or longer where it is already.

    Raises: BlobMissing, StorageUnavailable.
    """
    whole = until.astimezone(UTC).replace(microsecond=0)
    ends = whole if whole >= until else whole + timedelta(seconds=1)
    body = (
        '<Retention xmlns="http://s3.amazonaws.com/doc/2006-03-01/">'
        f"<Mode>{_MODE}</Mode><RetainUntilDate>{ends:%Y-%m-%dT%H:%M:%SZ}</RetainUntilDate></Retention>"
    ).encode("ascii")
    # S3 wants a sum of this body, and this is the one that every server knows.
    headers = {"Content-Type": "application/xml"} | checksum_headers(Checksum.MD5, [body])
    answer = await backend.ask(Call("PUT", name, {"retention": ""}, headers, (body,)), _DOING)
    if answer.status == _NOT_FOUND and answer.code in ("", "NoSuchKey", "NoSuchVersion"):
        raise BlobMissing("a blob is missing")
    if answer.status == _OK and not answer.code:
        return
    # Refused, unless it is because it would shorten what is asked for by another who shares the blob.
    held = await retention_of(backend, name)
    if held is None or held < ends:
        answer.expect(_DOING, _OK)


async def retention_of(backend: Backend, name: str) -> datetime | None:
    """Until when the backend keeps an object against everybody; None where it does not. Raises: StorageUnavailable."""
    answer = await backend.ask(Call("GET", name, {"retention": ""}), _DOING)
    if answer.status != _OK or answer.code:
        return None
    told = answer.document(_DOING, "Retention")
    if told.findtext("Mode") != _MODE:
        return None
    try:
        return parsed_time(told.findtext("RetainUntilDate"))
    except ValueError:
        return None


def parsed_time(text: str | None) -> datetime:
    """A time of an XML document, aware. Raises: ValueError."""
    moment = datetime.fromisoformat(text or "")
    return moment if moment.tzinfo is not None else moment.replace(tzinfo=UTC)
