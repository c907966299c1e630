"""What a request presents as proof of who sent it, before and after that proof was verified.

The secret is looked up between the two, outside and asynchronously; so each step is a pure function of its own and
these are the values that pass between them. Source: AWS "Authenticating Requests (AWS Signature Version 4)".
"""

from dataclasses import dataclass, field
from datetime import datetime
from enum import Enum
from typing import Final

from gateway.s3.sigv4.canonical import Scope
from gateway.s3.sigv4.chunked import ChunkSigner
from gateway.s3.sigv4.payload import Payload

NOBODYS_SECRET: Final = "0" * 40
"""As long as a real one: a request of an unknown key id costs what a wrong signature costs."""


class Kind(Enum):
    """The forms of authentication that are understood."""

    HEADER = "header"
    PRESIGNED_V4 = "presigned_v4"
    PRESIGNED_V2 = "presigned_v2"
    POST_V4 = "post_v4"
    POST_V2 = "post_v2"


@dataclass(frozen=True, slots=True)
class SignatureSettings:
    """What an operator may choose about signatures; times in seconds."""

    max_skew_s: int = 900
    max_presigned_s: int = 604_800
    presigned_v2: bool = True


@dataclass(frozen=True, slots=True)
class Anonymous:
    """A request that presents nothing. Whether that suffices is for access to say."""

    payload: Payload


@dataclass(frozen=True, slots=True)
class Presentation:
    """A well-formed, timely claim whose signature nobody has compared yet: trust none of it."""

    access_key_id: str
    kind: Kind
    payload: Payload
    signature: bytes = field(repr=False)
    timestamp: str
    """Time as it stands in the string to sign: `YYYYMMDDThhmmssZ`, or for SigV2 the seconds of expiry."""
    signed_headers: tuple[str, ...] = ()
    """Lower-case and sorted; empty for SigV2, which signs a fixed set."""
    scope: Scope | None = None
    """None for SigV2."""
    signed_at: datetime | None = None
    """None for SigV2, which states only its end."""
    expires_at: datetime | None = None
    """None for the header form."""
    bucket_from_host: str | None = None
    """For SigV2, whose resource names the bucket even where the path does not."""
    hoisted_headers: tuple[tuple[str, str], ...] = field(default=(), repr=False)
    """Headers that a presigned query carries as parameters (`x-amz-acl=...`), lower-cased; none that the request also
    sends as a header. Covered by the signature: they are to be obeyed or refused, never skipped."""


@dataclass(frozen=True, slots=True)
class Verified:
    """A claim whose signature was found right."""

    access_key_id: str
    kind: Kind
    payload: Payload
    signed_headers: tuple[str, ...]
    expires_at: datetime | None
    hoisted_headers: tuple[tuple[str, str], ...] = field(repr=False)
    chunk_signer: ChunkSigner | None = field(repr=False)
    """For the signed streaming forms, and only for them."""
