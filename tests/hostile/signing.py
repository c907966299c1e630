"""An attacker's own Signature Version 4: right by default, and every step of it can be bent.

Written from the AWS pages alone ("Create a signed AWS API request", "Signature calculations ... multiple chunks",
"Authenticating Requests: Using Query Parameters"); it shares no code with the gateway.
"""

import base64
import hashlib
import hmac
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from typing import Final
from urllib.parse import quote, unquote_to_bytes

EMPTY_HASH: Final = hashlib.sha256(b"").hexdigest()
UNSIGNED: Final = "UNSIGNED-PAYLOAD"
TRAILED: Final = "STREAMING-UNSIGNED-PAYLOAD-TRAILER"
SIGNED_CHUNKS: Final = "STREAMING-AWS4-HMAC-SHA256-PAYLOAD"
SIGNED_CHUNKS_TRAILED: Final = "STREAMING-AWS4-HMAC-SHA256-PAYLOAD-TRAILER"

Pairs = Sequence[tuple[str, str]]


@dataclass(frozen=True)
class Shot:
    """One request as it goes on the wire; text travels as ISO-8859-1, so that any byte can be sent."""

    method: str
    target: str
    headers: Pairs
    body: bytes = b""
    framed: bool = True
    """Whether `Content-Length` is written for the body; off where the headers frame it, or nothing shall."""

    def head(self) -> bytes:
        lines = [f"{self.method} {self.target} HTTP/1.1", *(f"{name}: {value}" for name, value in self.headers)]
        if self.framed and (self.body or self.method in {"PUT", "POST"}):
            lines.append(f"Content-Length: {len(self.body)}")
        return ("\r\n".join(lines) + "\r\n\r\n").encode("latin-1")

    def wire(self) -> bytes:
        return self.head() + self.body

    def with_header(self, name: str, value: str) -> "Shot":
        """Return the shot with one more header, which nobody signed."""
        return replace(self, headers=[*self.headers, (name, value)])

    def without(self, name: str) -> "Shot":
        return replace(self, headers=[pair for pair in self.headers if pair[0].lower() != name.lower()])

    def changed(self, name: str, value: str) -> "Shot":
        """Return the shot with another value of a header, after signing."""
        assert any(held.lower() == name.lower() for held, _ in self.headers)
        return replace(
            self, headers=[(held, value if held.lower() == name.lower() else old) for held, old in self.headers]
        )

    @property
    def authorization(self) -> str:
        return next(value for name, value in self.headers if name == "Authorization")

    def resigned(self, old: str, new: str) -> "Shot":
        """Return the shot with a piece of its Authorization header replaced."""
        assert old in self.authorization
        return self.changed("Authorization", self.authorization.replace(old, new))

    @property
    def signature(self) -> str:
        return self.authorization.rpartition("Signature=")[2]


