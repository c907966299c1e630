"""The bucket that the settings name as blob store: its files are read when it is opened, and not kept."""

import re
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Final

from gateway.config import Settings
from keys.errors import KeyringError
from keys.safe_files import read_private_file

if TYPE_CHECKING:
    from storage.blobs.s3 import S3BlobStore

_MAX_CREDENTIALS_BYTES: Final = 8192
_MAX_KEY_BYTES: Final = 64 * 1024
_CREDENTIAL: Final = re.compile(
    r"(?:export )?(AWS_ACCESS_KEY_ID|AWS_SECRET_ACCESS_KEY|AWS_SESSION_TOKEN)=([!-~]{1,4096})", re.ASCII
)


@dataclass(frozen=True, slots=True)
class BucketPlace:
    """Where the blobs are, if in a bucket."""

    settings: Settings

    def __str__(self) -> str:
        return f"{self.settings.s3_endpoint}/{self.settings.s3_bucket}/{self.settings.s3_prefix}"

    def open(self) -> "S3BlobStore":
        """The store; nothing is sent yet.

        Raises:
            KeyringError: the credentials, the authorities or the client certificate cannot be read.
        """
        # Deferred: the client of S3 is needed by those alone whose blobs lie there.
        from gateway.engine.webhooks import client_context  # noqa: PLC0415
        from storage.blobs.s3 import S3BlobStore  # noqa: PLC0415
        from storage.blobs.s3_backend import Checksum, S3Target  # noqa: PLC0415

        settings = self.settings
        assert settings.s3_credentials_file is not None, "the settings see to that"
        credentials = _credentials(settings.s3_credentials_file)
        try:
            tls = client_context(settings.s3_ca_file)
        except OSError:
            raise KeyringError(f"{settings.s3_ca_file} holds no authorities; correct s3_ca_file") from None
        if settings.s3_client_certificate is not None and settings.s3_client_key is not None:
            read_private_file(settings.s3_client_key, _MAX_KEY_BYTES)
            try:
                tls.load_cert_chain(settings.s3_client_certificate, settings.s3_client_key)
            except OSError:
                raise KeyringError("s3_client_certificate and s3_client_key cannot be used; correct them") from None
        return S3BlobStore(
            S3Target(
                endpoint=settings.s3_endpoint,
                bucket=settings.s3_bucket,
                prefix=settings.s3_prefix,
                region=settings.s3_region,
                access_key_id=credentials["AWS_ACCESS_KEY_ID"],
                secret_access_key=credentials["AWS_SECRET_ACCESS_KEY"],
                session_token=credentials.get("AWS_SESSION_TOKEN", ""),
                tls=tls,
                virtual_hosted=settings.s3_addressing == "virtual",
                checksum=Checksum(settings.s3_checksum),
                timeout_s=settings.s3_timeout_s,
                tries=settings.s3_tries,
                connections=settings.s3_connections,
                held_bytes=settings.s3_held_bytes,
            )
        )


def _credentials(file: Path) -> dict[str, str]:
    text = read_private_file(file, _MAX_CREDENTIALS_BYTES).decode("utf-8", "replace")
    lines = (_CREDENTIAL.fullmatch(line.strip()) for line in text.splitlines())
    found = {line[1]: line[2] for line in lines if line is not None}
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
        if name not in found:
            raise KeyringError(f"{file} has no line {name}=...; write it into s3_credentials_file")
    return found
