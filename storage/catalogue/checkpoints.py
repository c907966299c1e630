"""Checkpoints in a thread of their own, so that no commit waits while pages move from the log to the database.

Passive ones as the log grows; past a limit one that makes the writer wait, since a log that is never reset would grow
without bound. Source: SQLite "Write-Ahead Logging", sections 3.3 and 6.
"""

import logging
import threading

import apsw

PASSIVE_PAGES = 1_000
"""Log pages after which a checkpoint begins; 4 MiB."""
RESTART_PAGES = 8_000
"""Log pages after which a checkpoint waits for readers and holds up the writer, so that the log starts anew."""
RESTART_WAIT_MS = 100
"""How long it may hold up the writer; where a reader stays longer, it is tried again after as many pages more."""

_log = logging.getLogger(__name__)


class Checkpointer:
    """Checkpoints over a connection of its own, which it closes at its end."""

    def __init__(self, connection: apsw.Connection) -> None:
        self._connection = connection
        self._wake = threading.Event()
        self._closing = False
        self._pages = 0
        self._restart_at = RESTART_PAGES
        connection.set_busy_timeout(RESTART_WAIT_MS)
        self._thread = threading.Thread(target=self._work, name="catalogue-checkpoints", daemon=True)
        self._thread.start()

    def notice(self, pages: int) -> int:
        """Take note of the log's length after a commit, in pages; a hook for the writer's connection."""
        self._pages = pages
        if pages >= PASSIVE_PAGES:
            self._wake.set()
        return apsw.SQLITE_OK

    def close(self) -> None:
        """End the thread after a last checkpoint that empties the log. Blocks; idempotent."""
        self._closing = True
        self._wake.set()
        self._thread.join()

    def _work(self) -> None:
        while not self._closing:
            self._wake.wait()
            self._wake.clear()
            if self._pages < self._restart_at:
                self._checkpoint(apsw.SQLITE_CHECKPOINT_PASSIVE)
            elif self._checkpoint(apsw.SQLITE_CHECKPOINT_RESTART):
                self._restart_at = RESTART_PAGES
            else:
                self._restart_at = self._pages + RESTART_PAGES
        self._checkpoint(apsw.SQLITE_CHECKPOINT_TRUNCATE)
        self._connection.close()

    def _checkpoint(self, mode: int) -> bool:
        """Say whether it was carried out; failures are logged, since the next one can make up for them."""
        try:
            self._connection.wal_checkpoint(mode=mode)
        except apsw.BusyError:
            _log.info("a checkpoint of the catalogue met readers; the next one goes on")
            return False
        except apsw.Error as error:
            _log.warning("a checkpoint of the catalogue failed: %s", type(error).__name__)
            return False
        return True
