"""A client's side of the signatures, written from the AWS pages alone: it shares no code with the gateway."""

import base64
import hashlib
import hmac
from collections.abc import Iterable
from datetime import UTC, datetime, timedelta
from urllib.parse import quote, unquote_to_bytes

from gateway.s3.request import Headers, Request

ACCESS_KEY_ID = "AKIDEXAMPLE"
SECRET = "wJalrXUtnFEMI/K7MDENG+bPxRfiCYEXAMPLEKEY"
NOW = datetime(2026, 11, 22, 12, 0, tzinfo=UTC)
REGION = "eu-central-1"
HOST = "s3.example.test"

Pairs = Iterable[tuple[str, str]]


def request_of(method: str, path: str, query: str, headers: Pairs, *, tls_version: str | None = "TLSv1.3") -> Request:
    return Request(
        method=method,
        raw_path=path.encode(),
        raw_query=query.encode(),
        headers=Headers((name.encode("latin-1"), value.encode("latin-1")) for name, value in headers),
        request_id="R",
        received_at=NOW,
        tls_version=tls_version,
    )


def amz_date(when: datetime) -> str:
    return when.strftime("%Y%m%dT%H%M%SZ")


def signing_key(secret: str, scope: str) -> bytes:
    key = ("AWS4" + secret).encode()
    for part in scope.split("/"):
        key = hmac.new(key, part.encode(), hashlib.sha256).digest()
    return key


def sign(method: str, path: str, query: str, headers: Pairs, payload: str, stamp: str, scope: str, names: str) -> str:
    values: dict[str, list[str]] = {}
    for name, value in headers:
        values.setdefault(name.lower(), []).append(" ".join(value.split()))
    lines = "".join(f"{name}:{','.join(values.get(name, []))}\n" for name in names.split(";"))
    ordered = "&".join(sorted(field if "=" in field else field + "=" for field in query.split("&") if field))
    path = quote(unquote_to_bytes(path), safe="/-_.~")
    text = f"{method}\n{path}\n{ordered}\n{lines}\n{names}\n{payload}"
    to_sign = f"AWS4-HMAC-SHA256\n{stamp}\n{scope}\n{hashlib.sha256(text.encode()).hexdigest()}"
    return hmac.new(signing_key(SECRET, scope), to_sign.encode(), hashlib.sha256).hexdigest()


def header_request(
    method: str = "PUT",
    path: str = "/bucket/key",
    query: str = "",
    extra: Pairs = (),
    *,
    payload: str | None = "UNSIGNED-PAYLOAD",
    when: datetime = NOW,
    stamp: str | None = None,
    dated_by: str | None = "x-amz-date",
    scope: str | None = None,
    names: str | None = None,
    late: Pairs = (),
    authorization: str = "AWS4-HMAC-SHA256 Credential={id}/{scope}, SignedHeaders={names}, Signature={signature}",
) -> Request:
    """A signed request; `late` headers are added after signing, `names` replaces the list that is claimed."""
    stamp = amz_date(when) if stamp is None else stamp
    scope = scope if scope is not None else f"{when:%Y%m%d}/{REGION}/s3/aws4_request"
    headers = [("host", HOST), *extra]
    if dated_by is not None:
        headers.append((dated_by, stamp))
    if payload is not None:
        headers.append(("x-amz-content-sha256", payload))
    names = names if names is not None else ";".join(sorted({name.lower() for name, _ in headers}))
    signature = sign(method, path, query, headers, payload or "", amz_date(when), scope, names)
    value = authorization.format(id=ACCESS_KEY_ID, scope=scope, names=names, signature=signature)
    return request_of(method, path, query, [*headers, *late, ("authorization", value)])


def presigned_request(
    method: str = "GET",
    path: str = "/bucket/key",
    query: str = "",
    extra: Pairs = (),
    *,
    when: datetime = NOW,
    changed: dict[str, str | None] | None = None,
    payload: str = "UNSIGNED-PAYLOAD",
    late: Pairs = (),
    late_query: str = "",
) -> Request:
    """A presigned request; `changed` replaces parameters (None drops one) before signing."""
    scope = f"{when:%Y%m%d}/{REGION}/s3/aws4_request"
    headers = [("host", HOST), *extra]
    parameters: dict[str, str | None] = {
        "X-Amz-Algorithm": "AWS4-HMAC-SHA256",
        "X-Amz-Credential": f"{ACCESS_KEY_ID}/{scope}",
        "X-Amz-Date": amz_date(when),
        "X-Amz-Expires": "3600",
        "X-Amz-SignedHeaders": ";".join(sorted({name.lower() for name, _ in headers})),
    }
    parameters |= changed or {}
    drop_signature = "X-Amz-Signature" in parameters and parameters.pop("X-Amz-Signature") is None
    fields = [query] if query else []
    fields += [f"{name}={quote(value, safe='')}" for name, value in parameters.items() if value is not None]
    names = parameters["X-Amz-SignedHeaders"] or "host"
    signature = sign(method, path, "&".join(fields), headers, payload, amz_date(when), scope, names)
    if not drop_signature:
        fields.append(f"X-Amz-Signature={signature}")
    return request_of(method, path, "&".join(fields) + late_query, [*headers, *late])


def presigned_v2_request(
    method: str = "GET",
    path: str = "/bucket/key",
    query: str = "",
    extra: Pairs = (),
    *,
    expires: str | None = None,
    resource: str | None = None,
    changed: dict[str, str | None] | None = None,
    late_query: str = "",
    tls_version: str | None = "TLSv1.3",
) -> Request:
    """A SigV2 presigned request; `resource` is the canonical resource, by default the path with the query."""
    expires = expires if expires is not None else str(int((NOW + timedelta(hours=1)).timestamp()))
    held = {name.lower(): value for name, value in extra}
    amz = "".join(f"{name}:{value}\n" for name, value in sorted(held.items()) if name.startswith("x-amz-"))
    resource = resource if resource is not None else path + (f"?{query}" if query else "")
    md5, content_type = held.get("content-md5", ""), held.get("content-type", "")
    text = f"{method}\n{md5}\n{content_type}\n{expires}\n{amz}{resource}"
    signature = base64.b64encode(hmac.new(SECRET.encode(), text.encode(), hashlib.sha1).digest()).decode()
    parameters: dict[str, str | None] = {
        "AWSAccessKeyId": ACCESS_KEY_ID,
        "Expires": expires,
        "Signature": signature,
    }
    parameters |= changed or {}
    fields = [query] if query else []
    fields += [f"{name}={quote(value, safe='')}" for name, value in parameters.items() if value is not None]
    headers = [("host", HOST), *extra]
    return request_of(method, path, "&".join(fields) + late_query, headers, tls_version=tls_version)
