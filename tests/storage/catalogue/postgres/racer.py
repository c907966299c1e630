"""One of several processes that write to one key at once: prints how many of its writes were taken.

Takes the database's address, the number of writes and the key as JSON on standard input.
"""

import asyncio
import json
import random
import sys
from pathlib import Path

from storage.catalogue.address import PostgresAddress
from storage.catalogue.commands import Conditions
from storage.catalogue.conflicts import PreconditionRefused
from storage.catalogue.postgres import PostgresCatalogue
from tests.suites.catalogue import REALM, Maker


async def race(address: PostgresAddress, count: int, object_key: bytes) -> int:
    catalogue = await PostgresCatalogue.open(address, REALM, bytes(range(32)), bytes(range(32, 64)))
    make = Maker(random.Random())
    print("ready", flush=True)
    await asyncio.to_thread(sys.stdin.readline)
    commands = [make.publish(object_key, conditions=Conditions(if_none_match_any=True)) for _ in range(count)]
    answers = await asyncio.gather(*map(catalogue.publish_version, commands), return_exceptions=True)
    await catalogue.close()
    for answer in answers:
        if isinstance(answer, BaseException) and not isinstance(answer, PreconditionRefused):
            raise answer
    return sum(not isinstance(answer, BaseException) for answer in answers)


if __name__ == "__main__":
    told = json.loads(sys.stdin.readline())
    told["address"]["ca_file"] = Path(told["address"]["ca_file"])
    print(asyncio.run(race(PostgresAddress(**told["address"]), told["count"], told["object_key"].encode())))