@dataclass(frozen=True)
class Signer:
    """One access key at one endpoint. `ago_s` shifts the time of signing into the past (or future)."""

    access_key_id: str
    secret: str = field(repr=False)
    host: str
    region: str
    ago_s: float = 0
    service: str = "s3"
    terminal: str = "aws4_request"

    def bent(self, **changes: object) -> "Signer":
        return replace(self, **changes)  # type: ignore[arg-type]  # the tables name fields that there are

    def now(self) -> datetime:
        return datetime.now(UTC) - timedelta(seconds=self.ago_s)

    def scope(self, when: datetime) -> str:
        return f"{when:%Y%m%d}/{self.region}/{self.service}/{self.terminal}"

    def key(self, scope: str) -> bytes:
        derived = ("AWS4" + self.secret).encode()
        for part in scope.split("/"):
            derived = hmac.new(derived, part.encode(), hashlib.sha256).digest()
        return derived

    def sign(self, text: str, scope: str) -> str:
        return hmac.new(self.key(scope), text.encode("latin-1"), hashlib.sha256).hexdigest()

    def canonical_signature(
        self, method: str, target: str, headers: Pairs, names: str, payload: str, stamp: str, scope: str
    ) -> str:
        path, _, query = target.partition("?")
        values: dict[str, list[str]] = {}
        for name, value in headers:
            values.setdefault(name.lower(), []).append(" ".join(value.split()))
        lines = "".join(f"{name}:{','.join(values.get(name, []))}\n" for name in names.split(";"))
        fields = sorted(one if "=" in one else one + "=" for one in query.split("&") if one)
        path = quote(unquote_to_bytes(path.encode("latin-1")), safe="/-_.~")
        request = f"{method}\n{path}\n{'&'.join(fields)}\n{lines}\n{names}\n{payload}"
        digest = hashlib.sha256(request.encode("latin-1")).hexdigest()
        return self.sign(f"AWS4-HMAC-SHA256\n{stamp}\n{scope}\n{digest}", scope)

    def header(
        self,
        method: str,
        target: str,
        body: bytes = b"",
        headers: Pairs = (),
        *,
        payload: str | None = None,
        names: str | None = None,
        stamp: str | None = None,
        dated_by: str | None = "x-amz-date",
        scope: str | None = None,
        host: str | None = None,
        framed: bool = True,
    ) -> Shot:
        """Sign by the Authorization header. `payload` is x-amz-content-sha256, by default the body's own hash."""
        when = self.now()
        stamp = f"{when:%Y%m%dT%H%M%SZ}" if stamp is None else stamp
        scope = self.scope(when) if scope is None else scope
        declared = hashlib.sha256(body).hexdigest() if payload is None else payload
        sent = [("Host", host or self.host), *headers, ("x-amz-content-sha256", declared)]
        if dated_by is not None:
            sent.append((dated_by, stamp))
        names = names if names is not None else ";".join(sorted({name.lower() for name, _ in sent}))
        signature = self.canonical_signature(method, target, sent, names, declared, stamp, scope)
        credential = f"{self.access_key_id}/{scope}"
        text = f"AWS4-HMAC-SHA256 Credential={credential}, SignedHeaders={names}, Signature={signature}"
        return Shot(method, target, [*sent, ("Authorization", text)], body, framed)

    def presigned(
        self,
        method: str,
        target: str,
        body: bytes = b"",
        *,
        headers: Pairs = (),
        late: Pairs = (),
        changes: dict[str, str | None] | None = None,
        payload: str = UNSIGNED,
        expires: str = "300",
        late_query: str = "",
    ) -> Shot:
        """Sign by the query. `changes` replaces parameters before signing (None drops one)."""
        when = self.now()
        scope = self.scope(when)
        sent = [("Host", self.host), *headers]
        names = ";".join(sorted({name.lower() for name, _ in sent}))
        parameters: dict[str, str | None] = {
            "X-Amz-Algorithm": "AWS4-HMAC-SHA256",
            "X-Amz-Credential": f"{self.access_key_id}/{scope}",
            "X-Amz-Date": f"{when:%Y%m%dT%H%M%SZ}",
            "X-Amz-Expires": expires,
            "X-Amz-SignedHeaders": names,
        }
        parameters |= changes or {}
        has_signature = parameters.pop("X-Amz-Signature", "") is not None
        path, _, query = target.partition("?")
        fields = [query] if query else []
        fields += [f"{name}={quote(value, safe='')}" for name, value in parameters.items() if value is not None]
        unsigned_target = f"{path}?{'&'.join(fields)}"
        stamp = f"{when:%Y%m%dT%H%M%SZ}"
        signature = self.canonical_signature(method, unsigned_target, sent, names, payload, stamp, scope)
        full = unsigned_target + (f"&X-Amz-Signature={signature}" if has_signature else "") + late_query
        return Shot(method, full, [*sent, *late], body)

    def presigned_v2(self, method: str, target: str, *, expires: int, late_query: str = "", late: Pairs = ()) -> Shot:
        """Sign by Signature Version 2 in the query; `target` has signed subresources only."""
        text = f"{method}\n\n\n{expires}\n{target}"
        digest = hmac.new(self.secret.encode(), text.encode(), hashlib.sha1).digest()
        signature = quote(base64.b64encode(digest), safe="")
        join = "&" if "?" in target else "?"
        query = f"{join}AWSAccessKeyId={self.access_key_id}&Expires={expires}&Signature={signature}{late_query}"
        return Shot(method, target + query, [("Host", self.host), *late])

    def chunked(
        self,
        method: str,
        target: str,
        body: bytes,
        *,
        length: str | None,
        mode: str = TRAILED,
        trailer: str | None = "x-amz-checksum-crc32",
        headers: Pairs = (),
    ) -> Shot:
        """Sign a request whose aws-chunked `body` is given as it shall stand on the wire."""
        extra = [*headers, ("Content-Encoding", "aws-chunked")] if not _has(headers, "content-encoding") else [*headers]
        if length is not None:
            extra.append(("x-amz-decoded-content-length", length))
        if trailer is not None:
            extra.append(("x-amz-trailer", trailer))
        return self.header(method, target, body, extra, payload=mode)

    def signed_chunks(
        self,
        method: str,
        target: str,
        chunks: Sequence[bytes],
        *,
        trailers: Pairs = (),
        has_trailer: bool = False,
        forge: int | str | None = None,
        headers: Pairs = (),
    ) -> Shot:
        """Sign every chunk; `forge` is the index of the chunk (or "trailer") whose signature gets one digit wrong."""
        has_trailer = has_trailer or bool(trailers)
        mode = SIGNED_CHUNKS_TRAILED if has_trailer else SIGNED_CHUNKS
        announced = ",".join(name for name, _ in trailers) or None
        length = str(sum(map(len, chunks)))
        seed = self.chunked(method, target, b"", length=length, mode=mode, trailer=announced, headers=headers)
        stamp = next(value for name, value in seed.headers if name == "x-amz-date")
        scope = f"{stamp[:8]}/{self.region}/{self.service}/{self.terminal}"
        previous, wire = seed.signature, b""
        for index, chunk in enumerate([*chunks, b""]):
            digest = hashlib.sha256(chunk).hexdigest()
            text = f"AWS4-HMAC-SHA256-PAYLOAD\n{stamp}\n{scope}\n{previous}\n{EMPTY_HASH}\n{digest}"
            previous = self.sign(text, scope)
            shown = other_digit(previous) if forge == index else previous
            wire += b"%x;chunk-signature=%s\r\n" % (len(chunk), shown.encode()) + chunk + (b"\r\n" if chunk else b"")
        if has_trailer:
            text = "".join(f"{name}:{value}\n" for name, value in trailers)
            digest = hashlib.sha256(text.encode()).hexdigest()
            last = self.sign(f"AWS4-HMAC-SHA256-TRAILER\n{stamp}\n{scope}\n{previous}\n{digest}", scope)
            wire += text.replace("\n", "\r\n").encode()
            wire += b"x-amz-trailer-signature:%s\r\n" % (other_digit(last) if forge == "trailer" else last).encode()
        return replace(seed, body=wire + b"\r\n")


def other_digit(signature: str) -> str:
    """Change the last hex digit."""
    return signature[:-1] + ("0" if signature[-1] != "0" else "1")


def unsigned_chunks(chunks: Iterable[bytes], trailer: bytes | None = None) -> bytes:
    """Write the unsigned aws-chunked framing; `trailer` is the lines behind the last chunk, by default none."""
    wire = b"".join(b"%x\r\n%s\r\n" % (len(chunk), chunk) for chunk in chunks)
    return wire + b"0\r\n" + (trailer or b"") + b"\r\n"


def _has(headers: Pairs, name: str) -> bool:
    return any(held.lower() == name for held, _ in headers)
