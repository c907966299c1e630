"""Every setting of Sealgate in one table, and the only code that reads the environment and the settings file.

Sources in rising order: a TOML file (`--config` or `SEALGATE_CONFIG`), the environment (`SEALGATE_<NAME>`), flags.
Unknown names are errors in each of them. docs/SETTINGS.md is written from this table (`sealgate settings --markdown`).
"""

import os
import tomllib
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, Literal, Self

from pydantic import Field, SecretStr, ValidationError, model_validator
from pydantic_core import ErrorDetails, PydanticUndefined
from pydantic_settings import (
    BaseSettings,
    EnvSettingsSource,
    PydanticBaseSettingsSource,
    SettingsConfigDict,
    TomlConfigSettingsSource,
)

from gateway.errors import SettingsError
from gateway.setting_values import (
    MAX_PORT,
    Domains,
    FilePath,
    Host,
    Hosts,
    KmsName,
    Loopback,
    Port,
    PostgresName,
    Region,
    S3Bucket,
    S3Endpoint,
    S3Prefix,
    Webhooks,
)

ENVIRONMENT_PREFIX: Final = "SEALGATE_"
CONFIG_VARIABLE: Final = ENVIRONMENT_PREFIX + "CONFIG"
"""Names the settings file; the one variable that is no setting itself."""

DEFAULT_DATA: Final = Path("sealgate-data")
DEFAULT_KEYS: Final = Path("sealgate-keys")
DEFAULT_PORT: Final = 9443
DEFAULT_HTTP_PORT: Final = 9480
CLOCK_SKEW_S: Final = 900
"""Not a setting: SigV4's window is part of what clients and the threat model rely on."""

_KIB: Final = 1024
_MIB: Final = 1024 * _KIB
_HOUR_S: Final = 3600
_DAY_S: Final = 24 * _HOUR_S


def _row(default: Any, text: str, *, unit: str = "", shown: str = "", **limits: Any) -> Any:
    """One row: its default (or how it follows from earlier rows), what it is for, its unit, its limits.

    `shown` stands in the documentation where the default follows from another setting.
    """
    if callable(default):
        limits["default_factory"] = default
    else:
        limits["default"] = default
    return Field(description=text, json_schema_extra={"unit": unit, "shown": shown}, **limits)


def _keys_of(values: Mapping[str, Any]) -> Path:
    data: Path = values["data"]
    return DEFAULT_KEYS if data == DEFAULT_DATA else data.with_name(data.name + "-keys")


def _http_port_of(values: Mapping[str, Any]) -> int:
    port: int = values["port"]
    return DEFAULT_HTTP_PORT if port == DEFAULT_PORT else port + 2


_PAIRS: Final = (
    ("tls_certificate", "tls_key"),
    ("postgres_client_certificate", "postgres_client_key"),
    ("s3_client_certificate", "s3_client_key"),
    ("monitor_port", "monitor_client_ca"),
)
"""Settings that say nothing without each other."""


DIVIDED: Final = (
    "max_requests",
    "body_memory_bytes",
    "read_budget_bytes",
    "read_through_streams",
    "s3_held_bytes",
    "max_connections",
    "max_handshakes",
)
"""Limits of what one machine bears, however many workers there are: each gets its part, at least the row's least."""


