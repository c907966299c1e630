"""The ways in which a request can say who sends it, by the attacker's own signer, which shares no code with us."""

import base64
import zlib
from collections.abc import Callable, Mapping
from typing import Final

from tests.hostile.signing import UNSIGNED, Shot, Signer, unsigned_chunks
from tests.hostile.test_post import Form
from tests.matrix.routes import Route

Way = Callable[[Signer, Route], Shot]

_CRC32: Final = "x-amz-checksum-crc32"


def _crc32(body: bytes) -> str:
    return base64.b64encode(zlib.crc32(body).to_bytes(4, "big")).decode()


def _hashed(who: Signer, route: Route) -> Shot:
    return who.header(route.method, route.target, route.body, list(route.headers.items()))


def _unsigned(who: Signer, route: Route) -> Shot:
    return who.header(route.method, route.target, route.body, list(route.headers.items()), payload=UNSIGNED)


def _chunks(who: Signer, route: Route) -> Shot:
    return who.signed_chunks(route.method, route.target, _pieces(route), headers=list(route.headers.items()))


def _chunks_and_trailer(who: Signer, route: Route) -> Shot:
    trailers = [(_CRC32, _crc32(route.body))]
    return who.signed_chunks(
        route.method, route.target, _pieces(route), trailers=trailers, headers=list(route.headers.items())
    )


def _unsigned_trailer(who: Signer, route: Route) -> Shot:
    wire = unsigned_chunks(_pieces(route), f"{_CRC32}:{_crc32(route.body)}\r\n".encode())
    return who.chunked(
        route.method, route.target, wire, length=str(len(route.body)), headers=list(route.headers.items())
    )


def _pieces(route: Route) -> list[bytes]:
    return [route.body] if route.body else []


def _presigned(who: Signer, route: Route) -> Shot:
    return who.presigned(route.method, route.target, route.body, headers=list(route.headers.items()))


def _form(who: Signer, route: Route) -> Shot:
    bucket = route.target.split("/")[1].partition("?")[0] or "no-bucket"
    shot = Form(who, {"key": "posted"}, target=route.target, bucket=bucket, content=route.body).shot()
    return Shot(route.method, shot.target, [*shot.headers, *route.headers.items()], shot.body)


def _anonymous(who: Signer, route: Route) -> Shot:
    return Shot(route.method, route.target, [("Host", who.host), *route.headers.items()], route.body)


WAYS: Final[Mapping[str, Way]] = {
    "hashed": _hashed,
    "unsigned payload": _unsigned,
    "signed chunks": _chunks,
    "signed chunks and trailer": _chunks_and_trailer,
    "unsigned chunks and trailer": _unsigned_trailer,
    "presigned": _presigned,
    "form": _form,
    "anonymous": _anonymous,
}
CHUNKED: Final = frozenset({"signed chunks", "signed chunks and trailer", "unsigned chunks and trailer"})
"""Ways that frame a body of their own."""
