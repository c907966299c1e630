"""The head of the journal, signed, to be kept where whoever writes to catalogue and blob store cannot reach it.

Whoever holds both can put both back to an old state, and nothing in them would say so; an anchor does. Source:
docs/FORMAT.md section 16.5, docs/THREATS.md.
"""

import base64
import json
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Final

from gateway.engine.journal.chain import Head
from keys.context import canonical
from keys.errors import UnwrapFailed
from keys.journal import JournalKeys
from storage.catalogue.rows import from_micros, to_micros
from storage.errors import Damaged

_FORMAT: Final = "sealgate-anchor"
_VERSION: Final = 1
MAX_ANCHOR_BYTES: Final = 4096


class AnchorRefused(Damaged):
    """A file is no anchor of this realm, or was altered."""


@dataclass(frozen=True, slots=True)
class Anchor:
    """What an anchor says."""

    realm_id: bytes
    count: int
    """Segments that the journal had."""
    digest: bytes
    """SHA-256 of the payload of the last one."""
    through: int
    """The sequence of the last change in it."""
    at: datetime

    @classmethod
    def of(cls, realm_id: bytes, head: Head, now: datetime) -> "Anchor":
        """The anchor of a head, as of now."""
        return cls(realm_id, head.count, head.digest, head.through, from_micros(to_micros(now)))

    def _signed(self) -> bytes:
        numbers = (self.count, self.through, to_micros(self.at))
        packed = [number.to_bytes(8, "big") for number in numbers]
        return canonical("sealgate/anchor/v1", self.realm_id, self.digest, *packed)

    def encode(self, keys: JournalKeys) -> bytes:
        """The file's bytes, signed."""
        fields = {
            "format": _FORMAT,
            "version": _VERSION,
            "realm_id": self.realm_id.hex(),
            "count": self.count,
            "digest": self.digest.hex(),
            "through": self.through,
            "at": self.at.isoformat(),
            "signature": base64.b64encode(keys.sign(self._signed())).decode("ascii"),
        }
        return json.dumps(fields, indent=1).encode("ascii") + b"\n"

    @classmethod
    def decode(cls, data: bytes, keys: JournalKeys) -> "Anchor":
        """Read what `encode` wrote. Raises: AnchorRefused."""
        try:
            fields: dict[str, Any] = json.loads(data)
            anchor = cls(
                bytes.fromhex(fields["realm_id"]),
                int(fields["count"]),
                bytes.fromhex(fields["digest"]),
                int(fields["through"]),
                datetime.fromisoformat(fields["at"]).astimezone(UTC),
            )
            keys.check_signature(base64.b64decode(fields["signature"], validate=True), anchor._signed())
            is_exact = anchor.encode(keys) == data
        except (ValueError, KeyError, TypeError, OverflowError, RecursionError, UnwrapFailed):
            is_exact, anchor = False, None
        if anchor is None or not is_exact:
            raise AnchorRefused("this is no anchor of this realm, or it was altered")
        return anchor


def newest_anchor(place: Path) -> Path | None:
    """The anchor to compare with: the file itself, or the newest one in a folder."""
    if place.is_dir():
        return max(place.glob("anchor-*.json"), default=None)
    return place if place.exists() else None


def anchor_path(place: Path, anchor: Anchor) -> Path:
    """Where an anchor is written: over the one before, or in a folder beside it, as `anchor-TIME-COUNT.json`."""
    if not place.is_dir():
        return place
    return place / f"anchor-{anchor.at:%Y%m%dT%H%M%SZ}-{anchor.count:010}.json"
