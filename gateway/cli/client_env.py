"""client.env: the one file that makes every AWS tool work when it is sourced; and the lines shown at a start.

It holds a secret access key in the clear, as ~/.aws/credentials does: mode 0600, beside the keyring. Source: AWS CLI
"Environment variables", boto3 "Configuration", rclone "S3: Authentication".
"""

import ipaddress
import re
import shlex
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final, Self

from gateway.cli.pki import TlsFiles
from gateway.config import Settings
from gateway.wiring import Folders
from keys.safe_files import read_private_file, write_private_file

_MAX_BYTES: Final = 64 * 1024
_LINE = re.compile(r"export ([A-Z_]+)=(.*)", re.ASCII)


@dataclass(frozen=True, slots=True)
class ClientEnv:
    """What a client must know. `ca_bundle` is None where the server's certificate is the user's own."""

    endpoint_url: str
    ca_bundle: Path | None
    region: str
    access_key_id: str
    secret_access_key: str = field(repr=False)

    @classmethod
    def of(cls, settings: Settings, folders: Folders, access_key_id: str, secret_access_key: str) -> Self:
        """The values of a gateway with these settings."""
        ca_bundle = TlsFiles(folders.tls).ca_certificate if settings.tls_certificate is None else None
        return cls(endpoint_url(settings), ca_bundle, settings.region, access_key_id, secret_access_key)

    @classmethod
    def refresh(cls, settings: Settings, folders: Folders) -> bool:
        """Follow a changed port, region or folder, with the credentials as they are; tell whether anything changed.

        A file that holds other lines than ours is left alone: it is the user's by now.

        Raises:
            FileNotFoundError: there is no such file.
            KeysError: it is open to others.
        """
        if not folders.client_env.exists():
            raise FileNotFoundError(folders.client_env)
        data = read_private_file(folders.client_env, _MAX_BYTES)
        held = cls._decode(data)
        if held is None:
            return False
        current = cls.of(settings, folders, held.access_key_id, held.secret_access_key)
        if current == held:
            return False
        write_private_file(folders.client_env, current.encode(), replace=True)
        return True

    def encode(self) -> bytes:
        """The file: `export` lines for a POSIX shell."""
        values = {
            "AWS_ACCESS_KEY_ID": self.access_key_id,
            "AWS_SECRET_ACCESS_KEY": self.secret_access_key,
            "AWS_ENDPOINT_URL": self.endpoint_url,
            "AWS_CA_BUNDLE": None if self.ca_bundle is None else str(self.ca_bundle),
            "AWS_REGION": self.region,
            "AWS_DEFAULT_REGION": self.region,
        }
        lines = [f"export {name}={shlex.quote(value)}\n" for name, value in values.items() if value is not None]
        return "".join(lines).encode("utf-8", "surrogateescape")

    @classmethod
    def _decode(cls, data: bytes) -> Self | None:
        values: dict[str, str] = {}
        for line in data.decode("utf-8", "surrogateescape").splitlines():
            match = _LINE.fullmatch(line)
            try:
                words = shlex.split(match[2]) if match else []
            except ValueError:
                words = []
            if match is None or len(words) != 1:
                return None
            values[match[1]] = words[0]
        try:
            held = cls(
                values["AWS_ENDPOINT_URL"],
                Path(values["AWS_CA_BUNDLE"]) if "AWS_CA_BUNDLE" in values else None,
                values["AWS_REGION"],
                values["AWS_ACCESS_KEY_ID"],
                values["AWS_SECRET_ACCESS_KEY"],
            )
        except KeyError:
            return None
        return held if held.encode() == data else None


def endpoint_url(settings: Settings) -> str:
    """The URL that clients on this machine use: a name of the certificate, unless one address is listened on."""
    host = settings.host
    try:
        address = ipaddress.ip_address(host)
    except ValueError:
        return f"https://{host}:{settings.port}"
    if address.is_loopback or address.is_unspecified:
        host = "localhost"
    elif address.version == 6:
        host = f"[{host}]"
    return f"https://{host}:{settings.port}"
