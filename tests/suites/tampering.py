"""What every catalogue finds when it is opened after somebody moved or took away its rows; subclasses say how."""

import random
from collections.abc import Awaitable, Callable
from dataclasses import replace

import pytest

from storage.catalogue.base import Catalogue
from storage.catalogue.commands import Conditions, HistoryQuery, ListQuery
from storage.errors import RowDamaged
from tests.suites.catalogue import BUCKET, OTHER, Maker, populate

NAMES = {"first": b"first", "hidden": b"hidden", "zzz": b"zzz", "other": OTHER.bucket_id, "nowhere": b"?" * 16}

Tampered = Callable[[str], Awaitable[Catalogue]]
"""Closes the catalogue, runs a statement with all rights of its database, and opens it again."""


class TamperingSuite:
    """The fixture `tampered` begins with a catalogue that `fill` filled; `{...}` in a statement is one of `NAMES`."""

    @staticmethod
    async def fill(catalogue: Catalogue) -> None:
        """Three objects in one bucket."""
        make = Maker()
        await populate(catalogue)
        for key in (b"first", b"hidden", b"last"):
            await catalogue.publish_version(make.publish(key))

    async def test_what_was_not_touched_is_served(self, tampered: Tampered) -> None:
        catalogue = await tampered("UPDATE versions SET object_key = {first} WHERE object_key = {first}")
        make = Maker(random.Random(7))
        for bucket in (BUCKET, OTHER):
            await catalogue.list_versions(bucket.bucket_id, ListQuery(prefix=b"f"))
            await catalogue.publish_version(
                replace(
                    make.publish(b"new", bucket=bucket),
                    conditions=Conditions(if_none_match_any=True),
                )
            )
        await catalogue.verify()

    @pytest.mark.parametrize(
        "statement",
        [
            "DELETE FROM versions WHERE object_key = {hidden}",
            "UPDATE versions SET bucket_id = {other} WHERE object_key = {hidden}",
            "UPDATE versions SET bucket_id = {nowhere} WHERE object_key = {hidden}",
            "UPDATE versions SET object_key = {zzz} WHERE object_key = {hidden}",
        ],
    )
    async def test_a_version_that_was_hidden_is_not_told_missing(self, tampered: Tampered, statement: str) -> None:
        catalogue = await tampered(statement)
        for refused in (
            catalogue.get_version(BUCKET.bucket_id, b"hidden"),
            catalogue.list_versions(BUCKET.bucket_id, ListQuery(prefix=b"h")),
            catalogue.list_history(BUCKET.bucket_id, HistoryQuery(prefix=b"h")),
            catalogue.publish_version(
                replace(Maker(random.Random(7)).publish(b"hidden"), conditions=Conditions(if_none_match_any=True))
            ),
        ):
            with pytest.raises(RowDamaged):
                await refused
        assert (await catalogue.get_version(BUCKET.bucket_id, b"first")).version.object_key == b"first"
        is_astray = "{other}" in statement
        if not is_astray:
            await catalogue.list_versions(OTHER.bucket_id, ListQuery(prefix=b"h"))
        else:
            with pytest.raises(RowDamaged):
                await catalogue.list_versions(OTHER.bucket_id, ListQuery(prefix=b"h"))

    async def test_an_account_whose_name_was_changed_is_not_told_missing(self, tampered: Tampered) -> None:
        catalogue = await tampered("UPDATE accounts SET name = 'mallory' WHERE name = 'alice'")
        with pytest.raises(RowDamaged):
            await catalogue.get_account_by_name("alice")
