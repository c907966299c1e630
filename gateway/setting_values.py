"""What values a setting may have, by kind: read strictly, refused in words that follow the setting's name.

The table that uses them is `gateway/config.py`.
"""

import ipaddress
import re
from pathlib import Path
from typing import Annotated, Final
from urllib.parse import urlsplit

from pydantic import AfterValidator, BeforeValidator, Field
from pydantic_settings import NoDecode

MAX_PORT: Final = 65_535
_HOST_NAME = re.compile(
    r"(?=.{1,253}\Z)[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?(\.[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?)*", re.IGNORECASE
)
_REGION = re.compile(r"[a-z0-9-]{1,32}")
_POSTGRES_NAME = re.compile(r"[A-Za-z0-9_-]{1,63}")
_KMS_NAME: Final = re.compile(r"[a-z][a-z0-9-]{0,31}", re.ASCII)
_S3_BUCKET: Final = re.compile(r"[a-z0-9][a-z0-9.-]{1,61}[a-z0-9]")
_S3_PREFIX: Final = re.compile(r"([A-Za-z0-9_][A-Za-z0-9._-]{0,62}/){1,8}")
_WEBHOOK_NAME: Final = re.compile(r"[a-z0-9][a-z0-9-]{0,62}")


def _split(value: object) -> object:
    return tuple(part.strip() for part in value.split(",")) if isinstance(value, str) else value


def _not_empty(value: object) -> object:
    # Path("") is the working directory, which nobody means who leaves a variable empty.
    if isinstance(value, str) and not value.strip():
        raise ValueError("is empty; give a path, or leave the setting out")
    return value


def _host(value: str) -> str:
    try:
        ipaddress.ip_address(value)
    except ValueError:
        # No top-level name is a number: 300.1.1.1 is a mistyped address, and no name server need be asked.
        if not _HOST_NAME.fullmatch(value) or value.rpartition(".")[2].isdigit():
            raise ValueError("takes an IP address, such as 127.0.0.1 or 0.0.0.0, or a host name") from None
    return value


def _loopback(value: str) -> str:
    # Whoever reaches this listener reads the gateway's state without signing in.
    if value != "localhost":
        try:
            address = ipaddress.ip_address(value)
        except ValueError:
            raise ValueError("must be a loopback address: 127.0.0.1, ::1 or localhost") from None
        if not address.is_loopback:
            raise ValueError("must be a loopback address: 127.0.0.1, ::1 or localhost; use a local scraper")
    return value


def _domain(value: str) -> str:
    if not _HOST_NAME.fullmatch(value):
        raise ValueError(f"{value[:100]!r} is not a host name")
    return value.lower()


def _webhook(value: str) -> str:
    name, _, url = value.partition("=")
    if not _WEBHOOK_NAME.fullmatch(name):
        raise ValueError("takes NAME=https://..., with small letters, digits and hyphens in the name, at most 63")
    try:
        parts = urlsplit(url)
        is_right = parts.scheme == "https" and bool(parts.hostname) and parts.port != 0
    except ValueError:
        is_right = False
    else:
        is_right = is_right and not parts.username and not parts.password and not parts.fragment
    if not is_right or not url.isascii() or not url.isprintable() or " " in url:
        raise ValueError(f"the webhook {name} needs an address https://HOST[:PORT]/PATH, without a user in it")
    return value


def _kms(value: str) -> str:
    if not _KMS_NAME.fullmatch(value):
        raise ValueError("takes local, or the name of a table in kms_file")
    return value


def _region(value: str) -> str:
    if not _REGION.fullmatch(value):
        raise ValueError("takes small letters, digits and hyphens, at most 32")
    return value


def _s3_endpoint(value: str) -> str:
    try:
        parts = urlsplit(value)
        is_right = parts.scheme == "https" and bool(parts.hostname) and parts.port != 0
    except ValueError:
        is_right = False
    else:
        is_right = is_right and parts.path in ("", "/") and not (parts.query or parts.fragment or "@" in parts.netloc)
    if value and (not is_right or not value.isascii()):
        raise ValueError("takes https://HOST[:PORT]; plain HTTP is never spoken")
    return value.rstrip("/")


def _s3_bucket(value: str) -> str:
    if value and not _S3_BUCKET.fullmatch(value):
        raise ValueError("takes the name of a bucket: small letters, digits, hyphens and dots, 3 to 63")
    return value


def _s3_prefix(value: str) -> str:
    if value and (not _S3_PREFIX.fullmatch(value) or not value.endswith("/")):
        raise ValueError("takes letters, digits, . _ - between slashes, and ends in a slash")
    return value


def _postgres_name(value: str) -> str:
    if not _POSTGRES_NAME.fullmatch(value):
        raise ValueError("takes letters, digits, hyphens and underscores, at most 63")
    return value


FilePath = Annotated[Path, BeforeValidator(_not_empty)]
Host = Annotated[str, AfterValidator(_host)]
Port = Annotated[int, Field(ge=1, le=MAX_PORT)]
Loopback = Annotated[str, AfterValidator(_loopback)]
Domain = Annotated[str, AfterValidator(_domain)]
Webhook = Annotated[str, AfterValidator(_webhook)]
KmsName = Annotated[str, AfterValidator(_kms)]
Region = Annotated[str, AfterValidator(_region)]
S3Endpoint = Annotated[str, AfterValidator(_s3_endpoint)]
S3Bucket = Annotated[str, AfterValidator(_s3_bucket)]
S3Prefix = Annotated[str, AfterValidator(_s3_prefix)]
PostgresName = Annotated[str, AfterValidator(_postgres_name)]
Domains = Annotated[tuple[Domain, ...], NoDecode, BeforeValidator(_split)]
Hosts = Annotated[tuple[Host, ...], NoDecode, BeforeValidator(_split)]
Webhooks = Annotated[tuple[Webhook, ...], NoDecode, BeforeValidator(_split)]
