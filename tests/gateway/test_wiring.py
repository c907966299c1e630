"""The composition root: realms that must agree, keys that must be the right ones, jobs that go on, plain values out."""

import asyncio
import json
import signal
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

import pytest

from gateway.wiring import Folders, Gateway, OpenedKeys, RealmRecord, open_gateway, open_stores, server_settings
from keys.context import WrapContext
from keys.datakey import DataKey, WrappedKey
from keys.errors import CanaryFailed, KeyringError, KmsKeyNotFound, KmsUnavailable, UnwrapFailed
from keys.safe_files import write_private_file
from storage.errors import RealmMismatch, StorageUnavailable
from tests.gateway.cli.helpers import settings_in, start


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    made = tmp_path_factory.mktemp("wiring")
    start(settings_in(made))
    return made


def with_gateway(place: Path, look: Callable[[Gateway], Awaitable[None]], **changes: object) -> None:
    async def run() -> None:
        settings = settings_in(place, **changes)
        async with open_gateway(settings, Folders.of(settings)) as gateway:
            await look(gateway)

    asyncio.run(run())


def test_the_realm_file_is_read_as_it_was_written(place: Path) -> None:
    path = place / "data/realm.json"
    record = RealmRecord.read(path)
    assert record.encode() == path.read_bytes()
    assert record == RealmRecord.read(place / "data-keys/realm.json")


@pytest.mark.parametrize("member", ["format", "version", "realm_id", "created_at", "root", "canary"])
def test_an_altered_realm_file_is_refused(place: Path, tmp_path: Path, member: str) -> None:
    fields = json.loads((place / "data/realm.json").read_text())
    for number, value in enumerate((None, 5, "", "x", "00" * 16, fields[member] * 2 if member != "version" else 2)):
        altered = tmp_path / f"{number}.json"
        text = json.dumps(fields | {member: value}, indent=1) + "\n"
        if member == "realm_id" and value == "00" * 16:
            continue  # well-formed: the keys tell, below
        write_private_file(altered, text.encode(), replace=False)
        with pytest.raises(KeyringError, match="not as Sealgate wrote it"):
            RealmRecord.read(altered)


@pytest.mark.parametrize("change", ["realm_id", "root", "canary"])
def test_a_realm_file_of_other_values_does_not_open(place: Path, tmp_path: Path, change: str) -> None:
    start(settings_in(tmp_path))
    record, other = RealmRecord.read(tmp_path / "data/realm.json"), RealmRecord.read(place / "data/realm.json")
    changed = replace(record, **{change: getattr(other, change)})
    write_private_file(tmp_path / "data/realm.json", changed.encode(), replace=True)
    # The canary is asked first, and its own wrap names a key that the other keyring holds.
    with pytest.raises((UnwrapFailed, CanaryFailed, KmsKeyNotFound)):
        with_gateway(tmp_path, lambda _: asyncio.sleep(0))


def test_bytes_after_the_realm_file_are_refused(place: Path, tmp_path: Path) -> None:
    write_private_file(tmp_path / "r", (place / "data/realm.json").read_bytes() + b"\n", replace=False)
    with pytest.raises(KeyringError):
        RealmRecord.read(tmp_path / "r")


def test_stores_of_another_realm_are_refused(place: Path, tmp_path: Path) -> None:
    start(settings_in(tmp_path))

    async def look(gateway: Gateway) -> None:
        theirs = Folders.of(settings_in(tmp_path))
        with pytest.raises(RealmMismatch, match="blob store"):
            await open_stores(theirs, gateway.opened.realm_keys)
        ours = gateway.opened.realm.realm_id
        (theirs.blobs / "realm").write_text(ours.hex() + "\n")
        with pytest.raises(Exception, match="catalogue") as caught:
            await open_stores(theirs, gateway.opened.realm_keys)
        assert caught.type.__module__ == "storage.errors"

    with_gateway(place, look)


def test_a_gateway_that_is_open_is_ready(place: Path) -> None:
    async def look(gateway: Gateway) -> None:
        assert await gateway.is_ready()
        await gateway.stores.catalogue.close()
        with pytest.raises(StorageUnavailable):
            await gateway.stores.catalogue.list_accounts()

    with_gateway(place, look)


