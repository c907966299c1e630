"""Exit codes of the command line, and which failure ends with which; one table for people and scripts.

0 to 2 are as shells and `sysexits` users expect them; the rest tell a script whether trying again can help.
"""

from enum import IntEnum
from typing import Final

from gateway.errors import MoveError, ServeError, SettingsError, TlsError
from keys.errors import AliasTaken, KeysError, KmsUnavailable, NotWritten
from storage.errors import (
    CatalogueBusy,
    CatalogueConflict,
    Damaged,
    LeaseLost,
    StorageError,
    StorageFull,
    StorageUnavailable,
)


class Exit(IntEnum):
    """What a code means."""

    OK = 0
    BUG = 1
    """Something that Sealgate does not expect; worth a report."""
    USAGE = 2
    """An unknown command, flag or setting, or a value that cannot stand."""
    REFUSED = 3
    """The command does not fit what it met: a name that is taken, an account that is not there."""
    SETUP = 4
    """Folders or files are missing, misplaced or readable by others; nothing was changed."""
    KEYS = 5
    """The keyring or the KMS cannot be used, or is not the one of this data."""
    STORAGE = 6
    """Catalogue or blob store cannot be used."""
    DAMAGED = 7
    """What is at rest does not authenticate."""
    BUSY = 8
    """In use, unreachable or full: may go well later."""


class CommandError(Exception):
    """A failure that a command foresees: one line that says what to do, and the code it ends with."""

    def __init__(self, message: str, code: Exit = Exit.REFUSED) -> None:
        super().__init__(message)
        self.code = code


class SetupError(CommandError):
    """Folders or files are not as a start needs them."""

    def __init__(self, message: str) -> None:
        super().__init__(message, Exit.SETUP)


EXITS: Final[tuple[tuple[type[Exception], Exit], ...]] = (
    # The first row that matches, so that a subclass stands above its base.
    (SettingsError, Exit.USAGE),
    (TlsError, Exit.SETUP),
    (ServeError, Exit.BUSY),
    (MoveError, Exit.REFUSED),
    (KmsUnavailable, Exit.BUSY),
    (AliasTaken, Exit.REFUSED),
    (NotWritten, Exit.SETUP),
    (KeysError, Exit.KEYS),
    (Damaged, Exit.DAMAGED),
    (CatalogueBusy, Exit.BUSY),
    (StorageUnavailable, Exit.BUSY),
    (StorageFull, Exit.BUSY),
    (LeaseLost, Exit.BUSY),
    (CatalogueConflict, Exit.REFUSED),
    (StorageError, Exit.STORAGE),
)


def exit_of(error: Exception) -> Exit | None:
    """The code that an expected failure ends with; None for one that nobody expects."""
    if isinstance(error, CommandError):
        return error.code
    return next((code for kind, code in EXITS if isinstance(error, kind)), None)
