"""client.env: the one file that makes every AWS tool work when it is sourced; and the lines shown at a start.

It holds a secret access key in the clear, as ~/.aws/credentials does: mode 0600, beside the keyring. Source: AWS CLI
"Environment variables", boto3 "Configuration", rclone "S3: Authentication".
"""

import ipaddress
import re
import shlex
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Final, Self

from gateway.cli.pki import TlsFiles
from gateway.config import Settings
from gateway.wiring.folders import Folders
from keys.safe_files import read_private_file, write_private_file

_MAX_BYTES: Final = 64 * 1024
_EXPORT = re.compile(r"export ([A-Z_]+)=(.*)", re.ASCII)
_UNSET = re.compile(r'if \[ "\$\{AWS_CA_BUNDLE:-\}" = (.*) \]; then unset AWS_CA_BUNDLE; fi')


@dataclass(frozen=True, slots=True)
class ClientEnv:
    """What a client must know. `is_private_ca`: the server's certificate is of the private CA, not the user's own."""

    endpoint_url: str
    ca_certificate: Path
    is_private_ca: bool
    region: str
    access_key_id: str
    secret_access_key: str = field(repr=False)

    @classmethod
    def of(cls, settings: Settings, folders: Folders, access_key_id: str, secret_access_key: str) -> Self:
        """The values of a gateway with these settings."""
        return cls(
            endpoint_url(settings),
            TlsFiles(folders.tls).ca_certificate,
            settings.tls_certificate is None,
            settings.region,
            access_key_id,
            secret_access_key,
        )

    @classmethod
    def outdated(cls, settings: Settings, folders: Folders) -> Self | None:
        """What client.env should say after a changed port, region or folder, with the credentials as they are.

        None where it says so already, where there is none (whoever keeps the secret elsewhere may remove the file),
        and where it holds other lines than ours: it is the user's by now.

        Raises:
            KeysError: it is open to others.
        """
        if not folders.client_env.exists():
            return None
        data = read_private_file(folders.client_env, _MAX_BYTES)
        held = cls._decode(data)
        if held is None:
            return None
        current = cls.of(settings, folders, held.access_key_id, held.secret_access_key)
        return None if current == held else current

    @classmethod
    def beside(cls, settings: Settings, folders: Folders) -> Self:
        """What clients of this gateway must know, without an access key.

        A command is seldom given the port and the names that the gateway was started with; client.env holds them.

        Raises:
            KeysError: client.env is open to others.
        """
        held = cls.read(folders.client_env) if folders.client_env.exists() else None
        return (
            cls.of(settings, folders, "", "") if held is None else replace(held, access_key_id="", secret_access_key="")
        )

    @classmethod
    def read(cls, path: Path) -> Self | None:
        """What a file says; None where it is not as it was written here. Raises: KeysError."""
        return cls._decode(read_private_file(path, _MAX_BYTES))

    def write(self, folders: Folders) -> None:
        """Write the file. Raises: KeysError."""
        write_private_file(folders.client_env, self.encode(), replace=True)

    def encode(self) -> bytes:
        """The file: lines for a POSIX shell."""
        values = {
            "AWS_ACCESS_KEY_ID": self.access_key_id,
            "AWS_SECRET_ACCESS_KEY": self.secret_access_key,
            "AWS_ENDPOINT_URL": self.endpoint_url,
            "AWS_CA_BUNDLE": str(self.ca_certificate),
            "AWS_REGION": self.region,
            "AWS_DEFAULT_REGION": self.region,
        }
        lines = {name: f"export {name}={shlex.quote(value)}\n" for name, value in values.items()}
        if not self.is_private_ca:
            # A shell that sourced an earlier file would go on trusting nothing but the private CA; a bundle of the
            # user's own stays.
            held = shlex.quote(str(self.ca_certificate))
            lines["AWS_CA_BUNDLE"] = f'if [ "${{AWS_CA_BUNDLE:-}}" = {held} ]; then unset AWS_CA_BUNDLE; fi\n'
        return "".join(lines.values()).encode("utf-8", "surrogateescape")

    @classmethod
    def _decode(cls, data: bytes) -> Self | None:
        values: dict[str, str] = {}
        is_private_ca = True
        for line in data.decode("utf-8", "surrogateescape").splitlines():
            unset = _UNSET.fullmatch(line)
            export = _EXPORT.fullmatch(line)
            name, quoted = ("AWS_CA_BUNDLE", unset[1]) if unset else export.groups() if export else ("", "")
            try:
                (values[name],) = shlex.split(quoted)
            except ValueError:
                return None
            is_private_ca = is_private_ca and not unset
        try:
            held = cls(
                values["AWS_ENDPOINT_URL"],
                Path(values["AWS_CA_BUNDLE"]),
                is_private_ca,
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
    if address.is_unspecified or host == "127.0.0.1":  # "localhost" need not be any other address of this machine
        host = "localhost"
    elif address.version == 6:
        host = f"[{host}]"
    return f"https://{host}:{settings.port}"
