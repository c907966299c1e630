"""The file of remote KMSs (`kms_file`): TOML, one table for each, whose name stands in all that it wraps.

docs/KMS.md says for each type which policy it needs. What is refused is refused in one line that says what to do.
"""

import re
import tomllib
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Annotated, Any, ClassVar, Final, Literal, Self
from urllib.parse import urlsplit

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, ValidationError, ValidationInfo, model_validator

from gateway.errors import SettingsError
from keys.kms.azure import AUTHORITY as AZURE_AUTHORITY
from keys.kms.azure import Application, AzureKms, AzureOptions, Certificate, ClientSecret, Credential, FederatedToken
from keys.kms.binding import RecordKms
from keys.kms.gcp import ADDRESS as GCP_ADDRESS
from keys.kms.gcp import GcpKms, GcpOptions
from keys.kms.https import Reach
from keys.kms.names import ALIAS_PREFIX, KeyNames, is_plain_id
from keys.kms.pkcs11 import Pkcs11Kms, Pkcs11Options
from keys.kms.vault import VaultKms, VaultOptions
from keys.kms.vault_login import AppRole, ClientCertificate, Identity, TokenFile

MAX_FILE_BYTES: Final = 64 * 1024
MAX_PROVIDERS: Final = 16
MAX_KEYS: Final = 1000
_CLIENT_SHARE: Final = 0.9
"""Of `kms_deadline_s`: a client gives up a little before whoever waits for it, and says why."""

RESERVED_NAMES: Final = frozenset({"local", "memory", "bucket", "content", "customer", "realm", "recovery"})
"""They stand in wrapped keys for something else."""
_NAME: Final = re.compile(r"[a-z][a-z0-9-]{0,31}", re.ASCII)
_ALIAS: Final = re.compile(r"[A-Za-z0-9/_-]{1,250}", re.ASCII)
_MOUNT: Final = re.compile(r"[A-Za-z0-9_-]+(/[A-Za-z0-9_-]+)*", re.ASCII)
_REGION: Final = re.compile(r"[a-z0-9-]{1,32}", re.ASCII)
_KEY_RING: Final = re.compile(
    r"projects/(?:[a-z0-9.-]+:)?[a-z0-9][a-z0-9-]{0,62}/locations/[a-z0-9-]{1,63}/keyRings/[A-Za-z0-9_-]{1,63}",
    re.ASCII,
)
_TENANT: Final = re.compile(r"[A-Za-z0-9][A-Za-z0-9.-]{0,99}", re.ASCII)
_AZURE_WAYS: Final[Mapping[str, Callable[[Path], Credential]]] = {
    "client_secret_file": ClientSecret,
    "certificate_file": Certificate,
    "federated_token_file": FederatedToken,
}
_AWS_KEY_ARN: Final = re.compile(r"arn:aws:kms:([a-z0-9-]{1,32}):([0-9]{12}):key/([A-Za-z0-9-]{1,128})", re.ASCII)


def _address(value: str) -> str:
    try:
        parts = urlsplit(value)
        is_right = parts.scheme == "https" and bool(parts.hostname) and parts.port != 0
    except ValueError:
        is_right = False
    else:
        is_right = is_right and not (parts.username or parts.password or parts.query or parts.fragment)
        is_right = is_right and parts.path in {"", "/"}
    if not is_right:
        raise ValueError("takes https://HOST[:PORT], without user or path; a KMS is never asked over plain HTTP")
    return value.rstrip("/")


def _key_id(value: str) -> str:
    if not is_plain_id(value):
        raise ValueError("takes the name of a key: letters, digits, dots, hyphens and underscores, at most 128")
    return value


def _path(value: Path, info: ValidationInfo) -> Path:
    folder: Path = (info.context or {})["folder"]
    return folder / value


def _matching(pattern: re.Pattern[str], told: str) -> Callable[[str], str]:
    def check(value: str) -> str:
        if not pattern.fullmatch(value):
            raise ValueError(f"takes {told}")
        return value

    return check


Address = Annotated[str, AfterValidator(_address)]
File = Annotated[Path, AfterValidator(_path)]
KeyId = Annotated[str, AfterValidator(_key_id)]
Text = Annotated[str, Field(min_length=1, max_length=512)]


