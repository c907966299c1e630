"""The journal of a gateway, joined: what carries changes there, takes snapshots, exports its head, and compares."""

import logging
from collections.abc import Callable, Sequence
from dataclasses import asdict
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any, Final

from gateway.engine.journal.anchor import Anchor, anchor_path
from gateway.engine.journal.chain import CatalogueBehind
from gateway.engine.journal.runner import Journal
from gateway.engine.journal.snapshots import Snapshots
from gateway.engine.journal.witness import Witness
from keys.errors import KeysError
from keys.safe_files import write_private_file
from storage.blobs.base import BlobStat
from storage.catalogue.base import Catalogue
from storage.errors import LeaseLost, StorageError

LOOK_S: Final = 60.0
"""How often it is looked whether a snapshot is due."""

_log = logging.getLogger(__name__)


class Journalling:
    """Jobs and commands over the journal of one realm."""

    def __init__(
        self,
        *,
        catalogue: Catalogue,
        journal: Journal,
        realm_id: bytes,
        clock: Callable[[], datetime],
        snapshot_interval_s: float,
        anchor: Path | None,
        on_behind: Callable[[CatalogueBehind], None] = lambda _: None,
    ) -> None:
        """`anchor` is the file or folder that heads are exported to; None: nowhere.

        `on_behind` is called each time that the catalogue is seen to be behind its journal.
        """
        self.journal = journal
        self._catalogue = catalogue
        self._realm_id = realm_id
        self._clock = clock
        self._snapshot_interval = timedelta(seconds=snapshot_interval_s)
        self._anchor = anchor
        self._on_behind = on_behind
        self._anchored_count = 0
        self._snapshots = Snapshots(catalogue, journal)
        self._trouble: dict[str, str] = {}
        """What kept a job from its work at its last try, by its name: told once."""

    async def tend(self) -> None:
        """Carry changes to the journal; what goes wrong is logged."""
        await self._quietly("changes are not carried to the journal", self.journal.tend)

    async def end(self) -> None:
        """Carry the last changes, and let another gateway, or the next start, take over at once."""
        await self.tend()
        await self._quietly("the right to the journal was not given back", self.journal.release)

    async def snapshot_if_due(self) -> None:
        """Take a snapshot where there is none, or only an old one; what goes wrong is logged."""
        await self._quietly("no snapshot was taken", self._snapshot_if_due)

    async def write_anchor(self) -> None:
        """Export the head to where the settings say; what goes wrong is logged."""
        await self._quietly("the head of the journal was not exported", self._write_anchor)

    async def _quietly(self, what: str, run: Callable[[], Any]) -> None:
        try:
            await run()
        except LeaseLost:
            pass  # another gateway does it
        except CatalogueBehind as behind:
            self._on_behind(behind)
        except (StorageError, KeysError, OSError) as error:
            if str(error) != self._trouble.get(what):
                _log.error("%s: %s", what, error)
            self._trouble[what] = str(error)
        else:
            self._trouble.pop(what, None)

    async def _snapshot_if_due(self) -> None:
        taken_at = await self._snapshots.taken_at()
        if taken_at is None or self._clock() - taken_at >= self._snapshot_interval:
            _log.info("snapshot: %s", " ".join(f"{name}={count}" for name, count in (await self.snapshot()).items()))

    async def snapshot(self) -> dict[str, int]:
        """Take a snapshot, and cut the journal behind two of them. Raises: StorageError."""
        report = await self._snapshots.take()
        # Where no head is exported, there is nobody who could miss what lies before it.
        anchored = None if self._anchor is None else self._anchored_count
        return asdict(report) | {"cut_segment_count": await self._snapshots.cut(anchored)}

    async def reclaim_parts(self, parts: Sequence[BlobStat]) -> int:
        """Take away those of these parts of snapshots that nobody needs; their number. Raises: StorageError."""
        return await self._snapshots.reclaim(parts)

    async def export_anchor(self) -> dict[str, str]:
        """The signed head of the journal, everything that is committed now in it. Raises: StorageError."""
        anchor = await self._made()
        return {"anchor": anchor.encode(self.journal.chain.records.keys).decode("ascii")}

    async def _made(self) -> Anchor:
        return Anchor.of(self._realm_id, await self.journal.current(), self._clock())

    async def _write_anchor(self) -> None:
        assert self._anchor is not None, "the job runs where there is a place"
        anchor = await self._made()
        data = anchor.encode(self.journal.chain.records.keys)
        write_private_file(anchor_path(self._anchor, anchor), data, replace=True)
        self._anchored_count = anchor.count

    async def verify(self, anchor: str | None) -> dict[str, int]:
        """Compare rows with journal, and the journal with an anchor. Raises: Damaged, StorageError."""
        keys = self.journal.chain.records.keys
        wanted = None if anchor is None else Anchor.decode(anchor.encode("utf-8"), keys)
        return asdict(await Witness(self._catalogue, self.journal, self._snapshots).verify(wanted))
