"""`sealgate scrub`: read and prove every blob of the store, beside a gateway that serves or without one.

It never deletes or writes in the store. Its report is a file, which an interrupted scrub goes on from.
"""

import asyncio
import json
import time
from collections import Counter
from contextlib import AsyncExitStack
from pathlib import Path
from typing import Annotated, Any, Final

import typer

from gateway.cli.control import Answer
from gateway.cli.exits import CommandError, Exit, SetupError
from gateway.cli.options import AsJson, Config, Data, Keys, settings_of
from gateway.cli.output import print_answer, progress
from gateway.config import Settings
from gateway.engine.scrub import DAMAGED, Finding, Scrubber, Throttle, behind, no_throttle
from gateway.wiring.folders import Folders
from gateway.wiring.realm import open_keys
from gateway.wiring.scrubbing import scrub_keys
from gateway.wiring.stores import check_same_realm, open_blobs

SAVE_EVERY_S: Final = 5.0
_MEGABYTE: Final = 1_000_000


def register(app: typer.Typer) -> None:
    """Add the command."""
    app.command("scrub")(scrub)


def scrub(
    *,
    report: Annotated[
        Path | None, typer.Option("--report", metavar="FILE", help="Where the report goes, and what --resume reads.")
    ] = None,
    resume: Annotated[bool, typer.Option("--resume", help="Go on where the report's scrub was interrupted.")] = False,
    max_mb_s: Annotated[
        float | None, typer.Option("--max-mb-s", min=0.1, help="Read at most so many megabytes a second.")
    ] = None,
    without_keys: Annotated[
        bool, typer.Option("--without-keys", help="Only hold sizes, headers and trailers against each other.")
    ] = False,
    data: Data = None,
    keys: Keys = None,
    config: Config = None,
    as_json: AsJson = False,
) -> None:
    """Read every blob of the store and prove it. Nothing is changed; the gateway may serve meanwhile."""
    settings = settings_of(data, keys, config)
    if resume and report is None:
        raise CommandError("--resume goes on from a report: give --report FILE", Exit.USAGE)
    answer = asyncio.run(_scrub(settings, report, resume=resume, max_mb_s=max_mb_s, without_keys=without_keys))
    print_answer(answer, as_json=as_json)
    if answer["damaged"]:
        named = "" if report is None else f"; {report} names them and says why"
        raise CommandError(f"{answer['damaged']} blobs are damaged{named}", Exit.DAMAGED)


async def _scrub(
    settings: Settings, report: Path | None, *, resume: bool, max_mb_s: float | None, without_keys: bool
) -> Answer:
    folders = Folders.of(settings)
    if not folders.has_blobs:
        raise SetupError(f"{folders.blobs} is missing: correct --data")
    async with AsyncExitStack() as stack:
        blobs = open_blobs(folders)
        stack.push_async_callback(blobs.close)
        opened = None if without_keys else await open_keys(settings, folders, realm_file=folders.realm_copy)
        if opened is not None:
            # Else blobs that were left behind by a migration would be proved in place of those that count.
            check_same_realm(await blobs.realm_id(), opened.realm_keys, f"the blob store {folders.blobs_place}")
        scrubber = Scrubber(
            blobs,
            keys=None if opened is None else scrub_keys(opened, blobs),
            throttle=no_throttle if max_mb_s is None else _throttle(max_mb_s * _MEGABYTE),
        )
        kept = _Report(report, scrubber)
        last = kept.load() if resume else None
        kept.save(is_done=False)  # what cannot be written is told before hours of reading
        ids = [stat.blob_id async for stat in blobs.iterate()]
        with progress("manifests", len(ids)) as advance:
            async for _ in scrubber.prepare(ids):
                advance()
        left = behind(ids, last)
        with progress("blobs", len(left)) as advance:
            async for blob_id in scrubber.run(left):
                kept.note(blob_id)
                advance()
        kept.save(is_done=True)
    return {"blobs": len(ids), "bytes": scrubber.report.byte_count, "damaged": 0, **scrubber.report.counts}


def _throttle(bytes_per_s: float) -> Throttle:
    """Let so many bytes a second be read, on the whole."""
    began, read = time.monotonic(), 0

    async def wait(size: int) -> None:
        nonlocal read
        read += size
        ahead = read / bytes_per_s - (time.monotonic() - began)
        if ahead > 0:
            await asyncio.sleep(ahead)

    return wait


class _Report:
    """The report's file."""

    def __init__(self, path: Path | None, scrubber: Scrubber) -> None:
        self._path = path
        self._scrubber = scrubber
        self._last: bytes | None = None
        self._saved_at = time.monotonic()

    def load(self) -> bytes | None:
        """Take over what an interrupted scrub found; the blob that it was done with last. Raises: CommandError.

        Of one that was done nothing is taken over: all is read anew.
        """
        assert self._path is not None, "asked for with a report alone"
        try:
            kept: dict[str, Any] = json.loads(self._path.read_text(encoding="utf-8"))
            if kept["is_done"]:
                return None
            report = self._scrubber.report
            report.counts = Counter(kept["counts"])
            report.byte_count = int(kept["bytes"])
            report.findings = [
                Finding(
                    bytes.fromhex(each["blob_id"]),
                    each["why"],
                    bytes.fromhex(each["pack"]) if "pack" in each else None,
                )
                for each in kept["findings"]
            ]
            self._last = bytes.fromhex(kept["done_through"]) if kept["done_through"] else None
        except (OSError, ValueError, KeyError, TypeError):
            raise CommandError(f"{self._path} is no report of a scrub: leave out --resume", Exit.USAGE) from None
        return self._last

    def note(self, blob_id: bytes) -> None:
        """A blob is done with."""
        self._last = blob_id
        if time.monotonic() - self._saved_at >= SAVE_EVERY_S:
            self.save(is_done=False)

    def save(self, *, is_done: bool) -> None:
        """Write it, whole or not at all. Raises: SetupError."""
        if self._path is None:
            return
        report = self._scrubber.report
        kept = {
            "is_done": is_done,
            "done_through": "" if self._last is None else self._last.hex(),
            "bytes": report.byte_count,
            "counts": {DAMAGED: 0, **report.counts},
            "findings": [
                {"blob_id": each.blob_id.hex(), "why": each.why}
                | ({} if each.within is None else {"pack": each.within.hex()})
                for each in report.findings
            ],
        }
        new = self._path.with_name(f".{self._path.name}.new")
        try:
            new.write_text(json.dumps(kept, indent=1) + "\n", encoding="utf-8")
            new.replace(self._path)
        except OSError as error:
            raise SetupError(f"{self._path} cannot be written ({error.strerror}): give another --report") from None
        self._saved_at = time.monotonic()
