"""A KMS that is silent, and one that answers wrongly."""

import signal
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from gateway.wiring.gateway import Gateway
from keys.context import WrapContext
from keys.datakey import DataKey, WrappedKey
from keys.errors import CanaryFailed, KmsUnavailable
from storage.catalogue.records import Blob, BlobRole
from tests.gateway.cli.helpers import settings_in, start
from tests.gateway.wiring.opened import with_gateway


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


def test_a_wrong_answer_to_the_canary_stops_the_gateway(place: Path) -> None:
    async def look(gateway: Gateway) -> None:
        gateway.canary._kms = _Kms(DataKey.random())  # type: ignore[assignment]  # the one method that a canary asks
        with counted_sigterm() as seen:
            await gateway.canary.ask()
        assert seen == [signal.SIGTERM]
        assert isinstance(gateway.ended_by, CanaryFailed)
        assert not await gateway.is_ready()
        blob = Blob(bytes(16), BlobRole.OBJECT, 0, 0, 0, bytes(32), bytes(32), bytes(32))
        with pytest.raises(CanaryFailed):
            async with gateway.services.objects._writer.publishing(blob):
                pytest.fail("requests that run on may publish nothing")

    with_gateway(place, look)


def test_a_silent_kms_degrades_and_heals(place: Path) -> None:
    async def look(gateway: Gateway) -> None:
        right = gateway.canary._kms
        gateway.canary._kms = _Kms(KmsUnavailable("away"))  # type: ignore[assignment]  # as above
        proved_at = gateway.telemetry.canary_proved_at._value.get()
        assert 0 <= time.time() - proved_at < 60
        with counted_sigterm() as seen:
            await gateway.canary.ask()
            assert not await gateway.is_ready()
            assert gateway.telemetry.canary_proved_at._value.get() == proved_at
            gateway.canary._kms = right
            await gateway.canary.ask()
            assert gateway.telemetry.canary_proved_at._value.get() > proved_at
        assert await gateway.is_ready()
        assert seen == []
        assert gateway.ended_by is None

    with_gateway(place, look)


@pytest.mark.parametrize("lost", ["keyring.json", "root.key", "folder"])
def test_a_keys_folder_that_goes_away_stops_writes_until_it_is_back(
    tmp_path: Path, lost: str, caplog: pytest.LogCaptureFixture
) -> None:
    start(settings_in(tmp_path))
    folder = tmp_path / "data-keys"
    path = folder if lost == "folder" else folder / lost
    blob = Blob(bytes(16), BlobRole.OBJECT, 0, 0, 0, bytes(32), bytes(32), bytes(32), inline=b"")

    async def publish(gateway: Gateway) -> None:
        async with gateway.services.objects._writer.publishing(blob):
            pass

    async def look(gateway: Gateway) -> None:
        watch = gateway.keyring_watch
        assert watch is not None
        await watch.look()
        await publish(gateway)
        path.rename(tmp_path / "elsewhere")
        for _ in range(2):
            await watch.look()
        assert not await gateway.is_ready()
        with pytest.raises(KmsUnavailable):
            await publish(gateway)
        assert len([record for record in caplog.records if record.levelname == "CRITICAL"]) == 1
        (tmp_path / "elsewhere").rename(path)
        await watch.look()
        assert await gateway.is_ready()
        await publish(gateway)

    with_gateway(tmp_path, look)
