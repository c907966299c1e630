"""Who there is, what they own, and how a request reaches it: a gateway in this process, or one behind TLS."""

import http.client
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from copy import deepcopy
from dataclasses import dataclass, field, replace
from typing import Any, Final, Protocol

from botocore.exceptions import ClientError

from tests.blackbox.clients import s3_client
from tests.blackbox.process import Gateway
from tests.gateway.http.asgi import HOST, SECRET, Answer, call
from tests.gateway.operations.stage import ALICE, ALICE_TOO, BOB, REGION, Stage, make_stage, messages_of
from tests.hostile.signing import Shot, Signer
from tests.matrix.routes import POLICY, Route

CALLERS: Final = ("owner", "another account", "disabled key", "unknown key")
UNKNOWN: Final = "AKIDNOBODYHASTHISKEY"
FRESH: Final = "fresh"
CORS_RULE: Final = {"AllowedMethods": ["GET"], "AllowedOrigins": ["*"]}
RULE: Final = {"Filter": {"Prefix": "tmp/"}, "Status": "Disabled", "Expiration": {"Days": 9}}
ENCRYPTION: Final = {"ApplyServerSideEncryptionByDefault": {"SSEAlgorithm": "AES256"}}
_TIMEOUT_S: Final = 20


class Wire(Protocol):
    """Where requests go."""

    signers: Mapping[str, Signer]
    """The hand of each caller."""

    @property
    def alice(self) -> Any:
        """A client of the owner."""

    @property
    def bob(self) -> Any:
        """A client of another account."""

    def send(self, shot: Shot) -> Answer: ...

    def changes(self) -> object:
        """Something that differs once anything was written."""

    def keep(self) -> object:
        """Take down all that there is, for `restore`; None where that cannot be done."""

    def restore(self, kept: Any) -> None:
        """Have everything as it was."""


@dataclass
class World:
    """What the routes speak of: alice owns `bucket` and `empty`, bob owns `bobs`; `k` and an upload are in each."""

    wire: Wire
    uploads: dict[str, tuple[str, str]] = field(default_factory=dict)
    """Bucket -> upload id and the ETag of its first part."""
    seen: object = None
    kept: object = None

    def furnish(self) -> None:
        """Make whatever an earlier request took away, and take away what it made."""
        if self.seen is not None and self.seen == self.wire.changes():
            return
        if self.kept is None:
            self.make()
            self.kept = self.wire.keep()
        else:
            self.wire.restore(self.kept)
        self.seen = self.wire.changes()

    def make(self) -> None:
        """As `furnish`, whatever there is, and without looking."""
        alice = self.wire.alice
        for client in (alice, self.wire.bob):
            if FRESH in {entry["Name"] for entry in client.list_buckets()["Buckets"]}:
                client.delete_bucket(Bucket=FRESH)
        for client, name in ((alice, "bucket"), (alice, "empty"), (self.wire.bob, "bobs")):
            if name not in {entry["Name"] for entry in client.list_buckets()["Buckets"]}:
                client.create_bucket(Bucket=name)
            if name != "empty":
                self._fill(client, name)

    def _fill(self, client: Any, bucket: str) -> None:
        client.put_object(Bucket=bucket, Key="k", Body=b"secret")
        client.put_bucket_policy(Bucket=bucket, Policy=POLICY.replace("BUCKET", bucket))
        client.put_bucket_encryption(Bucket=bucket, ServerSideEncryptionConfiguration={"Rules": [ENCRYPTION]})
        client.put_bucket_cors(Bucket=bucket, CORSConfiguration={"CORSRules": [CORS_RULE]})
        client.put_bucket_lifecycle_configuration(Bucket=bucket, LifecycleConfiguration={"Rules": [RULE]})
        uploads = client.list_multipart_uploads(Bucket=bucket).get("Uploads", [])
        upload_id, _ = self.uploads.get(bucket, ("", ""))
        if upload_id not in {entry["UploadId"] for entry in uploads}:
            upload_id = client.create_multipart_upload(Bucket=bucket, Key="mpu")["UploadId"]
            sent = {"Bucket": bucket, "Key": "mpu", "UploadId": upload_id, "PartNumber": 1}
            self.uploads[bucket] = upload_id, client.upload_part(**sent, Body=b"part")["ETag"].strip('"')

    def placed(self, route: Route, bucket: str = "bucket", source: str = "bucket") -> Route:
        """The route with its places filled in."""
        places = {"bucket": bucket, "source": source, "empty": "empty", "fresh": FRESH}
        places["upload"], places["etag"] = self.uploads[bucket]
        body = route.body
        for name, value in places.items():
            body = body.replace(f"{{{name}}}".encode(), value.encode())
        headers = {name: value.format(**places) for name, value in route.headers.items()}
        return replace(route, target=route.target.format(**places), body=body, headers=headers)


