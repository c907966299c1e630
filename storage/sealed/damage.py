"""The kinds of damage that a sealed blob can show, and the one way to report them.

Every message of `SealedDamaged` begins with its kind, so that logs, tests and published vectors can name what
failed. Source: docs/FORMAT.md section 8.
"""

from enum import StrEnum

from storage.errors import SealedDamaged


class Damage(StrEnum):
    """What failed. Readers treat all kinds alike; people do not."""

    LENGTH = "length"
    HEADER = "header"
    SALT = "salt"
    COMMITMENT = "commitment"
    CHUNK = "chunk"
    FOOTER = "footer"
    TRAILER = "trailer"
    DESCRIPTION = "description"
    INNER = "inner"
    RECORD = "record"
    FAILED = "failed"


def damaged(kind: Damage, what: str) -> SealedDamaged:
    """Return the error to raise; `what` never holds key material, plaintext or names."""
    return SealedDamaged(f"{kind}: {what}")