class Provider(BaseModel):
    """What every KMS has. `key` wraps what names none; clients may name it and each of `keys`, by id, alias or ARN."""

    model_config = ConfigDict(frozen=True, extra="forbid", hide_input_in_errors=True)
    secret_files: ClassVar[tuple[str, ...]] = ()
    """Fields that name files which must not lie beside the data."""

    type: str
    key: KeyId
    keys: Annotated[tuple[KeyId, ...], Field(max_length=MAX_KEYS)] = ()
    aliases: Mapping[str, str] = {}

    @model_validator(mode="after")
    def _aliases_mean_keys(self) -> Self:
        for alias, meant in self.aliases.items():
            if not _ALIAS.fullmatch(alias) or alias.startswith(ALIAS_PREFIX):
                raise ValueError(f"{alias[:100]!r} is no alias: give the name without alias/")
            if meant not in (self.key, *self.keys):
                raise ValueError(
                    f"alias {alias} means {meant[:100]!r}, which is neither key nor one of keys: add it there"
                )
        return self

    @property
    def offers(self) -> frozenset[str]:
        """The ids of the keys that may be named."""
        return frozenset((self._plain(self.key), *map(self._plain, self.keys)))

    def _plain(self, kms_key_id: str) -> str:
        return kms_key_id

    def names(self, provider: str) -> KeyNames:
        """How its keys are called: the provider's name stands where an ARN has the region."""
        return KeyNames(provider, aliases=self.aliases)

    def open(self, provider: str, deadline_s: float) -> RecordKms:
        """The KMS; nothing is asked yet. Raises: KmsMisconfigured."""
        raise NotImplementedError


class _OverHttps(Provider):
    ca_file: File | None = None
    proxy: Text | None = None

    def _reach(self, address: str, deadline_s: float, pair: tuple[Path | None, Path | None] = (None, None)) -> Reach:
        return Reach(address, self.ca_file, *pair, proxy=self.proxy, timeout_s=deadline_s * _CLIENT_SHARE)


class Vault(_OverHttps):
    """HashiCorp Vault or OpenBao."""

    secret_files = ("client_key_file", "token_file", "secret_id_file", "unwrap_token_file", "unwrap_secret_id_file")
    type: Literal["vault"]
    address: Address
    mount: Annotated[str, AfterValidator(_matching(_MOUNT, "the path of a transit engine"))] = "transit"
    namespace: Text | None = None
    client_certificate_file: File | None = None
    client_key_file: File | None = None
    auth_mount: Annotated[str, AfterValidator(_matching(_MOUNT, "the path of an auth method"))] | None = None
    token_file: File | None = None
    role_id: Text | None = None
    secret_id_file: File | None = None
    certificate_role: Text | None = None
    unwrap_token_file: File | None = None
    unwrap_role_id: Text | None = None
    unwrap_secret_id_file: File | None = None

    @model_validator(mode="after")
    def _one_way_to_sign_in(self) -> Self:
        if (self.client_certificate_file is None) != (self.client_key_file is None):
            raise ValueError("client_certificate_file and client_key_file belong together: give both or neither")
        for role_id, secret_id in (
            (self.role_id, self.secret_id_file),
            (self.unwrap_role_id, self.unwrap_secret_id_file),
        ):
            if (role_id is None) != (secret_id is None):
                raise ValueError("a role id and its secret_id_file belong together: give both or neither")
        if sum(way is not None for way in (self.token_file, self.role_id, self.certificate_role)) != 1:
            raise ValueError("takes one way to sign in: token_file, role_id with secret_id_file, or certificate_role")
        if self.certificate_role is not None and self.client_certificate_file is None:
            raise ValueError("certificate_role signs in by client_certificate_file and client_key_file: give them")
        if self.unwrap_token_file is not None and self.unwrap_role_id is not None:
            raise ValueError("takes one way to sign in for unwrapping: unwrap_token_file or unwrap_role_id")
        return self

    def _identity(self, token_file: Path | None, role_id: str | None, secret_id_file: Path | None) -> Identity | None:
        if token_file is not None:
            return TokenFile(token_file)
        if role_id is not None and secret_id_file is not None:
            return AppRole(role_id, secret_id_file, self.auth_mount or "approle")
        return None

    def open(self, provider: str, deadline_s: float) -> VaultKms:
        """See `Provider.open`."""
        pair = (self.client_certificate_file, self.client_key_file)
        by_certificate = ClientCertificate(self.certificate_role or "", self.auth_mount or "cert")
        options = VaultOptions(
            self._reach(self.address, deadline_s, pair),
            self.key,
            self._identity(self.token_file, self.role_id, self.secret_id_file) or by_certificate,
            self._identity(self.unwrap_token_file, self.unwrap_role_id, self.unwrap_secret_id_file),
            self.mount,
            self.namespace,
        )
        return VaultKms(provider, options, self.names(provider))