class Settings(BaseSettings):
    """The table. Order matters: a default may follow from rows above it."""

    model_config = SettingsConfigDict(
        frozen=True,
        extra="forbid",
        validate_default=True,
        hide_input_in_errors=True,
        env_prefix=ENVIRONMENT_PREFIX,
    )

    # Where things are
    data: FilePath = _row(DEFAULT_DATA, "Folder of the sealed data: catalogue and blobs.")
    blobs: FilePath | None = _row(
        None, "Folder of the blobs, where `sealgate migrate` moved them to. Empty: `blobs` in the data folder."
    )
    keys: FilePath = _row(
        _keys_of,
        "Folder of the keyring, the TLS files and client.env. Never inside the data folder; best on another disk.",
        shown="`sealgate-keys`, or `<data>-keys` where `data` is given",
    )
    passphrase_file: FilePath | None = _row(
        None, "File with the passphrase that protects the keyring. Empty: the keyring lies behind a root secret file."
    )

    # The catalogue
    catalogue: Literal["sqlite", "postgres"] = _row(
        "sqlite",
        "What keeps names, versions and settings: an encrypted file in the data folder, which one gateway owns, or a"
        " PostgreSQL database, which any number of gateways share.",
    )
    postgres_host: Host = _row("localhost", "Host of the database, as its certificate names it.")
    postgres_port: Port = _row(5432, "Port of the database.")
    postgres_database: PostgresName = _row("sealgate", "The database: in UTF8, of its own, owned by `postgres_user`.")
    postgres_user: PostgresName = _row("sealgate", "The user of the database.")
    postgres_password_file: FilePath | None = _row(
        None,
        "File (mode 0600) with the password, which goes out by SCRAM alone. Empty: the client certificate stands for"
        " the user.",
    )
    postgres_ca_file: FilePath | None = _row(
        None, "PEM file with the authorities of the database's certificate. Empty: those of the system."
    )
    postgres_client_certificate: FilePath | None = _row(
        None, "PEM file with the certificate that is shown to the database. Empty: none is."
    )
    postgres_client_key: FilePath | None = _row(
        None, "PEM file (mode 0600) with the private key of `postgres_client_certificate`."
    )
    postgres_connections: int = _row(8, "Connections to the database of one gateway at most.", ge=2, le=64)

    # The blobs
    blob_store: Literal["disk", "s3"] = _row(
        "disk", "What keeps the sealed blobs: a folder, or a bucket of MinIO or any other S3."
    )
    s3_endpoint: S3Endpoint = _row("", "Where the bucket's server is: https://HOST[:PORT].", max_length=300)
    s3_bucket: S3Bucket = _row("", "The bucket. It must be there, and be ours alone.")
    s3_prefix: S3Prefix = _row("", "What the names of all objects begin with; ends in a slash.", max_length=512)
    s3_region: Region = _row("us-east-1", "Region that requests are signed for.")
    s3_credentials_file: FilePath | None = _row(
        None,
        "File (mode 0600) with the lines AWS_ACCESS_KEY_ID=... and AWS_SECRET_ACCESS_KEY=..., and AWS_SESSION_TOKEN=..."
        " if there is one.",
    )
    s3_ca_file: FilePath | None = _row(
        None, "PEM file with the authorities of the server's certificate. Empty: those of the system."
    )
    s3_client_certificate: FilePath | None = _row(
        None, "PEM file with the certificate that is shown to the server. Empty: none is."
    )
    s3_client_key: FilePath | None = _row(None, "PEM file (mode 0600) with the private key of `s3_client_certificate`.")
    s3_addressing: Literal["path", "virtual"] = _row(
        "path", "Whether the bucket is named in the path or in the host name."
    )
    s3_checksum: Literal["crc32c", "sha256", "md5"] = _row(
        "crc32c", "How the server verifies what arrives; at start it must refuse bytes that do not match."
    )
    s3_timeout_s: float = _row(
        20,
        "Longest silence in the middle of a request to the bucket, and longest wait for its turn. All tries of one take"
        " three times this at most, and what its body takes at 64 KiB/s.",
        unit="s",
        ge=1,
        le=300,
    )
    s3_tries: int = _row(4, "How often a request to the bucket is sent at most.", ge=1, le=10)
    s3_connections: int = _row(16, "Requests to the bucket under way at once.", ge=2, le=256)
    s3_held_bytes: int = _row(
        256 * _MIB,
        "Sealed bytes that all uploads together hold until the bucket acknowledges them; further uploads wait.",
        unit="bytes",
        ge=16 * _MIB,
        le=64 * 1024 * _MIB,
    )

    # Who listens where
    host: Host = _row("127.0.0.1", "Address that the HTTPS endpoint listens on; 0.0.0.0 or :: for every interface.")
    port: Port = _row(DEFAULT_PORT, "Port of the HTTPS endpoint.")
    admin_host: Loopback = _row(
        "127.0.0.1", "Address of /healthz, /readyz and /metrics. Loopback only, since nobody signs in there."
    )
    admin_port: Port = _row(lambda values: values["port"] + 1, "Port of the admin listener.", shown="`port` + 1")
    http_host: Host = _row(
        lambda values: values["host"], "Address of the listener that refuses plain HTTP.", shown="`host`"
    )
    http_port: int = _row(
        _http_port_of,
        "Port of the listener that answers every plain-HTTP request with 403 AccessDenied; 0 turns it off.",
        shown="9480, or `port` + 2 where `port` is given",
        ge=0,
        le=MAX_PORT,
    )
    monitor_host: Host = _row(lambda values: values["host"], "Address of the monitor listener.", shown="`host`")
    monitor_port: int = _row(
        0,
        "Port of the monitor listener: the pages of the admin listener for other machines, over TLS, to who shows a"
        " certificate of `monitor_client_ca`. 0 turns it off.",
        ge=0,
        le=MAX_PORT,
    )
    monitor_client_ca: FilePath | None = _row(
        None, "PEM file with the CAs whose certificates let Prometheus and load balancers in at `monitor_port`."
    )
    domains: Domains = _row(
        ("s3.localhost",), "Base names of virtual-hosted requests (bucket.<name>), separated by commas.", max_length=32
    )
    hosts: Hosts = _row(
        (),
        "Further names and addresses that clients use, separated by commas: those a proxy in front presents. The names"
        " in the certificate hold anyway, and the private CA adds these to it. Any other Host gets 400.",
        max_length=64,
    )
    region: Region = _row("us-east-1", "Region that clients sign for.")
    tls_certificate: FilePath | None = _row(
        None, "PEM file with your own server certificate and its chain. Empty: a private CA is made in the keys folder."
    )
    tls_key: FilePath | None = _row(None, "PEM file with the private key of `tls_certificate`.")

    workers: int = _row(
        1,
        "Processes that share the ports; more than 1 needs the catalogue on PostgreSQL. They divide among themselves "
        + ", ".join(f"`{name}`" for name in DIVIDED)
        + ". Every other limit is of each of them, the connections to the database and to the bucket among those.",
        ge=1,
        le=64,
    )
    worker_timeout_s: float = _row(
        60,
        "Time in which each of several workers must give a sign of life; one that stands still is killed and replaced.",
        unit="s",
        ge=1,
        le=_HOUR_S,
    )

    tls_client_ca: FilePath | None = _row(
        None,
        "PEM file with the CAs whose certificates clients must show, besides their access keys. Empty: none is asked.",
    )

    # What clients may do
    etag: Literal["md5", "opaque"] = _row(
        "md5", "ETags as MD5 of the content, or opaque and cheaper (md5 costs a pass over every byte)."
    )
    presigned_v2: bool = _row(
        True, "Accept presigned URLs and forms of Signature Version 2, which boto3 and aws-cli 1 still make."
    )
    max_buckets_per_account: int = _row(10_000, "Buckets that an account may hold.", ge=1, le=1_000_000)
    max_document_bytes: int = _row(
        2 * _MIB, "Largest XML document that is read.", unit="bytes", ge=64 * _KIB, le=16 * _MIB
    )
    max_header_bytes: int = _row(
        16 * _KIB, "Largest request line and header section together.", unit="bytes", ge=8 * _KIB, le=64 * _KIB
    )
    max_headers: int = _row(512, "Most lines that the headers of a request may have.", ge=64, le=4096)
    header_timeout_s: float = _row(10, "Time for a request's header to arrive whole.", unit="s", ge=1, le=60)
    body_timeout_s: float = _row(
        30, "Longest time in which a body may bring fewer than 1,024 bytes a second.", unit="s", ge=1, le=600
    )
    idle_timeout_s: float = _row(30, "Time that a connection stays open between two requests.", unit="s", ge=1, le=600)
    write_timeout_s: float = _row(
        60, "Time that a client may leave what was sent to it unread.", unit="s", ge=1, le=600
    )
    drain_timeout_s: float = _row(
        30, "Time that running requests have to end after SIGTERM.", unit="s", ge=0, le=_HOUR_S
    )
    max_requests: int = _row(
        1024, "Requests answered at once; further ones get 503 SlowDown. Each stream holds a few MiB.", ge=1, le=65_536
    )
    max_requests_account_percent: int = _row(
        50,
        "The most of `max_requests` that one account may hold, so that its slow requests hold up no other.",
        unit="%",
        ge=1,
        le=100,
    )
    body_memory_bytes: int = _row(
        512 * _MIB,
        "Memory for all bodies on their way, at most 2.5 MiB each; who finds none waits, then gets 503 SlowDown.",
        unit="bytes",
        ge=8 * _MIB,
        le=64 * 1024 * _MIB,
    )
    body_memory_account_percent: int = _row(
        50,
        "The most of `body_memory_bytes` that one account may hold, so that its stalled transfers hold up no other.",
        unit="%",
        ge=1,
        le=100,
    )
    body_memory_wait_s: float = _row(
        5, "Time that a request waits for its share of `body_memory_bytes`.", unit="s", ge=0, le=60
    )
    read_through_streams: int = _row(
        32,
        "Objects that are read at once from the sources of imports that read through; further ones get 503 SlowDown.",
        ge=1,
        le=1024,
    )
    read_through_account_percent: int = _row(
        50,
        "The most of `read_through_streams` that the buckets of one account may hold, so that its slow readers hold up"
        " no other.",
        unit="%",
        ge=1,
        le=100,
    )
    read_through_wait_s: float = _row(
        5, "Time that a read waits for its share of `read_through_streams`.", unit="s", ge=0, le=60
    )
    max_connections: int = _row(
        4096,
        "Open connections, TLS spoken or not; where there are more, the oldest that nobody answers are closed.",
        ge=8,
        le=65_536,
    )
    max_handshakes: int = _row(
        1024, "Connections in the middle of TLS's handshake; further ones wait to be accepted.", ge=8, le=65_536
    )

    # Memory and layout
    inline_max_bytes: int = _row(
        lambda values: 16 * _KIB if values.get("blob_store") == "disk" else 0,
        "Objects up to this size rest, sealed alike, in the catalogue instead of a file each; 0: none.",
        shown="`16384`, or 0 where `blob_store` is `s3`",
        unit="bytes",
        ge=0,
        le=64 * _KIB,
    )
    read_ahead_bytes: int = _row(
        _MIB,
        "Sealed bytes that a GET asks the blob store for at once, where it has to wait for it.",
        unit="bytes",
        ge=64 * _KIB,
        le=4 * _MIB,
    )
    read_budget_bytes: int = _row(
        8 * _MIB,
        "Sealed bytes that all GETs together read at once; many streams get smaller reads.",
        unit="bytes",
        ge=_MIB,
        le=1024 * _MIB,
    )

    # Keys
    kms: KmsName = _row(
        "local",
        "The KMS whose default key wraps the realm's root, the canary and what names no key: `local` for the keyring in"
        " the keys folder, or the name of a table in `kms_file`. A realm stays with the one that it began with.",
    )
    kms_file: FilePath | None = _row(
        None, "TOML file with a table for each remote KMS; docs/KMS.md says what stands in it. Empty: none."
    )
    kms_probe_interval_s: float = _row(
        30,
        "How often the keys folder is looked at, and each remote KMS asked, which keeps logins alive.",
        unit="s",
        ge=1,
        le=_HOUR_S,
    )
    wrapping: Literal["direct", "bucket-key"] = _row(
        "direct", "SSE-S3: content keys are wrapped by the KMS itself, or by a key of their bucket that the KMS wraps."
    )
    key_cache_s: float = _row(
        300, "How long an unwrapped key may serve before the KMS is asked again.", unit="s", ge=1, le=300
    )
    kms_deadline_s: float = _row(5, "Time that the KMS has to answer.", unit="s", ge=0.1, le=30)
    canary_interval_s: float = _row(
        _HOUR_S, "How often the KMS is asked to prove that it holds the right key.", unit="s", ge=10, le=_DAY_S
    )
    key_watch_interval_s: float = _row(
        10,
        "Within this time one of several gateways notices that another changed wrapping keys or recovery recipients.",
        unit="s",
        ge=0.1,
        le=300,
    )
    key_rotation_days: float = _row(
        365,
        "Age from which a local wrapping key gets a new version and all under the old one is wrapped anew; 0 never.",
        unit="days",
        ge=0,
        le=36_500,
    )
    key_rotation_interval_s: float = _row(
        _DAY_S, "How often the age of wrapping keys is looked at.", unit="s", ge=1, le=30 * _DAY_S
    )

    # Journal
    journal: Literal["async", "sync"] = _row(
        "async",
        "Whether a change is answered once the catalogue has it, or once the journal in the blob store has it too.",
    )
    journal_interval_s: float = _row(
        0.5,
        "How often changes go to the journal: what a lost catalogue may take with it while `journal` is async.",
        unit="s",
        ge=0.05,
        le=60,
    )

    snapshot_interval_s: float = _row(
        _DAY_S, "How often a snapshot of the catalogue goes into the blob store.", unit="s", ge=60, le=30 * _DAY_S
    )
    anchor: FilePath | None = _row(
        None,
        "File, or folder that is there, to which the signed head of the journal is exported: a place out of reach of"
        " whoever writes to data and blobs. Empty: nowhere.",
    )
    anchor_interval_s: float = _row(60, "How often the head of the journal is exported.", unit="s", ge=1, le=_DAY_S)

    # Background jobs
    condemned_grace_s: float = _row(
        _HOUR_S, "How long deleted blobs stay before their bytes are removed.", unit="s", ge=0, le=30 * _DAY_S
    )
    orphan_grace_s: float = _row(
        _DAY_S,
        "Age from which a blob without a row counts as an orphan; longer than any upload of one blob takes.",
        unit="s",
        ge=_HOUR_S,
        le=30 * _DAY_S,
    )
    webhooks: Webhooks = _row(
        (),
        "Where buckets may have events sent to (arn:sealgate:webhook:::NAME), separated by commas. HTTPS alone; no"
        " redirect is followed. The addresses are no secrets.",
        max_length=32,
    )
    webhook_ca_file: FilePath | None = _row(
        None, "PEM file with the authorities of the webhooks. Empty: those of the system."
    )
    webhook_secret_file: FilePath | None = _row(
        None, "File whose content keys the signature of what is sent (X-Sealgate-Signature). Empty: nothing is signed."
    )
    webhook_patience_s: float = _row(
        3 * _DAY_S, "How long a notification is tried before it is given up.", unit="s", ge=1, le=30 * _DAY_S
    )
    webhook_deadline_s: float = _row(
        10,
        "Time that a webhook has for a message, from the connection to the end of its answer.",
        unit="s",
        ge=1,
        le=60,
    )
    access_log_interval_s: float = _row(
        300, "How often the access logs of buckets are written into their target buckets.", unit="s", ge=1, le=_HOUR_S
    )
    lifecycle_interval_s: float = _row(
        _HOUR_S,
        "How often it is looked whether lifecycle rules are due; each bucket is walked once a day.",
        unit="s",
        ge=1,
        le=_DAY_S,
    )
    lifecycle_day_s: float = _row(
        _DAY_S,
        "How long a day of lifecycle rules lasts. Shorter days are for trying rules out: they delete that much sooner.",
        unit="s",
        ge=1,
        le=_DAY_S,
    )
    import_resume_interval_s: float = _row(
        60,
        "How often a gateway looks for imports that were cut off or met a problem, and goes on with them.",
        unit="s",
        ge=1,
        le=_DAY_S,
    )
    source_least_bytes_s: int = _row(
        16 * 1024,
        "Bytes in a second that a source of an import must give on each connection, over each minute in which it is"
        " waited for; one that is slower is as good as silent.",
        unit="bytes/s",
        ge=1,
        le=1024 * 1024,
    )
    sweep_interval_s: float = _row(_HOUR_S, "How often the background sweep runs.", unit="s", ge=1, le=_DAY_S)
    pack_scan_bytes: int = _row(
        1024 * _MIB,
        "How much of the packs, which carry small objects to the blob store, each background sweep reads to find those"
        " that are mostly dead.",
        unit="bytes",
        ge=_MIB,
        le=2**50,
    )
    completed_upload_memory_s: float = _row(
        _DAY_S, "How long a repeated CompleteMultipartUpload gets the same answer.", unit="s", ge=60, le=30 * _DAY_S
    )

    # Logs
    log_level: Literal["debug", "info", "warning", "error"] = _row("info", "What is logged, to standard error.")
    log_format: Literal["text", "json"] = _row("text", "One line of text, or one JSON object, for each event.")
    log_names: bool = _row(False, "Log bucket and object names. Off: they stay out of every log.")

    @classmethod
    def settings_customise_sources(
        cls,
        settings_cls: type[BaseSettings],  # noqa: ARG003 - the signature belongs to pydantic-settings
        init_settings: PydanticBaseSettingsSource,
        env_settings: PydanticBaseSettingsSource,  # noqa: ARG003 - as above
        dotenv_settings: PydanticBaseSettingsSource,  # noqa: ARG003 - as above
        file_secret_settings: PydanticBaseSettingsSource,  # noqa: ARG003 - as above
    ) -> tuple[PydanticBaseSettingsSource, ...]:
        """Take arguments alone, so that nothing is read behind the back of `load_settings`."""
        return (init_settings,)

    @model_validator(mode="after")
    def _agree(self) -> Self:
        for one, other in _PAIRS:
            if bool(getattr(self, one)) != bool(getattr(self, other)):
                raise ValueError(f"{one} and {other} belong together: give both or neither")
        if self.catalogue == "postgres" and self.postgres_password_file is None and self.postgres_client_key is None:
            raise ValueError("catalogue = postgres needs postgres_password_file or a client certificate")
        if self.kms != "local" and self.kms_file is None:
            raise ValueError(f"kms is {self.kms!r}, which is a table of kms_file: give kms_file, or leave kms at local")
        if self.blob_store == "s3" and not (self.s3_endpoint and self.s3_bucket and self.s3_credentials_file):
            raise ValueError("blob_store = s3 needs s3_endpoint, s3_bucket and s3_credentials_file")
        if self.blob_store == "s3" and self.blobs is not None:
            raise ValueError("blobs is the folder of blob_store = disk: leave one of them out")
        ports = [port for port in (self.port, self.admin_port, self.http_port, self.monitor_port) if port]
        names = [webhook.partition("=")[0] for webhook in self.webhooks]
        if len(set(names)) != len(names):
            raise ValueError("two webhooks have one name: give each a name of its own")
        if len(set(ports)) != len(ports):
            raise ValueError("port, admin_port, http_port and monitor_port must differ: give each a number of its own")
        return self

    @model_validator(mode="after")
    def _suit_workers(self) -> Self:
        if self.workers > 1 and self.catalogue != "postgres":
            raise ValueError(
                f"workers is {self.workers}, which needs the catalogue on PostgreSQL: give catalogue = postgres, or"
                " leave it at 1"
            )
        return self

    def of_one_worker(self) -> dict[str, Any]:
        """What each of the workers is told, as JSON values; they may name secrets, and hold none."""
        told = self.model_dump(mode="json")
        least = {name: _lowest(type(self).model_fields[name].metadata) for name in DIVIDED}
        return told | {"workers": 1} | {name: max(least[name], told[name] // self.workers) for name in DIVIDED}


@dataclass(frozen=True, slots=True)
class SettingRow:
    """One row of the table as documentation and flags show it."""

    name: str
    kind: str
    unit: str
    default: str
    secret: bool
    text: str

    @property
    def variable(self) -> str:
        """The environment variable."""
        return ENVIRONMENT_PREFIX + self.name.upper()

    @property
    def flag(self) -> str:
        """The flag of `sealgate serve`."""
        return "--" + self.name.replace("_", "-")


def setting_rows() -> tuple[SettingRow, ...]:
    """Every row, in the table's order."""
    rows = []
    for name, field in Settings.model_fields.items():
        extra = field.json_schema_extra
        assert isinstance(extra, dict), f"{name} was not made by _row"
        shown = str(extra["shown"]) or f"`{spelled(field.default)}`"
        assert field.default is not PydanticUndefined or extra["shown"], f"{name} does not show its default"
        kind = _KINDS.get(name) or _kind(field.annotation, field.metadata)
        rows.append(
            SettingRow(name, kind, str(extra["unit"]), shown, field.annotation is SecretStr, field.description or "")
        )
    return tuple(rows)


_KINDS: Final = {
    "domains": "host names",
    "webhooks": "NAME=https://HOST/PATH",
    "hosts": "host names and addresses",
    "admin_host": "loopback address",
    "postgres_host": "address",
    "host": "address",
    "http_host": "address",
    "monitor_host": "address",
}


def _lowest(metadata: list[Any]) -> Any:
    return next((limit.ge for limit in metadata if hasattr(limit, "ge")), None)


def _kind(annotation: Any, metadata: list[Any]) -> str:
    if getattr(annotation, "__origin__", None) is Literal:
        return " or ".join(annotation.__args__)
    plain = {bool: "on or off", str: "text", int: "integer", float: "number", SecretStr: "secret"}.get(annotation)
    if plain is None:
        return "path"
    lowest = _lowest(metadata)
    highest = next((limit.le for limit in metadata if hasattr(limit, "le")), None)
    if lowest is None:
        return plain
    return f"{plain}, {lowest:,} to {highest:,}" if highest is not None else f"{plain}, from {lowest:,}"


def spelled(value: object) -> str:
    """A value as it may be typed: in a variable, a flag and the documentation."""
    if isinstance(value, bool):
        return "on" if value else "off"
    if isinstance(value, tuple):
        return ",".join(str(part) for part in value)
    return "" if value is None else str(value)


def load_settings(
    flags: Mapping[str, str] | None = None,
    *,
    config: Path | None = None,
    environ: Mapping[str, str] | None = None,
) -> Settings:
    """Gather the settings from file, environment and flags (names as in the table, values as typed).

    Raises:
        SettingsError: an unknown name, a value that cannot stand, or a file that cannot be read.
    """
    environ = os.environ if environ is None else environ
    flags = dict(flags or {})
    from_environment = _environment(environ)
    named = config or (Path(environ[CONFIG_VARIABLE]) if environ.get(CONFIG_VARIABLE) else None)
    from_file = _file(named) if named is not None else {}
    origins = (
        dict.fromkeys(from_file, f"in {named}")
        | {name: f"from {ENVIRONMENT_PREFIX}{name.upper()}" for name in from_environment}
        | {name: "from --" + name.replace("_", "-") for name in flags}
    )
    try:
        return Settings(**(from_file | from_environment | flags))
    except ValidationError as refused:
        raise SettingsError(_one_line(refused.errors(include_url=False, include_input=False), origins)) from None


def _environment(environ: Mapping[str, str]) -> dict[str, Any]:
    known = {ENVIRONMENT_PREFIX + name.upper() for name in Settings.model_fields} | {CONFIG_VARIABLE}
    for variable in environ:
        if variable.startswith(ENVIRONMENT_PREFIX) and variable not in known:
            raise SettingsError(
                f"{variable[:100]} is no setting: unset it, or see `sealgate settings` for the names that there are"
            )
    source = EnvSettingsSource(Settings, case_sensitive=False)
    source.env_vars = {name.lower(): value for name, value in environ.items()}
    return dict(source())


def _file(path: Path) -> dict[str, Any]:
    try:
        if not path.is_file():
            raise SettingsError(f"the settings file {path} is not there: correct --config or {CONFIG_VARIABLE}")
        values: dict[str, Any] = TomlConfigSettingsSource(Settings, toml_file=path)()
    except tomllib.TOMLDecodeError as broken:
        raise SettingsError(f"the settings file {path} is not TOML: {broken}") from None
    except (OSError, UnicodeDecodeError) as unreadable:
        raise SettingsError(f"the settings file {path} cannot be read: {unreadable}") from None
    return values


def _one_line(errors: list[ErrorDetails], origins: Mapping[str, str]) -> str:
    # A default that follows from a refused value is no second fault.
    first = next((error for error in errors if error["type"] != "default_factory_not_called"), errors[0])
    name = str(first["loc"][0]) if first["loc"] else ""
    origin = f" ({origins[name]})" if name in origins else ""
    if first["type"] == "extra_forbidden":
        return f"{name[:100]!r}{origin} is no setting: see `sealgate settings` for the names that there are"
    if first["type"] in _NUMBER_REFUSED and name in Settings.model_fields:
        return f"setting {name}{origin}: {_number_wanted(name, is_given=name in origins)}"
    if first["type"] == "literal_error" and name in Settings.model_fields:
        return f"setting {name}{origin}: takes {_row_of(name).kind}"
    said = "takes on or off" if first["type"] == "bool_parsing" else first["msg"].removeprefix("Value error, ")
    said = said[:1].lower() + said[1:]
    return f"setting {name}{origin}: {said}" if name else f"settings: {said}"


_NUMBER_REFUSED: Final = frozenset(
    {"int_parsing", "int_parsing_size", "int_from_float", "int_type", "float_parsing", "float_type", "finite_number"}
    | {"greater_than_equal", "less_than_equal"}
)
"""The kinds of pydantic's errors about what is no number, or one outside its limits."""


def _row_of(name: str) -> SettingRow:
    return next(row for row in setting_rows() if row.name == name)


def _number_wanted(name: str, *, is_given: bool) -> str:
    """What a number may be; one that nobody gave follows from another that leaves it no room."""
    row = _row_of(name)
    kind, _, limits = row.kind.partition(", ")
    limits = limits.removeprefix("from ")
    wanted = f"{'an' if kind == 'integer' else 'a'} {kind} from {limits}"
    if is_given:
        return f"takes {wanted}"
    return (
        f"its default, {row.default.replace('`', '')}, is not {wanted}: give {row.flag}, or lower what it follows from"
    )


def settings_markdown() -> str:
    """The text of docs/SETTINGS.md."""
    lines = [
        "# Settings",
        "",
        "Written from the table in `gateway/config.py` by `sealgate settings --markdown`; a test compares.",
        "",
        "Sources, each overruling the one before: the TOML file that `--config` or `SEALGATE_CONFIG` names, the",
        "environment (`SEALGATE_` and the name in capitals), flags of `sealgate serve` (hyphens for underscores).",
        "An unknown name in any of them is an error, and so is a value outside its limits: the gateway then does not",
        f"start and says in one line what to do. Clocks may differ by {CLOCK_SKEW_S} s; that is no setting.",
        "",
        "Two gateways on one machine need only different `data` and `port`: the other two ports follow from `port`.",
        "",
        "| setting | value | unit | default | secret | what for |",
        "|---|---|---|---|---|---|",
    ]
    lines += [
        f"| `{row.name}` | {row.kind} | {row.unit} | {'' if row.default == '``' else row.default} |"
        f" {'yes' if row.secret else ''} | {row.text} |"
        for row in setting_rows()
    ]
    return "\n".join(lines) + "\n"