class _Kms:
    """A KMS that raises or answers wrongly, in the place of one that was right."""

    provider = "local"

    def __init__(self, outcome: Exception | DataKey) -> None:
        self.outcome = outcome
        self.asked = 0

    async def unwrap(self, wrapped: WrappedKey, context: WrapContext) -> DataKey:
        del wrapped, context
        self.asked += 1
        if isinstance(self.outcome, Exception):
            raise self.outcome
        return self.outcome


@contextmanager
def counted_sigterm() -> Iterator[list[int]]:
    seen: list[int] = []
    held = signal.signal(signal.SIGTERM, lambda number, _: seen.append(number))
    try:
        yield seen
    finally:
        signal.signal(signal.SIGTERM, held)


def _opened_with(gateway: Gateway, kms: _Kms) -> OpenedKeys:
    return replace(gateway.opened, kms=kms)  # type: ignore[arg-type]  # the one method that a canary asks


def test_a_wrong_answer_to_the_canary_stops_the_gateway(place: Path) -> None:
    async def look(gateway: Gateway) -> None:
        gateway.opened = _opened_with(gateway, _Kms(DataKey.random()))
        with counted_sigterm() as seen:
            await gateway._ask_canary()
        assert seen == [signal.SIGTERM]
        assert gateway.is_wrong_kms
        assert not await gateway.is_ready()

    with_gateway(place, look)


def test_a_silent_kms_degrades_and_heals(place: Path) -> None:
    async def look(gateway: Gateway) -> None:
        right = gateway.opened
        gateway.opened = _opened_with(gateway, _Kms(KmsUnavailable("away")))
        with counted_sigterm() as seen:
            await gateway._ask_canary()
            assert not await gateway.is_ready()
            gateway.opened = right
            await gateway._ask_canary()
        assert await gateway.is_ready()
        assert seen == []
        assert not gateway.is_wrong_kms

    with_gateway(place, look)


def test_a_job_that_fails_runs_again(place: Path) -> None:
    async def look(gateway: Gateway) -> None:
        done = asyncio.Event()
        runs: list[int] = []

        async def job() -> None:
            runs.append(1)
            if len(runs) == 3:
                done.set()
            raise RuntimeError("again")

        task = asyncio.create_task(gateway._every(0, job))
        async with asyncio.timeout(10):
            await done.wait()
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task

    with_gateway(place, look)


def test_the_lifespan_runs_the_jobs_and_ends_them(place: Path) -> None:
    async def look(gateway: Gateway) -> None:
        before = asyncio.all_tasks()
        async with gateway.app.router.lifespan_context(gateway.app):
            assert len(asyncio.all_tasks() - before) == 3
        assert asyncio.all_tasks() == before

    with_gateway(place, look)


def test_a_sweep_of_a_new_gateway_finds_nothing(place: Path) -> None:
    async def look(gateway: Gateway) -> None:
        report = await gateway.sweep(dry_run=True)
        assert set(report.values()) == {0}
        assert await gateway.sweep() == report

    with_gateway(place, look)


def test_listeners_follow_the_settings(place: Path) -> None:
    settings = settings_in(place, port=7001, admin_host="localhost", http_port=0, idle_timeout_s=7, drain_timeout_s=3)
    made = server_settings(settings, Folders.of(settings))
    assert (made.https.host, made.https.port) == ("127.0.0.1", 7001)
    assert (made.admin.host, made.admin.port) == ("127.0.0.1", 7002)
    assert made.plain is None
    assert (made.limits.idle_timeout_s, made.limits.drain_timeout_s) == (7, 3)
    assert made.certificate.certfile == place / "data-keys/tls/server.pem"
    own = settings_in(place, tls_certificate=Path("/c.pem"), tls_key=Path("/k.pem"))
    assert server_settings(own, Folders.of(own)).certificate.keyfile == Path("/k.pem")


def test_no_secret_shows_in_a_repr(place: Path) -> None:
    async def look(gateway: Gateway) -> None:
        shown = repr(gateway.opened) + repr(gateway.settings) + repr(gateway.stores)
        realm_keys = gateway.opened.realm_keys
        for name in ("description_key", "row_mac_key", "catalogue_key", "cursor_key", "credentials_key"):
            assert getattr(realm_keys, name).material().hex() not in shown
            assert repr(getattr(realm_keys, name).material()) not in shown

    with_gateway(place, look)