def _aws_key(value: str) -> str:
    if not _AWS_KEY_ARN.fullmatch(value):
        raise ValueError("takes the ARN of a key, arn:aws:kms:REGION:ACCOUNT:key/ID; aliases have a table of their own")
    return value


class Aws(_OverHttps):
    """AWS KMS. Keys are given by ARN; one provider has the keys of one region and account."""

    secret_files = ("credentials_file", "unwrap_credentials_file")
    type: Literal["aws"]
    key: Annotated[str, AfterValidator(_aws_key)]
    keys: Annotated[tuple[Annotated[str, AfterValidator(_aws_key)], ...], Field(max_length=MAX_KEYS)] = ()
    region: Annotated[str, AfterValidator(_matching(_REGION, "a region, as eu-west-1"))]
    address: Address | None = None
    credentials_file: File
    unwrap_credentials_file: File | None = None

    @model_validator(mode="after")
    def _one_place(self) -> Self:
        for arn in (self.key, *self.keys):
            if arn.split(":")[3:5] != [self.region, self._account]:
                raise ValueError("key and keys must be of one account and of this region: make a table for each other")
        return self

    @property
    def _account(self) -> str:
        return self.key.split(":")[4]

    def _plain(self, kms_key_id: str) -> str:
        return kms_key_id.rpartition("/")[2]

    def names(self, provider: str) -> KeyNames:
        """As AWS spells them."""
        del provider
        return KeyNames(self.region, self._account, {alias: self._plain(arn) for alias, arn in self.aliases.items()})

    def open(self, provider: str, deadline_s: float) -> RecordKms:
        """See `Provider.open`."""
        from keys.kms.aws import AwsKms, AwsOptions  # noqa: PLC0415 - boto3 takes a while to load, and few need it

        reach = self._reach(self.address or f"https://kms.{self.region}.amazonaws.com", deadline_s)
        options = AwsOptions(
            reach, self.region, self._plain(self.key), self.credentials_file, self.unwrap_credentials_file
        )
        return AwsKms(provider, options, self.names(provider))


class Azure(_OverHttps):
    """Azure Key Vault or Managed HSM; one provider has the keys of one vault."""

    secret_files = tuple(f"{prefix}{way}" for prefix in ("", "unwrap_") for way in _AZURE_WAYS)
    type: Literal["azure"]
    address: Address
    tenant_id: Annotated[str, AfterValidator(_matching(_TENANT, "the id or a domain of a tenant"))]
    authority: Address = AZURE_AUTHORITY
    audience: Address | None = None
    client_id: Text
    client_secret_file: File | None = None
    certificate_file: File | None = None
    federated_token_file: File | None = None
    unwrap_client_id: Text | None = None
    unwrap_client_secret_file: File | None = None
    unwrap_certificate_file: File | None = None
    unwrap_federated_token_file: File | None = None

    @model_validator(mode="after")
    def _one_way_to_sign_in(self) -> Self:
        for prefix, client_id in (("", self.client_id), ("unwrap_", self.unwrap_client_id)):
            given = [way for way in _AZURE_WAYS if getattr(self, f"{prefix}{way}") is not None]
            if len(given) != (client_id is not None):
                ways = ", ".join(f"{prefix}{way}" for way in _AZURE_WAYS)
                raise ValueError(f"takes {prefix}client_id with one way to sign in: {ways}")
        if self.audience is None and not self._domain:
            raise ValueError(
                "audience cannot be told from an address without a domain: give it, as https://vault.azure.net"
            )
        return self

    @property
    def _domain(self) -> str:
        return (urlsplit(self.address).hostname or "").partition(".")[2]

    def _application(self, prefix: str) -> Application | None:
        client_id: str | None = getattr(self, f"{prefix}client_id")
        if client_id is None:
            return None
        files = ((kind, getattr(self, f"{prefix}{way}")) for way, kind in _AZURE_WAYS.items())
        return next(Application(client_id, kind(file)) for kind, file in files if file is not None)

    def open(self, provider: str, deadline_s: float) -> AzureKms:
        """See `Provider.open`."""
        application = self._application("")
        assert application is not None
        options = AzureOptions(
            self._reach(self.address, deadline_s),
            self.key,
            self.audience or f"https://{self._domain}",
            self.tenant_id,
            application,
            self._application("unwrap_"),
            self.authority,
        )
        return AzureKms(provider, options, self.names(provider))


