"""`sealgate verify` over a real catalogue: fine, then with a row moved by one who has the database key."""

import asyncio
from pathlib import Path

import pytest

from gateway.cli.main import run
from gateway.wiring.folders import Folders
from gateway.wiring.realm import open_keys
from storage.catalogue.connection import connect
from tests.gateway.cli.helpers import settings_in, start


def test_verify_counts_rows_and_names_the_table_of_one_that_was_moved(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    settings = settings_in(tmp_path)
    start(settings)
    arguments = ["verify", "--data", str(settings.data), "--keys", str(settings.keys), "--json"]
    capsys.readouterr()
    assert run(arguments) == 0
    assert '"verified_row_count": ' in capsys.readouterr().out

    opened = asyncio.run(open_keys(settings, Folders.of(settings)))
    database = connect(Folders.of(settings).catalogue, opened.realm_keys.catalogue_key.material(), cache_kib=64)
    database.execute("UPDATE access_keys SET access_key_id = access_key_id || 'X'")
    database.close()
    assert run(arguments) == 7
    told = capsys.readouterr().err
    assert "access_keys" in told
    assert told.count("\n") == 1
