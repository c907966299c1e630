"""A browser's upload form.

Source: AWS "POST Object".
"""

import re
from typing import Final
from urllib.parse import quote_from_bytes, urlsplit

from gateway.s3.addressing import Address
from gateway.s3.errors import PRECONDITION_FAILED, S3Error
from gateway.s3.form import FormRequest
from gateway.s3.parsing.objects import parse_put_object
from gateway.s3.request import Request
from gateway.s3.types import PostObjectInput

# RFC 3986 section 2: what an address may be made of, so that it can stand in a header.
_ADDRESS: Final = re.compile(r"[!#$%&'()*+,/0-9:;=?@A-Z\[\]_a-z~.-]+")
_DEFAULT_STATUS: Final = 204
_STATUSES: Final = {"200": 200, "201": 201}
"""Any other value means 204, as on AWS."""


def parse_post_object(request: Request, address: Address, document: bytes) -> PostObjectInput:
    """Read a form that `gateway.s3.form` has made a request of.

    Raises:
        S3Error: PreconditionFailed for a POST that is no form, or is signed like another request; what
            `parse_put_object` raises.
    """
    if not isinstance(request, FormRequest):
        raise S3Error(
            PRECONDITION_FAILED,
            fields={"Condition": "Bucket POST must be of the enclosure-type multipart/form-data"},
        )
    form = request.form
    return PostObjectInput(
        put=parse_put_object(request, address, document),
        location=_location(request, address),
        redirect=_redirect(form.get("success_action_redirect") or form.get("redirect") or ""),
        status=_STATUSES.get(form.get("success_action_status", ""), _DEFAULT_STATUS),
    )


def _location(request: Request, address: Address) -> str:
    """Where the object will be: the address that the form was sent to, and the key."""
    assert address.object_key is not None, "a form names one"
    host = request.headers.get("host") or ""
    path = request.raw_path.decode("ascii", "replace").rstrip("/")
    return f"https://{host}{path}/{quote_from_bytes(address.object_key, safe='')}"


def _redirect(text: str) -> str:
    """Give the address that the browser shall go to.

    "If Amazon S3 cannot interpret the URL, it acts as if the field is not present."
    """
    try:
        parts = urlsplit(text)
    except ValueError:
        return ""
    return text if parts.scheme in {"http", "https"} and parts.netloc and _ADDRESS.fullmatch(text) else ""