class Gcp(_OverHttps):
    """Google Cloud KMS; one provider has the keys of one key ring."""

    secret_files = ("credentials_file", "unwrap_credentials_file")
    type: Literal["gcp"]
    address: Address = GCP_ADDRESS
    key_ring: Annotated[str, AfterValidator(_matching(_KEY_RING, "projects/PROJECT/locations/LOCATION/keyRings/RING"))]
    credentials_file: File
    unwrap_credentials_file: File | None = None

    def open(self, provider: str, deadline_s: float) -> GcpKms:
        """See `Provider.open`."""
        reach = self._reach(self.address, deadline_s)
        options = GcpOptions(reach, self.key_ring, self.key, self.credentials_file, self.unwrap_credentials_file)
        return GcpKms(provider, options, self.names(provider))


class Pkcs11(Provider):
    """A hardware security module behind PKCS#11."""

    secret_files = ("pin_file",)
    type: Literal["pkcs11"]
    module: File
    token_label: Text
    pin_file: File

    def open(self, provider: str, deadline_s: float) -> Pkcs11Kms:
        """See `Provider.open`."""
        del deadline_s
        options = Pkcs11Options(self.module, self.token_label, self.pin_file, self.key)
        return Pkcs11Kms(provider, options, self.names(provider))


TYPES: Final[Mapping[str, type[Provider]]] = {"aws": Aws, "azure": Azure, "gcp": Gcp, "pkcs11": Pkcs11, "vault": Vault}


def read_kms_file(path: Path, region: str) -> dict[str, Provider]:
    """The providers of a file, by their names. `region` is the gateway's own, whose ARNs are those of local keys.

    Raises:
        SettingsError: it cannot be read, or what it says cannot stand.
    """
    try:
        data = path.read_bytes()
    except OSError as error:
        raise SettingsError(f"kms_file {path} cannot be read ({error.strerror}): correct kms_file") from None
    if len(data) > MAX_FILE_BYTES:
        raise SettingsError(f"kms_file {path} is longer than {MAX_FILE_BYTES} bytes: give the file of KMSs")
    try:
        tables = tomllib.loads(data.decode("utf-8"))
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as broken:
        raise SettingsError(f"kms_file {path} is not TOML: {broken}") from None
    if not 0 < len(tables) <= MAX_PROVIDERS:
        raise SettingsError(f"kms_file {path} must have 1 to {MAX_PROVIDERS} tables, one for each KMS: correct it")
    providers = {name: _provider(path, name, table, region) for name, table in tables.items()}
    offered: dict[str, str] = {}
    for name, provider in providers.items():
        for kms_key_id in provider.offers:
            if offered.setdefault(kms_key_id, name) != name:
                raise SettingsError(
                    f"kms_file {path}: {offered[kms_key_id]} and {name} both offer a key {kms_key_id}, so nobody could"
                    " say which is meant: give one another id"
                )
    return providers


def _provider(path: Path, name: str, table: Any, region: str) -> Provider:
    where = f"kms_file {path}, [{name[:64]}]"
    if not _NAME.fullmatch(name) or name in RESERVED_NAMES or name == region:
        raise SettingsError(
            f"{where}: that name cannot stand; take small letters, digits and hyphens, at most 32, not the region and"
            f" none of {', '.join(sorted(RESERVED_NAMES))}"
        )
    kind = TYPES.get(str(table.get("type"))) if isinstance(table, dict) else None
    if kind is None:
        raise SettingsError(f"{where}: it needs a type, one of {', '.join(TYPES)}")
    try:
        return kind.model_validate(table, context={"folder": path.parent})
    except ValidationError as refused:
        first = refused.errors(include_url=False, include_input=False)[0]
        field = ".".join(str(part) for part in first["loc"])
        if first["type"] == "extra_forbidden":
            raise SettingsError(f"{where}: {field[:100]} is no setting of a KMS of type {table['type']}") from None
        said = first["msg"].removeprefix("Value error, ")
        raise SettingsError(f"{where}: {field + ' ' if field else ''}{said[:1].lower() + said[1:]}") from None
