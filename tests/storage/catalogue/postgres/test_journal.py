"""Journal, snapshots, packs and backups over PostgreSQL: the tests of what they promise, over the real server."""

from pathlib import Path

import pytest

from gateway.engine.journal import chain as chains
from gateway.engine.journal import snapshots as module
from keys.realm import RealmKeys
from storage.catalogue.address import PostgresAddress
from storage.catalogue.postgres import PostgresCatalogue
from tests.gateway.engine.journal.stage import Make, Stage, on_stage
from tests.gateway.engine.journal.test_packs import bodies, fill, found, packs_of, recovered_keys
from tests.gateway.engine.journal.test_snapshots import cut_and_check


def maker(address: PostgresAddress) -> Make:
    async def make(keys: RealmKeys) -> PostgresCatalogue:
        return await PostgresCatalogue.create(
            address, keys.realm_id, keys.catalogue_key.material(), keys.row_mac_key.material()
        )

    return make


def test_the_journal_is_cut_behind_two_snapshots_and_the_exported_head(
    address: PostgresAddress, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(chains, "MILESTONE", 4)
    monkeypatch.setattr(module, "MILESTONE", 4)
    on_stage(tmp_path, cut_and_check, make=maker(address))


def test_packs_are_written_anew_and_what_lives_comes_back(address: PostgresAddress, tmp_path: Path) -> None:
    async def test(stage: Stage) -> None:
        await fill(stage, 10)
        for number in range(6):
            await stage.delete(b"%d" % number)
        report = await packs_of(stage).compact(await found(stage))
        assert report.rewritten_pack_count == 1
        wanted = {b"%d" % number: b"body %d" % number for number in range(6, 10)}
        assert await bodies(stage, stage.catalogue) == wanted
        assert await recovered_keys(stage, tmp_path) == wanted

    on_stage(tmp_path, test, make=maker(address))
