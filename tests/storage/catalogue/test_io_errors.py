"""A medium that fails: what was answered is there, what failed is not, and the catalogue goes on by itself.

The kernel's answers are forged by strace, so the real SQLite meets a real EIO.
"""

import json
import subprocess
import sys
from pathlib import Path

import pytest

from tests.tooling.tools import program

_LOAD = """
import asyncio, json, sys
from pathlib import Path
from storage.catalogue.conflicts import NoSuchVersion
from storage.catalogue.sqlite import SqliteCatalogue
from storage.errors import StorageError
from tests.suites.catalogue import BUCKET, REALM, FakeClock, Maker, populate

async def main(path):
    catalogue = SqliteCatalogue.create(
        path, REALM, bytes(range(32)), bytes(range(32, 64)), FakeClock(), reserve_bytes=4096
    )
    await populate(catalogue)
    make, answers = Maker(), {}
    for number in range(30):
        key = b"%d" % number
        try:
            await catalogue.publish_version(make.publish(key, inline=True))
        except StorageError as failure:
            answers[number] = type(failure).__name__
            try:
                await catalogue.get_version(BUCKET.bucket_id, key)
            except NoSuchVersion:
                continue
            raise AssertionError("a failed command is visible")
    for number in set(range(30)) - set(answers):
        await catalogue.get_version(BUCKET.bucket_id, b"%d" % number)
    await catalogue.verify()
    await catalogue.close()
    print(json.dumps(answers))

asyncio.run(main(Path(sys.argv[1])))
"""


@pytest.mark.parametrize(
    ("error", "failure"), [("EIO", "StorageUnavailable"), ("ENOSPC", "StorageFull"), ("EDQUOT", "StorageFull")]
)
def test_a_sync_that_fails_fails_its_commands(tmp_path: Path, error: str, failure: str) -> None:
    command = [
        # Where strace was only unpacked, it has libraries of its own, which are not for the process that it starts.
        *(
            str(program("strace")),
            "-E",
            "LD_LIBRARY_PATH",
            "-f",
            "-qq",
            "-o",
            str(tmp_path / "trace"),
            "-e",
            "trace=fdatasync",
        ),
        *("-e", f"inject=fdatasync:error={error}:when=25..27"),
        *(sys.executable, "-c", _LOAD, str(tmp_path / "catalogue.db")),
    ]
    done = subprocess.run(
        command, cwd=Path(__file__).parents[3], capture_output=True, text=True, check=False, timeout=120
    )
    assert done.returncode == 0, done.stderr
    answers = json.loads(done.stdout)
    assert (tmp_path / "trace").read_text().count("INJECTED") == 3
    assert answers
    assert set(answers.values()) == {failure}, answers
