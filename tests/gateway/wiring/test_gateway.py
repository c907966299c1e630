"""Everything joined: ready when it is, jobs while it stands, no secret on the outside."""

import asyncio
from dataclasses import fields
from datetime import timedelta
from pathlib import Path

import pytest

from gateway.wiring.gateway import Gateway
from storage.errors import StorageUnavailable
from tests.gateway.wiring.opened import with_gateway


def test_a_gateway_that_is_open_is_ready(place: Path) -> None:
    async def look(gateway: Gateway) -> None:
        assert await gateway.is_ready()
        await gateway.stores.catalogue.close()
        with pytest.raises(StorageUnavailable):
            await gateway.stores.catalogue.list_accounts()

    with_gateway(place, look)


def test_the_lifespan_runs_the_jobs_and_ends_them(place: Path) -> None:
    async def look(gateway: Gateway) -> None:
        before = asyncio.all_tasks()
        async with gateway.app.router.lifespan_context(gateway.app):
            assert len(asyncio.all_tasks() - before) == 11
        assert asyncio.all_tasks() == before

    with_gateway(place, look)


def test_a_sweep_of_a_new_gateway_finds_nothing(place: Path) -> None:
    async def look(gateway: Gateway) -> None:
        report = await gateway.sweep(dry_run=True)
        assert {name for name, count in report.items() if count} <= {"scanned_count"}, "the journal, and nothing else"
        assert await gateway.sweep() == report
        # While another gateway writes packs anew, or copies them, the rest is swept.
        await gateway.stores.catalogue.acquire_lease("packs", "another", timedelta(minutes=1))
        assert await gateway.sweep() == report

    with_gateway(place, look)


def test_no_secret_shows_in_a_repr(place: Path) -> None:
    async def look(gateway: Gateway) -> None:
        shown = repr(gateway.opened) + repr(gateway.settings) + repr(gateway.stores)
        realm_keys = gateway.opened.realm_keys
        for name in [field.name for field in fields(realm_keys) if field.name != "realm_id"]:
            assert getattr(realm_keys, name).material().hex() not in shown
            assert repr(getattr(realm_keys, name).material()) not in shown

    with_gateway(place, look)