def _framed(shot: Shot) -> list[tuple[str, str]]:
    if shot.body or shot.method in {"PUT", "POST"}:
        return [*shot.headers, ("Content-Length", str(len(shot.body)))]
    return list(shot.headers)


@dataclass
class InProcess:
    """The whole gateway over the memory references, called as a server would call it."""

    stage: Stage
    signers: Mapping[str, Signer]
    _newest: int = 0

    @property
    def alice(self) -> Any:
        """The owner's client."""
        return self.stage.alice

    @property
    def bob(self) -> Any:
        """The other account's client."""
        return self.stage.bob

    def send(self, shot: Shot) -> Answer:
        """Send a request as a server hands it on."""
        headers = [(name.lower().encode(), value.encode("latin-1")) for name, value in _framed(shot)]
        answer: Answer = self.stage.run(call(self.stage.app, shot.method, shot.target, headers, messages_of(shot.body)))
        return answer

    def changes(self) -> object:
        """The newest change that the catalogue wrote down, and which blobs there are."""
        later = self.stage.run(self.stage.rig.catalogue.read_changes(self._newest, 10**9))
        self._newest = max([self._newest, *(change.sequence for change in later)])
        return self._newest, frozenset(self.stage.rig.stored())

    def keep(self) -> object:
        """The memory of the catalogue; blobs are never changed."""
        return deepcopy({name: held for name, held in vars(self.stage.rig.catalogue).items() if not callable(held)})

    def restore(self, kept: Any) -> None:
        """Give the catalogue its memory back."""
        vars(self.stage.rig.catalogue).update(deepcopy(kept))
        self._newest = 0


@contextmanager
def in_process() -> Iterator[World]:
    """Set up the world of the whole matrix."""
    keys = {"owner": ALICE, "another account": BOB, "disabled key": ALICE_TOO, "unknown key": UNKNOWN}
    with make_stage() as stage:
        stage.run(stage.rig.catalogue.set_access_key_enabled(ALICE_TOO, False))
        world = World(InProcess(stage, {name: Signer(key, SECRET, HOST, REGION) for name, key in keys.items()}))
        world.furnish()
        yield world


@dataclass
class OverTls:
    """A real gateway."""

    gateway: Gateway
    signers: Mapping[str, Signer]
    alice: Any
    bob: Any

    def __post_init__(self) -> None:
        self._connection = http.client.HTTPSConnection(
            "localhost", self.gateway.port, context=self.gateway.tls_context(), timeout=_TIMEOUT_S
        )

    def send(self, shot: Shot) -> Answer:
        """Send a request over a connection that is kept as long as the gateway keeps it."""
        self._connection.putrequest(shot.method, shot.target, skip_host=True, skip_accept_encoding=True)
        for name, value in _framed(shot):
            self._connection.putheader(name, value)
        self._connection.endheaders(shot.body)
        given = self._connection.getresponse()
        return Answer(given.status, {n.lower(): v for n, v in given.getheaders()}, given.read(), is_complete=True)

    def keep(self) -> object:
        """A real gateway forgets nothing."""
        return None

    def restore(self, kept: Any) -> None:
        """Never asked for."""
        raise NotImplementedError

    def close(self) -> None:
        """Let go of the connections."""
        for held in (self._connection, self.alice, self.bob):
            held.close()

    def changes(self) -> object:
        """All that both accounts see."""
        seen: list[object] = []
        for client in (self.alice, self.bob):
            for name in [entry["Name"] for entry in client.list_buckets()["Buckets"]]:
                seen += [name, client.list_objects_v2(Bucket=name).get("Contents")]
                seen += [client.list_multipart_uploads(Bucket=name).get("Uploads")]
                seen += [_given(read, name) for read in _configurations(client)]
        return seen


def _configurations(client: Any) -> tuple[Any, ...]:
    return client.get_bucket_policy, client.get_bucket_cors, client.get_bucket_lifecycle_configuration


def _given(read: Any, bucket: str) -> bool:
    try:
        read(Bucket=bucket)
    except ClientError:
        return False
    return True


@contextmanager
def over_tls(gateway: Gateway) -> Iterator[World]:
    """Set up the world of a sample of it; the gateway runs."""
    other, disabled = gateway.create_account("other"), gateway.create_account("disabled")
    gateway.run("access-key", "disable", disabled.access_key_id)
    keys = {"owner": gateway.credentials, "another account": other, "disabled key": disabled}
    host = f"localhost:{gateway.port}"
    signers = {n: Signer(key.access_key_id, key.secret_access_key, host, gateway.region) for n, key in keys.items()}
    signers["unknown key"] = replace(signers["owner"], access_key_id=UNKNOWN)
    alice, bob = s3_client(gateway), s3_client(gateway, credentials=other)
    wire = OverTls(gateway, signers, alice, bob)
    try:
        world = World(wire)
        world.furnish()
        yield world
    finally:
        wire.close()
