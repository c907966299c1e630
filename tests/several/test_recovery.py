"""Catalogue in PostgreSQL, blobs in a bucket: tampering is found; catalogue, journal and keys come back when lost."""

import json
import shutil
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import pytest

from tests.blackbox.clients import MIB, payload, s3_client
from tests.blackbox.process import Credentials, Gateway
from tests.blackbox.recovery_world import SETTINGS, build, everything
from tests.keylife.conftest import client_of
from tests.servers.s3_servers import S3Server, SeaweedFs, s3_settings
from tests.tooling.postgresql import PostgresServer, postgres_settings

BUCKET: Final = "sealed-blobs"
DATABASE: Final = "SEALGATE_POSTGRES_DATABASE"
NEWER: Final = payload(30_000)
ANCHORED: Final = ("verify", "--anchor", "head.json")


@pytest.fixture
def backend(tmp_path: Path) -> Iterator[S3Server]:
    (tmp_path / "backend").mkdir()
    server = SeaweedFs(tmp_path / "backend")
    try:
        server.start()
        server.client().create_bucket(Bucket=BUCKET)
        yield server
    finally:
        server.stop()


@dataclass
class Drill:
    """A deployment, and what its clients saw."""

    gateway: Gateway
    server: PostgresServer
    backend: S3Server
    other: Credentials
    before: str

    def say(self, code: int, *arguments: str) -> str:
        """What a command says, which must leave with that code."""
        done = self.gateway.run(*arguments)
        assert done.returncode == code, f"{arguments}: {done.returncode} {done.stdout} {done.stderr}"
        return done.stdout + done.stderr

    def fresh(self, database: str) -> None:
        """Let the settings name an empty database."""
        self.server.create_database(database)
        self.gateway.set(DATABASE, database)

    def check_all(self) -> None:
        """See that clients see what they saw; the gateway is stopped before and after."""
        self.gateway.start()
        assert everything(self.gateway, self.other) == self.before
        self.say(0, *ANCHORED)
        self.gateway.stop()

    def lose_journal(self) -> None:
        """Delete journal and snapshots behind the gateway's back."""
        client = self.backend.client()
        pages = client.get_paginator("list_objects_v2").paginate(Bucket=BUCKET)
        for entry in [entry for page in pages for entry in page.get("Contents", [])]:
            head = client.get_object(Bucket=BUCKET, Key=entry["Key"], Range="bytes=0-10")["Body"].read()
            if head[:6] == b"\x89SGATE" and head[10] in (8, 9):
                client.delete_object(Bucket=BUCKET, Key=entry["Key"])
        client.close()


@pytest.fixture
def drill(server: PostgresServer, backend: S3Server, tmp_path: Path) -> Iterator[Drill]:
    server.create_database("current")
    settings = (
        postgres_settings(server, "current", tmp_path) | s3_settings(backend, tmp_path, BUCKET, "one/") | SETTINGS
    )
    gateway = Gateway(tmp_path / "gateway", settings)
    drill = Drill(gateway, server, backend, Credentials("", ""), "")
    try:
        gateway.start()
        made = json.loads(drill.say(0, "recovery", "keygen", "secret", "--json"))
        drill.say(0, "recovery", "add", "vault", made["public"])
        s3 = s3_client(gateway)
        drill.other = build(gateway, s3)
        gateway.stop()
        server.sql("CREATE DATABASE old TEMPLATE current OWNER sealgate")
        gateway.start()
        s3.put_object(Bucket="plain", Key="newer", Body=NEWER)
        s3.close()
        drill.before = everything(gateway, drill.other)
        drill.say(0, "anchor", "export", "head.json")
        drill.say(0, *ANCHORED)
        drill.say(0, "backup", "backup")
        gateway.stop()
        yield drill
    finally:
        gateway.close()


def test_what_is_lost_comes_back_and_what_was_altered_is_found(drill: Drill) -> None:
    gateway, server = drill.gateway, drill.server
    # The database is put back to an old state: it is not served, and the anchor says so.
    gateway.set(DATABASE, "old")
    for _ in range(2):  # the second time the lease of the first one's journal still runs
        assert "behind its blob store" in drill.say(6, "serve", "--port", str(gateway.port))
    assert "behind its blob store" in drill.say(6, *ANCHORED)
    # A row is deleted by who has the database; every row that is left carries its MAC.
    gateway.set(DATABASE, "current")
    server.sql("DELETE FROM access_keys", "current")
    drill.say(0, "verify")
    assert "missing: access_keys" in drill.say(7, *ANCHORED)
    # A database that holds a catalogue is never filled; an empty one is.
    assert "make an empty one" in drill.say(6, "recover", "--replace")
    drill.fresh("recovered")
    told = json.loads(drill.say(0, "recover", "--json"))
    assert (told["open_upload_count"], told["dropped_upload_count"], told["missing_blob_count"]) == (2, 0, 0)
    drill.check_all()
    # Journal and catalogue are lost together: the backup has both.
    drill.lose_journal()
    drill.fresh("restored")
    assert "no journal" in drill.say(6, "recover")
    drill.say(0, "restore", "backup")
    drill.say(0, *ANCHORED)  # every row is as the journal tells, of which each was as its clients saw it before
    # The keys are lost: a recovery secret opens what the KMS wrapped.
    shutil.rmtree(gateway.keys)
    assert json.loads(drill.say(0, "recovery", "open", "secret", "--json"))["left_count"] == 0
    gateway.start()
    made = json.loads(drill.say(0, "access-key", "create", "--account", "main", "--json"))
    s3 = client_of(gateway, Credentials(made["access_key_id"], made["secret_access_key"]))
    assert s3.get_object(Bucket="plain", Key="newer")["Body"].read() == NEWER
    assert s3.head_object(Bucket="plain", Key="parts")["ContentLength"] == 5 * MIB + len(b"the end")
    s3.close()
